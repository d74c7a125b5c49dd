"""Steps within a budget, failures that are results, and the words for them."""

import itertools
import types

import pytest
import torch

from seqbench import measure
from seqbench.errors import UserError
from seqbench.evaluate import Diverged
from seqbench.experiment import Measurement


def paced(monkeypatch, seconds, **job):
    """Which steps count, where step n takes seconds[n] (the last one for ever)."""
    job = Measurement("d", "t", 8, (("m", ()),), **{"warmup": 3, "steps": 10, **job})
    now, clock = [0.0], types.SimpleNamespace(seconds=[])
    monkeypatch.setattr(measure.time, "perf_counter", lambda: now[0])
    counted = []
    durations = itertools.chain(seconds, itertools.repeat(seconds[-1]))
    for counts, duration in zip(measure._pace(job, clock), durations, strict=False):
        counted.append(counts)
        clock.seconds.append(duration)
        now[0] += duration
    return counted


def test_without_a_budget_all_steps_are_taken(monkeypatch):
    assert paced(monkeypatch, [100.0], budget_s=None) == [False] * 3 + [True] * 10


def test_fast_steps_do_not_notice_the_budget(monkeypatch):
    assert paced(monkeypatch, [0.1], budget_s=30.0) == [False] * 3 + [True] * 10


def test_slow_steps_get_less_warm_up_and_end_with_the_budget(monkeypatch):
    """4 s each in 12 s: one to warm up (a quarter is over after it), then two that count."""
    assert paced(monkeypatch, [4.0], budget_s=12.0) == [False, True, True]


def test_two_steps_count_even_where_the_budget_is_over(monkeypatch):
    assert paced(monkeypatch, [11.0], budget_s=12.0) == [False, True, True]


def test_without_warm_up_the_first_step_counts(monkeypatch):
    assert paced(monkeypatch, [0.1], budget_s=30.0, warmup=0, steps=3) == [True] * 3


def test_a_slow_first_step_compiles_and_is_no_reason_to_stop(monkeypatch):
    assert paced(monkeypatch, [50.0, 1.0], budget_s=12.0) == [False, True, True]


def test_a_step_that_takes_longer_than_the_budget_is_too_slow(monkeypatch):
    with pytest.raises(measure.TooSlow, match=r"one step took 40\.0 s, the budget is 12 s"):
        paced(monkeypatch, [50.0, 40.0], budget_s=12.0)


@pytest.mark.parametrize(
    ("error", "status", "reason", "size"),
    [
        (torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0"), "oom", "CUDA out", 2**31),
        (measure.TooSlow("one step took 40.0 s"), "timeout", "one step", None),
        (Diverged("loss is nan"), "diverged", "nan", None),
        (UserError("no such item"), "crashed", "no such item", None),
    ],
)  # fmt: skip
def test_expected_failures_are_ends(error, status, reason, size):
    def fail(*_):
        raise error

    end = measure._expecting_failures(fail, None, 1)
    assert (end.status, end.requested_bytes) == (status, size) and reason in end.reason


def test_a_bug_is_not_an_end():
    def fail(*_):
        raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes"):
        measure._expecting_failures(fail, None, 1)
