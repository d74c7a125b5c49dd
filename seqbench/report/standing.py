"""Where the focal model stands in quality, in brief: against all models, and against one at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pandas as pd

from ..analysis.collect import Tables
from . import published_values, versus
from .findings import Lead, in_order, lead, pick, place, places, seeds_apart
from .points import OTHERS, Count, Point, added, counted, listed, pair
from .tables import label, plural, span
from .views import SEEN_ITEMS


def quality(tables: Tables, tracks: list[str]) -> Point:
    """Where it leads every model, and how it stands against one at a time, by track."""
    settled = versus.settled(versus.against(tables))
    own = {track: pick(settled, track=track) for track in tracks}
    better = [f"{times(rows, 'better')} of track {track}" for track, rows in own.items()]
    worse = pair(_verdicts(pd.concat(own.values()), "worse"))
    first = {track: found for track, rows in own.items() if (found := _leads(tables, track, rows))}
    best = [f"{counted(added(by.values()))} of track {track}" for track, by in first.items()]
    leads = f"is the best of all models, those without training too, in {listed(best, 'places')}; against one model at a time it "  # fmt: skip
    details = []
    for track, rows in own.items():
        details += [_by_dataset(tables, track, rows, first[track])] if track in first else []
        details.append(_of_track(tables, track, rows))
    return Point(
        f"Quality: {label(tables.focal_model)} {leads if best else ''}ranks better in {listed(better)}{',' if best else ';'} worse in {worse}.",
        [*details, *_unlike(tables, tracks)],
    )


def _leads(tables: Tables, track: str, rows: pd.DataFrame) -> dict[str, Count]:
    """By dataset at how many places its lead over every other model is established, of how many; empty without means.

    A place without one of the track's trained models is not counted: nobody leads all of them there.
    """
    found: dict[str, Count] = {}
    rows = _complete(pick(versus.against(tables), track=track), rows)
    for dataset in dict.fromkeys(rows.dataset) if len(tables.frames["summary"]) else ():
        best = [_best(tables, track, pick(rows, dataset=dataset, seen_items=m)) for m in SEEN_ITEMS]
        ahead = [
            sum(one.model == tables.focal_model and one.established for one in part)
            for part in best
        ]
        found[dataset] = (ahead, [len(part) for part in best])
    return found


def _complete(every: pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of the places where the focal model was compared with each comparator that it has anywhere in the track."""
    at = every.groupby(["dataset", "seq_len"]).comparator.agg(set)
    full = {where for where, comparators in at.items() if comparators == set(every.comparator)}
    return rows[[where in full for where in zip(rows.dataset, rows.seq_len, strict=True)]]


def _best(tables: Tables, track: str, rows: pd.DataFrame) -> list[Lead]:
    """Who leads at each of the places of these comparisons."""
    at = places(rows, "dataset", "seq_len", "seen_items")
    return [lead(tables, dataset, track, n, seen_items) for dataset, n, seen_items in at]


def _by_dataset(tables: Tables, track: str, rows: pd.DataFrame, found: dict[str, Count]) -> str:
    said = [f"on {dataset} in {counted(count)}" for dataset, count in found.items() if any(count[0])]  # fmt: skip
    none = [dataset for dataset, count in found.items() if not any(count[0])]
    said += [f"on {', '.join(none)} in none"] if none else []
    others = [
        [
            one
            for one in _best(tables, track, pick(rows, seen_items=m))
            if one.model != tables.focal_model
        ]
        for m in SEEN_ITEMS
    ]
    behind = [sum(tables.focal_model not in one.unproven for one in part) for part in others]
    rest = f"established behind another in {pair(behind) if any(behind) else 'none'}"
    return f"Track {track}, the best of all: {', '.join(said)}; {rest}."


@dataclass(frozen=True)
class Unlike:
    """A comparator at a place where values that others published of it are missed by far in every judged track.

    low: our shares of those values; of: how many values were published. besides: by other track the shares of all of them.
    """

    model: str
    dataset: str
    seq_len: int
    low: list[float]
    of: int
    besides: dict[str, list[float]]


def unlike_published(tables: Tables, tracks: list[str]) -> Iterator[Unlike]:
    """Comparators that no judged track brings near to what others published of them, and what other tracks do."""
    shares: dict[tuple[str, str, int], dict[tuple, dict[str, float]]] = {}  # by value, by track
    for h in published_values.held(tables):
        a = h.published_value
        if h.verdict and a["model"] != tables.focal_model:
            values = shares.setdefault((a["model"], a["dataset"], a["seq_len"]), {})
            by_track = values.setdefault((a["source"], a[h.metric]), {})
            by_track[h.track] = h.ours["mean"] / a[h.metric]
    for (model, dataset, seq_len), values in shares.items():
        judged = [max(by[t] for t in by if t in tracks) for by in values.values() if set(by) & set(tracks)]  # fmt: skip
        low = [share for share in judged if share < published_values.NEAR]
        others = in_order(t for by in values.values() for t in by if t not in tracks)
        besides = {t: [by[t] for by in values.values() if t in by] for t in others}
        if low:
            yield Unlike(model, dataset, seq_len, low, len(judged), besides)


def _unlike(tables: Tables, tracks: list[str]) -> Iterator[str]:
    said = []
    for one in unlike_published(tables, tracks):
        of = f"{len(one.low)} of {plural(one.of, 'value')}"
        others = "".join(f", {_percent(shares)} in track {t}" for t, shares in one.besides.items())
        besides = f" (not judged{others})" if others else ""
        said.append(f"{label(one.model)} on {place(one.dataset, one.seq_len)}, {of}, at {_percent(one.low)}{besides}")  # fmt: skip
    if said:
        yield (
            f"Below {100 * published_values.NEAR:g} % of what others published of them, in every judged track: {'; '.join(said)}. What is said of them there"
            " is said of these trainings."
        )


def _percent(shares: list[float]) -> str:
    return f"{span(100 * share for share in shares)} %"


def _verdicts(rows: pd.DataFrame, verdict: str) -> list[int | None]:
    """How often a verdict was given, by masking."""
    parts = [pick(rows, seen_items=seen_items) for seen_items in SEEN_ITEMS]
    return [int((part.verdict == verdict).sum()) if len(part) else None for part in parts]


def times(rows: pd.DataFrame, verdict: str) -> str:
    """How often a verdict was given, of how many comparisons, by masking."""
    of = [len(pick(rows, seen_items=seen_items)) for seen_items in SEEN_ITEMS]
    return counted(([n or 0 for n in _verdicts(rows, verdict)], of))


def _of_track(tables: Tables, track: str, rows: pd.DataFrame) -> str:
    comparators = [f"than {label(r)} in {times(pick(rows, comparator=r), 'better')}" for r in tables.ordered(rows.comparator)]  # fmt: skip
    rest = {words: _verdicts(rows, verdict) for verdict, words in OTHERS.items()}
    left = [f"{words} in {pair(numbers)}" for words, numbers in rest.items() if any(numbers)]
    at = places(rows, "dataset", "seq_len")
    datasets = plural(len({dataset for dataset, _ in at}), "dataset")
    apart = [words for own, words in seeds_apart(tables) if own == track]
    unjudged = f"; not judged, because seeds lie far apart: {'; '.join(apart)}" if apart else ""
    together = versus.corrected(rows)
    held = (
        f"; held together (Holm over the {len(places(together, 'dataset', 'seq_len', 'comparator'))} of each masking) better in {times(together, 'better')}"
        if len(together)
        else ""
    )
    return f"Track {track}, {plural(len(at), 'place')} on {datasets}: better {', '.join([*comparators, *left])}{held}{unjudged}."
