"""Figures of cost: growth along the curves with fits and crossings, the roofline, energy. As in figures.py."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import partial

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..analysis.collect import Tables
from ..analysis.scaling_rows import CONCLUSIVE_SHARE
from ..analysis.tables import pick, tracks_in_order
from ..core.display import QUANTITIES
from . import style
from .format import condition, known, label, length, machine_names, short, unit_for
from .style import MUTED, PAPER, Drawing, Labels, even, label_ends, looks, named, panel

COMMON = "length-at-constant-batch"  # the curve of the page's section; the others stand folded
X = {
    COMMON: ("sequence length L", "seq_len"),
    "length-at-constant-tokens": ("sequence length L", "seq_len"),
    "batch-size": ("sequences in a batch", "sequences"),
    "catalogue-size": ("items in the catalogue", "n_items"),
}
COSTS = (  # phase, metric, title; memory by kind of device: resident memory of a CPU is that of Python
    ("train", "step_s", "Time of a training step"),
    ("inference", "batch_s", "Time of an inference batch"),
    ("train", "peak_allocated_bytes", "Peak GPU memory of training"),
    ("train", "saved_bytes", "Activations kept for backward"),
)


def groups(frame: pd.DataFrame, *keys: str) -> Iterator[tuple[tuple, pd.DataFrame]]:
    """Values of some columns with their rows, in order of first use."""
    if len(frame):
        yield from frame.groupby(list(keys), sort=False, dropna=False)


def first_track(tables: Tables) -> str:
    """The track whose figures the page shows; those of others are files."""
    return tables.frames["leaderboard"].track.iloc[0]


def stepping(tables: Tables) -> dict[tuple, tuple[str, Mapping[str, float]]]:
    """By dataset, length and track: median step by model on the machine that measured most of the condition, a CPU before a
    GPU, and its kind of device."""
    rows = pick(tables.frames["efficiency"], phase="train", metric="step_s")
    rows = rows[rows["median"].notna()] if len(rows) else rows
    found = {}
    for place, own in groups(rows, "dataset", "seq_len", "track"):
        machines = groups(own, "device_kind", "machine_name")
        (kind, _), best = min(machines, key=lambda one: (-len(one[1]), one[0]))
        found[place] = kind, dict(best.set_index("model")["median"])
    return found


# --- growth -------------------------------------------------------------------------------------------------------------


def lengths(tables: Tables) -> Iterator[Drawing]:
    """Time and memory against sequence length at a constant batch, one per machine and cost."""
    yield from _growth(tables, "lengths", (COMMON,), COSTS)


def sizes(tables: Tables) -> Iterator[Drawing]:
    """The same at constant tokens, and time against batch and catalogue size."""
    yield from _growth(tables, "more", [curve for curve in X if curve != COMMON], COSTS[:3])


def _growth(tables: Tables, section: str, curves: Sequence[str], shown: Sequence[tuple]) -> Iterator[Drawing]:  # fmt: skip
    machines = machine_names(tables.settings)
    frame = tables.frames["scaling"]
    frame = frame[frame.curve.isin(curves)].sort_values("device_kind", kind="stable") if len(frame) else frame  # fmt: skip
    keys = ("machine_name", "track", "curve", "fixed")
    costs = dict(groups(tables.frames["efficiency"], *keys)) if len(frame) else {}
    crossings = dict(groups(pick(tables.frames["crossovers"], model_a=tables.focal_model), *keys))
    for key, fits in groups(frame, *keys):
        machine, track, curve, fixed = key
        for phase, metric, title in shown:
            own = {"phase": phase, "metric": metric}
            here = pick(costs.get(key, pd.DataFrame()), **own)
            data = _points(here, pick(fits, **own), X[curve][1])
            if data.empty:
                continue
            crossed = _drawn(pick(crossings.get(key, pd.DataFrame()), **own))
            lines = ["fits a + b xᶜ"] * bool(data.c.notna().any()) + ["dotted: too few points for a fit"] * bool(data.c.isna().any())  # fmt: skip
            rings = f" A ring marks where {label(tables.focal_model)} and the named model cross."  # fmt: skip
            yield Drawing(
                f"{curve}-{re.sub('[^a-z0-9]+', '-', fixed.lower())}-{phase}-{metric}-{track}-{machine}", section,
                {"machine": machine, "track": track}, f"{title}, {machines[machine]}",
                f"{fixed[0].upper()}{fixed[1:]}; {', '.join(lines)}.{rings if len(crossed) else ''}",
                partial(_grown, data, crossed, tables.ordered(data.model), X[curve][0], metric), data
            )  # fmt: skip


def _points(rows: pd.DataFrame, fits: pd.DataFrame, x: str) -> pd.DataFrame:
    """Points of a curve with their quartiles, the fit beside them, and why a point is missing."""
    if rows.empty or not rows["median"].notna().any():
        return pd.DataFrame()
    rows = rows.assign(x=rows[x].astype(float))[["model", "x", "median", "q25", "q75", "reason"]]
    fitted = ["a", "b", "c", "c_low", "c_high", "max_residual"]
    return rows.merge(fits[["model", *fitted]], on="model", how="left").sort_values("x", kind="stable")  # fmt: skip


def _grown(data: pd.DataFrame, crossings: pd.DataFrame, models: Sequence[str], x_name: str, metric: str) -> Figure:  # fmt: skip
    axis, look, ends = panel(height=320, left=56, right=92), looks(models), []
    found = data[data["median"].notna()]
    factor, unit = unit_for(QUANTITIES[metric].unit, found["median"])
    style.logarithmic(axis.xaxis, found.x, only=sorted(set(found.x)))
    style.logarithmic(axis.yaxis, found["median"] / factor)
    named(axis, x_name, unit)
    for model in models:
        own = found[found.model == model]
        color, first = look[model]["color"], own.iloc[0]
        axis.vlines(own.x, own.q25 / factor, own.q75 / factor, color=color)
        axis.plot(own.x, own["median"] / factor, linestyle="", clip_on=False, **look[model])
        if known(first.c):
            x = np.geomspace(own.x.min(), own.x.max(), 24)
            axis.plot(x, (first.a + first.b * x**first.c) / factor, color=color, linewidth=1)
        else:  # nothing is known of what lies between
            axis.plot(own.x, own["median"] / factor, color=color, linewidth=1.6, linestyle=":")
        last = own.iloc[-1]
        ends.append((last.x, last["median"] / factor, label(model), color))
    label_ends(axis, ends)
    for point in data[data["median"].isna()].itertuples():
        axis.plot(point.x, 0.03, marker="x", color=look[point.model]["color"], transform=axis.get_xaxis_transform())  # fmt: skip
    if len(crossings):
        _crossings(axis, crossings, found, factor)
    return axis.figure


def _drawn(rows: pd.DataFrame) -> pd.DataFrame:
    """The crossings that are told: within the points, in nearly all resamples."""
    return rows[rows.x.notna() & ~rows.extrapolated.astype(bool) & (rows.share >= CONCLUSIVE_SHARE)] if len(rows) else rows  # fmt: skip


def _crossings(axis: Axes, rows: pd.DataFrame, found: pd.DataFrame, factor: float) -> None:
    """Rings where the focal model's measured medians cross another's, with the lengths, or those on both sides."""
    labels, rings = Labels(axis), []
    names = (labels.inside.x1, labels.inside.y0, axis.figure.bbox.x1, labels.inside.y1)
    labels.taken.append(names)  # of the lines, at their ends

    def at(model: str, x: float | np.ndarray) -> np.ndarray:
        own = found[found.model == model].sort_values("x")
        return np.exp(np.interp(np.log(x), np.log(own.x), np.log(own["median"] / factor)))

    places = np.geomspace(found.x.min(), found.x.max(), 60)
    for model in found.model.unique():
        for x, y in zip(places, at(model, places), strict=True):
            labels.keep_free((x, x), (y, y), 2)
    for row in rows.itertuples():
        y = at(row.model_b, row.x)
        if not row.bracketed:
            axis.plot((row.low, row.high), (y, y), color=MUTED, linewidth=1)
        axis.plot(row.x, y, marker="o", markersize=10, markerfacecolor="none", color=MUTED, markeredgewidth=2)  # fmt: skip
        labels.keep_free((row.x, row.x), (y, y), 6)
        at_x = f"{length(row.low)} to {length(row.high)}" if row.bracketed else length(row.x)
        rings.append((row.x, y, f"{short(row.model_b)} {at_x}"))
    for x, y, text in rings:
        labels.beside(x, y, text, below=True)


# --- the device ---------------------------------------------------------------------------------------------------------


def roofline(tables: Tables) -> Iterator[Drawing]:
    """Arithmetic achieved against its intensity below the ceilings of the device, one per machine and dataset."""
    machines = machine_names(tables.settings)
    frame = tables.frames["efficiency"]
    frame = frame[frame.curve.isna()] if len(frame) else frame
    first = {m: tracks_in_order(own.track)[0] for (m,), own in groups(frame, "machine_name")}
    longest = dict(frame.groupby("dataset").seq_len.max()) if len(frame) else {}
    for (machine, track, dataset, seq_len), rows in groups(frame, "machine_name", "track", "dataset", "seq_len"):  # fmt: skip
        if track != first[machine] or seq_len < longest[dataset]:
            continue
        data = _rates(rows)
        if data.empty:
            continue
        yield Drawing(
            f"roofline-{dataset}-{seq_len}-{track}-{machine}", "more",
            {"dataset": dataset, "length": seq_len, "track": track, "machine": machine},
            f"Roofline, {condition(dataset, seq_len)}, {track}, {machines[machine]}",
            "Training filled, inference hollow. The line is what measured matrix product and copy allow.",
            partial(_roofline, data, tables.ordered(data.model)), data
        )  # fmt: skip


def _rates(rows: pd.DataFrame) -> pd.DataFrame:
    """One row per model and phase that was counted and timed, with the ceilings."""
    wide = rows.pivot_table(index=["model", "phase"], columns="metric", values="median").reset_index()  # fmt: skip
    needed = ["intensity", "flop_per_s", "product_flop_per_s", "copy_bytes_per_s"]
    if any(name not in wide for name in needed):
        return pd.DataFrame()
    device = wide[wide.phase == "device"].set_index("model")
    for name in needed[2:]:
        wide[name] = wide.model.map(device[name])
    return wide[wide.phase != "device"][["model", "phase", *needed]].dropna()


def _roofline(data: pd.DataFrame, models: Sequence[str]) -> Figure:
    axis, look = panel(), looks(models)
    factor, unit = unit_for("FLOP/s", data.product_flop_per_s)
    product, copy = data.product_flop_per_s.median(), data.copy_bytes_per_s.median()
    knee = product / copy
    x = np.array([data.intensity.min() / 2, knee, max(data.intensity.max(), knee) * 2])
    roof = np.minimum(product, copy * x) / factor
    style.logarithmic(axis.xaxis, x)
    style.logarithmic(axis.yaxis, [*(data.flop_per_s / factor), product / factor])
    named(axis, "FLOP per byte of operators", unit)
    axis.plot(x, roof, color=MUTED)
    for row in data.itertuples():
        face = look[row.model]["color"] if row.phase == "train" else PAPER
        axis.plot(row.intensity, row.flop_per_s / factor, clip_on=False, markerfacecolor=face, linestyle="", **look[row.model])  # fmt: skip
    style.legend_above(axis, models)
    return axis.figure


def energy(tables: Tables) -> Iterator[Drawing]:
    """Energy of an epoch by NVML's counter, one per machine, track and condition."""
    rows = pick(tables.frames["efficiency"], metric="energy_j_per_epoch")
    rows = rows[rows["median"].notna()] if len(rows) else rows
    machines = machine_names(tables.settings)
    for (machine, track, dataset, seq_len), own in groups(rows, "machine_name", "track", "dataset", "seq_len"):  # fmt: skip
        own = own[["model", "median", "q25", "q75"]]
        yield Drawing(
            f"energy-{dataset}-{seq_len}-{track}-{machine}", "more",
            {"dataset": dataset, "length": seq_len, "track": track, "machine": machine},
            f"Energy of an epoch, {condition(dataset, seq_len)}, {track}, {machines[machine]}",
            "By the counter of the device; less is better.", partial(_energy, own, tables.ordered(own.model)), own
        )  # fmt: skip


def _energy(rows: pd.DataFrame, models: Sequence[str]) -> Figure:
    axis, look = panel(height=70 + 26 * len(models), left=90), looks(models)
    factor, unit = unit_for("J", rows["median"])
    for k, model in enumerate(models):
        value = rows["median"][rows.model == model].iloc[0]
        axis.barh(k, value / factor, height=0.6, color=look[model]["color"])
    axis.set_yticks(range(len(models)), [label(model) for model in models])
    axis.set_ylim(len(models) - 0.4, -0.6)
    axis.set_xlabel(unit)
    even(axis.xaxis)
    return axis.figure
