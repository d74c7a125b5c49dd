"""One model against itself: what excluding seen items or a longer history changes, paired over users.

Every condition is resampled from the same seed, so equally many users are drawn alike: resamples of two conditions are paired.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import Any

from ..core.display import QUALITY_METRICS
from . import significance
from .groups import COMPARED, Group

Row = dict[str, Any]


def seen_items(group: Group) -> Iterator[Row]:
    """Seen items excluded against seen items kept: the same trainings on the same users."""
    low, high = group.interval
    for k, metric in enumerate(QUALITY_METRICS, start=len(group.names)):
        numbers = (group.means.mean[k], low[k], high[k])
        yield _row("seen_items", group, group, "both", metric, numbers)


def lengths(groups: Sequence[Group]) -> Iterator[Row]:
    """Every model of a track at every longer history against every shorter one, with the same budget."""
    for short, long in combinations(groups, 2):
        users = [len(group.means.users) for group in (short, long)]
        alike = (short.model, short.budget, users[0]) == (long.model, long.budget, users[1])
        if alike and long.job["seq_len"] > short.job["seq_len"]:
            at = long.compared
            found = significance.difference(long.resamples, short.resamples, at)
            numbers = zip(long.means.mean[at] - short.means.mean[at], found.low, found.high, strict=True)  # fmt: skip
            for (ranked, metric), own in zip(COMPARED, numbers, strict=True):
                yield _row("length", short, long, ranked, metric, own)


def _row(
    what: str, first: Group, second: Group, ranked: str, metric: str, numbers: Sequence[float]
) -> Row:
    return {
        **{key: second.job[key] for key in ("dataset", "track", "model")},
        "contrast": what, "seen_items": ranked, "metric": metric,
        "seq_len_from": first.job["seq_len"], "seq_len_to": second.job["seq_len"],
        **dict(zip(("difference", "ci_low", "ci_high"), numbers, strict=True)),
        "n_seeds": min(first.means.n_seeds, second.means.n_seeds),
    }  # fmt: skip
