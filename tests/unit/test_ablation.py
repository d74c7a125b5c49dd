"""The way from one track to another: ratios by hand, rows in the declared order, and the shipped configuration."""

import json

import pytest
import yaml
from builders import grid, measurement, training, write_dataset, write_measurement, write_training

from seqbench.analysis import collect
from seqbench.config import load
from seqbench.config.grid import grid as span
from seqbench.config.model_files import MODELS
from seqbench.core.errors import UserError
from seqbench.report import ablation, report

pytestmark = pytest.mark.slow

STEPS = ["paper", "paper-1", "matched"]
NAMES = ("mamba4rec", "sasrec", "bert4rec")
SPEED = {"paper": 4.0, "paper-1": 2.0, "matched": 1.0}


@pytest.fixture(scope="module")
def shown(tmp_path_factory):
    root = tmp_path_factory.mktemp("ablation")
    results = root / "results"
    write_dataset(results)
    jobs = [measurement("toy", NAMES, track) for track in STEPS]
    trainings = [training("toy", name, "matched") for name in NAMES]
    for k, job in enumerate(jobs):
        write_measurement(results, job, values={"steps_per_epoch": 100 * SPEED[job["track"]] + k})
    for entry in trainings:
        write_training(results, entry)
    plan = grid(trainings, jobs)
    plan["report"]["ablation"] = STEPS
    (results / "grid.json").write_text(json.dumps(plan))
    collect.collect(results / "grid.json", results, root / "tables")
    return report.render(root / "tables", root / "report"), collect.read(root / "tables")


def test_steps_stand_in_their_order_with_ratios_of_the_medians(shown):
    _, tables = shown
    (table,) = ablation.tables(tables)
    start = next(k for k, row in enumerate(table.rows) if row[0].text.startswith("Training epoch"))
    rows = table.rows[start + 1 : start + 4]
    assert [row[0].text for row in rows] == STEPS
    cost = tables.frames["efficiency"].set_index(["track", "model", "metric"])["median"]
    for row in rows:
        own = {name: cost[row[0].text, name, "epoch_s"] for name in NAMES}
        assert [cell.value for cell in row[1:4]] == [own[name] for name in NAMES]
        assert [cell.value for cell in row[4:]] == pytest.approx(
            [own["mamba4rec"] / own[comparator] for comparator in NAMES[1:]]
        )
    assert rows[0][1].value > rows[1][1].value > rows[2][1].value


def test_quality_stands_beside_where_it_is_known(shown):
    page, tables = shown
    (table,) = ablation.tables(tables)
    start = next(k for k, row in enumerate(table.rows) if row[0].text.startswith("Test NDCG@10"))
    assert [row[0].text for row in table.rows[start + 1 :]] == ["matched"]
    assert 'id="ablation"' in page.read_text()
    assert (page.parent / "tables" / "ablation-toy-L50-test-machine.csv").exists()


def test_without_declared_steps_tracks_never_meet(shown):
    _, tables = shown
    tables.settings["ablation"] = []
    assert ablation.tables(tables) == []


@pytest.fixture(scope="module")
def shipped():
    root = MODELS.parent / "config"
    return load.load([root / "ablation.yaml"])


def test_each_step_of_the_shipped_ablation_changes_one_thing(shipped):
    """What a model's training and hyper-parameters differ in from step to step, by the name of the step."""
    jobs = span(shipped, MODELS).measurements
    steps = shipped["report"]["ablation"]
    known = {
        "paper-1-gelu": {"gelu"}, "paper-2-attention": {"attention", "attn_dropout"}, "paper-3-positions": {"compute_all_positions"},
        "paper-4-kernels": {"kernels"}, "paper-5-buckets": {"bucket_by_length"},
        "paper-6-objective": {"objective", "masking", "mask_prob", "last_only", "item_bias"},
    }  # fmt: skip
    for model in ("mamba4rec", "sasrec", "bert4rec", "gru4rec"):
        found = {job.track: settings(job, model) for job in jobs}
        for before, after in zip(steps[:-2], steps[1:-1], strict=True):
            a, b = found[before], found[after]
            changed = {k for k in a.keys() | b.keys() if a.get(k) != b.get(k)}
            assert changed <= known[after], (model, after, changed)
    assert known.keys() == set(steps[1:-1])


def settings(job, model):
    return {k: v for k, v in job.to_dict().items() if k not in ("models", "track")} | dict(
        dict(job.models)[model]
    )


def test_the_paper_track_is_recboles_setting():
    paper = load.load([MODELS.parent / "config" / "paper.yaml"])
    found = {
        e.model: e
        for e in span(paper, MODELS).trainings
        if e.track == "paper" and e.dataset == "amazon-beauty"
    }
    training = found["sasrec"].training
    assert (training.objective, training.targets_per_step, training.learning_rate) == (
        "prefix",
        2048,
        0.001,
    )
    assert training.compute_all_positions and (training.kernels, training.bucket_by_length) == (
        "eager",
        False,
    )
    assert (training.max_steps, training.eval_every, training.patience_steps) == (
        300 * 65,
        65,
        10 * 65,
    )
    hyper = {name: dict(e.hyperparameters) for name, e in found.items()}
    assert (hyper["sasrec"]["dropout"], hyper["sasrec"]["attn_dropout"]) == (0.5, 0.5)
    assert (hyper["bert4rec"]["masking"], hyper["bert4rec"]["last_only"]) == ("recbole", 0.5)
    assert (hyper["gru4rec"]["dropout"], hyper["gru4rec"]["d_hidden"]) == (0.3, 128)
    assert (hyper["mamba4rec"]["dropout"], hyper["mamba4rec"]["n_layers"]) == (0.4, 1), (
        "the dataset's dropout"
    )


def test_an_unknown_step_is_named(shipped):
    with pytest.raises(
        UserError, match=r"report\.ablation = 'papers': unknown; did you mean 'paper'"
    ):
        load.validate({**shipped, "report": {**shipped["report"], "ablation": ["papers"]}})


def test_the_shipped_protocols_are_valid_and_pair_with_their_bases():
    path = MODELS.parent / "config" / "protocols.yaml"
    names = yaml.safe_load(path.read_text())["run"]["datasets"]
    merged = load.load([path])
    for name in names:
        base = next(b for b in ("ml-1m", "ml-100k", "amazon-beauty") if name.startswith(b))
        own, other = merged["datasets"][name], merged["datasets"][base]
        assert (
            own["source"] == other["source"] and own["hyperparameters"] == other["hyperparameters"]
        )
        assert (
            own.get("training") == other.get("training")
            and max(own["seq_lens"]) in other["seq_lens"]
        )
