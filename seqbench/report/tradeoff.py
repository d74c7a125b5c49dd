"""Quality and cost together: which model fits which case.

Quality and cost meet where both are known: at a dataset and length, or on synthetic full-length batches as long, over a catalogue as large.
"""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from ..analysis.collect import Tables
from ..core.display import PRIMARY_METRIC, QUANTITIES, phrase
from . import time_to_quality, versus
from .costs import of_curve
from .findings import condition_name, enough_seeds, lead, pick, unique
from .tables import Cell, Column, Table, label, named, rounded, whole
from .views import DASH, SEEN_ITEMS

CHOSEN_BY = (("train", "step_s"), ("inference", "batch_s"), ("train", "memory"))
LEAST = {"time": "Fastest", "memory": "Least"}  # of a quantity, by its group
SOONEST = f"Soonest at {100 * time_to_quality.SHARES[-1]:g} %"


# --- where both are known -----------------------------------------------------------------------------------------------


def meeting(tables: Tables, rows: pd.DataFrame, dataset: str, seq_len: int) -> pd.DataFrame:
    """Costs at a dataset and length; without any, those of synthetic full-length batches as long, over a catalogue as large."""
    own = pick(of_curve(rows, None), dataset=dataset, seq_len=seq_len)
    if len(own) or dataset not in tables.datasets:
        return own
    n_items = tables.datasets[dataset]["n_items"]
    return largest(pick(of_curve(rows, versus.LENGTHS), seq_len=seq_len, n_items=n_items))


def largest(rows: pd.DataFrame) -> pd.DataFrame:
    """Of several jobs on synthetic full-length batches as long the one with most sequences in a batch, over most items."""
    if rows.empty:
        return rows
    order = rows.sort_values(["sequences", "n_items"], ascending=False, kind="stable")
    return rows[rows.job == order.job.iloc[0]]


# --- tables -------------------------------------------------------------------------------------------------------------


def choice(tables: Tables, track: str) -> Table:
    """By condition: who ranks best, or who cannot be told apart, and on each machine who is fastest and who is soonest as good.

    Below the conditions the longest synthetic full-length batches whose cost was measured, where no quality is known.
    """
    verdicts = pick(versus.settled(versus.against(tables)), track=track)
    rows = pick(versus.costs(tables), track=track)
    where = unique(rows, "machine_name", "device_kind", "device")
    columns = [Column("Dataset and length", number=False)]
    columns += [Column(title, f"Best {QUANTITIES[PRIMARY_METRIC].label}", number=False) for title in SEEN_ITEMS.values()]  # fmt: skip
    for machine, kind, device in where:
        columns += [Column(text, named(machine, device), number=False) for text in (*(_superlative(*key) for key in _chosen(kind)), SOONEST)]  # fmt: skip
    until = pick(time_to_quality.costs(tables, time_to_quality.rows(tables)), track=track, share=time_to_quality.SHARES[-1], what="step_s")  # fmt: skip
    body: list[list[Cell]] = []
    for dataset, seq_len in sorted(unique(verdicts, "dataset", "seq_len")):
        cells = [Cell(condition_name(dataset, seq_len))]
        cells += [_best(tables, dataset, track, seq_len, seen_items) for seen_items in SEEN_ITEMS]
        for machine, kind, _ in where:
            own = pick(rows, machine_name=machine, device_kind=kind)
            cells += _cheapest(tables, meeting(tables, own, dataset, seq_len), kind)
            cells.append(_soonest(tables, pick(until, machine_name=machine, device_kind=kind, dataset=dataset, seq_len=seq_len)))  # fmt: skip
        body.append(cells)
    windows = of_curve(rows, versus.LENGTHS)
    for seq_len in sorted({windows.seq_len.max()} - set(verdicts.seq_len)) if len(windows) else ():
        cells = [Cell(f"synthetic full-length batches of L = {whole(seq_len)}"), *[Cell("not measured", mark="muted")] * 2]  # fmt: skip
        for machine, kind, _ in where:
            own = pick(windows, machine_name=machine, device_kind=kind, seq_len=seq_len)
            cells += [*_cheapest(tables, largest(own), kind), DASH]
        body.append(cells)
    kept = [k for k in range(len(columns)) if any(row[k] is not DASH for row in body)]
    columns, body = [columns[k] for k in kept], [[row[k] for k in kept] for row in body]
    caption = f"Which model for which case, track {track}"
    notes = [
        "Best: bold where the lead over every other model, also those without training, exceeds the margin; else those that are"
        " not told apart from the highest mean, which comes first. Fastest, least: the lowest median of the trained models, and how many times that"
        f" {label(tables.focal_model)} needs; where a dataset was not measured, of synthetic full-length batches as long, over a catalogue as large. Machines measured batches of other sizes:"
        f" their tables of cost name them. Soonest: who trains for the least time until {100 * time_to_quality.SHARES[-1]:g} % of the best validation quality of another model than"
        f" {label(tables.focal_model)}, of those whose every seed gets there. A model whose seeds lie far apart is not among the best."
    ]
    return Table(f"choice-{track}", caption, columns, body if len(rows) else [], notes)


def _chosen(kind: str) -> list[tuple[str, str]]:
    """Costs to choose by."""
    return [key for key in CHOSEN_BY if versus.telling(key, kind)]


def _superlative(phase: str, name: str) -> str:
    return f"{LEAST[QUANTITIES[name].group]} {phrase(phase, name)}"


def _best(tables: Tables, dataset: str, track: str, seq_len: int, seen_items: str) -> Cell:
    best = lead(tables, dataset, track, seq_len, seen_items)
    if best is None:
        return DASH
    if best.established:
        return Cell(label(best.model), mark="best")
    return Cell(", ".join(label(model) for model in (best.model, *tables.ordered(best.unproven))))


def _soonest(tables: Tables, rows: pd.DataFrame) -> Cell:
    """Who gets to the share of the best comparator's quality in the least time, of those whose every seed does."""
    if rows.empty:
        return DASH
    sure = rows[(rows.n_reached == rows.n_seeds) & rows.n_seeds.map(enough_seeds)]
    if sure.empty:
        return Cell("none", mark="muted")
    return _least(tables, sure, "value")


def _cheapest(tables: Tables, rows: pd.DataFrame, kind: str) -> Iterator[Cell]:
    for phase, what in _chosen(kind):
        own = pick(rows, phase=phase, what=what)
        if own.empty:
            yield DASH
            continue
        yield _least(tables, own, "median")


def _least(tables: Tables, rows: pd.DataFrame, value: str) -> Cell:
    """The model with the lowest value, and how many times that the focal model needs."""
    least = rows.loc[rows[value].idxmin()]
    focal_model = pick(rows, model=tables.focal_model)[value]
    times = focal_model.iloc[0] / least[value] if len(focal_model) else 1
    detail = ""
    if least.model != tables.focal_model and len(focal_model):
        detail = f"{label(tables.focal_model)} ×{rounded(times, times / 50)}"
    return Cell(label(least.model), detail, least[value])
