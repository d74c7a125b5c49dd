"""The table `leaderboard`: one row per model, condition, treatment of seen items and machine.

Quality pools the machines, cost is the machine's. What was not measured is empty.
"""

from __future__ import annotations

from itertools import product

import numpy as np
import pandas as pd

from ..core.display import PRIMARY_METRIC
from .costs import core_seconds
from .rows import pick, trainings, unique
from .summary import SEEDS_FOR_A_CLAIM
from .tables import CONDITION, Tables
from .tidy import SEEN_ITEMS

MODEL, PLACE = [*CONDITION, "model"], ["machine_name", *CONDITION]
QUALITY = {PRIMARY_METRIC: "ndcg", "hr@10": "hr", "mrr@10": "mrr"}
COLUMNS = (
    *("dataset", "seq_len", "track", "seen_items", "machine_name", "device_kind", "model"),
    *("focal", "trained", "ndcg", "ndcg_low", "ndcg_high", "hr", "mrr", "n_seeds", "ndcg_best"),
    *("epoch_s", "epoch_s_low", "epoch_s_high", "epoch_s_best"),
    *("inference_s", "inference_s_low", "inference_s_high", "inference_s_best"),
    *("memory_bytes", "memory_best", "energy_j", "train_s", "train_s_low", "train_s_high"),
    *("quality_s", "quality_s_low", "quality_s_high", "quality_s_best", "n_reached"),
    *("cost_source", "warnings"),
)
BEST = {"epoch_s": "epoch_s_best", "inference_s": "inference_s_best",
        "memory_bytes": "memory_best", "quality_s": "quality_s_best"}  # fmt: skip


def rows(tables: Tables) -> pd.DataFrame:
    """The leaderboard of every condition on every machine that measured any cost.

    A mark (`*_best`) stands only where a model is significantly better than every other trained one, or its quartiles lie
    below those of all of them. train_s and quality_s are core-seconds on a CPU.
    """
    quality, costs = _quality(tables), _costs(tables)
    every = pd.concat([quality[MODEL], costs[MODEL]]).drop_duplicates()
    if every.empty:
        return pd.DataFrame(columns=list(COLUMNS))
    machines = unique(tables.frames["efficiency"], "machine_name", "device_kind") or [("", "")]
    where = pd.DataFrame(
        [(s, *m) for s, m in product(SEEN_ITEMS, machines)],
        columns=["seen_items", "machine_name", "device_kind"],
    )
    found = every.merge(where, how="cross").merge(quality, on=[*MODEL, "seen_items"], how="left")
    found = found.merge(costs.drop(columns="device_kind"), on=[*MODEL, "machine_name"], how="left")
    trained = {*trainings(tables.frames["experiments"]).model, *costs.model}
    found = found.assign(
        focal=found.model == tables.focal_model,
        trained=found.model.isin(trained),
        ndcg_best=found.ndcg_best.eq(True),
    )
    found.loc[found.n_reached == 0, "quality_s_low"] = np.inf  # later than any that gets there
    for value, mark in BEST.items():
        every = (found.n_seeds >= SEEDS_FOR_A_CLAIM) & (found.n_reached == found.n_seeds)
        enough = every if value == "quality_s" else True
        found[mark] = _below_all_others(found[found.trained], value).reindex(found.index).eq(True) & enough  # fmt: skip
    found["quality_s_low"] = found.quality_s_low.replace(np.inf, np.nan)
    codes = _codes(tables.frames["warnings"])
    found["warnings"] = [_warned(codes, row) for row in found.itertuples()]
    return tables.sorted(found)[list(COLUMNS)]


def _quality(tables: Tables) -> pd.DataFrame:
    """Test quality by condition, model and treatment of seen items, and who is better than every other trained model."""
    columns = ["seen_items", *QUALITY.values(), "ndcg_low", "ndcg_high", "n_seeds", "ndcg_best"]
    summary = pick(tables.main("summary"), ties="conservative")
    if summary.empty:
        return pd.DataFrame(columns=[*MODEL, *columns])
    key = [*MODEL, "seen_items"]
    means = summary.pivot(index=key, columns="metric", values="mean").rename(columns=QUALITY)
    names = {"ci_low": "ndcg_low", "ci_high": "ndcg_high"}
    ends = pick(summary, metric=PRIMARY_METRIC).set_index(key).rename(columns=names)
    found = means.join(ends[["ndcg_low", "ndcg_high", "n_seeds"]])
    return found.join(_ahead(tables)).reset_index()[[*MODEL, *columns]]


def _ahead(tables: Tables) -> pd.Series:
    """Whether a model is significantly better than every other trained one."""
    pairs = pick(tables.frames["comparisons"], metric=PRIMARY_METRIC)
    key = [*MODEL, "seen_items"]
    if pairs.empty:
        return pd.Series(name="ndcg_best", index=pd.MultiIndex.from_arrays([[]] * 5, names=key), dtype=bool)  # fmt: skip
    trained = set(trainings(tables.frames["experiments"]).model)
    pairs = pairs[pairs.model_a.isin(trained) & pairs.model_b.isin(trained)]
    sides = [
        pairs.rename(columns={name: "model"}).assign(ndcg_best=pairs.verdict == verdict)
        for name, verdict in (("model_a", "better"), ("model_b", "worse"))
    ]
    return pd.concat(sides).groupby(key).ndcg_best.all()


def _costs(tables: Tables) -> pd.DataFrame:
    """Cost by condition, model and machine: of `costs`, of the whole training and until the goal."""
    costs, until = tables.frames["costs"], tables.frames["time_to_quality"]
    trained = trainings(tables.main("experiments"))
    if len(trained):
        steps = trained.groupby(MODEL).steps.mean().rename("steps")
        costs = costs.merge(steps, left_on=MODEL, right_index=True, how="left")
    costs = costs.reindex(columns=dict.fromkeys([*costs, "steps"]))
    for end in ("", "_low", "_high"):
        costs[f"train_s{end}"] = costs.steps * costs[f"step_s{end}"] * core_seconds(costs)
    names = {f"seconds{end}": f"quality_s{end}" for end in ("", "_low", "_high")}
    until = until.rename(columns=names)[[*MODEL, "machine_name", *names.values(), "n_reached"]]
    return costs.merge(until, on=[*MODEL, "machine_name"], how="left")


def _below_all_others(found: pd.DataFrame, value: str) -> pd.Series:
    """Whether the upper quartile of a value lies below the lower one of every other model in its place."""
    known = found.dropna(subset=f"{value}_low")
    best = pd.Series(False, known.index)
    for _, own in known.groupby([*PLACE, "seen_items"]):
        for at, high in own[f"{value}_high"].items():
            others = own[f"{value}_low"].drop(at)
            best[at] = len(others) > 0 and bool((others > high).all())
    return best


def _codes(warnings: pd.DataFrame) -> dict[str, list]:
    """Warnings that are about a model, by it."""
    named = warnings[warnings.model.notna()]
    return {model: list(own.itertuples()) for model, own in named.groupby("model")}


def _warned(codes: dict[str, list], row: object) -> str:
    """Codes of the warnings about a row: those of its condition, and of its machine where they name one."""
    keys = (*CONDITION, "seen_items", "machine_name")

    def about(warning: object) -> bool:
        said = ((getattr(warning, key), getattr(row, key)) for key in keys)
        return all(pd.isna(theirs) or theirs == own for theirs, own in said)

    return " ".join(dict.fromkeys(w.code for w in codes.get(row.model, ()) if about(w)))
