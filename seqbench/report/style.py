"""How figures look: colours and markers, panels, legends, logarithmic axes, and the files they are saved as."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import numpy as np
import pandas as pd
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from ..config.model_files import shown
from .tables import label

# Okabe and Ito's palette, which stays distinct for colour-blind readers; markers repeat the distinction.
SPARE = (("#000000", "*"), ("#7B4EA3", "<"), ("#8C564B", ">"), ("#4D7C0F", "h"), ("#B91C1C", "p"))
WIDTH = 9.0  # inches of a full-width figure
RC = {
    "font.size": 9, "axes.titlesize": 9.5, "axes.titleweight": "bold", "axes.titlelocation": "left",
    "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "grid.color": "#E3E3E3",
    "grid.linewidth": 0.6, "axes.axisbelow": True, "axes.edgecolor": "#666666", "figure.dpi": 100,
    "savefig.dpi": 150, "svg.hashsalt": "seqbench", "svg.fonttype": "none", "font.sans-serif": ["DejaVu Sans", "Verdana"], "pdf.fonttype": 42,
    "legend.frameon": False, "lines.linewidth": 1.4, "lines.markersize": 5.5, "errorbar.capsize": 2.5,
}  # fmt: skip
matplotlib.rcParams.update(RC)
UNDATED = {
    "svg": {"Date": None},
    "pdf": {"CreationDate": None, "ModDate": None},
    "png": {"Software": None},
}
Looks = dict[str, tuple[str, str]]  # colour and marker by model


def save(
    figure: Figure, data: pd.DataFrame, folder: Path, name: str, kinds: Iterable[str] = UNDATED
) -> None:
    """Write a figure as SVG, PDF and PNG, or some of them, the same bytes every time, with its data as CSV beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # laid out once, not once per format
    for kind in kinds:
        figure.savefig(folder / f"{name}.{kind}", metadata=UNDATED[kind])
    data.to_csv(folder / f"{name}.csv", index=False, float_format="%.10g", lineterminator="\n")


def styles(models: Iterable[str]) -> Looks:
    """Colour and marker by model, as its file says; models that say nothing get spare pairs in alphabetical order."""
    said = {name: shown(name) for name in sorted(set(models))}
    bare = [name for name, look in said.items() if not (look.color and look.marker)]
    spare = {name: SPARE[k % len(SPARE)] for k, name in enumerate(bare)}
    return {
        name: (look.color or spare[name][0], look.marker or spare[name][1])
        for name, look in said.items()
    }


def drawn_as(look: tuple[str, str]) -> dict[str, str]:
    """Colour and marker as keywords of matplotlib."""
    return {"color": look[0], "marker": look[1]}


def panels(
    rows: int, columns: int, height: float, sharey: str | bool = False
) -> tuple[Figure, np.ndarray]:
    """Return a full-width figure and its axes (rows, columns); height of one row in inches."""
    figure = Figure(figsize=(WIDTH, rows * height + 0.5), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False, sharey=sharey)
    figure.get_layout_engine().set(w_pad=0.08, h_pad=0.08)
    return figure, axes


def with_legend(figure: Figure, models: Iterable[str]) -> Figure:
    """Add the models' legend below the panels."""
    names = list(dict.fromkeys(models))
    looks = styles(names)
    handles = [Line2D([], [], **drawn_as(looks[name]), label=label(name)) for name in names]
    figure.legend(handles=handles, loc="outside lower center", ncols=min(len(names), 7))
    return figure


def log_axis(axis: Axis, values: np.ndarray) -> None:
    """Make an axis logarithmic with plain numbers, and with enough of them when it spans little."""
    low, high = np.nanmin(values), np.nanmax(values)
    room = max((high / low) ** 0.08, 1.05)
    axis.axes.set(
        **{f"{axis.axis_name}scale": "log", f"{axis.axis_name}lim": (low / room, high * room)}
    )
    span = high * room**2 / low
    if span < 4:
        axis.set_major_locator(MaxNLocator(5))  # even steps: powers of ten would leave nothing
    else:
        axis.set_major_locator(
            LogLocator(subs=(1, 2, 3, 5) if span < 12 else (1, 2, 5) if span < 200 else (1,))
        )
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,.0f}" if x >= 1000 else f"{x:.4g}"))
