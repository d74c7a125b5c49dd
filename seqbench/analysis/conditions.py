"""Rows of every condition (dataset, track, length), computed from its own records alone, so in processes side by side."""

from __future__ import annotations

from functools import partial
from typing import Any

from ..core.processes import side_by_side
from ..core.store import Entry, by_condition
from . import probe_rows, summary
from .groups import check_same_data
from .tidy import curve_rows

MADE = (*summary.MADE, "curves", "probes")
Columns = dict[str, list[Any]]  # of a table, by name: smaller to send than its rows


def columns(entries: list[Entry], margin: float, one_machine: bool, processes: int = 1) -> dict[str, Columns]:  # fmt: skip
    """The columns of the tables `MADE` of all trainings, condition by condition.

    margin, one_machine: as of `summary.summarise`. processes: conditions at a time; each draws users for itself.

    Raises:
        UserError: records that would be averaged or compared differ in data, machine or settings, or are damaged.
    """
    trainings = [entry for entry in entries if entry.training]
    check_same_data([entry for entry in trainings if entry.ok])
    of_condition = partial(_of_condition, margin=margin, one_machine=one_machine)
    found: dict[str, Columns] = {name: {} for name in MADE}
    for part in side_by_side(of_condition, list(by_condition(trainings)), processes):
        for name, own in part.items():
            for column, values in own.items():
                found[name].setdefault(column, []).extend(values)
    return found


def _of_condition(members: list[Entry], margin: float, one_machine: bool) -> dict[str, Columns]:
    rows = summary.summarise(members, margin, one_machine)
    rows["probes"] = probe_rows.summarise(members)
    rows["curves"] = [row for entry in members for row in curve_rows(entry)]
    return {name: {c: [row[c] for row in own] for c in own[0]} if own else {} for name, own in rows.items()}  # fmt: skip
