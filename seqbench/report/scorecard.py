"""The answer at a glance: the focal model against each other model in quality and in cost, a table per track.

Quality counts conditions (a dataset at one length) by verdict, where enough seeds were trained. Cost is told by machine, as the
focal model's over the comparator's, wherever it was measured. Both at once is counted where both are known.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import pandas as pd

from ..analysis.collect import Tables
from ..analysis.summary import SEEDS_FOR_A_CLAIM
from ..config.model_files import shown
from ..core.display import PRIMARY_METRIC, QUANTITIES, compared, heading
from . import time_to_quality, versus
from .both import OTHERS, Met, Test, at_once, counted, measured, met
from .findings import pick, unique
from .tables import Cell, Column, Table, label, named, plural, span, whole
from .views import DASH, SEEN_ITEMS


def table(tables: Tables, track: str) -> Table:
    """A column per comparator; rows on quality over all conditions, then on cost and on both at once by machine."""
    verdicts = pick(versus.settled(versus.against(tables)), track=track)
    comparators = tables.ordered(verdicts.comparator) if len(verdicts) else []
    at = unique(verdicts, "dataset", "seq_len")
    columns = [Column(f"{label(tables.focal_model)} against", number=False), *[Column(label(comparator)) for comparator in comparators]]  # fmt: skip
    body: list[list[Cell]] = []
    for seen_items, title in SEEN_ITEMS.items():
        own = pick(verdicts, seen_items=seen_items)
        body += [
            [Cell(f"Better {QUANTITIES[PRIMARY_METRIC].label}, {title.lower()}"), *(_conditions(pick(own, comparator=r)) for r in comparators)],
            [Cell(f"Difference, {title.lower()} (% of the better model's)"), *(_share(pick(own, comparator=r)) for r in comparators)],
        ]  # fmt: skip
    here = met(tables, track)
    rows = pick(versus.ratios(tables), track=track)
    for machine, kind, device in unique(rows, "machine_name", "device_kind", "device"):
        own = [m for m in here if m.where == (machine, device, kind)]
        if own:
            body.append([Cell(f"Its cost over the other's on {named(machine, device)}: {measured(own)}")])  # fmt: skip
            body += _of_machine(tables, own, kind, comparators)
    datasets = plural(len({dataset for dataset, _ in at}), "dataset")
    caption = (
        f"{label(tables.focal_model)} against each other model, track {track}: {plural(len(at), 'condition')} on {datasets} with at least"
        f" {SEEDS_FOR_A_CLAIM} seeds"
    )
    notes = list(_notes(at, comparators)) if at else []
    return Table(f"scorecard-{track}", caption, columns, body if at else [], notes)


def _notes(at: list[tuple], comparators: list[str]) -> Iterator[str]:
    yield f"Quality was measured up to L = {whole(max(length for _, length in at))}."
    yield (
        "Two numbers: the least and the largest over the conditions; those of one dataset share its users. At once: with seen items kept, in brackets"
        " excluded, of the conditions where both are known. Both, only, neither: who gets there with every seed; a time is the steps of the trainings times a step measured"
        " here; sooner: every seed before any of the other's. Bold: better or cheaper in every condition, cheaper beyond the quartiles of one measurement session. Synthetic full-length batches: every history has L items."
    )
    for model in (r for r in comparators if not shown(r).predicts_all_targets):
        yield f"Of the targets of a step {label(model)} predicts only those it masks: an equal budget holds fewer of its predictions."


def ended(tables: Tables, track: str) -> Iterator[str]:
    """Datasets with trainings that used up their budget, and how many."""
    trainings = pick(tables.frames["experiments"], track=track, kind="train", status="ok", trained=True)  # fmt: skip
    for (dataset,) in unique(trainings, "dataset"):
        own = pick(trainings, dataset=dataset)
        n = len(pick(own, still_improving=True))
        if n:
            yield f"{n} of {plural(len(own), 'training')} on {dataset}"


def _conditions(rows: pd.DataFrame) -> Cell:
    """In how many conditions it is better, and what it is at the others."""
    if rows.empty:
        return DASH
    counts = {v: int((rows.verdict == v).sum()) for v in ("better", *OTHERS)}
    said = ", ".join(f"{OTHERS[v]} at {counts[v]}" for v in OTHERS if counts[v])
    text = f"{counts['better']} of {len(rows)}"
    return Cell(text, said, counts["better"], "" if said else "best")


def _share(rows: pd.DataFrame) -> Cell:
    if rows.empty:
        return DASH
    low, high = (f"{100 * f(rows.share):+.1f}".replace("-", "−") for f in (min, max))
    return Cell(f"{low} %" if low == high else f"{low} to {high} %", value=rows.share.mean())


def _of_machine(
    tables: Tables, own: list[Met], kind: str, comparators: list[str]
) -> Iterator[list[Cell]]:
    """Costs that say something on this kind of device, then both at once."""

    def line(name: str, cells: Iterable[Cell]) -> Iterator[list[Cell]]:
        cells = list(cells)
        if any(cell is not DASH for cell in cells):
            yield [Cell(name), *cells]

    by_comparator = {r: [m for m in own if m.comparator == r] for r in comparators}
    for key in compared():
        if versus.telling(key, kind):
            yield from line(heading(*key), (times([m.ratios[key] for m in by_comparator[r] if key in m.ratios]) for r in comparators))  # fmt: skip
    for share in time_to_quality.SHARES:
        found = {
            r: [m.until[share] for m in by_comparator[r] if share in m.until] for r in comparators
        }
        yield from line(
            f"Training until {time_to_quality.goal(share)}",
            (_until(tables, found[r]) for r in comparators),
        )
    tests: list[tuple[str, Test]] = [("with a shorter step", Met.cheaper)]
    tests += [(f"sooner at {100 * share:g} %", lambda m, share=share: m.sooner(share)) for share in time_to_quality.SHARES]  # fmt: skip
    for words, test in tests:
        counts = (at_once(own, r, test) for r in comparators)
        yield from line(f"Better and {words} at once", (Cell(counted(count)) if count else DASH for count in counts))  # fmt: skip


def times(rows: list[Any]) -> Cell:
    """The least and the largest ratio of some rows of `versus.ratios`, marked where all lie below 1 beyond the quartiles."""
    if not rows:
        return DASH
    ratios = [row.ratio for row in rows]
    mark = "best" if max(row.ratio_high for row in rows) < 1 else ""
    return Cell(span(ratios), value=sum(ratios) / len(ratios), mark=mark)


def _until(tables: Tables, found: list[time_to_quality.Beside]) -> Cell:
    """Ratios of time where every seed of both gets there; in how many conditions who does."""
    if not found:
        return DASH
    ratios = [b.ratio for b in found if b.ratio is not None]
    every = all(b.sooner for b in found)
    alone = {(True, False): f"only {label(tables.focal_model)}", (False, True): f"only {label(found[0].comparator)}"}  # fmt: skip
    ends = {(b.own, b.other) for b in found}
    if not ratios and len(ends) == 1 and ends <= set(alone):
        return Cell(alone[ends.pop()], f"at {len(found)} of {len(found)}", mark="best" if every else "")  # fmt: skip
    text = span(ratios) if ratios else "never both"
    return Cell(text, time_to_quality.counted(tables, found), mark="best" if every else "")
