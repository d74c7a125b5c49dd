"""Summaries over seeds: means with intervals, and differences between models with a verdict.

Records are read condition by condition (dataset, track, length); of one nothing is kept but its rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from typing import Any

import numpy as np

from ..core.display import TABLES
from ..core.store import CONDITION, Entry, by_condition
from . import resampling, significance
from .groups import COMPARED, Group, check_same_data, groups

MADE = ("effectiveness", "summary", "comparisons")
SEEDS_FOR_A_CLAIM = 3
UNSTEADY = "unsteady"  # no verdict: seeds of one of the two lie far apart (`groups.APART`)


def enough_seeds(trained_seeds: float | None) -> bool:
    """Whether a difference rests on enough seeds to be called established (models without training need none)."""
    return trained_seeds is None or np.isnan(trained_seeds) or trained_seeds >= SEEDS_FOR_A_CLAIM


def summarise(entries: list[Entry], margin: float, one_machine: bool = True) -> dict[str, list[dict[str, Any]]]:  # fmt: skip
    """Return rows of `effectiveness` (tidy), `summary` and `comparisons` of the trainings that succeeded.

    margin: smallest difference that counts, as a share of the better model's mean. one_machine: whether a model's seeds
    must come from the same machine, as in every grid; pool.py says when they need not.

    Raises:
        UserError: records that would be averaged or compared differ in data, machine or settings.
    """
    trainings = [e for e in entries if e.training and e.ok]
    check_same_data(trainings)
    rows: dict[str, list[dict[str, Any]]] = {name: [] for name in MADE}
    for members in by_condition(trainings):
        here = groups(members, rows["effectiveness"], one_machine)
        rows["summary"] += [row for group in here for row in _summary_rows(group)]
        pairs = combinations(here, 2)
        rows["comparisons"] += [r for pair in pairs for r in _comparison_rows(*pair, margin)]
    return rows


def _summary_rows(group: Group) -> Iterator[dict[str, Any]]:
    entry, means = group.entries[0], group.means
    low, high = (np.clip(end, 0, 1) for end in resampling.interval(group.resamples.means))
    about = {key: entry.job[key] for key in ("dataset", "model", "track", "seq_len")}
    about |= {"split": entry.dataset["split"]["kind"], "data_hash": entry.record["data"]["hash"]}
    about |= {"n_seeds": means.n_seeds, "budget": group.budget}
    for k, (seen_items, ties, metric) in enumerate(group.names):
        numbers = {"mean": means.mean[k], "std": means.std[k], "ci_low": low[k], "ci_high": high[k]}
        row = {**about, "seen_items": seen_items, "ties": ties, "metric": metric, **numbers}
        yield {column: row[column] for column in TABLES["summary"]}


def _comparison_rows(a: Group, b: Group, margin: float) -> Iterator[dict[str, Any]]:
    about = {key: a.job[key] for key in CONDITION} | {"model_a": a.model, "model_b": b.model}
    at = [a.column(*one) for one in COMPARED]
    p_values, effects = significance.paired_t(a.means.users[:, at], b.means.users[:, at])
    mean_a, mean_b = a.means.mean[at], b.means.mean[at]
    found = significance.difference(a.resamples, b.resamples, at)
    low, high, least = found.low, found.high, margin * np.maximum(mean_a, mean_b)
    p_margins = found.p_beyond(least)
    steady = a.steady and b.steady
    seeds = [group.means.n_seeds for group in (a, b) if group.trained]
    for k, (seen_items, metric) in enumerate(COMPARED):
        yield {
            **about, "seen_items": seen_items, "metric": metric,
            "mean_a": mean_a[k], "mean_b": mean_b[k], "difference": mean_a[k] - mean_b[k],
            "ci_low": low[k], "ci_high": high[k], "margin": least[k], "p_margin": p_margins[k],
            "verdict": resampling.verdict(low[k], high[k], least[k]) if steady else UNSTEADY,
            "trained_seeds": min(seeds, default=None), "p_value": p_values[k], "effect": effects[k],
        }  # fmt: skip
