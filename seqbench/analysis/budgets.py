"""What the trainings took: how each group of them ended, and the seconds of one process that it cost.

Times of a training are informative: other work may have run beside it, or it was paused. Published costs are measured.
"""

from __future__ import annotations

import pandas as pd

from ..core.display import TABLES
from .costs import core_seconds
from .tables import Tables, trainings

GROUP = ("track", "dataset", "seq_len", "model", "machine_name", "device_kind")
MEANS = {"steps": "steps", "best_step": "best_step", "epochs": "epochs", "targets": "targets_seen", "predictions": "predictions", "positions": "positions", "train_s": "train_s", "evaluate_s": "evaluate_s"}  # fmt: skip


def rows(tables: Tables) -> pd.DataFrame:
    """A row per condition, model and machine.

    Means over seeds, but for `ended_by_budget`, which counts the trainings that more steps might have helped, and
    `core_s`: seconds of all seeds times threads; on a GPU seconds of the device.
    """
    return _by_machine(tables)[TABLES["budgets"]]


def origins(tables: Tables) -> pd.DataFrame:
    """Which machine trained which seeds of a condition and model."""
    return _by_machine(tables)[TABLES["origins"]]


def _by_machine(tables: Tables) -> pd.DataFrame:
    found = trainings(tables.main("experiments"))
    if found.empty:
        return pd.DataFrame(columns=[*TABLES["budgets"], "seeds"])
    core = (found.train_s + found.evaluate_s) * core_seconds(found)
    found = found.astype(dict.fromkeys(MEANS.values(), float))
    found = found.assign(ended=found.still_improving.eq(True), core=core)
    whole = tables.sorted(found).groupby([*GROUP], sort=False)
    seeds = whole.seed.agg(lambda own: " ".join(str(int(seed)) for seed in sorted(own)))
    means = {name: (column, "mean") for name, column in MEANS.items()}
    counts = {"n_seeds": ("seed", "size"), "ended_by_budget": ("ended", "sum"), "core_s": ("core", "sum")}  # fmt: skip
    return whole.agg(**counts, **means).assign(seeds=seeds).reset_index()
