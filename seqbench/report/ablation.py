"""Display table of the way from one track to another, one switch a step: what each does to cost, quality and the ratios.

The only table with several tracks in it, because the steps between them are its subject. Its tracks and their order come from
`report.ablation` of the configuration.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import pandas as pd

from ..analysis.collect import Tables
from ..core.display import PRIMARY_METRIC, QUANTITIES, heading
from .findings import condition_name, pick, unique
from .tables import Cell, Column, Table, known, label, rounded, unit_for
from .views import DASH

COSTS = (
    *(("train", metric) for metric in ("epoch_s", "peak_rss_bytes", "peak_reserved_bytes", "saved_bytes")),
    ("inference", "batch_s"),
)  # fmt: skip


def tables(content: Tables) -> list[Table]:
    """One table per dataset, length and machine on which at least two of the steps were measured."""
    steps = content.settings.get("ablation") or []
    cost = content.frames["efficiency"]
    cost = cost[cost.track.isin(steps) & cost.curve.isna()] if len(cost) else cost
    found = []
    for key in unique(cost, "dataset", "seq_len", "machine_name"):
        part = pick(cost, **dict(zip(("dataset", "seq_len", "machine_name"), key, strict=True)))
        if part.track.nunique() > 1:
            found.append(_table(content, steps, part, *key))
    return found


def without_steps(content: Tables) -> Tables:
    """The tables without the tracks that only lead from the first step to the last."""
    between = (content.settings.get("ablation") or [])[1:-1]
    frames = {
        name: frame[~frame.track.isin(between)]
        if len(frame) and "track" in frame and between
        else frame
        for name, frame in content.frames.items()
    }
    return replace(content, frames=frames)


def _table(
    content: Tables,
    steps: Sequence[str],
    cost: pd.DataFrame,
    dataset: str,
    seq_len: int,
    machine: str,
) -> Table:
    models = content.ordered(cost.model)
    focal = content.focal_model
    comparators = [model for model in models if model != focal] if focal in models else []
    columns = [Column("Step", number=False), *[Column(label(model)) for model in models]]
    columns += [Column(label(comparator), f"{label(focal)} over") for comparator in comparators]
    body: list[list[Cell]] = []
    for phase, metric in COSTS:
        rows = pick(cost, phase=phase, metric=metric)
        rows = rows[rows["median"].notna()] if len(rows) else rows
        if len(rows):
            body += _cost_rows(
                rows,
                heading(phase, metric),
                QUANTITIES[metric].unit,
                steps,
                models,
                focal,
                comparators,
            )
    body += _quality_rows(content, steps, dataset, seq_len, models, comparators)
    note = (
        "Each step keeps those above it. An epoch has the same targets in every step, its time is the measured step times the steps"
        f" of an epoch; medians over rounds. Below 1 the ratio says that {label(focal)} costs less. Steps were measured one after the"
        " other, models within a step interleaved: compare ratios before seconds."
    )
    caption = f"From {steps[0]} to {steps[-1]} on {condition_name(dataset, seq_len)}, {machine}: one switch at a time"
    return Table(f"ablation-{dataset}-L{seq_len}-{machine}", caption, columns, body, [note])


def _cost_rows(
    rows: pd.DataFrame,
    name: str,
    unit: str,
    steps: Sequence[str],
    models: list[str],
    focal: str,
    comparators: list[str],
) -> Iterator[list[Cell]]:
    factor, unit = unit_for(unit, [rows["median"].min()])
    yield [Cell(f"{name} ({unit})" if unit else name)]
    for step in steps:
        own = pick(rows, track=step)
        if not len(own):
            continue
        value = {row.model: row for row in own.itertuples()}
        cells = []
        for model in models:
            row = value.get(model)
            cells.append(
                Cell(
                    rounded(row.median / factor, row.iqr / factor if known(row.iqr) else 0),
                    value=row.median,
                )
                if row
                else DASH
            )
        ratios = [
            value[focal].median / value[r].median if r in value and focal in value else None
            for r in comparators
        ]
        yield [
            Cell(step),
            *cells,
            *[Cell(f"×{r:.2f}", value=r) if known(r) else DASH for r in ratios],
        ]


def _quality_rows(
    content: Tables,
    steps: Sequence[str],
    dataset: str,
    seq_len: int,
    models: list[str],
    comparators: list[str],
) -> Iterator[list[Cell]]:
    rows = pick(
        content.frames["summary"],
        dataset=dataset,
        seq_len=seq_len,
        metric=PRIMARY_METRIC,
        seen_items="kept",
        ties="conservative",
    )
    rows = rows[rows.track.isin(steps)] if len(rows) else rows
    if not len(rows):
        return
    yield [Cell(f"Test {QUANTITIES[PRIMARY_METRIC].label}, seen items kept")]
    for step in steps:
        value = {row.model: row.mean for row in pick(rows, track=step).itertuples()}
        if value:
            cells = [
                Cell(f"{value[m]:.4f}", value=value[m]) if m in value else DASH for m in models
            ]
            yield [Cell(step), *cells, *[DASH for _ in comparators]]
