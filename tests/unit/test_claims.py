"""Claims: each verdict from tables whose answer is known."""

import pandas as pd
import pytest
from builders import REPORT

from seqbench.analysis import claims, published_values
from seqbench.analysis.tables import Tables, pick

CLAIMS = {
    "source": "a paper", "focal_model": "ours",
    "quality": [{"sentence": "ours beats {comparator}", "dataset": "d", "seq_len": 5, "seen_items": "kept",
                 "metrics": ["ndcg@10"], "comparators": ["theirs"], "source": "t1"}],
    "values": [{"sentence": "ours reaches it", "metrics": ["ndcg@10"], "tracks": ["fair"], "source": "t1"}],
    "cost": [{"sentence": "less than {comparator}", "phase": "train", "metric": "epoch_s", "comparators": ["theirs"],
              "tolerance": 0.2, "tracks": ["fair"], "source": "t2"}],
    "growth": [{"sentence": "grows less than {comparator}", "phase": "train", "metric": "step_s",
                "comparators": ["theirs"], "source": "t3"}],
}  # fmt: skip
PAPER = {
    "dataset": "d", "seq_len": 5, "seen_items": "kept", "quality": {"ndcg@10": {"ours": 0.2}}, "differs": {},
    "cost": [{"phase": "train", "metric": "epoch_s", "batch": 64, "scale": 1, "values": {"ours": 50.0, "theirs": 100.0}}],
}  # fmt: skip


def frames(
    quality=None, value=None, cost=None, growth=None, track="fair", batch=64, rounds=3, short=None,
    machines=("gpu",),
):  # fmt: skip
    """Tables with at most one fact each; quality: (low, high, verdict, why), ours being model_b."""
    place = {"track": track, "dataset": "d", "seq_len": 5, "seen_items": "kept", "metric": "ndcg@10"}  # fmt: skip
    found = {name: pd.DataFrame() for name in ("comparisons", "summary", "efficiency", "scaling")}
    found["experiments"] = pd.DataFrame([{"track": track}])
    if quality:
        low, high, verdict, why = quality
        row = {
            "model_a": "theirs", "model_b": "ours", "mean_a": 0.1, "mean_b": 0.2, "difference": (low + high) / 2,
            "ci_low": low, "ci_high": high, "verdict": verdict, "why": why,
        }  # fmt: skip
        found["comparisons"] = pd.DataFrame([place | row])
    if value:
        names = ("mean", "ci_low", "ci_high", "n_seeds")
        row = {"model": "ours", "ties": "conservative", **dict(zip(names, value, strict=True))}
        found["summary"] = pd.DataFrame([place | row])
    if cost:
        kind, values = cost
        found["efficiency"] = pd.DataFrame([
            place | {"model": m, "device_kind": kind, "machine_name": machine, "phase": "train", "metric": "epoch_s",
                     "median": v, "q25": v - s, "q75": v + s, "batch_size": batch, "rounds": rounds}
            for machine in machines for m, v, s in values
        ])  # fmt: skip
    if growth:
        found["scaling"] = pd.DataFrame([
            {"track": track, "n_rounds": rounds, "model": m, "device_kind": "cuda", "machine_name": machine,
             "curve": "length-at-constant-batch", "phase": "train", "metric": "step_s", "fixed": "8 sequences", "threads": 1,
             "slope_end": (low + high) / 2, "slope_end_low": low, "slope_end_high": high,
             "slope_over": "50 800" if m in (short or {}) else "50 100 800"}
            for machine in machines for m, low, high in growth
        ])  # fmt: skip
    return found


def judged(facts, only=("quality", "values", "cost", "growth"), given=CLAIMS):
    chosen = {key: given[key] for key in ("source", "focal_model", *only)}
    tables = Tables(facts, {}, REPORT)
    facts["paper"] = published_values.paper_rows(tables, PAPER)
    found = claims.rows(tables, chosen, PAPER).astype(object)
    return found.where(found.notna(), None).to_dict("records")


def verdict(kind, **facts):
    (row,) = judged(frames(**facts), [kind])
    return row


@pytest.mark.parametrize(
    ("quality", "expected"),
    [
        ((-0.03, -0.02, "worse", None), (claims.YES, None)),  # theirs is worse
        ((0.02, 0.03, "better", None), (claims.NO, "opposite")),
        ((-0.001, 0.001, "equivalent", None), (claims.NO, "equivalent")),
        ((-0.03, 0.01, "inconclusive", "interval"), (claims.UNSURE, "interval")),
        ((-0.03, -0.02, "inconclusive", "few_seeds"), (claims.UNSURE, "few_seeds")),
        ((-0.03, -0.02, "inconclusive", "seeds_apart"), (claims.UNSURE, "seeds_apart")),
        (None, ("not measured", None)),
    ],
)
def test_quality_follows_the_comparison(quality, expected):
    row = verdict("quality", quality=quality)
    assert (row["verdict"], row["why"]) == expected
    if quality:  # read from our side
        assert (row["low"], row["high"]) == (-quality[1], -quality[0])
        assert (row["focal_value"], row["comparator_value"]) == (0.2, 0.1)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ((0.21, 0.20, 0.22, 3), claims.YES),
        ((0.21, 0.20, 0.22, 1), claims.UNSURE),
        ((0.15, 0.14, 0.16, 3), claims.NO),
        ((0.19, 0.18, 0.199, 3), claims.NO),  # near it, and surely below
        ((0.17, 0.15, 0.21, 3), claims.UNSURE),  # far below, but not surely
        ((0.30, 0.29, 0.31, 5), claims.YES),  # above it
        ((0.15, 0.14, 0.16, 1), claims.UNSURE),  # one seed proves nothing, this way either
        ((0.20, 0.15, 0.25, 3), claims.YES),
        (None, "not measured"),
    ],
)
def test_a_published_value_is_judged_as_in_the_papers_table(value, expected):
    facts = frames(value=value)
    (row,) = judged(facts, ["values"])
    (cell,) = pick(facts["paper"], track="fair", quantity="ndcg@10").to_dict("records")
    assert (row["verdict"], row["published"]) == (expected, 0.2)
    beside = {"above": claims.YES, "reached": claims.YES, "below": claims.NO, "inconclusive": claims.UNSURE, "not measured": "not measured"}  # fmt: skip
    assert beside[cell["verdict"]] == expected
    if value:
        assert row["ratio_or_difference"] == pytest.approx(value[0] / 0.2)


@pytest.mark.parametrize(
    ("cost", "expected"),
    [
        (("cuda", [("ours", 5.0, 0.1), ("theirs", 10.0, 0.1)]), (claims.YES, None)),
        (("cuda", [("ours", 8.0, 0.1), ("theirs", 10.0, 0.1)]), (claims.NO, "figure")),  # cheaper, not by half
        (("cuda", [("ours", 12.0, 0.1), ("theirs", 10.0, 0.1)]), (claims.NO, "opposite")),
        (("cuda", [("ours", 10.0, 0.0), ("theirs", 10.0, 0.0)]), (claims.NO, "opposite")),  # equal is not less
        (("cuda", [("ours", 6.0, 0.0), ("theirs", 10.0, 0.0)]), (claims.YES, None)),  # .6: within .2 of .5
        (("cuda", [("ours", 2.0, 0.0), ("theirs", 10.0, 0.0)]), (claims.NO, "figure")),  # another figure too
        (("cuda", [("ours", 9.9, 1.0), ("theirs", 10.0, 1.0)]), (claims.UNSURE, "interval")),
        (("cpu", [("ours", 5.0, 0.1), ("theirs", 10.0, 0.1)]), ("not measured", None)),  # a CPU says nothing
        (("cuda", [("ours", 5.0, 0.1)]), ("not measured", None)),
        (None, ("not measured", None)),
    ],
)  # fmt: skip
def test_cost_is_a_ratio_on_a_gpu(cost, expected):
    row = verdict("cost", cost=cost)
    assert (row["verdict"], row["why"]) == expected
    assert (row["claim"], row["published"]) == ("less than theirs", 0.5)


@pytest.mark.parametrize(
    ("growth", "expected"),
    [
        ([("ours", 0.9, 1.1), ("theirs", 1.5, 1.7)], claims.YES),
        ([("ours", 1.8, 1.9), ("theirs", 1.5, 1.7)], claims.NO),
        ([("ours", 0.9, 1.6), ("theirs", 1.5, 1.7)], claims.UNSURE),
        ([("ours", 0.9, 1.5), ("theirs", 1.5, 1.7)], claims.UNSURE),  # intervals that touch
        ([("ours", 1.7, 1.9), ("theirs", 1.5, 1.7)], claims.UNSURE),
        (None, "not measured"),
    ],
)
def test_growth_is_compared_at_the_long_end(growth, expected):
    assert verdict("growth", growth=growth)["verdict"] == expected


def test_slopes_over_different_lengths_decide_nothing():
    row = verdict("growth", growth=SLOW_GROWTH, short={"theirs": 1})
    assert (row["verdict"], row["why"]) == (claims.UNSURE, "other_lengths")


FAST = ("cuda", [("ours", 5.0, 0.1), ("theirs", 10.0, 0.1)])
SLOW_GROWTH = [("ours", 0.9, 1.1), ("theirs", 1.5, 1.7)]


def test_a_value_of_another_protocol_is_no_claim():
    value = (0.21, 0.20, 0.22, 3)
    other = judged(frames(value=value, track="another"), ["values", "quality"])
    assert [row["kind"] for row in other] == ["quality"]
    assert len(judged(frames(value=value), ["values", "quality"])) == 2


def test_another_workload_says_nothing_about_the_papers_cost():
    assert verdict("cost", cost=FAST, batch=65)["verdict"] == "not measured"
    assert judged(frames(cost=FAST, track="another"), ["cost"]) == []


def test_several_gpus_are_judged_one_by_one():
    facts = frames(cost=FAST, growth=SLOW_GROWTH, machines=("one", "two"))
    cost = facts["efficiency"]
    slower = (cost.machine_name == "two") & (cost.model == "ours")
    cost.loc[slower, ["median", "q25", "q75"]] *= 4
    found = {(r["kind"], r["machine_name"]): r["verdict"] for r in judged(facts)}
    assert found == {
        ("quality", None): "not measured",
        ("values", None): "not measured",
        ("cost", "one"): claims.YES,
        ("cost", "two"): claims.NO,
        ("growth", "one"): claims.YES,
        ("growth", "two"): claims.YES,
    }


def test_two_curves_of_one_gpu_are_judged_one_by_one_and_never_mixed():
    facts = frames(growth=[*SLOW_GROWTH, ("ours", 2.0, 2.1), ("theirs", 1.5, 1.7)])
    facts["scaling"]["fixed"] = ["8 sequences"] * 2 + ["256 sequences"] * 2
    found = {r["fixed"]: r["verdict"] for r in judged(facts, ["growth"])}
    assert found == {"8 sequences": claims.YES, "256 sequences": claims.NO}
    facts["scaling"] = facts["scaling"].iloc[[0, 3]]  # ours on one curve, theirs on the other
    assert [r["verdict"] for r in judged(facts, ["growth"])] == ["not measured"] * 2


def test_a_gpu_that_measured_another_track_is_no_claim_of_this_one():
    facts, other = frames(cost=FAST, machines=("one", "two")), frames(cost=FAST, track="other", machines=("three",))  # fmt: skip
    both = {name: pd.concat([frame, other[name]]) for name, frame in facts.items()}
    found = [(r["track"], r["machine_name"], r["verdict"]) for r in judged(both, ["cost"])]
    assert found == [("fair", "one", claims.YES), ("fair", "two", claims.YES)]


@pytest.mark.parametrize("kind", [("cost", {"cost": FAST}), ("growth", {"growth": SLOW_GROWTH})])
def test_one_process_decides_nothing(kind):
    row = verdict(kind[0], rounds=1, **kind[1])
    assert (row["verdict"], row["why"]) == (claims.UNSURE, "few_rounds")


def test_steps_of_the_ablation_are_no_tracks_of_a_claim():
    facts = frames()
    facts["experiments"] = pd.DataFrame({"track": ["paper", "step", "fair"]})
    settings = {**REPORT, "ablation": ["paper", "step", "fair"]}
    found = claims.rows(
        Tables(facts, {}, settings), {**CLAIMS, "values": [], "cost": [], "growth": []}, PAPER
    )
    assert list(found.track) == ["paper", "fair"]
