"""The table `warnings`: one row per case that a reader must know before trusting a number; and what fails a check.

Levels: `bad` must not stand in a finished comparison, `warn` changes what a result says, `note` is good to know.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd

from ..core.display import PRIMARY_METRIC, TABLES
from ..core.jobs import FULL_LENGTH, Training
from ..data.variants import variants
from .groups import APART
from .published_values import NEAR, deciding
from .summary import SEEDS_FOR_A_CLAIM
from .tables import CONDITION, MODEL, Tables, pick, trainings

DRIFT = 1.1  # times the step of equal settings in another track
LOWEST = "lowest seed, beside half of the highest"
NOISY = 0.25  # interquartile range as a share of the median
TIED = 0.1  # share of users whose test item a tie decided
CODES = {  # most serious first
    **dict.fromkeys(("failed", "below_popularity", "not_a_number"), "bad"),
    **dict.fromkeys(("below_published", "below_baseline", "seeds_apart", "few_seeds", "fallback", "shared_gpu", "sessions_apart"), "warn"),
    **dict.fromkeys(("budget", "substitute_file", "ties", "throttled", "noisy", "dirty"), "note"),
}  # fmt: skip
ABOUT = (*CONDITION, "model", "seed", "seen_items", "machine_name")
Row = dict[str, Any]


def rows(tables: Tables) -> pd.DataFrame:
    """All warnings, most serious first."""
    makers = (_records, _quality, _datasets, _costs)
    found = (row for make in makers for row in make(tables))
    frame = pd.DataFrame(found, columns=TABLES["warnings"])
    places = {code: k for k, code in enumerate(CODES)}
    frame = frame.sort_values("code", key=lambda own: own.map(places), kind="stable", ignore_index=True)  # fmt: skip
    return frame.assign(level=frame.code.map(CODES))


def problems(tables: Tables) -> list[str]:
    """What must not stand in a finished comparison, a line each: failed records, models below Popularity, values that are NaN."""
    shown = ("subject", *MODEL, "seen_items", "value", "limit", "text")
    found = pick(tables.frames["warnings"], level="bad").to_dict("records")
    return [f"{row['code']}: {' '.join(f'{k}={row[k]}' for k in shown if pd.notna(row[k]))}" for row in found]  # fmt: skip


def _row(code: str, source: Any, keys: tuple[str, ...] = ABOUT, **values: Any) -> Row:
    """A warning about what a row of another table is about."""
    return {"code": code, **{k: getattr(source, k) for k in keys if hasattr(source, k)}, **values}


def _counted(code: str, frame: pd.DataFrame, flag: pd.Series, *by: str, text: str = "") -> Iterator[Row]:  # fmt: skip
    """Groups of rows some of which carry a flag: how many, of how many, and what a column says of them."""
    for key, own in frame[flag].groupby(list(by), sort=False) if len(frame) else ():
        about = dict(zip(by, key, strict=True))
        of = len(pick(frame[list(by)], **about))
        said = "; ".join(dict.fromkeys(own[text].dropna())) if text else None
        yield {"code": code, **about, "count": len(own), "of": of, "text": said}


def _records(tables: Tables) -> Iterator[Row]:
    """How records came about; sizes of a curve that a device cannot hold are its end, no failure."""
    every, main = tables.frames["experiments"], tables.main("experiments")
    for row in every[every.status != "ok"].itertuples() if len(every) else ():
        if row.dataset != FULL_LENGTH or row.status not in ("oom", "timeout"):
            why = row.reason if pd.notna(row.reason) else "no reason recorded"
            yield _row("failed", row, subject=row.path, text=f"{row.status}: {why}")
    if every.empty:
        return
    trained, machine = trainings(main), ("machine_name", *MODEL)
    yield from _counted("budget", trained, trained.still_improving.eq(True), *MODEL)
    yield from _counted("fallback", main, main.fallback.eq(True), *machine, text="fallback_reason")
    measured = pick(main, kind="measure")
    yield from _counted("shared_gpu", measured, measured.shared_gpu.eq(True), *machine)
    yield from _counted("throttled", main, main.throttled.notna(), *machine, text="throttled")
    yield from _counted("dirty", every, every.code_dirty.eq(True), "machine_name")


def _quality(tables: Tables) -> Iterator[Row]:
    """Trained models that are worse than they should be, or known too badly."""
    values = tables.frames["effectiveness"]
    for row in values[values.value.isna()].itertuples() if len(values) else ():
        yield _row("not_a_number", row, subject=row.path, text=row.metric)
    where = {"metric": PRIMARY_METRIC, "ties": "conservative"}
    every, main = (pick(frame, **where) for frame in (tables.frames["summary"], tables.main("summary")))  # fmt: skip
    if len(every):
        baselines = main[main.budget.isna()].sort_values("mean", kind="stable")
        best = baselines.drop_duplicates([*CONDITION, "seen_items"], keep="last")
        yield from _below("below_popularity", every, pick(every, model="popularity"))
        yield from _below("below_baseline", main, best)
        few = main[main.budget.notna() & (main.n_seeds < SEEDS_FOR_A_CLAIM)]
        for row in few.drop_duplicates(list(MODEL)).itertuples():
            yield _row("few_seeds", row, MODEL, value=row.n_seeds, limit=SEEDS_FOR_A_CLAIM)
    chosen = {"split": "test", "seen_items": Training().select_seen_items, "trained": True}
    tested = pick(tables.main("effectiveness"), **where, **chosen)
    tested = tested.dropna(subset="value") if len(tested) else tested
    for _, own in tested.groupby(list(MODEL), sort=False) if len(tested) else ():
        lowest, limit = own.loc[own.value.idxmin()], APART * own.value.max()
        if lowest.value < limit:
            yield _row("seeds_apart", lowest, (*MODEL, "seed"), value=lowest.value, limit=limit, text=LOWEST)  # fmt: skip
    values = deciding(tables.frames["published_values"])
    for row in values[values.share < NEAR].itertuples():
        yield _row("below_published", row, MODEL, subject=row.source, value=row.share, limit=NEAR, text=row.basis)  # fmt: skip


def _below(code: str, summary: pd.DataFrame, limits: pd.DataFrame) -> Iterator[Row]:
    """Trained models below one of the models without training in the same condition."""
    key = [*CONDITION, "seen_items"]
    both = summary[summary.budget.notna()].merge(limits[[*key, "model", "mean"]], on=key, suffixes=("", "_limit"))  # fmt: skip
    for row in both[both["mean"] < both.mean_limit].itertuples():
        yield _row(code, row, subject=row.model_limit, value=row.mean, limit=row.mean_limit)


def _datasets(tables: Tables) -> Iterator[Row]:
    """Files that are not the publishers', and test items that the order within one time decides, as far as that is visible."""
    for name, facts in tables.datasets.items():
        if name in variants(tables.datasets):
            continue
        if differs := (facts.get("provenance") or {}).get("substitute_file"):
            yield {"code": "substitute_file", "dataset": name, "text": differs}
        share = facts["ties"]["test_decided_by_tie"] if facts["ties"] else None
        if share is None or share > TIED:
            why = facts.get("ties_reason")
            yield {"code": "ties", "dataset": name, "value": share, "limit": TIED, "text": why}


def _costs(tables: Tables) -> Iterator[Row]:
    cost, main = tables.frames["efficiency"], tables.main("efficiency")
    if cost.empty:
        return
    for row in cost[cost["median"].isna() & cost.reason.isna()].itertuples():
        yield _row("not_a_number", row, subject=row.path, text=row.metric)
    times = main[main.metric.isin(["step_s", "batch_s"])]
    for row in times[times.iqr > NOISY * times["median"]].itertuples():
        yield _row("noisy", row, subject=row.metric, value=row.iqr / row.median, limit=NOISY)
    yield from _sessions(times, tables.frames["experiments"])


def _sessions(times: pd.DataFrame, experiments: pd.DataFrame) -> Iterator[Row]:
    """Training steps and inference batches of equal settings that differ between two tracks: other sessions measured them."""
    settings = experiments[["path", "hyperparameters", "targets_per_step"]]
    times = times[times.curve.isna()].merge(settings, on="path")
    alike = ["metric", "batch_size", "dataset", "seq_len", "model", "machine_name", "backend", "precision", *settings.columns[1:]]  # fmt: skip
    both = times.merge(times, on=alike, suffixes=("", "_other"))
    both["ratio"] = both["median"] / both.median_other
    for row in both[(both.ratio > DRIFT) | (both.ratio < 1 / DRIFT)].itertuples():
        yield _row("sessions_apart", row, (*MODEL, "machine_name"), subject=row.metric, value=row.ratio, limit=DRIFT, text=f"beside track {row.track_other}")  # fmt: skip
