"""The answer in a few sentences: is the subject better and cheaper, how often is it better, how many claims stand."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from . import anchors, claims, reach, tradeoff, versus
from .collect import MARGIN, Tables
from .costs import SUBJECT
from .experiment import Training
from .findings import MAIN, SEEDS_FOR_A_CLAIM, below_untrained, pick, place, places
from .metrics import METRICS
from .tables import label, plural, whole
from .views import MASKINGS, QUALITIES, ordered


def headline(tables: Tables) -> list[str]:
    """Sentences on quality and cost together, on the time to a quality, on quality by track, on the paper's claims and on published values."""
    return [
        *tradeoff.sentences(tables),
        *reach.sentences(tables),
        *_quality(tables),
        *_claims(tables),
        *_anchors(tables),
    ]


def _quality(tables: Tables) -> Iterator[str]:
    rows = versus.settled(versus.against(tables))
    for track in versus.judged(tables):
        own = pick(rows, track=track)
        said = [
            f"than {label(r)} at {_counted(pick(own, rival=r), 'better')}"
            for r in ordered(own.rival)
        ]
        rest = [
            f"{words} {label(r)} at {_counted(pick(own, rival=r), verdict)}"
            for verdict, words in (
                ("worse", "worse than"),
                ("equivalent", "equal within the margin to"),
            )
            for r in ordered(own.rival)
            if (pick(own, rival=r).verdict == verdict).any()
        ]
        at = places(own, "dataset", "seq_len")
        datasets = plural(len({dataset for dataset, _ in at}), "dataset")
        name = METRICS[MAIN].label
        yield " ".join([
            f"Quality, track {track}, seen items ranked (masked), {plural(len(at), 'place')} on {datasets} with at least"
            f" {SEEDS_FOR_A_CLAIM} seeds: {label(SUBJECT)} has a better {name} {'; '.join(said)}. By {name} it is"
            f" {'; '.join(rest) or 'worse nowhere'}; the rest is open.",
            *_opposed(tables, own),
            *_untrained(tables, own),
        ])  # fmt: skip


def _counted(rows: pd.DataFrame, verdict: str) -> str:
    """At how many places a verdict was given, with seen items ranked and masked."""
    parts = [pick(rows, masking=masking) for masking in MASKINGS]
    ranked, masked = (f"{(part.verdict == verdict).sum()} of {len(part)}" for part in parts)
    return f"{ranked} ({masked})"


def _opposed(tables: Tables, decided: pd.DataFrame) -> Iterator[str]:
    """Where another metric decides the other way."""
    keys = ["track", "dataset", "seq_len", "masking", "rival"]
    found = []
    for metric in (m for m in QUALITIES if m != MAIN):
        other = versus.settled(versus.against(tables, metric))
        if other.empty or decided.empty:
            continue
        both = decided[[*keys, "verdict"]].merge(other, on=keys, suffixes=("_main", ""))
        found += [
            f"{METRICS[metric].label} against {label(row.rival)} on {place(row.dataset, row.seq_len)},"
            f" {MASKINGS[row.masking].lower()}"
            for row in both.itertuples()
            if {row.verdict, row.verdict_main} == {"better", "worse"}
        ]
    if found:
        yield f"Other metrics decide the other way: {'; '.join(found)}."


def _untrained(tables: Tables, own: pd.DataFrame) -> Iterator[str]:
    """At how many of the places a trained model is below the best one that needs no training."""
    trained = {SUBJECT, *own.rival}
    counts: dict[str, dict[str, list[bool]]] = {m: {k: [] for k in MASKINGS} for m in trained}
    for track, dataset, seq_len, masking in places(own, "track", "dataset", "seq_len", "masking"):
        rows = below_untrained(tables, track, dataset, seq_len, masking)
        for row in rows[rows.model.isin(trained)].itertuples():
            counts[row.model][masking].append(row.below)
    said = []
    for model in ordered(pd.Series(list(trained), dtype=object)):
        ranked, masked = counts[model].values()
        if any(ranked) or any(masked):
            said.append(f"{label(model)} at {sum(ranked)} of {len(ranked)} ({sum(masked)} of {len(masked)})")  # fmt: skip
    if said:
        yield f"Below the best model that needs no training: {', '.join(said)}."


def _claims(tables: Tables) -> Iterator[str]:
    """Verdicts by track; a track in which nothing of the paper was measured is left out."""
    counts = []
    found = claims.judge(tables, claims.read())
    for track in dict.fromkeys(f.track for f in found if f.verdict != claims.ABSENT):
        own = [f for f in found if f.track == track]
        verdicts = [f.verdict for f in own]
        order = (claims.YES, claims.NO, claims.UNSURE, claims.ABSENT)
        said = [f"{verdicts.count(v)} {v}" for v in order if v in verdicts]
        only = sum(f.direction_holds for f in own)
        if only:
            said[verdicts.count(claims.YES) > 0] += f" (of {only} the direction holds, not the figure)"  # fmt: skip
        counts.append(f"in track {track} {', '.join(said)}")
    if counts:
        yield f"Claims of the paper, sentence by sentence and metric by metric: {'; '.join(counts)}."


def _anchors(tables: Tables) -> Iterator[str]:
    """The counts alone: what was missed stands with the published values."""
    yield from (text for text in anchors.sentences(tables) if not text.startswith(anchors.MISSED))


# --- what the sentences mean ---------------------------------------------------------------------------------------------


def words(tables: Tables) -> str:
    """What the sentences mean by their words."""
    asked = Training()
    return (
        "A *place* is a dataset at one `L`, the longest history that a model reads. Track `matched` gives all models the same width, depth,"
        f" loss and budget of updates; `tuned` {_trials(tables)}; `paper` is the paper's protocol in RecBole's"
        " implementation (explicit attention, unfused GELU), so that its costs are also those of other code. Items are ranked against the"
        " whole catalogue, the items that a user has seen *ranked* too or *masked*; the step of a training whose weights are tested, and the best"
        f" trial, are chosen by validation {METRICS[asked.select_on].label} with {MASKINGS[asked.select_masking].lower()}. *Better* and *worse* are"
        f" said where the 95 % interval of the paired difference lies beyond {100 * MARGIN:g} % of the better mean, *equal* where it lies within,"
        f" with at least {SEEDS_FOR_A_CLAIM} seeds; everything else is open.\n"
    )


def _trials(tables: Tables) -> str:
    """How much the tuned settings were searched for."""
    by_dataset = tables.settings["settings"].get("tuned", {}).values()
    every = [
        entry["tuning"] for models in by_dataset for entry in models.values() if "tuning" in entry
    ]
    if not every:
        return "each its best setting among equally many trials"
    trials, steps = ({tuning[key] for tuning in every} for key in ("trials", "max_steps"))
    ends = (
        " to ".join(dict.fromkeys(whole(f(values)) for f in (min, max)))
        for values in (trials, steps)
    )
    return "each the best of {} trials, the first of them `matched`'s setting, of at most {} updates".format(
        *ends
    )
