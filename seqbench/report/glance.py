"""Display tables at a glance: quality by place and cost by workload, models side by side.

A table never holds two tracks, and none of cost two machines.
"""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from ..analysis.collect import Tables
from ..core.display import PHASES, PRIMARY_METRIC, QUANTITIES, peak_memory
from ..core.jobs import FULL_LENGTH
from . import seen_items_gap, spent
from .costs import of_curve
from .findings import Lead, enough_seeds, facing, lead, pick, place, places
from .tables import (
    Cell,
    Column,
    Table,
    decimals,
    label,
    metric_label,
    plural,
    rounded,
    unit_for,
    whole,
)
from .views import DASH, SEEN_ITEMS, difference_cell

LENGTHS = "length-at-constant-batch"  # the curve whose ends are shown: what a longer history costs at the same number of sequences


# --- quality ------------------------------------------------------------------------------------------------------------


def quality(tables: Tables, track: str) -> Table:
    """Test NDCG@10 of a track by place and masking; a column per trained model and one for the best that needs no training.

    A last row per place says what masking adds on validation, at the first look at a training and at the chosen step.
    """
    summary = pick(
        tables.frames["summary"], track=track, metric=PRIMARY_METRIC, ties="conservative"
    )
    trained = tables.ordered(pick(spent.trainings(tables), track=track).model)
    columns = [Column("Seen items", number=False), *[Column(label(m)) for m in trained]]
    columns.append(Column("Best without training"))
    body: list[list[Cell]] = []
    for dataset, seq_len in places(summary, "dataset", "seq_len"):
        body.append([Cell(place(dataset, seq_len) + _machines(tables, track, dataset, seq_len))])
        for seen_items, title in SEEN_ITEMS.items():
            part = pick(summary, dataset=dataset, seq_len=seq_len, seen_items=seen_items)
            best = lead(tables, dataset, track, seq_len, seen_items)
            cells = [_value(pick(part, model=model), best) for model in trained]
            others = part[~part.model.isin(trained)]
            top = others[others["mean"] == others["mean"].max()].head(1)
            name = title.removeprefix("Seen items ")
            body.append([Cell(name), *cells, _value(top, best, named=True)])
        gaps = {m: (a, b) for m, a, b in seen_items_gap.gaps(tables, dataset, track, seq_len)}
        if gaps:
            cells = [_gap(*gaps[model]) if model in gaps else DASH for model in trained]
            body.append([Cell("validation: gain by masking"), *cells, DASH])
    caption = (
        f"Test {QUANTITIES[PRIMARY_METRIC].label}, track {track}: mean over seeds, 95 % interval"
    )
    notes = [
        "Bold: the lead over every other model exceeds the margin, with at least 3 seeds. Italic (underlined in the report): the"
        f" highest mean, but not established. Validation: what masking seen items adds to validation {QUANTITIES[PRIMARY_METRIC].label}, as a share of the value with"
        " seen items kept, at the first look at a training and at the step that was chosen."
    ]
    return Table(f"glance-{track}", caption, columns, body, notes)


def _machines(tables: Tables, track: str, dataset: str, seq_len: int) -> str:
    """Where the models of a place were trained, if the tables hold several machines."""
    every = spent.trainings(tables)
    if every.machine_name.nunique() < 2:
        return ""
    here = pick(every, track=track, dataset=dataset, seq_len=seq_len)
    return f"; trained on {' and '.join(dict.fromkeys(here.machine_name))}" if len(here) else ""


def _value(rows: pd.DataFrame, best: Lead, named: bool = False) -> Cell:
    if rows.empty:
        return DASH
    row = rows.iloc[0]
    digits = decimals([(row.ci_high - row.ci_low) / 2])
    name = f"{label(row.model)} " if named else ""
    few = "" if named or enough_seeds(row.n_seeds) else f", {plural(row.n_seeds, 'seed')}"
    mark = "" if best.model != row.model else "best" if best.established else "lead"
    interval = f"[{row.ci_low:.{digits}f}, {row.ci_high:.{digits}f}]"
    return Cell(f"{name}{row['mean']:.{digits}f}", f"{interval}{few}", row["mean"], mark)


def _gap(first: float, chosen: float) -> Cell:
    return Cell(f"{100 * first:.0f} → {100 * chosen:.0f} %", value=chosen)


def versus(tables: Tables, track: str) -> Table:
    """The focal model against each other trained model of a track by place: paired differences of NDCG@10 with their verdicts."""
    rows = facing(
        pick(tables.frames["comparisons"], track=track, metric=PRIMARY_METRIC), tables.focal_model
    )
    trained = [
        m
        for m in tables.ordered(pick(spent.trainings(tables), track=track).model)
        if m != tables.focal_model
    ]
    columns = [Column("Dataset and length", number=False)]
    columns += [Column(label(m), title) for title in SEEN_ITEMS.values() for m in trained]
    body: list[list[Cell]] = []
    for dataset, seq_len in places(rows, "dataset", "seq_len"):
        part = pick(rows, dataset=dataset, seq_len=seq_len)
        cells = [
            _difference(pick(part, seen_items=m), comparator)
            for m in SEEN_ITEMS
            for comparator in trained
        ]
        if any(cell is not DASH for cell in cells):
            body.append([Cell(place(dataset, seq_len)), *cells])
    caption = f"{label(tables.focal_model)} minus each other model in test {QUANTITIES[PRIMARY_METRIC].label}, track {track}: paired difference, 95 % interval"
    return Table(f"glance-versus-{track}", caption, columns, body)


def _difference(rows: pd.DataFrame, comparator: str) -> Cell:
    found = pick(rows, model_b=comparator)
    return difference_cell(found.iloc[0]) if len(found) else DASH


# --- cost ---------------------------------------------------------------------------------------------------------------


def cost(tables: Tables, track: str, name: str, kind: str) -> Table:
    """Time, memory and energy on one machine: every dataset at its longest history, both ends of the curve over length."""
    rows = pick(tables.frames["efficiency"], track=track, machine_name=name, device_kind=kind)
    shown = {metric for _, metric in _shown(kind)}
    rows = rows[rows["median"].notna() & rows.metric.isin(shown)] if len(rows) else rows
    rows = rows.assign(job=rows.path.str.rpartition("/")[0]) if len(rows) else rows
    models = tables.ordered(rows.model) if len(rows) else []
    columns = [Column("Per", number=False), *[Column(label(model)) for model in models]]
    body: list[list[Cell]] = []
    for part in _workloads(rows) if len(rows) else ():
        body.append([Cell(_workload(part))])
        body += _costs(part, kind, models)
    device = f" ({rows.device.iloc[0]})" if len(rows) and kind != "cpu" else ""
    caption = f"Cost on {name}{device}, track {track}: median over fresh processes of every model in turn, interquartile range (IQR)"
    notes = [
        "Every block was measured in a sitting of its own: compare the models of a row. What changes between sittings is in none of the ranges, and may be a half."
    ]
    return Table(f"glance-cost-{track}-{name}-{kind}", caption, columns, body, notes)


def _workloads(rows: pd.DataFrame) -> Iterator[pd.DataFrame]:
    """The jobs that are shown; what was measured in one job was measured in turn, with one batch."""
    real = of_curve(rows, None)
    for (dataset,) in places(real, "dataset"):
        own = pick(real, dataset=dataset)
        longest = pick(own, seq_len=own.seq_len.max())
        yield from (pick(longest, job=job) for (job,) in places(longest, "job"))
    curve = of_curve(rows, LENGTHS)
    for (fixed,) in places(curve, "fixed"):
        own = pick(curve, fixed=fixed)
        for seq_len in sorted({own.seq_len.min(), own.seq_len.max()}):
            yield pick(own, seq_len=seq_len)


def _workload(part: pd.DataFrame) -> str:
    first = part.iloc[0]
    units = {"train": "targets a step", "inference": "users a batch"}
    sizes = [
        f"{whole(pick(part, phase=phase).batch_size.max())} {unit}"
        for phase, unit in units.items()
        if len(pick(part, phase=phase))
    ]
    where = place(first.dataset, first.seq_len)
    if first.dataset == FULL_LENGTH:
        where = f"full windows of L = {whole(first.seq_len)} over {whole(first.n_items)} items"
    threads = plural(first.threads, "thread")
    return ", ".join([where, *sizes, first.precision, threads])


def _shown(kind: str) -> list[tuple[str, str]]:
    """Phases and metrics of the rows."""
    train, memory = ("step_s", peak_memory(kind), "energy_j_per_step"), peak_memory(kind)
    return [*(("train", m) for m in train), ("inference", "batch_s"), ("inference", memory)]


def _costs(part: pd.DataFrame, kind: str, models: list[str]) -> Iterator[list[Cell]]:
    memory = peak_memory(kind)
    for phase, metric in _shown(kind):
        rows = pick(part, phase=phase, metric=metric)
        if rows.empty:
            continue
        factor, unit = unit_for(QUANTITIES[metric].unit, rows["median"])
        text = metric_label(metric, unit).removeprefix(f"{PHASES[phase]}: ")
        said = text if phase == "train" or metric != memory else f"{text}, inference"
        yield [Cell(said), *(_cost_cell(pick(rows, model=m), factor) for m in models)]


def _cost_cell(rows: pd.DataFrame, factor: float) -> Cell:
    if rows.empty:
        return DASH
    row = rows.iloc[0]
    value, iqr = row["median"] / factor, row.iqr / factor
    # A spread below a thousandth is none that the number beside it shows.
    detail = f"IQR {rounded(iqr, iqr)}" if iqr > value / 1000 else ""
    return Cell(rounded(value, iqr), detail, row["median"])
