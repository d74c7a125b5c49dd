"""The planted changes of the self-test: they apply, they parse, and tier 1 names those that are its own."""

import ast
import json

import numpy as np
import pytest

from seqbench.code import ROOT
from seqbench.regression import golden, pairs, selftest, verdict, workbench

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


def test_rates_of_resampled_blocks(tmp_path):
    """Equal blocks give no failure, blocks slowed by 10 % give one every time."""
    rng = np.random.default_rng(0)
    for name, factor in (("equal", 1.0), ("model", 1.10)):
        seconds = 0.1 * np.exp(0.01 * rng.standard_normal((30, 4)))
        content = {
            "base": {"s": seconds[:, [0, 3]].tolist()},
            "head": {"s": (factor * seconds[:, 1:3]).tolist()},
        }
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    found = {r["planted"]: r for r in selftest.rates(tmp_path, blocks=(verdict.FEWEST,), draws=40)}
    assert found["equal"]["failure"] == 0 and found["model"]["failure"] > 0.95
