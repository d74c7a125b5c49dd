"""What another way to train does to the order of the models: tracks with another objective, beside the judged one, in brief.

A causal model is taught by every position of a window, one that fills in masks by those alone, and a sample that is a prefix
teaches its last item to either. So an objective may favour one of them, whatever the models are worth.
"""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from ..analysis.collect import Tables
from ..metrics import METRICS
from . import budgets, spent, versus
from .findings import MAIN, TRACKS, pick, place, places
from .tables import plural, whole
from .views import ordered


def brief(tables: Tables) -> Iterator[str]:
    """Means of an objective that is not judged and of the first judged track, of the models that both trained, a line a place."""
    judged = versus.judged(tables)
    trained = spent.trainings(tables)
    at = places(trained, "track", "dataset", "seq_len") if "objective" in trained else ()
    for track, dataset, seq_len in at:
        own = pick(trained, track=track, dataset=dataset, seq_len=seq_len)
        base = pick(trained, track=judged[0], dataset=dataset, seq_len=seq_len) if judged else own
        shared = [m for m in ordered(own.model) if m in set(base.model)]
        other = not set(own.objective) & set(base.objective)
        if other and len(shared) > 1 and track not in (*TRACKS, *judged):
            objective = ", ".join(dict.fromkeys(own.objective))
            yield (
                f"With the objective {objective} ({place(dataset, seq_len)}, track {track}, {_budget(own)}, not judged): {METRICS[MAIN].label}"
                f" {_means(tables, own, shared)}; with that of track {judged[0]} ({_budget(base)}): {_means(tables, base, shared)}."
            )


def _budget(own: pd.DataFrame) -> str:
    seeds = plural(own.groupby("model").seed.nunique().min(), "seed")
    steps = " to ".join(dict.fromkeys(whole(f(own.steps)) for f in (min, max)))
    return f"{seeds}, {steps} updates of {whole(own.batch_targets.max())} targets"


def _means(tables: Tables, own: pd.DataFrame, models: list[str]) -> str:
    where = {key: own[key].iloc[0] for key in ("dataset", "seq_len", "track")}
    rows = pick(tables.frames["summary"], metric=MAIN, ties="conservative", **where)
    return ", ".join(budgets.means(pick(rows, model=m)) for m in models)
