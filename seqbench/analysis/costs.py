"""The table `costs`: what a training step, an epoch, ranking and memory cost, by condition, machine and model.

What was measured on the dataset itself comes first. Where a machine measured none of it, points of the cost curve stand in:
full-length batches as long, over a catalogue as large, an epoch scaled by the number of targets. The step of a training is
not scaled: a smaller batch may take as long as a larger one.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd

from ..core.jobs import FULL_LENGTH
from .protocols import BASE
from .rows import pick, trainings, unique
from .tables import CONDITION, Tables

LENGTHS = "length-at-constant-batch"  # the curve that stands in for a dataset
PER_USERS = 1000  # users that the time of inference is given for
VALUES = ("step_s", "epoch_s", "inference_s", "memory_bytes", "energy_j")
COLUMNS = (
    *(*CONDITION, "machine_name", "device", "device_kind", "threads", "model", "cost_source"),
    *(f"{value}{end}" for value in VALUES for end in ("", "_low", "_high")),
)


def measured(tables: Tables) -> pd.DataFrame:
    """Rows of `efficiency` with a value that may be compared, of datasets and of curves.

    A measurement on a dataset with another batch, precision or hyper-parameter than what was trained there is left out:
    it may outlive its trainings.
    """
    rows = tables.main("efficiency")
    if rows.empty:
        return rows
    rows = rows[rows["median"].notna() & ~rows.path.isin(_outlived(tables.frames["experiments"]))]
    return rows.assign(job=rows.path.str.rpartition("/")[0])


def _outlived(experiments: pd.DataFrame) -> set[str]:
    """Paths of measurements that do not fit what was trained in their condition."""
    batches, models = defaultdict(set), defaultdict(list)
    for row in trainings(experiments).itertuples():
        at = tuple(getattr(row, key) for key in CONDITION)
        batches[at].add((row.targets_per_step, row.precision))
        models[*at, row.model].append(row.hyperparameters)
    found = set()
    for row in pick(experiments, kind="measure").itertuples():
        at = tuple(getattr(row, key) for key in CONDITION)
        own, others = json.loads(row.hyperparameters), set(models.get((*at, row.model), ()))
        fits = (row.targets_per_step, row.precision) in batches[at] if at in batches else True
        same = any(_agree(own, json.loads(other)) for other in others) if others else True
        if not (fits and same):
            found.add(row.path)
    return found


def _agree(own: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether no hyper-parameter that both name differs."""
    return all(own.get(key, value) == value for key, value in other.items())


def of_conditions(tables: Tables) -> pd.DataFrame:
    """One row per condition, machine and trained model whose cost is known there; times in s, memory in bytes, energy in J.

    epoch_s: one pass over the training targets. inference_s: of 1,000 users. memory_bytes: peak allocated of training on a
    GPU. energy_j: of an epoch. low and high: quartiles.
    """
    rows = measured(tables)
    if rows.empty:
        return pd.DataFrame(columns=list(COLUMNS))
    known = [tables.main("summary"), rows[rows.curve.isna()]]
    conditions = dict.fromkeys(key for frame in known for key in unique(frame, *CONDITION))
    found = []
    for condition in conditions:
        for machine, own in rows.groupby("machine_name", sort=False):
            on_dataset = _at(own[own.curve.isna()], condition)
            if len(on_dataset):
                found += _rows(on_dataset, condition, machine, "dataset", None)
            elif facts := tables.datasets.get(condition[1]):
                here = _standing_in(own, condition, facts["n_items"])
                found += _rows(here, condition, machine, "synthetic", targets_of(facts))
    return pd.DataFrame(found, columns=list(COLUMNS))


def _at(rows: pd.DataFrame, condition: tuple) -> pd.DataFrame:
    return pick(rows, **dict(zip(CONDITION, condition, strict=True)))


def _standing_in(rows: pd.DataFrame, condition: tuple, n_items: int) -> pd.DataFrame:
    """Full-length batches as long, over as many items: of several jobs the one with most sequences in a batch."""
    track, _, seq_len = condition
    rows = pick(rows, track=track, dataset=FULL_LENGTH, curve=LENGTHS, seq_len=seq_len, n_items=n_items)  # fmt: skip
    order = rows.sort_values("sequences", ascending=False, kind="stable")
    return rows[rows.job == order.job.iloc[0]] if len(rows) else rows


def targets_of(facts: Mapping[str, Any]) -> float:
    """Targets of one pass over a dataset's training part: all events but the first of each user and the two held out."""
    if (facts.get("split") or {"kind": BASE})["kind"] != BASE:
        return float("nan")
    return float(facts["n_interactions"] - 3 * facts["n_users"])


def _rows(
    rows: pd.DataFrame, condition: tuple, machine: str, source: str, targets: float | None
) -> Iterator[dict[str, Any]]:
    """targets: of an epoch, where it was not measured."""
    for model, own in rows.groupby("model", sort=False):
        by = {(row.phase, row.metric): row for row in own.itertuples()}
        first = next(iter(by.values()))
        step, batch = by.get(("train", "step_s")), by.get(("inference", "batch_s"))
        epoch, energy, of_epoch = by.get(("train", "epoch_s")), by.get(("train", "energy_j_per_epoch")), 1.0  # fmt: skip
        if targets and step:
            epoch, energy, of_epoch = step, by.get(("train", "energy_j_per_step")), targets / step.batch_size  # fmt: skip
            step = None
        memory = by.get(("train", "peak_allocated_bytes"))
        yield {
            **dict(zip(CONDITION, condition, strict=True)),
            "machine_name": machine, "device": first.device, "device_kind": first.device_kind,
            "threads": first.threads, "model": model, "cost_source": source,
            **_spread("step_s", step, 1.0), **_spread("epoch_s", epoch, of_epoch),
            **_spread("inference_s", batch, PER_USERS / batch.batch_size if batch else 1.0),
            **_spread("memory_bytes", memory if first.device_kind == "cuda" else None, 1.0),
            **_spread("energy_j", energy, of_epoch),
        }  # fmt: skip


def _spread(name: str, row: Any, factor: float) -> dict[str, float]:
    """Median and quartiles of a measured quantity, times a factor."""
    if row is None:
        return {}
    ends = {"": row.median, "_low": row.q25, "_high": row.q75}
    return {f"{name}{end}": factor * value for end, value in ends.items()}


def core_seconds(rows: pd.DataFrame) -> pd.Series:
    """What a second of a row's machine counts: its threads on a CPU, one on a GPU."""
    return rows.threads.where(rows.device_kind == "cpu", 1)
