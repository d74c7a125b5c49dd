"""Report: self-contained, complete, every number recomputed here."""

import json
import re
import shutil
from html.parser import HTMLParser

import numpy as np
import pytest
from builders import (
    LENGTHS,
    SEEDS,
    THREE,
    curves_of,
    empty_picture,
    grid,
    measurement,
    plan,
    read_table,
    rendered,
    samples,
    training,
    write_dataset,
    write_measurement,
    write_training,
)

from seqbench.analysis.tidy import ranks_of
from seqbench.core.metrics import per_user
from seqbench.report import report

KINDS = (
    "curves",
    "effectiveness",
    "forest",
    "gap",
    "growth",
    "memory",
    "roofline",
    "time",
    "tradeoff",
)


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    results = tmp_path_factory.mktemp("results")
    small = plan()
    measured = [small["measurements"][0], measurement("toy", THREE, seq_len=200), *curves_of()]
    return results, rendered(results, grid(small["trainings"], measured), draw=True)


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


@pytest.mark.slow
def test_page_needs_nothing_but_itself(built):
    links = Links(built[1])
    assert all(target.startswith("#") for target in links.resources)
    assert "<script" not in built[1]
    assert not re.search(r"@import|url\((?!#)", built[1])
    assert links.open == []


@pytest.mark.slow
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


@pytest.mark.slow
def test_all_sections_and_figures_are_there(built):
    results, page = built
    for section in (
        "summary",
        "run",
        "data",
        "effectiveness",
        "efficiency",
        "roofline",
        "length",
        "size",
        "provenance",
    ):
        assert f'<section id="{section}">' in page
    assert page.count("<svg") == len(KINDS) + 1  # growth with length, and with batch and catalogue
    names = {file.stem for file in (results / "report/figures").iterdir()}
    assert {name.partition("-")[0] for name in names} == set(KINDS)
    for name in names:
        for kind in ("svg", "pdf", "png", "csv"):
            assert (results / "report/figures" / f"{name}.{kind}").stat().st_size > 100


@pytest.mark.slow
def test_same_tables_give_the_same_page(built, tmp_path, monkeypatch):
    monkeypatch.setattr(
        report.style, "save", empty_picture
    )  # test_figures compares the figures' bytes
    pages = [report.render(built[0] / "tables", tmp_path / name).read_bytes() for name in "ab"]
    assert pages[0] == pages[1]


@pytest.mark.slow
def test_effectiveness_table_holds_recomputed_means(built):
    rows = read_table(built[0], "effectiveness-matched-toy")
    for model in THREE:
        row = next(row for row in rows if row["Model"] == model)
        for title, seen_items in (
            ("Seen items kept", "kept"),
            ("Seen items excluded", "excluded"),
        ):
            for metric in ("hr@10", "ndcg@10", "mrr@10"):
                means = [
                    per_user(ranks_of(samples(model, s), "test", seen_items)[0], metric).mean()
                    for s in SEEDS
                ]
                assert float(row[f"{title}: {metric.upper()}"]) == pytest.approx(np.mean(means))
        assert float(row["Seen items kept: Share of oracle"]) == pytest.approx(
            float(row["Seen items kept: NDCG@10"]) / 0.8
        )


@pytest.mark.slow
def test_numbers_on_the_page_are_those_of_the_table(built):
    results, page = built
    row = next(
        r for r in read_table(results, "effectiveness-matched-toy") if r["Model"] == "sasrec"
    )
    assert f"{float(row['Seen items excluded: NDCG@10']):.3f} ± " in page


@pytest.mark.slow
def test_the_answer_stands_first(built):
    page = built[1]
    order = ("<h2>Findings</h2>", '<table id="short"', '<table id="scorecard-matched"', '<table id="choice-matched"', '<table id="versus-matched"', '<table id="time-to-quality-matched"')  # fmt: skip
    at = [page.index(text) for text in order]
    assert at == sorted(at)


@pytest.mark.slow
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


@pytest.mark.slow
def test_a_cpu_run_says_what_is_missing_and_how_to_get_it(built):
    assert "make setup CUDA=1" in built[1]
    assert (
        "Energy per training step (training), Energy per epoch (training): no NVIDIA device."
        in built[1]
    )


@pytest.mark.slow
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


@pytest.mark.slow
def test_the_leader_is_bold_only_with_enough_seeds(built, tmp_path):
    assert re.search(r'class="number best[^"]*"><span class="value">0\.\d+ ±', built[1])
    page = rendered(tmp_path, plan(seeds=(0,)))
    table = re.search(r'<table id="effectiveness-matched-toy".*?>.*?</table>', page, re.DOTALL)[0]
    assert "best" not in table
    assert 'class="number lead' in table


@pytest.mark.slow
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


@pytest.mark.slow
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
    assert '<table id="efficiency-matched-gpu-box-cuda-length-at-constant-tokens"' in page
    cpu = read_table(tmp_path, "efficiency-matched-test-machine-cpu-length-at-constant-tokens")
    assert {row["group"].split(":")[0] for row in cpu} == {
        f"full-length batches over 1,000 items, L = {length}" for length in LENGTHS[1:]
    }


@pytest.mark.slow
def test_text_from_outside_is_escaped(tmp_path):
    change = lambda: write_dataset(  # noqa: E731
        tmp_path,
        provenance={"file": "a.zip", "sha256": None, "url": None, "terms": "<script>x</script>", "citation": None,
                    "substitute_file": "a & b"},
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
    assert "10 jobs ended as crashed" in page
    assert len(report.check(tmp_path / "tables")) == 10 + 3  # the ends of curves are no problem


@pytest.mark.slow
@pytest.mark.parametrize("name", ["2024", "nan"])
def test_a_name_that_looks_like_something_else_still_renders(tmp_path, name):
    trainings = [training(name, m, name, seed=s) for m in THREE for s in SEEDS]
    page = rendered(tmp_path, grid(trainings, [measurement(name, THREE, name)]))
    assert f"effectiveness-{name}-{name}" in page


def test_a_grid_without_measurements_still_renders(tmp_path):
    page = rendered(tmp_path, grid(plan()["trainings"]))
    assert "Nothing was measured on a CPU" in page
    assert page.count("No records for this figure.") == 6


@pytest.mark.slow
def test_tables_without_tuned_settings_are_rendered(built, tmp_path, monkeypatch):
    """Those of the gate against regressions, or of an older checkout."""
    shutil.copytree(built[0] / "tables", tmp_path / "tables")
    file = tmp_path / "tables/settings.json"
    said = json.loads(file.read_text())
    del said["selected_settings"]
    file.write_text(json.dumps(said))
    monkeypatch.setattr(report.style, "save", empty_picture)
    text = report.render(tmp_path / "tables", tmp_path / "out").read_text(encoding="utf-8")
    assert '<table id="short"' in text and "Tuning" not in text
