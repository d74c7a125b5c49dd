"""The focal model against each other trained model: quality differences and costs, read from its side."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pandas as pd

from ..analysis.collect import Tables
from ..analysis.resampling import CONFIDENCE
from ..analysis.significance import holm
from ..analysis.summary import UNSTEADY
from ..core.display import PRIMARY_METRIC, QUANTITIES, compared, heading, peak_memory
from . import spent
from .costs import of_curve
from .findings import condition_name, enough_seeds, facing, in_order, pick, unique
from .tables import Cell, Column, Table, label, rounded
from .views import DASH, SEEN_ITEMS, difference_cell

LENGTHS = "length-at-constant-batch"  # the curve whose ends are shown: what a longer history costs at the same number of sequences
_KEY = ["machine_name", "device_kind", "job", "phase", "what"]


def telling(cost: tuple[str, str], kind: str) -> bool:
    """Whether a cost says something about a model on this kind of device: resident memory of a CPU holds more than the model's."""
    return kind == "cuda" or cost[1] != "memory"


def judged(tables: Tables) -> list[str]:
    """Tracks in which the focal model was compared with another trained model over enough seeds."""
    return in_order(track for (track,) in unique(settled(against(tables)), "track"))


def settled(rows: pd.DataFrame) -> pd.DataFrame:
    """Comparisons that rest on enough seeds, none far from the others."""
    if rows.empty:
        return rows
    return rows[rows.trained_seeds.map(enough_seeds) & (rows.verdict != UNSTEADY)]


def corrected(rows: pd.DataFrame) -> pd.DataFrame:
    """Settled comparisons with verdicts that hold together: Holm over all of one track and treatment of seen items, else *inconclusive*."""
    if rows.empty:
        return rows
    p = rows.groupby(["track", "seen_items"]).p_margin.transform(lambda own: holm(own.to_numpy()))
    fallen = rows.verdict.isin(("better", "worse")) & (p >= 1 - CONFIDENCE)
    return rows.assign(verdict=rows.verdict.mask(fallen, "inconclusive"))


def against(tables: Tables, metric: str = PRIMARY_METRIC) -> pd.DataFrame:
    """The focal model's quality held against every other trained model's: rows of `comparisons`, read from its side.

    Adds `comparator`, and `share`, `share_low`, `share_high`: the difference as a share of the better mean.
    """
    rows = facing(pick(tables.frames["comparisons"], metric=metric), tables.focal_model)
    if rows.empty:
        return rows
    trained = set(spent.trainings(tables).model)
    rows = rows[rows.model_a.isin(trained) & rows.model_b.isin(trained)]
    better = rows[["mean_a", "mean_b"]].max(axis=1)
    ends = {"share": "difference", "share_low": "ci_low", "share_high": "ci_high"}
    return rows.assign(
        comparator=rows.model_b, **{key: rows[end] / better for key, end in ends.items()}
    )


def measured(tables: Tables) -> pd.DataFrame:
    """What was measured on the datasets and along the curve over length: rows of `efficiency` with a value.

    Adds `job` (what was measured in turn, with one batch) and `what` (a metric, or ``memory``). Jobs on a dataset with another batch, precision or hyper-parameters
    than what was trained there are left out: a measurement may outlive its trainings.
    """
    every = tables.frames["efficiency"]
    rows = pd.concat([of_curve(every, None), of_curve(every, LENGTHS)]) if len(every) else every
    rows = rows[rows["median"].notna()] if len(rows) else rows
    if rows.empty:
        about = ("track", "model", "device", "dataset", "seq_len", "curve", "median", "q25", "q75")
        return pd.DataFrame(columns=[*_KEY, *about, "batch_size", "sequences", "n_items"])
    memory = rows.metric == rows.device_kind.map(peak_memory)
    rows = rows.assign(
        job=rows.path.str.rpartition("/")[0], what=rows.metric.mask(memory, "memory")
    )
    return rows[_as_trained(tables, rows)]


def costs(tables: Tables) -> pd.DataFrame:
    """The rows of `measured` whose ratios between models are told wherever costs are."""
    rows = measured(tables)
    return rows[pd.Series(zip(rows.phase, rows.what, strict=True), rows.index).isin(compared())]


def _as_trained(tables: Tables, rows: pd.DataFrame) -> pd.Series:
    """Whether a row is of a curve, or measured what was trained in its condition, if anything was: batch, precision, hyper-parameters."""
    where = ["track", "dataset", "seq_len"]
    trained = spent.trainings(tables)
    if trained.empty:
        return pd.Series(True, rows.index)
    batches = set(unique(trained, *where, "targets_per_step", "precision"))
    trained_at = {batch[:3] for batch in batches}
    targets = rows.job.map(pick(rows, phase="train").groupby("job").batch_size.first())
    keys = list(zip(*(rows[name] for name in where), targets, rows.precision, strict=True))
    fits = pd.Series([key in batches or key[:3] not in trained_at for key in keys], rows.index)
    return rows.curve.notna() | targets.isna() | (fits & _same_model(tables, trained, rows))


def _same_model(tables: Tables, trained: pd.DataFrame, rows: pd.DataFrame) -> pd.Series:
    """Whether no hyper-parameter that a row's measurement and the trainings of its model there both name differs."""
    every = pick(tables.frames["experiments"], kind="measure")
    measured = dict(zip(every.path, every.hyperparameters, strict=True)) if len(every) else {}
    where = ["track", "dataset", "seq_len", "model"]
    there: dict[tuple, list[dict]] = {}
    for *key, said in unique(trained, *where, "hyperparameters"):
        there.setdefault(tuple(key), []).append(json.loads(said))

    def same(path: str, *key: object) -> bool:
        own = json.loads(measured.get(path, "{}"))
        options = there.get(key, [own])
        return any(all(own.get(k, v) == v for k, v in option.items()) for option in options)

    keys = zip(rows.path, *(rows[name] for name in where), strict=True)
    return pd.Series([same(*key) for key in keys], rows.index)


def ratios(tables: Tables, rows: pd.DataFrame | None = None) -> pd.DataFrame:
    """The focal model's median cost over each comparator's: adds `comparator`, `ratio`, `ratio_low`, `ratio_high`.

    rows: of `measured`, else `costs`. The bounds pair the lower quartile of one with the upper of the other.
    """
    rows = costs(tables) if rows is None else rows
    comparators = rows[rows.model != tables.focal_model][[*_KEY, "model", "median", "q25", "q75"]]
    comparators = comparators.rename(columns={"model": "comparator", "median": "other"})
    both = pick(rows, model=tables.focal_model).merge(comparators, on=_KEY, suffixes=("", "_other"))
    return both.assign(
        ratio=both["median"] / both.other,
        ratio_low=both.q25 / both.q75_other,
        ratio_high=both.q75 / both.q25_other,
    )


def table(tables: Tables, track: str) -> Table:
    """The focal model against each other trained model of a track, in quality and in cost; machines are never mixed."""
    rows = pick(against(tables), track=track)
    shown = (("train", "epoch_s"), ("train", "memory"), ("inference", "batch_s"))
    every = ratios(tables, measured(tables))
    columns = [
        Column(f"{label(tables.focal_model)} against", number=False),
        *(
            Column(text, f"Difference in {QUANTITIES[PRIMARY_METRIC].label}")
            for text in SEEN_ITEMS.values()
        ),
        *(
            Column(heading(*cost), f"Cost of {label(tables.focal_model)} as a multiple")
            for cost in shown
        ),
    ]
    body: list[list[Cell]] = []
    for dataset, seq_len in unique(rows, "dataset", "seq_len"):
        part = pick(rows, dataset=dataset, seq_len=seq_len)
        cost = pick(every, track=track, dataset=dataset, seq_len=seq_len)
        for where in unique(cost, "machine_name", "device", "device_kind") or [None]:
            measured_on = f"; cost on {where[0]} ({where[1]})" if where else ""
            body.append([Cell(condition_name(dataset, seq_len) + measured_on)])
            own = pick(cost, machine_name=where[0], device=where[1]) if where else cost
            body += [
                _row(pick(part, comparator=comparator), own, comparator, shown)
                for comparator in tables.ordered(part.comparator)
            ]
    caption = f"{label(tables.focal_model)} against each other trained model, track {track}"
    return Table(f"versus-{track}", caption, columns, body)


def _row(
    rows: pd.DataFrame, cost: pd.DataFrame, comparator: str, shown: Sequence[tuple[str, str]]
) -> list[Cell]:
    cells = [Cell(label(comparator), value=comparator)]
    cells += [
        difference_cell(pick(rows, seen_items=seen_items).iloc[0]) for seen_items in SEEN_ITEMS
    ]
    for phase, what in shown:
        found = pick(cost, phase=phase, what=what, comparator=comparator)
        ratio = found.ratio.iloc[0] if len(found) else None
        cells.append(Cell(f"{rounded(ratio, ratio)} ×", value=ratio) if ratio else DASH)
    return cells
