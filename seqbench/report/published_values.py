"""Published values of the same models on the same files, beside ours: config/published_values.yaml in, a table and sentences out.

Like with like: a value with seen items kept is held against ours with seen items kept. Verdicts, by NDCG@10 (by HR@10
where only that was published):

    above         our interval lies above the published value
    reached       it holds the published value, and our mean is not far below it
    below         it lies below
    inconclusive  it holds the published value only because it is wide: our mean is far below
    –             the source does not say how it treats seen items and ours are not both on one side, or nothing was run
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from ..analysis.collect import Tables
from ..core.display import QUANTITIES
from ..core.errors import UserError
from .findings import in_order, pick, place, places
from .tables import Cell, Column, Table, known, label
from .views import DASH, SEEN_ITEMS

FILE = Path(__file__).resolve().parents[2] / "config" / "published_values.yaml"
KEYS = {"dataset", "seq_len", "model", "seen_items", "hr@10", "ndcg@10", "source", "note"}
UNKNOWN = "unknown"
MISSED = "Missed"  # how a sentence about such a value begins
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
        UserError: a key that is missing or unknown, another masking, a value outside (0, 1); one line that names it.
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
        for track in in_order(t for (t,) in places(pick(summary, **where), "track")):
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
    """Published values with their source, ours per track with both maskings, and the verdict."""
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
        body.append([Cell(f"{place(*where)}: ours is {QUANTITIES['ndcg@10'].label}")])
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


def sentences(
    tables: Tables,
    published_values: list[dict[str, Any]] | None = None,
    of: Sequence[str] | None = None,
) -> list[str]:
    """Counts per track, and each value that was not reached with what may be behind it, as far as records show it.

    A track that can be held against fewer values than the first one is counted beside it on the same ones. of: the tracks
    to tell of, else all.
    """
    found = [h for h in held(tables, published_values) if h.verdict]
    tracks, said = in_order(h.track for h in found), []
    first = [h for h in found if h.track == tracks[0]]
    for track in (t for t in tracks if of is None or t in of):
        own = [h for h in found if h.track == track]
        by_mean = sum(h.ours["mean"] >= h.published_value[h.metric] for h in own)
        text = f"Track {track} reaches or exceeds, as far as its interval tells, {_reached(own)} published values of models trained here, {by_mean} by its mean"
        same = [
            h for h in first if any(h.published_value is other.published_value for other in own)
        ]
        if own[0].track != first[0].track and 0 < len(same) < len(first):
            text += f" (track {first[0].track} {_reached(same)} of these)"
        said += [
            f"{text}.",
            *(f"{MISSED}: {_miss(tables, h)}" for h in own if h.verdict in (BELOW, UNSURE)),
        ]
    return said


def _reached(found: list[Held]) -> str:
    return f"{sum(h.reached for h in found)} of {len(found)}"


def _miss(tables: Tables, one: Held) -> str:
    a, row = one.published_value, one.ours
    return (
        f"{label(a['model'])} on {place(a['dataset'], a['seq_len'])}, {treated(a)}: {QUANTITIES[one.metric].label}"
        f" {row['mean']:.4f} [{row.ci_low:.4f}, {row.ci_high:.4f}] against {a[one.metric]:.4f} ({a['source']})"
        f"{_evidence(tables, one)}."
    )


def treated(published_value: Mapping[str, Any]) -> str:
    """How the source of a value treats seen items, in words."""
    return {**SEEN_ITEMS, UNKNOWN: "seen items not said"}[published_value["seen_items"]].lower()


def _evidence(tables: Tables, one: Held) -> str:
    """Whether a budget ended too early, how much tuning there was, and the other masking: what the records know."""
    where = {key: one.published_value[key] for key in ("dataset", "seq_len", "model")}
    runs = pick(tables.frames["experiments"], kind="train", status="ok", track=one.track, **where)
    ended = int(runs.still_improving.sum())
    chosen = f"chosen at step {runs.best_step.mean():,.0f} of {runs.steps.mean():,.0f}"
    parts = [f"{ended} of {len(runs)} trainings ended by their budget" if ended
             else "all trainings had stopped improving"]  # fmt: skip
    parts.append(chosen if len(runs) == 1 else f"{chosen} on average")
    tuning = (
        tables.settings.get("selected_settings", {}).get(one.track, {}).get(where["dataset"], {})
        .get(where["model"], {}).get("tuning")
    )  # fmt: skip
    parts.append(f"{tuning['trials']} trials of tuning" if tuning else "no tuning")
    other = next(m for m in SEEN_ITEMS if m != one.ours.seen_items)
    rows = pick(
        tables.frames["summary"], ties="conservative", track=one.track, metric=one.metric, seen_items=other, **where
    )  # fmt: skip
    if len(rows) and known(rows.iloc[0]["mean"]):
        parts.append(f"with {SEEN_ITEMS[other].lower()} {rows.iloc[0]['mean']:.4f}")
    return f"; {', '.join(parts)}"
