"""What the trainings took: how each group of them ended, and the seconds of one process that it cost.

Times of a training are informative: other work may have run beside it, or it was paused. Published costs are measured.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd

from .rows import compared_tracks, pick, unique

GROUP = ("track", "dataset", "seq_len", "model", "machine_name", "device_kind")
MEANS = {"steps": "steps", "best_step": "best_step", "epochs": "epochs", "targets": "targets_seen"}
SECONDS = ("train_s", "evaluate_s")
COLUMNS = (*GROUP, "n_seeds", "ended_by_budget", *MEANS, *SECONDS, "core_s")
ORIGINS = (*GROUP, "n_seeds", "seeds")


def trainings(experiments: pd.DataFrame) -> pd.DataFrame:
    """Rows of `experiments` of models that were trained and came to their end."""
    return pick(experiments, kind="train", status="ok", trained=True)


def rows(experiments: pd.DataFrame, settings: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """A row per condition, model and machine.

    Means over seeds, but for `ended_by_budget`, which counts the trainings that more steps might have helped, and
    `core_s`: seconds of all seeds times threads; on a GPU seconds of the device.
    """
    for about, own in _groups(experiments, settings):
        cores = own.threads.where(own.device_kind == "cpu", 1)
        yield {
            **about, "n_seeds": len(own), "ended_by_budget": int(own.still_improving.eq(True).sum()),
            **{name: own[column].mean() for name, column in MEANS.items()},
            **{name: own[name].mean() for name in SECONDS},
            "core_s": (own[list(SECONDS)].sum(axis=1) * cores).sum(),
        }  # fmt: skip


def origins(experiments: pd.DataFrame, settings: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Which machine trained which seeds of a condition and model."""
    for about, own in _groups(experiments, settings):
        seeds = sorted(int(seed) for seed in own.seed)
        yield {**about, "n_seeds": len(seeds), "seeds": " ".join(map(str, seeds))}


def _groups(
    experiments: pd.DataFrame, settings: Mapping[str, Any]
) -> Iterator[tuple[dict[str, Any], pd.DataFrame]]:
    found = trainings(experiments)
    tracks = compared_tracks(settings, (track for (track,) in unique(found, "track")))
    for track in tracks:
        here = pick(found, track=track)
        for values in unique(here.sort_values(["dataset", "seq_len"], kind="stable"), *GROUP):
            about = dict(zip(GROUP, values, strict=True))
            yield about, pick(here, **about)
