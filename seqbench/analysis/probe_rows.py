"""Rows of the table `probes`: for whom a model is good, and what it knows of the order of a history.

NDCG@10 on the test split with all items ranked, conservative ties, averaged over seeds; groups of users are the same for
every model of a condition, so groups can be compared between models, models within a group.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from ..core.display import PRIMARY_METRIC
from ..core.metrics import per_user
from ..core.store import CONDITION, Entry, by_condition
from . import resampling

BREAKDOWNS = {"history_length": "history length", "target_popularity": "popularity of the target"}
GROUPS = 4  # quarters of the users
ORDERS = ("as it was", "shuffled", "lost")  # of the history, and what is lost by shuffling it
Columns = dict[tuple[str, str], np.ndarray]  # (probe, group) -> users (U,) bool


def summarise(entries: list[Entry]) -> list[dict[str, Any]]:
    """Return rows of every condition (dataset, track, length) whose records hold probes; older ones are left out."""
    able = [e for e in entries if e.training and e.ok and "test-shuffled/rank" in e.record["samples"]["arrays"]]  # fmt: skip
    return [row for members in by_condition(able) for row in _rows_of_condition(members)]


def _rows_of_condition(members: list[Entry]) -> Iterator[dict[str, Any]]:
    by_model: dict[str, list[Mapping[str, np.ndarray]]] = {}
    for entry in members:
        by_model.setdefault(entry.job["model"], []).append(entry.samples())
    groups = _groups(members[0].users())
    about = {key: members[0].job[key] for key in CONDITION}
    orders = {model: [_orders(samples) for samples in seeds] for model, seeds in by_model.items()}
    for (probe, group), users in groups.items():
        of_group = {model: [o[users, :1] for o in seeds] for model, seeds in orders.items()}
        yield from _rows(about | {"probe": probe}, [group], of_group)
    yield from _rows(about | {"probe": "order of the history"}, ORDERS, orders)


def _orders(samples: Mapping[str, np.ndarray]) -> np.ndarray:
    """Every user's value (U, ORDERS)."""
    names = ("test/rank", "test-shuffled/rank")
    real, shuffled = (per_user(samples[name], PRIMARY_METRIC) for name in names)
    return np.column_stack([real, shuffled, real - shuffled])


def _rows(about: dict[str, Any], names: Sequence[str], by_model: dict[str, list[np.ndarray]]) -> Iterator[dict[str, Any]]:  # fmt: skip
    """Rows of every column (names) of the models' tables (U, K) by seed, all from one draw of users; without users the count
    alone."""
    n_users = len(next(iter(by_model.values()))[0])
    found = {}
    if n_users:
        draws = resampling.resample([resampling.seed_means(seeds) for seeds in by_model.values()])
        ends = (np.stack([d.model.mean, *resampling.interval(d.means)]) for d in draws)
        found = dict(zip(by_model, ends, strict=True))
    for k, group in enumerate(names):
        for model, seeds in by_model.items():
            numbers = found[model][:, k].tolist() if n_users else [None] * 3
            yield {
                **about, "group": group, "model": model, "metric": PRIMARY_METRIC,
                "n_seeds": len(seeds), "n_users": n_users,
                **dict(zip(("mean", "ci_low", "ci_high"), numbers, strict=True)),
            }  # fmt: skip


def _groups(facts: dict[str, np.ndarray]) -> Columns:
    """Quarters of the users by what is known of them, fewer where many are alike; and those with and without a tie."""
    found: Columns = {}
    for key, probe in BREAKDOWNS.items():
        values = facts[key]
        borders = np.unique(np.quantile(values, np.linspace(0, 1, GROUPS + 1)).astype(int))
        begins = borders[:-1] if len(borders) > 1 else borders
        for low, end in pairwise([*begins, borders[-1] + 1]):
            found[probe, _named(low, end - 1)] = (values >= low) & (values < end)
    if "tied" in facts:
        tied = facts["tied"] == 1
        found["time of the target", "shared with the item before"] = tied
        found["time of the target", "its own"] = ~tied
    return found


def _named(low: int, high: int) -> str:
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"
