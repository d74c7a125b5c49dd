"""The process that trains: prepares torch, runs one training job and writes its record.

Expected failures (out of memory, divergence) become a record with a status here; whatever kills the process is
turned into one by its supervisor (``seqbench.training.supervisor``). Bugs propagate.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import torch
from safetensors.torch import save

import models
from models._errors import ModelError

from ..core import deadline, provenance
from ..core.errors import MachineError, UserError
from ..core.jobs import TrainingJob
from ..core.records import columns, data_of, write_record
from ..data import open_dataset
from ..hardware import device
from ..hardware.environment import SHARE, environment
from ..hardware.leases import load_watched, require_gpu
from . import baselines, loop, ranking

DECIDES = "nothing"


def run(job: TrainingJob, dataset_folder: Path, out: Path, threads: int) -> None:
    """Train or fit, evaluate, and write weights, samples and record into ``out``."""
    identity = provenance.begun(lambda: provenance.training(job.model))
    load = load_watched()
    torch.set_num_threads(threads)
    where = device.pick()
    require_gpu(where.type)
    dataset = open_dataset(dataset_folder)
    status, reason, values, samples, weights = "ok", None, {}, {}, {}
    try:
        values, samples, weights = _trained(job, dataset, out, where)
    except ModelError as error:  # asked for something that is not there: the user's to mend
        raise UserError(str(error)) from None
    except ranking.Diverged as error:
        status, reason = "diverged", str(error)
    except (RuntimeError, MemoryError) as error:
        if not device.is_out_of_memory(error):
            raise
        if SHARE in os.environ:
            raise MachineError(
                f"out of memory beside others on the GPU ({os.environ[SHARE]}): give it more gpu_share"
            ) from None
        status, reason = "oom", str(error).splitlines()[0]
    curve = values.pop("curve", [])
    if status != "ok":
        print(f"{job.path}: {status}: {reason}", file=sys.stderr)
    write_record(
        out,
        kind="train",
        status=status,
        reason=reason,
        job=job.to_dict(),
        values=values,
        samples={**samples, **columns(curve, "curve")},
        environment=environment(where.type, threads, torch.backends.cpu.get_cpu_capability()),
        data=data_of(dataset.info),
        identity=identity(),
        load=load(),
        deadline_s=deadline.given(),
        weights=save(weights, {"job": job.to_json()}),
    )


def _trained(job: TrainingJob, dataset: object, out: Path, where: torch.device) -> tuple:
    if getattr(models.load(job.model), "trainable", True):
        return loop.Trainer(job, dataset, out, where).run()
    return baselines.fit_baseline(job, dataset, where)
