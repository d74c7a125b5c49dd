"""Published values of the same models on the same files, beside ours: config/published_values.yaml in, rows out.

Like with like: a value with seen items kept is held against ours with seen items kept. Verdicts:

    above         our interval lies above the published value
    reached       it holds the published value, and our mean is not far below it
    below         it lies below
    inconclusive  it holds the published value only because it is wide: our mean is far below
    not measured  nothing was trained there
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

from .rows import compared_tracks, pick

METRICS = ("ndcg@10", "hr@10")  # the one that decides first
ABOVE, REACHED, BELOW, UNSURE = "above", "reached", "below", "inconclusive"
ABSENT = "not measured"
NEAR = 0.9  # share of the published value that our mean must have for an interval that holds it to reach it
KEY = ["dataset", "seq_len", "model", "seen_items", "metric"]
OURS = {"mean": "ours", "ci_low": "ours_low", "ci_high": "ours_high"}
COLUMNS = (
    *("dataset", "seq_len", "model", "seen_items", "source", "note", "track", "metric"),
    *("published", "ours", "ours_low", "ours_high", "share", "verdict"),
)


def rows(
    summary: pd.DataFrame, settings: Mapping[str, Any], published: Iterable[Mapping[str, Any]]
) -> pd.DataFrame:
    """A row per value, metric that it has and track; one without a track where nothing was trained."""
    cells = [
        {**value, "metric": metric, "published": value[metric]}
        for value in published for metric in METRICS if value[metric] is not None
    ]  # fmt: skip
    ours = pick(summary, ties="conservative").reindex(columns=[*KEY, "track", *OURS]).rename(columns=OURS)  # fmt: skip
    tracks = compared_tracks(settings, ours.track)
    ours = ours[ours.track.isin(tracks)].sort_values("track", key=lambda own: own.map(tracks.index))
    found = pd.DataFrame(cells, columns=[*KEY, "source", "note", "published"])  # fmt: skip
    found = found.merge(ours.astype(found.dtypes[KEY]), how="left", on=KEY)
    found["share"] = found.ours / found.published
    found["verdict"] = [
        ABSENT if pd.isna(row.ours) else verdict(row.ours, row.ours_low, row.ours_high, row.published)
        for row in found.itertuples()
    ]  # fmt: skip
    return found[[*COLUMNS]]


def verdict(ours: float, low: float, high: float, published: float) -> str:
    """Where our interval lies beside a published value."""
    if low > published or high < published:
        return ABOVE if low > published else BELOW
    return REACHED if ours >= NEAR * published else UNSURE
