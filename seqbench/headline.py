"""The answer in a few sentences: how often the subject is better, what it costs beside the others, how many claims stand."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from . import claims, spent
from .collect import Tables
from .costs import SUBJECT, of_curve
from .findings import MAIN, enough_seeds, pick, places
from .glance import LENGTHS
from .metrics import METRICS
from .tables import label, rounded, whole
from .views import MASKINGS, ordered

MIRRORED = {"better": "worse", "worse": "better"}


def headline(tables: Tables) -> list[str]:
    """Sentences on quality by track, on time by machine, and on the paper's claims."""
    return [*_quality(tables), *_time(tables), *_claims(tables)]


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
        verdict=rows.verdict.where(first, rows.verdict.replace(MIRRORED)),
        **{key: rows[ends[key]].where(first, -rows[mirrored[key]]) / better for key in ends},
    )


def _quality(tables: Tables) -> Iterator[str]:
    rows = against(tables)
    for track in judged(tables):
        own = pick(rows, track=track)
        own = own[[enough_seeds(n) for n in own.trained_seeds]]
        rivals = ordered(own.rival)
        said = [f"than {label(r)} {_counted(pick(own, rival=r), 'better')}" for r in rivals]
        lost = [r for r in rivals if (pick(own, rival=r).verdict == "worse").any()]
        worse = [f"than {label(r)} {_counted(pick(own, rival=r), 'worse')}" for r in lost]
        yield (
            f"Quality, track {track}, with seen items ranked (and masked): {label(SUBJECT)} has a better {METRICS[MAIN].label}"
            f" {'; '.join(said)}. It is worse {'; '.join(worse) or 'nowhere'}; the rest is open."
        )


def _counted(rows: pd.DataFrame, verdict: str) -> str:
    """At how many places a verdict was given, with seen items ranked and masked."""
    parts = [pick(rows, masking=masking) for masking in MASKINGS]
    ranked, masked = (f"{(part.verdict == verdict).sum()} of {len(part)}" for part in parts)
    return f"at {ranked} places ({masked})"


def _time(tables: Tables) -> Iterator[str]:
    """A training step at both ends of the curve over length, on GPUs, or on CPUs where no GPU was measured."""
    rows = of_curve(tables.frames["efficiency"], LENGTHS)
    rows = pick(rows, phase="train", metric="step_s")
    gpus = pick(rows, device_kind="cuda")
    rows = gpus if len(gpus) else rows
    for track, machine, fixed in places(rows, "track", "machine_name", "fixed"):
        own = pick(rows, track=track, machine_name=machine, fixed=fixed)
        said = [text for rival in ordered(own.model) if rival != SUBJECT for text in _ratios(own, rival)]  # fmt: skip
        if said:
            yield f"Time on {machine}, track {track}, {fixed}: a training step of {label(SUBJECT)} takes {'; '.join(said)}."


def _ratios(rows: pd.DataFrame, rival: str) -> Iterator[str]:
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
        yield f"{' and '.join(dict.fromkeys((ends[0], ends[-1])))} as long as {label(rival)}'s"


def _claims(tables: Tables) -> Iterator[str]:
    found = [f for f in claims.judge(tables, claims.read()) if f.verdict != claims.ABSENT]
    counts = []
    for track in dict.fromkeys(f.track for f in found):
        own = [f.verdict for f in found if f.track == track]
        said = [f"{own.count(v)} {v}" for v in (claims.YES, claims.NO, claims.UNSURE) if v in own]
        counts.append(f"in track {track} {' and '.join(said)}")
    if counts:
        yield f"Claims of the paper that were measured: {'; '.join(counts)}."
