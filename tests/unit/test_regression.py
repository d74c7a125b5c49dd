"""The gate: counts against committed values, verdicts on pairs whose truth is known, and what is written of them."""

import itertools
import json

import numpy as np
import pytest

from seqbench.errors import UserError
from seqbench.regression import golden, pairs, verdict

VALUES = {"sasrec/L50/train/flops": 1000, "sasrec/test/unmasked/ndcg@10": 0.25}


# --- tier 1 -------------------------------------------------------------------------------------------------------


def noisy(values, spread):
    """A probe whose metric depends on the instruction set, as real ones do in the last digits."""

    def run(settings):
        off = spread if settings.get("ATEN_CPU_CAPABILITY") != "default" else 0.0
        return {k: v + off if isinstance(v, float) else v for k, v in values.items()}

    return run


@pytest.fixture
def accepted(tmp_path):
    file = tmp_path / "golden.json"
    golden.accept(file, noisy(VALUES, 1.3e-6))
    return file


def test_what_was_accepted_passes_and_its_spread_is_its_tolerance(accepted):
    content = json.loads(accepted.read_text())["by_torch"][golden.torch_version()]
    assert content["sasrec/L50/train/flops"] == {"value": 1000, "tolerance": 0.0}
    assert content["sasrec/test/unmasked/ndcg@10"]["tolerance"] == pytest.approx(
        golden.AMPLE * 1.3e-6, rel=0.1
    )
    assert golden.check(accepted, noisy(VALUES, 0)) == []
    within = {**VALUES, "sasrec/test/unmasked/ndcg@10": 0.25 + 5e-6}
    assert golden.check(accepted, lambda _: within) == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("sasrec/L50/train/flops", 1001),
        ("sasrec/test/unmasked/ndcg@10", 0.25001),
        ("sasrec/test/unmasked/ndcg@10", 0.2499),
    ],
)
def test_one_changed_value_is_found_and_named(accepted, name, value):
    (change,) = golden.check(accepted, lambda _: {**VALUES, name: value})
    assert change.name == name and change.after == value and name in str(change)


def test_new_and_missing_values_are_changes(accepted):
    new, gone = golden.check(accepted, lambda _: {"a": 1, "sasrec/L50/train/flops": 1000})
    assert (str(new), str(gone)) == ("a: new, 1", "sasrec/test/unmasked/ndcg@10: gone, was 0.25")


def test_a_gpu_is_compared_with_itself_only(tmp_path):
    file = tmp_path / "golden.json"
    values = {**VALUES, "gpu/A/peak": 100}
    golden.accept(file, lambda _: values)
    assert golden.check(file, lambda _: VALUES) == [], "no GPU here"
    assert golden.check(file, lambda _: {**VALUES, "gpu/B/peak": 7}) == [], "another one"
    (change,) = golden.check(file, lambda _: {**VALUES, "gpu/A/peak": 101})
    assert change.name == "gpu/A/peak"
    golden.accept(file, lambda _: {**VALUES, "gpu/B/peak": 7})
    assert {"gpu/A/peak", "gpu/B/peak"} < set(
        json.loads(file.read_text())["by_torch"][golden.torch_version()]
    )


def test_accepting_prints_what_it_changes_and_keeps_other_versions(accepted):
    content = json.loads(accepted.read_text())
    content["by_torch"]["1.0"] = {"x": {"value": 1, "tolerance": 0}}
    accepted.write_text(json.dumps(content))
    changes = golden.accept(accepted, noisy({**VALUES, "sasrec/L50/train/flops": 990}, 0))
    assert [str(c) for c in changes] == ["sasrec/L50/train/flops: 1,000 -> 990 (-1.00 %)"]
    assert "1.0" in json.loads(accepted.read_text())["by_torch"]
    assert golden.accept(accepted, noisy({**VALUES, "sasrec/L50/train/flops": 990}, 0)) == []


def test_a_torch_without_values_and_a_damaged_file_say_what_to_do(tmp_path, accepted, monkeypatch):
    monkeypatch.setattr(golden, "torch_version", lambda: "9.9")
    with pytest.raises(UserError, match=r"no values for torch 9\.9 .*regression --accept"):
        golden.check(accepted, noisy(VALUES, 0))
    broken = tmp_path / "broken.json"
    broken.write_text("{")
    with pytest.raises(UserError, match="damaged; restore it with `git checkout`"):
        golden.check(broken, noisy(VALUES, 0))


# --- tier 2: verdicts ---------------------------------------------------------------------------------------------


def blocks(n, factor=1.0, noise=0.02, drift=0.0, seed=0):
    """Seconds of base and head (n, 2) in the order base, head, head, base; drift: growth per process."""
    rng = np.random.default_rng(seed)
    times = 0.1 * np.exp(noise * rng.standard_normal((n, 4)) + drift * np.arange(4))
    times[:, 1:3] *= factor
    return times[:, [0, 3]], times[:, 1:3]


def test_a_planted_slowdown_needs_confirmation():
    base, head = blocks(12, 1.12)
    assert verdict.judge("s", base, head, None).verdict == verdict.UNSURE
    again = verdict.changes(*blocks(8, 1.12, seed=1))
    assert verdict.judge("s", base, head, again).verdict == verdict.SLOWER
    calm = verdict.judge("s", base, head, verdict.changes(*blocks(8, 1.0, seed=1)))
    assert calm.verdict == verdict.OK and "did not confirm" in calm.reason


@pytest.mark.parametrize(
    ("factor", "expected"), [(1.0, verdict.OK), (0.85, verdict.FASTER), (1.02, verdict.OK)]
)
def test_no_slowdown_passes(factor, expected):
    assert verdict.judge("s", *blocks(16, factor), None).verdict == expected


def test_a_steady_drift_is_not_taken_for_a_change():
    base, head = blocks(16, 1.0, drift=0.05)
    assert verdict.judge("s", base, head, None).verdict == verdict.OK
    assert verdict.estimate(verdict.noise(base)).low > 1.1, "base against itself shows it"


def test_a_restless_machine_cannot_tell_and_says_why():
    found = verdict.judge("s", *blocks(6, 1.05, noise=0.3), None)
    assert found.verdict == verdict.UNSURE and "restless" in found.reason
    assert verdict.judge("s", *blocks(3), None).reason == "only 3 blocks of the 4 that are needed"


def test_false_alarms_and_detection_by_simulation():
    """With noise of 2 % and 10 blocks: no false alarm in 200 equal pairs, and a change of 10 % is always found."""
    false, found = 0, 0
    for seed in range(200):
        base, head = blocks(10, 1.0, seed=seed)
        false += verdict.alarm(verdict.estimate(verdict.changes(base, head)))
        base, head = blocks(10, 1.10, seed=seed)
        found += verdict.alarm(verdict.estimate(verdict.changes(base, head)))
    assert false == 0 and found >= 195


def test_the_interval_covers_the_truth():
    covered = 0
    for seed in range(300):
        e = verdict.estimate(verdict.changes(*blocks(12, 1.03, noise=0.05, seed=seed)))
        covered += e.low <= 1.03 <= e.high
    assert 0.9 < covered / 300 <= 0.99  # a percentile interval of a median over few blocks


# --- tier 2: runner -----------------------------------------------------------------------------------------------


class Machine:
    """Stands in for processes: seconds by stage and side, a clock that they advance, and what was asked for."""

    def __init__(self, factors, noise=0.01, lacking=()):
        self.factors, self.noise, self.lacking = factors, noise, set(lacking)
        self.rng, self.now, self.asked = np.random.default_rng(0), 0.0, []

    def __call__(self, side, only):
        self.now += 10.0
        self.asked.append((side, only))
        result = {}
        for stage, factor in self.factors.items():
            if only and stage not in only:
                continue
            seconds = (
                0.1
                * np.exp(self._noise(stage) * self.rng.standard_normal())
                * (factor if side == "head" else 1.0)
            )
            result[stage] = (
                {"error": "ImportError: no such thing"}
                if (side, stage) in self.lacking
                else {"s": seconds}
            )
        return result

    def _noise(self, stage):
        return self.noise[stage] if isinstance(self.noise, dict) else self.noise

    def clock(self):
        return self.now


def compare(machine, budget=1200.0):
    return pairs.compare(machine, budget, machine.clock)


def test_blocks_are_interleaved_and_end_when_all_is_settled():
    machine = Machine({"a": 1.0, "b": 1.0})
    found = compare(machine)
    asked = [side for side, _ in machine.asked]
    assert machine.asked[:2] == [("base", pairs.WARMING), ("head", pairs.WARMING)], "they compile"
    assert asked[2:] == list(pairs.ORDER) * verdict.FEWEST
    assert {v.stage: v.verdict for v in found.verdicts()} == {"a": verdict.OK, "b": verdict.OK}


def test_a_slow_stage_is_confirmed_alone_and_named():
    machine = Machine({"a": 1.0, "train/sasrec": 1.12})
    found = compare(machine)
    assert {v.stage: v.verdict for v in found.verdicts()} == {
        "a": verdict.OK,
        "train/sasrec": verdict.SLOWER,
    }
    later = list(itertools.dropwhile(lambda ask: ask[1] is None, machine.asked[2:]))
    assert len(later) == 4 * verdict.FEWEST_AGAIN and all(
        only == ["train/sasrec"] for _, only in later
    )


def test_a_stage_that_a_side_lacks_is_not_compared_and_fails_nothing():
    found = compare(Machine({"a": 1.0, "new": 1.0}, lacking={("base", "new")}))
    said = {v.stage: v for v in found.verdicts()}
    assert (
        said["new"].verdict == verdict.GONE
        and said["new"].reason == "base: ImportError: no such thing"
    )
    assert verdict.overall(list(said.values())) == verdict.OK


def test_the_budget_ends_it_and_says_so():
    machine = Machine({"a": 1.0}, noise=0.5)
    found = compare(machine, budget=300.0)
    assert machine.now <= 0.8 * 300, (
        "what is left is kept for confirming an alarm, of which there is none"
    )
    assert found.verdicts()[0].verdict == verdict.UNSURE


def test_a_run_that_would_say_nothing_may_take_a_third_more():
    """Blocks of 40 s: four of them, which say something, end at 180 s; two more of one stage confirm an alarm."""
    calm, slow = Machine({"a": 1.0}), Machine({"a": 1.12})
    assert compare(calm, budget=150.0).verdicts()[0].verdict == verdict.OK
    assert calm.now == 180
    assert compare(slow, budget=200.0).verdicts()[0].verdict == verdict.SLOWER
    assert slow.now == 260
    short = Machine({"a": 1.0})
    assert "blocks of the 4" in compare(short, budget=130.0).verdicts()[0].reason
    assert short.now <= 130 * 4 / 3


def test_only_what_is_not_settled_runs_again():
    machine = Machine({"calm": 1.0, "restless": 1.0})
    machine.noise = {"calm": 0.005, "restless": 0.2}
    compare(machine, budget=1000.0)
    asked = [only for _, only in machine.asked[2:]]
    assert asked[: 4 * verdict.FEWEST] == [None] * 4 * verdict.FEWEST
    assert len(asked) > 4 * verdict.FEWEST
    assert all(only == ["restless"] for only in asked[4 * verdict.FEWEST :])


def test_a_block_of_few_stages_is_not_expected_to_take_as_long_as_one_of_all():
    """Full blocks of 44 s end at 198 s; a narrow one of 12 s still fits into what is left of 0.8 x 280 = 224 s."""

    class Quick(Machine):
        def __call__(self, side, only):
            found = super().__call__(side, only)
            self.now += 1.0 if only in (None, pairs.WARMING) else -7.0
            return found

    machine = Quick({f"calm{k}": 1.0 for k in range(19)} | {"restless": 1.0})
    machine.noise = {"restless": 0.3} | {f"calm{k}": 0.001 for k in range(19)}
    found = compare(machine, budget=280.0)
    assert len(found.base["calm0"]) == verdict.FEWEST
    assert len(found.base["restless"]) > verdict.FEWEST
    assert machine.now <= 224
