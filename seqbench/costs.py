"""Display tables of cost: what was measured on one kind of device, and the subject of the project against the others."""

from __future__ import annotations

import pandas as pd

from .collect import Tables
from .experiment import FULL_LENGTH
from .findings import MAIN, pick, place, places
from .metrics import METRICS
from .record import STATUSES
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
from .views import DASH, MASKINGS, difference_cell, ordered

SUBJECT = "mamba4rec"  # the model that the project's question is about
MEMORY = {
    "cpu": ("peak_rss_bytes",),
    "cuda": (
        "peak_allocated_bytes",
        "peak_reserved_bytes",
        "nvml_process_bytes",
        "nvml_device_bytes",
    ),
}
TRAIN = (
    "step_s",
    "gpu_step_s",
    "epoch_s",
    "targets_per_s",
    "energy_j_per_step",
    "energy_j_per_epoch",
)
INFERENCE = ("batch_s", "encode_s", "score_s", "topk_s")
PHASES = {"train": "Training", "inference": "Inference"}


def efficiency(tables: Tables, track: str, machine: str, kind: str, full_length: bool) -> Table:
    """Times and memory of a track on one machine, on real or on full-length data; no two kinds of device together."""
    rows = pick(tables.frames["efficiency"], track=track, machine_name=machine, device_kind=kind)
    rows = rows[(rows.dataset == FULL_LENGTH) == full_length]
    wanted = [("train", m) for m in (*TRAIN, *MEMORY[kind])]
    wanted += [("inference", m) for m in (*INFERENCE, *MEMORY[kind])]
    shown = [(p, m) for p, m in wanted if pick(rows, phase=p, metric=m)["median"].notna().any()]
    units = {
        (p, m): unit_for(METRICS[m].unit, pick(rows, phase=p, metric=m)["median"]) for p, m in shown
    }
    columns = [Column("Model", number=False), Column("Backend", number=False)]
    columns += [Column(_cost_label(p, m, units[p, m][1]), PHASES[p]) for p, m in shown]
    body: list[list[Cell]] = []
    for key in places(rows, "dataset", "seq_len", "threads", "precision"):
        part = pick(
            rows, **dict(zip(("dataset", "seq_len", "threads", "precision"), key, strict=True))
        )
        body.append([Cell(_cost_heading(part))])
        for model in ordered(part.model):
            body.append(_efficiency_row(pick(part, model=model), units))
    device = rows.device.iloc[0] if len(rows) else kind
    what = "full-length synthetic batches" if full_length else "the datasets"
    caption = f"Cost on {what}, {machine} ({device}), track {track}: median, interquartile range (IQR) below it"
    notes = _cost_notes(rows, [pair for pair in wanted if pair not in shown])
    name = f"efficiency-{track}-{machine}-{kind}{'-full-length' * full_length}"
    return Table(name, caption, columns, body, notes)


def _cost_label(phase: str, metric: str, unit: str) -> str:
    extrapolated = ", extrapolated" if metric in ("epoch_s", "energy_j_per_epoch") else ""
    text = metric_label(metric, unit).removeprefix(f"{PHASES[phase]}: ")
    return f"{text[0].upper()}{text[1:]}{extrapolated}"


def _cost_heading(part: pd.DataFrame) -> str:
    first = part.iloc[0]
    name = first.dataset
    if name == FULL_LENGTH:
        name = f"full-length batches over {whole(first.n_items)} items"
    sizes = {phase: pick(part, phase=phase).batch_size.max() for phase in PHASES}
    batch = f"{whole(sizes['train'])} targets a step, {whole(sizes['inference'])} users a batch"
    return f"{place(name, first.seq_len)}: {batch}, {first.precision}, {plural(first.threads, 'thread')}"


def _efficiency_row(
    own: pd.DataFrame, units: dict[tuple[str, str], tuple[float, str]]
) -> list[Cell]:
    first = own.iloc[0]
    parameters = own.parameters.max()
    size = f"{whole(parameters)} parameters" if known(parameters) else ""
    mark = "bad" if first.fallback else ""
    cells = [Cell(label(first.model), size, first.model)]
    cells.append(Cell(first.backend, "fallback" if first.fallback else "", mark=mark))
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


def _cost_notes(rows: pd.DataFrame, left_out: list[tuple[str, str]]) -> list[str]:
    notes = []
    if rows["median"][rows.extrapolated].notna().any():
        notes.append(
            "Extrapolated: steps per epoch times the mean time of the measured steps, per round."
        )
    reasons: dict[str, list[str]] = {}
    for phase, metric in left_out:
        found = pick(rows, phase=phase, metric=metric).reason.dropna()
        if len(found):
            reasons.setdefault(found.iloc[0], []).append(
                f"{METRICS[metric].label} ({PHASES[phase].lower()})"
            )
    notes += [
        f"Not measured here: {', '.join(names)}: {reason}." for reason, names in reasons.items()
    ]
    return notes


# --- the project's question ---------------------------------------------------------------------------------------------


def versus(tables: Tables, track: str) -> Table:
    """The subject of the project against each other trained model, in quality and in cost."""
    rows = pick(tables.frames["comparisons"], track=track)
    trained = set(pick(tables.frames["experiments"], trained=True, track=track).model) - {SUBJECT}
    columns = [Column(f"{label(SUBJECT)} against", number=False)]
    columns += [
        Column(title, f"Difference in {METRICS[MAIN].label}") for title in MASKINGS.values()
    ]
    times = ("Epoch time", "Training memory", "Inference batch time")
    columns += [Column(text, f"Cost of {label(SUBJECT)} as a multiple") for text in times]
    body: list[list[Cell]] = []
    for dataset, seq_len in places(rows, "dataset", "seq_len"):
        part = pick(rows, dataset=dataset, seq_len=seq_len)
        part = part[(part.model_a == SUBJECT) | (part.model_b == SUBJECT)]
        cost = pick(tables.frames["efficiency"], track=track, dataset=dataset, seq_len=seq_len)
        rivals = [m for m in ordered(pd.concat([part.model_a, part.model_b])) if m in trained]
        for where in places(cost, "machine_name", "device", "device_kind") or [None]:
            if rivals:
                body.append(
                    [
                        Cell(
                            place(dataset, seq_len)
                            + (f"; cost on {where[0]} ({where[1]})" if where else "")
                        )
                    ]
                )
            own = pick(cost, machine_name=where[0], device=where[1]) if where else cost
            body += [
                _versus_row(part, own, rival, where[2] if where else "cpu") for rival in rivals
            ]
    caption = f"{label(SUBJECT)} against each other trained model, track {track}"
    return Table(f"versus-{track}", caption, columns, body)


def _versus_row(part: pd.DataFrame, cost: pd.DataFrame, rival: str, kind: str) -> list[Cell]:
    cells = [Cell(label(rival), value=rival)]
    for masking in MASKINGS:
        pair = pick(part, masking=masking)
        row = pair[(pair.model_a == rival) | (pair.model_b == rival)].iloc[0]
        cells.append(difference_cell(row, 1 if row.model_a == SUBJECT else -1))
    for phase, metric in (
        ("train", "epoch_s"),
        ("train", MEMORY[kind][0]),
        ("inference", "batch_s"),
    ):
        rows = pick(cost, phase=phase, metric=metric)
        own, other = (
            pick(rows, model=m)["median"].dropna() if len(rows) else [] for m in (SUBJECT, rival)
        )
        ratio = own.iloc[0] / other.iloc[0] if len(own) and len(other) else None
        cells.append(Cell(f"{rounded(ratio, ratio)} ×", value=ratio) if ratio else DASH)
    return cells
