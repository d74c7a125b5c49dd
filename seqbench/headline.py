"""The answer in a few sentences: how often the subject is better, what it costs beside the others, how many claims stand."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pandas as pd

from . import anchors, answers, claims, spent
from .collect import Tables
from .costs import MEMORY, SUBJECT, of_curve
from .findings import MAIN, SEEDS_FOR_A_CLAIM, enough_seeds, pick, places
from .glance import LENGTHS
from .metrics import METRICS
from .protocols import OPPOSITE
from .tables import label, rounded, whole
from .views import MASKINGS, ordered


def headline(tables: Tables) -> list[str]:
    """Sentences on quality by track, on time and memory by machine, on the paper's claims and on published values."""
    return [
        *_quality(tables),
        *_curve(tables),
        *_epochs(tables),
        *_claims(tables),
        *_anchors(tables),
    ]


def judged(tables: Tables) -> list[str]:
    """Tracks in which the subject was compared with another trained model over enough seeds."""
    rows = against(tables)
    rows = rows[[enough_seeds(n) for n in rows.trained_seeds]] if len(rows) else rows
    return [track for (track,) in places(rows, "track")]


def against(tables: Tables) -> pd.DataFrame:
    """The subject's NDCG@10 held against every other trained model's: rows of `comparisons`, read from its side.

    Adds `rival`, and `share`, `share_low`, `share_high`: the difference as a share of the better mean.
    """
    rows = pick(tables.frames["comparisons"], metric=MAIN)
    if rows.empty:
        return rows
    trained = set(spent.trainings(tables).model)
    rows = rows[rows.model_a.isin(trained) & rows.model_b.isin(trained)]
    rows = rows[(rows.model_a == SUBJECT) | (rows.model_b == SUBJECT)]
    first = rows.model_a == SUBJECT
    better = rows[["mean_a", "mean_b"]].max(axis=1)
    ends = {"share": "difference", "share_low": "ci_low", "share_high": "ci_high"}
    mirrored = {"share": "difference", "share_low": "ci_high", "share_high": "ci_low"}
    return rows.assign(
        rival=rows.model_b.where(first, rows.model_a),
        verdict=rows.verdict.where(first, rows.verdict.replace(OPPOSITE)),
        **{key: rows[ends[key]].where(first, -rows[mirrored[key]]) / better for key in ends},
    )


def _quality(tables: Tables) -> Iterator[str]:
    rows = against(tables)
    for track in judged(tables):
        own = pick(rows, track=track)
        own = own[[enough_seeds(n) for n in own.trained_seeds]]
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
        yield (
            f"Quality, track {track}, seen items ranked (masked), of the places with at least {SEEDS_FOR_A_CLAIM} seeds:"
            f" {label(SUBJECT)} has a better {METRICS[MAIN].label} {'; '.join(said)}. It is {'; '.join(rest) or 'worse nowhere'};"
            " the rest is open."
        )


def _counted(rows: pd.DataFrame, verdict: str) -> str:
    """At how many places a verdict was given, with seen items ranked and masked."""
    parts = [pick(rows, masking=masking) for masking in MASKINGS]
    ranked, masked = (f"{(part.verdict == verdict).sum()} of {len(part)}" for part in parts)
    return f"{ranked} ({masked})"


def _curve(tables: Tables) -> Iterator[str]:
    """Time and memory of a training step at both ends of the curve over length; on CPUs only where no GPU was measured."""
    every = of_curve(tables.frames["efficiency"], LENGTHS)
    gpus = pick(every, device_kind="cuda")
    every = gpus if len(gpus) else every
    for track, machine, kind, fixed in places(
        every, "track", "machine_name", "device_kind", "fixed"
    ):
        own = pick(every, track=track, machine_name=machine, fixed=fixed, phase="train")
        parts = {
            "takes": ("as long as", pick(own, metric="step_s")),
            "needs": ("the memory of", pick(own, metric=MEMORY[kind][0])),
        }
        said = [
            f"{verb} {'; '.join(texts)}"
            for verb, (than, rows) in parts.items()
            if (
                texts := [
                    t for r in ordered(rows.model) if r != SUBJECT for t in _ends(rows, r, than)
                ]
            )
        ]
        if said:
            yield f"Cost on {machine}, track {track}, full synthetic windows, {fixed}: a training step of {label(SUBJECT)} {', and '.join(said)}."


def _ends(rows: pd.DataFrame, rival: str, than: str) -> Iterator[str]:
    columns = ["seq_len", "median"]
    both = pick(rows, model=SUBJECT)[columns].merge(
        pick(rows, model=rival)[columns], on="seq_len", suffixes=("", "_other")
    )
    both = both.dropna().sort_values("seq_len")
    ratios = both["median"] / both["median_other"]
    ends = [
        f"{rounded(ratio, ratio / 20)} times at L = {whole(length)}"
        for length, ratio in zip(both.seq_len, ratios, strict=True)
    ]
    if ends:
        yield f"{' and '.join(dict.fromkeys((ends[0], ends[-1])))} {than} {label(rival)}'s"


def _epochs(tables: Tables) -> Iterator[str]:
    """What an epoch, its memory and an inference batch take on real data, on GPUs."""
    gpus = pick(tables.frames["efficiency"], device_kind="cuda")
    frames = {
        **tables.frames,
        "efficiency": gpus,
        "scaling": pd.DataFrame(),
        "crossovers": pd.DataFrame(),
    }
    yield from answers.cost(replace(tables, frames=frames))


def _claims(tables: Tables) -> Iterator[str]:
    found = [f for f in claims.judge(tables, claims.read()) if f.verdict != claims.ABSENT]
    counts = []
    for track in dict.fromkeys(f.track for f in found):
        own = [f.verdict for f in found if f.track == track]
        said = [f"{own.count(v)} {v}" for v in (claims.YES, claims.NO, claims.UNSURE) if v in own]
        counts.append(f"in track {track} {', '.join(said)}")
    if counts:
        yield f"Claims of the paper that were measured: {'; '.join(counts)}."


def _anchors(tables: Tables) -> Iterator[str]:
    """The counts alone: what was missed stands with the published values."""
    yield from (text for text in anchors.sentences(tables) if not text.startswith(anchors.MISSED))
