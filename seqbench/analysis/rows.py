"""Picking rows of the tidy tables, for everything that makes tables from tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd

TRACKS = ("matched", "tuned", "paper")  # the comparison itself first; others as they come


def pick(frame: pd.DataFrame, **values: Any) -> pd.DataFrame:
    """Rows whose columns have these values; an empty frame stays empty."""
    if frame.empty or not values:
        return frame
    return frame[np.logical_and.reduce([frame[key] == value for key, value in values.items()])]


def unique(frame: pd.DataFrame, *columns: str) -> list[tuple]:
    """Distinct values of some columns, in order of first use."""
    if frame.empty:
        return []
    return list(frame[list(columns)].drop_duplicates().itertuples(index=False, name=None))


def tracks_in_order(tracks: Iterable[str]) -> list[str]:
    """Distinct tracks in the order of `TRACKS`, the others as they come."""
    known = {track: at for at, track in enumerate(TRACKS)}
    return sorted(dict.fromkeys(tracks), key=lambda track: known.get(track, len(TRACKS)))


def compared_tracks(settings: Mapping[str, Any], tracks: Iterable[str]) -> list[str]:
    """Tracks that answer the question: without the steps between both ends of the ablation."""
    return [t for t in tracks_in_order(tracks) if t not in settings.get("ablation", ())[1:-1]]


def trainings(experiments: pd.DataFrame) -> pd.DataFrame:
    """Rows of `experiments` of models that were trained and came to their end."""
    return pick(experiments, kind="train", status="ok", trained=True)
