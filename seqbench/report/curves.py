"""How cost grows, for people: tables of exponents and of crossings, and the sentences that they support."""

from __future__ import annotations

from typing import Any

import pandas as pd

from ..analysis.collect import Tables
from ..analysis.scaling_rows import CONCLUSIVE_SHARE
from ..core.display import fitted, heading, peak_memory
from .findings import pick, unique
from .tables import Cell, Column, Table, known, label, plural, rounded
from .views import DASH

LENGTHS = ("length-at-constant-tokens", "length-at-constant-batch")
SIZES = ("batch-size", "catalogue-size")
X_NAMES = {
    "length-at-constant-tokens": "L",
    "length-at-constant-batch": "L",
    "batch-size": "batch size",
    "catalogue-size": "catalogue size",
}
POOR = 0.1  # largest relative residual above which a curve is no law
FLAT = 1.2  # growth over all of a curve below which its exponent means nothing


def growth(tables: Tables, track: str, machine: str, kind: str, curves: tuple[str, ...]) -> Table:
    """Exponent, slope at the long end and largest residual of every cost, by curve and model."""
    rows = _of(tables, "scaling", track, machine, kind, curves)
    shown = [pair for pair in fitted(kind) if len(pick(rows, phase=pair[0], metric=pair[1]))]
    columns = [Column("Model", number=False)]
    for pair in shown:
        columns += [
            Column("Exponent c", heading(*pair)),
            Column("Slope at the end", heading(*pair)),
        ]
        columns.append(Column("Residual", heading(*pair)))
    columns.append(Column("Not measured", number=False))
    body: list[list[Cell]] = []
    for curve, fixed, threads in unique(rows, "curve", "fixed", "threads"):
        part = pick(rows, curve=curve, fixed=fixed, threads=threads)
        body.append([Cell(f"{X_NAMES[curve]}{_range(part)}: {fixed}{_by(rows, threads)}")])
        for model in tables.ordered(part.model):
            body.append(_growth_row(pick(part, model=model), model, shown))
    caption = f"How cost grows with {_named(curves)}, {machine} ({kind}), track {track}"
    notes = [
        "Fitted: cost = a + b x^c by least squares on relative errors, a at least 0; 95 % bootstrap intervals over rounds and"
        " steps. Slope at the end: of the logarithms over the last three points, or both of two, without a curve. Residual: the largest"
        " relative error of the fit; where it is large the exponent describes no law.",
    ]
    name = f"exponents-{'length' if curves == LENGTHS else 'size'}-{track}-{machine}-{kind}"
    return Table(name, caption, columns, body, notes)


def _by(rows: pd.DataFrame, threads: int) -> str:
    """How many threads a curve was measured with, where curves of one machine differ in it."""
    return f", {plural(threads, 'thread')}" if rows.threads.nunique() > 1 else ""


def _range(part: pd.DataFrame) -> str:
    low, high = part.x_min.min(), part.x_max.max()
    return f" from {low:,.0f} to {high:,.0f}" if known(low) else ""


def _growth_row(own: pd.DataFrame, model: str, shown: list[tuple[str, str]]) -> list[Cell]:
    cells, missing = [Cell(label(model), value=model)], []
    for phase, metric in shown:
        found = pick(own, phase=phase, metric=metric)
        if found.empty:
            cells += [DASH] * 3
            continue
        row = found.iloc[0]
        cells += [_exponent_cell(row), _with_interval(row, "slope_end")]
        residual = row.max_residual
        poor = "bad" if known(residual) and residual > POOR else ""
        cells.append(
            Cell(f"{100 * residual:.0f} %", value=residual, mark=poor) if known(residual) else DASH
        )
        if known(row.missing) and row.missing not in missing:
            missing.append(row.missing)
    return [*cells, Cell("; ".join(missing) or "–", mark="bad" if missing else "muted")]


def _exponent_cell(row: pd.Series) -> Cell:
    """The exponent, unless the cost hardly grows: of a flat curve any exponent is as good as any other."""
    if not known(row.c):
        return Cell("too few points", mark="muted")
    if row.growth < FLAT:
        return Cell("flat", f"×{row.growth:.2f}", row.c, mark="muted")
    return _with_interval(row, "c")


def _with_interval(row: pd.Series, name: str) -> Cell:
    if not known(row[name]):
        return DASH
    low, high = row[f"{name}_low"], row[f"{name}_high"]
    detail = f"[{_text(low)}, {_text(high)}]" if high - low > 0.005 else ""
    return Cell(_text(row[name]), detail, row[name])


def crossings(
    tables: Tables, track: str, machine: str, kind: str, curves: tuple[str, ...]
) -> Table:
    """Which of two models is cheaper, and from where on, by curve and pair."""
    rows = _of(tables, "crossovers", track, machine, kind, curves)
    shown = [pair for pair in fitted(kind) if len(pick(rows, phase=pair[0], metric=pair[1]))]
    columns = [Column("Pair", number=False)]
    columns += [Column(heading(*pair), number=False) for pair in shown]
    body: list[list[Cell]] = []
    for curve, fixed, threads in unique(rows, "curve", "fixed", "threads"):
        part = pick(rows, curve=curve, fixed=fixed, threads=threads)
        low, high = int(part.x_min.min()), int(part.x_max.max())
        body.append(
            [Cell(f"{X_NAMES[curve]} from {low:,} to {high:,}: {fixed}{_by(rows, threads)}")]
        )
        for first, second in unique(part, "model_a", "model_b"):
            own = pick(part, model_a=first, model_b=second)
            cells = [Cell(f"{label(first)}, {label(second)}", value=f"{first},{second}")]
            for phase, metric in shown:
                found = pick(own, phase=phase, metric=metric)
                cells.append(_crossing_cell(found.iloc[0], high) if len(found) else DASH)
            body.append(cells)
    caption = f"Which model is cheaper, and from which {_named(curves)} on, {machine} ({kind}), track {track}"
    notes = [
        "The last crossing of the measured medians, straight between points in the logarithms, with its 95 % bootstrap interval"
        " (between two points more than a factor of four apart only those are named);"
        " below it the numbers are the first model's cost over the second's at the two ends. Extrapolated: not measured, from"
        " the fitted curves, at most four times beyond the largest point."
    ]
    name = f"crossings-{'length' if curves == LENGTHS else 'size'}-{track}-{machine}-{kind}"
    return Table(name, caption, columns, body, notes)


def _crossing_cell(row: pd.Series, longest: int) -> Cell:
    """Who is cheaper from where on; a pair of which one failed before the longest x says how far both go."""
    ends = f"×{rounded(row.ratio_min, row.ratio_min)} to ×{rounded(row.ratio_max, row.ratio_max)}"
    if row.x_max < longest:
        ends += f" at {row.x_max:,.0f}, the last that both have"
    if not known(row.x):
        unsure = f"; crosses in {100 * row.share:.0f} % of resamples" if row.share > 0.025 else ""
        same = row.cheaper_min == row.cheaper_max
        text = f"{label(row.cheaper_max)} throughout" if same else "not settled"
        return Cell(text, ends + unsure, mark="" if same else "muted")
    other = row.model_b if row.cheaper_max == row.model_a else row.model_a
    winner = other if row.extrapolated else row.cheaper_max
    where = f"{row.x:,.0f} [{row.low:,.0f}, {row.high:,.0f}]"
    if row.bracketed:
        where = f"between {row.low:,.0f} and {row.high:,.0f}"
    text = f"{label(winner)} from {where}"
    remarks = [", extrapolated"] * bool(row.extrapolated)
    if not row.extrapolated and row.share < CONCLUSIVE_SHARE:
        remarks.append(f"; crosses in {100 * row.share:.0f} % of resamples")
    return Cell(text, ends + "".join(remarks), row.x)


def lengths(over: str) -> str:
    """The lengths that a slope was taken over, in words."""
    names = [f"{int(text):,}" for text in over.split()]
    return f"{', '.join(names[:-1])} and {names[-1]}"


def _text(value: float) -> str:
    """Two decimals, and no zero with a sign."""
    return f"{round(value, 2) + 0.0:.2f}".replace("-", "−")


def settled(row: Any) -> tuple[str, bool] | None:
    """Of a row of `crossovers`, which model is cheaper at the long end, and whether only from the crossing on; None: not settled."""
    if known(row.x) and not row.extrapolated and row.share >= CONCLUSIVE_SHARE:
        return row.cheaper_max, True
    inside = 0 if row.extrapolated else row.share  # of resamples that cross within the points
    if row.cheaper_min != row.cheaper_max or inside > 1 - CONCLUSIVE_SHARE:
        return None
    return row.cheaper_max, False


def figure_data(
    tables: Tables, track: str, machine: str, kind: str, curves: tuple[str, ...]
) -> pd.DataFrame:
    """Points of the curves with their quartiles, the fitted parameters beside them, and why a point is missing.

    Columns: curve, fixed, model, phase, metric, x, median, q25, q75, a, b, c, c_low, c_high, slope_end, growth,
    max_residual, reason; c_low and c_high are empty where the curve is flat.
    """
    fits = _of(tables, "scaling", track, machine, kind, curves)
    rows = _of(tables, "efficiency", track, machine, kind, curves)
    if fits.empty or rows.empty:
        return pd.DataFrame()
    drawn = [("train", "step_s"), ("inference", "batch_s"), ("train", peak_memory(kind))]
    rows = rows[[pair in drawn for pair in zip(rows.phase, rows.metric, strict=True)]]
    x = rows.seq_len.where(rows.curve.isin(LENGTHS), rows.n_items)
    rows = rows.assign(x=x.where(rows.curve != "batch-size", rows.sequences))
    if rows.threads.nunique() > 1:
        fits, rows = (
            f.assign(fixed=f.fixed + [f", {plural(n, 'thread')}" for n in f.threads])
            for f in (fits, rows)
        )
    keys = ["curve", "fixed", "phase", "metric", "model"]
    parameters = ["a", "b", "c", "c_low", "c_high", "slope_end", "growth", "max_residual"]
    data = rows.merge(fits[[*keys, *parameters]], on=keys, how="inner")
    order = {pair: k for k, pair in enumerate(drawn)}
    data = data.assign(row=[order[pair] for pair in zip(data.phase, data.metric, strict=True)])
    data = data.assign(column=data.curve.map(list(curves).index))
    data = data.sort_values(["column", "row", "x"], kind="stable")
    data = data.astype(dict.fromkeys(parameters, float))
    drawn_at_all = data.groupby(["curve", "fixed", "phase", "metric"])["median"].transform("count")
    data = data[drawn_at_all > 0]  # a panel of nothing but failures says no more than the table
    flat = data.growth < FLAT
    data[["c_low", "c_high"]] = data[["c_low", "c_high"]].mask(
        flat
    )  # the fit is drawn all the same
    return data[[*keys, "x", "median", "q25", "q75", *parameters, "reason"]].reset_index(drop=True)


def _of(
    tables: Tables, frame: str, track: str, machine: str, kind: str, curves: tuple[str, ...]
) -> pd.DataFrame:
    rows = pick(tables.frames[frame], track=track, machine_name=machine, device_kind=kind)
    return rows[rows.curve.isin(curves)] if len(rows) else rows


def _named(curves: tuple[str, ...]) -> str:
    names = list(
        dict.fromkeys({"L": "sequence length"}.get(X_NAMES[c], X_NAMES[c]) for c in curves)
    )
    return " and ".join(names)
