"""The table `cost_ratios`: the focal model's cost over each comparator's, by machine and measurement session.

Two models are held against each other only where one session measured both with the same batch.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from ..core.display import LOWER, QUANTITIES
from . import costs
from .rows import pick
from .tables import Tables

COMPARED = tuple(
    name
    for name, quantity in QUANTITIES.items()
    if quantity.better == LOWER and quantity.group in ("time", "memory", "energy")
)
SESSION = ["machine_name", "device_kind", "job", "phase", "metric"]
COLUMNS = (
    *("track", "machine_name", "device", "device_kind", "dataset", "seq_len", "source", "fixed"),
    *("sequences", "n_items", "phase", "metric", "comparator", "ratio", "ratio_low", "ratio_high"),
    *("verdict", "rounds"),
)


def rows(tables: Tables) -> pd.DataFrame:
    """One row per cost and comparator: the ratio of medians, and the verdict cheaper, dearer or inconclusive.

    ratio_low, ratio_high pair the lower quartile of one with the upper quartile of the other; they decide the verdict.
    """
    every = costs.measured(tables)
    every = every[every.metric.isin(COMPARED) & (every["median"] > 0)] if len(every) else every
    if every.empty:
        return pd.DataFrame(columns=list(COLUMNS))
    every = every.assign(job=every.path.str.rpartition("/")[0])
    others = every[every.model != tables.focal_model]
    others = others[[*SESSION, "model", "median", "q25", "q75"]].rename(columns={"model": "comparator"})  # fmt: skip
    both = pick(every, model=tables.focal_model).merge(others, on=SESSION, suffixes=("", "_other"))
    both = both.assign(
        ratio=both["median"] / both.median_other,
        ratio_low=both.q25 / both.q75_other,
        ratio_high=both.q75 / both.q25_other,
        source=both.curve.fillna("dataset"),
    )
    cases = [both.ratio_high < 1, both.ratio_low > 1]
    both["verdict"] = np.select(cases, ["cheaper", "dearer"], "inconclusive")
    return tables.sorted(both[list(COLUMNS)])
