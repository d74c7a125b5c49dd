"""Published values of the same models on the same files, beside ours: config/published_values.yaml in, a table out.

Like with like: a value with seen items kept is held against ours with seen items kept. Verdicts, by NDCG@10 (by HR@10
where only that was published):

    above         our interval lies above the published value
    reached       it holds the published value, and our mean is not far below it
    below         it lies below
    inconclusive  it holds the published value only because it is wide: our mean is far below
    –             the source does not say how it treats seen items and ours are not both on one side, or nothing was run
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from ..analysis.collect import Tables
from ..core.display import QUANTITIES
from ..core.errors import UserError
from .findings import condition_name, in_order, pick, unique
from .tables import Cell, Column, Table, label
from .views import DASH, SEEN_ITEMS

FILE = Path(__file__).resolve().parents[2] / "config" / "published_values.yaml"
KEYS = {"dataset", "seq_len", "model", "seen_items", "hr@10", "ndcg@10", "source", "note"}
UNKNOWN = "unknown"
ABOVE, REACHED, BELOW, UNSURE = "above", "reached", "below", "inconclusive"
MARKS = {ABOVE: "best", REACHED: "", BELOW: "bad", UNSURE: "muted"}
NEAR = 0.9  # share of the published value that our mean must have for an interval that holds it to reach it


@dataclass(frozen=True)
class Held:
    """One published value beside one of ours: which metric decided, our interval and the verdict; None: undecided."""

    published_value: Mapping[str, Any]
    track: str
    metric: str
    ours: Any  # row of `summary`; where the source does not say how it treats seen items, of the higher one
    verdict: str | None

    @property
    def reached(self) -> bool:
        """Whether ours is as good, as far as its interval tells."""
        return self.verdict in (ABOVE, REACHED)


def read(path: Path = FILE) -> list[dict[str, Any]]:
    """Return the published values, checked.

    Raises:
        UserError: a key that is missing or unknown, an unknown value of seen_items, a value outside (0, 1); one line that names it.
    """
    published_values = yaml.safe_load(path.read_text(encoding="utf-8"))["published_values"]
    for number, published_value in enumerate(published_values):
        where = f"{path.name}: published_values[{number}]"
        for key in sorted(KEYS ^ set(published_value)):
            what = "is missing" if key in KEYS else "is unknown"
            raise UserError(
                f"{where}.{key} {what}; a published value has: {', '.join(sorted(KEYS))}"
            )
        if published_value["seen_items"] not in (*SEEN_ITEMS, UNKNOWN):
            allowed = ", ".join((*SEEN_ITEMS, UNKNOWN))
            raise UserError(
                f"{where}.seen_items = {published_value['seen_items']}: must be one of {allowed}"
            )
        for metric in ("hr@10", "ndcg@10"):
            value = published_value[metric]
            if value is not None and not 0 < value < 1:
                raise UserError(f"{where}.{metric} = {value}: must lie between 0 and 1")
    return published_values


def held(tables: Tables, published_values: list[dict[str, Any]] | None = None) -> list[Held]:
    """Every published value beside ours of every track in which that model was trained there."""
    return list(_held(tables, read() if published_values is None else published_values))


def _held(tables: Tables, published_values: list[dict[str, Any]]) -> Iterator[Held]:
    summary = pick(tables.frames["summary"], ties="conservative")
    for published_value in published_values:
        where = {key: published_value[key] for key in ("dataset", "seq_len", "model")}
        metric = "ndcg@10" if published_value["ndcg@10"] is not None else "hr@10"
        for track in in_order(t for (t,) in unique(pick(summary, **where), "track")):
            rows = pick(summary, track=track, metric=metric, **where)
            treated = (
                SEEN_ITEMS
                if published_value["seen_items"] == UNKNOWN
                else (published_value["seen_items"],)
            )
            ours = [pick(rows, seen_items=seen_items).iloc[0] for seen_items in treated]
            said = {verdict(row, published_value[metric]) for row in ours}
            highest = max(ours, key=lambda row: row["mean"])
            yield Held(
                published_value, track, metric, highest, said.pop() if len(said) == 1 else None
            )


def verdict(row: pd.Series, published: float) -> str:
    """Where our interval lies beside a published value."""
    if row.ci_low > published or row.ci_high < published:
        return ABOVE if row.ci_low > published else BELOW
    return REACHED if row["mean"] >= NEAR * published else UNSURE


def table(tables: Tables, published_values: list[dict[str, Any]] | None = None) -> Table:
    """Published values with their source, ours per track with seen items kept and excluded, and the verdict."""
    found = held(tables, published_values)
    tracks = in_order(h.track for h in found)
    columns = [Column("Model and source", number=False), Column("Seen items", number=False)]
    columns += [Column(QUANTITIES[m].label, "Published") for m in ("hr@10", "ndcg@10")]
    for track in tracks:
        columns += [Column(text, f"Ours, track {track}") for text in SEEN_ITEMS.values()]
        columns.append(Column("Verdict", f"Ours, track {track}", number=False))
    body: list[list[Cell]] = []
    for where in dict.fromkeys(
        (h.published_value["dataset"], h.published_value["seq_len"]) for h in found
    ):
        body.append([Cell(f"{condition_name(*where)}: ours is {QUANTITIES['ndcg@10'].label}")])
        own = [
            h
            for h in found
            if (h.published_value["dataset"], h.published_value["seq_len"]) == where
        ]
        for key in dict.fromkeys(id(h.published_value) for h in own):
            same = {h.track: h for h in own if id(h.published_value) == key}
            body.append(_row(tables, next(iter(same.values())).published_value, same, tracks))
    notes = [
        "above, reached, below: where our 95 % interval lies beside the published value, with seen items treated as there;"
        f" inconclusive: it holds the value, but our mean is less than {NEAR:.0%} of it (by HR@10 where only that was published). Where a source does not say how it treats them, both of ours stand beside"
        " it and it is decided only if both say the same. Other preprocessing, tuning and training stand behind these values: they say whether"
        " ours are plausible, not which code is better."
    ]
    return Table("published_values", "Published values beside ours", columns, body, notes)


def _row(
    tables: Tables, published_value: Mapping, same: Mapping[str, Held], tracks: list[str]
) -> list[Cell]:
    cells = [
        Cell(
            label(published_value["model"]),
            f"{published_value['source']}: {published_value['note']}",
            published_value["model"],
        ),
        Cell(treated(published_value).removeprefix("seen items ")),
    ]
    for metric in ("hr@10", "ndcg@10"):
        value = published_value[metric]
        cells.append(DASH if value is None else Cell(f"{value:.4f}", value=value))
    for track in tracks:
        if track not in same:
            cells += [DASH, DASH, DASH]
            continue
        one = same[track]
        for seen_items in SEEN_ITEMS:
            cells.append(_ours(tables, published_value, track, one.metric, seen_items))
        cells.append(Cell(one.verdict, mark=MARKS[one.verdict]) if one.verdict else DASH)
    return cells


def _ours(
    tables: Tables, published_value: Mapping, track: str, metric: str, seen_items: str
) -> Cell:
    where = {key: published_value[key] for key in ("dataset", "seq_len", "model")}
    rows = pick(
        tables.frames["summary"], ties="conservative", track=track, metric=metric, seen_items=seen_items, **where
    )  # fmt: skip
    row = rows.iloc[0]
    name = "" if metric == "ndcg@10" else f"{QUANTITIES[metric].label} "
    other = published_value["seen_items"] not in (seen_items, UNKNOWN)
    text, detail = f"{name}{row['mean']:.4f}", f"[{row.ci_low:.4f}, {row.ci_high:.4f}]"
    return Cell(text, detail, row["mean"], "muted" if other else "")


def treated(published_value: Mapping[str, Any]) -> str:
    """How the source of a value treats seen items, in words."""
    return {**SEEN_ITEMS, UNKNOWN: "seen items not said"}[published_value["seen_items"]].lower()


def far_below(tables: Tables, tracks: list[str]) -> Iterator[tuple[str, str, int]]:
    """Models other than the focal one, with dataset and length, of which some published value is far above ours in every one of these tracks."""
    shares: dict[tuple, dict[tuple, float]] = {}  # by condition, by value: the best of the tracks
    for h in held(tables):
        a = h.published_value
        if h.verdict and h.track in tracks and a["model"] != tables.focal_model:
            own = shares.setdefault((a["model"], a["dataset"], a["seq_len"]), {})
            key = (a["source"], a[h.metric])
            own[key] = max(own.get(key, 0), h.ours["mean"] / a[h.metric])
    return (where for where, own in shares.items() if min(own.values()) < NEAR)
