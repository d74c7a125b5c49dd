"""Contrasts of models against themselves in words: each change with its interval, and what else may be part of it."""

from __future__ import annotations

import pandas as pd

from ..analysis.collect import Tables
from . import spent
from .findings import enough_seeds, pick
from .tables import label, plural, signed


def changes(tables: Tables, rows: pd.DataFrame) -> str:
    """What every model gains in one contrast, with too few seeds and trainings on different machines named.

    rows: of `contrasts`, one per model. Differences are in the metric's unit.
    """
    listed = []
    for model in tables.ordered(rows.model):
        row = pick(rows, model=model).iloc[0]
        remarks = [label(model)]
        if not enough_seeds(row.n_seeds):
            remarks.append(plural(int(row.n_seeds), "seed"))
        if _moved(tables, row):
            remarks.append("other machine")
        text = signed(row.difference, row.ci_low, row.ci_high)
        listed.append(f"{text} ({', '.join(remarks)})")
    return ", ".join(listed)


def _moved(tables: Tables, row: pd.Series) -> bool:
    """Whether other machines trained one end of a contrast than the other."""
    first, second = (
        pick(spent.trainings(tables), dataset=row.dataset, model=row.model, track=row.track, seq_len=seq_len)
        for seq_len in (row.seq_len_from, row.seq_len_to)
    )  # fmt: skip
    return set(first.machine_name) != set(second.machine_name)
