"""Figures of quality: each a function from the tables to drawings of one panel. What is drawn is the drawing's data.

Names and units come from the registry of quantities; every model keeps its colour and marker everywhere.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from ..analysis.collect import Tables
from ..analysis.tables import pick
from ..analysis.verdicts import versus
from ..core.display import PRIMARY_METRIC, QUANTITIES
from . import figures_cost, style
from .answer import DIMENSIONS, warnings_of
from .figures_cost import first_track, groups
from .format import condition, known, label, percent, short
from .style import MUTED, PAPER, Drawing, Labels, even, label_ends, looks, named, panel

QUALITY = QUANTITIES[PRIMARY_METRIC].label
SEEN = {"kept": "seen items kept", "excluded": "seen items excluded"}
MINUTE, HOUR = 60.0, 3600.0
BUSY = {"cpu": "core", "cuda": "GPU"}  # whose minutes a training costs, by kind of device
PROBES = {"history length": "interactions in the history", "popularity of the target": "interactions with the target item"}  # fmt: skip
MOST_DRAWN, MOST_SAVED = 48, 12  # figures of a kind; saving one takes five times what drawing takes
NEAREST = ("track", "dataset", "length", "machine", "seen")  # chips, what decides first
BASELINE = {"linestyle": (0, (5, 4)), "linewidth": 1.2}


def drawn(tables: Tables) -> Iterator[Drawing]:
    """Every figure that the tables have data for, in the order of the page; of each kind so many are drawn and saved."""
    default = pick(tables.frames["answers"], place="quality").to_dict("records")[:1]
    wanted = {chip: row[column] for row in default for chip, column in DIMENSIONS.items() if column in row}  # fmt: skip
    for figure in FIGURES:
        yield from limited(list(figure(tables)), wanted)


def limited(drawings: Sequence[Drawing], wanted: Mapping[str, object]) -> Iterator[Drawing]:
    """Figures of one kind as they come, of which `MOST_DRAWN` are drawn and `MOST_SAVED` saved: those nearest to the default view."""

    def far(k: int) -> list[bool]:
        key, view = drawings[k].key, {"seen": "kept", **wanted}
        return [key.get(chip, view.get(chip)) != view.get(chip) for chip in NEAREST]

    places = np.argsort(sorted(range(len(drawings)), key=far), kind="stable")
    for place, one in zip(places, drawings, strict=True):
        yield replace(one, shown=bool(place < MOST_DRAWN), files=bool(one.files and place < MOST_SAVED))  # fmt: skip


def _time_unit(kind: str, seconds: float) -> tuple[float, str]:
    """Factor and name of the unit of time in which at most so many seconds of a device read well."""
    factor, unit = (HOUR, "hours") if seconds >= 10 * HOUR else (MINUTE, "minutes")
    return (factor, f"{BUSY[kind]}-{unit}") if seconds >= 2 * MINUTE else (1.0, f"{BUSY[kind]}-seconds")  # fmt: skip


# --- quality against cost -----------------------------------------------------------------------------------------------


def scatter(tables: Tables) -> Iterator[Drawing]:
    """Quality against the time of the whole training, one per view of the leaderboard that has both."""
    columns = ["model", "trained", "ndcg", "ndcg_low", "ndcg_high", "train_s", "train_s_low", "train_s_high", "warnings"]  # fmt: skip
    views = ("dataset", "seq_len", "track", "seen_items", "machine_name", "device_kind")
    default = pick(tables.frames["answers"], place="quality")
    board = tables.frames["leaderboard"]
    board = board[board.ndcg.notna()] if len(board) else board
    for key, rows in groups(board, *views):
        dataset, seq_len, track, seen_items, machine, kind = key
        if rows.train_s.isna().all():
            continue
        rows = rows[columns].assign(warnings=["; ".join(warnings_of(row)) for row in rows.itertuples()])  # fmt: skip
        first = pick(default, dataset=dataset, seq_len=seq_len, track=track, machine_name=machine)
        yield Drawing(
            f"scatter-{dataset}-{seq_len}-{track}-{seen_items}-{machine}", "answer",
            {"dataset": dataset, "length": seq_len, "track": track, "seen": seen_items, "machine": machine},
            "Quality against training cost: up and left is better",
            "Bars: 95 % interval of quality, quartiles of time. Dashed: no training, or its time was not measured.",
            partial(_scatter, rows, kind), rows, files=len(first) > 0 and seen_items == "kept"
        )  # fmt: skip


def _scatter(rows: pd.DataFrame, kind: str) -> Figure:
    axis, look = panel(), looks(rows.model)
    timed = rows[rows.train_s.notna()]
    longest = timed.train_s_high.fillna(timed.train_s).max()
    factor, unit = _time_unit(kind, longest)
    axis.set_xlim(0, 1.2 * longest / factor)
    named(axis, f"{unit} of training", QUALITY)
    even(axis.xaxis)
    axis.set_ylim(0, 1.08 * np.nanmax([*rows.ndcg_high, *rows.ndcg]))
    even(axis.yaxis)
    labels, level = Labels(axis), rows[~rows.model.isin(timed.model)]
    for row in timed.itertuples():
        x, y = row.train_s / factor, row.ndcg
        bars = (((row.train_s_low / factor, row.train_s_high / factor), (y, y)), ((x, x), (max(row.ndcg_low, 0), row.ndcg_high)))  # fmt: skip
        for bar in bars:
            if not np.isnan(bar).any():
                axis.plot(*bar, color=look[row.model]["color"], clip_on=False)
                labels.keep_free(*bar)
        axis.plot(x, y, linestyle="", markersize=8, clip_on=False, **look[row.model])
    for row in level.itertuples():
        axis.axhline(row.ndcg, color=look[row.model]["color"], clip_on=False, zorder=1, **BASELINE)
        labels.keep_free(axis.get_xlim(), (row.ndcg, row.ndcg), 1)
    for row in timed.itertuples():
        labels.beside(row.train_s / factor, row.ndcg, _warned(row))
    for row in level.itertuples():
        labels.along(row.ndcg, _warned(row))
    return axis.figure


def _warned(row: object) -> str:
    """A model's name, with a mark where a warning stands about it."""
    return f"{short(row.model)} (!)" if row.warnings else short(row.model)


# --- where it wins ------------------------------------------------------------------------------------------------------


def forest(tables: Tables) -> Iterator[Drawing]:
    """Differences of the focal model to every trained comparator over conditions, one per track and treatment of seen items."""
    columns = ["dataset", "seq_len", "model_b", "difference", "share", "share_low", "share_high", "margin", "verdict"]  # fmt: skip
    for (track, seen_items), own in groups(versus(tables), "track", "seen_items"):
        own = own[columns]
        yield Drawing(
            f"differences-{track}-{seen_items}", "where", {"track": track, "seen": seen_items},
            f"{label(tables.focal_model)}, {track}, {SEEN[seen_items]}",
            f"95 % intervals; filled where the verdict is significant. The band is the margin of {percent(tables.settings['margin'])}.",
            partial(_forest, own, tables.ordered(own.model_b), tables.focal_model, tables.settings["margin"]), own
        )  # fmt: skip


def _forest(rows: pd.DataFrame, models: Sequence[str], focal: str, margin: float) -> Figure:
    look, conditions = looks(models), list(groups(rows, "dataset", "seq_len"))
    step = style.LINE + 2
    height = len(conditions) * (step * len(models) + 8)
    axis = panel(height=height + 86, left=140, top=26, bottom=60)
    axis.set_ylim(height, 0)
    ends = [*rows.share_low, *rows.share_high, 0]
    room = 0.06 * (max(ends) - min(ends))
    axis.set_xlim(min(ends) - room, max(ends) + room)
    axis.axvspan(-margin, margin, color=MUTED, alpha=0.3, linewidth=0)
    axis.axvline(0, color=MUTED, linewidth=1)
    middles = []
    for k, (_, own) in enumerate(conditions):
        top = k * (step * len(models) + 8)
        middles.append(top + 4 + step * len(models) / 2)
        if k:
            axis.axhline(top, color=MUTED, linewidth=0.5, alpha=0.5)
        for row in own.itertuples():
            y = top + 4 + step * (models.index(row.model_b) + 0.5)
            significant = row.verdict in ("better", "worse", "equivalent")
            face = look[row.model_b]["color"] if significant else PAPER
            axis.plot((row.share_low, row.share_high), (y, y), color=look[row.model_b]["color"])
            axis.plot(row.share, y, markerfacecolor=face, **look[row.model_b])
    axis.set_yticks(middles, [condition(*key).replace(", ", "\n") for key, _ in conditions])
    axis.tick_params(axis="y", length=0)
    axis.grid(visible=False, axis="y")
    even(axis.xaxis)
    axis.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axis.set_xlabel(f"difference in {QUALITY}, share of the better mean\nright of zero {label(focal)} is better", loc="right")  # fmt: skip
    style.legend_above(axis, models)
    return axis.figure


# --- training -----------------------------------------------------------------------------------------------------------


def learning(tables: Tables) -> Iterator[Drawing]:
    """Validation quality over the training, one per track and condition; a line per seed."""
    frame = pick(tables.frames["curves"], metric=PRIMARY_METRIC, seen_items="kept", split="valid")
    for at, rows, kind in _trained(tables, frame, "step"):
        rows = rows[["model", "seed", "step", "busy_s", "value", "best"]]
        yield Drawing(
            "-".join(["learning", *map(str, at.values())]), "more" if rows.busy_s.isna().any() else "training", at,
            f"{condition(at['dataset'], at['length'])}, {at['track']}",
            "One line per seed. The marker is the step whose weights were tested.",
            partial(_learning, rows, kind, tables.ordered(rows.model)), rows
        )  # fmt: skip


def _learning(rows: pd.DataFrame, kind: str, models: Sequence[str]) -> Figure:
    axis, look, ends = panel(right=92), looks(models), []
    rows, unit = _over(rows, kind, "step")
    axis.set_xlim(0, rows.x.max())
    axis.set_ylim(0, 1.06 * rows.value.max())
    named(axis, f"{unit} of training", f"validation {QUALITY}")
    even(axis.xaxis)
    even(axis.yaxis)
    for model in models:
        own, color = rows[rows.model == model], look[model]["color"]
        for _, line in own.groupby("seed"):
            axis.plot(line.x, line.value, color=color, linewidth=1, alpha=0.8)
        best, last = own[own.best], own.loc[own.x.idxmax()]
        axis.plot(best.x, best.value, linestyle="", clip_on=False, **look[model])
        ends.append((last.x, last.value, short(model), color))
    label_ends(axis, ends)
    return axis.figure


def ladder(tables: Tables) -> Iterator[Drawing]:
    """Final validation against what its training cost, one per condition with a ladder of budgets and machine."""
    frame = pick(tables.frames["ladder"], seen_items="kept")
    for (dataset, seq_len, track, machine, kind), rows in groups(frame, "dataset", "seq_len", "track", "machine_name", "device_kind"):  # fmt: skip
        at = {"dataset": dataset, "length": seq_len, "track": track}
        rows = rows[["model", "max_steps", "n_seeds", "value", "value_low", "value_high", "seconds"]].rename(columns={"seconds": "busy_s"})  # fmt: skip
        yield Drawing(
            "-".join(["ladder", *map(str, at.values()), *([machine] if known(machine) else [])]), "training", at,
            f"{condition(dataset, seq_len)}, {track}: what more training buys",
            "Every point is a fresh training whose rate decays over its own budget: its final validation. Bars: 95 % intervals.",
            partial(_ladder, rows, kind, tables.ordered(rows.model)), rows
        )  # fmt: skip


def _ladder(rows: pd.DataFrame, kind: str, models: Sequence[str]) -> Figure:
    axis = panel(right=92)
    rows, unit = _over(rows, kind, "max_steps")
    style.logarithmic(axis.xaxis, rows.x)
    axis.set_ylim(0, 1.06 * rows.value_high.max())
    even(axis.yaxis)
    named(axis, f"{unit} of training", f"final validation {QUALITY}")
    return _traced(axis, {m: rows[rows.model == m].sort_values("x") for m in models}, "value", "value_low", "value_high")  # fmt: skip


def _trained(tables: Tables, frame: pd.DataFrame, steps: str) -> Iterator[tuple[dict, pd.DataFrame, str]]:  # fmt: skip
    """By track and condition: the key of a drawing, rows with the time that so many steps take as `busy_s`, kind of device."""
    steps_of = figures_cost.stepping(tables)
    for (dataset, seq_len, track), rows in _conditions(tables, frame, "dataset", "seq_len", "track"):  # fmt: skip
        kind, priced = steps_of.get((dataset, seq_len, track), ("cpu", {}))
        rows = rows.assign(busy_s=rows[steps] * rows.model.map(priced).astype(float))
        yield {"dataset": dataset, "length": seq_len, "track": track}, rows, kind


def _over(rows: pd.DataFrame, kind: str, steps: str) -> tuple[pd.DataFrame, str]:
    """Rows with their place on the axis of training as `x`, and its unit: time, or updates where no machine measured a step."""
    if rows.busy_s.isna().any():
        return rows.assign(x=rows[steps]), "updates"
    factor, unit = _time_unit(kind, rows.busy_s.max())
    return rows.assign(x=rows.busy_s / factor), unit


# --- memory and breakdowns ----------------------------------------------------------------------------------------------


def memory(tables: Tables) -> Iterator[Drawing]:
    """How far back a model remembers: its share of the oracle against the lag of the copied item, on synthetic data."""
    for (track,), rows in groups(tables.frames.get("memory", pd.DataFrame()), "track"):
        if rows.lag.nunique() < 2:
            continue
        yield Drawing(
            f"memory-{track}", "where", {"track": track}, "How far back does a model remember?",
            "The oracle knows how the data were made. Bars: 95 % intervals.",
            partial(_memory, rows, tables.ordered(rows.model)), rows
        )  # fmt: skip


def _memory(rows: pd.DataFrame, models: Sequence[str]) -> Figure:
    axis = panel(right=92)
    lags = sorted(rows.lag.unique())
    axis.set_xlim(min(lags) - 0.5, max(lags) + 0.2)
    axis.set_xticks(lags)
    axis.set_ylim(0, 1.05)
    axis.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    named(axis, "the copied item lies so many steps back", f"share of the oracle's {QUALITY}")
    axis.axhline(1, color=MUTED, **BASELINE)
    by_model = {m: rows[rows.model == m].sort_values("lag").assign(x=lambda own: own.lag) for m in models}  # fmt: skip
    return _traced(axis, by_model, "share", "share_low", "share_high")


def _traced(axis: Axes, lines: dict[str, pd.DataFrame], middle: str, low: str, high: str) -> Figure:
    """A line with intervals and a label at its end for every model, over `x`."""
    look, ends = looks(lines), []
    for model, own in lines.items():
        color = look[model]["color"]
        axis.plot(own.x, own[middle], clip_on=False, **look[model])
        axis.vlines(own.x, own[low], own[high], color=color, linewidth=1)
        ends.append((own.x.iloc[-1], own[middle].iloc[-1], short(model), color))
    label_ends(axis, ends)
    return axis.figure


def breakdown(tables: Tables) -> Iterator[Drawing]:
    """Quality by history length and by popularity of the target, one per condition."""
    frame = tables.frames["probes"]
    frame = frame[frame.probe.isin(list(PROBES))] if len(frame) else frame
    columns = ["probe", "group", "model", "mean", "ci_low", "ci_high", "n_users", "n_seeds"]
    keys = ("dataset", "seq_len", "track", "probe")
    for (dataset, seq_len, track, probe), rows in _conditions(tables, frame, *keys):
        if track != first_track(tables) or seq_len < frame.seq_len[frame.dataset == dataset].max():
            continue  # those of other conditions stand in the table
        rows = rows[columns]
        yield Drawing(
            f"{probe.replace(' ', '-')}-{dataset}-{seq_len}-{track}", "more",
            {"dataset": dataset, "length": seq_len, "track": track},
            f"{condition(dataset, seq_len)}, {track}: quality by {probe}",
            "Users in groups of about equal size, seen items kept. Bars: 95 % intervals.",
            partial(_breakdown, rows, tables.ordered(rows.model), PROBES[probe]), rows
        )  # fmt: skip


def _breakdown(rows: pd.DataFrame, models: Sequence[str], x_name: str) -> Figure:
    axis = panel(right=92)
    order = list(dict.fromkeys(rows.group))
    axis.set_xlim(-0.3, len(order) - 0.8)
    axis.set_xticks(range(len(order)), [group.replace(" to ", "–") for group in order], fontsize=10.5)  # fmt: skip
    axis.set_ylim(0, 1.06 * rows.ci_high.max())
    even(axis.yaxis)
    named(axis, x_name, QUALITY)
    beside = {model: 0.04 * (k - (len(models) - 1) / 2) for k, model in enumerate(models)}
    rows = rows.assign(x=rows.group.map(order.index) + rows.model.map(beside))
    return _traced(axis, {m: rows[rows.model == m] for m in models}, "mean", "ci_low", "ci_high")


def _conditions(tables: Tables, frame: pd.DataFrame, *keys: str) -> Iterator[tuple[tuple, pd.DataFrame]]:  # fmt: skip
    """Rows by condition and track, those and in the order that the leaderboard has."""
    found = dict(groups(frame, *keys))
    board = tables.frames["leaderboard"]
    for key, _ in groups(board, "dataset", "seq_len", "track"):
        for own, rows in found.items():
            if own[:3] == key:
                yield own, rows


FIGURES = (scatter, memory, figures_cost.lengths, forest, ladder, learning, breakdown, figures_cost.sizes, figures_cost.roofline, figures_cost.energy)  # fmt: skip
