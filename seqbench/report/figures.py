"""Figures: one function each, a data frame in, a matplotlib figure out. The frame is exactly what is drawn.

Labels, units and directions come from the table of metrics; every model keeps its colour and marker everywhere.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import (
    FixedLocator,
    FuncFormatter,
    MaxNLocator,
    NullLocator,
    PercentFormatter,
)

from ..core.display import QUANTITIES
from .findings import condition_name, pick, unique
from .style import Looks, drawn_as, log_axis, panels, styles, with_legend
from .tables import direction, label, metric_label, unit_for

LABEL_WIDTH = 26  # characters of a line beside an axis
TITLE_WIDTH = 38  # and of one above a panel of half the width
PHASES = {"train": "training", "inference": "inference"}


def effectiveness(data: pd.DataFrame) -> Figure:
    """Quality of every model with its interval: a row of panels per dataset and length, a column per treatment of seen items.

    data: dataset, seq_len, model, seen_items, metric, mean, ci_low, ci_high, oracle (NaN if unknown).
    """
    looks = styles(data.model)
    conditions, treatments = (
        sorted(unique(data, "dataset", "seq_len")),
        sorted(set(data.seen_items), reverse=True),
    )
    models, metric = list(dict.fromkeys(data.model)), data.metric.iloc[0]
    heights = 0.75 + 0.23 * len(models)
    figure, axes = panels(len(conditions), len(treatments), heights, sharey="row")
    for row, condition in zip(axes, conditions, strict=True):
        for axis, seen_items in zip(row, treatments, strict=True):
            part = pick(data, dataset=condition[0], seq_len=condition[1])
            _dots(axis, part[part.seen_items == seen_items], models, looks)
            axis.set_title(
                textwrap.fill(
                    f"{condition_name(*condition)}, {_seen_items(seen_items)}", TITLE_WIDTH
                )
            )
            axis.set_xlabel(_better(metric, metric_label(metric)))
    return figure


def differences(data: pd.DataFrame) -> Figure:
    """A forest plot: one model against each other by condition, differences as a share of the better mean; a column per treatment of seen items.

    data: dataset, seq_len, model (the other one), seen_items, share, share_low, share_high, margin (a share), conclusive (whether
    the verdict is established). What is open is drawn hollow; the band is the margin.
    """
    looks = styles(data.model)
    conditions = sorted(unique(data, "dataset", "seq_len"), reverse=True)
    treatments, models = sorted(set(data.seen_items), reverse=True), list(dict.fromkeys(data.model))
    figure, axes = panels(1, len(treatments), 0.5 + 0.42 * len(conditions), sharey=True)
    step = 0.7 / max(len(models), 1)
    for axis, seen_items in zip(axes[0], treatments, strict=True):
        part = data[data.seen_items == seen_items]
        axis.axvspan(-data.margin.max(), data.margin.max(), color="#E3E3E3", lw=0)
        axis.axvline(0, color="#666666", lw=0.8)
        for row in part.itertuples():
            y = conditions.index((row.dataset, row.seq_len)) + 0.35 - step * (models.index(row.model) + 0.5)  # fmt: skip
            error = [[row.share - row.share_low], [row.share_high - row.share]]
            fill = {} if row.conclusive else {"markerfacecolor": "white"}
            axis.errorbar(row.share, y, xerr=error, linestyle="", **drawn_as(looks[row.model]), **fill)  # fmt: skip
        axis.set_yticks(
            range(len(conditions)), [condition_name(*condition) for condition in conditions]
        )
        axis.set_ylim(-0.6, len(conditions) - 0.4)
        axis.sharex(axes[0, 0])
        axis.set_xlabel(f"Difference in {metric_label(data.metric.iloc[0])}, share of the better")
        axis.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        axis.set_title(_seen_items(seen_items).capitalize())
        axis.grid(visible=False, axis="y")
    return with_legend(figure, data.model)


def time_against_length(data: pd.DataFrame) -> Figure:
    """Median times with their interquartile ranges against the sequence length, both axes logarithmic.

    data: dataset, model, seq_len, batch_size, phase, metric, median, q25, q75.
    """
    return _against_length(data)


def memory_against_length(data: pd.DataFrame) -> Figure:
    """Median peaks of memory against the sequence length, both axes logarithmic; columns as for times."""
    return _against_length(data)


def quality_against_cost(data: pd.DataFrame) -> Figure:
    """Quality against the time of a training epoch, one panel per dataset and length; up and left is better.

    data: dataset, seq_len, model, metric, mean, ci_low, ci_high, median, q25, q75 (of epoch_s).
    """
    looks = styles(data.model)
    conditions = sorted(unique(data, "dataset", "seq_len"))
    columns = min(3, len(conditions))
    figure, axes = panels(math.ceil(len(conditions) / columns), columns, 3.2)
    factor, unit = unit_for("s", data["median"])
    for axis, condition in zip(axes.flat, conditions, strict=False):
        part = pick(data, dataset=condition[0], seq_len=condition[1])
        for point in part.itertuples():
            _point(axis, point, factor, looks[point.model])
        log_axis(axis.xaxis, part[["q25", "q75"]].to_numpy() / factor)
        axis.set_title(condition_name(*condition))
        axis.set_xlabel(_better("epoch_s", metric_label("epoch_s", unit)))
        axis.set_ylabel(_better(part.metric.iloc[0], metric_label(part.metric.iloc[0])))
    for axis in axes.flat[len(conditions) :]:
        axis.set_visible(False)
    return with_legend(figure, data.model)


def learning_curves(data: pd.DataFrame) -> Figure:
    """Validation quality against targets seen and against seconds; one line per seed, the best step marked.

    data: dataset, seq_len, model, seed, metric, targets, seconds, value, best.
    """
    looks = styles(data.model)
    conditions = sorted(unique(data, "dataset", "seq_len"))
    figure, axes = panels(len(conditions), 2, 2.6, sharey="row")
    for row, condition in zip(axes, conditions, strict=True):
        part = pick(data, dataset=condition[0], seq_len=condition[1])
        for axis, column in zip(row, ("targets", "seconds"), strict=True):
            _curves(axis, part, column, looks)
            axis.set_title(condition_name(*condition))
        quality = _better(part.metric.iloc[0], metric_label(part.metric.iloc[0]))
        row[0].set_ylabel(textwrap.fill(f"Validation {quality}", LABEL_WIDTH))
    return with_legend(figure, data.model)


def seen_items_gap(data: pd.DataFrame) -> Figure:
    """What excluding seen items adds to validation quality, as a share, against targets seen; one line per seed.

    data: dataset, seq_len, model, seed, metric, targets, value (the share), best. One panel per dataset and length.
    """
    looks = styles(data.model)
    conditions = sorted(unique(data, "dataset", "seq_len"))
    columns = min(2, len(conditions))
    figure, axes = panels(math.ceil(len(conditions) / columns), columns, 2.6)
    for axis, condition in zip(axes.flat, conditions, strict=False):
        part = pick(data, dataset=condition[0], seq_len=condition[1])
        _curves(axis, part, "targets", looks)
        axis.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        axis.set_title(condition_name(*condition))
        axis.set_ylabel(
            textwrap.fill(
                f"Gain of {metric_label(part.metric.iloc[0])} by excluding seen items", LABEL_WIDTH
            )
        )
    for axis in axes.flat[len(conditions) :]:
        axis.set_visible(False)
    return with_legend(figure, data.model)


# --- parts of figures ---------------------------------------------------------------------------------------------------


def _dots(axis: Axes, part: pd.DataFrame, models: Sequence[str], looks: Looks) -> None:
    for row in part.itertuples():
        error = [[row.mean - row.ci_low], [row.ci_high - row.mean]]
        y = models.index(row.model)
        axis.errorbar(row.mean, y, xerr=error, linestyle="", **drawn_as(looks[row.model]))
    oracle = part.oracle.dropna()
    if len(oracle):
        axis.axvline(oracle.iloc[0], color="#333333", linestyle=":")
        note = {"xy": (oracle.iloc[0], 1.0), "xycoords": ("data", "axes fraction")}
        axis.annotate(
            "oracle",
            **note,
            xytext=(-3, -3),
            textcoords="offset points",
            ha="right",
            va="top",
            fontsize=8,
        )
    axis.set_yticks(range(len(models)), [label(model) for model in models])
    axis.set_ylim(len(models) - 0.4, -0.6)
    axis.set_xlim(left=0)
    axis.xaxis.set_major_locator(MaxNLocator(6))
    axis.grid(axis="y", visible=False)


def _against_length(data: pd.DataFrame) -> Figure:
    looks = styles(data.model)
    columns = list(dict.fromkeys(data.dataset))
    kinds = unique(data, "phase", "metric")
    rows = sorted(kinds, key=lambda kind: (list(PHASES).index(kind[0]), kinds.index(kind)))
    figure, axes = panels(len(rows), len(columns), 2.7)
    for axes_row, (phase, metric) in zip(axes, rows, strict=True):
        for axis, dataset in zip(axes_row, columns, strict=True):
            chosen = (data.dataset == dataset) & (data.phase == phase) & (data.metric == metric)
            axis.set_visible(chosen.any())
            if chosen.any():
                _lines(axis, data[chosen], looks)
    return with_legend(figure, data.model)


def _lines(axis: Axes, part: pd.DataFrame, looks: Looks) -> None:
    phase, metric = part.phase.iloc[0], part.metric.iloc[0]
    factor, unit = unit_for(QUANTITIES[metric].unit, part["median"])
    for model, line in part.groupby("model", sort=False):
        line = line.sort_values("seq_len")
        middle = line["median"] / factor
        error = [middle - line.q25 / factor, line.q75 / factor - middle]
        axis.errorbar(line.seq_len, middle, yerr=error, **drawn_as(looks[model]))
    log_axis(axis.yaxis, part[["q25", "q75"]].to_numpy() / factor)
    number_axis(axis, sorted(set(part.seq_len)))
    axis.set_xlabel("Sequence length L (items)")
    axis.set_ylabel(textwrap.fill(metric_label(metric, unit), LABEL_WIDTH))
    sizes = "/".join(f"{size:,}" for size in sorted(set(part.batch_size)))
    what = "targets a step" if phase == "train" else "users a batch"
    axis.set_title(f"{part.dataset.iloc[0]}\n", fontsize=9)
    axis.text(0, 1.03, f"{PHASES[phase]}, {sizes} {what}", transform=axis.transAxes, fontsize=8)


def number_axis(axis: Axes, numbers: list[float]) -> None:
    """Make the x axis logarithmic with these whole numbers as labels."""
    axis.set_xscale("log")
    # Labels need room: of two close numbers the smaller one stays unlabelled.
    near = 1.35 * (numbers[-1] / numbers[0]) ** 0.03
    shown = [a for a, b in zip(numbers, [*numbers[1:], math.inf], strict=True) if b / a > near]
    axis.xaxis.set_major_locator(FixedLocator(shown))
    axis.xaxis.set_minor_locator(NullLocator())
    axis.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,.0f}"))
    room = max(1.15, (numbers[-1] / numbers[0]) ** 0.04)
    axis.set_xlim(numbers[0] / room, numbers[-1] * room)


def _point(axis: Axes, point: Any, factor: float, look: tuple[str, str]) -> None:
    x, y = point.median / factor, point.mean
    xerr = [[x - point.q25 / factor], [point.q75 / factor - x]]
    yerr = [[y - point.ci_low], [point.ci_high - y]]
    axis.errorbar(x, y, xerr=xerr, yerr=yerr, markersize=7, **drawn_as(look))


def _curves(axis: Axes, part: pd.DataFrame, column: str, looks: Looks) -> None:
    factor, unit = (
        unit_for("s", part[column]) if column == "seconds" else _targets_unit(part[column])
    )
    for (model, _), line in part.groupby(["model", "seed"], sort=False):
        color, marker = looks[model]
        axis.plot(line[column] / factor, line.value, color=color, alpha=0.8, linewidth=1.1)
        best = line[line.best]
        axis.plot(best[column] / factor, best.value, color=color, marker=marker, linestyle="")
    name = "Training time" if column == "seconds" else "Targets seen"
    axis.set_xlabel(f"{name} ({unit})" if unit else name)
    axis.margins(y=0.08)
    axis.set_xlim(left=0)
    axis.set_ylim(bottom=0)


def _targets_unit(targets: pd.Series) -> tuple[float, str]:
    for factor, name in ((1e6, "million"), (1e3, "thousand")):
        if targets.max() >= 2 * factor:
            return factor, name
    return 1, ""


def _seen_items(seen_items: str) -> str:
    return {"kept": "seen items kept", "excluded": "seen items excluded"}[seen_items]


def _better(metric: str, text: str) -> str:
    better = direction(metric)
    return f"{text}, {better}" if better else text
