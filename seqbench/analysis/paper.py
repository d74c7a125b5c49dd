"""The paper's table for MovieLens-1M, cell by cell beside ours: the block `paper` of published_values.yaml in, rows out.

Quality has the verdicts of published_values.py. A cost of the same workload on a GPU is only described (`less`, `same`,
`more`, by our quartiles), because the paper's GPU is not known. Ratios of costs are judged in claims.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd

from ..core.display import QUANTITIES
from .published_values import ABSENT, beside
from .rows import compared_tracks, pick, unique

PROTOCOL = "paper"  # the track of the paper's protocol
UNKNOWN, DEVICE, WORKLOAD = "not published", "device", "workload"
INCOMPARABLE = "not comparable"
COLUMNS = (
    *(
        "model",
        "phase",
        "quantity",
        "unit",
        "published",
        "published_batch",
        "track",
        "machine_name",
    ),
    *("device_kind", "ours", "low", "high", "ours_batch", "difference", "share", "verdict", "why"),
    *("differs", "data_differs"),
)


def rows(
    frames: Mapping[str, pd.DataFrame],
    datasets: Mapping[str, Any],
    settings: Mapping[str, Any],
    paper: Mapping[str, Any],
) -> Iterator[dict[str, Any]]:
    """A row per cell of the paper's table and track; of a cost one per machine that measured it."""
    found = frames["experiments"]
    tracks = compared_tracks(settings, [PROTOCOL, *(t for (t,) in unique(found, "track"))])
    file = (datasets.get(paper["dataset"], {}).get("provenance") or {}).get("substitute_file")
    cells = (*_quality(frames["summary"], tracks, paper), *_cost(frames["efficiency"], tracks, paper))  # fmt: skip
    for row in cells:
        ours, published = row.get("ours"), row["published"]
        row["unit"] = QUANTITIES[row["quantity"]].unit
        if published is None:
            row["why"] = UNKNOWN
        elif ours is not None and row["verdict"] != INCOMPARABLE:
            row |= {"difference": ours - published, "share": ours / published}
        if ours is not None:
            row |= {"differs": paper["differs"].get(row["track"]), "data_differs": file}
        yield {column: row.get(column) for column in COLUMNS}


def _quality(
    summary: pd.DataFrame, tracks: list[str], paper: Mapping[str, Any]
) -> Iterator[dict[str, Any]]:
    where = {key: paper[key] for key in ("dataset", "seq_len", "seen_items")}
    ours = pick(summary, ties="conservative", **where)
    for metric, values in paper["quality"].items():
        for model, published in values.items():
            for track in tracks:
                own = pick(ours, metric=metric, model=model, track=track)
                found = beside(own, published if published is not None else float("nan"))
                verdict = found["verdict"] if published is not None or own.empty else None
                yield {
                    "model": model, "quantity": metric, "published": published, "track": track,
                    "ours": found["ours"], "low": found["ours_low"], "high": found["ours_high"],
                    "verdict": verdict,
                }  # fmt: skip


def _cost(
    efficiency: pd.DataFrame, tracks: list[str], paper: Mapping[str, Any]
) -> Iterator[dict[str, Any]]:
    ours = pick(efficiency, dataset=paper["dataset"], seq_len=paper["seq_len"])
    for cost in paper["cost"]:
        own = pick(ours, phase=cost["phase"], metric=cost["metric"])
        own = own[own["median"].notna()] if len(own) else own
        for model, value in cost["values"].items():
            published = None if value is None else value * cost["scale"]
            about = {
                "model": model, "phase": cost["phase"], "quantity": cost["metric"], "published": published,
                "published_batch": cost["batch"],
            }  # fmt: skip
            for track in tracks:
                found = pick(own, model=model, track=track)
                for row in found.itertuples():
                    same = track == PROTOCOL and row.batch_size == cost["batch"]
                    yield about | {"track": track} | _measured(row, published, same)
                if found.empty:
                    yield about | {"track": track, "verdict": ABSENT}


def _measured(row: Any, published: float | None, same_workload: bool) -> dict[str, Any]:
    """same_workload: whether protocol and batch are the paper's."""
    verdict, why = INCOMPARABLE, WORKLOAD
    if same_workload and row.device_kind == "cuda":
        above, below = row.q25 > (published or 0), row.q75 < (published or 0)
        verdict, why = "more" if above else "less" if below else "same", DEVICE
    return {
        "machine_name": row.machine_name, "device_kind": row.device_kind, "ours": row.median,
        "low": row.q25, "high": row.q75, "ours_batch": row.batch_size,
        "verdict": verdict if published else None, "why": why,
    }  # fmt: skip
