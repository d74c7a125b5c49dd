"""Rows of the tables `scaling` and `crossovers`: fitted growth of every cost, and where two models' costs cross.

One curve is what one machine measured with one setting; curves of different machines, tracks, precisions or threads
never meet.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from functools import partial
from itertools import combinations
from typing import Any

import numpy as np

from ..config.model_files import in_order
from ..core.display import fitted
from ..core.processes import side_by_side
from ..core.store import Entry
from . import scaling
from .tidy import identity
from .tidy_cost import sequences

Points = dict[str, dict[float, np.ndarray]]  # model -> x -> samples (R, S) or (R,)
EXACT = "saved_bytes"  # counted, the same every time
# What its points differ in, what is the same at all of them, and that in words.
KINDS = {
    "length-at-constant-tokens": ("seq_len", ("n_items",), "{tokens:,} tokens a batch, {n_items:,} items"),
    "length-at-constant-batch": ("seq_len", ("sequences", "n_items"), "{sequences:,} sequences a batch, {n_items:,} items"),
    "batch-size": ("sequences", ("seq_len", "n_items"), "L = {seq_len}, {n_items:,} items"),
    "catalogue-size": ("n_items", ("seq_len", "sequences"), "{sequences:,} sequences a batch, L = {seq_len}"),
}  # fmt: skip
CURVE = ("track", "machine", "machine_name", "device", "device_kind", "threads")
GROWTH = (
    *("n_points", "n_rounds", "x_min", "x_max", "a", "a_low", "a_high", "b", "b_low", "b_high"),
    *("c", "c_low", "c_high", "growth", "max_residual"),
    *("slope_end", "slope_end_low", "slope_end_high", "slope_over", "missing"),
)
CONCLUSIVE_SHARE = 0.975  # share of resamples in which two curves cross, or do not


def summarise(entries: Iterable[Entry], models: Iterable[str], processes: int = 1) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:  # fmt: skip
    """Return rows of scaling and of crossovers for every curve of full-length measurements.

    models: in the order of every table; a pair names the earlier one first. processes: curves at a time.
    """
    of_curve = partial(_of_curve, models=tuple(models))
    found = list(side_by_side(of_curve, list(_curves(entries)), processes))
    return [row for rows, _ in found for row in rows], [row for _, rows in found for row in rows]


def _of_curve(curve: tuple[dict[str, Any], list[Entry]], models: Iterable[str]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:  # fmt: skip
    (about, members), growth, crossovers = curve, [], []
    for phase, metric in fitted(about["device_kind"]):
        where = {**about, "phase": phase, "metric": metric}
        points, missing = _points(members, about["curve"], phase, metric, models)
        resampled = scaling.resampled_medians(points) if points else {}
        curves = {m: scaling.Curve(points[m], resampled[m]) for m in points}
        for model in dict.fromkeys([*points, *missing]):
            own, why = points.get(model, {}), "; ".join(missing.get(model, ())) or None
            if len(own) >= 2 or why:
                row = {"n_points": len(own), "x_min": min(own, default=None), "x_max": max(own, default=None), "missing": why}  # fmt: skip
                row |= _growth(curves[model]) if len(own) >= 2 else {}
                growth.append({**where, "model": model, **dict.fromkeys(GROWTH), **row})
        for pair in combinations(points, 2):
            if row := _crossover(*(curves[model] for model in pair)):
                who = dict(zip(("model_a", "model_b"), pair, strict=True))
                ends = {f"cheaper_{end}": pair[row[f"ratio_{end}"] >= 1] for end in ("min", "max")}  # fmt: skip
                crossovers.append({**where, **who, **row, **ends})
    return growth, crossovers


def _curves(entries: Iterable[Entry]) -> Iterator[tuple[dict[str, Any], list[Entry]]]:
    """Measurements by what they have in common, with words for what is constant along the curve."""
    groups: dict[tuple, list[Entry]] = defaultdict(list)
    for entry in entries:
        if not entry.training and entry.job.get("curve"):
            groups[_key(entry)].append(entry)
    curves = [part for members in groups.values() for part in _of_equal_tokens(members)]
    for members in sorted(curves, key=lambda m: list(KINDS).index(m[0].job["curve"])):
        first, jobs = members[0], [entry.job for entry in members]
        about = {key: identity(first)[key] for key in CURVE}
        about |= {key: first.job[key] for key in ("precision", "curve")}
        same = {**first.job, "sequences": sequences(first.job, "train"), "tokens": max(job["targets_per_step"] for job in jobs)}  # fmt: skip
        yield {**about, "fixed": KINDS[about["curve"]][2].format(**same)}, members


def _key(entry: Entry) -> tuple:
    job = {**entry.job, "sequences": sequences(entry.job, "train")}
    constant = ("precision", "curve", *KINDS[job["curve"]][1])
    return *(identity(entry)[key] for key in CURVE), *(job[key] for key in constant)


def _of_equal_tokens(members: list[Entry]) -> list[list[Entry]]:
    """Points at constant tokens, apart where no number of tokens gives both.

    A batch is the whole sequences that fit into the tokens asked for, one at least: b tokens in sequences of L mean that
    b to b + L - 1 were asked for, and of a single sequence up to 2 L - 1.
    """
    if members[0].job["curve"] != "length-at-constant-tokens":
        return [members]
    groups: dict[int, tuple[int, int, list[Entry]]] = {}  # least, most tokens asked for, members
    for entry in sorted(members, key=lambda m: m.job["seq_len"]):
        length, tokens = entry.job["seq_len"], entry.job["targets_per_step"]
        low, high = (tokens if tokens > length else 1), tokens + length - 1
        fits = (k for k, g in groups.items() if max(low, g[0]) <= min(high, g[1]))
        at = next(fits, len(groups))
        least, most, own = groups.get(at, (low, high, []))
        groups[at] = (max(low, least), min(high, most), [*own, entry])
    return [own for *_, own in groups.values()]


def constants(entries: Iterable[Entry]) -> dict[str, str]:
    """What stays constant along the curve that a record belongs to, in words, by the record's path."""
    return {entry.path: about["fixed"] for about, members in _curves(entries) for entry in members}


def _points(members: list[Entry], curve: str, phase: str, metric: str, models: Iterable[str]) -> tuple[Points, dict[str, list[str]]]:  # fmt: skip
    """Samples by model and x, and by model what is missing and why."""
    points: Points = defaultdict(dict)
    missing: dict[str, list[str]] = defaultdict(list)
    for entry in sorted(members, key=lambda e: _x(e, curve, phase)):
        model, x = entry.job["model"], _x(entry, curve, phase)
        if metric == EXACT:
            counts = (entry.values.get("counts") or {}).get(phase)
            samples = None if counts is None else np.array([counts[metric]])
        else:
            samples = entry.samples().get(f"{phase}/{metric}")
        if samples is not None:
            points[model][x] = samples
        elif metric != EXACT and (why := _why(entry, phase, metric)):
            missing[model].append(f"{x:,}: {why}")
    return {model: points[model] for model in in_order(points, models)}, missing


def _x(entry: Entry, curve: str, phase: str) -> int:
    name = KINDS[curve][0]
    return sequences(entry.job, phase) if name == "sequences" else entry.job[name]


def _why(entry: Entry, phase: str, metric: str) -> str | None:
    """Why a record lacks a cost; None: it was not asked for."""
    failed = (entry.values.get("failed") or {}).get(phase)
    if failed is None:
        status = entry.record["status"]
        given = entry.values.get("missing") or {}
        reasons = {key: reason for reason, keys in given.items() for key in keys}
        return reasons.get(f"{phase}/{metric}", None if status == "ok" else status)
    size = failed.get("requested_bytes")
    return failed["status"] + (f" ({size / 2**30:.1f} GiB asked for)" if size else "")


def _growth(curve: scaling.Curve) -> dict[str, Any]:
    """The slope at the long end and, of points enough, parameters of t = a + b x^c and how well that curve fits."""
    x, own = curve.x, curve.medians
    rounds = min(len(samples) for samples in curve.samples.values())
    row: dict[str, Any] = {"n_rounds": rounds, "growth": float(own[0, -1] / own[0, 0])}
    if len(x) >= scaling.FEWEST_POINTS:
        row |= _fitted(curve)
    row |= _estimate("slope_end", scaling.end_slope(x, own), scaling.end_slope(x, curve.resampled))
    return {**row, "slope_over": " ".join(f"{value:.0f}" for value in x[-scaling.END_POINTS :])}


def _fitted(curve: scaling.Curve) -> dict[str, Any]:
    x, (fit, fits) = curve.x, curve.fits
    scale = x[-1] ** -fit.c, x[-1] ** -fits.c  # b belongs to (x / x_max)^c: to x^c here
    row = _estimate("a", fit.a, fits.a)
    row |= _estimate("b", fit.b * scale[0], fits.b * scale[1]) | _estimate("c", fit.c, fits.c)
    ends = fit.at(x[[0, -1]])[0]
    row["growth"] = float(ends[1] / ends[0])  # fitted, from the smallest to the largest x
    return {**row, "max_residual": float(np.abs(fit.residuals).max())}


def _estimate(name: str, value: np.ndarray, values: np.ndarray) -> dict[str, float]:
    low, high = scaling.interval(values)
    return {name: float(value[0]), f"{name}_low": low, f"{name}_high": high}


def _crossover(first: scaling.Curve, second: scaling.Curve) -> dict[str, Any] | None:
    """Where two costs cross, by the points that both have; the factor between them at both ends."""
    shared = set(first.samples) & set(second.samples)
    if len(shared) < 2:
        return None
    a, b = first.at(shared), second.at(shared)
    x, own = a.x, (a.medians, b.medians)
    at, resampled = scaling.crossing(x, *own)[0], scaling.crossing(x, a.resampled, b.resampled)
    row = {
        "x": float(at) if np.isfinite(at) else None,
        "low": None, "high": None, "extrapolated": False, "bracketed": False,
        "share": float(np.isfinite(resampled).mean()),
        "x_min": x[0], "x_max": x[-1],
        "ratio_min": float(own[0][0, 0] / own[1][0, 0]), "ratio_max": float(own[0][0, -1] / own[1][0, -1]),
    }  # fmt: skip
    if row["x"] is not None:
        row["low"], row["high"] = scaling.interval(resampled)
        before, after = scaling.around(x, row["low"])[0], scaling.around(x, row["high"])[1]
        _, next_ = near = scaling.around(x, row["x"])
        if next_ > scaling.NEAR * near[0]:  # what lies between is not known to be straight
            row |= {"low": before, "high": after, "bracketed": True}
    elif len(x) >= scaling.FEWEST_POINTS and row["share"] < 1 - CONCLUSIVE_SHARE:
        row |= _beyond(a, b)
    return row


def _beyond(a: scaling.Curve, b: scaling.Curve) -> dict[str, Any]:
    """A crossing of the fitted curves beyond the measured range, if nearly all resamples have one."""
    both = zip(a.fits, b.fits, strict=True)
    (at,), found = (scaling.extrapolated_crossing(*fits) for fits in both)
    share = float(np.isfinite(found).mean())
    if not np.isfinite(at) or share < CONCLUSIVE_SHARE:
        return {}
    low, high = scaling.interval(found)
    return {"x": float(at), "low": low, "high": high, "share": share, "extrapolated": True}
