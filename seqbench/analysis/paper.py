"""The paper's table for MovieLens-1M, cell by cell beside ours: the block `paper` of published_values.yaml in, rows out.

Quality has the verdicts of published_values.py. A cost of the same workload on a GPU is only described (`less`, `same`,
`more`, by our quartiles), because the paper's GPU is not known. Ratios of costs are judged in claims.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from ..core.display import QUANTITIES
from .published_values import ABSENT, verdict
from .rows import compared_tracks, pick

PROTOCOL = "paper"  # the track of the paper's protocol
UNKNOWN, DEVICE, WORKLOAD = "not published", "device", "workload"
INCOMPARABLE = "not comparable"
CELL = ["model", "phase", "quantity"]
COLUMNS = (
    *(*CELL, "unit", "published", "published_batch", "track", "machine_name", "device_kind"),
    *("ours", "low", "high", "ours_batch", "difference", "share", "verdict", "why"),
    *("differs", "data_differs"),
)
QUALITY = {"metric": "quantity", "mean": "ours", "ci_low": "low", "ci_high": "high"}
COST = {"metric": "quantity", "median": "ours", "q25": "low", "q75": "high", "batch_size": "ours_batch"}  # fmt: skip


def rows(
    frames: Mapping[str, pd.DataFrame],
    datasets: Mapping[str, Any],
    settings: Mapping[str, Any],
    paper: Mapping[str, Any],
) -> pd.DataFrame:
    """A row per cell of the paper's table and track; of a cost one per machine that measured it."""
    tracks = compared_tracks(settings, [PROTOCOL, *frames["experiments"].get("track", ())])
    where = {"dataset": paper["dataset"], "seq_len": paper["seq_len"]}
    quality = pick(frames["summary"], ties="conservative", seen_items=paper["seen_items"], **where)
    cost = pick(frames["efficiency"], **where)
    ours = pd.concat([quality.rename(columns=QUALITY), cost.rename(columns=COST)])
    ours = ours.reindex(columns=[*CELL, "track", "machine_name", "device_kind", "ours", "low", "high", "ours_batch"])  # fmt: skip
    found = pd.DataFrame(_cells(paper)).merge(pd.DataFrame({"track": tracks}), how="cross")
    key = dict.fromkeys([*CELL, "track"], object)  # a column without values is one of numbers
    found = found.astype(key).merge(ours[ours.ours.notna()].astype(key), how="left", on=[*key])
    told = [_verdict(row) for row in found.itertuples()]
    found["verdict"], found["why"] = zip(*told, strict=True)
    alike = found.verdict != INCOMPARABLE
    file = (datasets.get(paper["dataset"], {}).get("provenance") or {}).get("substitute_file")
    found = found.assign(
        unit=[QUANTITIES[name].unit for name in found.quantity],
        difference=(found.ours - found.published).where(alike),
        share=(found.ours / found.published).where(alike),
        differs=found.track.map(paper["differs"]).where(found.ours.notna()),
        data_differs=pd.Series(file, found.index, dtype=object).where(found.ours.notna()),
    )
    return found[[*COLUMNS]]


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


def _verdict(row: Any) -> tuple[str | None, str | None]:
    """Verdict and why, of a cell beside ours."""
    if pd.isna(row.ours):
        return ABSENT, UNKNOWN if pd.isna(row.published) else None
    if pd.isna(row.published):
        return None, UNKNOWN
    if pd.isna(row.phase):
        return verdict(row.ours, row.low, row.high, row.published), None
    if (row.track, row.device_kind, row.ours_batch) != (PROTOCOL, "cuda", row.published_batch):
        return INCOMPARABLE, WORKLOAD
    above, below = row.low > row.published, row.high < row.published
    return "more" if above else "less" if below else "same", DEVICE
