"""All tables of a grid in one value, and picking rows of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from ..config.model_files import in_order
from ..core.metrics import SEEN_ITEMS
from ..data.variants import variants

TRACKS = ("matched", "tuned", "paper")  # the comparison itself first; others as they come
CONDITION = ("track", "dataset", "seq_len")
MODEL = (*CONDITION, "model")


@dataclass(frozen=True)
class Tables:
    """All tables of a grid: data frames by name, facts of the datasets by name, and settings of the report.

    settings: `margin`, `focal_model`, `models`, `datasets` (as configured), `ablation` and `ladder` of the configuration,
    `environments` of the records. rungs: of `ladder.climb`, while tables are made.
    """

    frames: dict[str, pd.DataFrame]
    datasets: dict[str, Any]
    settings: dict[str, Any]
    rungs: Sequence[Any] = ()

    @property
    def focal_model(self) -> str:
        """The model that the question is about."""
        return self.settings["focal_model"]

    def ordered(self, models: Iterable[str]) -> list[str]:
        """Distinct models in the order of every table: the focal model, the others as configured, the rest by name."""
        return in_order(models, (self.focal_model, *self.settings["models"]))

    def main(self, name: str) -> pd.DataFrame:
        """A table without datasets that are variants of others and tracks that are rungs, or steps of the ablation."""
        frame = self.frames[name]
        if frame.empty:
            return frame
        tracks = compared_tracks(self.settings, frame.track)
        return frame[~frame.dataset.isin(variants(self.datasets)) & frame.track.isin(tracks)]

    def sorted(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Rows in the order of every table: datasets and models as configured, machines as they come."""
        orders = {
            "dataset": in_order(frame.dataset, self.settings.get("datasets", ())),
            "track": tracks_in_order(frame.track),
            "seq_len": sorted(set(frame.seq_len)),
            "seen_items": SEEN_ITEMS,
            "machine_name": [name for (name,) in unique(self.frames["efficiency"], "machine_name")],
            **{key: self.ordered(frame[key]) for key in ("model", "comparator") if key in frame},
        }
        places = {key: {name: k for k, name in enumerate(own)} for key, own in orders.items()}
        by = [key for key in places if key in frame]
        return frame.sort_values(by, key=lambda own: own.map(places[own.name]), kind="stable", ignore_index=True)  # fmt: skip


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
    """Tracks that answer the question: without the rungs and the steps between both ends of the ablation."""
    between = {*settings.get("ablation", ())[1:-1], *settings.get("ladder", ())}
    return [t for t in tracks_in_order(tracks) if t not in between]


def trainings(experiments: pd.DataFrame) -> pd.DataFrame:
    """Rows of `experiments` of models that were trained and came to their end."""
    return pick(experiments, kind="train", status="ok", trained=True)
