"""Published values of the same models on the same files, beside ours: config/published_values.yaml in, rows out.

Like with like: a value with seen items kept is held against ours with seen items kept. Verdicts:

    above         our interval lies above the published value
    reached       it holds the published value, and our mean is not far below it
    below         it lies below
    inconclusive  it holds the published value only because it is wide: our mean is far below
    not measured  nothing was trained there
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from ..core.display import QUALITY_METRICS, QUANTITIES
from ..core.errors import UserError
from .rows import compared_tracks, pick, unique
from .tidy import SEEN_ITEMS

FILE = Path(__file__).resolve().parents[2] / "config" / "published_values.yaml"
METRICS = ("ndcg@10", "hr@10")  # the one that decides first
KEYS = {"dataset", "seq_len", "model", "seen_items", "source", "note", *METRICS}
PAPER = {"source", "dataset", "seq_len", "seen_items", "quality", "cost", "differs"}
COST = {"phase", "metric", "batch", "scale", "values"}
ABOVE, REACHED, BELOW, UNSURE = "above", "reached", "below", "inconclusive"
ABSENT = "not measured"
NEAR = 0.9  # share of the published value that our mean must have for an interval that holds it to reach it
COLUMNS = (
    *("dataset", "seq_len", "model", "seen_items", "source", "note", "track", "metric"),
    *("published", "ours", "ours_low", "ours_high", "share", "verdict"),
)


def read(path: Path = FILE) -> dict[str, Any]:
    """Return both blocks of the file, checked: `published_values` (a list) and `paper` (a mapping).

    Raises:
        UserError: a key that is missing or unknown, a metric that does not exist, a value out of its range; one line
            that names it.
    """
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    _same_keys(content, {"published_values", "paper"}, path.name, "the file")
    for number, value in enumerate(content["published_values"]):
        where = f"{path.name}: published_values[{number}]"
        _same_keys(value, KEYS, where, "a published value")
        _seen_items(value, where)
        for metric in METRICS:
            _share(value[metric], f"{where}.{metric}")
    _check_paper(content["paper"], f"{path.name}: paper")
    return content


def _check_paper(paper: Mapping[str, Any], where: str) -> None:
    _same_keys(paper, PAPER, where, "the paper's table")
    _seen_items(paper, where)
    for metric, values in paper["quality"].items():
        if metric not in QUALITY_METRICS:
            raise UserError(f"{where}.quality.{metric}: unknown; see seqbench/core/display.py")
        for model, value in values.items():
            _share(value, f"{where}.quality.{metric}.{model}")
    for number, cost in enumerate(paper["cost"]):
        at = f"{where}.cost[{number}]"
        _same_keys(cost, COST, at, "a cost")
        if cost["metric"] not in QUANTITIES:
            raise UserError(
                f"{at}.metric = {cost['metric']}: unknown; see seqbench/core/display.py"
            )
        for model, value in cost["values"].items():
            if value is not None and not value > 0:
                raise UserError(f"{at}.values.{model} = {value}: must be positive, or null")


def _same_keys(found: Any, needed: set[str], where: str, what: str) -> None:
    if not isinstance(found, dict):
        raise UserError(f"{where}: is no mapping; {what} has: {', '.join(sorted(needed))}")
    for key in sorted(needed ^ set(found)):
        fault = "is missing" if key in needed else "is unknown"
        raise UserError(f"{where}.{key} {fault}; {what} has: {', '.join(sorted(needed))}")


def _seen_items(block: Mapping[str, Any], where: str) -> None:
    if block["seen_items"] not in SEEN_ITEMS:
        allowed = ", ".join(SEEN_ITEMS)
        raise UserError(f"{where}.seen_items = {block['seen_items']}: must be one of {allowed}")


def _share(value: float | None, where: str) -> None:
    if value is not None and not 0 < value < 1:
        raise UserError(f"{where} = {value}: must lie between 0 and 1, or be null")


def rows(
    summary: pd.DataFrame, settings: Mapping[str, Any], published: Iterable[Mapping[str, Any]]
) -> Iterator[dict[str, Any]]:
    """A row per value, metric that it has and track; one without a track where nothing was trained."""
    for value in published:
        where = {key: value[key] for key in ("dataset", "seq_len", "model", "seen_items")}
        ours = pick(summary, ties="conservative", **where)
        for metric in (m for m in METRICS if value[m] is not None):
            about = {**where, "source": value["source"], "note": value["note"], "metric": metric}
            own = pick(ours, metric=metric)
            tracks = compared_tracks(settings, (track for (track,) in unique(own, "track")))
            for track in tracks or [None]:
                row = about | {"track": track} | beside(pick(own, track=track), value[metric])
                yield {column: row[column] for column in COLUMNS}


def beside(own: pd.DataFrame, published: float) -> dict[str, Any]:
    """Our value of one model and metric (at most one row of `summary`) beside a published one, with the verdict."""
    if own.empty:
        nothing = dict.fromkeys(("ours", "ours_low", "ours_high", "share"))
        return {"published": published, **nothing, "verdict": ABSENT}
    row = own.iloc[0]
    return {
        "published": published, "ours": row["mean"], "ours_low": row.ci_low, "ours_high": row.ci_high,
        "share": row["mean"] / published, "verdict": verdict(row, published),
    }  # fmt: skip


def verdict(row: pd.Series, published: float) -> str:
    """Where our interval lies beside a published value."""
    if row.ci_low > published or row.ci_high < published:
        return ABOVE if row.ci_low > published else BELOW
    return REACHED if row["mean"] >= NEAR * published else UNSURE
