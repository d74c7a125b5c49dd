"""Tier 2: verdicts on pairs whose truth is known, and the plan that measures them."""

import numpy as np
import pytest
from gate_blocks import blocks, seconds

from tools.gate import pairs, verdict, workers

# --- tier 2: verdicts ---------------------------------------------------------------------------------------------


def test_a_planted_slowdown_needs_confirmation():
    change, own = blocks(12, 1.12)
    waiting = verdict.judge("s", change, own)
    assert waiting.verdict == verdict.UNSURE and waiting.waits and not waiting.open
    again = blocks(8, 1.12, seed=1)[0]
    assert verdict.judge("s", change, own, again).verdict == verdict.SLOWER
    calm = verdict.judge("s", change, own, blocks(8, 1.0, seed=1)[0])
    assert calm.verdict == verdict.OK and "did not confirm" in calm.reason


def test_new_pairs_that_leave_an_alarm_open_do_not_acquit():
    again = np.log([[1.03, 1.12], [1.06, 1.10]])
    assert verdict.estimate(again).low < 1.05 < verdict.estimate(again).high
    found = verdict.judge("s", *blocks(12, 1.12), again)
    assert found.verdict == verdict.UNSURE and found.waits and "leave open" in found.reason


@pytest.mark.parametrize(
    ("factor", "expected"), [(1.0, verdict.OK), (0.85, verdict.FASTER), (1.02, verdict.OK)]
)
def test_no_slowdown_passes(factor, expected):
    assert verdict.judge("s", *blocks(16, factor), None).verdict == expected


def test_equal_code_that_differs_decides_that_the_machine_cannot_tell():
    """Pairs that agree prove nothing while a side differs from itself: neither `same` nor, for as much, `slower`."""
    agree, restless = np.full((8, 2), 0.001), np.full((8, 2), np.log(1.3))
    found = verdict.judge("s", agree, restless)
    assert found.verdict == verdict.UNSURE and "restless" in found.reason
    assert verdict.judge("s", agree, np.zeros((8, 2))).verdict == verdict.OK
    for factor, alarms in ((1.2, False), (1.6, True)):
        for own in (
            restless,
            -restless,
        ):  # which of two equal processes is called the first is arbitrary
            assert verdict.judge("s", agree + np.log(factor), own).alarm is alarms
    assert verdict.judge("s", *blocks(2)).reason == "only 2 blocks of the 3 that are needed"


@pytest.mark.parametrize(("noise", "unsure"), [(0.01, 0.05), (0.05, 1.0), (0.1, 1.0)])
def test_false_alarms_and_what_is_left_open_by_simulation(noise, unsure):
    """Equal code, the fewest blocks and the fewest that confirm: no failure in 200 whatever the noise; the restless are said to be."""
    ends = [
        verdict.judge("s", *blocks(verdict.FEWEST, 1.0, noise, seed), blocks(verdict.FEWEST_AGAIN, 1.0, noise, 1000 + seed)[0]).verdict
        for seed in range(200)
    ]  # fmt: skip
    assert verdict.SLOWER not in ends
    assert ends.count(verdict.UNSURE) / 200 <= unsure and (noise < 0.1 or ends.count(verdict.UNSURE) > 190)  # fmt: skip


def test_ten_per_cent_are_found_by_simulation():
    found = [verdict.judge("s", *blocks(verdict.FEWEST, 1.10, 0.012, s)).alarm for s in range(200)]
    assert sum(found) > 195


@pytest.mark.parametrize(("n", "least"), [(3, 0.85), (4, 0.87), (8, 0.91)])
def test_the_interval_covers_the_truth(n, least):
    """As estimate's docstring says; blocks of two pairs."""
    covered = 0
    for seed in range(400):
        e = verdict.estimate(blocks(n, 1.03, noise=0.05, seed=seed)[0])
        covered += e.low <= 1.03 <= e.high
    assert least < covered / 400 <= 0.97


def test_the_worst_of_all_stages_decides_and_what_was_not_compared_is_not_passed():
    said = {v: verdict.Verdict("s", v, None, None) for v in (verdict.OK, verdict.SLOWER, verdict.UNSURE, verdict.GONE, verdict.BROKEN)}  # fmt: skip
    for names, expected in (
        ((verdict.OK, verdict.UNSURE, verdict.SLOWER), verdict.SLOWER), ((verdict.OK, verdict.BROKEN), verdict.SLOWER),
        ((verdict.OK, verdict.GONE), verdict.UNSURE), ((verdict.OK,), verdict.OK), ((), verdict.UNSURE),
    ):  # fmt: skip
        assert verdict.overall([said[n] for n in names]) == expected


# --- tier 2: plan -------------------------------------------------------------------------------------------------


class Machine:
    """Stands in for processes: a block takes 40 s or, of a few stages, so much less; what was asked for is kept."""

    def __init__(self, factors, noise=0.01, lacking=None, block_s=40.0):
        self.factors, self.noise, self.lacking, self.block_s = (
            factors,
            noise,
            lacking or {},
            block_s,
        )
        self.rng, self.now, self.asked, self.warmed = np.random.default_rng(0), 0.0, [], 0

    def warm(self):
        self.warmed += 1
        self.now += 20.0

    def block(self, only):
        assert self.warmed == 1
        stages = [stage for stage in self.factors if only is None or stage in only]
        self.now += self.block_s * (
            pairs.STARTING + (1 - pairs.STARTING) * len(stages) / len(self.factors)
        )
        self.asked.append(only)
        return {stage: self.one(stage) for stage in stages}

    def one(self, stage):
        if stage in self.lacking:
            return {"error": "ImportError: no such thing", "side": self.lacking[stage]}
        noise = self.noise[stage] if isinstance(self.noise, dict) else self.noise
        return workers.result(seconds(self.rng, noise, self.factors[stage])[:, None])

    def clock(self):
        return self.now


def compare(machine, budget=1200.0):
    return pairs.compare(machine, budget, machine.clock)


def said(found):
    return {v.stage: v.verdict for v in found.verdicts()}


def test_blocks_end_when_all_is_settled():
    machine = Machine({"a": 1.0, "b": 1.0})
    found = compare(machine)
    assert machine.asked == [None] * verdict.FEWEST
    assert said(found) == {"a": verdict.OK, "b": verdict.OK}
    assert [(b["took_s"], b["all"]) for b in found.blocks] == [(40.0, True)] * verdict.FEWEST


def test_a_slow_stage_is_confirmed_alone_and_named():
    machine = Machine({"a": 1.0, "train/sasrec": 1.12})
    found = compare(machine)
    assert said(found) == {"a": verdict.OK, "train/sasrec": verdict.SLOWER}
    again = machine.asked[verdict.FEWEST :]
    assert again == [["train/sasrec"]] * verdict.FEWEST_AGAIN
    assert [b["all"] for b in found.blocks[-2:]] == [False, False], "they are kept too"


def test_a_confirmation_goes_on_until_it_has_said_something():
    """The first two new blocks are noisy and leave the alarm open; those after them settle it."""
    machine = Machine({"a": 1.12})
    machine.noise = {"a": 0.005}
    calm = machine.one

    def noisy(stage):
        found = calm(stage)
        if 0 <= len(machine.asked) - 1 - verdict.FEWEST < verdict.FEWEST_AGAIN:
            found["change"] = [found["change"][0], found["change"][1] - 0.08]
        return found

    machine.one = noisy
    found = compare(machine)
    assert len(machine.asked) > verdict.FEWEST + verdict.FEWEST_AGAIN and said(found) == {
        "a": verdict.SLOWER
    }


def test_a_stage_that_base_lacks_is_not_compared_and_one_that_head_breaks_fails():
    found = compare(Machine({"a": 1.0, "new": 1.0}, lacking={"new": "base"}))
    assert said(found) == {"a": verdict.OK, "new": verdict.GONE}
    assert found.verdicts()[1].reason == "base: ImportError: no such thing"
    assert verdict.overall(found.verdicts()) == verdict.UNSURE, "what was not compared did not pass"
    found = compare(Machine({"a": 1.0, "new": 1.0}, lacking={"new": "head"}))
    assert said(found)["new"] == verdict.BROKEN and verdict.overall(found.verdicts()) == verdict.SLOWER  # fmt: skip


def test_a_stage_that_fails_once_is_no_longer_timed_and_its_error_is_kept():
    machine = Machine({"a": 1.12, "b": 1.0})
    calm = machine.one
    machine.one = lambda stage: (
        {"error": "the process ended: signal 9", "side": "head"}
        if stage == "a" and len(machine.asked) == verdict.FEWEST + 1
        else calm(stage)
    )
    found = compare(machine)
    assert (
        said(found) == {"b": verdict.OK, "a": verdict.BROKEN}
        and len(machine.asked) == verdict.FEWEST + 1
    )


def test_where_everything_fails_it_ends_at_once():
    machine = Machine({"a": 1.0, "b": 1.0}, lacking={"a": "base", "b": "base"})
    assert said(compare(machine)) == {"a": verdict.GONE, "b": verdict.GONE} and len(machine.asked) == 1  # fmt: skip


def test_the_budget_ends_it_and_says_so():
    machine = Machine({"a": 1.0}, noise=0.5)
    found = compare(machine, budget=310.0)
    assert machine.now == 300, "a block of 40 s more would not fit"
    assert found.verdicts()[0].verdict == verdict.UNSURE


def test_a_budget_for_fewer_blocks_than_say_anything_says_so():
    machine = Machine({"a": 1.0})
    assert "only 2 blocks of the 3" in compare(machine, budget=130.0).verdicts()[0].reason
    assert machine.now == 100


def test_while_an_alarm_waits_time_is_kept_to_confirm_it():
    """Blocks of all end at 140 s, of one of two stages take 25 s: two of them fit into 0.8 x 250 s, and two that confirm into the rest."""
    noise = {"slow": 0.005, "restless": 0.5}
    machine = Machine({"slow": 1.12, "restless": 1.0}, noise)
    found = compare(machine, budget=250.0)
    assert machine.asked[verdict.FEWEST :] == [["restless"]] * 2 + [["slow"]] * 2
    assert said(found)["slow"] == verdict.SLOWER and machine.now == 240
    calm = Machine({"slow": 1.0, "restless": 1.0}, noise)
    compare(calm, budget=250.0)
    assert calm.asked[verdict.FEWEST :] == [["restless"]] * 4, "no alarm, nothing to keep it for"


def test_blocks_that_would_not_be_enough_to_confirm_an_alarm_are_not_begun():
    """Blocks end at 140 s; one of one stage takes 40 s as well, and two are needed."""
    slow = Machine({"slow": 1.12}, noise=0.005)
    (left,) = compare(slow, budget=210.0).verdicts()
    assert slow.now == 140 and left.reason == "an alarm that there was no time to confirm"
    again = Machine({"slow": 1.12}, noise=0.005)
    assert said(compare(again, budget=220.0)) == {"slow": verdict.SLOWER} and again.now == 220


def test_only_what_is_not_settled_runs_again():
    machine = Machine({"calm": 1.0, "restless": 1.0}, {"calm": 0.005, "restless": 0.2})
    compare(machine, budget=1000.0)
    assert machine.asked[: verdict.FEWEST] == [None] * verdict.FEWEST
    assert len(machine.asked) > verdict.FEWEST
    assert all(only == ["restless"] for only in machine.asked[verdict.FEWEST :])


def test_a_block_of_few_stages_is_not_expected_to_take_as_long_as_one_of_all():
    """Full blocks of 40 s end at 140 s; a narrow one of about 10 s still fits into what is left of 164 s."""
    names = [f"calm{k}" for k in range(19)]
    machine = Machine(dict.fromkeys([*names, "restless"], 1.0), dict.fromkeys(names, 0.001) | {"restless": 0.3})  # fmt: skip
    found = compare(machine, budget=164.0)
    assert len(found.change["calm0"]) == verdict.FEWEST < len(found.change["restless"])
    assert machine.now <= 164
