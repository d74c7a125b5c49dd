"""What more updates do to quality: tracks that differ from another one in nothing but their budget.

A training that its budget ended says what it said at that budget. Where a track trained the same models with a larger one, until
validation stopped improving, this is what became of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pandas as pd

from ..analysis.collect import Tables
from ..labels import PARTIAL, SUBJECT
from ..metrics import METRICS
from . import spent, versus
from .changes import changes
from .findings import MAIN, enough_seeds, pick, place, places
from .tables import decimals, label, plural, signed, whole
from .views import MASKINGS, ordered


@dataclass(frozen=True)
class Step:
    """Two tracks at one place, the second with more updates."""

    dataset: str
    seq_len: int
    track_from: str
    track: str
    rows: pd.DataFrame  # contrasts of MAIN, both maskings
    trainings: pd.DataFrame  # those of the second
    fewer: int
    more: int

    @property
    def seeds(self) -> str:
        """How many seeds the larger budget has, and whether that is enough to judge."""
        counts = self.trainings.groupby("model").seed.nunique()
        ends = sorted({int(counts.min()), int(counts.max())})
        text = " to ".join(map(str, [*ends[:-1], plural(ends[-1], "seed")]))
        return text if enough_seeds(ends[0]) else f"{text}, not judged"


def steps(tables: Tables) -> Iterator[Step]:
    """Every pair of such tracks at every place."""
    rows = pick(tables.frames["contrasts"], contrast="budget", metric=MAIN)
    trainings = spent.trainings(tables)
    for dataset, seq_len, *tracks in places(rows, "dataset", "seq_len_to", "track_from", "track"):
        own = pick(rows, dataset=dataset, seq_len_to=seq_len, track_from=tracks[0], track=tracks[1])
        fewer, more = (pick(trainings, dataset=dataset, seq_len=seq_len, track=t) for t in tracks)
        budgets = (int(part.max_steps.max()) for part in (fewer, more))
        yield Step(dataset, seq_len, *tracks, own, more, *budgets)


def sentences(tables: Tables) -> Iterator[str]:
    """What the larger budget changed, where its trainings ended, and what is between the models there."""
    for step in steps(tables):
        at = place(step.dataset, step.seq_len)
        for masking in MASKINGS:
            part = pick(step.rows, masking=masking)
            yield (
                f"{at}, {MASKINGS[masking].lower()}, the same seeds: up to {whole(step.more)} updates (track {step.track}) instead of {whole(step.fewer)}"
                f" (track {step.track_from}) change {METRICS[MAIN].label} by {changes(tables, part)}."
            )
        yield f"{at}, track {step.track}: {_ends(step.trainings)}."
        between = [text for masking in MASKINGS if (text := _between(tables, step, masking))]
        if between:
            yield f"{at}, track {step.track} ({step.seeds}), {METRICS[MAIN].label} of {label(SUBJECT)} minus that of another model: {'; '.join(between)}."  # fmt: skip


def brief(tables: Tables) -> Iterator[str]:
    """Means with the larger budget, one line per place."""
    for step in steps(tables):
        summary = pick(tables.frames["summary"], dataset=step.dataset, seq_len=step.seq_len, track=step.track, metric=MAIN, ties="conservative")  # fmt: skip
        told = ", ".join(means(pick(summary, model=m)) for m in ordered(step.rows.model))
        part = [label(m) for m in ordered(step.rows.model) if m in PARTIAL]
        fewer = (
            f"; {', '.join(part)}, which predicts only a part of a step's targets, made fewer predictions"
            if part
            else ""
        )
        yield (
            f"With up to {whole(step.more)} updates instead of {whole(step.fewer)} ({place(step.dataset, step.seq_len)}, track {step.track},"
            f" {step.seeds}): {METRICS[MAIN].label} {told}; {_ends(step.trainings)}{fewer}."
        )


def _ends(trainings: pd.DataFrame) -> str:
    """Where the trainings stopped and which step was chosen, means over seeds."""
    said = []
    for model in ordered(trainings.model):
        own = pick(trainings, model=model)
        ended = int(own.still_improving.sum())
        by = f", {ended} of {len(own)} by its budget" if ended else ""
        said.append(f"{label(model)} after {whole(own.steps.mean())} (chosen {whole(own.best_step.mean())}{by})")  # fmt: skip
    return f"updates at which trainings ended: {', '.join(said)}"


def _between(tables: Tables, step: Step, masking: str) -> str:
    where = {"dataset": step.dataset, "seq_len": step.seq_len, "track": step.track}
    rows = pick(versus.against(tables), masking=masking, **where)
    said = []
    for rival in ordered(rows.rival) if len(rows) else ():
        row = pick(rows, rival=rival).iloc[0]
        said.append(f"{label(rival)} {signed(row.difference, row.ci_low, row.ci_high)}")
    return f"{MASKINGS[masking].lower()}, {', '.join(said)}" if said else ""


def means(rows: pd.DataFrame) -> str:
    """A model's mean with seen items ranked and, in brackets, masked."""
    by = [pick(rows, masking=masking).iloc[0] for masking in MASKINGS]
    texts = [f"{row['mean']:.{decimals([(row.ci_high - row.ci_low) / 2])}f}" for row in by]
    return f"{label(by[0].model)} {texts[0]} ({texts[1]})"
