"""Published values beside ours, like with like, and the paper's table cell by cell, from hand-made tables."""

import pandas as pd
import pytest
from builders import REPORT
from frames import cost, published_value

from seqbench.analysis import published_values
from seqbench.analysis.tables import Tables

OURS = {"mean": 0.2, "ci_low": 0.19, "ci_high": 0.21}


def summary(**changes):
    """A row of `summary`."""
    return {
        "dataset": "toy", "seq_len": 50, "model": "sasrec", "track": "matched", "seen_items": "kept",
        "ties": "conservative", "metric": "ndcg@10", **OURS, **changes,
    }  # fmt: skip


def beside(values, *rows):
    found = published_values.rows(Tables({"summary": pd.DataFrame(list(rows))}, {}, REPORT), values)
    return found.astype(object).where(found.notna(), None).to_dict("records")


@pytest.mark.parametrize(
    ("published", "expected"),
    [(0.189, "above"), (0.19, "reached"), (0.2, "reached"), (0.21, "reached"), (0.211, "below")],
)
def test_the_interval_decides(published, expected):
    (row,) = beside([published_value(**{"ndcg@10": published, "hr@10": None})], summary())
    assert row["verdict"] == expected
    assert row["share"] == pytest.approx(0.2 / published)


def test_like_is_held_against_like():
    values = [published_value(**{"hr@10": None, "ndcg@10": 0.25, "seen_items": s}) for s in ("kept", "excluded")]  # fmt: skip
    higher = summary(seen_items="excluded", mean=0.3, ci_low=0.29, ci_high=0.31)
    found = beside(values, summary(), higher, summary(ties="average", mean=0.9))
    assert [(r["seen_items"], r["ours"], r["verdict"]) for r in found] == [
        ("kept", 0.2, "below"), ("excluded", 0.3, "above")
    ]  # fmt: skip


@pytest.mark.parametrize(("share", "expected"), [(1 / 1.1, "reached"), (1 / 1.12, "inconclusive"), (2, "reached")])  # fmt: skip
def test_a_wide_interval_alone_reaches_nothing(share, expected):
    """Seeds of which one did not train have an interval that holds nearly everything."""
    value = published_value(**{"ndcg@10": 0.2 / share, "hr@10": None})
    (row,) = beside([value], summary(ci_low=0.0, ci_high=1.0))
    assert row["verdict"] == expected


def test_every_metric_and_track_has_its_row():
    rows = [summary(metric=m, track=t) for t in ("tuned", "matched") for m in ("hr@10", "ndcg@10")]
    found = beside([published_value()], *rows)
    assert [(r["metric"], r["track"]) for r in found] == [
        ("ndcg@10", "matched"), ("ndcg@10", "tuned"), ("hr@10", "matched"), ("hr@10", "tuned")
    ]  # fmt: skip


def test_what_nothing_was_trained_for_says_so():
    other = published_value(seq_len=100, **{"hr@10": None})
    (row,) = beside([other], summary())
    assert (row["verdict"], row["track"], row["ours"]) == ("not measured", None, None)
    (row,) = beside([other])
    assert row["verdict"] == "not measured"


# --- the paper's table ------------------------------------------------------------------------------------------------

TABLE = {
    "dataset": "toy", "seq_len": 50, "seen_items": "kept", "source": "p", "differs": {"matched": "the loss"},
    "quality": {"ndcg@10": {"sasrec": 0.25, "gru4rec": None}},
    "cost": [{"phase": "train", "metric": "peak_reserved_bytes", "batch": 2048, "scale": 2**30, "values": {"sasrec": 2.0}}],
}  # fmt: skip
FILE = {"toy": {"provenance": {"substitute_file": "ranks for times"}}}
MEMORY = {"metric": "peak_reserved_bytes", "device_kind": "cuda", "track": "paper"}


def cells(summaries=(), costs=(), tracks=("matched",)):
    frames = {"experiments": pd.DataFrame({"track": list(tracks)})}
    frames |= {"summary": pd.DataFrame(list(summaries)), "efficiency": pd.DataFrame(list(costs))}
    found = published_values.paper_rows(Tables(frames, FILE, REPORT), TABLE)
    return found.astype(object).where(found.notna(), None)


def cell(found, model, quantity, track):
    keys = (found.model == model) & (found.quantity == quantity) & (found.track == track)
    (row,) = found[keys].to_dict("records")
    return row


def test_every_cell_has_a_row_in_every_track_and_in_the_papers():
    found = cells([summary()])
    assert len(found) == 3 * 2
    assert set(found.track) == {"matched", "paper"}
    row = cell(found, "sasrec", "ndcg@10", "paper")
    assert (row["published"], row["verdict"], row["ours"]) == (0.25, "not measured", None)


def test_quality_has_a_difference_a_share_and_what_differs():
    row = cell(cells([summary()]), "sasrec", "ndcg@10", "matched")
    assert (row["verdict"], row["differs"], row["data_differs"]) == ("below", "the loss", "ranks for times")  # fmt: skip
    assert (row["difference"], row["share"]) == pytest.approx((-0.05, 0.8))


def test_what_was_not_published_is_no_value_and_has_no_verdict():
    row = cell(cells([summary(model="gru4rec")]), "gru4rec", "ndcg@10", "matched")
    assert (row["published"], row["why"], row["verdict"], row["ours"]) == (None, "not published", None, 0.2)  # fmt: skip


@pytest.mark.parametrize("share", [0.5, 1.5])
def test_a_cost_of_the_papers_workload_is_that_of_other_hardware(share):
    row = cell(cells(costs=[cost("sasrec", share * 2 * 2**30, **MEMORY)]), "sasrec", "peak_reserved_bytes", "paper")  # fmt: skip
    assert (row["verdict"], row["why"], row["unit"]) == ("other hardware", "device", "bytes")
    assert row["share"] == pytest.approx(share)


@pytest.mark.parametrize("changes", [{"track": "matched"}, {"batch_size": 256}, {"device_kind": "cpu"}])  # fmt: skip
def test_a_cost_of_another_workload_is_not_compared(changes):
    found = cells(costs=[cost("sasrec", 2**30, **{**MEMORY, **changes})])
    row = cell(found, "sasrec", "peak_reserved_bytes", changes.get("track", "paper"))
    assert (row["verdict"], row["why"], row["share"]) == ("not comparable", "workload", None)
    assert row["ours"] == 2**30


def test_machines_are_rows_of_their_own_and_what_was_not_measured_is_none():
    costs = [cost("sasrec", v, machine_name=m, **MEMORY) for m, v in (("one", 1e9), ("two", float("nan")), ("three", 2e9))]  # fmt: skip
    found = cells(costs=costs)
    own = found[(found.quantity == "peak_reserved_bytes") & (found.track == "paper")]
    assert list(own.machine_name) == ["one", "three"]
