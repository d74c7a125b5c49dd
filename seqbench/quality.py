"""What a record holds of a finished model's quality: ranks of all users, probes, and what is known of each user."""

from __future__ import annotations

import numpy as np
import torch

from . import evaluate
from .data import Dataset
from .experiment import Experiment

SHUFFLE_SEED = (
    0  # of the probe, equal in every record, so that models see the same shuffled histories
)


def evaluator_of(
    experiment: Experiment, dataset: Dataset, where: torch.device
) -> evaluate.Evaluator:
    """What ranks the held-out items for an experiment."""
    t = experiment.training
    return evaluate.Evaluator(
        dataset.items, dataset.split, experiment.seq_len, t.eval_batch, where, t.precision
    )


def samples(
    evaluator: evaluate.Evaluator, model: torch.nn.Module, dataset: Dataset, test: bool = True
) -> dict[str, np.ndarray]:
    """Arrays over the evaluated users (U,): ranks and ties per split and masking, of the probe, and ``about`` users.

    test False: the validation split only.
    """
    if not test:
        users = evaluator.split.users["valid"].astype(np.int32)
        return {"valid/users": users, **_ranks(evaluator, model, "valid")}
    users = {part: users.astype(np.int32) for part, users in evaluator.split.users.items()}
    found = {"users": users["test"], "valid/users": users["valid"], **about(dataset)}
    for split in evaluate.SPLITS:
        found |= _ranks(evaluator, model, split)
    ranks = evaluator.ranks(model, "test", shuffle=SHUFFLE_SEED)["unmasked"]
    return {
        **found,
        "test-shuffled/unmasked/rank": ranks.rank,
        "test-shuffled/unmasked/ties": ranks.ties,
    }


def _ranks(
    evaluator: evaluate.Evaluator, model: torch.nn.Module, split: str
) -> dict[str, np.ndarray]:
    found = {}
    for masking, ranks in evaluator.ranks(model, split).items():
        found |= {f"{split}/{masking}/rank": ranks.rank, f"{split}/{masking}/ties": ranks.ties}
    return found


def about(dataset: Dataset) -> dict[str, np.ndarray]:
    """Of every user with a test target (U,) int32: history_length, items before the test item; target_popularity, how often the test item
    occurs in the training parts; where times are known, tied: whether the test item and the one before it share theirs.
    """
    items, split = np.asarray(dataset.items), dataset.split
    users, last = split.users["test"], split.places["test"]
    trained = np.arange(len(items)) < np.repeat(split.ends, np.diff(split.offsets))
    popularity = np.bincount(items[trained], minlength=dataset.n_items + 1)
    found = {
        "history_length": (last - split.offsets[users]).astype(np.int32),
        "target_popularity": popularity[items[last]].astype(np.int32),
    }
    if dataset.times is not None:
        times = np.asarray(dataset.times)
        found["tied"] = (times[last] == times[last - 1]).astype(np.int32)
    return found
