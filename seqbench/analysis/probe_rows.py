"""Rows of the table `probes`: for whom a model is good, and what it knows of the order of a history.

NDCG@10 on the test split with all items ranked, conservative ties, averaged over seeds; groups of users are the same for
every model of a condition, so groups can be compared between models, models within a group.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from typing import Any

import numpy as np

from ..core.display import PRIMARY_METRIC
from ..core.metrics import per_user
from ..core.store import Entry
from . import resampling

BREAKDOWNS = {"history_length": "history length", "target_popularity": "popularity of the target"}
GROUPS = 4  # quarters of the users
Columns = dict[tuple[str, str], np.ndarray]  # (probe, group) -> users (U,) bool


def summarise(entries: list[Entry]) -> list[dict[str, Any]]:
    """Return rows of every condition (dataset, track, length) whose records hold probes; older ones are left out."""
    able = [e for e in entries if e.training and e.ok and _has_probes(e)]
    rows = []
    for _, members in groupby(sorted(able, key=_condition), _condition):
        rows += _rows_of_condition(list(members))
    return rows


def _has_probes(entry: Entry) -> bool:
    return "test-shuffled/rank" in entry.record["samples"]["arrays"]


def _condition(entry: Entry) -> tuple[str, str, int]:
    return tuple(entry.job[key] for key in ("dataset", "track", "seq_len"))


def _rows_of_condition(members: list[Entry]) -> Iterator[dict[str, Any]]:
    by_model: dict[str, list[dict[str, np.ndarray]]] = {}
    for entry in members:
        by_model.setdefault(entry.job["model"], []).append(entry.samples())
    groups = _groups(members[0].users())
    about = {key: members[0].job[key] for key in ("dataset", "track", "seq_len")}
    orders = {model: _orders(seeds) for model, seeds in by_model.items()}
    for (probe, group), users in groups.items():
        where = {**about, "probe": probe, "group": group}
        yield from _rows(where, {m: [v[users] for v in o["as it was"]] for m, o in orders.items()})
    for group in ("as it was", "shuffled", "lost"):
        where = {**about, "probe": "order of the history", "group": group}
        yield from _rows(where, {model: order[group] for model, order in orders.items()})


def _orders(seeds: list[dict[str, np.ndarray]]) -> dict[str, list[np.ndarray]]:
    """Every user's value (U,) by seed: with the history as it was, shuffled, and what is lost by that."""
    real, shuffled = (
        [per_user(s[f"{split}/rank"], PRIMARY_METRIC) for s in seeds]
        for split in ("test", "test-shuffled")
    )
    lost = [a - b for a, b in zip(real, shuffled, strict=True)]
    return {"as it was": real, "shuffled": shuffled, "lost": lost}


def _rows(about: dict[str, Any], by_model: dict[str, list[np.ndarray]]) -> Iterator[dict[str, Any]]:
    """Mean over users and seeds of every model with its interval, all from one draw of users; of a group of none the count alone."""
    n_users = len(next(iter(by_model.values()))[0])
    if not n_users:
        for model, seeds in by_model.items():
            yield _row(about, model, len(seeds), 0, None, None, None)
        return
    means = [resampling.seed_means([v[:, None] for v in seeds]) for seeds in by_model.values()]
    for model, own, draws in zip(by_model, means, resampling.resample(means), strict=True):
        low, high = resampling.interval(draws.means)
        ends = (float(value[0]) for value in (own.mean, low, high))
        yield _row(about, model, own.n_seeds, n_users, *ends)


def _row(
    about: dict[str, Any], model: str, n_seeds: int, n_users: int,
    mean: float | None, low: float | None, high: float | None,
) -> dict[str, Any]:  # fmt: skip
    interval = {"mean": mean, "ci_low": low, "ci_high": high}
    return {**about, "model": model, "metric": PRIMARY_METRIC, "n_seeds": n_seeds, "n_users": n_users, **interval}  # fmt: skip


def _groups(facts: dict[str, np.ndarray]) -> Columns:
    """Quarters of the users by what is known of them, fewer where many are alike; and those with and without a tie."""
    found: Columns = {}
    for key, probe in BREAKDOWNS.items():
        values = facts[key]
        borders = np.unique(np.quantile(values, np.linspace(0, 1, GROUPS + 1)).astype(int))
        for low, high in zip(borders[:-1], borders[1:], strict=True):
            last = high == borders[-1]
            users = (values >= low) & ((values <= high) if last else (values < high))
            found[probe, _named(low, high if last else high - 1)] = users
        if len(borders) == 1:  # all alike
            found[probe, _named(borders[0], borders[0])] = np.ones(len(values), dtype=bool)
    if "tied" in facts:
        tied = facts["tied"] == 1
        found["time of the target", "shared with the item before"] = tied
        found["time of the target", "its own"] = ~tied
    return found


def _named(low: int, high: int) -> str:
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"
