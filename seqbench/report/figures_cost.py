"""Figures of cost: growth along a curve with its fit, the roofline, and energy. As in figures.py."""

from __future__ import annotations

import textwrap
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ..core.display import QUANTITIES
from ..core.jobs import CURVES
from .curves import POOR
from .figures import LABEL_WIDTH, PHASES, number_axis
from .findings import pick, unique
from .style import Looks, drawn_as, log_axis, panels, styles, with_legend
from .tables import label, metric_label, unit_for

X_LABELS = {
    "length-at-constant-tokens": "Sequence length L (items)",
    "length-at-constant-batch": "Sequence length L (items)",
    "batch-size": "Sequences in a batch",
    "catalogue-size": "Items in the catalogue",
}


def growth(data: pd.DataFrame) -> Figure:
    """Medians with their quartiles and the fitted curves: a row of panels per cost, a column per curve.

    data: curve, fixed, model, phase, metric, x, median, q25, q75 (empty where a point failed), a, b, c,
    c_low, c_high (empty: flat) of median = a + b x^c, slope_end, max_residual, reason (why a point is empty).
    """
    looks = styles(data.model)
    columns, rows = unique(data, "curve", "fixed"), unique(data, "phase", "metric")
    figure, axes = panels(len(rows), len(columns), 2.9)
    for axes_row, (phase, metric) in zip(axes, rows, strict=True):
        for axis, (curve, fixed) in zip(axes_row, columns, strict=True):
            part = pick(data, curve=curve, fixed=fixed, phase=phase, metric=metric)
            axis.set_visible(len(part) > 0)
            if len(part):
                _grown(axis, part, looks)
                grows = CURVES[curve].partition(" at ")[0]
                axis.set_title(f"{grows[0].upper()}{grows[1:]}\n", fontsize=9)
                axis.text(
                    0, 1.03, f"{PHASES[phase]}, {fixed}", transform=axis.transAxes, fontsize=8
                )
                axis.set_xlabel(X_LABELS[curve])
    return with_legend(figure, data.model)


def _grown(axis: Axes, part: pd.DataFrame, looks: Looks) -> None:
    metric = part.metric.iloc[0]
    factor, unit = unit_for(QUANTITIES[metric].unit, part["median"])
    found = part[part["median"].notna()]
    notes = []
    for model, line in found.groupby("model", sort=False):
        middle, look = line["median"] / factor, drawn_as(looks[model])
        error = [middle - line.q25 / factor, line.q75 / factor - middle]
        axis.errorbar(line.x, middle, yerr=error, linestyle="", **look)
        first = line.iloc[0]
        if not np.isnan(first.c):  # else nothing is known of what lies between the points
            x = np.geomspace(line.x.min(), line.x.max(), 24)
            axis.plot(
                x, (first.a + first.b * x**first.c) / factor, color=look["color"], linewidth=1
            )
        notes.append((_note(first), look["color"]))
    log_axis(axis.yaxis, found[["q25", "q75"]].to_numpy() / factor)
    _failed(axis, part[part["median"].isna()], looks)
    number_axis(axis, sorted(set(part.x)))
    axis.set_ylabel(textwrap.fill(metric_label(metric, unit), LABEL_WIDTH))
    handles = [Line2D([], [], color=color, label=text) for text, color in notes]
    axis.legend(handles=handles, loc="upper left", fontsize=7, handlelength=1.2, labelspacing=0.25)
    low, high = axis.get_ylim()
    axis.set_ylim(low, high * (high / low) ** 0.35)  # room for the exponents


def _note(first: Any) -> str:
    """How a curve grows, beside it."""
    if np.isnan(first.c):
        slope = f"slope {first.slope_end:.2f}, " if not np.isnan(first.slope_end) else ""
        return f"{slope}too few points for a curve"
    if np.isnan(first.c_low):
        return "flat"
    off = f", off by {100 * first.max_residual:.0f} %" if first.max_residual > POOR else ""
    return f"c = {first.c:.2f} [{first.c_low:.2f}, {first.c_high:.2f}]{off}"


def _failed(axis: Axes, part: pd.DataFrame, looks: Looks) -> None:
    """Points without a value at the lower edge, with how they ended."""
    for point in part.itertuples():
        status = str(point.reason).partition(":")[0]
        mark = {"transform": axis.get_xaxis_transform(), "color": looks[point.model][0]}
        axis.plot([point.x], [0.03], marker="x", linestyle="", clip_on=False, **mark)
        axis.text(point.x, 0.06, status, fontsize=7, ha="center", rotation=90, va="bottom", **mark)


def roofline(data: pd.DataFrame) -> Figure:
    """Arithmetic that a step or a batch achieves against its intensity, below the ceilings of the device.

    data: dataset, seq_len, model, phase, intensity, flop_per_s, q25, q75 (of flop_per_s), product_flop_per_s,
    copy_bytes_per_s. One panel per dataset and length; training filled, inference hollow.
    """
    looks = styles(data.model)
    conditions = unique(data, "dataset", "seq_len")
    columns = min(2, len(conditions))
    figure, axes = panels(-(-len(conditions) // columns), columns, 3.3)
    factor, unit = unit_for("FLOP/s", data.product_flop_per_s)
    for axis, (dataset, seq_len) in zip(axes.flat, conditions, strict=False):
        part = pick(data, dataset=dataset, seq_len=seq_len)
        _roofs(axis, part, factor)
        for point in part.itertuples():
            error = [
                [max(point.flop_per_s - point.q25, 0) / factor],
                [max(point.q75 - point.flop_per_s, 0) / factor],
            ]
            look = drawn_as(looks[point.model])
            face = look["color"] if point.phase == "train" else "white"
            axis.errorbar(point.intensity, point.flop_per_s / factor, yerr=error, linestyle="",
                          markerfacecolor=face, **look)  # fmt: skip
        axis.set_title(f"{dataset}, L = {seq_len}")
        axis.set_xlabel("Arithmetic intensity (FLOP per byte of operators)")
        axis.set_ylabel(f"Arithmetic achieved ({unit})")
    for axis in axes.flat[len(conditions) :]:
        axis.set_visible(False)
    return with_legend(figure, data.model)


def _roofs(axis: Axes, part: pd.DataFrame, factor: float) -> None:
    product, copy = part.product_flop_per_s.median(), part.copy_bytes_per_s.median()
    x = np.geomspace(part.intensity.min() / 2, max(part.intensity.max(), product / copy) * 2, 100)
    axis.plot(x, np.minimum(product, copy * x) / factor, color="#333333", linewidth=1.2)
    values = [part.flop_per_s.min(), part.q25.min(), product]
    log_axis(axis.yaxis, np.array([min(values), max(values) * 1.2]) / factor)
    log_axis(axis.xaxis, x)
    gigabytes = f"copy {copy / 1e9:,.0f} GB/s"
    axis.text(x[-1], product / factor * 1.04, "matrix product", fontsize=7, ha="right", va="bottom")
    axis.text(0.02, 0.97, gigabytes, transform=axis.transAxes, fontsize=7, va="top")


def energy(data: pd.DataFrame) -> Figure:
    """Energy of an epoch, a panel per dataset and length.

    data: dataset, seq_len, model, metric, median, q25, q75.
    """
    looks = styles(data.model)
    conditions, models = unique(data, "dataset", "seq_len"), list(dict.fromkeys(data.model))
    figure, axes = panels(1, len(conditions), 0.8 + 0.3 * len(models), sharey="row")
    factor, unit = unit_for("J", data["median"])
    for axis, (dataset, seq_len) in zip(axes[0], conditions, strict=True):
        for row in pick(data, dataset=dataset, seq_len=seq_len).itertuples():
            error = [[(row.median - row.q25) / factor], [(row.q75 - row.median) / factor]]
            look = looks[row.model][0]
            axis.barh(
                models.index(row.model), row.median / factor, xerr=error, color=look, height=0.6
            )
        axis.set_yticks(range(len(models)), [label(model) for model in models])
        axis.set_ylim(len(models) - 0.4, -0.6)
        axis.set_title(f"{dataset}, L = {seq_len}")
        axis.set_xlabel(metric_label(data.metric.iloc[0], unit))
        axis.set_xlim(left=0)
    return figure
