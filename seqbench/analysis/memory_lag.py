"""How far back a model remembers: on synthetic data whose next item copies one from some steps ago, its share of what can be attained."""

from __future__ import annotations

import pandas as pd

from ..core.display import PRIMARY_METRIC, TABLES
from .tables import Tables, pick


def rows(tables: Tables) -> pd.DataFrame:
    """Test NDCG@10 over the oracle's, with its interval, by lag of the copied item; each dataset at its longest history length."""
    oracle, lag = {}, {}
    for name, facts in tables.datasets.items():
        if made := (facts.get("provenance") or {}).get("synthetic"):
            oracle[name], lag[name] = facts["oracle"]["test"][PRIMARY_METRIC], made["copy_lag"]
    frame = pick(tables.frames["summary"], metric=PRIMARY_METRIC, ties="conservative", seen_items="kept")  # fmt: skip
    if frame.empty or not lag:
        return pd.DataFrame(columns=TABLES["memory"])
    frame = frame[frame.dataset.isin(lag)]
    frame = frame[frame.seq_len == frame.groupby("dataset").seq_len.transform("max")]
    best = frame.dataset.map(oracle)
    shares = {"share": frame["mean"], "share_low": frame.ci_low, "share_high": frame.ci_high}
    frame = frame.assign(lag=frame.dataset.map(lag), **{k: v / best for k, v in shares.items()})
    return frame.sort_values(["track", "lag"], kind="stable", ignore_index=True)[TABLES["memory"]]
