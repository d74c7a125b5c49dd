"""The planted changes of the self-test: they apply, they parse, and tier 1 names those that are its own."""

import ast
import contextlib
import json

import numpy as np
import pytest

from seqbench.code import ROOT
from seqbench.errors import UserError
from seqbench.regression import golden, pairs, rates, selftest, verdict, workbench

pytestmark = pytest.mark.skipif(
    golden.torch_version() not in json.loads(golden.FILE.read_text())["by_torch"],
    reason="no golden values for this version of torch",
)


@pytest.mark.parametrize("name", ["model", "preparing", "documentation", "activations", "metric"])
def test_every_plant_applies_to_a_copy_and_leaves_the_checkout_alone(name):
    (plant,) = [p for p in selftest.plants() if p.name == name]
    before = (ROOT / plant.file).read_text()
    with selftest.planted(plant) as copy:
        after = (copy / plant.file).read_text()
        assert after != before and plant.text in after
        if plant.file.endswith(".py"):
            ast.parse(after)
        assert (copy / "seqbench" / "regression" / "stages.py").exists()
    assert (ROOT / plant.file).read_text() == before and not copy.exists()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["activations", "metric"])
def test_tier_1_finds_what_is_planted_and_names_nothing_else(name):
    """Against this checkout itself, so that values that differ on this machine are no matter."""
    (plant,) = [p for p in selftest.plants() if p.name == name]
    own = {n: {"value": v} for n, v in golden.run_probe(golden.PORTABLE).items()}
    with selftest.planted(plant) as copy:
        changes = golden.compare(own, golden.run_probe(golden.PORTABLE, root=copy))
    assert changes and all(plant.blamed in change.name for change in changes)
    if name == "activations":
        (kept,) = [c for c in changes if c.name == "sasrec/L50/train/saved_bytes"]
        assert 1.005 < kept.after / kept.before < 1.02


@pytest.mark.slow
def test_a_worker_times_the_stages_of_a_checkout_and_reports_what_it_lacks(tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    run = pairs.runner({"base": ROOT, "head": tmp_path / "nothing"}, data)
    stages = ["train/sasrec/L50", "inference/gru4rec/L200", "report"]
    found = run("base", stages)
    assert list(found) == stages and all(found[s]["s"] > 0 for s in stages[:2])
    assert "tables" in found["report"]["error"], "no tables were made for it"
    assert all("error" in result for result in run("head", stages).values())


def test_the_workbench_has_what_the_stages_read(tmp_path, monkeypatch):
    monkeypatch.setattr(workbench, "ROWS", 1000)
    folder = workbench.make(tmp_path)
    assert (folder / "small" / "dataset.json").exists()
    assert len((folder / "million.csv").read_text().splitlines()) == 1001
    assert (folder / "tables" / "summary.csv").exists()


def write_blocks(folder, name, factors, noise=0.01, n=30):
    """Seconds of n blocks: by stage, how much slower head is."""
    rng = np.random.default_rng(0)
    base, head = {}, {}
    for stage, factor in factors.items():
        seconds = 0.1 * np.exp(noise * rng.standard_normal((n, 4)))
        base[stage], head[stage] = seconds[:, [0, 3]].tolist(), (factor * seconds[:, 1:3]).tolist()
    (folder / f"{name}.json").write_text(json.dumps({"base": base, "head": head}))


def test_rates_of_resampled_blocks(tmp_path):
    """Equal blocks give no failure, blocks slowed by 10 % give one every time."""
    write_blocks(tmp_path, "documentation-0", {"prepare": 1.0, "train/sasrec/L50": 1.0})
    write_blocks(tmp_path, "model-0", {"prepare": 1.0, "train/sasrec/L50": 1.10})
    write_blocks(tmp_path, "model-1", {"prepare": 1.0, "train/sasrec/L50": 1.10})
    logs = rates.read([tmp_path])
    assert {key: len(v) for key, v in logs.items()} == {
        ("equal", "prepare"): 90, ("equal", "train/sasrec/L50"): 30, ("model", "train/sasrec/L50"): 60,
    }  # fmt: skip
    found = {(r.planted, r.stage): r for r in rates.rates(logs, blocks=(verdict.FEWEST,), draws=40)}
    assert found["equal", "prepare"].failure == found["equal", "any"].failure == 0
    slowed = found["model", "train/sasrec/L50"]
    assert slowed.failure > 0.95 and slowed.pairs == 120
    assert slowed.median == pytest.approx(0.10, abs=0.01) and slowed.spread == pytest.approx(0.014, abs=0.003)  # fmt: skip
    table = rates.to_markdown(list(found.values()))
    assert "| model | train/sasrec/L50 | 120 | +" in table
    assert all(line.count("|") == table.splitlines()[0].count("|") for line in table.splitlines())


def test_noise_beyond_the_threshold_alarms_and_mostly_fails_to_be_confirmed(tmp_path):
    write_blocks(tmp_path, "documentation-0", {"prepare": 1.0}, noise=0.15)
    (one, any_) = rates.rates(rates.read([tmp_path]), blocks=(4,), draws=400)
    assert 0 < one.failure < one.alarm < 0.25
    assert any_.failure == pytest.approx(one.failure)


def test_nothing_that_was_measured_is_overwritten(tmp_path):
    assert selftest._free(tmp_path, "model").name == "model-0.json"
    write_blocks(tmp_path, "model-0", {"prepare": 1.0})
    assert selftest._free(tmp_path, "model").name == "model-1.json"


def test_a_case_is_right_only_if_it_names_what_was_planted(monkeypatch, tmp_path):
    """The gate's answer is made up here; the judgement of it is what is tested."""
    model = next(p for p in selftest.plants() if p.name == "model")
    monkeypatch.setattr(
        selftest, "_probe", lambda root: {n: v["value"] for n, v in selftest._golden().items()}
    )
    monkeypatch.setattr(selftest, "planted", lambda plant: contextlib.nullcontext(tmp_path))
    for slow, right in (
        (["train/sasrec/L50"], True),
        ([], False),
        (["train/sasrec/L50", "prepare"], False),
    ):
        found = pairs.Comparison(
            base={s: [[1.0, 1.0]] * 4 for s in ("train/sasrec/L50", "prepare")},
            head={
                s: [[1.2 if s in slow else 1.0] * 2] * 4 for s in ("train/sasrec/L50", "prepare")
            },
            confirming={s: [[0.18, 0.18]] * 4 for s in slow},
        )
        monkeypatch.setattr(pairs, "compare", lambda *a, found=found: found)
        case = selftest._case(model, tmp_path, 1.0, tmp_path / "blocks" / "model-0.json")
        assert case.right is right
        assert json.loads((tmp_path / "blocks" / "model-0.json").read_text())["base"] == found.base


def test_an_unknown_plant_is_one_line_and_measures_nothing(tmp_path):
    with pytest.raises(
        UserError, match="--plants: there is no plant 'modle'; there are: model, preparing"
    ):
        selftest.selftest(1.0, 1, tmp_path, ["modle"])
    assert not list(tmp_path.iterdir())
