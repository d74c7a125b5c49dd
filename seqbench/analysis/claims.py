"""The paper's sentences, held against what was measured: config/claims.yaml in, rows with verdicts out.

Per track, because a track of the paper's protocol and a fair one answer different questions:

    reproduced      the interval supports the sentence, within the declared tolerance where it has a figure
    not reproduced  the interval contradicts it, or its direction holds but its figure does not
    inconclusive    neither; `why` says what is lacking
    not measured    there is nothing to hold it against on these machines
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd

from ..config.model_files import shown
from .rows import compared_tracks, pick, unique
from .summary import enough_seeds
from .verdicts import facing

YES, NO, UNSURE, ABSENT = "reproduced", "not reproduced", "inconclusive", "not measured"
ROUNDS = 3  # fresh processes of each model, below which a cost decides nothing
INTERVAL, SEEDS, PROCESSES = "interval", "few_seeds", "few_rounds"
LENGTHS, FIGURE, OPPOSITE = "other_lengths", "figure", "opposite"
COLUMNS = (
    *("kind", "claim", "source", "track", "machine_name", "dataset", "seq_len", "seen_items"),
    *("comparator", "phase", "metric", "fixed", "threads", "focal_value", "comparator_value"),
    *("ratio_or_difference", "low", "high", "published", "tolerance", "verdict", "why"),
)
Row = dict[str, Any]


def rows(
    frames: Mapping[str, pd.DataFrame],
    settings: Mapping[str, Any],
    claims: Mapping[str, Any],
    paper: Mapping[str, Any],
) -> Iterator[Row]:
    """Every claim in every track that was run, in the order of the file; paper: that block of published_values.yaml."""
    tracks = compared_tracks(settings, (t for (t,) in unique(frames["experiments"], "track") if t))
    makers = {"quality": _quality, "values": _values, "cost": _cost, "growth": _growth}
    for kind, maker in makers.items():
        for claim in claims.get(kind, []):
            # Another protocol says nothing about the figures of this one.
            for track in (t for t in tracks if t in claim.get("tracks", tracks)):
                about = {"kind": kind, "source": claim["source"], "track": track}
                for row in maker(frames, claim, claims["focal_model"], track, paper):
                    row = about | row
                    row["claim"] = claim["sentence"].format(comparator=_label(row.get("comparator")))  # fmt: skip
                    yield {column: row.get(column) for column in COLUMNS}


def _label(model: str | None) -> str:
    return shown(model).label if model else ""


def _quality(
    frames: Mapping, claim: Mapping, focal: str, track: str, _: Mapping
) -> Iterator[Row]:  # fmt: skip
    condition = {key: claim[key] for key in ("dataset", "seq_len", "seen_items")}
    for comparator in claim["comparators"]:
        for metric in claim["metrics"]:
            found = pick(frames["comparisons"], track=track, metric=metric, **condition)
            row = facing(found, focal, comparator)
            about = {**condition, "comparator": comparator, "metric": metric}
            yield about | ({"verdict": ABSENT} if row is None else _difference(row))


def _difference(row: pd.Series) -> Row:
    verdict = {"better": YES, "inconclusive": UNSURE}.get(row.verdict, NO)
    why = {"better": None, "worse": OPPOSITE, "equivalent": "equivalent"}.get(row.verdict, row.why)
    return {
        "focal_value": row.mean_a, "comparator_value": row.mean_b, "ratio_or_difference": row.difference,
        "low": row.ci_low, "high": row.ci_high, "verdict": verdict, "why": why,
    }  # fmt: skip


def _values(
    frames: Mapping, claim: Mapping, focal: str, track: str, paper: Mapping
) -> Iterator[Row]:  # fmt: skip
    """The mean as a share of the published value, and its interval alike."""
    condition = {key: paper[key] for key in ("dataset", "seq_len", "seen_items")}
    own = pick(frames["summary"], track=track, model=focal, ties="conservative", **condition)
    for metric in claim["metrics"]:
        published, tolerance = paper["quality"][metric][focal], claim["tolerance"]
        about = {**condition, "metric": metric, "published": published, "tolerance": tolerance}
        found = pick(own, metric=metric)
        if found.empty:
            yield about | {"verdict": ABSENT}
            continue
        row = found.iloc[0]
        mean, low, high = (row[key] / published for key in ("mean", "ci_low", "ci_high"))
        inside = 1 - tolerance <= low and high <= 1 + tolerance
        apart = high < 1 - tolerance or low > 1 + tolerance
        verdict, why = (YES, None) if inside else (NO, FIGURE) if apart else (UNSURE, INTERVAL)
        if not enough_seeds(row.n_seeds):
            verdict, why = UNSURE, SEEDS
        yield about | {
            "focal_value": row["mean"], "ratio_or_difference": mean, "low": low, "high": high,
            "verdict": verdict, "why": why,
        }  # fmt: skip


def _cost(
    frames: Mapping, claim: Mapping, focal: str, track: str, paper: Mapping
) -> Iterator[Row]:  # fmt: skip
    """On a GPU and of the paper's workload only: no other says anything about its figures."""
    (cost,) = (c for c in paper["cost"] if (c["phase"], c["metric"]) == (claim["phase"], claim["metric"]))  # fmt: skip
    where = {"dataset": paper["dataset"], "seq_len": paper["seq_len"]}
    where |= {"phase": claim["phase"], "metric": claim["metric"]}
    found = pick(frames["efficiency"], device_kind="cuda", track=track, batch_size=cost["batch"], **where)  # fmt: skip
    found = found[found["median"].notna()] if len(found) else found
    for comparator in claim["comparators"]:
        published = cost["values"][focal] / cost["values"][comparator]
        tolerance = claim["tolerance"]
        about = {**where, "comparator": comparator, "published": published, "tolerance": tolerance}
        for (machine,) in unique(found, "machine_name") or [(None,)]:
            own = pick(found, machine_name=machine)
            at = about | {"machine_name": machine}
            yield at | _ratio(own, focal, comparator, published, tolerance)


def _ratio(
    own: pd.DataFrame, focal: str, comparator: str, published: float, tolerance: float
) -> Row:
    """The ratio of medians; its bounds pair the lower quartile of one with the upper of the other."""
    first, second = pick(own, model=focal), pick(own, model=comparator)
    if first.empty or second.empty:
        return {"verdict": ABSENT}
    a, b = first.iloc[0], second.iloc[0]
    ratio, low, high = a["median"] / b["median"], a.q25 / b.q75, a.q75 / b.q25
    if min(a["rounds"], b["rounds"]) < ROUNDS:
        verdict, why = UNSURE, PROCESSES
    elif low >= 1:
        verdict, why = NO, OPPOSITE
    elif high > 1:
        verdict, why = UNSURE, INTERVAL
    else:
        near = published / (1 + tolerance) <= ratio <= published * (1 + tolerance)
        verdict, why = (YES, None) if near else (NO, FIGURE)
    return {
        "focal_value": a["median"], "comparator_value": b["median"], "ratio_or_difference": ratio,
        "low": low, "high": high, "verdict": verdict, "why": why,
    }  # fmt: skip


def _growth(
    frames: Mapping, claim: Mapping, focal: str, track: str, _: Mapping
) -> Iterator[Row]:  # fmt: skip
    """Which of two costs grows less at the long end of one curve; every curve of every GPU by itself."""
    where = {"phase": claim["phase"], "metric": claim["metric"]}
    found = pick(frames["scaling"], device_kind="cuda", track=track, curve="length-at-constant-batch", **where)  # fmt: skip
    keys = ("machine_name", "fixed", "threads")
    for comparator in claim["comparators"]:
        for values in unique(found, *keys) or [(None,) * len(keys)]:
            curve = dict(zip(keys, values, strict=True))
            own = pick(found, **curve)
            own = own[own.slope_end.notna()] if len(own) else own
            yield where | curve | {"comparator": comparator} | _slopes(own, focal, comparator)


def _slopes(own: pd.DataFrame, focal: str, comparator: str) -> Row:
    first, second = pick(own, model=focal), pick(own, model=comparator)
    if first.empty or second.empty:
        return {"verdict": ABSENT}
    a, b = first.iloc[0], second.iloc[0]
    low, high = a.slope_end_low - b.slope_end_high, a.slope_end_high - b.slope_end_low
    if a.slope_over != b.slope_over:
        verdict, why = UNSURE, LENGTHS
    elif min(a.n_rounds, b.n_rounds) < ROUNDS:
        verdict, why = UNSURE, PROCESSES
    else:
        verdict, why = (
            (YES, None) if high < 0 else (NO, OPPOSITE) if low > 0 else (UNSURE, INTERVAL)
        )
    return {
        "focal_value": a.slope_end, "comparator_value": b.slope_end,
        "ratio_or_difference": a.slope_end - b.slope_end, "low": low, "high": high,
        "verdict": verdict, "why": why,
    }  # fmt: skip
