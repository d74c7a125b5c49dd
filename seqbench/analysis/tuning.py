"""The search behind a tuned track: its trials, and what each search chose and brought."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ..core.display import TABLES
from ..core.jobs import Study

TOLD = ("metric", "seq_len", "seed", "trials", "failed", "collapsed", "max_steps", "default", "median", "best")  # fmt: skip


def trials(folder: Path) -> Iterator[dict[str, Any]]:
    """One row per trial below ``folder``/tune; those of a study that another machine trained are in that machine's folder."""
    for file in sorted((folder / "tune").glob("*/*/*/study.json")):
        content = json.loads(file.read_text(encoding="utf-8"))
        study = Study.from_json(json.dumps(content["study"]))
        about = {key: content["study"][key] for key in ("dataset", "model", "seq_len", "seed")}
        for trial in content["trials"]:
            record = folder / study.trial_path(trial["number"]) / "record.json"
            if record.exists():
                environment = json.loads(record.read_text(encoding="utf-8"))["environment"]
                row = {**about, **trial, "trial": trial["number"], "machine_name": environment["machine_name"]}  # fmt: skip
                row |= {"chosen": json.dumps(trial["chosen"], sort_keys=True)}
                yield {column: row.get(column) for column in TABLES["tuning"]}


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
