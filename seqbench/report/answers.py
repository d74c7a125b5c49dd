"""The page of findings: the questions that the project was made for, answered from the tables.

Every sentence is computed and has its number and interval. What does not rest on enough seeds, or whose interval does not
leave the margin, is said to be open. Questions about which nothing was run are left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pandas as pd

from ..analysis.collect import Tables
from ..core.display import PRIMARY_METRIC, QUANTITIES, phrase
from . import claims, curves, published_values, reach, seen_items_gap, spent, versus
from .changes import changes
from .costs import of_curve
from .findings import enough_seeds, lead, pick, place, places
from .tables import decimals, label, metric_label, named, plural, rounded, signed
from .views import SEEN_ITEMS

VERDICTS = {
    "better": "better on",
    "worse": "worse on",
    "equivalent": "equal within the margin on",
    "inconclusive": "inconclusive on",
    "unsteady": "not judged, with seeds far apart, on",
    "seeds": "not judged, with fewer than three seeds, on",
}
COSTS = (("train", "epoch_s"), ("train", "memory"), ("inference", "batch_s"))


@dataclass(frozen=True)
class Answer:
    """A question and the sentences that answer it."""

    question: str
    sentences: list[str]


def answers(tables: Tables) -> list[Answer]:
    """Every question that the tables say something about, in the order of the page."""
    focal = label(tables.focal_model)
    found = [
        Answer(question.format(focal=focal), list(make(tables))) for question, make in QUESTIONS
    ]
    return [answer for answer in found if answer.sentences]


# --- quality ------------------------------------------------------------------------------------------------------------


def _best(tables: Tables) -> Iterator[str]:
    """Per place the highest mean and whether its lead is established."""
    summary = tables.frames["summary"]
    for track, dataset, seq_len in places(summary, "track", "dataset", "seq_len"):
        parts = [_lead(tables, dataset, track, seq_len, seen_items) for seen_items in SEEN_ITEMS]
        here = pick(summary, track=track, dataset=dataset, seq_len=seq_len).model
        absent = [m for m in tables.ordered(pick(summary, track=track).model) if m not in set(here)]
        without = f" (without {_listed(absent)})" if absent else ""
        yield f"{place(dataset, seq_len)}, track {track}{without}: {'; '.join(part for part in parts if part)}."


def _lead(tables: Tables, dataset: str, track: str, seq_len: int, seen_items: str) -> str:
    best = lead(tables, dataset, track, seq_len, seen_items)
    if best is None:
        return ""
    digits = decimals([(best.high - best.low) / 2])
    text = (
        f"with {SEEN_ITEMS[seen_items].lower()} {label(best.model)} has the highest {metric_label(PRIMARY_METRIC)},"
        f" {best.mean:.{digits}f} [{best.low:.{digits}f}, {best.high:.{digits}f}], "
    )
    if best.outside:
        text += f"{_listed(best.outside)} aside, whose seeds lie far apart, "
    if not best.n_others:
        return f"{text}with nothing beside it"
    if best.established and best.n_others == 1:
        return f"{text}and its lead over the only other model here exceeds the margin"
    if best.established:
        return f"{text}and its lead over every other model exceeds the margin"
    if len(best.unproven) == best.n_others:
        return f"{text}a lead that is not established over any other model"
    return f"{text}a lead over {_listed(best.unproven)} that is not established"


def _against(tables: Tables) -> Iterator[str]:
    """The focal model against each other trained model, places sorted by verdict."""
    rows = versus.against(tables)
    judged = versus.judged(tables)
    for (track,) in places(rows, "track"):
        if track not in judged:
            yield f"Track {track}: nothing is judged, because it was run with fewer than three seeds."
    for track, seen_items in places(rows, "track", "seen_items"):
        part = pick(rows, track=track, seen_items=seen_items)
        for comparator in tables.ordered(part.comparator) if track in judged else ():
            yield (
                f"{label(tables.focal_model)} against {label(comparator)}, track {track}, {SEEN_ITEMS[seen_items].lower()}:"
                f" {_by_verdict(pick(part, comparator=comparator))}."
            )


def _by_verdict(rows: pd.DataFrame) -> str:
    sorted_: dict[str, list[str]] = {verdict: [] for verdict in VERDICTS}
    for row in rows.itertuples():
        verdict = row.verdict if enough_seeds(row.trained_seeds) else "seeds"
        difference = signed(row.difference, row.ci_low, row.ci_high)
        sorted_[verdict].append(f"{place(row.dataset, row.seq_len)} ({difference})")
    return "; ".join(f"{VERDICTS[v]} {', '.join(found)}" for v, found in sorted_.items() if found)


def _length(tables: Tables) -> Iterator[str]:
    """What longer histories add to the shortest, per dataset and masking."""
    rows = pick(tables.frames["contrasts"], contrast="length", metric=PRIMARY_METRIC)
    rows = rows[rows.model.isin(spent.trainings(tables).model)] if len(rows) else rows
    for dataset, track, seen_items in places(rows, "dataset", "track", "seen_items"):
        part = pick(rows, dataset=dataset, track=track, seen_items=seen_items)
        shortest = part.seq_len_from.min()
        from_shortest = pick(part, seq_len_from=shortest)
        steps = [
            f"those of {longer} change {QUANTITIES[PRIMARY_METRIC].label} by {changes(tables, pick(from_shortest, seq_len_to=longer))}"
            for longer in sorted(set(from_shortest.seq_len_to))
        ]
        yield (
            f"{dataset}, track {track}, {SEEN_ITEMS[seen_items].lower()}: against histories of {shortest},"
            f" {'; '.join(steps)}."
        )


# --- cost ---------------------------------------------------------------------------------------------------------------


def cost(tables: Tables) -> Iterator[str]:
    """What the focal model costs as a multiple of each other model, over the datasets of one machine and kind of device."""
    rows = of_curve(versus.ratios(tables, versus.measured(tables)), None)
    keys = ("track", "machine_name", "device_kind", "device")
    for track, machine, kind, device in places(tables.frames["efficiency"], *keys):
        part = pick(rows, track=track, machine_name=machine, device_kind=kind, device=device)
        for phase, what in COSTS:
            text = _ratios(tables, pick(part, phase=phase, what=what))
            if text:
                over = f"the {phrase(phase, what)} of {label(tables.focal_model)} over that of another model"
                yield f"On {named(machine, device)}, track {track}, {over}: {text}."
        for text in curves.sentences(tables, track, machine, kind):
            yield f"On {named(machine, device)}, track {track}: {text[0].lower()}{text[1:]}"
    yield from reach.sentences(tables)


def _ratios(tables: Tables, rows: pd.DataFrame) -> str:
    parts = []
    for comparator in tables.ordered(rows.comparator) if len(rows) else ():
        own = pick(rows, comparator=comparator)
        ends = [
            f"{rounded(own.ratio[at], own.ratio[at] / 20)} ({place(own.dataset[at], own.seq_len[at])})"
            for at in dict.fromkeys((own.ratio.idxmin(), own.ratio.idxmax()))
        ]
        parts.append(f"{label(comparator)} {' to '.join(ends)}")
    return "; ".join(parts)


# --- the paper ----------------------------------------------------------------------------------------------------------


def _claims(tables: Tables) -> Iterator[str]:
    """Verdicts on the paper's sentences, by track; what was not measured is only counted."""
    found = claims.judge(tables, claims.read())
    for track in dict.fromkeys(f.track for f in found):
        own = [f for f in found if f.track == track]
        judged = [f for f in own if f.verdict != claims.ABSENT]
        if not judged:
            continue
        for verdict in (claims.YES, claims.NO, claims.UNSURE):
            of = [f for f in judged if f.verdict == verdict]
            if of:
                yield f"{verdict.capitalize()} in track {track} ({len(of)} of {len(judged)}): {_said(of)}."
        absent = len(own) - len(judged)
        if absent:
            yield f"Not measured here in track {track}: {plural(absent, 'claim')}."


def _said(found: list[claims.Finding]) -> str:
    """Sentences with what was measured; those that differ only behind their colon are said once."""
    groups: dict[str, list[str]] = {}
    for f in found:
        head, colon, tail = f.sentence.rpartition(": ")
        said = f"{tail} ({f.measured})"
        groups.setdefault(head + colon or said, []).append(said)
    return "; ".join(
        head + ", ".join(tails) if head.endswith(": ") else tails[0]
        for head, tails in groups.items()
    )


def _listed(models: list[str]) -> str:
    names = [label(model) for model in models]
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


LENGTH = "What does a longer history do to quality?"
CLAIMS = "Which of the paper's claims stand?"
SPENT = "What was spent?"
QUESTIONS: tuple[tuple[str, Callable[[Tables], Iterator[str] | list[str]]], ...] = (
    ("Is {focal} better than the others, and by how much?", _against),
    ("Which model ranks best?", _best),
    (LENGTH, _length),
    ("What does masking seen items do, and does training close the gap?", seen_items_gap.sentences),
    ("What does {focal} cost beside the others?", cost),
    (CLAIMS, _claims),
    ("How do these values compare with published ones?", published_values.sentences),
    (SPENT, spent.sentences),
)


def as_markdown(found: list[Answer]) -> str:
    """The page as Markdown: a question in bold, its sentences as a list."""
    parts: list[Any] = []
    for answer in found:
        items = "\n".join(f"- {sentence}" for sentence in answer.sentences)
        parts.append(f"**{answer.question}**\n\n{items}\n")
    return "\n".join(parts)
