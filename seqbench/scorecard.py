"""The answer at a glance: the subject against each other model in quality and in cost, a sentence and a table per track.

Quality counts places (a dataset at one length) by verdict; cost is told by machine, as the subject's over the other's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pandas as pd

from . import reach, versus
from .collect import Tables
from .costs import SUBJECT, of_curve
from .findings import MAIN, SEEDS_FOR_A_CLAIM, below_untrained, pick, places
from .metrics import METRICS
from .tables import Cell, Column, Table, known, label, plural, whole
from .tradeoff import NAMES, meeting, named, span
from .views import DASH, MASKINGS, ordered

STEP = ("train", "step_s")
GOAL = f"{100 * reach.SHARES[-1]:g} % of the best other model's validation {METRICS[reach.METRIC].label}"


@dataclass(frozen=True)
class Met:
    """The subject beside one rival at a place whose cost one machine measured.

    better: by masking, whether it ranks better. ratios: by (phase, what) the row of `versus.ratios`. until: the training to a
    share of the best rival's quality, if its time is known.
    """

    machine: str
    kind: str
    dataset: str
    seq_len: int
    rival: str
    better: dict[str, bool]
    ratios: dict[tuple[str, str], Any]
    until: reach.Beside | None

    @property
    def cheaper(self) -> bool | None:
        """Whether its training step is shorter beyond both quartiles; None where it is not known."""
        return self.ratios[STEP].ratio_high < 1 if STEP in self.ratios else None

    @property
    def sooner(self) -> bool | None:
        """Whether it trains for less time to the goal; None where that is not known."""
        return self.until.sooner if self.until else None


def met(tables: Tables, track: str) -> list[Met]:
    """Every place and machine of a track where quality, over enough seeds, and a cost are known."""
    verdicts = pick(versus.settled(versus.against(tables)), track=track)
    every = pick(versus.ratios(tables), track=track)
    until = {(b.machine, b.rival, b.dataset, b.seq_len): b for b in reach.beside(tables, track)}
    found = []
    for machine, kind, rival in places(every, "machine_name", "device_kind", "rival"):
        own = pick(every, machine_name=machine, device_kind=kind, rival=rival)
        held = pick(verdicts, rival=rival)
        for dataset, seq_len in places(held, "dataset", "seq_len"):
            costs = {
                key: meeting(tables, pick(own, phase=key[0], what=key[1]), dataset, seq_len)
                for key in versus.COSTS
            }
            ratios = {key: rows.iloc[0] for key, rows in costs.items() if len(rows)}
            if ratios:
                rows = pick(held, dataset=dataset, seq_len=seq_len)
                better = dict(zip(rows.masking, rows.verdict == "better", strict=True))
                goal = until.get((machine, rival, dataset, seq_len))
                found.append(Met(machine, kind, dataset, seq_len, rival, better, ratios, goal))
    return found


# --- in a sentence ------------------------------------------------------------------------------------------------------


def sentences(tables: Tables) -> Iterator[str]:
    """By judged track, at how many places the subject is better and cheaper at once: by the step, and by the training."""
    for track in versus.judged(tables):
        here = met(tables, track)
        rivals = ordered(m.rival for m in here)
        said = [
            f"{what} {', '.join(f'than {label(r)} at {count}' for r, count in counts.items())}"
            for what, is_cheaper in (
                ("a shorter training step", lambda m: m.cheaper),
                (f"a shorter training until {GOAL}", lambda m: m.sooner),
            )
            if (counts := {r: text for r in rivals if (text := _at_once(here, r, is_cheaper))})
        ]
        if said:
            yield (
                f"Better and cheaper at once, track {track}: {label(SUBJECT)} has a better {METRICS[MAIN].label}, seen items ranked (masked),"
                f" and {'; and '.join(said)} of the places where both are known, counted by machine."
            )


def _at_once(here: list[Met], rival: str, is_cheaper: Callable[[Met], bool | None]) -> str:
    """At how many places it is better and cheaper, of those where both are known: seen items ranked, and masked."""
    known_here = [m for m in here if m.rival == rival and is_cheaper(m) is not None]
    counts = [
        [bool(m.better[masking] and is_cheaper(m)) for m in known_here if masking in m.better]
        for masking in MASKINGS
    ]
    ranked, masked = (f"{sum(found)} of {len(found)}" for found in counts)
    return f"{ranked} ({masked})" if known_here else ""


# --- in a table ---------------------------------------------------------------------------------------------------------


def table(tables: Tables, track: str) -> Table:
    """A column per rival; rows on quality over all places, then on cost and on both at once by machine."""
    verdicts = pick(versus.settled(versus.against(tables)), track=track)
    rivals = ordered(verdicts.rival) if len(verdicts) else []
    at = places(verdicts, "dataset", "seq_len")
    columns = [
        Column(f"{label(SUBJECT)} against", number=False),
        *[Column(label(rival)) for rival in rivals],
    ]
    body: list[list[Cell]] = []
    for masking, title in MASKINGS.items():
        own = pick(verdicts, masking=masking)
        body += [
            [Cell(f"Better {METRICS[MAIN].label}, {title.lower()}"), *(_places(pick(own, rival=r)) for r in rivals)],
            [Cell("… by how much, of the better mean"), *(_share(pick(own, rival=r)) for r in rivals)],
        ]  # fmt: skip
    here = met(tables, track)
    rows = pick(versus.ratios(tables), track=track)
    for machine, kind, device in places(rows, "machine_name", "device_kind", "device"):
        own = [m for m in here if (m.machine, m.kind) == (machine, kind)]
        if own:
            steps = pick(rows, machine_name=machine, device_kind=kind)
            where = plural(len({(m.dataset, m.seq_len) for m in own}), "place")
            windows = "" if len(of_curve(steps, None)) else ", full windows as long"
            body.append([Cell(f"Its cost over the other's on {named(machine, device)}: {where}{windows}")])  # fmt: skip
            body += _of_machine(tables, own, steps, kind, rivals)
    datasets = plural(len({dataset for dataset, _ in at}), "dataset")
    caption = (
        f"{label(SUBJECT)} against each other model, track {track}: {plural(len(at), 'place')} on {datasets} with at least"
        f" {SEEDS_FOR_A_CLAIM} seeds"
    )
    notes = [
        "From the least to the largest over the places; in brackets with seen items masked. Bold: better or cheaper at every place, cheaper"
        f" beyond the quartiles. Quality was measured up to L = {whole(max(length for _, length in at))}." if at else "",
        *_untrained(tables, track, rivals),
    ]  # fmt: skip
    return Table(f"scorecard-{track}", caption, columns, body if at else [], [n for n in notes if n])  # fmt: skip


def _places(rows: pd.DataFrame) -> Cell:
    """At how many places it is better; where it is worse or equal too."""
    if rows.empty:
        return DASH
    counts = {v: int((rows.verdict == v).sum()) for v in ("better", "worse", "equivalent")}
    words = {"worse": "worse at", "equivalent": "equal at"}
    said = [f"{word} {counts[v]}" for v, word in words.items() if counts[v]] or ["worse nowhere"]
    every = counts["better"] == len(rows)
    text = f"{counts['better']} of {len(rows)}"
    return Cell(text, "" if every else ", ".join(said), counts["better"], "best" if every else "")


def _share(rows: pd.DataFrame) -> Cell:
    if rows.empty:
        return DASH
    low, high = (f"{100 * f(rows.share):+.1f}".replace("-", "−") for f in (min, max))
    return Cell(f"{low} %" if low == high else f"{low} to {high} %", value=rows.share.mean())


def _of_machine(
    tables: Tables, own: list[Met], rows: pd.DataFrame, kind: str, rivals: list[str]
) -> Iterator[list[Cell]]:
    """Costs that say something on this kind of device (resident memory of a CPU holds more than the model's), then both at once."""
    by_rival = {r: [m for m in own if m.rival == r] for r in rivals}
    for key in versus.COSTS:
        if key[1] == "memory" and kind == "cpu":
            continue
        cells = [_times([m.ratios[key] for m in by_rival[r] if key in m.ratios]) for r in rivals]
        if any(cell is not DASH for cell in cells):
            yield [Cell(_capital(NAMES[key])), *cells]
    windows = {r: list(_shorter_from(tables, rows, r)) for r in rivals}
    for fixed in dict.fromkeys(fixed for found in windows.values() for fixed, _ in found):
        cells = [Cell(dict(windows[r]).get(fixed, "not known")) for r in rivals]
        yield [Cell(f"Shorter training step, full windows, {fixed}"), *cells]
    cells = [_until([m.until for m in by_rival[r] if m.until]) for r in rivals]
    if any(cell is not DASH for cell in cells):
        yield [Cell(f"Training until {GOAL}"), *cells]
    for words, is_cheaper in (
        ("a shorter step", lambda m: m.cheaper),
        ("a shorter training until then", lambda m: m.sooner),
    ):
        counts = [_at_once(own, r, is_cheaper) for r in rivals]
        if any(counts):
            cells = [Cell(text) if text else DASH for text in counts]
            yield [Cell(f"Better and {words} at once"), *cells]


def _times(rows: list[Any]) -> Cell:
    if not rows:
        return DASH
    ratios = [row.ratio for row in rows]
    mark = "best" if max(row.ratio_high for row in rows) < 1 else ""
    return Cell(span(ratios), value=sum(ratios) / len(ratios), mark=mark)


def _until(found: list[reach.Beside]) -> Cell:
    """Ratios of time where every seed of both gets there, and who does elsewhere."""
    if not found:
        return DASH
    ratios = [b.ratio for b in found if b.ratio is not None]
    every = all(b.sooner for b in found)
    text = span(ratios) if ratios else reach.counted(found)
    return Cell(text, reach.counted(found) if ratios else "", mark="best" if every else "")


def _shorter_from(tables: Tables, steps: pd.DataFrame, rival: str) -> Iterator[tuple[str, str]]:
    """By curve over length (what was held fixed), from which length on the subject's step is shorter."""
    first = steps.iloc[0]
    rows = pick(
        tables.frames["crossovers"], track=first.track, machine_name=first.machine_name,
        device_kind=first.device_kind, curve=versus.LENGTHS, phase="train", metric="step_s",
    )  # fmt: skip
    for row in rows.itertuples():
        if {row.model_a, row.model_b} != {SUBJECT, rival}:
            continue
        if row.cheaper_min == row.cheaper_max:
            which = "at every" if row.cheaper_max == SUBJECT else "at no"
            yield row.fixed, f"{which} L up to {whole(row.x_max)}"
        elif known(row.x) and row.cheaper_max == SUBJECT and not row.extrapolated:
            at = f"from about L = {row.x:,.0f} on"
            if row.bracketed:
                at = f"from somewhere between L = {whole(row.low)} and {whole(row.high)} on"
            yield row.fixed, at


def _untrained(tables: Tables, track: str, rivals: list[str]) -> Iterator[str]:
    """At how many of the places a trained model is below the best one that needs no training."""
    trained = [SUBJECT, *rivals]
    counts: dict[str, dict[str, list[bool]]] = {m: {k: [] for k in MASKINGS} for m in trained}
    own = pick(versus.settled(versus.against(tables)), track=track)
    for dataset, seq_len, masking in places(own, "dataset", "seq_len", "masking"):
        rows = below_untrained(tables, track, dataset, seq_len, masking)
        for row in rows[rows.model.isin(trained)].itertuples():
            counts[row.model][masking].append(row.below)
    said = []
    for model in ordered(trained):
        ranked, masked = counts[model].values()
        if any(ranked) or any(masked):
            said.append(f"{label(model)} at {sum(ranked)} of {len(ranked)} ({sum(masked)} of {len(masked)})")  # fmt: skip
    if said:
        yield f"Below the best model that needs no training: {', '.join(said)}."


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
