"""What the tables say in words: warnings, problems, and who leads. Every sentence is computed from the tables."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from .collect import Tables
from .experiment import FULL_LENGTH
from .metrics import METRICS
from .protocols import variants
from .tables import known, label, plural

MAIN = "ndcg@10"
SEEDS_FOR_A_CLAIM = 3
NOISY = 0.25  # interquartile range as a share of the median
FEW = 6  # examples named before the rest is counted


@dataclass(frozen=True)
class Flag:
    """A warning that stands above the results. level: `bad`, `warn` or `note`."""

    level: str
    title: str
    text: str


@dataclass(frozen=True)
class Lead:
    """The model with the highest mean in one comparison, and the others: those over which its lead is not established."""

    model: str
    mean: float
    low: float
    high: float
    unproven: list[str]
    n_others: int

    @property
    def established(self) -> bool:
        """Whether it leads every other model; of one alone nothing is said."""
        return self.n_others > 0 and not self.unproven


def pick(frame: pd.DataFrame, **values: Any) -> pd.DataFrame:
    """Rows whose columns have these values; an empty frame stays empty."""
    if frame.empty:
        return frame
    return frame[np.logical_and.reduce([frame[key] == value for key, value in values.items()])]


def places(frame: pd.DataFrame, *columns: str) -> list[tuple]:
    """Distinct values of some columns, in order of first use."""
    if frame.empty:
        return []
    return list(frame[list(columns)].drop_duplicates().itertuples(index=False, name=None))


def place(dataset: str, seq_len: int) -> str:
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
    return [*failed, *below_popularity(tables), *not_a_number(tables)]


def failures(tables: Tables) -> pd.DataFrame:
    """Rows of experiments that did not come to their end."""
    experiments = tables.frames["experiments"]
    return experiments[experiments.status != "ok"] if len(experiments) else experiments


def off_the_curve(row: Any) -> bool:
    """Whether a failure is the end of a curve: a full-length size that this device cannot hold or is too slow for."""
    return row.dataset == FULL_LENGTH and row.status in ("oom", "timeout")


def below_popularity(tables: Tables) -> list[str]:
    """Trained models whose test NDCG@10 is below Popularity's, per dataset, track, length and masking."""
    summary = pick(tables.frames["summary"], metric=MAIN, ties="conservative")
    found = []
    for row in summary.itertuples():
        keys = ("dataset", "track", "seq_len", "masking")
        rival = pick(summary, model="popularity", **{key: getattr(row, key) for key in keys})
        # A budget is what trained models have.
        if known(row.budget) and len(rival) and row.mean < rival["mean"].iloc[0]:
            found.append(
                f"{label(row.model)} is below Popularity on {place(row.dataset, row.seq_len)}"
                f" ({row.track}, {row.masking}): {METRICS[MAIN].label} {row.mean:.4f} < {rival['mean'].iloc[0]:.4f}"
            )
    return found


def not_a_number(tables: Tables) -> list[str]:
    """Values that are NaN although nothing says why."""
    quality, cost = tables.frames["effectiveness"], tables.frames["efficiency"]
    bad = list(quality[quality.value.isna()].itertuples()) if len(quality) else []
    if len(cost):
        bad += cost[cost["median"].isna() & cost.reason.isna()].itertuples()
    return [f"{row.path}: {row.metric} is not a number" for row in bad]


# --- flags --------------------------------------------------------------------------------------------------------------


def flags(tables: Tables) -> list[Flag]:
    """Warnings that belong above the results, most serious first."""
    return [flag for maker in _FLAGS for flag in maker(tables)]


def _few(names: list[str]) -> str:
    rest = f", and {len(names) - FEW} more" if len(names) > FEW else ""
    return ", ".join(names[:FEW]) + rest


def _name(row: Any) -> str:
    seed = f", seed {int(row.seed)}" if known(row.seed) else ""
    return f"{label(row.model)} ({place(row.dataset, row.seq_len)}{seed})"


def _failed(tables: Tables) -> Iterator[Flag]:
    every = failures(tables)
    every = every[[not off_the_curve(row) for row in every.itertuples()]] if len(every) else every
    for (status,) in places(every, "status"):
        rows = pick(every, status=status)
        title = f"{plural(len(rows), 'experiment')} ended as {status}"
        yield Flag("bad", title, _few([_name(row) for row in rows.itertuples()]) + ".")


def _below(tables: Tables) -> Iterator[Flag]:
    found = below_popularity(tables)
    if found:
        yield Flag("bad", "A trained model is below Popularity", "; ".join(found) + ".")


def _nan(tables: Tables) -> Iterator[Flag]:
    found = not_a_number(tables)
    if found:
        yield Flag("bad", "Values that are not numbers", _few(found) + ".")


def _improving(tables: Tables) -> Iterator[Flag]:
    rows = pick(tables.frames["experiments"], kind="train", status="ok", trained=True)
    ended = pick(rows, still_improving=True)
    if len(ended):
        keys = ("model", "track", "dataset", "seq_len")
        counts = (
            ended.groupby(list(keys), sort=False).size().sort_values(ascending=False, kind="stable")
        )
        names = []
        for key, n in counts.items():
            of = len(pick(rows, **dict(zip(keys, key, strict=True))))
            names.append(f"{label(key[0])} ({key[1]}, {place(*key[2:])}) {n} of {of}")
        text = f"{len(ended)} of {plural(len(rows), 'training')} used up their budget before they stopped improving: {_few(names)}."
        yield Flag(
            "warn", "Still improving when stopped", f"{text} More steps might raise their quality."
        )


def _fallback(tables: Tables) -> Iterator[Flag]:
    rows = pick(tables.frames["experiments"], fallback=True)
    for backend, reason in places(rows, "backend", "fallback_reason"):
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


def _stand_in(tables: Tables) -> Iterator[Flag]:
    rows = tables.frames["experiments"]
    rows = rows[rows.stand_in.notna()] if len(rows) else rows
    bases = variants(tables.datasets)
    found = {
        bases.get(name, name): differs for name, differs in places(rows, "dataset", "stand_in")
    }
    for dataset, differs in found.items():
        yield Flag("note", f"{dataset} is a stand-in for the publisher's file", f"{differs}")


def _noisy(tables: Tables) -> Iterator[Flag]:
    cost = tables.frames["efficiency"]
    cost = cost[cost.metric.isin(["step_s", "batch_s"])] if len(cost) else cost
    noisy = cost[cost.iqr > NOISY * cost["median"]] if len(cost) else cost
    if len(noisy):
        several = cost.machine_name.nunique() > 1
        names = [f"{label(r.model)} {METRICS[r.metric].label.lower()} ({place(r.dataset, r.seq_len)}"
                 f"{f', {r.machine_name}' if several else ''})" for r in noisy.itertuples()]  # fmt: skip
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
    rows = pick(rows, shared_gpu=True) if "shared_gpu" in rows else rows.iloc[:0]
    if len(rows):
        names = list(dict.fromkeys(_name(row) for row in rows.itertuples()))
        text = f"Another process computed on the GPU at the same time: {_few(names)}. Times and memory of the device are not theirs alone."
        yield Flag("warn", "Shared GPU", text)


def _throttled(tables: Tables) -> Iterator[Flag]:
    rows = tables.frames["experiments"]
    rows = rows[rows.throttled.notna()] if "throttled" in rows else rows.iloc[:0]
    for (why,) in places(rows, "throttled"):
        names = list(dict.fromkeys(_name(row) for row in pick(rows, throttled=why).itertuples()))
        yield Flag("note", "Clocks were held down", f"{why}: {_few(names)}.")


_FLAGS = (
    *(_failed, _below, _nan, _improving, _fallback, _shared, _few_seeds, _stand_in, _throttled),
    *(_noisy, _dirty),
)


# --- who leads ----------------------------------------------------------------------------------------------------------


def lead(tables: Tables, dataset: str, track: str, seq_len: int, masking: str) -> Lead | None:
    """Who has the highest NDCG@10 in one comparison, and over whom that is not established."""
    where = {
        "dataset": dataset,
        "track": track,
        "seq_len": seq_len,
        "masking": masking,
        "metric": MAIN,
    }
    rows = pick(tables.frames["summary"], **where, ties="conservative")
    if rows.empty:
        return None
    best = rows.loc[rows["mean"].idxmax()]
    unproven = []
    for row in pick(tables.frames["comparisons"], **where).itertuples():
        if best.model in (row.model_a, row.model_b):
            ahead = "better" if row.model_a == best.model else "worse"
            if row.verdict != ahead or not enough_seeds(row.trained_seeds):
                unproven.append(row.model_b if row.model_a == best.model else row.model_a)
    others = rows.model.nunique() - 1
    return Lead(best.model, best["mean"], best.ci_low, best.ci_high, unproven, others)


def enough_seeds(trained_seeds: float | None) -> bool:
    """Whether a difference rests on enough seeds to be called established (models without training need none)."""
    return not known(trained_seeds) or trained_seeds >= SEEDS_FOR_A_CLAIM
