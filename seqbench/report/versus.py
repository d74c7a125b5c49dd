"""The focal model against each other trained model: quality differences and costs, read from its side."""

from __future__ import annotations

import json

import pandas as pd

from ..analysis.collect import Tables
from ..analysis.resampling import CONFIDENCE
from ..analysis.significance import holm
from ..analysis.summary import UNSTEADY
from ..core.display import FOCAL_MODEL
from ..core.metrics import METRICS
from . import spent
from .costs import MEMORY, of_curve
from .findings import MAIN, enough_seeds, facing, in_order, pick, place, places
from .tables import Cell, Column, Table, label, rounded
from .views import DASH, SEEN_ITEMS, difference_cell, ordered

LENGTHS = "length-at-constant-batch"  # the curve whose ends are shown: what a longer history costs at the same number of sequences
COSTS = (
    *(("train", metric) for metric in ("step_s", "memory", "energy_j_per_step")),
    *(("inference", metric) for metric in ("batch_s", "memory")),
)  # memory: the peak that the kind of device has a number for
_KEY = ["machine_name", "device_kind", "job", "phase", "what"]


def telling(cost: tuple[str, str], kind: str) -> bool:
    """Whether one of `COSTS` says something about a model on this kind of device: resident memory of a CPU holds more than the model's."""
    return kind == "cuda" or cost[1] != "memory"


def judged(tables: Tables) -> list[str]:
    """Tracks in which the focal model was compared with another trained model over enough seeds."""
    return in_order(track for (track,) in places(settled(against(tables)), "track"))


def settled(rows: pd.DataFrame) -> pd.DataFrame:
    """Comparisons that rest on enough seeds, none far from the others."""
    if rows.empty:
        return rows
    return rows[rows.trained_seeds.map(enough_seeds) & (rows.verdict != UNSTEADY)]


def corrected(rows: pd.DataFrame) -> pd.DataFrame:
    """Settled comparisons with verdicts that hold together: Holm over all of one track and masking, else *inconclusive*.

    Nothing where the tables do not know p-values: they are older.
    """
    if rows.empty or "p_margin" not in rows:
        return rows.iloc[:0]
    p = rows.groupby(["track", "seen_items"]).p_margin.transform(lambda own: holm(own.to_numpy()))
    fallen = rows.verdict.isin(("better", "worse")) & (p >= 1 - CONFIDENCE)
    return rows.assign(verdict=rows.verdict.mask(fallen, "inconclusive"))


def against(tables: Tables, metric: str = MAIN) -> pd.DataFrame:
    """The focal model's quality held against every other trained model's: rows of `comparisons`, read from its side.

    Adds `comparator`, and `share`, `share_low`, `share_high`: the difference as a share of the better mean.
    """
    rows = facing(pick(tables.frames["comparisons"], metric=metric), FOCAL_MODEL)
    if rows.empty:
        return rows
    trained = set(spent.trainings(tables).model)
    rows = rows[rows.model_a.isin(trained) & rows.model_b.isin(trained)]
    better = rows[["mean_a", "mean_b"]].max(axis=1)
    ends = {"share": "difference", "share_low": "ci_low", "share_high": "ci_high"}
    return rows.assign(
        comparator=rows.model_b, **{key: rows[end] / better for key, end in ends.items()}
    )


def costs(tables: Tables) -> pd.DataFrame:
    """Measured costs of trained models on the datasets and along the curve over length: rows of `efficiency`.

    Adds `job` (what was measured in turn, with one batch) and `what` (a metric, or ``memory``); other metrics are dropped, and so
    are jobs on a dataset with another batch, precision or hyper-parameters than what was trained there: a measurement may outlive
    its trainings.
    """
    every = tables.frames["efficiency"]
    rows = pd.concat([of_curve(every, None), of_curve(every, LENGTHS)]) if len(every) else every
    rows = rows[rows["median"].notna()] if len(rows) else rows
    if rows.empty:
        about = ("track", "model", "device", "dataset", "seq_len", "curve", "median", "q25", "q75")
        return pd.DataFrame(columns=[*_KEY, *about, "batch_size", "sequences", "n_items"])
    memory = rows.metric == rows.device_kind.map({kind: names[0] for kind, names in MEMORY.items()})
    rows = rows.assign(
        job=rows.path.str.rpartition("/")[0], what=rows.metric.mask(memory, "memory")
    )
    shown = pd.Series(zip(rows.phase, rows.what, strict=True), rows.index).isin(COSTS)
    return rows[shown & _as_trained(tables, rows)]


def _as_trained(tables: Tables, rows: pd.DataFrame) -> pd.Series:
    """Whether a row is of a curve, or measured what was trained at its place, if anything was: batch, precision, hyper-parameters."""
    where = ["track", "dataset", "seq_len"]
    trained = spent.trainings(tables)
    if trained.empty:
        return pd.Series(True, rows.index)
    batches = set(places(trained, *where, "targets_per_step", "precision"))
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
    for *key, said in places(trained, *where, "hyperparameters"):
        there.setdefault(tuple(key), []).append(json.loads(said))

    def same(path: str, *key: object) -> bool:
        own = json.loads(measured.get(path, "{}"))
        options = there.get(key, [own])
        return any(all(own.get(k, v) == v for k, v in option.items()) for option in options)

    keys = zip(rows.path, *(rows[name] for name in where), strict=True)
    return pd.Series([same(*key) for key in keys], rows.index)


def ratios(tables: Tables) -> pd.DataFrame:
    """The focal model's median cost over each comparator's, as `costs` has them: adds `comparator`, `ratio`, `ratio_low`, `ratio_high`.

    The bounds pair the lower quartile of one with the upper of the other.
    """
    rows = costs(tables)
    comparators = rows[rows.model != FOCAL_MODEL][[*_KEY, "model", "median", "q25", "q75"]]
    comparators = comparators.rename(columns={"model": "comparator", "median": "other"})
    both = pick(rows, model=FOCAL_MODEL).merge(comparators, on=_KEY, suffixes=("", "_other"))
    return both.assign(
        ratio=both["median"] / both.other,
        ratio_low=both.q25 / both.q75_other,
        ratio_high=both.q75 / both.q25_other,
    )


def table(tables: Tables, track: str) -> Table:
    """The focal model against each other trained model of a track, in quality and in cost; machines are never mixed."""
    rows = pick(against(tables), track=track)
    times = ("Epoch time", "Training memory", "Inference batch time")
    columns = [
        Column(f"{label(FOCAL_MODEL)} against", number=False),
        *(Column(text, f"Difference in {METRICS[MAIN].label}") for text in SEEN_ITEMS.values()),
        *(Column(text, f"Cost of {label(FOCAL_MODEL)} as a multiple") for text in times),
    ]
    body: list[list[Cell]] = []
    for dataset, seq_len in places(rows, "dataset", "seq_len"):
        part = pick(rows, dataset=dataset, seq_len=seq_len)
        cost = pick(tables.frames["efficiency"], track=track, dataset=dataset, seq_len=seq_len)
        for where in places(cost, "machine_name", "device", "device_kind") or [None]:
            measured_on = f"; cost on {where[0]} ({where[1]})" if where else ""
            body.append([Cell(place(dataset, seq_len) + measured_on)])
            own = pick(cost, machine_name=where[0], device=where[1]) if where else cost
            kind = where[2] if where else "cpu"
            body += [
                _row(pick(part, comparator=comparator), own, comparator, kind)
                for comparator in ordered(part.comparator)
            ]
    caption = f"{label(FOCAL_MODEL)} against each other trained model, track {track}"
    return Table(f"versus-{track}", caption, columns, body)


def _row(rows: pd.DataFrame, cost: pd.DataFrame, comparator: str, kind: str) -> list[Cell]:
    cells = [Cell(label(comparator), value=comparator)]
    cells += [
        difference_cell(pick(rows, seen_items=seen_items).iloc[0]) for seen_items in SEEN_ITEMS
    ]
    for phase, metric in (
        ("train", "epoch_s"),
        ("train", MEMORY[kind][0]),
        ("inference", "batch_s"),
    ):
        found = pick(cost, phase=phase, metric=metric)
        found = found.assign(job=found.path.str.rpartition("/")[0]) if len(found) else found
        own, other = (pick(found, model=m) for m in (FOCAL_MODEL, comparator))
        both = (
            own.merge(other, on="job")[["median_x", "median_y"]].dropna() if len(found) else found
        )
        ratio = both.median_x.iloc[0] / both.median_y.iloc[0] if len(both) else None
        cells.append(Cell(f"{rounded(ratio, ratio)} ×", value=ratio) if ratio else DASH)
    return cells
