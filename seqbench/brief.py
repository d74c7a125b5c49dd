"""The answer in brief: quality, cost and both at once, what holds over all comparisons first.

A comparison is another model at a place (a dataset at one length). Quality counts those with enough seeds. Cost is told by
machine, as the subject's over the other's, wherever it was measured. Both at once is counted where both are known.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pandas as pd

from . import reach, versus
from .both import STEP, Met, Test, at_once, measured, met
from .collect import Tables
from .costs import SUBJECT
from .findings import MAIN, pick, places
from .metrics import METRICS
from .shorter import shorter
from .tables import Cell, label, named, plural, span, whole
from .views import MASKINGS, ordered

SHARE = reach.SHARES[-1]
TESTS: tuple[tuple[str, str, Test], ...] = (  # in full, for short
    ("with a shorter training step", "With a shorter step", Met.cheaper),
    (f"sooner at {reach.goal(SHARE)}", f"Sooner at {100 * SHARE:g} %", lambda m: m.sooner(SHARE)),
)
Judged = dict[str, list[Met]]  # by track


@dataclass(frozen=True)
class Point:
    """What was found in a few words, and what that rests on."""

    lead: str
    text: str

    def __str__(self) -> str:
        """As Markdown."""
        return f"**{self.lead}** {self.text}".strip()


def points(tables: Tables) -> Iterator[Point]:
    """Quality, cost of a training step, and both at once, over the judged tracks."""
    tracks = versus.judged(tables)
    if tracks:
        every = {track: met(tables, track) for track in tracks}
        yield _quality(tables, tracks)
        yield from _cost(tables, every)
        yield from _both(every)


# --- quality ------------------------------------------------------------------------------------------------------------


def _quality(tables: Tables, tracks: list[str]) -> Point:
    settled = versus.settled(versus.against(tables))
    rows = settled[settled.track.isin(tracks)]
    ranked, masked = (pick(rows, masking=masking).verdict for masking in MASKINGS)
    of = plural(len(ranked), "comparison")
    by_track = " ".join(_of_track(track, pick(rows, track=track)) for track in tracks)
    return Point(
        f"Quality: {label(SUBJECT)} ranks {_counted(ranked, f' of {of}')} (seen items masked: {_counted(masked)}).",
        f"A comparison is another model at a place, a dataset at one length; {METRICS[MAIN].label}, seen items ranked (masked). {by_track}",
    )


def _counted(verdicts: pd.Series, of: str = "") -> str:
    better, worse = (int((verdicts == verdict).sum()) for verdict in ("better", "worse"))
    return f"better in {better or 'none'}{of}, worse in {worse or 'none'}"


def _of_track(track: str, verdicts: pd.DataFrame) -> str:
    """At how many places it is better, then worse, than each rival: by masking."""

    def counts(verdict: str) -> Iterator[str]:
        for rival in ordered(verdicts.rival):
            parts = [pick(verdicts, rival=rival, masking=masking).verdict == verdict for masking in MASKINGS]  # fmt: skip
            if verdict == "better" or any(part.any() for part in parts):
                ranked, masked = (part.sum() for part in parts)
                yield f"than {label(rival)} at {ranked} ({masked})"

    at = places(verdicts, "dataset", "seq_len")
    datasets = plural(len({dataset for dataset, _ in at}), "dataset")
    worse = f"; worse {', '.join(counts('worse'))}" if any(counts("worse")) else ""
    return f"Track {track}, {plural(len(at), 'place')} on {datasets}: better {', '.join(counts('better'))}{worse}."


# --- cost ---------------------------------------------------------------------------------------------------------------


def _cost(tables: Tables, every: Judged) -> Iterator[Point]:
    known = [m for own in every.values() for m in own if STEP in m.ratios]
    if known:
        longer = sum(m.ratios[STEP].ratio_low > 1 for m in known)
        less = sum(bool(m.cheaper()) for m in known)
        yield Point(
            f"Cost: its training step takes longer in {longer} of {plural(len(known), 'comparison')}, less time in {less or 'none'} (beyond the quartiles),"
            f" up to L = {whole(max(m.seq_len for m in known))}.",
            " ".join(text for track, own in every.items() for text in _steps(tables, track, own)),
        )


def _steps(tables: Tables, track: str, own: list[Met]) -> Iterator[str]:
    """By machine the ratios of a training step, and at which lengths it is shorter."""
    ratios = pick(versus.ratios(tables), track=track)
    for machine, kind, device in places(ratios, "machine_name", "device_kind", "device"):
        here = [m for m in own if (m.machine, m.kind) == (machine, kind) and STEP in m.ratios]
        rivals = ordered({m.rival for m in here})
        if not rivals:
            continue
        times = [f"{span(m.ratios[STEP].ratio for m in here if m.rival == r)} times {label(r)}'s" for r in rivals]  # fmt: skip
        at: dict[str, list[str]] = {}
        for rival in rivals:
            cells = [cell for _, cell in shorter(tables, track, machine, kind, rival)]
            at.setdefault(_lengths(cells), []).append(f"{label(rival)}'s")
        where = [f"than {' and '.join(names)} {text}" for text, names in at.items() if text]
        on = f"; on full windows shorter {', '.join(where)}" if where else ""
        yield f"Track {track} on {named(machine, device)}, {measured(here)}: {', '.join(times)}{on}."


def _lengths(cells: list[Cell]) -> str:
    """Where a step is shorter by several curves, said once: ``from L = 967 or 1,045 on``."""
    texts = list(dict.fromkeys(cell.text for cell in cells))
    ends = [re.fullmatch(r"from L = ([\d,]+) on", text) for text in texts]
    if len(ends) > 1 and all(ends):
        return f"from L = {' or '.join(end[1] for end in ends if end)} on"
    return " or ".join(texts)


# --- both ---------------------------------------------------------------------------------------------------------------


def _both(every: Judged) -> Iterator[Point]:
    """The paper's sentence, better and cheaper, over the comparisons where both are known."""
    totals, said = [], []
    for words, short, test in TESTS:
        passed, of, told = [0, 0], [0, 0], []
        for where, own in _by_machine(every):
            counts = {r: count for r in ordered({m.rival for m in own}) if (count := at_once(own, r, test))}  # fmt: skip
            for total, part in ((passed, 0), (of, 1)):
                total[:] = map(sum, zip(total, *(count[part] for count in counts.values()), strict=True))  # fmt: skip
            if any(any(count[0]) for count in counts.values()):
                texts = [f"than {label(r)} at {counted(count)}" for r, count in counts.items() if any(count[0])]  # fmt: skip
                texts += ["else nowhere"] if len(texts) < len(counts) else []
                told.append(f"{where} {', '.join(texts)}")
        if any(of):
            totals.append(f"{words} in {counted((passed, of))}")
        if told:
            said.append(f"{short}: {'; '.join(told)}.")
    if totals:
        yield Point(f"Both at once: better and {', better and '.join(totals)}.", " ".join(said))


def _by_machine(every: Judged) -> Iterator[tuple[str, list[Met]]]:
    for track, own in every.items():
        for machine, kind in dict.fromkeys((m.machine, m.kind) for m in own):
            yield f"track {track} on {machine}", [m for m in own if (m.machine, m.kind) == (machine, kind)]  # fmt: skip


def counted(count: tuple[Sequence[int], Sequence[int]]) -> str:
    """At how many places of how many, by masking."""
    ranked, masked = (f"{passed} of {n}" for passed, n in zip(*count, strict=True))
    return f"{ranked} ({masked})"
