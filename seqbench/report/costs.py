"""Display tables of cost: what was measured on one kind of device, and the focal model against the others."""

from __future__ import annotations

import pandas as pd

from ..analysis.collect import Tables
from ..analysis.tidy_cost import EXTRAPOLATED
from ..core.display import PHASES, QUANTITIES, shown_quantities
from ..core.jobs import CURVES, FULL_LENGTH
from ..core.records import STATUSES
from .findings import condition_name, pick, unique
from .tables import (
    Cell,
    Column,
    Table,
    known,
    label,
    metric_label,
    plural,
    rounded,
    unit_for,
    whole,
)
from .views import DASH

KINDS = {  # groups of quantities in every kind of table
    "efficiency": ("time", "rate", "memory"),
    "arithmetic": ("arithmetic",),
    "energy": ("energy",),
}
CAPTIONS = {
    "efficiency": "Cost",
    "arithmetic": "Arithmetic of a step and of a batch, and how near the device's measured ceilings it runs",
    "energy": "Energy, power and clocks",
}
NOTES = {
    "arithmetic": [
        "FLOPs count matrix products, attention (a causal one at the half it needs), convolution, GRU and scan; they are equal"
        " on every device. Intensity: FLOPs over the bytes that operators read and write, each operand once; what a cache"
        " holds is counted too. Ceilings: a large matrix product and a large copy, measured in the same job.",
    ],
}


def efficiency(
    tables: Tables, track: str, machine: str, kind: str, curve: str | None, what: str = "efficiency"
) -> Table:
    """A table of KINDS for a track on one machine: on the datasets (curve None) or along a curve of full-length batches."""
    rows = pick(tables.frames["efficiency"], track=track, machine_name=machine, device_kind=kind)
    rows = of_curve(rows, curve)
    wanted = [(p, m) for p in PHASES for m in shown_quantities(p, kind, *KINDS[what])]
    shown = [(p, m) for p, m in wanted if _any(rows, p, m)]
    units = {
        (p, m): unit_for(QUANTITIES[m].unit, pick(rows, phase=p, metric=m)["median"])
        for p, m in shown
    }
    columns = [Column("Model", number=False), Column("Backend", number=False)]
    columns += [Column(_cost_label(p, m, units[p, m][1]), PHASES[p]) for p, m in shown]
    body: list[list[Cell]] = []
    rows = rows.assign(job=rows.path.str.rpartition("/")[0]) if len(rows) else rows
    for (job,) in unique(rows, "job") if shown else ():
        part = pick(rows, job=job)
        body.append([Cell(_cost_heading(part))])
        for model in tables.ordered(part.model):
            body.append(_efficiency_row(pick(part, model=model), units))
    device = rows.device.iloc[0] if len(rows) else kind
    data = f"full-length synthetic batches: {CURVES[curve]}" if curve else "the datasets"
    caption = f"{CAPTIONS[what]} on {data}; {machine} ({device}), track {track}: median, interquartile range (IQR) below it"
    left_out = [pair for pair in wanted if pair not in shown]
    if what == "efficiency":  # a table of energy in which nothing was measured is not shown
        left_out += [
            (p, m)
            for p in PHASES
            for m in shown_quantities(p, kind, "energy")
            if not _any(rows, p, m)
        ]
    notes = [*NOTES.get(what, ()), *_cost_notes(rows, shown, left_out)]
    name = "-".join(part for part in (what, track, machine, kind, curve) if part)
    return Table(name, caption, columns, body, notes)


def _any(rows: pd.DataFrame, phase: str, metric: str) -> bool:
    return bool(pick(rows, phase=phase, metric=metric)["median"].notna().any())


def of_curve(rows: pd.DataFrame, curve: str | None) -> pd.DataFrame:
    """Rows of one curve of full-length batches, or those on datasets."""
    if rows.empty:
        return rows
    return rows[rows.curve.isna()] if curve is None else pick(rows, curve=curve)


def _cost_label(phase: str, metric: str, unit: str) -> str:
    extrapolated = ", extrapolated" if metric in EXTRAPOLATED else ""
    text = metric_label(metric, unit).removeprefix(f"{PHASES[phase]}: ")
    return f"{text[0].upper()}{text[1:]}{extrapolated}"


def _cost_heading(part: pd.DataFrame) -> str:
    first = part.iloc[0]
    name = first.dataset
    if name == FULL_LENGTH:
        name = f"full-length batches over {whole(first.n_items)} items"
    part = part[part.phase.isin(PHASES)]
    sizes = {phase: pick(part, phase=phase).batch_size.max() for phase in PHASES}
    batch = f"{whole(sizes['train'])} targets a step, {whole(sizes['inference'])} users a batch"
    return f"{condition_name(name, first.seq_len)}: {batch}, {first.precision}, {plural(first.threads, 'thread')}"


def _efficiency_row(
    own: pd.DataFrame, units: dict[tuple[str, str], tuple[float, str]]
) -> list[Cell]:
    first = own.iloc[0]
    parameters = own.parameters.max()
    size = f"{whole(parameters)} parameters" if known(parameters) else ""
    mark = "bad" if first.fallback else ""
    cells = [Cell(label(first.model), size, first.model)]
    remarks = ["fallback"] * bool(first.fallback)
    remarks += ["shared GPU"] * bool(known(first.shared_gpu) and first.shared_gpu)
    cells.append(Cell(first.backend, ", ".join(remarks), mark=mark))
    for (phase, metric), (factor, _) in units.items():
        found = pick(own, phase=phase, metric=metric)
        cells.append(_cost_cell(found.iloc[0], factor) if len(found) else DASH)
    return cells


def _cost_cell(row: pd.Series, factor: float) -> Cell:
    if not known(row["median"]):
        status = str(row.reason).partition(":")[0]
        return Cell(status, mark="bad") if status in STATUSES else DASH
    value, iqr = row["median"] / factor, row.iqr / factor
    detail = f"IQR {rounded(iqr, iqr)}" if iqr else ""
    return Cell(rounded(value, iqr), detail, row["median"])


def _cost_notes(
    rows: pd.DataFrame, shown: list[tuple[str, str]], left_out: list[tuple[str, str]]
) -> list[str]:
    notes = []
    if any(metric in EXTRAPOLATED for _, metric in shown):
        notes.append(
            "Extrapolated: steps per epoch times the mean time of the measured steps, per round."
        )
    reasons: dict[str, list[str]] = {}
    for phase, metric in left_out:
        found = pick(rows, phase=phase, metric=metric).reason.dropna()
        if len(found):
            reasons.setdefault(found.iloc[0], []).append(
                f"{QUANTITIES[metric].label} ({PHASES[phase].lower()})"
            )
    notes += [
        f"Not measured here: {', '.join(names)}: {reason}." for reason, names in reasons.items()
    ]
    return notes
