"""Published values of the same models on the same files, beside ours: config/published_values.yaml in, rows out.

Like with like: a value with seen items kept is held against ours with seen items kept. Verdicts:

    above         our interval lies above the published value
    reached       it holds the published value, and our mean is not far below it
    below         it lies below
    inconclusive  it holds the published value only because it is wide: our mean is far below
    not measured  nothing was trained there
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import pandas as pd

from .rows import compared_tracks, pick, unique

METRICS = ("ndcg@10", "hr@10")  # the one that decides first
ABOVE, REACHED, BELOW, UNSURE = "above", "reached", "below", "inconclusive"
ABSENT = "not measured"
NEAR = 0.9  # share of the published value that our mean must have for an interval that holds it to reach it
COLUMNS = (
    *("dataset", "seq_len", "model", "seen_items", "source", "note", "track", "metric"),
    *("published", "ours", "ours_low", "ours_high", "share", "verdict"),
)


def rows(
    summary: pd.DataFrame, settings: Mapping[str, Any], published: Iterable[Mapping[str, Any]]
) -> Iterator[dict[str, Any]]:
    """A row per value, metric that it has and track; one without a track where nothing was trained."""
    for value in published:
        where = {key: value[key] for key in ("dataset", "seq_len", "model", "seen_items")}
        ours = pick(summary, ties="conservative", **where)
        for metric in (m for m in METRICS if value[m] is not None):
            about = {**where, "source": value["source"], "note": value["note"], "metric": metric}
            own = pick(ours, metric=metric)
            tracks = compared_tracks(settings, (track for (track,) in unique(own, "track")))
            for track in tracks or [None]:
                row = about | {"track": track} | beside(pick(own, track=track), value[metric])
                yield {column: row[column] for column in COLUMNS}


def beside(own: pd.DataFrame, published: float) -> dict[str, Any]:
    """Our value of one model and metric (at most one row of `summary`) beside a published one, with the verdict."""
    if own.empty:
        nothing = dict.fromkeys(("ours", "ours_low", "ours_high", "share"))
        return {"published": published, **nothing, "verdict": ABSENT}
    row = own.iloc[0]
    return {
        "published": published, "ours": row["mean"], "ours_low": row.ci_low, "ours_high": row.ci_high,
        "share": row["mean"] / published, "verdict": verdict(row, published),
    }  # fmt: skip


def verdict(row: pd.Series, published: float) -> str:
    """Where our interval lies beside a published value."""
    if row.ci_low > published or row.ci_high < published:
        return ABOVE if row.ci_low > published else BELOW
    return REACHED if row["mean"] >= NEAR * published else UNSURE
