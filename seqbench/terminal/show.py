"""Aligned text, no wider than its content: what the verbs `results`, `compare` and `plan` print."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
from tabulate import tabulate

from ..analysis.collect import Tables
from ..core.errors import UserError
from ..report import answer
from ..report import format as fmt
from ..report.format import DASH
from ..report.tables import Cell, Column, Table
from .compare import Compared


def text(table: Table) -> str:
    """A table as aligned text: numbers to the right, a star behind what is best."""
    rows = [[_joined(cell) for cell in row] for row in table.rows]
    sides = ["right" if column.number else "left" for column in table.columns]
    body = tabulate(rows, [column.text for column in table.columns], colalign=sides, disable_numparse=True)  # fmt: skip
    return "\n\n".join(part for part in (table.caption, body, "\n".join(table.notes)) if part)


def _joined(cell: Cell) -> str:
    return f"{cell.text} {cell.detail}".strip() + " *" * (cell.mark == "best")


# --- results ------------------------------------------------------------------------------------------------------------


def results(tables: Tables, chosen: Mapping[str, str | None]) -> str:
    """The leaderboard of the default view, or of the one nearest to it with the chosen values (chip -> value).

    Raises:
        UserError: nothing was measured with a chosen value; the line says what there is.
    """
    found = answer.views(tables)
    if not found:
        rows = tables.frames["experiments"]
        failed = rows[(rows.kind == "train") & (rows.status != "ok")] if len(rows) else rows
        if len(failed):
            again = f"`python -m seqbench retry --status {failed.status.iloc[0]} --results RESULTS`"
            raise UserError(f"no results: {fmt.plural(len(failed), 'training')} failed and none ended; {again}, then run it again")  # fmt: skip
        raise UserError("no results: the tables hold no leaderboard; run `make report`")
    for chip, value in chosen.items():
        if value is None:
            continue
        fitting = [view for view in found if view.state[chip] == value]
        if not fitting:
            there = ", ".join(dict.fromkeys(view.state[chip] or DASH for view in found))
            raise UserError(f"--{chip} {value}: no results with it; there are {there}")
        found = fitting
    table = answer.leaderboard(found[0])
    where = fmt.machine_names(tables.settings).get(found[0].machine)
    measured = found[0].rows[[column for column, *_ in answer.COSTS.values()]].notna().any(axis=None)  # fmt: skip
    notes = [f"What to take: {found[0].advice}"]
    notes += [f"Cost on {where}." if where and measured else "Cost was not measured."]
    notes += [f"*: {answer.marks(table)}."] if answer.marks(table) else []
    left_out = tables.settings.get("left_out", ())
    notes += [
        f"Left out: records of {name} on {dataset}: {why}." for name, dataset, why in left_out
    ]
    return text(Table(table.name, table.caption, table.columns, table.rows, notes))


# --- compare ------------------------------------------------------------------------------------------------------------


def comparison(found: Compared, names: tuple[str, str]) -> str:
    """Quality and costs of the second folder against the first one."""
    parts = []
    if len(found.quality):
        parts.append(text(_quality(found.quality, names)))
    if len(found.costs):
        parts.append(text(_costs(found.costs, names)))
    rest = [f"Only in {name}: {n}" for name, n in zip(names, (found.only_a, found.only_b), strict=True) if n]  # fmt: skip
    return "\n\n".join([*parts, *(["; ".join(rest)] if rest else [])])


def _quality(rows: pd.DataFrame, names: tuple[str, str]) -> Table:
    columns = [Column(c, number=False) for c in ("Condition", "Track", "Model", "Seen items")]
    columns += [Column("Seeds"), Column("A"), Column("B"), Column("B − A"), Column("Verdict", number=False)]  # fmt: skip
    digits = fmt.decimals((rows.ci_high - rows.ci_low) / 2)
    body = [
        [
            *_about(row), Cell(row.seen_items), Cell(f"{row.n_seeds_a}, {row.n_seeds_b}"),
            *(Cell(fmt.fixed(value, digits)) for value in (row.mean_a, row.mean_b)),
            Cell(fmt.signed(row.difference, digits), fmt.interval(row.ci_low, row.ci_high, digits)), _verdict(row.verdict, row.why),
        ]
        for row in rows.itertuples()
    ]  # fmt: skip
    metric = fmt.metric_label(rows.metric.iloc[0])
    caption = f"{metric}, B = {names[1]} against A = {names[0]}: difference with its 95 % interval"
    return Table("compare-quality", caption, columns, body)


def _costs(rows: pd.DataFrame, names: tuple[str, str]) -> Table:
    columns = [Column(c, number=False) for c in ("Condition", "Track", "Model", "Cost")]
    columns += [Column("A"), Column("B"), Column("B / A"), Column("Verdict", number=False)]
    body = [
        [
            *_about(row), Cell(f"{fmt.metric_label(row.metric, '')}{_on(row)}"),
            *(Cell(fmt.quantity(fmt.QUANTITIES[row.metric].unit, value)) for value in (row.median_a, row.median_b)),
            Cell(fmt.ratio(row.ratio), fmt.interval(row.ratio_low, row.ratio_high, 2)), _verdict(row.verdict, None),
        ]
        for row in rows.itertuples()
    ]  # fmt: skip
    caption = f"Costs, B = {names[1]} against A = {names[0]}: ratio of medians with the quartiles that bound it"
    return Table("compare-costs", caption, columns, body)


def _on(row: Any) -> str:
    return f", {row.curve}, {fmt.plural(row.sequences, 'sequence')}" if fmt.known(row.curve) else ""


def _about(row: Any) -> list[Cell]:
    return [Cell(fmt.condition(row.dataset, row.seq_len)), Cell(row.track), Cell(fmt.label(row.model))]  # fmt: skip


def _verdict(word: str, why: Any) -> Cell:
    reason = str(why).replace("_", " ") if fmt.known(why) else ""
    return Cell(fmt.verdict(word)[0], f"({reason})" if reason else "")


# --- plan ---------------------------------------------------------------------------------------------------------------

UNITS = {"training": ("core-hours", "GPU-hours"), "measurement": ("hours alone", "hours alone")}


def planned(rows: pd.DataFrame, kind: str) -> str:
    """What a configuration will take, by dataset and track, and in all; kind: of the device that will compute."""
    columns = [Column(c, number=False) for c in ("Dataset", "Track", "What")]
    columns += [Column(c) for c in ("Jobs", "Done", "Hours", "Unknown", "Disk", "Size unknown")]
    columns.append(Column("From records of", number=False))
    body = [_planned(row) for row in rows.to_dict("records")]
    notes = [_total(rows[rows.kind == what], what, kind) for what in UNITS]
    size, unknown = rows.disk_bytes.sum(), rows.disk_unknown.sum()
    said = [_size(size)] if size else []
    said += [f"{fmt.plural(unknown, 'job')} of unknown size"] if unknown else []
    notes.append(f"Disk: {', '.join(said) or 'nothing more'}")
    return text(Table("plan", "", columns, body, notes))


def _planned(row: Mapping[str, Any]) -> list[Cell]:
    names = [
        row[key] if fmt.known(row[key]) else DASH
        for key in ("dataset", "track", "kind", "machines")
    ]
    hours, size = _hours(row["hours_low"], row["hours_high"]), _size(row["disk_bytes"])
    jobs, done, unknown, sizes = (
        fmt.count(row[key]) for key in ("jobs", "done", "unknown", "disk_unknown")
    )
    return [
        Cell(value) for value in (*names[:3], jobs, done, hours, unknown, size, sizes, names[3])
    ]


def _total(rows: pd.DataFrame, what: str, kind: str) -> str:
    todo, unknown = rows.jobs.sum() - rows.done.sum(), rows.unknown.sum()
    hours = f"{_hours(rows.hours_low.sum(), rows.hours_high.sum())} {UNITS[what][kind == 'cuda']}"
    said = [f"{fmt.count(todo)} to do"]
    said += [hours] if todo > unknown else []
    said += [f"{fmt.plural(unknown, 'job')} that no record informs"] if unknown else []
    return f"{what.capitalize()}s: {', '.join(said)}"


def _hours(low: float, high: float) -> str:
    if not high:
        return DASH
    ends = [fmt.significant(value, 2) if value >= 0.01 else "0.01" for value in (low, high)]
    return ends[0] if ends[0] == ends[1] else f"{ends[0]} to {ends[1]}"


def _size(size: float) -> str:
    return fmt.quantity("bytes", size) if size else DASH
