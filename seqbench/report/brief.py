"""The answer in brief: quality, cost and both at once, what holds over all comparisons first.

A comparison is one other model on one dataset at one length, in one track. Quality counts those with enough seeds; cost, by
machine, those whose dataset was measured, or full windows in its place where a machine measured nothing else. Counts stand by
track, and in brackets with seen items excluded.
"""

from __future__ import annotations

from collections.abc import Iterator

from ..analysis.collect import Tables
from ..config.model_files import shown
from ..core.display import phrase
from . import reach, seen_items_gap, standing, versus
from .both import MEMORY, STEP, Met, Test, at_once, measured, met
from .costs import of_curve
from .findings import TRACKS, pick, places
from .points import Point, counted, listed
from .shorter import INFERENCE, shorter
from .tables import known, label, named, plural, span, whole

SHARE = reach.SHARES[-1]
SOONER = f"Sooner at {100 * SHARE:g} %"
TESTS: tuple[tuple[str, str, Test], ...] = (  # in full, for short
    ("with a shorter training step", "With a shorter step", Met.cheaper),
    (f"sooner at {reach.goal(SHARE)}", SOONER, lambda m: m.sooner(SHARE)),
)
COSTS = (STEP, INFERENCE, MEMORY)
ByTrack = dict[str, list[Met]]


def points(tables: Tables) -> Iterator[Point]:
    """Quality, cost, both at once, and what masking seen items adds, over the judged tracks."""
    tracks = versus.judged(tables)
    if tracks:
        every = {track: met(tables, track) for track in tracks}
        yield standing.quality(tables, tracks)
        yield from _cost(tables, every)
        yield from _both(tables, every)
        yield from seen_items_gap.brief(tables, tracks)


# --- cost ---------------------------------------------------------------------------------------------------------------


def _cost(tables: Tables, every: ByTrack) -> Iterator[Point]:
    chosen = dict(_machines(every))
    leads = [text for where, by in chosen.items() for text in _tallies(tables, where, by)]
    said = [text for track, own in every.items() for text in _of_machines(tables, track, own, set(chosen))]  # fmt: skip
    said += [text for track in TRACKS if track not in every for text in _unjudged(tables, track)]  # fmt: skip
    if leads:
        yield Point(f"Cost: {'; '.join(leads)}.", said)


def _machine(where: tuple[str, str, str]) -> str:
    machine, device, kind = where
    return named(machine, device) + (" (a CPU: a GPU may say otherwise)" if kind == "cpu" else "")


def _machines(every: ByTrack) -> Iterator[tuple[tuple[str, str, str], ByTrack]]:
    """Comparisons by machine and track: those on datasets; if no machine measured any, those by full windows."""
    real = {track: [m for m in own if not m.full] for track, own in every.items()}
    chosen = real if any(real.values()) else every
    for where in dict.fromkeys(m.where for own in chosen.values() for m in own):
        by = {track: [m for m in own if m.where == where] for track, own in chosen.items()}
        yield where, {track: own for track, own in by.items() if own}


def _tallies(tables: Tables, where: tuple[str, str, str], by: ByTrack) -> Iterator[str]:
    """In how many comparisons a machine found each cost higher beyond the quartiles, by track; nothing where it knows none."""
    kind = where[2]
    longest = max(m.seq_len for own in by.values() for m in own)
    said = [f"its {phrase(*key)} costs more in {listed(parts)}" for key in COSTS if versus.telling(key, kind) and (parts := list(_tally(by, key)))]  # fmt: skip
    turns = [f"its {phrase(*key)} stays shorter than {told}" for key in (STEP, INFERENCE) if (told := turn(tables, where, by, key))]  # fmt: skip
    if said and turns:
        said.append(f"on full windows {'; '.join(turns)}")
    if said:
        yield f"on {_machine(where)}, up to L = {whole(longest)}, beyond the quartiles, {'; '.join(said)}"


def _tally(by: ByTrack, key: tuple[str, str]) -> Iterator[str]:
    for track, own in by.items():
        rows = [m.ratios[key] for m in own if key in m.ratios]
        less = sum(row.ratio_high < 1 for row in rows)
        if rows:
            more = sum(row.ratio_low > 1 for row in rows)
            yield f"{more} of {len(rows)}{f' (less in {less})' if less else ''} of track {track}"


def turn(tables: Tables, where: tuple[str, str, str], by: ByTrack, cost: tuple[str, str]) -> str:
    """From which length on, at the first and the last of several curves, a cost stays below each other model's; empty if nowhere."""
    machine, _, kind = where
    said = []
    for comparator in tables.ordered(m.comparator for own in by.values() for m in own):
        found = [cell for track in by for _, cell in shorter(tables, track, machine, kind, comparator, cost)]  # fmt: skip
        at = [cell.value for cell in found if known(cell.value) and cell.text.startswith("from")]
        if at:
            ends = " or ".join(dict.fromkeys(f"{f(at):,.0f}" for f in (min, max)))
            some = f" along {len(at)} of {len(found)} curves" if len(at) < len(found) else ""
            said.append(f"{label(comparator)}'s from L = {ends} on{some}")
    return ", ".join(said)


def _of_machines(
    tables: Tables, track: str, own: list[Met], first: set[tuple[str, str, str]]
) -> Iterator[str]:
    """By machine its costs as multiples of each other model's; of one that is not among the first also where its step is shorter."""
    for machine, device, kind in dict.fromkeys(m.where for m in own):
        here = [m for m in own if m.where == (machine, device, kind)]
        comparators = tables.ordered(m.comparator for m in here)
        rows = {r: [m.ratios for m in here if m.comparator == r] for r in comparators}
        curves: dict[str, list[str]] = {}
        for comparator in comparators if (machine, device, kind) not in first else ():
            for fixed, cell in shorter(tables, track, machine, kind, comparator):
                curves.setdefault(fixed, []).append(
                    f"than {label(comparator)}'s {cell.text} ({cell.detail})"
                )
        told = [f"shorter step, {fixed}: {', '.join(at)}" for fixed, at in curves.items()]
        said = [*_multiples(tables, rows, kind), *told]
        if said:
            yield f"Track {track} on {named(machine, device)}, {measured(here)}: {'; '.join(said)}."


def _multiples(tables: Tables, rows: dict[str, list], kind: str) -> Iterator[str]:
    """Every cost as a multiple of each comparator's. rows: by comparator the ratios of its places, by cost."""
    for key in COSTS:
        if not versus.telling(key, kind):
            continue
        found = {r: [ratios[key].ratio for ratios in every if key in ratios] for r, every in rows.items()}  # fmt: skip
        partial = [r for r in found if key == STEP and not shown(r).predicts_all_targets]
        part = dict.fromkeys(partial, " (which predicts a part of the targets)")
        said = [f"{span(ratios)} times {label(r)}'s{part.get(r, '')}" for r, ratios in found.items() if ratios]  # fmt: skip
        if said:
            yield f"{phrase(*key)} {', '.join(said)}"


def _unjudged(tables: Tables, track: str) -> Iterator[str]:
    """The same of a track without enough seeds to judge quality: cost needs none."""
    ratios = of_curve(pick(versus.ratios(tables), track=track), None)
    for machine, device, kind in places(ratios, "machine_name", "device", "device_kind"):
        own = pick(ratios, machine_name=machine, device=device, device_kind=kind)
        rows: dict[str, list] = {comparator: [] for comparator in tables.ordered(own.comparator)}
        for row in own.itertuples():
            rows[row.comparator].append({(row.phase, row.what): row})
        at = plural(len(places(own, "dataset", "seq_len")), "place")
        yield f"Track {track} (quality not judged) on {named(machine, device)}, {at}: {'; '.join(_multiples(tables, rows, kind))}."  # fmt: skip


# --- both ---------------------------------------------------------------------------------------------------------------


def _both(tables: Tables, every: ByTrack) -> Iterator[Point]:
    """The paper's sentence, better and cheaper, over the comparisons where both are known."""
    found = [(named(*where[:2]), passes) for where, by in _machines(every) if (passes := list(_passes(tables, by)))]  # fmt: skip
    several = len(found) > 1
    leads = [f"on {name} {', '.join(f'better and {total}' for total, _ in passes)}" for name, passes in found]  # fmt: skip
    texts = [(f"On {name}: " if several else "") + text for name, passes in found for _, text in passes if text]  # fmt: skip
    if leads:
        yield Point(f"Both at once: {'; '.join(leads)}.", texts)


def _passes(tables: Tables, by: ByTrack) -> Iterator[tuple[str, str]]:
    """Per test its total over a machine's comparisons, and where it passes."""
    for words, short, test in TESTS:
        totals, told = [], []
        for track, own in by.items():
            comparators = tables.ordered(m.comparator for m in own)
            counts = {r: count for r in comparators if (count := at_once(own, r, test))}
            if counts:
                total = tuple([sum(ns) for ns in zip(*part, strict=True)] for part in zip(*counts.values(), strict=True))  # fmt: skip
                beaten = sum(at_once(own, r, raced)[0][0] for r in counts) if short == SOONER else 0
                also = f" ({beaten} against one that gets there too)" if short == SOONER else ""
                totals.append(f"{counted(total)} of track {track}{also}")
            at = [f"than {label(r)} in {counted(count)}" for r, count in counts.items() if any(count[0])]  # fmt: skip
            told += [f"track {track} {', '.join(at)}"] if at else []
        if totals:
            text = [*told, *([_arrivals(tables, by)] if short == SOONER else [])]
            yield f"{words} in {listed(totals)}", f"{short}: {'; '.join(text)}." if text else ""


def raced(m: Met) -> bool | None:
    """Whether it is sooner than a comparator whose every seed gets to the goal as well; None where no step was measured."""
    goal = m.until.get(SHARE)
    return (goal.sooner and goal.own and goal.other) if goal else None


def _arrivals(tables: Tables, by: ByTrack) -> str:
    """Who gets to the goal with every seed: being sooner than one who never does is quality once more."""
    goals = [m.until[SHARE] for own in by.values() for m in own if m.better and SHARE in m.until]
    both = [goal for goal in goals if goal.own and goal.other]
    ends = [(goal.own, goal.other) for goal in goals]
    return (
        f"of all {len(goals)}, every seed of both gets there in {len(both)} ({label(tables.focal_model)} sooner in {sum(g.sooner for g in both)}), of it alone in"
        f" {ends.count((True, False))}, of the other alone in {ends.count((False, True))}, of neither in {ends.count((False, False))}"
    )
