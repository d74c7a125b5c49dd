"""Measuring one phase of one model in a fresh process: training steps or inference batches; and what costs need no clock.

Times are wall times with the device synchronised at both ends; warm-up steps, which compile and allocate, are reported
apart and never counted.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

import models
from models._errors import ModelError

from ..core.errors import UserError
from ..core.jobs import MeasurementJob, Training
from ..data import Dataset, open_dataset
from ..hardware import device
from ..hardware.arithmetic import arithmetic
from ..hardware.device import EventClock, Stopwatch
from ..hardware.nvml import NO_DEVICE, Nvml, Reading, energy_between
from ..hardware.peak_throughput import ceilings
from ..hardware.sampler import Sampler
from ..training import ranking
from ..training.loop import make_optimizer, training_step
from ..training.supervisor import End
from . import counting, workload

Samples = dict[str, Any]
Missing = dict[str, str]


def measure_phase(
    job: MeasurementJob, name: str, phase: str, round_: int, dataset: Path | None, threads: int
) -> dict[str, Any] | End:
    """Samples, facts and missing values of one phase of one model, or how it failed as expected."""
    job = job.of(name)

    def measured(data: Dataset | None, where: torch.device) -> dict[str, Any]:
        torch.manual_seed(round_)
        context = _context_bytes(where)
        model = _model(job, name, data, where)
        device.reset_peaks(where)
        with Sampler(_nvml(where)) as sampler:
            run = _training if phase == "train" else _inference
            samples, missing = run(job, model, data, round_, where, sampler)
        for metric, reading in {
            "context_bytes": context, **device.memory(where), **sampler.readings
        }.items():  # fmt: skip
            _put(samples, missing, metric, reading)
        return {
            "samples": {
                f"{phase}/{k}": np.asarray(v, dtype=np.float64) for k, v in samples.items()
            },
            "missing": {f"{phase}/{k}": v for k, v in missing.items()},
            "sampler": sampler.facts,
            "facts": _facts(job, model, data, where),
        }

    return _expecting_failures(measured, dataset, threads)


def count_phases(
    job: MeasurementJob, name: str, dataset: Path | None, threads: int
) -> dict[str, dict[str, Any] | End]:
    """Deterministic cost of the first step and of the first batch of round 0, by phase; an End where counting that one fails."""
    job = job.of(name)

    def counted(
        count: Callable[..., dict[str, Any]], data: Dataset | None, where: torch.device
    ) -> dict[str, Any]:
        torch.manual_seed(0)
        model = _model(job, name, data, where)
        if job.kernels == "inductor":
            models.use_kernels("torch")  # a compiled graph hides what it calls
        return count(job, model, data, where)

    phases = {"train": _count_training, "inference": _count_inference}
    return {
        phase: _expecting_failures(partial(counted, count), dataset, threads)
        for phase, count in phases.items()
    }


def measure_ceilings(job: MeasurementJob, threads: int) -> dict[str, Any] | End:
    """What the device does at best (seqbench.hardware.peak_throughput), and of which kind it is."""

    def found(_: object, where: torch.device) -> dict[str, Any]:
        return {**ceilings(where, job.precision), "device_kind": where.type}

    return _expecting_failures(found, None, threads)


def _expecting_failures(
    work: Callable[[Dataset | None, torch.device], dict[str, Any]],
    dataset: Path | None,
    threads: int,
) -> dict[str, Any] | End:
    """The result of ``work``, or the status of a failure that a grid has to live with; bugs propagate."""
    torch.set_num_threads(threads)
    try:
        return work(open_dataset(dataset) if dataset else None, device.pick())
    except (UserError, ModelError, ranking.Diverged) as error:
        return End("diverged" if isinstance(error, ranking.Diverged) else "crashed", str(error))
    except TooSlow as error:
        return End("timeout", str(error))
    except (RuntimeError, MemoryError) as error:
        if not device.is_out_of_memory(error):
            raise
        return End("oom", device.describe_out_of_memory(error), device.requested_bytes(error))


def _model(
    job: MeasurementJob, name: str, data: Dataset | None, where: torch.device
) -> models.SequenceModel:
    models.use_kernels(job.kernels)
    n_items = data.n_items if data else job.n_items
    model = models.build(name, dict(dict(job.models)[name]), n_items, job.seq_len)
    model.every_position = job.compute_all_positions
    return model.to(where)


def _facts(
    job: MeasurementJob, model: torch.nn.Module, data: Dataset | None, where: torch.device
) -> dict[str, Any]:
    return {
        "parameters": sum(p.numel() for p in model.parameters()),
        "backend": model.backend_report(),
        "steps_per_epoch": workload.steps_per_epoch(job, data, model),
        "device_kind": where.type,
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
    }


# --- phases -------------------------------------------------------------------------------------------------------------


def _paced(job: MeasurementJob, clock: Stopwatch, sampler: Sampler) -> Iterator[bool]:
    """``pace.steps``; what the sampler averages begins with the first step that counts."""
    warming = True
    for timed in steps(job, clock):
        if timed and warming:
            warming = False
            sampler.settle()
        yield timed


def _training(
    job: MeasurementJob, model: torch.nn.Module, data: Dataset | None, round_: int,
    where: torch.device, sampler: Sampler,
) -> tuple[Samples, Missing]:  # fmt: skip
    """Timed steps: wall time of gathering plus step, the wait for the batch alone, real targets and tokens."""
    optimizer = make_optimizer(model, Training(kernels=job.kernels))
    batches = workload.training_batches(job, data, round_, where, model)
    whole, wait, events = Stopwatch(where), Stopwatch(where), EventClock(where)
    targets, tokens = [], []

    def step() -> torch.Tensor:
        with whole.time():
            with wait.time():
                batch = next(batches)
            with events.time():
                loss = training_step(model, optimizer, batch, job.precision, job.clip_norm)
        targets.append(batch.n_targets)
        tokens.append(
            int(batch.lengths.sum()) - len(batch.lengths)
        )  # real ones that the model reads
        return loss

    warm = 0
    for timed in _paced(job, whole, sampler):
        warm += not timed
        loss = step()
    if not torch.isfinite(loss):
        raise ranking.Diverged(f"loss is {loss.item()} while measuring")
    samples = {
        "step_s": whole.seconds[warm:],
        "data_wait_s": wait.seconds[warm:],
        "targets": targets[warm:],
        "tokens": tokens[warm:],
        "first_step_s": whole.seconds[0],
    }
    missing: Missing = {}
    on_device = events.seconds()[warm:]
    _put(samples, missing, "gpu_step_s", Reading(on_device or None, NO_DEVICE))
    _put(samples, missing, "energy_j_per_step", _energy(job, step, where))
    return samples, missing


@torch.inference_mode()
def _inference(
    job: MeasurementJob, model: torch.nn.Module, data: Dataset | None, round_: int,
    where: torch.device, sampler: Sampler,
) -> tuple[Samples, Missing]:  # fmt: skip
    """Timed batches of users, split into encoding the histories, scoring all items, and the top 10."""
    model.eval()
    clocks = {key: Stopwatch(where) for key in ("batch_s", "encode_s", "score_s", "topk_s")}
    batches = workload.histories(job, data, round_, where)

    def step() -> None:
        inputs = next(batches)
        with arithmetic(job.precision, where), clocks["batch_s"].time():
            with clocks["encode_s"].time():
                query = model.query(inputs)
            with clocks["score_s"].time():
                scores = model.score(query)
            with clocks["topk_s"].time():
                _top(scores)

    warm = 0
    for timed in _paced(job, clocks["batch_s"], sampler):
        warm += not timed
        step()
    samples: Samples = {key: clock.seconds[warm:] for key, clock in clocks.items()}
    missing: Missing = {}
    _put(samples, missing, "energy_j_per_batch", _energy(job, step, where))
    return samples, missing


def _top(scores: torch.Tensor) -> torch.Tensor:
    """The ten best items of every user: (B, V) -> (B, 10)."""
    scores[:, 0] = -torch.inf  # the padding row
    return scores.topk(min(10, scores.shape[1] - 1)).indices


# --- counts -------------------------------------------------------------------------------------------------------------


def _count_training(
    job: MeasurementJob, model: torch.nn.Module, data: Dataset | None, where: torch.device
) -> dict[str, Any]:
    optimizer = make_optimizer(model, Training(kernels=job.kernels))
    batch = next(workload.training_batches(job, data, 0, where, model))
    drawn = batch.generator.get_state()

    def step() -> None:
        batch.generator.set_state(drawn)  # the same masks every time
        training_step(model, optimizer, batch, job.precision, job.clip_norm)

    step()  # the optimiser makes its state in the first one
    counts = counting.count(step, model.parameters())
    rows, length = batch.windows.shape
    return {
        **counts,
        "targets": batch.n_targets,
        "sequences": rows,
        "positions": rows * model.positions(length),
    }


@torch.inference_mode()
def _count_inference(
    job: MeasurementJob, model: torch.nn.Module, data: Dataset | None, where: torch.device
) -> dict[str, Any]:
    model.eval()
    inputs = next(workload.histories(job, data, 0, where))

    def step() -> None:
        with arithmetic(job.precision, where):
            _top(model.score(model.query(inputs)))

    counts = counting.count(step)
    return {**counts, "sequences": len(inputs), "positions": inputs.numel()}


# --- device -------------------------------------------------------------------------------------------------------------


def _nvml(where: torch.device) -> Nvml | None:
    return Nvml() if where.type == "cuda" else None


def _context_bytes(where: torch.device) -> Reading:
    """What a process holds on the GPU before it holds a tensor worth naming."""
    if where.type != "cuda":
        return Reading(None, NO_DEVICE)
    torch.zeros(1, device=where)
    device.synchronise(where)
    return Nvml().process_bytes()


def _energy(job: MeasurementJob, step: Callable[[], object], where: torch.device) -> Reading:
    """Joules per step over a window of further steps, by the device's counter."""
    if where.type != "cuda":
        return Reading(None, NO_DEVICE)
    if not job.energy_window_s:
        return Reading(None, "no energy window was asked for")
    nvml, steps, begun = Nvml(), 0, time.perf_counter()
    device.synchronise(where)
    before = nvml.energy_j()
    while before.value is not None and time.perf_counter() - begun < job.energy_window_s:
        step()
        steps += 1
    device.synchronise(where)
    seconds = time.perf_counter() - begun
    used = energy_between(before, nvml.energy_j(), seconds, nvml.power_limit_w().value)
    return used if used.value is None else Reading(used.value / steps)


def _put(samples: Samples, missing: Missing, metric: str, reading: Reading) -> None:
    if reading.value is None:
        missing[metric] = reading.reason or "not measured"
    else:
        samples[metric] = reading.value


FEWEST_STEPS = 2  # timed ones of a process whose budget is over
WARMUP_SHARE = 0.25  # of the budget, at most


class TooSlow(Exception):
    """One step takes longer than the process may compute."""


def steps(job: MeasurementJob, clock: Stopwatch) -> Iterator[bool]:
    """One value per step to take, whether it counts: as many as asked for, fewer where the budget ends.

    Raises:
        TooSlow: one step takes longer than the budget; a first one that compiles and is not counted may.
    """
    budget, begun = job.budget_s or float("inf"), time.perf_counter()
    timed = 0
    for step in range(job.warmup + job.steps):
        spent = time.perf_counter() - begun
        if step > 0 and clock.seconds[-1] > budget and (step > 1 or job.warmup == 0):
            raise TooSlow(f"one step took {clock.seconds[-1]:.1f} s, the budget is {budget:g} s")
        counts = step >= job.warmup or (step > 0 and spent > WARMUP_SHARE * budget)
        if counts and (timed == job.steps or (spent >= budget and timed >= FEWEST_STEPS)):
            return
        timed += counts
        yield counts
