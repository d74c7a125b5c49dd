"""Measuring one phase of one model in a fresh process: training steps or inference batches.

Every model of a job sees the same batches in the same round (the round seeds them). Times are wall times with the
device synchronised at both ends; warm-up steps, which compile and allocate, are reported apart and never counted.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

import models

from . import device, evaluate
from .batches import (
    Gatherer,
    Windows,
    epoch_batches,
    full_length_batch,
    gather_spans,
    training_windows,
)
from .data import Dataset, open_dataset
from .device import EventClock, Reading, Stopwatch
from .errors import UserError
from .experiment import Measurement, Training
from .nvml import NO_DEVICE, Nvml
from .run import End
from .train import make_optimizer, training_step

SHORTEST_ENERGY_WINDOW_S = 5.0  # the counter moves every 100 ms or so: shorter windows mean nothing


def measure_phase(
    job: Measurement, name: str, phase: str, round_: int, dataset: Path | None, threads: int
) -> dict[str, Any] | End:
    """Samples, facts and missing values of one phase of one model, or how it failed as expected."""
    torch.set_num_threads(threads)
    torch.manual_seed(round_)
    where = device.pick()
    data = open_dataset(dataset) if dataset else None
    n_items = data.n_items if data else job.n_items
    models.use_kernels(job.kernels)
    try:
        model = models.build(name, dict(dict(job.models)[name]), n_items, job.seq_len).to(where)
        device.reset_peaks(where)
        measured = _training if phase == "train" else _inference
        samples, missing = measured(job, model, data, round_, where)
    except UserError as error:
        return End("crashed", str(error))
    except (RuntimeError, MemoryError) as error:
        if not device.is_out_of_memory(error):
            raise
        return End("oom", str(error).splitlines()[0])
    for metric, reading in device.memory(where).items():
        _put(samples, missing, metric, reading)
    return {
        "samples": {f"{phase}/{k}": np.asarray(v, dtype=np.float64) for k, v in samples.items()},
        "missing": {f"{phase}/{k}": v for k, v in missing.items()},
        "facts": _facts(job, model, data, where),
    }


def _facts(
    job: Measurement, model: torch.nn.Module, data: Dataset | None, where: torch.device
) -> dict[str, Any]:
    steps = None
    if data:
        windows = training_windows(data.offsets, job.seq_len)
        steps = windows.targets / job.batch_targets
    return {
        "parameters": sum(p.numel() for p in model.parameters()),
        "backend": model.backend_report(),
        "steps_per_epoch": steps,
        "device_kind": where.type,
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
    }


def _training(
    job: Measurement, model: torch.nn.Module, data: Dataset | None, round_: int, where: torch.device
) -> tuple[dict[str, Any], dict[str, str]]:
    """Timed steps: wall time of gathering plus step, the wait for the batch alone, real targets."""
    optimizer = make_optimizer(model, Training(kernels=job.kernels))
    batches = _training_batches(job, data, round_, where)
    whole, wait, events = Stopwatch(where), Stopwatch(where), EventClock(where)
    targets: list[int] = []
    for step in range(job.warmup + job.steps):
        if step == job.warmup:
            energy, begun = _energy(where), time.perf_counter()
        with whole.time():
            with wait.time():
                batch = next(batches)
            with events.time():
                loss = training_step(model, optimizer, batch, job.precision)
        targets.append(batch.n_targets)
    if not torch.isfinite(loss):
        raise evaluate.Diverged(f"loss is {loss.item()} while measuring")
    samples = {
        "step_s": whole.seconds[job.warmup :],
        "data_wait_s": wait.seconds[job.warmup :],
        "targets": targets[job.warmup :],
        "first_step_s": whole.seconds[0],
    }
    missing: dict[str, str] = {}
    on_device = events.seconds()[job.warmup :]
    on_gpu = Reading(on_device) if on_device else Reading(None, NO_DEVICE)
    _put(samples, missing, "gpu_step_s", on_gpu)
    used = _energy_used(energy, _energy(where), time.perf_counter() - begun)
    if used.value is not None:
        used = Reading(used.value / job.steps)
    _put(samples, missing, "energy_j_per_step", used)
    return samples, missing


def _training_batches(
    job: Measurement, data: Dataset | None, round_: int, where: torch.device
) -> Iterator[models.Batch]:
    """Endless batches: as in training on real data, else full-length ones."""
    generator = torch.Generator(where).manual_seed(round_)
    if data is None:
        rows = max(1, job.batch_targets // job.seq_len)
        while True:
            yield full_length_batch(job.n_items, rows, job.seq_len, generator, where)
    windows: Windows = training_windows(data.offsets, job.seq_len)
    gatherer = Gatherer(data.items, windows, where)
    rng = np.random.default_rng(round_)
    while True:
        epoch = epoch_batches(windows, job.batch_targets, rng, bucket=True)
        yield from gatherer.batches(epoch, generator)


@torch.inference_mode()
def _inference(
    job: Measurement, model: torch.nn.Module, data: Dataset | None, round_: int, where: torch.device
) -> tuple[dict[str, Any], dict[str, str]]:
    """Timed batches of users, split into encoding the histories, scoring all items, and the top 10."""
    model.eval()
    clocks = {key: Stopwatch(where) for key in ("batch_s", "encode_s", "score_s", "topk_s")}
    batches = _histories(job, data, round_, where)
    for _ in range(job.warmup + job.steps):
        inputs = next(batches)
        with device.arithmetic(job.precision, where), clocks["batch_s"].time():
            with clocks["encode_s"].time():
                query = model.query(inputs)
            with clocks["score_s"].time():
                scores = model.score(query)
            with clocks["topk_s"].time():
                scores[:, 0] = -torch.inf
                scores.topk(10)
    return {key: clock.seconds[job.warmup :] for key, clock in clocks.items()}, {}


def _histories(
    job: Measurement, data: Dataset | None, round_: int, where: torch.device
) -> Iterator[torch.Tensor]:
    """Endless inference batches (B, <= L): random users' histories, or full-length synthetic ones."""
    generator = torch.Generator(where).manual_seed(round_)
    shape = (job.eval_batch, job.seq_len)
    while data is None:
        yield torch.randint(1, job.n_items + 1, shape, generator=generator, device=where)
    items = torch.from_numpy(np.array(data.items)).to(where)
    offsets = np.asarray(data.offsets)
    users = evaluate.evaluated_users(offsets)
    rng = np.random.default_rng(round_)
    while True:
        chosen = rng.choice(users, size=min(job.eval_batch, len(users)), replace=False)
        stop = offsets[chosen + 1] - 1
        start = np.maximum(stop - job.seq_len, offsets[chosen])
        first = torch.from_numpy(start).to(where)
        yield gather_spans(items, first, torch.from_numpy(stop - start).to(where))


def _energy(where: torch.device) -> Reading:
    if where.type != "cuda":
        return Reading(None, NO_DEVICE)
    device.synchronise(where)
    return Nvml().energy_j()


def _energy_used(before: Reading, after: Reading, seconds: float) -> Reading:
    if before.value is None or after.value is None:
        return Reading(None, before.reason or after.reason)
    if seconds < SHORTEST_ENERGY_WINDOW_S:
        return Reading(None, f"window of {seconds:.1f} s is too short for the energy counter")
    return Reading(after.value - before.value)


def _put(samples: dict[str, Any], missing: dict[str, str], metric: str, reading: Reading) -> None:
    if reading.value is None:
        missing[metric] = reading.reason or "not measured"
    else:
        samples[metric] = reading.value
