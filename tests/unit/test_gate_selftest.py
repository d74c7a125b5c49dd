"""The planted changes of the self-test: they apply, they parse, and tier 1 names those that are its own."""

import ast
import contextlib
import functools
import itertools
import json

import numpy as np
import pytest

from seqbench.core.errors import UserError
from seqbench.core.provenance import ROOT
from tools.gate import command, golden, pairs, rates, selftest, verdict, workbench, workers
from tools.gate.__main__ import main

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
        assert (copy / "tools" / "gate" / "stages.py").exists()
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
def test_the_workbench_has_what_the_stages_read(tmp_path, monkeypatch):
    monkeypatch.setattr(workbench, "ROWS", 1000)
    folder = workbench.make(tmp_path)
    assert (folder / "small" / "dataset.json").exists()
    assert len((folder / "million.csv").read_text().splitlines()) == 1001
    assert (folder / "tables" / "summary.csv").exists()


def write_blocks(folder, name, factors, noise=0.01, n=30):
    """A file of n blocks: by stage, how much slower head is."""
    rng, found = np.random.default_rng(0), []
    for _ in range(n):
        stages = {}
        for stage, factor in factors.items():
            seconds = 0.1 * np.exp(noise * rng.standard_normal(4)) * [1, factor, factor, 1]
            stages[stage] = workers.result(seconds[:, None])
        found.append({"took_s": 40.0, "all": True, "stages": stages})
    found.append(
        {"took_s": 9.0, "all": False, "stages": {"prepare": found[0]["stages"]["prepare"]}}
    )
    (folder / f"{name}.json").write_text(json.dumps({"warm_s": 20.0, "blocks": found}))


def test_rates_are_those_of_the_gate_itself_on_measured_blocks(tmp_path):
    """Equal blocks give no failure, blocks slowed by 10 % a right one every time, partial blocks are not drawn."""
    write_blocks(tmp_path, "documentation-0", {"prepare": 1.0, "train/sasrec/L50": 1.0})
    write_blocks(tmp_path, "model-0", {"prepare": 1.0, "train/sasrec/L50": 1.10})
    write_blocks(tmp_path, "model-1", {"prepare": 1.0, "train/sasrec/L50": 1.10})
    blocks = rates.read([tmp_path])
    assert {plant: len(pool) for plant, pool in blocks.items()} == {"equal": 30, "model": 60}
    found, spreads = rates.rates(blocks, budget_s=300.0, gates=30)
    equal, model = found
    assert (equal.planted, equal.pairs, equal.passed, equal.seconds) == ("equal", 60, 1.0, 140.0)
    assert model.found > 0.95 and model.other == 0 and model.seconds > 170, "it confirms"
    assert [s.stage for s in spreads] == ["prepare", "train/sasrec/L50"]
    assert spreads[0].change == pytest.approx(0.014, abs=0.003) and spreads[0].said[verdict.OK] == 1
    table = rates.to_markdown(found, spreads)
    assert "| model | 120 | 0 | 30 | " in table


def test_rates_go_into_a_folder_that_does_not_exist_yet(tmp_path, monkeypatch, capsys):
    blocks = tmp_path / "blocks"
    blocks.mkdir()
    write_blocks(blocks, "equal-0", {"prepare": 1.0})
    monkeypatch.setattr(rates, "GATES", 10)
    options = ["--rates", str(blocks), "--budget-s", "300", "--out", str(tmp_path / "new" / "er")]
    assert main(["selftest", *options]) == 0
    assert (tmp_path / "new/er/rates.md").read_text() == capsys.readouterr().out


def test_noise_beyond_the_threshold_is_left_open_and_fails_nothing(tmp_path):
    write_blocks(tmp_path, "equal-0", {"prepare": 1.0}, noise=0.15)
    ((equal,), (spread,)) = rates.rates(rates.read([tmp_path]), gates=60)
    assert equal.unsure > 0.9 and equal.other < 0.02
    assert spread.equal_code == pytest.approx(0.21, abs=0.06)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [(None, None, "has no .*json"), ("model-0.json", "[]", "does not hold blocks"), ("a-0.json", '{"blocks": [{}]}', "does not hold")],
)  # fmt: skip
def test_a_folder_without_blocks_is_one_line(tmp_path, name, content, said):
    if name:
        (tmp_path / name).write_text(content)
    with pytest.raises(UserError, match=said):
        rates.read([tmp_path])


def test_nothing_that_was_measured_is_overwritten(tmp_path):
    assert selftest._free(tmp_path, "model").name == "model-0.json"
    write_blocks(tmp_path, "model-0", {"prepare": 1.0})
    assert selftest._free(tmp_path, "model").name == "model-1.json"


class Blocks:
    """In place of processes: head's stages take so much longer, with so much noise."""

    def __init__(self, slow, noise=0.0):
        self.slow, self.noise, self.rng = slow, noise, np.random.default_rng(0)

    def warm(self):
        pass

    def block(self, only):
        found = {}
        for stage in only or ("train/sasrec/L50", "prepare"):
            factor = 1.2 if stage in self.slow else 1.0
            seconds = np.exp(self.noise * self.rng.standard_normal(4)) * [1, factor, factor, 1]
            found[stage] = workers.result(seconds[:, None])
        return found


@pytest.mark.parametrize(
    ("plant", "slow", "noise", "end"),
    [
        ("model", ["train/sasrec/L50"], 0.0, "right"),
        ("model", [], 0.0, "wrong"),
        ("model", ["train/sasrec/L50", "prepare"], 0.0, "wrong"),
        ("model", [], 0.3, "cannot tell"),
        ("documentation", [], 0.0, "right"),
        ("documentation", [], 0.3, "cannot tell"),
        ("documentation", ["prepare"], 0.0, "wrong"),
    ],
)
def test_a_case_is_right_only_if_the_gate_names_what_was_planted(monkeypatch, tmp_path, plant, slow, noise, end):  # fmt: skip
    """The seconds are made up here; the gate, and the judgement of what it says, are what is tested."""
    (plant,) = [p for p in selftest.plants() if p.name == plant]
    monkeypatch.setattr(
        selftest, "_probe", lambda root: {n: v["value"] for n, v in selftest._golden().items()}
    )
    monkeypatch.setattr(selftest, "planted", lambda plant: contextlib.nullcontext(ROOT))
    monkeypatch.setattr(command, "Workers", lambda *a: Blocks(slow, noise))
    ticks = itertools.count()  # seconds are readings of the clock: the machine's own have no say
    compare = functools.partial(pairs.compare, clock=lambda: next(ticks))
    monkeypatch.setattr(pairs, "compare", compare)
    case = selftest._case(plant, tmp_path, 80.0, tmp_path)
    assert case.end == end, case
    (file,) = (tmp_path / "blocks").glob(f"{plant.name}-*.json")
    assert len(json.loads(file.read_text())["blocks"]) >= verdict.FEWEST
    assert (tmp_path / "history.jsonl").read_text().count("\n") == 1


def test_a_gate_that_measured_nothing_is_not_right(monkeypatch, tmp_path):
    (plant,) = [p for p in selftest.plants() if p.name == "documentation"]
    monkeypatch.setattr(selftest, "_probe", lambda root: {n: v["value"] for n, v in selftest._golden().items()})  # fmt: skip
    monkeypatch.setattr(selftest, "planted", lambda plant: contextlib.nullcontext(ROOT))
    monkeypatch.setattr(command, "against", lambda *a: (None, "base cannot be run"))
    case = selftest._case(plant, tmp_path, 1.0, tmp_path)
    assert (case.end, case.said) == ("cannot tell", "base cannot be run")
    assert selftest.status([case]) == 3


def test_an_unknown_plant_is_one_line_and_measures_nothing(tmp_path):
    with pytest.raises(
        UserError, match="--plants: there is no plant 'modle'; there are: model, preparing"
    ):
        selftest.selftest(1.0, 1, tmp_path, ["modle"])
    assert not list(tmp_path.iterdir())
