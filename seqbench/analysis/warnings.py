"""The table `warnings`: one row per case that a reader must know before trusting a number; and what fails a check.

Levels: `bad` must not stand in a finished comparison, `warn` changes what a result says, `note` is good to know.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd

from ..core.display import PRIMARY_METRIC
from ..core.jobs import FULL_LENGTH, Training
from .groups import APART
from .protocols import variants
from .rows import pick, trainings
from .summary import SEEDS_FOR_A_CLAIM
from .tables import CONDITION, Tables

NOISY = 0.25  # interquartile range as a share of the median
TIED = 0.1  # share of users whose test item a tie decided
NEAR = 0.9  # share of a published value
FATAL = ("failed", "below_popularity", "not_a_number")  # what `check` fails on
COLUMNS = (
    *("level", "code", "subject", *CONDITION, "model", "seed", "seen_items", "machine_name"),
    *("value", "limit", "count", "of", "text"),
)
MODEL = [*CONDITION, "model"]
Row = dict[str, Any]


def rows(tables: Tables) -> pd.DataFrame:
    """All warnings, most serious first."""
    found = [row for maker in _MAKERS for row in maker(tables)]
    frame = pd.DataFrame(found, columns=list(COLUMNS))
    levels = {"bad": 0, "warn": 1, "note": 2}
    by = lambda column: column.map(levels)  # noqa: E731
    return frame.sort_values("level", key=by, kind="stable", ignore_index=True)


def problems(tables: Tables) -> list[str]:
    """What must not stand in a finished comparison, a line each: failed records, models below Popularity, values that are NaN."""
    found = tables.frames["warnings"]
    shown = ("subject", *CONDITION, "model", "seen_items", "value", "limit", "text")
    return [
        f"{row.code}: " + " ".join(f"{key}={getattr(row, key)}" for key in shown if pd.notna(getattr(row, key)))
        for row in found[found.code.isin(FATAL)].itertuples()
    ]  # fmt: skip


def _row(level: str, code: str, source: Any = None, **values: Any) -> Row:
    """A warning; source: a row whose condition, model and more it is about."""
    about = ("model", "seed", "seen_items", "machine_name", *CONDITION)
    own = {key: getattr(source, key) for key in about if hasattr(source, key)}
    return {"level": level, "code": code, **own, **values}


def _failed(tables: Tables) -> Iterator[Row]:
    """Records that did not come to their end, but for sizes of a curve that a device cannot hold."""
    experiments = tables.frames["experiments"]
    for row in experiments[experiments.status != "ok"].itertuples() if len(experiments) else ():
        if row.dataset != FULL_LENGTH or row.status not in ("oom", "timeout"):
            why = row.reason if pd.notna(row.reason) else "no reason recorded"
            yield _row("bad", "failed", row, subject=row.path, text=f"{row.status}: {why}")


def _not_a_number(tables: Tables) -> Iterator[Row]:
    quality, cost = tables.frames["effectiveness"], tables.frames["efficiency"]
    bad = [quality[quality.value.isna()]] if len(quality) else []
    bad += [cost[cost["median"].isna() & cost.reason.isna()]] if len(cost) else []
    for row in (row for frame in bad for row in frame.itertuples()):
        yield _row("bad", "not_a_number", row, subject=row.path, text=row.metric)


def _below(tables: Tables) -> Iterator[Row]:
    """Trained models below Popularity, and below the best baseline without training."""
    summary = pick(tables.frames["summary"], metric=PRIMARY_METRIC, ties="conservative")
    if summary.empty:
        return
    judged, main = _judged(tables), set(tables.main("summary").index)
    for _, own in summary.groupby([*CONDITION, "seen_items"], sort=False):
        baselines = own[own.budget.isna()].set_index("model")["mean"]
        for row in own[own.budget.notna()].itertuples() if len(baselines) else ():
            if row.mean < baselines.get("popularity", 0):
                level = "bad" if row.track in judged or not judged else "warn"
                yield _row(level, "below_popularity", row, subject="popularity", value=row.mean, limit=baselines["popularity"])  # fmt: skip
            if row.mean < baselines.max() and row.Index in main:
                yield _row("warn", "below_baseline", row, subject=baselines.idxmax(), value=row.mean, limit=baselines.max())  # fmt: skip


def _judged(tables: Tables) -> set[str]:
    """Tracks in which the focal model has a verdict against another trained one."""
    pairs = pick(tables.frames["comparisons"], model_a=tables.focal_model, metric=PRIMARY_METRIC)
    if pairs.empty:
        return set()
    trained = set(trainings(tables.frames["experiments"]).model)
    return set(pairs.track[pairs.model_b.isin(trained) & ~pairs.why.isin(("few_seeds", "seeds_apart"))])  # fmt: skip


def _seeds_apart(tables: Tables) -> Iterator[Row]:
    """Models of which one seed ended far below another: most likely it never left the plateau of its first steps."""
    seen_items = Training().select_seen_items
    rows = pick(
        tables.main("effectiveness"), split="test", ties="conservative", metric=PRIMARY_METRIC,
        seen_items=seen_items, trained=True,
    )  # fmt: skip
    for _, own in rows.groupby(MODEL, sort=False) if len(rows) else ():
        lowest, highest = own.loc[own.value.idxmin()], own.value.max()
        if lowest.value < APART * highest:
            about = {key: lowest[key] for key in (*MODEL, "seed")}
            yield _row("warn", "seeds_apart", **about, value=lowest.value, limit=APART * highest)


def _budget(tables: Tables) -> Iterator[Row]:
    """Trainings whose validation still rose when the budget ended."""
    rows = trainings(tables.main("experiments"))
    for key, own in rows.groupby(MODEL, sort=False) if len(rows) else ():
        if count := int(own.still_improving.eq(True).sum()):
            yield _row("warn", "budget", **dict(zip(MODEL, key, strict=True)), count=count, of=len(own))  # fmt: skip


def _few_seeds(tables: Tables) -> Iterator[Row]:
    rows = pick(tables.main("summary"), metric=PRIMARY_METRIC, ties="conservative", seen_items="kept")  # fmt: skip
    for row in rows[rows.budget.notna()].itertuples() if len(rows) else ():
        if row.n_seeds < SEEDS_FOR_A_CLAIM:
            about = {key: getattr(row, key) for key in MODEL}
            yield _row("warn", "few_seeds", **about, value=row.n_seeds, limit=SEEDS_FOR_A_CLAIM)


def _below_published(tables: Tables) -> Iterator[Row]:
    """Models whose mean is far below what others published of them in the same condition."""
    rows = tables.frames[
        "published_values"
    ]  # of every value NDCG first: it decides where it was published
    rows = rows.drop_duplicates([*MODEL, "seen_items", "source", "note"])
    for row in rows[rows.share.lt(NEAR)].itertuples():
        about = {key: getattr(row, key) for key in MODEL}  # a weak training is one either way
        yield _row("warn", "below_published", **about, subject=row.source, value=row.share, limit=NEAR)  # fmt: skip


def _substitute_file(tables: Tables) -> Iterator[Row]:
    for name, facts in tables.datasets.items():
        differs = (facts.get("provenance") or {}).get("substitute_file")
        if differs and name not in variants(tables.datasets):
            yield _row("note", "substitute_file", dataset=name, text=differs)


def _ties(tables: Tables) -> Iterator[Row]:
    """Datasets where the order of events of one time decides which item is the test item, or where that is not visible."""
    for name, facts in tables.datasets.items():
        if name in variants(tables.datasets):
            continue
        if facts["ties"] is None:
            yield _row("note", "ties", dataset=name, limit=TIED, text=facts.get("ties_reason"))
        elif (share := facts["ties"]["test_decided_by_tie"]) > TIED:
            yield _row("note", "ties", dataset=name, value=share, limit=TIED)


def _noisy(tables: Tables) -> Iterator[Row]:
    cost = tables.main("efficiency")
    cost = cost[cost.metric.isin(["step_s", "batch_s"])] if len(cost) else cost
    for row in cost[cost.iqr > NOISY * cost["median"]].itertuples() if len(cost) else ():
        yield _row("note", "noisy", row, subject=row.metric, value=row.iqr / row.median, limit=NOISY)  # fmt: skip


def _counted(level: str, code: str, text: str, **which: Any):
    """Records with these values, counted by machine, condition, model and what a column says of them."""

    def maker(tables: Tables) -> Iterator[Row]:
        rows = pick(tables.main("experiments"), **which)
        if which and len(
            rows
        ):  # the values say that something was; the column says what, if it was told
            rows = rows.assign(**{text: rows[text].fillna("")})
        keys = ["machine_name", *MODEL, text]
        for key, own in (
            rows.groupby(keys, sort=False) if len(rows) else ()
        ):  # leaves out what is NaN
            *about, said = key
            yield _row(level, code, **dict(zip(keys, about, strict=False)), count=len(own), text=said or None)  # fmt: skip

    return maker


def _dirty(tables: Tables) -> Iterator[Row]:
    rows = tables.frames["experiments"]
    for machine, own in rows.groupby("machine_name", sort=False) if len(rows) else ():
        if count := int(own.code_dirty.eq(True).sum()):
            yield _row("note", "dirty", machine_name=machine, count=count, of=len(own))


_MAKERS = (
    *(_failed, _below, _not_a_number, _seeds_apart, _budget),
    _counted("warn", "fallback", "fallback_reason", fallback=True),
    _counted("warn", "shared_gpu", "device", kind="measure", shared_gpu=True),
    *(_few_seeds, _below_published, _substitute_file, _ties),
    _counted("note", "throttled", "throttled"),
    *(_noisy, _dirty),
)
