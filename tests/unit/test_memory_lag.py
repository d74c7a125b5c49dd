"""How far back a model remembers: its share of the oracle, by lag."""

import pandas as pd
import pytest
from frames import FACTS, quality

from seqbench.analysis import memory_lag
from seqbench.analysis.collect import Tables
from seqbench.core.display import TABLES


def facts(lag, best=0.8):
    made = {"provenance": {"synthetic": {"copy_lag": lag}}} if lag else {"provenance": {}}
    oracle = {"test": {"ndcg@10": best, "hr@10": 1.0}} if lag else None
    return {**FACTS, **made, "oracle": oracle}


def test_shares_of_the_oracle_by_lag_of_generated_data_only():
    rows = [
        *quality("sasrec", 0.4, dataset="far"),
        *quality("sasrec", 0.6, dataset="near"),
        *quality("sasrec", 0.7, seen_items="excluded", dataset="near"),
        *quality("sasrec", 0.3, dataset="near", seq_len=20),
        *quality("sasrec", 0.5, dataset="real"),
    ]
    datasets = {"near": facts(3), "far": facts(8, best=0.5), "real": facts(None)}
    found = memory_lag.rows(Tables({"summary": pd.DataFrame(rows)}, datasets, {}))
    assert list(found.columns) == TABLES["memory"]
    assert list(zip(found.dataset, found.lag, found.seq_len, strict=True)) == [("near", 3, 50), ("far", 8, 50)]  # fmt: skip
    assert list(found.share) == pytest.approx([0.6 / 0.8, 0.4 / 0.5])
    assert list(found.share_low) == pytest.approx([0.54 / 0.8, 0.36 / 0.5])
    assert list(found.share_high) == pytest.approx([0.66 / 0.8, 0.44 / 0.5])


def test_without_generated_data_there_are_none():
    found = memory_lag.rows(Tables({"summary": pd.DataFrame(quality("sasrec", 0.4))}, {"toy": facts(None)}, {}))  # fmt: skip
    assert found.empty and list(found.columns) == TABLES["memory"]
