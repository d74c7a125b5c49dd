"""Which figures a report has: what each is drawn from and what stands below it.

A figure is one function in figures.py or figures_cost.py and one entry here; the template may name its place on the page.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pandas as pd
from matplotlib.figure import Figure

from ..analysis.collect import Tables
from ..analysis.summary import CONCLUSIVE
from ..core.display import PRIMARY_METRIC, QUANTITIES, peak_memory
from ..core.jobs import FULL_LENGTH
from . import curves, figures, figures_cost, versus
from .findings import enough_seeds, pick, unique
from .tables import direction, label

COLUMNS = ["dataset", "seq_len", "model", "metric"]
COST = ["phase", "median", "q25", "q75", "batch_size"]


@dataclass(frozen=True)
class Drawing:
    """A figure of the report: file name, the track it belongs to, caption, data and the figure itself."""

    name: str
    kind: str
    track: str
    caption: str
    data: pd.DataFrame
    figure: Figure


def drawn(content: Tables) -> Iterator[Drawing]:
    """All figures that the tables have data for, by track; those of cost also by machine."""
    frames = content.frames
    for (track,) in unique(frames["summary"], "track"):
        for name, (_, _, *data) in FIGURES.items():
            for of_track in data:
                yield from _draw(content, name, track, of_track(content, track))
    cost = frames["efficiency"]
    cost = cost[cost["median"].notna()] if len(cost) else cost
    for track, machine, kind in unique(cost, "track", "machine_name", "device_kind"):
        rows = pick(cost, track=track, machine_name=machine, device_kind=kind)
        memory = peak_memory(kind)
        device = machine if kind == "cpu" else f"{machine} ({rows.device.iloc[0]})"
        selected = {
            "growth-length": curves.figure_data(content, track, machine, kind, curves.LENGTHS),
            "growth-size": curves.figure_data(content, track, machine, kind, curves.SIZES),
            "time": _by_length(rows[rows.metric.isin(["step_s", "epoch_s", "batch_s"])]),
            "memory": _by_length(rows[rows.metric == memory]),
            "roofline": _roofline_data(rows),
            "energy": rows[rows.metric == "energy_j_per_epoch"][COLUMNS + COST],
            "tradeoff": _tradeoff_data(content, track, rows),
        }
        for name, data in selected.items():
            yield from _draw(content, name, track, data, f"{machine}-{kind}", device)
    for (track,) in unique(frames["curves"], "track"):
        rows = pick(
            frames["curves"], track=track, metric=PRIMARY_METRIC, seen_items="kept", split="valid"
        )
        yield from _draw(
            content,
            "curves",
            track,
            rows[[*COLUMNS, "seed", "targets", "seconds", "value", "best"]],
        )
        yield from _draw(content, "gap", track, _gap_data(pick(frames["curves"], track=track)))


def _forest_data(content: Tables, track: str) -> pd.DataFrame:
    rows = pick(versus.against(content), track=track)
    if rows.empty:
        return rows
    enough = rows.trained_seeds.map(enough_seeds)
    rows = rows.assign(
        model=rows.comparator, margin=content.settings["margin"], conclusive=enough & rows.verdict.isin(CONCLUSIVE)
    )  # fmt: skip
    return rows[[*COLUMNS, "seen_items", "share", "share_low", "share_high", "margin", "conclusive", "verdict"]]  # fmt: skip


def _gap_data(rows: pd.DataFrame) -> pd.DataFrame:
    """By how much of its value with seen items kept a validation rises when they are excluded; a model that ranks anything."""
    keys = [*COLUMNS, "seed", "targets", "best"]
    rows = pick(rows, metric=PRIMARY_METRIC, split="valid")
    if rows.empty:
        return rows
    kept, excluded = (
        pick(rows, seen_items=name)[[*keys, "value"]] for name in ("kept", "excluded")
    )
    both = kept[kept.value > 0].merge(excluded, on=keys, suffixes=("", "_excluded"))
    both["value"] = both.value_excluded / both.value - 1
    return both[[*keys, "value"]]


def _by_length(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of datasets that were measured at several lengths."""
    rows = rows[rows.dataset != FULL_LENGTH]
    several = rows.groupby("dataset").seq_len.transform("nunique") > 1
    return rows[several][COLUMNS + COST]


def _roofline_data(rows: pd.DataFrame) -> pd.DataFrame:
    """One row per dataset, length, model and phase that was counted and timed."""
    rows = rows[rows.dataset != FULL_LENGTH]
    keys = ["dataset", "seq_len", "model"]
    achieved = rows[rows.metric == "flop_per_s"][[*keys, "phase", "metric", "median", "q25", "q75"]]
    achieved = achieved.rename(columns={"median": "flop_per_s"})
    one = {
        m: rows[rows.metric == m] for m in ("intensity", "product_flop_per_s", "copy_bytes_per_s")
    }
    for metric, own in one.items():
        on = [*keys, "phase"] if metric == "intensity" else keys
        achieved = achieved.merge(own[[*on, "median"]].rename(columns={"median": metric}), on=on)
    return achieved


def _draw(
    content: Tables, kind: str, track: str, data: pd.DataFrame, suffix: str = "", device: str = ""
) -> Iterator[Drawing]:
    if data.empty:
        return
    function, caption, *_ = FIGURES[kind]
    ordered = _in_order(content, data)
    name = "-".join(part for part in (kind, track, suffix) if part)
    on = f", track {track}" + (f", on {device}" if device else "")
    yield Drawing(
        name,
        kind,
        track,
        caption.format(on=on, focal=label(content.focal_model)),
        ordered,
        function(ordered),
    )


def _in_order(content: Tables, data: pd.DataFrame) -> pd.DataFrame:
    """Sort models as the tables do, keeping the order of everything else."""
    rank = {model: k for k, model in enumerate(content.ordered(data.model))}
    return data.iloc[data.model.map(rank).argsort(kind="stable")].reset_index(drop=True)


def _effectiveness_data(content: Tables, track: str) -> pd.DataFrame:
    rows = pick(content.frames["summary"], track=track, metric=PRIMARY_METRIC, ties="conservative")
    rows = rows[[*COLUMNS, "seen_items", "mean", "ci_low", "ci_high"]].copy()
    oracles = {
        name: (facts.get("oracle") or {}).get("test", {})
        for name, facts in content.datasets.items()
    }
    known = rows.dataset.map({name: oracle.get(PRIMARY_METRIC) for name, oracle in oracles.items()})
    # The oracle ranks all items, so it bounds only what does the same.
    rows["oracle"] = known.where(rows.seen_items == "kept").astype(float)
    return rows


def _tradeoff_data(content: Tables, track: str, cost: pd.DataFrame) -> pd.DataFrame:
    summary = content.frames["summary"]
    quality = pick(
        summary, track=track, metric=PRIMARY_METRIC, ties="conservative", seen_items="kept"
    )
    epochs = pick(cost, metric="epoch_s")[["dataset", "seq_len", "model", "median", "q25", "q75"]]
    if quality.empty or epochs.empty:
        return pd.DataFrame()
    return quality[[*COLUMNS, "mean", "ci_low", "ci_high"]].merge(epochs)


# Kind -> what draws it, its caption and, of a figure of quality by track, its data.
FIGURES = {
    "forest": (
        figures.differences,
        f"How much better is {{focal}}{{on}}? Its test {QUANTITIES[PRIMARY_METRIC].label} minus that of each other model, as a share of the better mean,"
        " with 95 % intervals; right of zero it is better. Filled: better, worse or equal within the margin (the band), with at least three seeds; hollow: open.",
        _forest_data,
    ),
    "effectiveness": (
        figures.effectiveness,
        "Test quality of every model with its 95 % interval{on}. A dotted line is the best that any model could reach on generated data.",
        _effectiveness_data,
    ),
    "growth-length": (
        figures_cost.growth,
        "Cost against sequence length on full-length synthetic batches{on}: medians and interquartile ranges; lines are"
        " the fitted curves a + b L^c, c with its 95 % interval; without a line there are too few points for one.",
    ),
    "growth-size": (
        figures_cost.growth,
        "Cost against batch size and against catalogue size on full-length synthetic batches{on}: medians, interquartile"
        " ranges and fitted curves.",
    ),
    "roofline": (
        figures_cost.roofline,
        "Roofline{on}: arithmetic achieved against arithmetic intensity; training filled, inference hollow. The line is what"
        " the device's measured matrix product and copy would allow; bytes that a cache holds let a point lie above its slope.",
    ),
    "energy": (
        figures_cost.energy,
        "Energy of a training epoch{on}, by NVML's counter; lower is better.",
    ),
    "time": (
        figures.time_against_length,
        f"Time against the length limit on the datasets{{on}}: medians and interquartile ranges; {direction('step_s')}. A training step holds a fixed number of"
        " targets, so a longer history means fewer users in a step.",
    ),
    "memory": (
        figures.memory_against_length,
        "Peak memory of a fresh process against the length limit on the datasets{on}: medians and interquartile ranges; "
        f"{direction('peak_rss_bytes')}.",
    ),
    "tradeoff": (
        figures.quality_against_cost,
        "Test quality (seen items kept) against the time of one training epoch{on}. Upper left is better.",
    ),
    "curves": (
        figures.learning_curves,
        "Validation quality (seen items kept) during training{on}, one line per seed; a marker shows the step whose"
        " weights were kept. Seconds are informative: trainings may have shared their machine.",
    ),
    "gap": (
        figures.seen_items_gap,
        "Does training close the gap between seen items kept and excluded{on}? By how much of its value with seen items kept a validation rises when"
        " they are excluded, one line per seed; a model that ranks no seen item would lie at 0 %. A marker shows the step whose weights"
        " were kept.",
    ),
}
