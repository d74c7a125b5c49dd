"""The table `time_to_quality`: how long each model trains until it is nearly as good as the best one.

A step is not the same work for everyone, and not everyone needs as many. Per condition the goal is one for all: a share of
the best trained model's final validation. A training reaches it at its first validation that is at least as good.
"""

from __future__ import annotations

import pandas as pd

from ..core.display import PRIMARY_METRIC, TABLES
from ..core.jobs import Training
from .costs import ENDS, core_seconds
from .tables import CONDITION, Tables, pick

SHARE = 0.95


def rows(tables: Tables) -> pd.DataFrame:
    """Steps and core-seconds to the goal, one row per condition, model and machine that measured its step.

    steps: mean over the seeds that reach it, with the least and the most. seconds: times the step's median (core-seconds
    on a CPU), with the least at the lower quartile and the most at the upper one. Without a machine they are empty.
    """
    curves = tables.main("curves")
    if curves.empty:
        return pd.DataFrame(columns=TABLES["time_to_quality"])
    curves = pick(curves, split="valid", seen_items=Training().select_seen_items, metric=PRIMARY_METRIC)  # fmt: skip
    at, who = list(CONDITION), [*CONDITION, "model"]
    final = pick(curves, best=True).groupby([*who, "path"]).value.max().groupby(who).mean()
    goals = (SHARE * final.groupby(at).max()).rename("goal").reset_index()
    here = curves.merge(goals, on=at)
    first = here[here.value >= here.goal].groupby([*who, "path"]).step.min().groupby(who)
    begun = pick(tables.main("experiments"), kind="train").groupby(who).size()
    found = final.index.to_frame(index=False).merge(goals, on=at).set_index(who)
    found = found.assign(
        share=SHARE,
        # One that failed has no curve.
        n_seeds=pd.concat([begun.reindex(found.index), here.groupby(who).path.nunique()], axis=1).max(axis=1),
        n_reached=first.size().reindex(found.index, fill_value=0),
        steps=first.mean(), steps_low=first.min(), steps_high=first.max(),
    ).reset_index()  # fmt: skip
    found = found.astype({"n_seeds": int, "n_reached": int})
    found = found.merge(tables.frames["costs"].dropna(subset="step_s"), on=who, how="left")
    unit = core_seconds(found)
    for end in ENDS.values():
        found[f"seconds{end}"] = found[f"steps{end}"] * found[f"step_s{end}"] * unit
    return tables.sorted(found[TABLES["time_to_quality"]])
