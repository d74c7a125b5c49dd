"""Which model to take: of those shown to rank as well as the best one, the one whose inference is cheapest.

A model ranks as well if the interval of what it loses to the highest mean ends below the margin: it is not inferior. That a
difference is not significant would not do, for that also holds of a model that is hardly known. Inference decides, not
training: a model is trained once and serves for as long as it is used.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from ..core.display import PRIMARY_METRIC, TABLES
from .summary import enough_seeds
from .tables import CONDITION, Tables, pick
from .verdicts import UNJUDGED, both_sides

PLACE = [*CONDITION, "seen_items"]
VIEW = [*PLACE, "machine_name", "device_kind"]
VARIANTS = ("both", "best", "cheaper", "open", "unjudged_apart", "unjudged_few", "unpriced", "few_seeds", "alone")  # fmt: skip
BEST, AS_GOOD, WORSE, OPEN, NO_VERDICT = "best", "as_good", "worse", "open", "unjudged"


def judged(board: pd.DataFrame, tables: Tables) -> pd.DataFrame:
    """Rows of the leaderboard with what stands beside the best trained model of their condition.

    standing: best, as_good (not inferior), worse (significantly), open, or unjudged (few seeds, or seeds far apart).
    loss_high: upper end of what a model loses to the best, as a share of the best mean. advised: the model to take.
    """
    able = board[board.trained & board.ndcg.notna()].sort_values("ndcg", kind="stable")
    board = board.join(able.groupby(PLACE).model.last().rename("best"), on=PLACE)
    pairs = both_sides(pick(tables.frames["comparisons"], metric=PRIMARY_METRIC))
    pairs = pairs.rename(columns={"model_a": "best", "model_b": "model"})
    pairs = pairs.assign(loss_high=pairs.ci_high / pairs.mean_a)
    pairs = pairs[[*PLACE, "best", "model", "loss_high", "ci_high", "margin", "verdict", "why"]]
    board = board.merge(pairs, on=[*PLACE, "best", "model"], how="left")
    found = {
        "": board.ndcg.isna() | board.best.isna(), BEST: board.model == board.best, NO_VERDICT: board.why.isin(UNJUDGED),
        AS_GOOD: board.ci_high < board.margin, WORSE: board.verdict == "better",
    }  # fmt: skip
    board["standing"] = np.select(list(found.values()), list(found), OPEN)
    best = board.trained & (board.standing == BEST)
    # A stand-in's cost advises nobody.
    price, view = board.inference_s.where(board.cost_source == "dataset"), [board[k] for k in VIEW]
    of_best = board.assign(limit=board.inference_s_low.where(price.notna()))[["limit", "n_seeds"]]
    of_best = of_best.where(best).groupby(view).transform("max")
    cheaper = (board.standing == AS_GOOD) & (board.inference_s_high < of_best.limit)
    able = (best | (board.trained & cheaper)) & of_best.n_seeds.map(enough_seeds)
    price = price.where(able & of_best.limit.notna())
    return board.assign(advised=price.notna() & (price == price.groupby(view).transform("min")))


def rows(tables: Tables) -> pd.DataFrame:
    """One row per view of the leaderboard with a trained model: the model to take, and the one that might do instead."""
    board = tables.frames["leaderboard"]
    board = board[board.trained.eq(True) & board.ndcg.notna()]
    views = board.groupby(VIEW, sort=False, dropna=False)
    found = [_of_view(list(own.itertuples(index=False))) for _, own in views]
    return pd.DataFrame(found, columns=TABLES["advice"])


def _of_view(own: list[Any]) -> dict[str, Any]:
    """other: the cheaper model that loses least of those not shown to be worse; where the best is not taken, the best."""
    best = next(row for row in own if row.standing == BEST)
    row = {**{key: getattr(best, key) for key in VIEW}, "best": best.model, "ndcg": best.ndcg}
    if len(own) == 1 or not enough_seeds(best.n_seeds):
        return row | {"variant": "few_seeds" if len(own) > 1 else "alone"}
    taken = next((row for row in own if row.advised), None)
    if taken is None:
        return row | {"variant": "unpriced"}
    row |= {"model": taken.model, "inference_s": taken.inference_s}
    cheaper = [row for row in own if row.inference_s_high < taken.inference_s_low]
    doubtful = [row for row in cheaper if row.standing in (OPEN, NO_VERDICT)]
    # Open ones first; an unknown loss comes last.
    doubtful.sort(key=lambda row: (row.standing, np.nan_to_num(row.loss_high, nan=np.inf)))
    other = next(iter(doubtful), best if taken.model != best.model else None)
    if other is None:
        return row | {"variant": "best" if len(cheaper) else "both"}
    variant = "cheaper" if other is best else other.standing
    if variant == NO_VERDICT:
        variant += "_apart" if enough_seeds(other.n_seeds) else "_few"
    loss = taken.loss_high if other is best else other.loss_high
    return row | {"variant": variant, "other": other.model, "other_s": other.inference_s, "loss_high": loss}  # fmt: skip
