"""Warnings that stand above the results. Every sentence is computed from the tables."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pandas as pd

from ..analysis.collect import Tables
from ..analysis.protocols import variants
from ..analysis.summary import SEEDS_FOR_A_CLAIM
from ..core.display import PRIMARY_METRIC, QUANTITIES
from ..core.jobs import Training
from . import versus
from .findings import (
    below_popularity,
    below_untrained,
    condition_name,
    failures,
    not_a_number,
    off_the_curve,
    pick,
    seeds_apart,
    unique,
)
from .tables import known, label, plural
from .views import SEEN_ITEMS

NOISY = 0.25  # interquartile range as a share of the median
TIED = 0.1  # share of users whose test item a tie decided, above which it is told
FEW = 6  # examples named before the rest is counted


@dataclass(frozen=True)
class Flag:
    """A warning that stands above the results. level: `bad`, `warn` or `note`."""

    level: str
    title: str
    text: str


def flags(tables: Tables) -> list[Flag]:
    """Warnings that belong above the results, most serious first."""
    return [flag for maker in _FLAGS for flag in maker(tables)]


def _few(names: list[str]) -> str:
    rest = f", and {len(names) - FEW} more" if len(names) > FEW else ""
    return ", ".join(names[:FEW]) + rest


def _name(row: Any) -> str:
    seed = f", seed {int(row.seed)}" if known(row.seed) else ""
    return f"{label(row.model)} ({condition_name(row.dataset, row.seq_len)}{seed})"


def _failed(tables: Tables) -> Iterator[Flag]:
    every = failures(tables)
    every = every[[not off_the_curve(row) for row in every.itertuples()]] if len(every) else every
    for (status,) in unique(every, "status"):
        rows = pick(every, status=status)
        title = f"{plural(len(rows), 'job')} ended as {status}"
        yield Flag("bad", title, _few([_name(row) for row in rows.itertuples()]) + ".")


def _below(tables: Tables) -> Iterator[Flag]:
    judged = versus.judged(tables)
    found = [text for track, text in below_popularity(tables) if track in judged or not judged]
    if found:
        yield Flag("bad", "A trained model is below Popularity", "; ".join(found) + ".")


def _below_unjudged(tables: Tables) -> Iterator[Flag]:
    """The same in tracks of too few seeds, where others were run with enough."""
    judged = versus.judged(tables)
    found = [text for track, text in below_popularity(tables) if judged and track not in judged]
    if found:
        title = "Below Popularity in a track that is not judged"
        yield Flag("warn", title, "; ".join(found) + ".")


def _below_untrained(tables: Tables) -> Iterator[Flag]:
    """Counted by track, seen items and model: in how many of the conditions that are no variants of others."""
    rows = pick(tables.frames["summary"], metric=PRIMARY_METRIC, ties="conservative")
    rows = rows[~rows.dataset.isin(variants(tables.datasets))] if len(rows) else rows
    found = []
    for track, seen_items in unique(rows, "track", "seen_items"):
        keys = unique(pick(rows, track=track, seen_items=seen_items), "dataset", "seq_len")
        every = pd.concat(below_untrained(tables, track, *key, seen_items) for key in keys)
        said = [
            f"{label(model)} {own.sum()} of {len(own)}"
            for model in dict.fromkeys(every.model)
            for own in [every.below[every.model == model]]
            if own.any()
        ]
        if said:
            found.append(f"{track}, {SEEN_ITEMS[seen_items].lower()}: {', '.join(said)}")
    if found:
        text = f"By {QUANTITIES[PRIMARY_METRIC].label}, of the conditions where both are: {'; '.join(found)}."
        yield Flag("warn", "Trained models below the best one without training", text)


def _nan(tables: Tables) -> Iterator[Flag]:
    found = not_a_number(tables)
    if found:
        yield Flag("bad", "Values that are not numbers", _few(found) + ".")


def _improving(tables: Tables) -> Iterator[Flag]:
    rows = pick(tables.frames["experiments"], kind="train", status="ok", trained=True)
    ended = pick(rows, still_improving=True)
    if len(ended):
        counts = ended.groupby(["dataset", "track"], sort=False).size()
        names = []
        for (dataset, track), n in counts.sort_values(ascending=False, kind="stable").items():
            of = len(pick(rows, dataset=dataset, track=track))
            names.append(f"{n} of {plural(of, 'training')} on {dataset} ({track})")
        text = (
            f"{_few(names)} used up their budget before validation stopped improving for long enough to end them. More"
            " steps might raise their quality: what is said of them holds at their budget."
        )
        yield Flag("warn", "Ended by the budget", text)


def _apart(tables: Tables) -> Iterator[Flag]:
    found = [f"{words} ({track})" for track, words in seeds_apart(tables)]
    if found:
        text = (
            f"Test {QUANTITIES[PRIMARY_METRIC].label} by seed, {SEEN_ITEMS[Training().select_seen_items].lower()}: {'; '.join(found)}. A mean over such"
            " seeds describes none of them, and what is said of the model there is said of settings that do not always train."
        )
        yield Flag("warn", "Seeds far apart", text)


def _fallback(tables: Tables) -> Iterator[Flag]:
    rows = pick(tables.frames["experiments"], fallback=True)
    for backend, reason in unique(rows, "backend", "fallback_reason"):
        models = _few(sorted({label(model) for model in pick(rows, backend=backend).model}))
        why = f" ({reason})" if known(reason) else ""
        text = f"{models} ran on the kernels {backend}{why}. Their times say nothing about the missing ones."
        yield Flag("warn", "Fallback kernels", text)


def _few_seeds(tables: Tables) -> Iterator[Flag]:
    summary = tables.frames["summary"]
    trained = summary[summary.budget.notna()] if len(summary) else summary
    if len(trained) and trained.n_seeds.min() < SEEDS_FOR_A_CLAIM:
        counts = sorted(set(trained.n_seeds[trained.n_seeds < SEEDS_FOR_A_CLAIM]))
        seeds = " or ".join(str(n) for n in counts)
        text = (
            f"Some models were trained with only {seeds} seed{'' if counts == [1] else 's'}."
            " With one seed an interval covers the choice of users, not the luck of the training;"
            f" below {SEEDS_FOR_A_CLAIM} seeds no difference is marked as established."
        )
        yield Flag("warn", "Few seeds", text)


def _substitute_file(tables: Tables) -> Iterator[Flag]:
    rows = tables.frames["experiments"]
    rows = rows[rows.substitute_file.notna()] if len(rows) else rows
    bases = variants(tables.datasets)
    found = {
        bases.get(name, name): differs
        for name, differs in unique(rows, "dataset", "substitute_file")
    }
    if found:
        said = [f"{name}: {differs}" for name, differs in found.items()]
        yield Flag("note", "Stand-ins for the publishers' files", f"{'. '.join(said)}.")


def _tied(tables: Tables) -> Iterator[Flag]:
    """Datasets where the order of events of one time decides which item is the test item."""
    found, hidden = [], []
    bases = variants(tables.datasets)
    for name, facts in tables.datasets.items():
        if name in bases:
            continue
        if facts["ties"] is None:
            hidden.append(name)
        elif facts["ties"]["test_decided_by_tie"] > TIED:
            found.append(f"{facts['ties']['test_decided_by_tie']:.0%} ({name})")
    if found:
        text = f"Which item is the test item was decided by the order in the file among events of one time for these shares of the users: {', '.join(found)}."
        if hidden:
            text += f" Not visible in the files of {', '.join(hidden)}."
        yield Flag(
            "note",
            "Ties in time",
            f"{text} No interval holds what another order would change; config/protocols.yaml measures it.",
        )


def _noisy(tables: Tables) -> Iterator[Flag]:
    cost = tables.frames["efficiency"]
    cost = cost[cost.metric.isin(["step_s", "batch_s"])] if len(cost) else cost
    noisy = cost[cost.iqr > NOISY * cost["median"]] if len(cost) else cost
    if len(noisy):
        several = cost.machine_name.nunique() > 1
        judged = versus.judged(tables)
        aside = [(r.track not in judged, known(r.curve)) for r in noisy.itertuples()]
        noisy = noisy.iloc[
            sorted(range(len(noisy)), key=aside.__getitem__)
        ]  # what the verdicts rest on first
        names = [
            f"{label(r.model)} {QUANTITIES[r.metric].label.lower()} ({r.track}, {condition_name(r.dataset, r.seq_len)}"
            f"{f', {r.machine_name}' if several else ''})"
            for r in noisy.itertuples()
        ]
        names = list(dict.fromkeys(names))
        text = f"The interquartile range exceeds {NOISY:.0%} of the median: {_few(names)}."
        yield Flag("note", "Noisy times", text)


def _dirty(tables: Tables) -> Iterator[Flag]:
    rows = pick(tables.frames["experiments"], code_dirty=True)
    if len(rows):
        text = f"{len(rows)} records were made with local changes; the hashes of their sources are listed below."
        yield Flag("note", "Uncommitted code", text)


def _shared(tables: Tables) -> Iterator[Flag]:
    """Measurements that were not alone. Trainings may share a GPU: their times are no cost, and where they are told it is said."""
    rows = pick(tables.frames["experiments"], kind="measure")
    rows = pick(rows, shared_gpu=True)
    if len(rows):
        names = list(dict.fromkeys(_name(row) for row in rows.itertuples()))
        text = f"Another process computed on the GPU at the same time: {_few(names)}. Times and memory of the device are not theirs alone."
        yield Flag("warn", "Shared GPU", text)


def _throttled(tables: Tables) -> Iterator[Flag]:
    rows = tables.frames["experiments"]
    rows = rows[rows.throttled.notna()] if len(rows) else rows
    for (why,) in unique(rows, "throttled"):
        names = list(dict.fromkeys(_name(row) for row in pick(rows, throttled=why).itertuples()))
        yield Flag("note", "Clocks were held down", f"{why}: {_few(names)}.")


_FLAGS = (
    *(_failed, _below, _nan, _below_untrained, _apart, _improving, _fallback, _shared, _few_seeds),
    *(_below_unjudged, _substitute_file, _tied, _throttled, _noisy, _dirty),
)
