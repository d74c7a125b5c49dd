"""Quality and cost together: is the subject better and cheaper at once, and which model fits which case?

Quality and cost meet where both are known: at a dataset and length, or on full windows as long, over a catalogue as large.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import pandas as pd

from . import versus
from .collect import Tables
from .costs import SUBJECT, of_curve
from .findings import MAIN, lead, pick, place, places
from .metrics import METRICS
from .tables import Cell, Column, Table, known, label, rounded, whole
from .views import DASH, MASKINGS, ordered

STEP = {"phase": "train", "what": "step_s"}
LEAST = {
    ("train", "step_s"): "Fastest training step",
    ("inference", "batch_s"): "Fastest inference batch",
    ("train", "memory"): "Least training memory",
}  # what a model is chosen by
NAMES = {
    ("train", "step_s"): "training step",
    ("train", "memory"): "peak memory of training (allocated)",
    ("train", "energy_j_per_step"): "energy of a training step",
    ("inference", "batch_s"): "inference batch",
    ("inference", "memory"): "peak memory of inference (allocated)",
}


def sentences(tables: Tables) -> list[str]:
    """By track, at how many places the subject is better and cheaper at once, and from which length on it is cheaper."""
    return [text for track in versus.judged(tables) for text in _both(tables, track)]


# --- where both are known -----------------------------------------------------------------------------------------------


def meeting(tables: Tables, rows: pd.DataFrame, dataset: str, seq_len: int) -> pd.DataFrame:
    """Costs at a dataset and length; without any, those of full windows as long, over a catalogue as large."""
    own = pick(of_curve(rows, None), dataset=dataset, seq_len=seq_len)
    if len(own) or dataset not in tables.datasets:
        return own
    n_items = tables.datasets[dataset]["n_items"]
    return _largest(pick(of_curve(rows, versus.LENGTHS), seq_len=seq_len, n_items=n_items))


def _largest(rows: pd.DataFrame) -> pd.DataFrame:
    """Of several jobs over full windows as long the one with most sequences in a batch, over most items."""
    if rows.empty:
        return rows
    order = rows.sort_values(["sequences", "n_items"], ascending=False, kind="stable")
    return rows[rows.job == order.job.iloc[0]]


@dataclass(frozen=True)
class Met:
    """The subject beside one rival at a place whose cost one machine measured: its step over the rival's, whether it is
    shorter beyond both quartiles, and by masking whether it ranks better."""

    machine: str
    rival: str
    ratio: float
    cheaper: bool
    better: dict[str, bool]


def _met(tables: Tables, verdicts: pd.DataFrame, steps: pd.DataFrame) -> Iterator[Met]:
    """Every place and machine where quality and cost are known."""
    for machine, rival in places(steps, "machine_name", "rival"):
        own, held = pick(steps, machine_name=machine, rival=rival), pick(verdicts, rival=rival)
        for dataset, seq_len in places(held, "dataset", "seq_len"):
            here = meeting(tables, own, dataset, seq_len)
            if len(here):
                rows = pick(held, dataset=dataset, seq_len=seq_len)
                better = dict(zip(rows.masking, rows.verdict == "better", strict=True))
                first = here.iloc[0]
                yield Met(machine, rival, first.ratio, first.ratio_high < 1, better)


def _both(tables: Tables, track: str) -> Iterator[str]:
    verdicts = pick(versus.settled(versus.against(tables)), track=track)
    steps = pick(versus.ratios(tables), track=track, **STEP)
    met = list(_met(tables, verdicts, steps))
    rivals = ordered(pd.Series([m.rival for m in met], dtype=object))
    if not met:
        return
    said = [f"than {label(r)} at {_at_once([m for m in met if m.rival == r])}" for r in rivals]
    yield (
        f"Better and cheaper at once, track {track}: {label(SUBJECT)} has a better {METRICS[MAIN].label}, seen items ranked (masked),"
        f" and a shorter training step {', '.join(said)} of the places where quality and cost are known, counted by machine."
    )
    for machine, kind, device in places(steps, "machine_name", "device_kind", "device"):
        own = pick(steps, machine_name=machine, device_kind=kind)
        here = [m for m in met if m.machine == machine]
        if not here:
            continue
        windows = "" if len(of_curve(own, None)) else " (full windows as long)"
        times = [f"{span(m.ratio for m in here if m.rival == r)} times as long as {label(r)}'s" for r in rivals]  # fmt: skip
        text = f"On {named(machine, device)} at these places{windows} its training step takes {', '.join(times)}."
        cheaper = [pair for r in rivals for pair in _cheaper_from(tables, own, r)]
        for fixed in dict.fromkeys(fixed for fixed, _ in cheaper):
            said = ", ".join(words for f, words in cheaper if f == fixed)
            text += f" On full windows, {fixed}, it is shorter {said}."
        if cheaper:
            text += f" Quality was measured up to L = {whole(verdicts.seq_len.max())} only."
        yield text


def _at_once(met: list[Met]) -> str:
    counts = {m: [one.better[m] and one.cheaper for one in met if m in one.better] for m in MASKINGS}  # fmt: skip
    ranked, masked = (f"{sum(found)} of {len(found)}" for found in counts.values())
    return f"{ranked} ({masked})"


def _cheaper_from(tables: Tables, steps: pd.DataFrame, rival: str) -> Iterator[tuple[str, str]]:
    """By curve over length, from which length on the subject's step is shorter."""
    first = steps.iloc[0]
    rows = pick(
        tables.frames["crossovers"], track=first.track, machine_name=first.machine_name,
        device_kind=first.device_kind, curve=versus.LENGTHS, phase="train", metric="step_s",
    )  # fmt: skip
    for row in rows.itertuples():
        if {row.model_a, row.model_b} != {SUBJECT, rival}:
            continue
        than = f"than {label(rival)}'s"
        if row.cheaper_min == row.cheaper_max:
            which = "at every length" if row.cheaper_max == SUBJECT else "at no length"
            text = f"{than} {which} up to {whole(row.x_max)}"
        elif known(row.x) and row.cheaper_max == SUBJECT and not row.extrapolated:
            at = f"about L = {row.x:,.0f}"
            if row.bracketed:
                at = f"somewhere between L = {whole(row.low)} and {whole(row.high)}"
            text = f"{than} from {at} on"
        else:
            continue
        yield row.fixed, text


def named(machine: str, device: str) -> str:
    """A machine with its device, where that is no CPU."""
    return machine if device == "cpu" else f"{machine} ({device})"


def span(values: Iterable[float]) -> str:
    """The least and the largest of some factors."""
    values = list(values)
    low, high = min(values), max(values)
    ends = dict.fromkeys(rounded(value, value / 50) for value in (low, high))
    return " to ".join(ends)


# --- tables -------------------------------------------------------------------------------------------------------------


def choice(tables: Tables, track: str) -> Table:
    """By place: who ranks best, or who cannot be told apart, and which model trains and infers fastest on each machine.

    Below the places the longest windows whose cost was measured, where no quality is known.
    """
    verdicts = pick(versus.settled(versus.against(tables)), track=track)
    rows = pick(versus.costs(tables), track=track)
    where = places(rows, "machine_name", "device_kind", "device")
    columns = [Column("Dataset and length", number=False)]
    columns += [Column(title, f"Best {METRICS[MAIN].label}", number=False) for title in MASKINGS.values()]  # fmt: skip
    for machine, kind, device in where:
        columns += [Column(LEAST[key], named(machine, device), number=False) for key in _chosen(kind)]  # fmt: skip
    body: list[list[Cell]] = []
    for dataset, seq_len in sorted(places(verdicts, "dataset", "seq_len")):
        cells = [Cell(place(dataset, seq_len))]
        cells += [_best(tables, dataset, track, seq_len, masking) for masking in MASKINGS]
        for machine, kind, _ in where:
            own = pick(rows, machine_name=machine, device_kind=kind)
            cells += _cheapest(meeting(tables, own, dataset, seq_len), kind)
        body.append(cells)
    windows = of_curve(rows, versus.LENGTHS)
    for seq_len in sorted({windows.seq_len.max()} - set(verdicts.seq_len)) if len(windows) else ():
        cells = [Cell(f"full windows of L = {whole(seq_len)}"), *[Cell("not measured", mark="muted")] * 2]  # fmt: skip
        for machine, kind, _ in where:
            own = pick(windows, machine_name=machine, device_kind=kind, seq_len=seq_len)
            cells += _cheapest(_largest(own), kind)
        body.append(cells)
    kept = [k for k in range(len(columns)) if any(row[k] is not DASH for row in body)]
    columns, body = [columns[k] for k in kept], [[row[k] for k in kept] for row in body]
    caption = f"Which model for which case, track {track}"
    notes = [
        "Best: bold where the lead over every other model, also those without training, exceeds the margin; else those that are"
        " not told apart from the highest mean, which comes first. Fastest, least: the lowest median of the trained models, and how many times that"
        f" {label(SUBJECT)} needs; where a dataset was not measured, of full windows as long, over a catalogue as large. Machines measured batches of other sizes: the"
        " table of multiples names them."
    ]
    return Table(f"choice-{track}", caption, columns, body if len(rows) else [], notes)


def _chosen(kind: str) -> list[tuple[str, str]]:
    """Costs to choose by: resident memory of a CPU holds more than the model's."""
    return [key for key in LEAST if kind == "cuda" or key[1] != "memory"]


def _best(tables: Tables, dataset: str, track: str, seq_len: int, masking: str) -> Cell:
    best = lead(tables, dataset, track, seq_len, masking)
    if best is None:
        return DASH
    if best.established:
        return Cell(label(best.model), mark="best")
    return Cell(", ".join(label(model) for model in (best.model, *ordered(best.unproven))))


def _cheapest(rows: pd.DataFrame, kind: str) -> Iterator[Cell]:
    for phase, what in _chosen(kind):
        own = pick(rows, phase=phase, what=what)
        if own.empty:
            yield DASH
            continue
        least = own.loc[own["median"].idxmin()]
        subject = pick(own, model=SUBJECT)["median"]
        times = subject.iloc[0] / least["median"] if len(subject) else 1
        detail = f"{label(SUBJECT)} ×{rounded(times, times / 50)}" if least.model != SUBJECT else ""
        yield Cell(label(least.model), detail, least["median"])


def multiples(tables: Tables, kinds: Sequence[str] = ("cuda", "cpu")) -> Table:
    """The subject's cost over that of each other model, by track and machine: on the datasets, at both ends of the curve."""
    every = versus.ratios(tables)
    every = every[every.device_kind.isin(kinds)]
    rivals = ordered(every.rival)
    columns = [Column("Cost", number=False), *[Column(label(rival)) for rival in rivals]]
    body: list[list[Cell]] = []
    keys = places(every, "track", "machine_name", "device_kind", "device")
    for track, machine, kind, device in sorted(keys, key=lambda key: kinds.index(key[2])):
        own = pick(every, machine_name=machine, device_kind=kind, track=track)
        backends = ", ".join(dict.fromkeys(own.backend))
        body.append([Cell(f"{named(machine, device)}, track {track}; kernels of {label(SUBJECT)}: {backends}")])  # fmt: skip
        body += _multiples(own, kind, rivals)
    caption = f"Cost of {label(SUBJECT)} over that of each other model"
    notes = [f"Medians. Below 1 {label(SUBJECT)} is cheaper; bold where its upper quartile lies below the other's lower one. Two numbers: the least and the largest ratio over the places."]  # fmt: skip
    if "bert4rec" in rivals:
        notes.append(
            f"Of the targets of a step {label('bert4rec')} predicts only those it masks: its steps are cheaper, and it needs more of them."
        )
    return Table("multiples", caption, columns, body, notes)


def _multiples(own: pd.DataFrame, kind: str, rivals: list[str]) -> Iterator[list[Cell]]:
    real = of_curve(own, None)
    where = places(real, "dataset", "seq_len")
    name = place(*where[0]) if len(where) == 1 else f"{len(where)} places"
    yield from _quantities(real, name, kind, rivals, sized=True)
    windows = of_curve(own, versus.LENGTHS)
    for (fixed,) in places(windows, "fixed"):
        part = pick(windows, fixed=fixed)
        for seq_len in sorted({part.seq_len.min(), part.seq_len.max()}):
            name = f"full windows of L = {whole(seq_len)}, {fixed}"
            yield from _quantities(pick(part, seq_len=seq_len), name, kind, rivals)


def _quantities(
    rows: pd.DataFrame, name: str, kind: str, rivals: list[str], sized: bool = False
) -> Iterator[list[Cell]]:
    """sized: with the size of the batches, where the name does not say it."""
    for phase, what in versus.COSTS:
        part = pick(rows, phase=phase, what=what)
        if part.empty or (what == "memory" and kind == "cpu"):  # resident: more than the model's
            continue
        ends = dict.fromkeys(whole(f(part.batch_size)) for f in (min, max))
        unit = "targets" if phase == "train" else "users"
        size = f", {' to '.join(ends)} {unit}" if sized else ""
        yield [
            Cell(f"{name}: {NAMES[phase, what]}{size}"),
            *(_multiple(pick(part, rival=r)) for r in rivals),
        ]


def _multiple(rows: pd.DataFrame) -> Cell:
    if rows.empty:
        return DASH
    mark = "best" if rows.ratio_high.max() < 1 else ""
    return Cell(span(rows.ratio), value=rows.ratio.mean(), mark=mark)
