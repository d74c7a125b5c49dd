"""At which lengths the focal model's training step, or inference batch, is shorter than another model's, from the curves over length."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..analysis.collect import Tables
from . import curves
from .findings import pick, places
from .tables import Cell, plural, whole

STEP, INFERENCE = ("train", "step_s"), ("inference", "batch_s")


def shorter(
    tables: Tables,
    track: str,
    machine: str,
    kind: str,
    comparator: str,
    cost: tuple[str, str] = STEP,
) -> Iterator[tuple[str, Cell]]:
    """By curve (what was held fixed along it) the lengths at which the focal model takes less time than the comparator, and the ratio at the longest.

    A crossing is the last one along the curve; lengths before it at which the focal model took less time are named.
    """
    rows = pick(
        tables.frames["crossovers"], track=track, machine_name=machine, device_kind=kind, phase=cost[0], metric=cost[1]
    )  # fmt: skip
    rows = rows[rows.curve.isin(curves.LENGTHS)] if len(rows) else rows
    several = len(places(rows, "threads")) > 1
    for row in rows.itertuples():
        if {row.model_a, row.model_b} == {tables.focal_model, comparator}:
            threads = f", {plural(row.threads, 'thread')}" if several else ""
            yield f"{row.fixed}{threads}", _where(tables, row, _below(tables, row, comparator))


def _below(tables: Tables, row: Any, comparator: str) -> list[int]:
    """Lengths below the last crossing at which the focal model took less time all the same, beyond the quartiles of both."""
    keys = ("track", "machine_name", "device_kind", "threads", "curve", "fixed", "phase", "metric")
    points = pick(tables.frames["efficiency"], **{key: getattr(row, key) for key in keys})
    if points.empty:
        return []
    own, other = (
        pick(points, model=m).set_index("seq_len") for m in (tables.focal_model, comparator)
    )
    less = own.q75 < other.q25.reindex(own.index)
    return sorted(int(length) for length in own.index[less] if length < row.x)


def _where(tables: Tables, row: Any, below: list[int]) -> Cell:
    found = curves.settled(row)
    if found is None:
        return Cell("not settled", mark="muted")
    cheaper, crosses = found
    ratio = row.ratio_max if row.model_a == tables.focal_model else 1 / row.ratio_max
    end = f"{ratio:.3g} times at {whole(row.x_max)}"
    if not crosses:
        which = "at every" if cheaper == tables.focal_model else "at no"
        return Cell(f"{which} measured L from {whole(row.x_min)} to {whole(row.x_max)}", end)
    side = "from {} on" if cheaper == tables.focal_model else "up to {}"
    if row.bracketed:
        between = f"somewhere between L = {whole(row.low)} and {whole(row.high)}"
        return Cell(side.format(between), end)
    interval = f"[{whole(row.low)}, {whole(row.high)}]"
    if cheaper == tables.focal_model and below:
        interval += f", before that at {', '.join(map(whole, below))}"
    return Cell(side.format(f"L = {row.x:,.0f}"), f"{interval}, {end}", row.x)
