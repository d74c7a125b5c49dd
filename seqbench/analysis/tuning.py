"""What each search behind a tuned track chose and brought."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterator, Mapping
from typing import Any

TOLD = ("metric", "seq_len", "seed", "trials", "failed", "collapsed", "max_steps", "default", "median", "best")  # fmt: skip


def searches(selected: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """One row per model and length of the configuration's ``selected_settings`` that was searched there.

    mean: of the chosen settings over `n_seeds` seeds, where they were trained again; None if one did not come to its end.
    best_trial, chosen_trial: the best of the search and the best mean of the finals, which may be another one.
    """
    chosen = [(track, dataset, length, *own) for track, by_dataset in selected.items() for dataset, by_length in by_dataset.items()
              for length, by_model in by_length.items() for own in by_model.items()]  # fmt: skip
    for track, dataset, length, model, own in chosen:
        told = own.get("tuning")
        if told and length == f"L{told['seq_len']}":
            yield {"track": track, "dataset": dataset, "model": model} | _search(own, told)


def _search(chosen: Mapping[str, Any], told: Mapping[str, Any]) -> dict[str, Any]:
    finals = {final["trial"]: final["values"] for final in told["finals"]}
    values = finals.get(told["trial"], [None])
    best = max(finals, key=lambda trial: finals[trial][0] or 0.0, default=told["trial"])
    settings = {**chosen.get("hyperparameters", {}), **chosen.get("training", {})}
    return {
        **{key: told.get(key) for key in TOLD},
        "n_seeds": 1 + len(told["rerun_seeds"]),
        "mean": None if None in values else statistics.fmean(values),
        "best_trial": best, "chosen_trial": told["trial"],
        "train_s": told["train_s"], "machines": " ".join(told.get("machines", [])),
        "chosen": json.dumps(settings, sort_keys=True),
    }  # fmt: skip
