"""The answer for a reader of half a minute: a few sentences to the question, one table over all judged tracks, what may change it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import pandas as pd

from ..analysis.collect import Tables
from ..config.model_files import shown
from ..core.display import PRIMARY_METRIC, QUANTITIES, phrase
from . import claims, curves, published_values, tradeoff, versus
from .both import MEMORY, STEP, Count, Met, Test, added, at_once, counted, given, measured, met
from .findings import condition_name, pick
from .scorecard import ended, times
from .tables import Cell, Column, Table, label, named, plural, whole
from .time_to_quality import SHARES, goal
from .views import DASH

Where = tuple[str, str, str]  # machine, device, kind of device
ByTrack = dict[str, list[Met]]
COSTS = (STEP, ("inference", "batch_s"), MEMORY)
TESTS: tuple[tuple[str, Test], ...] = (
    ("with a shorter training step", Met.cheaper),
    (f"sooner at {goal(SHARES[-1])}", lambda m: m.sooner(SHARES[-1])),
)


@dataclass(frozen=True)
class Point:
    """One sentence of the answer and the words that it begins with."""

    lead: str
    text: str

    def __str__(self) -> str:
        """As an item of a Markdown list."""
        return f"- **{self.lead}** {self.text}"


def answer(tables: Tables) -> list[Point]:
    """Better, and cheaper at once? Over the comparisons of all judged tracks, the latter by machine; nothing where nothing is judged."""
    return [*_better(tables), *_at_once(tables)]


def _better(tables: Tables) -> Iterator[Point]:
    settled = versus.settled(versus.against(tables))
    if len(settled):
        comparators = [f"than {label(r)} in {given(pick(settled, comparator=r), 'better')}" for r in tables.ordered(settled.comparator)]  # fmt: skip
        worse = given(settled, "worse") if (settled.verdict == "worse").any() else "none"
        text = f"{label(tables.focal_model)} ranks better in {QUANTITIES[PRIMARY_METRIC].label} {', '.join(comparators)} comparisons, worse in {worse}."
        yield Point("Quality,", f"in brackets with seen items excluded: {text}")


def _at_once(tables: Tables) -> Iterator[Point]:
    """By machine where a shorter training step comes with it, and from which length on it has that alone."""
    every, said, turns = _every(tables), [], []
    for where, by in _machines(every).items():
        counts = {
            r: count for r in _comparators(tables, by) if (count := _added(by, r, Met.cheaper))
        }
        texts = list(_grouped(counts))
        if texts:
            full = all(m.full for own in by.values() for m in own)
            said.append(f"on {_named(where)}{', by synthetic full-length batches,' if full else ''} {', '.join(texts)}")  # fmt: skip
        if told := _turn(tables, where, by):
            turns.append(f"on {_named(where)} than {told}")
    longest = max((m.seq_len for own in every.values() for m in own), default=0)
    if said:
        yield Point("Quality and cost at once,", f"up to L = {whole(longest)}: better with a shorter training step {'; '.join(said)}.")  # fmt: skip
    if turns:
        yield Point("Longer histories,", f"quality measured up to L = {whole(longest)}: on synthetic full-length batches its training step stays shorter {'; '.join(turns)}.")  # fmt: skip


def table(tables: Tables) -> Table:
    """A column per comparator, a row per judged track: quality, costs by machine, and both at once."""
    every = _every(tables)
    settled = versus.settled(versus.against(tables))
    settled = settled[settled.track.isin(every)] if len(settled) else settled
    comparators = tables.ordered(settled.comparator) if len(settled) else []
    body = _part(
        f"Conditions where it ranks better ({QUANTITIES[PRIMARY_METRIC].label})",
        _quality(settled, list(every), comparators),
    )
    for key in COSTS:
        title = f"Its {phrase(*key)}, as a multiple of the other's"
        body += _part(title, _cost(tables, every, key, comparators))
    for words, test in TESTS:
        body += _part(f"Better and {words}", _both(every, test, comparators))
    columns = [Column(f"{label(tables.focal_model)} against", number=False), *[Column(label(r)) for r in comparators]]  # fmt: skip
    caption = (
        f"{label(tables.focal_model)} against each other model: quality, cost, and both at once"
    )
    return Table("short", caption, columns, body, [WORDS, *_remarks(tables, every)] if body else [])  # fmt: skip


def caution(tables: Tables) -> str:
    """What the answer holds for, and which trained models are weaker here than others published them; empty where nothing is judged."""
    tracks = versus.judged(tables)
    settled = versus.settled(versus.against(tables))
    if not tracks:
        return ""
    said = [f"quality was measured up to L = {whole(settled.seq_len.max())}"]
    for track in tracks:
        if budget := list(ended(tables, track)):
            said.append(f"in track {track} {', '.join(budget)} ended by their budget")
    weak = [
        (model, condition_name(*at)) for model, *at in published_values.far_below(tables, tracks)
    ]
    if weak:
        names = [f"{label(m)} on {' and on '.join(at for model, at in weak if model == m)}" for m in tables.ordered(m for m, _ in weak)]  # fmt: skip
        said.append(f"below {100 * published_values.NEAR:g} % of what others published of them: {', '.join(names)}")  # fmt: skip
    if unsure := _missing_costs(tables):
        said.append(unsure)
    return f"What it holds for: {'; '.join(said)}."


# --- comparisons --------------------------------------------------------------------------------------------------------


def _every(tables: Tables) -> ByTrack:
    return {track: met(tables, track) for track in versus.judged(tables)}


def _machines(every: ByTrack) -> dict[Where, ByTrack]:
    """Comparisons whose cost is known, by machine and track."""
    found: dict[Where, ByTrack] = {}
    for track, own in every.items():
        for m in own:
            found.setdefault(m.where, {}).setdefault(track, []).append(m)
    return found


def _comparators(tables: Tables, by: ByTrack) -> list[str]:
    return tables.ordered(m.comparator for own in by.values() for m in own)


def _named(where: Where) -> str:
    machine, device, kind = where
    return named(machine, device) + (" (a CPU)" if kind == "cpu" else "")


def _added(by: ByTrack, comparator: str, test: Test) -> Count | None:
    """In how many conditions of all tracks it is better and passes, by seen items; None where nothing is known."""
    counts = [count for own in by.values() if (count := at_once(own, comparator, test))]
    return added(counts) if counts else None


def _grouped(counts: dict[str, Count]) -> Iterator[str]:
    """Comparators with the same answer, none, in one breath; the others one by one."""
    none = [r for r, (passed, _) in counts.items() if not any(passed)]
    if none:
        _, of = added(counts[r] for r in none)
        *names, last = map(label, none)
        listed = f"{', '.join(names)} and {last}" if names else last
        yield f"than {listed} in none of {plural(max(of), 'comparison')}"
    for r, count in counts.items():
        if r not in none:
            yield f"than {label(r)} in {counted(count)}"


def _turn(tables: Tables, where: Where, by: ByTrack) -> str:
    """From which length on, at the first and the last of several curves, its training step stays below each other model's; empty if nowhere."""
    machine, _, kind = where
    rows = pick(tables.frames["crossovers"], machine_name=machine, device_kind=kind, phase=STEP[0], metric=STEP[1])  # fmt: skip
    rows = rows[rows.track.isin(by) & rows.curve.isin(curves.LENGTHS)] if len(rows) else rows
    said = []
    for comparator in _comparators(tables, by):
        own = [r for r in rows.itertuples() if {r.model_a, r.model_b} == {tables.focal_model, comparator}]  # fmt: skip
        at = [
            r.x for r in own if curves.settled(r) == (tables.focal_model, True) and not r.bracketed
        ]
        if at:
            ends = " or ".join(dict.fromkeys(f"{f(at):,.0f}" for f in (min, max)))
            some = f" along {len(at)} of {len(own)} curves" if len(at) < len(own) else ""
            said.append(f"{label(comparator)}'s from L = {ends} on{some}")
    return ", ".join(said)


# --- rows ---------------------------------------------------------------------------------------------------------------


def _part(title: str, rows: Iterable[list[Cell]]) -> list[list[Cell]]:
    """Rows below their heading; nothing without rows."""
    rows = [row for row in rows if any(cell is not DASH for cell in row[1:])]
    return [[Cell(title)], *rows] if rows else []


def _quality(
    settled: pd.DataFrame, tracks: list[str], comparators: list[str]
) -> Iterator[list[Cell]]:
    for track in tracks:
        cells = []
        for comparator in comparators:
            rows = pick(settled, track=track, comparator=comparator)
            worse = given(rows, "worse") if (rows.verdict == "worse").any() else ""
            mark = "best" if (rows.verdict == "better").all() else ""
            cells.append(Cell(given(rows, "better"), f"worse in {worse}" if worse else "", mark=mark) if len(rows) else DASH)  # fmt: skip
        yield [Cell(track), *cells]


def _cost(
    tables: Tables, every: ByTrack, key: tuple[str, str], comparators: list[str]
) -> Iterator[list[Cell]]:
    """By machine and track over the conditions, then at the longest synthetic full-length batches of each curve."""
    for where, by in _machines(every).items():
        if not versus.telling(key, where[2]):
            continue
        for track, own in by.items():
            rows = {r: [m.ratios[key] for m in own if m.comparator == r and key in m.ratios] for r in comparators}  # fmt: skip
            longest = whole(max(m.seq_len for m in own))
            yield [Cell(f"{track}, L ≤ {longest} ({measured(own)}), {_named(where)}"), *map(times, rows.values())]  # fmt: skip
        for track in by:
            windows = _windows(tables, track, where, key)
            if len(windows):
                length = windows.seq_len.max()
                at_end = tradeoff.largest(pick(windows, seq_len=length))
                rows = {r: [*pick(at_end, comparator=r).itertuples()] for r in comparators}
                yield [Cell(f"{track}, L = {whole(length)} (synthetic full-length batches), {_named(where)}"), *map(times, rows.values())]  # fmt: skip


def _windows(tables: Tables, track: str, where: Where, key: tuple[str, str]) -> pd.DataFrame:
    """The cost of synthetic full-length batches of the same number of sequences, beyond the lengths of the conditions."""
    machine, device, kind = where
    rows = pick(versus.ratios(tables), track=track, machine_name=machine, device=device, device_kind=kind, phase=key[0], what=key[1])  # fmt: skip
    longest = pick(versus.against(tables), track=track).seq_len.max()
    return rows[rows.curve.notna() & (rows.seq_len > longest)]


def _both(every: ByTrack, test: Test, comparators: list[str]) -> Iterator[list[Cell]]:
    for where, by in _machines(every).items():
        for track, own in by.items():
            counts = [at_once(own, r, test) for r in comparators]
            yield [Cell(f"{track}, {_named(where)}"), *(_counted(count) if count else DASH for count in counts)]  # fmt: skip


def _counted(count: Count) -> Cell:
    passed, of = count
    return Cell(counted(count), mark="best" if passed == of else "")


# --- words --------------------------------------------------------------------------------------------------------------


WORDS = (
    "A condition is a dataset at one history length L. Counts are conditions: with seen items kept, in brackets with them excluded. Conditions"
    " whose seeds lie far apart are not counted. Multiples are ratios of medians, least to largest over the conditions; below 1 is cheaper."
    " In synthetic full-length batches every history has L items. Bold: better, or cheaper beyond both quartiles, in every condition."
)


def _remarks(tables: Tables, every: ByTrack) -> Iterator[str]:
    """What a count or a multiple of the table does not show."""
    settled = versus.settled(versus.against(tables))
    held = {track: versus.corrected(pick(settled, track=track)) for track in every}
    said = [f"{given(rows, 'better')} of track {track}" for track, rows in held.items() if len(rows)]  # fmt: skip
    if said:
        yield f"With all comparisons of a track held together (Holm) it ranks better in {', '.join(said)}."
    comparators = {m.comparator for own in every.values() for m in own}
    for comparator in tables.ordered(r for r in comparators if not shown(r).predicts_all_targets):
        yield f"A training step of {label(comparator)} predicts only a part of the targets that the others predict."


def _missing_costs(tables: Tables) -> str:
    """Whether the paper's claims on cost, which are about a GPU, rest on a CPU alone."""
    kinds = set(versus.costs(tables).device_kind)
    if kinds == {"cpu"} and claims.read().get("cost"):
        return "cost was measured on a CPU only"
    return ""
