"""What the tables say: problems, who is below whom, and who leads. Rows are picked here for everyone who writes sentences."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from ..analysis.collect import Tables
from ..analysis.groups import APART
from ..analysis.protocols import OPPOSITE
from ..analysis.summary import UNSTEADY, enough_seeds
from ..core.display import PRIMARY_METRIC, QUANTITIES
from ..core.jobs import FULL_LENGTH, Training
from .tables import known, label

TRACKS = ("matched", "tuned", "paper")  # the comparison itself first; others as they come


@dataclass(frozen=True)
class Lead:
    """The model with the highest mean in one comparison, and the others: those over which its lead is not established.

    outside: models of whom no mean is compared, because their seeds lie far apart; not among the others.
    """

    model: str
    mean: float
    low: float
    high: float
    unproven: list[str]
    n_others: int
    outside: list[str]

    @property
    def established(self) -> bool:
        """Whether it leads every other model; of one alone nothing is said."""
        return self.n_others > 0 and not self.unproven


def pick(frame: pd.DataFrame, **values: Any) -> pd.DataFrame:
    """Rows whose columns have these values; an empty frame stays empty."""
    if frame.empty:
        return frame
    return frame[np.logical_and.reduce([frame[key] == value for key, value in values.items()])]


def unique(frame: pd.DataFrame, *columns: str) -> list[tuple]:
    """Distinct values of some columns, in order of first use."""
    if frame.empty:
        return []
    return list(frame[list(columns)].drop_duplicates().itertuples(index=False, name=None))


def facing(rows: pd.DataFrame, model: str) -> pd.DataFrame:
    """Rows of `comparisons` that hold ``model``, read from its side: it is `model_a`, what speaks for it is positive and *better*."""
    rows = rows[(rows.model_a == model) | (rows.model_b == model)] if len(rows) else rows
    if rows.empty:
        return rows
    own = rows.model_a == model
    names = [("model_a", "model_b"), ("mean_a", "mean_b")]
    numbers = [("difference", "difference"), ("effect", "effect"), ("ci_low", "ci_high")]
    turned = {
        name: rows[name].where(own, -rows[other] if negated else rows[other])
        for pairs, negated in ((names, False), (numbers, True))
        for first, second in pairs
        for name, other in ((first, second), (second, first))
        if name in rows
    }
    return rows.assign(**turned, verdict=rows.verdict.where(own, rows.verdict.replace(OPPOSITE)))


def in_order(tracks: Iterable[str]) -> list[str]:
    """Distinct tracks in the order of `TRACKS`."""
    known_first = {track: at for at, track in enumerate(TRACKS)}
    return sorted(dict.fromkeys(tracks), key=lambda track: known_first.get(track, len(TRACKS)))


def condition_name(dataset: str, seq_len: int) -> str:
    """Name of a dataset at a history length."""
    return f"{dataset}, L = {seq_len}"


# --- problems -----------------------------------------------------------------------------------------------------------


def problems(tables: Tables) -> list[str]:
    """What must not stand in a finished comparison: failed records, models below Popularity, values that are NaN."""
    failed = [
        f"{row.path}: {row.status}: {row.reason if known(row.reason) else 'no reason recorded'}"
        for row in failures(tables).itertuples()
        if not off_the_curve(row)
    ]
    below = [text for _, text in below_popularity(tables)]
    return [*failed, *below, *not_a_number(tables)]


def failures(tables: Tables) -> pd.DataFrame:
    """Rows of experiments that did not come to their end."""
    experiments = tables.frames["experiments"]
    return experiments[experiments.status != "ok"] if len(experiments) else experiments


def off_the_curve(row: Any) -> bool:
    """Whether a failure is the end of a curve: a full-length size that this device cannot hold or is too slow for."""
    return row.dataset == FULL_LENGTH and row.status in ("oom", "timeout")


def below_popularity(tables: Tables) -> list[tuple[str, str]]:
    """Trained models whose test NDCG@10 is below Popularity's, per dataset, length and treatment of seen items: track, and what is told."""
    summary = pick(tables.frames["summary"], metric=PRIMARY_METRIC, ties="conservative")
    found = []
    for row in summary.itertuples():
        keys = ("dataset", "track", "seq_len", "seen_items")
        comparator = pick(summary, model="popularity", **{key: getattr(row, key) for key in keys})
        if known(row.budget) and len(comparator) and row.mean < comparator["mean"].iloc[0]:
            text = (
                f"{label(row.model)} is below Popularity on {condition_name(row.dataset, row.seq_len)}"
                f" ({row.track}, {row.seen_items}; budget: {row.budget}): {QUANTITIES[PRIMARY_METRIC].label} {row.mean:.4f} < {comparator['mean'].iloc[0]:.4f}"
            )
            found.append((row.track, text))
    return found


def below_untrained(
    tables: Tables, track: str, dataset: str, seq_len: int, seen_items: str
) -> pd.DataFrame:
    """Trained models of one comparison: rows of `summary`, and `below`, whether a model without training has a higher NDCG@10.

    Empty where no model without training stands beside them.
    """
    rows = pick(
        tables.frames["summary"], metric=PRIMARY_METRIC, ties="conservative", track=track, dataset=dataset, seq_len=seq_len,
        seen_items=seen_items,
    )  # fmt: skip
    untrained = rows.budget.isna() if len(rows) else ()  # a budget is what trained models have
    if not any(untrained):
        return pd.DataFrame({"model": pd.Series(dtype=object), "below": pd.Series(dtype=bool)})
    trained, best = rows[~untrained], rows["mean"][untrained].max()
    return trained.assign(below=trained["mean"] < best)


def seeds_apart(tables: Tables) -> Iterator[tuple[str, str]]:
    """Models of which one seed ended far below another, most likely because it never left the plateau of its first steps.

    By track, in words: model, condition and the test NDCG@10 of every seed, with seen items treated as where trainings are chosen.
    """
    rows = pick(tables.frames["effectiveness"], split="test", ties="conservative", metric=PRIMARY_METRIC,
                seen_items=Training().select_seen_items, trained=True)  # fmt: skip
    for track, dataset, seq_len, model in unique(rows, "track", "dataset", "seq_len", "model"):
        own = pick(rows, track=track, dataset=dataset, seq_len=seq_len, model=model)
        values = own.sort_values("seed").value
        if values.min() < APART * values.max():
            said = ", ".join(f"{value:.3f}" for value in values)
            yield track, f"{label(model)} on {condition_name(dataset, seq_len)}: {said}"


def not_a_number(tables: Tables) -> list[str]:
    """Values that are NaN although nothing says why."""
    quality, cost = tables.frames["effectiveness"], tables.frames["efficiency"]
    bad = list(quality[quality.value.isna()].itertuples()) if len(quality) else []
    if len(cost):
        bad += cost[cost["median"].isna() & cost.reason.isna()].itertuples()
    return [f"{row.path}: {row.metric} is not a number" for row in bad]


# --- who leads ----------------------------------------------------------------------------------------------------------


def lead(tables: Tables, dataset: str, track: str, seq_len: int, seen_items: str) -> Lead | None:
    """Who has the highest NDCG@10 in one comparison, and over whom that is not established.

    A model whose seeds lie far apart stands outside: its mean is neither led nor level, unless it is itself the highest.
    """
    where = {
        "dataset": dataset,
        "track": track,
        "seq_len": seq_len,
        "seen_items": seen_items,
        "metric": PRIMARY_METRIC,
    }
    rows = pick(tables.frames["summary"], **where, ties="conservative")
    if rows.empty:
        return None
    best = rows.loc[rows["mean"].idxmax()]
    unproven = []
    pairs = facing(pick(tables.frames["comparisons"], **where), best.model)
    outside = pick(pairs, verdict=UNSTEADY)
    outside = outside if len(outside) < len(pairs) else outside[:0]  # of its own seeds, if of all
    for row in pairs.drop(outside.index).itertuples():
        if row.verdict != "better" or not enough_seeds(row.trained_seeds):
            unproven.append(row.model_b)
    others = rows.model.nunique() - 1 - len(outside)
    return Lead(
        best.model,
        best["mean"],
        best.ci_low,
        best.ci_high,
        unproven,
        others,
        [row.model_b for row in outside.itertuples()],
    )
