"""What is measured: endless training batches and inference batches, from a dataset or of full length.

Seeded by the round, so that every model of a job sees the same batches in the same round.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from models import Batch, SequenceModel

from ..core.jobs import MeasurementJob
from ..data import Dataset
from ..training.batches import (
    Gatherer,
    Windows,
    epoch_batches,
    full_length_batch,
    gather_spans,
    windows_for,
)


def training_batches(
    job: MeasurementJob,
    data: Dataset | None,
    round_: int,
    where: torch.device,
    model: SequenceModel | None = None,
) -> Iterator[Batch]:
    """Batches as in training ``model`` on ``data``, else full-length ones of ``targets_per_step // seq_len`` sequences."""
    generator = torch.Generator(where).manual_seed(round_)
    if data is None:
        rows = max(1, job.targets_per_step // job.seq_len)
        while True:
            last_only = job.objective == "prefix"
            yield full_length_batch(job.n_items, rows, job.seq_len, generator, where, last_only)
    windows = windows_for(job.objective, data.split, job.seq_len, model)
    gatherer = Gatherer(data.items, windows, where)
    rng = np.random.default_rng(round_)
    while True:
        epoch = _epoch(job, windows, rng)
        yield from gatherer.batches(epoch, generator)


def histories(
    job: MeasurementJob, data: Dataset | None, round_: int, where: torch.device
) -> Iterator[torch.Tensor]:
    """Inference batches (B, <= L): histories of ``eval_batch`` random users, or full-length synthetic ones."""
    generator = torch.Generator(where).manual_seed(round_)
    shape = (job.eval_batch, job.seq_len)
    while data is None:
        yield torch.randint(1, job.n_items + 1, shape, generator=generator, device=where)
    items = torch.from_numpy(np.array(data.items)).to(where)
    stops = data.split.target_index["test"]
    firsts = data.split.offsets[data.split.users["test"]]
    rng = np.random.default_rng(round_)
    while True:
        chosen = rng.choice(len(stops), size=min(job.eval_batch, len(stops)), replace=False)
        stop = stops[chosen]
        start = np.maximum(stop - job.seq_len, firsts[chosen])
        first = torch.from_numpy(start).to(where)
        yield gather_spans(items, first, torch.from_numpy(stop - start).to(where))


def _epoch(job: MeasurementJob, windows: Windows, rng: np.random.Generator) -> list[np.ndarray]:
    return epoch_batches(windows, job.targets_per_step, rng, job.bucket_by_length, job.step_counts)


def steps_per_epoch(
    job: MeasurementJob, data: Dataset | None, model: SequenceModel | None = None
) -> float | None:
    """Training steps until every target was seen once; None without a dataset."""
    if data is None:
        return None
    windows = windows_for(job.objective, data.split, job.seq_len, model)
    counted = windows.counted(slice(None), job.step_counts)
    if counted.max() <= job.targets_per_step:
        # A batch passes its size by less than a window, and the next one makes up for it.
        return float(counted.sum()) / job.targets_per_step
    return len(_epoch(job, windows, np.random.default_rng(0)))
