"""What another way to train does to the order of the models: tracks with another objective, beside the judged one, in brief.

A causal model is taught by every position of a window, one that fills in masks by those alone, and a sample that is a prefix
teaches its last item to either. So an objective may favour one of them, whatever the models are worth.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pandas as pd

from ..analysis.collect import Tables
from ..metrics import METRICS
from . import budgets, spent, versus
from .findings import MAIN, TRACKS, pick, place, places
from .tables import whole
from .views import ordered


@dataclass(frozen=True)
class Pair:
    """A track that is not judged and the first judged one at a place, which differ in the objective."""

    dataset: str
    seq_len: int
    track: str
    judged: str
    own: pd.DataFrame  # trainings of the first
    base: pd.DataFrame  # of the judged one

    @property
    def models(self) -> list[str]:
        """Those that both trained."""
        return [m for m in ordered(self.own.model) if m in set(self.base.model)]

    @property
    def objective(self) -> str:
        """Its name, or names."""
        return ", ".join(dict.fromkeys(self.own.objective))

    @property
    def budget(self) -> str:
        """Seeds and updates of the first, of the models that both trained."""
        return self._of(self.own)

    @property
    def judged_budget(self) -> str:
        """The same of the judged one."""
        return self._of(self.base)

    def _of(self, trainings: pd.DataFrame) -> str:
        rows = trainings[trainings.model.isin(self.models)]
        ends = [f(rows.groupby("model").seed.nunique()) for f in (min, max)]
        seeds = " to ".join(map(str, dict.fromkeys(ends)))
        steps = " to ".join(dict.fromkeys(whole(f(rows.steps)) for f in (min, max)))
        return f"{seeds} {'seed' if ends[-1] == 1 else 'seeds'}, {steps} updates of {whole(rows.batch_targets.max())} targets"


def pairs(tables: Tables) -> Iterator[Pair]:
    """Every such pair whose tracks share at least two trained models."""
    judged = versus.judged(tables)
    trained = spent.trainings(tables)
    if not judged or "objective" not in trained:
        return
    for track, dataset, seq_len in places(trained, "track", "dataset", "seq_len"):
        own = pick(trained, track=track, dataset=dataset, seq_len=seq_len)
        base = pick(trained, track=judged[0], dataset=dataset, seq_len=seq_len)
        pair = Pair(dataset, seq_len, track, judged[0], own, base)
        other = not set(own.objective) & set(base.objective)
        if other and len(pair.models) > 1 and track not in (*TRACKS, *judged):
            yield pair


def brief(tables: Tables) -> Iterator[str]:
    """Means of both objectives, of the models that both trained, a line a place."""
    for pair in pairs(tables):
        yield (
            f"With the objective {pair.objective} ({place(pair.dataset, pair.seq_len)}, track {pair.track}, {pair.budget}, not judged): {METRICS[MAIN].label}"
            f" {_means(tables, pair.own, pair.models)}; with that of track {pair.judged} ({pair.judged_budget}): {_means(tables, pair.base, pair.models)}."
        )


def _means(tables: Tables, own: pd.DataFrame, models: list[str]) -> str:
    where = {key: own[key].iloc[0] for key in ("dataset", "seq_len", "track")}
    rows = pick(tables.frames["summary"], metric=MAIN, ties="conservative", **where)
    return ", ".join(budgets.means(pick(rows, model=m)) for m in models)
