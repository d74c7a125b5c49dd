"""The table `leaderboard`: one row per model, condition, treatment of seen items and machine.

Quality pools the machines, cost is the machine's. What was not measured is empty.
"""

from __future__ import annotations

from itertools import product

import numpy as np
import pandas as pd

from ..core.display import PRIMARY_METRIC, TABLES
from ..core.metrics import SEEN_ITEMS
from . import advice
from .costs import core_seconds
from .summary import SEEDS_FOR_A_CLAIM
from .tables import CONDITION, MODEL, Tables, pick, trainings, unique
from .verdicts import both_sides

MACHINE = ["machine_name", "device_kind"]
QUALITY = {PRIMARY_METRIC: "ndcg", "hr@10": "hr", "mrr@10": "mrr"}
ENDS = ("", "_low", "_high")
BEST = {"epoch_s": "epoch_s_best", "inference_s": "inference_s_best", "memory_bytes": "memory_best", "quality_s": "quality_s_best"}  # fmt: skip


def rows(tables: Tables) -> pd.DataFrame:
    """The leaderboard of every condition on every machine that measured any cost.

    A mark (`*_best`) stands only where a model is significantly better than every other trained one, or its quartiles lie
    below those of all of them. On a CPU train_s and quality_s are core-seconds. reached: whether a rung of the ladder reaches the goal.
    """
    quality, costs = _quality(tables), _costs(tables)
    every = pd.concat([quality[[*MODEL]], costs[[*MODEL]]]).drop_duplicates()
    if every.empty:
        return pd.DataFrame(columns=TABLES["leaderboard"])
    machines = unique(tables.frames["efficiency"], *MACHINE) or [("", "")]
    places = [(seen, *own) for seen, own in product(SEEN_ITEMS, machines)]
    places = pd.DataFrame(places, columns=["seen_items", *MACHINE])
    found = every.merge(places, how="cross").merge(quality, on=[*MODEL, "seen_items"], how="left")
    found = found.merge(costs, on=[*MODEL, *MACHINE], how="left")
    until = tables.frames["time_to_quality"].assign(reached=lambda own: own.max_steps.notna(), n_climbed=lambda own: own.n_seeds)  # fmt: skip
    found = found.merge(until[[*MODEL, "reached", "n_climbed"]].drop_duplicates(), on=[*MODEL], how="left")  # fmt: skip
    found["focal"] = found.model == tables.focal_model
    found["trained"] = found.model.isin({*trainings(tables.frames["experiments"]).model, *costs.model})  # fmt: skip
    found["ndcg_best"] = found.ndcg_best.eq(True)
    found.loc[found.reached.eq(False), "quality_s_low"] = np.inf  # later than any that gets there
    for value, mark in BEST.items():
        enough = found.n_climbed.ge(SEEDS_FOR_A_CLAIM) if value == "quality_s" else True
        best = _below_all_others(found[found.trained], value).reindex(found.index).eq(True)
        found[mark] = best & enough & found.cost_source.ne("synthetic")  # a stand-in ranks nobody
    found["quality_s_low"] = found.quality_s_low.replace(np.inf, np.nan)
    found["warnings"] = _warned(found, tables.frames["warnings"])
    return tables.sorted(advice.judged(found, tables))[TABLES["leaderboard"]]


def _quality(tables: Tables) -> pd.DataFrame:
    """Test quality by condition, model and treatment of seen items, and who is better than every other trained model."""
    key = [*MODEL, "seen_items"]
    summary, trained = pick(tables.main("summary"), ties="conservative"), trainings(tables.frames["experiments"])  # fmt: skip
    if summary.empty:
        return pd.DataFrame(columns=[*key, *QUALITY.values(), "ndcg_low", "ndcg_high", "n_seeds", "ndcg_best"])  # fmt: skip
    means = summary.pivot(index=key, columns="metric", values="mean").rename(columns=QUALITY)
    own = pick(summary, metric=PRIMARY_METRIC).set_index(key)
    found = means.assign(ndcg_low=own.ci_low, ndcg_high=own.ci_high, n_seeds=own.n_seeds, ndcg_best=False)  # fmt: skip
    pairs = both_sides(pick(tables.frames["comparisons"], metric=PRIMARY_METRIC))
    pairs = pairs[pairs.model_a.isin(trained.model) & pairs.model_b.isin(trained.model)]
    pairs = pairs.assign(model=pairs.model_a, ahead=pairs.verdict == "better")
    found["ndcg_best"] = pairs.groupby(key).ahead.all()
    return found.reset_index()


def _costs(tables: Tables) -> pd.DataFrame:
    """Cost by condition, model and machine: of `costs`, of the whole training and until the goal."""
    until = tables.frames["time_to_quality"]
    until = until.rename(columns={f"seconds{end}": f"quality_s{end}" for end in ENDS})
    until = until[[*MODEL, *MACHINE, *(f"quality_s{end}" for end in ENDS)]]
    costs = tables.frames["costs"].merge(until, on=[*MODEL, *MACHINE], how="left")
    steps = trainings(tables.main("experiments")).groupby([*MODEL]).steps.mean().rename("trained_steps")  # fmt: skip
    costs = costs.merge(steps, left_on=[*MODEL], right_index=True, how="left")
    seconds = costs.trained_steps * core_seconds(costs)
    return costs.assign(**{f"train_s{end}": seconds * costs[f"step_s{end}"] for end in ENDS})


def _below_all_others(found: pd.DataFrame, value: str) -> pd.Series:
    """Whether the upper quartile of a value lies below the lower one of every other model in its place."""
    low, high = f"{value}_low", f"{value}_high"
    found = found.dropna(subset=low).sort_values(low, kind="stable")
    place = found.groupby([*CONDITION, *MACHINE, "seen_items"])
    return (place.cumcount() == 0) & (found[high] < place[low].shift(-1))


def _warned(found: pd.DataFrame, warnings: pd.DataFrame) -> list[str]:
    """Codes of the warnings about each row: of its condition and model, and of its machine where they name one."""
    warnings = warnings.dropna(subset="model")[["code", *MODEL, "seen_items", "machine_name"]]
    both = found[[*MODEL, "seen_items", "machine_name"]].reset_index().merge(warnings, on=[*MODEL], suffixes=("", "_of"))  # fmt: skip
    for key in ("seen_items", "machine_name"):
        both = both[both[f"{key}_of"].isna() | (both[f"{key}_of"] == both[key])]
    codes = both.groupby("index").code.agg(lambda own: " ".join(dict.fromkeys(own)))
    return codes.reindex(found.index, fill_value="").tolist()
