"""Rows of the table `probes`: for whom a model is good, and what it knows of the order of a history.

NDCG@10 on the test split with all items ranked, conservative ties, averaged over seeds; groups of users are the same for
every model of a place, so groups can be compared between models, models within a group.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from typing import Any

import numpy as np

from . import stats
from .metrics import per_user
from .tidy import Entry

METRIC = "ndcg@10"
BREAKDOWNS = {"history_length": "history length", "target_popularity": "popularity of the target"}
GROUPS = 4  # quarters of the users
Columns = dict[tuple[str, str], np.ndarray]  # (probe, group) -> users (U,) bool


def summarise(entries: list[Entry]) -> list[dict[str, Any]]:
    """Return rows of every place (dataset, track, length) whose records hold probes; older ones are left out."""
    able = [e for e in entries if e.training and e.ok and _has_probes(e)]
    rows = []
    for _, members in groupby(sorted(able, key=_place), _place):
        rows += _rows_of_place(list(members))
    return rows


def _has_probes(entry: Entry) -> bool:
    return "test-shuffled/unmasked/rank" in entry.record["samples"]["arrays"]


def _place(entry: Entry) -> tuple[str, str, int]:
    return tuple(entry.experiment[key] for key in ("dataset", "track", "seq_len"))


def _rows_of_place(members: list[Entry]) -> Iterator[dict[str, Any]]:
    by_model: dict[str, list[dict[str, np.ndarray]]] = {}
    for entry in members:
        by_model.setdefault(entry.experiment["model"], []).append(entry.samples())
    groups = _groups(next(iter(by_model.values()))[0])
    about = {key: members[0].experiment[key] for key in ("dataset", "track", "seq_len")}
    for model, seeds in by_model.items():
        real = [per_user(s["test/unmasked/rank"], METRIC) for s in seeds]
        shuffled = [per_user(s["test-shuffled/unmasked/rank"], METRIC) for s in seeds]
        head = {**about, "model": model, "metric": METRIC, "n_seeds": len(seeds)}
        for (probe, group), users in groups.items():
            yield {**head, "probe": probe, "group": group, **_mean([v[users] for v in real])}
        for group, values in (
            ("as it was", real),
            ("shuffled", shuffled),
            ("lost", [a - b for a, b in zip(real, shuffled, strict=True)]),
        ):
            yield {**head, "probe": "order of the history", "group": group, **_mean(values)}


def _mean(per_seed: list[np.ndarray]) -> dict[str, Any]:
    """Mean over users and seeds with its interval; nothing where a group is empty."""
    if not len(per_seed[0]):
        return {"n_users": 0, "mean": None, "ci_low": None, "ci_high": None}
    means = stats.seed_means([values[:, None] for values in per_seed])
    low, high = stats.interval(stats.resample([means])[0].means)
    row = {"mean": float(means.mean[0]), "ci_low": float(low[0]), "ci_high": float(high[0])}
    return {"n_users": len(per_seed[0]), **row}


def _groups(samples: dict[str, np.ndarray]) -> Columns:
    """Quarters of the users by what is known of them, fewer where many are alike; and those with and without a tie."""
    found: Columns = {}
    for key, probe in BREAKDOWNS.items():
        values = samples[key]
        borders = np.unique(np.quantile(values, np.linspace(0, 1, GROUPS + 1)).astype(int))
        for low, high in zip(borders[:-1], borders[1:], strict=True):
            last = high == borders[-1]
            users = (values >= low) & ((values <= high) if last else (values < high))
            found[probe, _named(low, high if last else high - 1)] = users
        if len(borders) == 1:  # all alike
            found[probe, _named(borders[0], borders[0])] = np.ones(len(values), dtype=bool)
    if "tied" in samples:
        tied = samples["tied"] == 1
        found["time of the target", "shared with the item before"] = tied
        found["time of the target", "its own"] = ~tied
    return found


def _named(low: int, high: int) -> str:
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"
