"""Fitting a model that counts instead of training, and ranking with it."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import torch

import models

from ..core.jobs import TrainingJob
from ..data import Dataset
from ..hardware import device
from . import ranking


def fit_baseline(
    experiment: TrainingJob, dataset: Dataset, where: torch.device
) -> tuple[dict[str, Any], dict[str, np.ndarray], dict[str, torch.Tensor]]:
    """Values, samples and weights of a model that counts instead of training."""
    options = dict(experiment.hyperparameters)
    model = models.build(experiment.model, options, dataset.n_items, experiment.seq_len).to(where)
    start = time.perf_counter()
    model.fit(*training_part(dataset, where))
    fitted = time.perf_counter() - start
    evaluator = ranking.evaluator_of(experiment, dataset, where)
    samples = ranking.samples(evaluator, model)
    values = {
        "parameters": 0,
        "backend": {},
        "train_s": round(fitted, 3),
        "evaluate_s": round(time.perf_counter() - start - fitted, 3),
        "peak_rss_bytes": device.peak_rss_bytes(),
        "curve": [],
        **dict.fromkeys(
            ("steps", "epochs", "targets_seen", "best_step", "best_validation", "stopped")
        ),
        "still_improving": False,
        "resumed_from": None,
    }
    return values, samples, {}


def training_part(dataset: Dataset, where: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Training items (T,) int64 of all users and their offsets (U + 1,), held-out items left out."""
    split = dataset.split
    lengths = split.ends - split.offsets[:-1]
    items = torch.from_numpy(np.asarray(dataset.items)[split.trains].astype(np.int64))
    ends = torch.from_numpy(np.concatenate([[0], np.cumsum(lengths)]))
    return items.to(where), ends.to(where)
