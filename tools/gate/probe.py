"""What is the same on every run: deterministic cost of every model, and the metrics of tiny trainings.

Runs in a process of its own, whose environment (golden.PORTABLE) asks every library for instructions that all machines
have, so that the last digits are those of any machine. What a GPU allocates is asked for in another process, which sees it.
"""

from __future__ import annotations

import dataclasses
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

import models
from seqbench.core import metrics
from seqbench.core.jobs import FULL_LENGTH, MeasurementJob, Training, TrainingJob
from seqbench.core.metrics import ranks_of
from seqbench.data import open_dataset, prepare
from seqbench.hardware import device
from seqbench.measuring import phases, workload
from seqbench.training import baselines, loop
from seqbench.training.supervisor import End

LENGTHS, ROWS, ITEMS = (50, 200), 4, 1000
DATA = {"n_users": 150, "n_items": 60, "mean_length": 20.0, "max_length": 60, "seed": 5}
TRAINING = Training(
    targets_per_step=256, learning_rate=0.003, max_steps=45, eval_every=15, patience_steps=45
)
COUNTED = ("flops", "saved_bytes", "operators", "moved_bytes")


def probe(gpu: bool = False) -> dict[str, Any]:
    """Name -> number; a name says model, place and quantity, with the unit of the quantity in it.

    gpu: only the peaks of allocated bytes on the visible GPU, under its name.
    """
    torch.set_num_threads(1)
    trained = [n for n in models.available() if getattr(models.load(n), "trainable", True)]
    found: dict[str, Any] = {}
    if gpu:
        place = f"gpu/{torch.cuda.get_device_name()}"
        return {
            f"{place}/{n}/L{length}/peak_allocated_bytes": _peak(n, length)
            for n in trained
            for length in LENGTHS
        }
    for name in trained:
        for length in LENGTHS:
            found |= _costs(name, length)
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "golden"
        prepare(
            "golden", {"source": "synthetic", "k_core": 1, "synthetic": DATA}, Path(folder), out
        )
        for name in models.available():
            found |= _metrics(name, out, Path(folder), trained=name in trained)
    return found


def _options(name: str) -> dict[str, int]:
    """Two blocks, where a model has blocks."""
    declared = {field.name for field in dataclasses.fields(models.load(name).Config)}
    return {"n_layers": 2} if "n_layers" in declared else {}


def _job(name: str, length: int) -> MeasurementJob:
    chosen = ((name, tuple(_options(name).items())),)
    return MeasurementJob(FULL_LENGTH, "golden", length, chosen, ROWS * length, ROWS, n_items=ITEMS)


def _costs(name: str, length: int) -> dict[str, Any]:
    job = _job(name, length)
    counts = phases.count_phases(job, name, None, 1)
    model = models.build(name, _options(name), ITEMS, length)
    place = f"{name}/L{length}"
    found = {f"{place}/parameters": sum(p.numel() for p in model.parameters())}
    for phase, values in counts.items():
        if isinstance(values, End):
            raise RuntimeError(f"{name}: {phase}: {values.status}: {values.reason}")
        found |= {f"{place}/{phase}/{key}": values[key] for key in COUNTED}
    return found


def _peak(name: str, length: int) -> int:
    """Peak of allocated bytes of a training step on the GPU, weights and optimiser included."""
    where, job = device.pick(), _job(name, length)
    torch.manual_seed(0)
    model = models.build(name, _options(name), ITEMS, length).to(where)
    optimizer = loop.make_optimizer(model, Training())
    batches = workload.training_batches(job, None, 0, where)
    loop.training_step(model, optimizer, next(batches))  # makes the optimiser's state
    device.reset_peaks(where)
    loop.training_step(model, optimizer, next(batches))
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated()


def _metrics(name: str, dataset: Path, folder: Path, trained: bool) -> dict[str, Any]:
    data = open_dataset(dataset)
    hyper = (("d_model", 16), ("dropout", 0.1)) if trained else ()
    job = TrainingJob("golden", name, "golden", 16, 0, hyper, dataclasses.replace(TRAINING))
    if trained:
        values, samples, _ = loop.Trainer(job, data, folder, torch.device("cpu")).run()
    else:
        values, samples, _ = baselines.fit_baseline(job, data, torch.device("cpu"))
    found: dict[str, Any] = {
        f"{name}/training/loss/{p['step']}": p["loss"] for p in values["curve"]
    }
    for seen_items in ("kept", "excluded"):
        ranks, _ = ranks_of(samples, "test", seen_items)
        found[f"{name}/test/{seen_items}/mean_rank"] = float(np.mean(ranks))
        for metric in ("hr@10", "ndcg@10", "mrr@10"):
            found[f"{name}/test/{seen_items}/{metric}"] = float(
                metrics.per_user(ranks, metric).mean()
            )
    return found
