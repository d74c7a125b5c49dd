"""What masking seen items adds to quality, and whether a training that goes on closes that gap.

A model that recommends what its user has already had loses places where such items are ranked and none where they are masked. So
the gap is what a model has not learned of not repeating; published values of either kind are compared as if there were none.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pandas as pd

from ..analysis.collect import Tables
from ..core.display import PRIMARY_METRIC, QUANTITIES
from . import spent
from .changes import changes
from .findings import pick, place, places
from .points import Point
from .tables import known, label


@dataclass(frozen=True)
class Gap:
    """What masking adds to a training's validation quality, as a share of the value with seen items kept."""

    dataset: str
    first: float  # at the first look
    chosen: float  # at the step whose weights were tested
    by_patience: bool  # whether validation ended the training, not its budget


def shares(tables: Tables, **where: Any) -> pd.DataFrame:
    """The gap at every look of trainings with these values: path, model, step, best and `share`."""
    frame = tables.frames["curves"]
    part = pick(frame, split="valid", metric=PRIMARY_METRIC, **where) if len(frame) else frame
    if part.empty:
        return pd.DataFrame(columns=["path", "model", "step", "best", "share"])
    index = ["path", "model", "step", "best"]
    wide = part.pivot_table(index=index, columns="seen_items", values="value").reset_index()
    wide["share"] = wide["excluded"] / wide["kept"].where(wide["kept"] > 0) - 1
    return wide.dropna(subset="share")


def gaps(
    tables: Tables, dataset: str, track: str, seq_len: int
) -> Iterator[tuple[str, float, float]]:
    """Per model the gap at the first look and at the chosen step, means over its trainings."""
    found = shares(tables, dataset=dataset, track=track, seq_len=seq_len)
    for model in tables.ordered(found.model):
        own = pick(found, model=model)
        first, chosen = _first(own).mean(), own[own.best].share.mean()
        if known(first) and known(chosen):
            yield model, first, chosen


def sentences(tables: Tables) -> Iterator[str]:
    """What masking adds on the test, place by place, and whether the gap closed while the models were trained."""
    rows = pick(tables.frames["contrasts"], contrast="seen_items", metric=PRIMARY_METRIC)
    rows = rows[rows.model.isin(spent.trainings(tables).model)] if len(rows) else rows
    for dataset, track, seq_len in places(rows, "dataset", "track", "seq_len_to"):
        part = pick(rows, dataset=dataset, track=track, seq_len_to=seq_len)
        text = f"{place(dataset, seq_len)}, track {track}: masking adds {changes(tables, part)} to the test {QUANTITIES[PRIMARY_METRIC].label}."
        went = _went(tables, dataset, track, seq_len)
        if went:
            text += f" On validation the gap, as a share of the value with seen items kept, went from the first look to the chosen step from {went}."
        yield text


def brief(tables: Tables, tracks: list[str]) -> Iterator[Point]:
    """How large the gap is where trainings of the judged tracks ended."""
    found = list(_every(tables, tracks))
    if not found:
        return
    closed = sum(gap.chosen <= tables.settings["margin"] for gap in found)  # the margin is left
    at = ", ".join(
        f"{_span(own)} on {dataset}"
        for dataset in dict.fromkeys(gap.dataset for gap in found)
        if (own := [gap for gap in found if gap.dataset == dataset])
    )
    lead = (
        f"Masking what a user has seen adds to validation {QUANTITIES[PRIMARY_METRIC].label}, at the chosen step, {at}"
        f" ({', '.join(f'track {track}' for track in tracks)}); the gap closes in {closed or 'none'} of {len(found)} trainings."
    )
    yield Point(lead, list(_course(found)))


def _every(tables: Tables, tracks: list[str]) -> Iterator[Gap]:
    """The gap of every training, one that stands in several tracks once."""
    trained = spent.trainings(tables)
    if tables.frames["curves"].empty:
        return
    trained = trained[trained.track.isin(tracks)].drop_duplicates("path")
    for track, dataset, seq_len in places(trained, "track", "dataset", "seq_len"):
        looks = shares(tables, dataset=dataset, track=track, seq_len=seq_len)
        for path, own in looks.groupby("path", sort=False):
            chosen = own[own.best].share
            run = pick(trained, path=path, track=track)
            if len(chosen) and len(run):
                by_patience = not bool(run.still_improving.iloc[0])
                yield Gap(dataset, float(_first(own).iloc[0]), float(chosen.iloc[0]), by_patience)  # fmt: skip


def _course(found: list[Gap]) -> Iterator[str]:
    """Where it narrows, and how large it is where validation, not the budget, ended the training."""
    said = []
    for dataset in dict.fromkeys(gap.dataset for gap in found):
        own = [gap for gap in found if gap.dataset == dataset]
        narrower = sum(gap.chosen < gap.first for gap in own)
        ended = [gap for gap in own if gap.by_patience]
        rest = f", {_span(ended)} in the {len(ended)} that validation ended" if ended else ""
        said.append(f"on {dataset} in {narrower} of {len(own)}{rest}")
    yield f"It is narrower at the chosen step than at the first look {'; '.join(said)}."


def _went(tables: Tables, dataset: str, track: str, seq_len: int) -> str:
    found = gaps(tables, dataset, track, seq_len)
    return ", ".join(
        f"{_percent(first, chosen)} ({label(model)})" for model, first, chosen in found
    )


def _first(looks: pd.DataFrame) -> pd.Series:
    """Shares at the first look of every training."""
    return looks[looks.step == looks.groupby("path").step.transform("min")].share


def _percent(first: float, last: float) -> str:
    return f"{100 * first:.0f} to {100 * last:.0f} %"


def _span(found: list[Gap]) -> str:
    ends = (f"{100 * f(gap.chosen for gap in found):.0f}" for f in (min, max))
    return f"{' to '.join(dict.fromkeys(ends))} %"
