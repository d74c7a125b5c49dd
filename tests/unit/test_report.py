"""Report: self-contained, complete, every number recomputed here, every flag only where it belongs."""

import csv
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from builders import (
    BASELINES,
    grid,
    measurement,
    ranks,
    samples,
    training,
    write_dataset,
    write_grid,
    write_measurement,
    write_training,
)

from seqbench import collect, findings, report
from seqbench.metrics import per_user

MODELS = ("mamba4rec", "sasrec", "gru4rec")
SEEDS = (0, 1, 2)
KINDS = ("curves", "effectiveness", "memory", "time", "tradeoff")


def plan(seeds=SEEDS, track="matched"):
    trainings = [training(model=m, seed=s, track=track) for m in MODELS for s in seeds]
    lengths = [measurement("full-length", MODELS, track, length, 1000) for length in (100, 400)]
    real = measurement("toy", MODELS, track)
    return grid([training(model="popularity", track=track), *trainings], [real, *lengths])


def rendered(results, wanted=None, change=lambda: None, *, draw=False):
    """The page of a grid; without draw an empty picture stands for every figure, which is what takes the time."""
    path = write_grid(results, wanted or plan())
    change()
    collect.collect(path, results, results / "tables")
    with pytest.MonkeyPatch.context() as patch:
        if not draw:
            patch.setattr(report.look, "save", empty_picture)
        page = report.render(results / "tables", results / "report")
    return page.read_text(encoding="utf-8")


def empty_picture(figure, data, folder, name):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.svg").write_text('<svg width="1pt" height="1pt"></svg>')


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    results = tmp_path_factory.mktemp("results")
    return results, rendered(results, draw=True)


def flags_of(results, wanted=None, change=lambda: None):
    path = write_grid(results, wanted or plan())
    change()
    collect.collect(path, results, results / "tables")
    return {flag.title: flag for flag in findings.flags(collect.read(results / "tables"))}


class Links(HTMLParser):
    def __init__(self, page):
        super().__init__()
        self.resources, self.citations, self.ids, self.open = [], [], [], []
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        for name, value in attributes:
            if name == "id":
                self.ids.append(value)
            if name in ("src", "href", "xlink:href", "data", "srcset"):
                (self.citations if tag == "a" else self.resources).append(value)
        if tag not in ("meta", "br", "img", "link", "path", "use"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag in self.open:
            assert self.open.pop() == tag


# --- the page -----------------------------------------------------------------------------------------------------------


def test_page_needs_nothing_but_itself(built):
    links = Links(built[1])
    assert all(target.startswith("#") for target in links.resources)
    assert "<script" not in built[1]
    assert not re.search(r"@import|url\((?!#)", built[1])
    assert links.open == []


def test_local_links_lead_somewhere_and_ids_are_unique(built):
    results, page = built
    links = Links(page)
    assert len(links.ids) == len(set(links.ids))
    for target in links.citations:
        if target.startswith("#"):
            assert target[1:] in links.ids
        elif not target.startswith("http"):
            assert (results / "report" / target).exists(), target
    inner = re.findall(r'(?:url\(#|href="#|aria-labelledby=")([^")]+)', page)
    assert len(inner) > 100
    assert set(inner) <= set(links.ids)


def test_all_sections_and_figures_are_there(built):
    results, page = built
    for section in (
        "summary",
        "run",
        "data",
        "effectiveness",
        "efficiency",
        "length",
        "provenance",
    ):
        assert f'<section id="{section}">' in page
    assert page.count("<svg") == len(KINDS)
    names = {file.stem for file in (results / "report/figures").iterdir()}
    assert {name.partition("-")[0] for name in names} == set(KINDS)
    for name in names:
        for kind in ("svg", "pdf", "png", "csv"):
            assert (results / "report/figures" / f"{name}.{kind}").stat().st_size > 100


def test_same_tables_give_the_same_page(built, tmp_path, monkeypatch):
    monkeypatch.setattr(
        report.look, "save", empty_picture
    )  # test_figures compares the figures' bytes
    pages = [report.render(built[0] / "tables", tmp_path / name).read_bytes() for name in "ab"]
    assert pages[0] == pages[1]


def test_effectiveness_table_holds_recomputed_means(built):
    rows = read_table(built[0], "effectiveness-matched-toy")
    for model in MODELS:
        row = next(row for row in rows if row["Model"] == model)
        for title, masking in (
            ("Seen items ranked", "unmasked"),
            ("Seen items masked", "seen-masked"),
        ):
            for metric in ("hr@10", "ndcg@10", "mrr@10"):
                means = [
                    per_user(samples(model, s)[f"test/{masking}/rank"], metric).mean()
                    for s in SEEDS
                ]
                assert float(row[f"{title}: {metric.upper()}"]) == pytest.approx(np.mean(means))
        assert float(row["Seen items ranked: Share of oracle"]) == pytest.approx(
            float(row["Seen items ranked: NDCG@10"]) / 0.8
        )


def test_numbers_on_the_page_are_those_of_the_table(built):
    results, page = built
    row = next(
        r for r in read_table(results, "effectiveness-matched-toy") if r["Model"] == "sasrec"
    )
    assert f"{float(row['Seen items masked: NDCG@10']):.3f} ± " in page


def test_efficiency_table_holds_recomputed_medians(built):
    rows = read_table(built[0], "efficiency-matched-test-machine-cpu")
    row = next(row for row in rows if row["Model"] == "sasrec")
    step = np.load(built[0] / "runs/toy/matched/measure/L50-T2048/sasrec/samples.npz")[
        "train/step_s"
    ]
    assert float(row["Training: Training step (ms)"]) == pytest.approx(np.median(step))
    epoch = next(key for key in row if "Training epoch" in key)
    assert "extrapolated" in epoch
    assert float(row[epoch]) == pytest.approx(np.median(step.mean(axis=1) * 120))


def test_a_cpu_run_says_what_is_missing_and_how_to_get_it(built):
    assert "make setup CUDA=1" in built[1]
    assert (
        "Energy per training step (training), Energy per epoch (training): no NVIDIA device."
        in built[1]
    )


def test_tables_come_in_three_formats(built):
    folder = built[0] / "report/tables"
    stems = {file.stem for file in folder.iterdir()}
    assert {"versus-matched", "datasets", "machines", "differences-matched-toy"} <= stems
    assert {file.name for file in folder.iterdir()} == {
        f"{stem}.{kind}" for stem in stems for kind in ("csv", "md", "tex")
    }
    assert "**" in (folder / "effectiveness-matched-toy.md").read_text()
    tex = (folder / "effectiveness-matched-toy.tex").read_text()
    assert r"\textbf{" in tex
    assert not re.search(r"(?<!\\)%(?! )", tex.replace("% ", ""))


def test_the_leader_is_bold_only_with_enough_seeds(built, tmp_path):
    assert re.search(r'class="number best[^"]*"><span class="value">0\.\d+ ±', built[1])
    page = rendered(tmp_path, plan(seeds=(0,)))
    table = re.search(r'<table id="effectiveness-matched-toy".*?>.*?</table>', page, re.DOTALL)[0]
    assert "best" not in table
    assert 'class="number lead' in table
    assert "is not established" in page


def test_tracks_never_share_a_table(tmp_path):
    one, two = plan(track="matched"), plan(track="paper")
    both = grid(one["trainings"] + two["trainings"], one["measurements"] + two["measurements"])
    rendered(tmp_path, both)
    stems = {file.stem for file in (tmp_path / "report/tables").glob("*.csv")}
    for kind in ("effectiveness", "efficiency", "versus", "differences"):
        names = [stem for stem in stems if stem.startswith(f"{kind}-")]
        assert {stem.split("-")[1] for stem in names} == {"matched", "paper"}
    for stem in ("effectiveness-matched-toy", "effectiveness-paper-toy"):
        models = [row["Model"] for row in read_table(tmp_path, stem)]
        assert len(models) == len(set(models)) == 4


def test_a_gpu_has_its_own_table(tmp_path):
    gpu = {
        "device": "NVIDIA Test",
        "device_kind": "cuda",
        "machine": "1" * 12,
        "machine_name": "gpu-box",
    }
    wanted = plan()
    change = lambda: write_measurement(tmp_path, wanted["measurements"][1], environment=gpu)  # noqa: E731
    page = rendered(tmp_path, wanted, change)
    assert '<table id="efficiency-matched-gpu-box-cuda-full-length"' in page
    assert "Nothing was measured on a GPU" not in page
    cpu = read_table(tmp_path, "efficiency-matched-test-machine-cpu-full-length")
    assert {row["group"].split(":")[0] for row in cpu} == {
        "full-length batches over 1,000 items, L = 400"
    }


def test_text_from_outside_is_escaped(tmp_path):
    change = lambda: write_dataset(  # noqa: E731
        tmp_path,
        provenance={"file": "a.zip", "sha256": None, "url": None, "terms": "<script>x</script>", "citation": None,
                    "stand_in": "a & b"},
    )  # fmt: skip
    page = rendered(tmp_path, change=change)
    assert "<script" not in page
    assert "&lt;script&gt;" in page


def test_a_grid_in_which_everything_failed_still_renders(tmp_path):
    page = rendered(
        tmp_path,
        change=lambda: [
            *(
                write_training(tmp_path, t, status="crashed", reason="boom")
                for t in plan()["trainings"]
            ),
            *(
                write_measurement(tmp_path, m, status="oom", reason="full")
                for m in plan()["measurements"]
            ),
        ],
    )
    assert "No training ended ok." in page
    assert "10 experiments ended as crashed" in page
    assert len(report.check(tmp_path / "tables")) == 10 + 9


def test_a_grid_without_measurements_still_renders(tmp_path):
    page = rendered(tmp_path, grid(plan()["trainings"]))
    assert "Nothing was measured on a CPU" in page
    assert page.count("No records for this figure.") == 3


# --- flags and problems -------------------------------------------------------------------------------------------------


def test_a_clean_grid_has_no_flags_and_no_problems(built):
    assert 'class="flag' not in built[1]
    assert report.check(built[0] / "tables") == []


def test_a_model_below_popularity_is_a_problem(tmp_path):
    arrays = samples("sasrec", 0)
    worst = {name: np.full_like(a, 290) for name, a in arrays.items() if name.endswith("rank")}
    wanted = plan()
    found = flags_of(
        tmp_path, wanted,
        lambda: [write_training(tmp_path, t, arrays=arrays | worst) for t in wanted["trainings"]
                 if t["model"] == "sasrec"],
    )  # fmt: skip
    assert list(found) == ["A trained model is below Popularity"]
    problems = report.check(tmp_path / "tables")
    assert len(problems) == 2  # both maskings
    assert all(
        problem.startswith("SASRec is below Popularity on toy, L = 50") for problem in problems
    )


def test_a_baseline_below_popularity_is_no_problem(tmp_path):
    worst = {name: np.full_like(a, 290) for name, a in samples("markov", 0).items()}
    worst["users"] = samples("markov", 0)["users"]
    entry = training(model="markov")
    wanted = grid([training(model="popularity"), entry])
    assert flags_of(tmp_path, wanted, lambda: write_training(tmp_path, entry, arrays=worst)) == {}
    assert report.check(tmp_path / "tables") == []
    assert "markov" in BASELINES


def test_a_failed_record_is_a_flag_and_a_problem(tmp_path):
    entry = plan()["trainings"][1]
    found = flags_of(
        tmp_path,
        change=lambda: write_training(tmp_path, entry, status="timeout", reason="after 9 s"),
    )
    assert "1 experiment ended as timeout" in found
    assert report.check(tmp_path / "tables") == [f"{entry['path']}: timeout: after 9 s"]


def test_nan_is_a_problem(tmp_path):
    path = write_grid(tmp_path, plan())
    collect.collect(path, tmp_path, tmp_path / "tables")
    tables = collect.read(tmp_path / "tables")
    tables.frames["efficiency"].loc[0, "median"] = np.nan
    tables.frames["effectiveness"].loc[0, "value"] = np.nan
    collect.write(tables, tmp_path / "tables")
    assert len(report.check(tmp_path / "tables")) == 2


def test_still_improving_and_few_seeds_and_stand_in_and_dirty_code(tmp_path):
    entry = training(model="sasrec")
    found = flags_of(
        tmp_path, grid([entry]),
        lambda: write_training(tmp_path, entry, values={"still_improving": True},
                               data={"stand_in": "ranks instead of times"}, code={"dirty": True}),
    )  # fmt: skip
    assert set(found) == {
        "Still improving when stopped", "A single seed", "toy is a stand-in for the publisher's file",
        "Uncommitted code",
    }  # fmt: skip
    assert "SASRec (toy, L = 50, seed 0)" in found["Still improving when stopped"].text


def test_a_fallback_backend_is_named(tmp_path):
    scan = {
        "requested": "auto",
        "used": "reference",
        "fallback": True,
        "reason": "numba is not there",
    }
    wanted = grid(plan()["trainings"], [measurement(models=("mamba4rec",))])
    found = flags_of(
        tmp_path, wanted,
        lambda: write_measurement(tmp_path, wanted["measurements"][0], values={"backend": {"scan": scan}}),
    )  # fmt: skip
    assert "reference (numba is not there)" in found["Slow scan backend"].text
    rows = collect.read(tmp_path / "tables").frames["efficiency"]
    assert set(rows.backend) == {"reference"}


def test_noisy_times_are_flagged(tmp_path):
    wanted = plan()
    path = write_grid(tmp_path, wanted)
    collect.collect(path, tmp_path, tmp_path / "tables")
    tables = collect.read(tmp_path / "tables")
    frame = tables.frames["efficiency"]
    frame.loc[frame.metric == "step_s", "iqr"] = 0.3 * frame["median"]
    assert [flag.title for flag in findings.flags(tables)] == ["Noisy times"]


# --- headline -----------------------------------------------------------------------------------------------------------


def test_headline_names_the_leader_and_its_interval(built):
    tables = collect.read(built[0] / "tables")
    ((where, sentence),) = findings.headline(tables)
    value = np.mean(
        [per_user(samples("mamba4rec", s)["test/unmasked/rank"], "ndcg@10").mean() for s in SEEDS]
    )
    assert sentence.startswith(f"Mamba4Rec has the highest NDCG@10, {value:.3f} [")
    assert where == "toy, L = 50, track matched"
    assert "its lead over every other model exceeds the margin" in sentence
    assert "extrapolated from measured steps" in sentence


def test_equal_models_are_not_ranked(tmp_path):
    same = [training(model=m, seed=s) for m in ("sasrec", "mamba4rec") for s in SEEDS]

    def change():
        for entry in same:
            arrays = samples("sasrec", entry["seed"])
            write_training(tmp_path, entry, arrays=arrays)

    rendered(tmp_path, grid(same), change)
    comparisons = collect.read(tmp_path / "tables").frames["comparisons"]
    assert comparisons.difference.abs().max() == pytest.approx(0)
    assert "best" not in {json.dumps(v) for v in comparisons.verdict}
    assert "is not established" in (tmp_path / "report/index.html").read_text()


def read_table(results, name):
    with open(results / "report/tables" / f"{name}.csv", newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_builders_rank_models_in_order_of_skill():
    """Guards the fake records: the tests above rely on a clear winner and a clear loser."""
    scores = [
        per_user(ranks(m, 0), "ndcg@10").mean() for m in ("popularity", "sasrec", "mamba4rec")
    ]
    assert scores == sorted(scores)
