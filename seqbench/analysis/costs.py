"""The tables `costs` and `cost_ratios`: what a training step, an epoch, ranking and memory cost, by condition, machine and
model; and the focal model's cost over each comparator's.

What was measured on the dataset itself comes first. Where a machine measured none of it, points of the cost curve stand in:
full-length batches as long, over a catalogue as large, an epoch scaled by the number of targets. The step of a training is
not scaled: a smaller batch may take as long as a larger one.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from ..core.display import LOWER, QUANTITIES, TABLES
from ..data.variants import BASE
from .tables import CONDITION, Tables, pick, trainings

LENGTHS = "length-at-constant-batch"  # the curve that stands in for a dataset
PER_USERS = 1000  # users that the time of inference is given for
BOTH = {("inference", "batch_s"): "inference_s", ("train", "peak_allocated_bytes"): "memory_bytes"}
SOURCES = {
    "dataset": BOTH | {("train", "step_s"): "step_s", ("train", "epoch_s"): "epoch_s", ("train", "energy_j_per_epoch"): "energy_j"},
    "synthetic": BOTH | {("train", "step_s"): "epoch_s", ("train", "energy_j_per_step"): "energy_j"},
}  # fmt: skip
ENDS = {"median": "", "q25": "_low", "q75": "_high"}
KEY = (*CONDITION, "machine_name", "device", "device_kind", "threads", "model", "cost_source")
GROUPS = ("time", "memory", "energy")
COMPARED = tuple(name for name, q in QUANTITIES.items() if q.better == LOWER and q.group in GROUPS)
SESSION = ["machine_name", "device_kind", "job", "phase", "metric"]


def measured(tables: Tables) -> pd.DataFrame:
    """Rows of `efficiency` with a value that may be compared, of datasets and of curves.

    A measurement on a dataset with another batch, precision or hyper-parameter than what was trained there is left out:
    it may outlive its trainings.
    """
    rows = tables.main("efficiency")
    if rows.empty:
        return rows
    return rows[rows["median"].notna() & ~rows.path.isin(_outlived(tables.frames["experiments"]))]


def _outlived(experiments: pd.DataFrame) -> list[str]:
    """Paths of measurements that do not fit what was trained in their condition."""
    trained = defaultdict(list)
    for row in trainings(experiments).itertuples():
        trained[row.track, row.dataset, row.seq_len].append(row)

    def fits(row: Any) -> bool:
        there = trained.get((row.track, row.dataset, row.seq_len), [row])
        same = {t.hyperparameters for t in there if t.model == row.model} or {row.hyperparameters}
        batch = row.targets_per_step, row.step_counts, row.precision
        own = json.loads(row.hyperparameters)
        # Of two hyper-parameters only those that both name can differ.
        alike = (all(own.get(k, v) == v for k, v in json.loads(text).items()) for text in same)
        taken = [(t.targets_per_step, t.step_counts, t.precision) for t in there]
        return batch in taken and any(alike)

    return [r.path for r in pick(experiments, kind="measure").itertuples() if not fits(r)]


def of_conditions(tables: Tables) -> pd.DataFrame:
    """One row per condition, machine and trained model whose cost is known there; times in s, memory in bytes, energy in J.

    epoch_s: one pass over the training targets. inference_s: of 1,000 users. memory_bytes: peak allocated of training on a
    GPU. energy_j: of an epoch. low and high: quartiles.
    """
    rows = measured(tables)
    if rows.empty:
        return pd.DataFrame(columns=TABLES["costs"])
    own = rows[rows.curve.isna()]
    own = own.assign(cost_source="dataset", targets=own.batch_size)  # an epoch is measured there
    rows = pd.concat([own, _standing_in(tables, rows, own)])
    # One record each: the first of a dataset, the one with the largest batch of a curve.
    place = [*CONDITION, "machine_name", "device_kind", "model"]
    rows = rows[rows.path == rows.groupby(place).path.transform("first")]
    kinds = zip(rows.cost_source, rows.phase, rows.metric, strict=True)
    names = [SOURCES[source].get((phase, metric)) for source, phase, metric in kinds]
    rows = rows.assign(quantity=names).dropna(subset="quantity")
    epochs = (rows.targets / rows.batch_size).where(rows.quantity.isin(("epoch_s", "energy_j")), 1.0)  # fmt: skip
    factor = epochs.where(rows.quantity != "inference_s", PER_USERS / rows.batch_size)
    rows[list(ENDS)] = rows[list(ENDS)].mul(factor, axis=0)
    wide = rows.pivot(index=list(KEY), columns="quantity", values=list(ENDS))
    wide.columns = [f"{quantity}{ENDS[end]}" for end, quantity in wide.columns]
    return tables.sorted(wide.reset_index().reindex(columns=TABLES["costs"]))


def _standing_in(tables: Tables, rows: pd.DataFrame, own: pd.DataFrame) -> pd.DataFrame:
    """Points of the curve for every condition that a machine did not measure itself, the largest batch first."""
    conditions = pd.concat([tables.main("summary"), own])[list(CONDITION)].drop_duplicates()
    facts = [tables.datasets.get(name, {}) for name in conditions.dataset]
    conditions["targets"] = [targets_of(f) for f in facts]
    conditions["n_items"] = [f.get("n_items", -1) for f in facts]
    points = pick(rows, curve=LENGTHS).drop(columns="dataset")
    points = points.merge(conditions, on=["track", "seq_len", "n_items"])
    place = [*CONDITION, "machine_name", "device_kind"]
    done = points.merge(own[place].drop_duplicates(), on=place, how="left", indicator=True)
    points = points[(done._merge == "left_only").to_numpy()].assign(cost_source="synthetic")
    return points.sort_values("sequences", ascending=False, kind="stable")


def ratios(tables: Tables) -> pd.DataFrame:
    """One row per cost and comparator: the ratio of medians, and the verdict cheaper, dearer or inconclusive.

    ratio_low, ratio_high pair the lower quartile of one with the upper quartile of the other; they decide the verdict.
    Two models are held against each other only where one session measured both with the same batch.
    """
    every = measured(tables)
    every = every[every.metric.isin(COMPARED) & (every["median"] > 0)] if len(every) else every
    if every.empty:
        return pd.DataFrame(columns=TABLES["cost_ratios"])
    every = every.assign(job=every.path.str.rpartition("/")[0])
    others = every[every.model != tables.focal_model]
    others = others[[*SESSION, "model", "median", "q25", "q75"]].rename(columns={"model": "comparator"})  # fmt: skip
    both = pick(every, model=tables.focal_model).merge(others, on=SESSION, suffixes=("", "_other"))
    ends = {"ratio_low": both.q25 / both.q75_other, "ratio_high": both.q75 / both.q25_other}
    both = both.assign(ratio=both["median"] / both.median_other, source=both.curve.fillna("dataset"), **ends)  # fmt: skip
    cases = [both.ratio_high < 1, both.ratio_low > 1]
    both["verdict"] = np.select(cases, ["cheaper", "dearer"], "inconclusive")
    return tables.sorted(both[TABLES["cost_ratios"]])


def targets_of(facts: Mapping[str, Any]) -> float:
    """Targets of one pass over a dataset's training part: all events but the first of each user and the two held out."""
    if not facts or (facts.get("split") or {"kind": BASE})["kind"] != BASE:
        return float("nan")
    return float(facts["n_interactions"] - 3 * facts["n_users"])


def core_seconds(rows: pd.DataFrame) -> pd.Series:
    """What a second of a row's machine counts: its threads on a CPU, one on a GPU."""
    return rows.threads.where(rows.device_kind == "cpu", 1)
