"""The trend page: what one machine's runs of the regression gate took over time, and where the level changed."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ..analysis.collect import Tables
from .drawings import Drawing
from .figures import select, unique
from .findings import places
from .look import panels
from .tables import Cell, Column, Table, rounded, unit_for

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#B58900", "#56B4E9", "#6E6E6E", "#7B4EA3")


def drawn(content: Tables) -> Iterator[Drawing]:
    """One figure per machine that has at least two runs."""
    frame = content.frames["history"]
    for (machine,) in places(frame, "machine_name"):
        data = select(frame, machine_name=machine)
        if data.run.max() > 1:
            name = machine.rsplit("(", 1)[-1].strip(")")
            caption = (
                f"Seconds of every stage on {machine}, relative to its first run. A ring marks the first run at another level"
                " (change points of the logarithms, PELT); it informs and fails nothing. Where all stages change at once it is the"
                " machine: a virtual one can wake up on another host."
            )
            yield Drawing(f"trend-{name}", "trend", "", caption, data, figure(data))


def figure(data: pd.DataFrame) -> Figure:
    """A panel per kind of stage, a line per stage."""
    kinds = list(dict.fromkeys(stage.split("/")[0] for stage in data.stage))
    drawing, axes = panels(len(kinds), 1, 1.5)
    for axis, kind in zip(axes[:, 0], kinds, strict=True):
        part = data[[stage.split("/")[0] == kind for stage in data.stage]]
        for k, (stage,) in enumerate(unique(part, "stage")):
            own = select(part, stage=stage).sort_values("run")
            relative, colour = own.seconds / own.seconds.iloc[0], COLOURS[k % len(COLOURS)]
            axis.plot(
                own.run, relative, color=colour, marker=".", label=stage.partition("/")[2] or stage
            )
            new = own.level.diff() > 0
            axis.plot(own.run[new], relative[new], "o", mfc="none", mec=colour, ms=10)
        axis.set_title(kind)
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        axis.legend(ncols=2, fontsize=7, loc="center left", bbox_to_anchor=(1.0, 0.5))
    axes[-1, 0].set_xlabel("Run")
    axes[0, 0].set_ylabel("Relative time")
    return drawing


def tables(content: Tables) -> list[Table]:
    """One table per machine: the latest level of every stage against the one before it."""
    frame = content.frames["history"]
    return [
        _table(machine, select(frame, machine_name=machine))
        for (machine,) in places(frame, "machine_name")
    ]


def _table(machine: str, data: pd.DataFrame) -> Table:
    columns = [
        Column("Stage", number=False),
        Column("Runs"),
        Column("Latest level"),
        Column("Against the one before"),
    ]
    columns += [Column("Since", number=False)]
    body = []
    for (stage,) in unique(data, "stage"):
        own = select(data, stage=stage).sort_values("run")
        level = own[own.level == own.level.max()]
        seconds, before = level.seconds.median(), own[own.level == own.level.max() - 1].seconds
        factor, unit = unit_for("s", [seconds])
        change = (
            f"{100 * (seconds / before.median() - 1):+.1f} %".replace("-", "−")
            if len(before)
            else "–"
        )
        since = (
            f"{level['at'].iloc[0]}, {level.revision.iloc[0]}" if len(before) else "the first run"
        )
        text = f"{rounded(seconds / factor, 0)} {unit}"
        body.append(
            [
                Cell(stage),
                Cell(str(len(own)), value=len(own)),
                Cell(text, value=seconds),
                Cell(change),
                Cell(since),
            ]
        )
    name = machine.rsplit("(", 1)[-1].strip(")")
    return Table(
        f"trend-{name}",
        f"Trend on {machine}: level of every stage of the regression gate",
        columns,
        body,
    )
