"""The table `comparisons` with its final verdicts, the focal model first.

A verdict is better, worse, equivalent or inconclusive. `why` says what makes it inconclusive: too few seeds, seeds of one
of the two far apart, the interval, or Holm's correction over all that is said of the focal model in a track.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from ..core.display import PRIMARY_METRIC, TABLES
from .resampling import CONFIDENCE, OPPOSITE
from .significance import holm
from .summary import UNSTEADY, enough_seeds
from .tables import CONDITION, Tables, pick, trainings

INCONCLUSIVE = "inconclusive"
UNJUDGED = ("few_seeds", "seeds_apart")  # whys of a pair that nothing is said of
# The focal model's comparisons within these are corrected together.
FAMILY = ["track", "seen_items", "metric"]


def final(tables: Tables) -> pd.DataFrame:
    """Rows of `comparisons` with their final verdicts.

    Adds `why`, and `share`, `share_low`, `share_high`: the difference over the better mean. Of each pair the model that
    comes first in the configured order is `model_a`.
    """
    rows = tables.main("comparisons")
    if rows.empty:
        return pd.DataFrame(columns=TABLES["comparisons"])
    rows = _turned(rows, tables)
    better = rows[["mean_a", "mean_b"]].max(axis=1)
    ends = {"share": "difference", "share_low": "ci_low", "share_high": "ci_high"}
    why = _why(rows, tables)
    of_pairs = rows.groupby([*CONDITION, "seen_items", "metric"]).p_value
    return rows.assign(
        p_holm=of_pairs.transform(holm),
        **{share: rows[end] / better for share, end in ends.items()},
        verdict=rows.verdict.where(why == "", INCONCLUSIVE),
        why=why,
    )


def _turned(rows: pd.DataFrame, tables: Tables) -> pd.DataFrame:
    """Pairs with the model that comes first in the configured order as `model_a`."""
    place = {name: k for k, name in enumerate(tables.ordered([*rows.model_a, *rows.model_b]))}
    turn = rows.model_a.map(place) > rows.model_b.map(place)
    rows = pd.concat([rows[~turn], swapped(rows[turn])])
    names = {"model_a": "model", "model_b": "comparator"}
    back = {new: old for old, new in names.items()}
    return tables.sorted(rows.rename(columns=names)).rename(columns=back)


def swapped(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of `comparisons` read from the side of `model_b`."""
    sides = {"model_a": "model_b", "model_b": "model_a", "mean_a": "mean_b", "mean_b": "mean_a"}
    negated = {"difference": "difference", "effect": "effect", "ci_low": "ci_high", "ci_high": "ci_low"}  # fmt: skip
    turned = {name: rows[other] for name, other in sides.items() if other in rows}
    turned |= {name: -rows[other] for name, other in negated.items() if other in rows}
    return rows.assign(**turned, verdict=rows.verdict.replace(OPPOSITE))


def both_sides(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of `comparisons`, each from the side of either model."""
    return pd.concat([rows, swapped(rows)]) if len(rows) else rows


def versus(tables: Tables, **where: Any) -> pd.DataFrame:
    """Comparisons of the focal model with every other trained one, in the metric that decides."""
    where |= {"metric": PRIMARY_METRIC, "model_a": tables.focal_model}
    rows, trained = pick(tables.frames["comparisons"], **where), trainings(tables.frames["experiments"])  # fmt: skip
    return rows[rows.model_b.isin(trained.model)] if len(rows) else rows


def _why(rows: pd.DataFrame, tables: Tables) -> pd.Series:
    """What leaves a row without a verdict, empty where nothing does."""
    few, apart = ~rows.trained_seeds.map(enough_seeds), rows.verdict == UNSTEADY
    trained = set(trainings(tables.frames["experiments"]).model)
    counted = (rows.model_a == tables.focal_model) & rows.model_b.isin(trained) & ~few & ~apart
    p = rows[counted].groupby(FAMILY).p_margin.transform(holm)
    fallen = rows.verdict.isin(OPPOSITE) & (p.reindex(rows.index) >= 1 - CONFIDENCE)
    cases = {"few_seeds": few, "seeds_apart": apart, "holm": fallen, "interval": rows.verdict == INCONCLUSIVE}  # fmt: skip
    return pd.Series(np.select(list(cases.values()), list(cases), ""), rows.index)
