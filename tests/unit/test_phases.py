"""Steps within a budget, failures that are results, and the words for them."""

import itertools
import json
import sys
import types

import pynvml
import pytest
import torch
from fake_nvml import GIB, FakeNvml

from seqbench.core.errors import UserError
from seqbench.core.jobs import MeasurementJob
from seqbench.hardware.nvml import NO_DEVICE, Reading
from seqbench.measuring import phases
from seqbench.training.ranking import Diverged


def paced(monkeypatch, seconds, **job):
    """Which steps count, where step n takes seconds[n] (the last one for ever)."""
    job = MeasurementJob("d", "t", 8, (("m", ()),), **{"warmup": 3, "steps": 10, **job})
    now, clock = [0.0], types.SimpleNamespace(seconds=[])
    monkeypatch.setattr(phases.time, "perf_counter", lambda: now[0])
    counted = []
    durations = itertools.chain(seconds, itertools.repeat(seconds[-1]))
    for counts, duration in zip(phases.steps(job, clock), durations, strict=False):
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
    with pytest.raises(phases.TooSlow, match=r"one step took 40\.0 s, the budget is 12 s"):
        paced(monkeypatch, [50.0, 40.0], budget_s=12.0)


@pytest.mark.parametrize(
    ("error", "status", "reason", "size"),
    [
        (torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0"), "oom", "CUDA out", 2**31),
        (phases.TooSlow("one step took 40.0 s"), "timeout", "one step", None),
        (Diverged("loss is nan"), "diverged", "nan", None),
        (UserError("no such item"), "crashed", "no such item", None),
    ],
)  # fmt: skip
def test_expected_failures_are_ends(error, status, reason, size):
    def fail(*_):
        raise error

    end = phases._expecting_failures(fail, None, 1)
    assert (end.status, end.requested_bytes) == (status, size) and reason in end.reason


def test_a_bug_is_not_an_end():
    def fail(*_):
        raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes"):
        phases._expecting_failures(fail, None, 1)


# --- the energy window, on a GPU that is a stand-in


@pytest.fixture
def energy(monkeypatch):
    """Joules per step over a window of ``window`` s in which a step takes 0.5 s of the fake's clock."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(phases.device, "synchronise", lambda _: None)

    def run(window=6.0, where="cuda", **scenario):
        fake = FakeNvml(**scenario)
        monkeypatch.setitem(sys.modules, "pynvml", fake)
        monkeypatch.setattr(phases.time, "perf_counter", lambda: fake.now)
        steps = []

        def step():
            fake.now += 0.5
            steps.append(fake.now)

        job = MeasurementJob("d", "t", 8, (("m", ()),), energy_window_s=window)
        return phases._energy(job, step, torch.device(where)), steps

    return run


def test_energy_per_step_is_the_counters_difference_over_the_steps(energy):
    reading, steps = energy()
    assert reading.value == pytest.approx(300.0 * 0.5)  # 300 W for half a second
    assert len(steps) == 12


def test_a_counter_that_wraps_within_the_window_is_unwrapped(energy):
    reading, _ = energy(energy_start_mj=2**32 - 900_000, energy_bits=32)
    assert reading.value == pytest.approx(150.0)


def test_a_window_that_the_counter_cannot_resolve_is_null(energy):
    reading, _ = energy(window=2.0)
    assert reading.value is None and "too short" in reading.reason


def test_a_gpu_that_is_lost_within_the_window_leaves_its_reason(energy):
    lost = {"nvmlDeviceGetTotalEnergyConsumption": (2, pynvml.NVML_ERROR_GPU_IS_LOST)}
    reading, steps = energy(fail=lost)  # the first reading is there, the second is not
    assert reading == Reading(None, "NVML: GPU is lost") and len(steps) == 12


def test_without_a_counter_no_time_is_spent_on_it(energy):
    fail = {"nvmlDeviceGetTotalEnergyConsumption": (1, pynvml.NVML_ERROR_NOT_SUPPORTED)}
    reading, steps = energy(fail=fail)
    assert reading == Reading(None, "NVML: Not Supported") and steps == []


@pytest.mark.parametrize(
    ("window", "where", "said"),
    [(0.0, "cuda", "no energy window"), (6.0, "cpu", "no NVIDIA device")],
)
def test_energy_that_nobody_asked_for_or_that_cannot_be_has_its_reason(energy, window, where, said):
    reading, steps = energy(window=window, where=where)
    assert reading.value is None and said in reading.reason and steps == []


def test_what_a_context_costs_is_read_before_the_model(monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(phases.device, "synchronise", lambda _: None)
    monkeypatch.setattr(torch, "zeros", lambda *_, **__: None)
    monkeypatch.setitem(sys.modules, "pynvml", FakeNvml())
    assert phases._context_bytes(torch.device("cuda")).value == 3 * GIB
    assert phases._context_bytes(torch.device("cpu")).reason == NO_DEVICE


def test_a_step_clips_as_the_training_of_its_model_does(monkeypatch):
    """Gradients of another size than the norm are scaled in the step that is timed and in the one that is counted."""
    models = ("sasrec", (("d_model", 8),)), ("gru4rec", (("d_model", 8),))
    job = MeasurementJob("full-length", "t", 6, models, 24, 4, rounds=1, steps=2, warmup=0, n_items=9, curve="batch-size", clip_norm=0.5, clip_norms=(("gru4rec", None),))  # fmt: skip
    assert MeasurementJob.from_json(job.to_json()) == job
    assert MeasurementJob.from_json(json.dumps(job.to_dict())) == job
    norms = []
    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", lambda _, norm: norms.append(norm))
    for name, wanted in (("sasrec", 0.5), ("gru4rec", None)):
        assert job.for_model(name)["clip_norm"] == wanted and "clip_norms" not in job.for_model(
            name
        )
        norms.clear()
        phases.measure_phase(job, name, "train", 0, None, 1)
        phases.count_phases(job, name, None, 1)
        assert set(norms) == ({wanted} if wanted else set()) and len(norms) >= 3 * bool(wanted)
