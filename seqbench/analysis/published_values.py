"""Published values of the same models on the same files, beside ours, and the paper's table cell by cell: both blocks of
config/published_values.yaml in, rows out.

Like with like: a value with seen items kept is held against ours with seen items kept. Verdicts:

    above         our interval lies above the published value
    reached       it holds the published value, and our mean is not far below it
    below         it lies below
    inconclusive  it holds the published value only because it is wide: our mean is far below; or seeds are too few
    not measured  nothing was trained there
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from ..core.display import QUANTITIES, TABLES
from .summary import enough_seeds
from .tables import MODEL, Tables, compared_tracks, pick

METRICS = ("ndcg@10", "hr@10")  # the one that decides first
ABOVE, REACHED, BELOW, UNSURE = "above", "reached", "below", "inconclusive"
ABSENT = "not measured"
NEAR = 0.9  # share of the published value that our mean must have for an interval that holds it to reach it
KEY = ["dataset", "seq_len", "model", "seen_items", "metric"]
OURS = {"mean": "ours", "ci_low": "ours_low", "ci_high": "ours_high", "n_seeds": "n_seeds"}
PROTOCOL = "paper"  # the track of the paper's protocol
UNKNOWN, DEVICE, WORKLOAD, FEW, WIDE = "not published", "device", "workload", "few_seeds", "interval"  # fmt: skip
INCOMPARABLE, ELSEWHERE = "not comparable", "other hardware"
CELL = ["model", "phase", "quantity"]
QUALITY = {"metric": "quantity", "mean": "ours", "ci_low": "low", "ci_high": "high", "n_seeds": "n_seeds"}  # fmt: skip
COST = {"metric": "quantity", "median": "ours", "q25": "low", "q75": "high", "batch_size": "ours_batch"}  # fmt: skip


def rows(tables: Tables, published: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """A row per value, metric that it has and track; one without a track where nothing was trained."""
    cells = [{**value, "metric": metric, "published": value[metric]} for value in published for metric in METRICS if value[metric] is not None]  # fmt: skip
    ours = pick(tables.frames["summary"], ties="conservative").reindex(columns=[*KEY, "track", *OURS]).rename(columns=OURS)  # fmt: skip
    tracks = compared_tracks(tables.settings, ours.track)
    ours = ours[ours.track.isin(tracks)].sort_values("track", key=lambda own: own.map(tracks.index))
    found = pd.DataFrame(cells, columns=[*KEY, "source", "note", "published"])  # fmt: skip
    found = found.merge(ours.astype(found.dtypes[KEY]), how="left", on=KEY)
    found["share"] = found.ours / found.published
    found["verdict"] = _verdicts(found.ours, found.ours_low, found.ours_high, found.published, found.n_seeds)  # fmt: skip
    return found[TABLES["published_values"]]


def deciding(values: pd.DataFrame) -> pd.DataFrame:
    """A row per value that we have beside it, of NDCG where that was published; `basis`: its metric and treatment of seen items."""
    values = values[values.share.notna()].drop_duplicates([*MODEL, "seen_items", "source", "note"])
    labels = values.metric.map(lambda metric: QUANTITIES[metric].label)
    return values.assign(basis=labels + ", seen items " + values.seen_items)


def _verdicts(*columns: pd.Series) -> np.ndarray:
    """Where our intervals lie beside published values; columns: ours, low, high, published, seeds."""
    ours, low, high, published, seeds = columns
    cases = [ours.isna(), ~seeds.map(enough_seeds), low > published, high < published, ours >= NEAR * published]  # fmt: skip
    return np.select(cases, [ABSENT, UNSURE, ABOVE, BELOW, REACHED], UNSURE)


def paper_rows(tables: Tables, paper: Mapping[str, Any]) -> pd.DataFrame:
    """A row per cell of the paper's table and track; of a cost one per machine that measured it.

    A cost of the same workload is not judged, because the paper's GPU is not known: ratios of costs are, in claims.py.
    """
    frames = tables.frames
    tracks = compared_tracks(tables.settings, [PROTOCOL, *frames["experiments"].get("track", ())])
    where = {"dataset": paper["dataset"], "seq_len": paper["seq_len"]}
    quality = pick(frames["summary"], ties="conservative", seen_items=paper["seen_items"], **where)
    cost = pick(frames["efficiency"], **where)
    ours = pd.concat([quality.rename(columns=QUALITY), cost.rename(columns=COST)])
    ours = ours.reindex(columns=[*CELL, "track", "machine_name", "device_kind", "ours", "low", "high", "ours_batch", "n_seeds"])  # fmt: skip
    found = pd.DataFrame(_cells(paper)).merge(pd.DataFrame({"track": tracks}), how="cross")
    key = dict.fromkeys([*CELL, "track"], object)  # a column without values is one of numbers
    found = found.astype(key).merge(ours[ours.ours.notna()].astype(key), how="left", on=[*key])
    found["beside"] = _verdicts(found.ours, found.low, found.high, found.published, found.n_seeds)
    told = [_of_cell(row) for row in found.itertuples()]
    found["verdict"], found["why"] = zip(*told, strict=True)
    alike = found.verdict != INCOMPARABLE
    origin = tables.datasets.get(paper["dataset"], {}).get("provenance") or {}
    file = origin.get("substitute_file")
    found = found.assign(
        unit=[QUANTITIES[name].unit for name in found.quantity],
        difference=(found.ours - found.published).where(alike),
        share=(found.ours / found.published).where(alike),
        differs=found.track.map(paper["differs"]).where(found.ours.notna()),
        data_differs=pd.Series(file, found.index, dtype=object).where(found.ours.notna()),
    )
    return found[TABLES["paper"]]


def _cells(paper: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The cells that the paper's table has, or would have: what was not published has no value."""
    blocks = [{"quantity": metric, "phase": None, "batch": None, "scale": 1, "values": values} for metric, values in paper["quality"].items()]  # fmt: skip
    blocks += [{**cost, "quantity": cost["metric"]} for cost in paper["cost"]]
    return [
        {
            "model": model, "phase": block["phase"], "quantity": block["quantity"], "published_batch": block["batch"],
            "published": float("nan") if value is None else value * block["scale"],
        }
        for block in blocks for model, value in block["values"].items()
    ]  # fmt: skip


def _of_cell(row: Any) -> tuple[str | None, str | None]:
    """Verdict and why, of a cell beside ours."""
    if pd.isna(row.published):
        return ABSENT if pd.isna(row.ours) else None, UNKNOWN
    if pd.isna(row.ours) or pd.isna(row.phase):
        few = not enough_seeds(row.n_seeds)
        return row.beside, (FEW if few else WIDE) if row.beside == UNSURE else None
    if (row.track, row.device_kind, row.ours_batch) != (PROTOCOL, "cuda", row.published_batch):
        return INCOMPARABLE, WORKLOAD
    return ELSEWHERE, DEVICE
