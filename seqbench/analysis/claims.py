"""The paper's sentences, held against what was measured: config/claims.yaml in, rows with verdicts out.

Per track, because a track of the paper's protocol and a fair one answer different questions:

    reproduced      the interval supports the sentence; a ratio of costs lies within the declared tolerance
    not reproduced  the interval contradicts it, or its direction holds but its figure does not
    inconclusive    neither; `why` says what is lacking
    not measured    there is nothing to hold it against on these machines
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import product
from typing import Any

import pandas as pd

from ..config.model_files import shown
from ..core.display import TABLES
from .published_values import ABOVE, ABSENT, BELOW, REACHED
from .tables import Tables, compared_tracks, pick, unique
from .verdicts import both_sides

YES, NO, UNSURE = "reproduced", "not reproduced", "inconclusive"
ROUNDS = 3  # fresh processes of each model, below which a cost decides nothing
INTERVAL, PROCESSES = "interval", "few_rounds"
LENGTHS, FIGURE, OPPOSITE = "other_lengths", "figure", "opposite"
FOUND = ("focal_value", "comparator_value", "ratio_or_difference", "low", "high", "verdict", "why")
NOTHING = (None, None, None, None, None, ABSENT, None)
CURVE = ("machine_name", "fixed", "threads")
Claim = Mapping[str, Any]
Made = Iterator[tuple[dict[str, Any], tuple]]  # what a row is about, and FOUND


def rows(tables: Tables, claims: Claim, paper: Claim) -> pd.DataFrame:
    """Every claim in every track that was run, in the order of the file; paper: that block of published_values.yaml."""
    return pd.DataFrame(_rows(tables, claims, paper), columns=TABLES["claims"])


def _rows(tables: Tables, claims: Claim, paper: Claim) -> Iterator[dict[str, Any]]:
    frames = tables.frames
    tracks = compared_tracks(tables.settings, filter(None, frames["experiments"].get("track", ())))
    makers = {"quality": _quality, "values": _values, "cost": _cost, "growth": _growth}
    for kind, maker in makers.items():
        for claim in claims.get(kind, []):
            # Another protocol says nothing about the figures of this one.
            for track in (t for t in tracks if t in claim.get("tracks", tracks)):
                for about, found in maker(frames, claim, claims["focal_model"], track, paper):
                    name = shown(about["comparator"]).label if "comparator" in about else ""
                    row = {"kind": kind, "source": claim["source"], "track": track, "claim": claim["sentence"].format(comparator=name)}  # fmt: skip
                    yield row | about | dict(zip(FOUND, found, strict=True))


def _quality(frames: Mapping, claim: Claim, focal: str, track: str, _: Claim) -> Made:
    """The verdict of `comparisons`."""
    condition = {key: claim[key] for key in ("dataset", "seq_len", "seen_items")}
    for comparator, metric in product(claim["comparators"], claim["metrics"]):
        rows = both_sides(pick(frames["comparisons"], track=track, metric=metric, **condition))
        found = NOTHING
        for row in pick(rows, model_a=focal, model_b=comparator).itertuples():
            said = {"better": (YES, None), "worse": (NO, OPPOSITE), "equivalent": (NO, "equivalent")}  # fmt: skip
            verdict = said.get(row.verdict, (UNSURE, row.why))
            found = (row.mean_a, row.mean_b, row.difference, row.ci_low, row.ci_high, *verdict)
        yield {**condition, "comparator": comparator, "metric": metric}, found


def _values(frames: Mapping, claim: Claim, focal: str, track: str, paper: Claim) -> Made:
    """The verdict of the cell of `paper`, its value and interval as shares of the published one."""
    condition = {key: paper[key] for key in ("dataset", "seq_len", "seen_items")}
    said = dict.fromkeys((ABOVE, REACHED), (YES, None)) | {BELOW: (NO, FIGURE)}
    for metric in claim["metrics"]:
        (cell,) = pick(frames["paper"], track=track, model=focal, quantity=metric).itertuples()
        found = NOTHING
        if cell.verdict != ABSENT:
            ends = (end / cell.published for end in (cell.low, cell.high))
            found = (cell.ours, None, cell.share, *ends, *said.get(cell.verdict, (UNSURE, cell.why)))  # fmt: skip
        yield {**condition, "metric": metric, "published": cell.published}, found


def _cost(frames: Mapping, claim: Claim, focal: str, track: str, paper: Claim) -> Made:
    """On a GPU and of the paper's workload only: no other says anything about its figures."""
    key = {"phase": claim["phase"], "metric": claim["metric"]}
    (cost,) = (c for c in paper["cost"] if key.items() <= c.items())
    where = {"dataset": paper["dataset"], "seq_len": paper["seq_len"], **key}
    rows = pick(frames["efficiency"], device_kind="cuda", track=track, batch_size=cost["batch"], **where)  # fmt: skip
    for comparator in claim["comparators"]:
        figures = cost["values"][focal] / cost["values"][comparator], claim["tolerance"]
        about = {**where, "comparator": comparator, **dict(zip(("published", "tolerance"), figures, strict=True))}  # fmt: skip
        for machine, pair in _pairs(rows, ("machine_name",), "median", focal, comparator):
            yield about | machine, _ratio(*pair, *figures) if pair else NOTHING


def _ratio(a: pd.Series, b: pd.Series, published: float, tolerance: float) -> tuple:
    """The ratio of medians; its bounds pair the lower quartile of one with the upper of the other."""
    ratio, low, high = a["median"] / b["median"], a.q25 / b.q75, a.q75 / b.q25
    verdict = (NO, FIGURE)
    if min(a["rounds"], b["rounds"]) < ROUNDS:
        verdict = (UNSURE, PROCESSES)
    elif low >= 1:
        verdict = (NO, OPPOSITE)
    elif high > 1:
        verdict = (UNSURE, INTERVAL)
    elif published / (1 + tolerance) <= ratio <= published * (1 + tolerance):
        verdict = (YES, None)
    return a["median"], b["median"], ratio, low, high, *verdict


def _growth(frames: Mapping, claim: Claim, focal: str, track: str, _: Claim) -> Made:
    """Which of two costs grows less at the long end of one curve; every curve of every GPU by itself."""
    key = {"phase": claim["phase"], "metric": claim["metric"]}
    curve = {"device_kind": "cuda", "track": track, "curve": "length-at-constant-batch"}
    for comparator in claim["comparators"]:
        rows = pick(frames["scaling"], **curve, **key)
        for where, pair in _pairs(rows, CURVE, "slope_end", focal, comparator):
            yield {**key, **where, "comparator": comparator}, _slopes(*pair) if pair else NOTHING


def _slopes(a: pd.Series, b: pd.Series) -> tuple:
    low, high = a.slope_end_low - b.slope_end_high, a.slope_end_high - b.slope_end_low
    verdict = (YES, None) if high < 0 else (NO, OPPOSITE) if low > 0 else (UNSURE, INTERVAL)
    if min(a.n_rounds, b.n_rounds) < ROUNDS:
        verdict = (UNSURE, PROCESSES)
    if a.slope_over != b.slope_over:
        verdict = (UNSURE, LENGTHS)
    return a.slope_end, b.slope_end, a.slope_end - b.slope_end, low, high, *verdict


def _pairs(rows: pd.DataFrame, keys: tuple[str, ...], value: str, focal: str, comparator: str) -> Iterator[tuple[dict[str, Any], tuple[pd.Series, pd.Series] | None]]:  # fmt: skip
    """By keys the rows of two models that have a value; None where one of them has none. Once, if nothing was measured."""
    rows = rows[rows[value].notna()] if len(rows) else rows
    for values in unique(rows, *keys) or [(None,) * len(keys)]:
        where = dict(zip(keys, values, strict=True))
        both = [pick(rows, model=model, **where) for model in (focal, comparator)]
        yield where, None if any(own.empty for own in both) else tuple(own.iloc[0] for own in both)
