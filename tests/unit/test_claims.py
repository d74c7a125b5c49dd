"""Claims: each verdict from tables whose answer is known."""

import pandas as pd
import pytest
import yaml
from builders import REPORT

from seqbench.analysis.collect import Tables
from seqbench.core.errors import UserError
from seqbench.report import claims

CLAIMS = {
    "source": "a paper", "focal_model": "ours",
    "quality": [{"sentence": "ours beats {comparator}", "dataset": "d", "seq_len": 5, "seen_items": "kept",
                 "metrics": ["ndcg@10"], "comparators": ["theirs"], "source": "t1"}],
    "values": [{"sentence": "ours reaches .2", "dataset": "d", "seq_len": 5, "seen_items": "kept", "metric": "ndcg@10",
                "published": 0.2, "tolerance": 0.1, "tracks": ["fair"], "source": "t1"}],
    "cost": [{"sentence": "less than {comparator}: {published}", "dataset": "d", "seq_len": 5, "phase": "train",
              "metric": "epoch_s", "focal_model": 50.0, "comparators": {"theirs": 100.0}, "tolerance": 0.2, "tracks": ["fair"],
              "batch": 64, "source": "t2"}],
    "growth": [{"sentence": "grows less than {comparator}", "phase": "train", "metric": "step_s", "comparators": ["theirs"],
                "source": "t3"}],
}  # fmt: skip


def tables(
    quality=None, value=None, cost=None, growth=None, track="fair", batch=64, rounds=3, short=None,
    machines=("gpu",),
):  # fmt: skip
    """Tables with at most one fact each; quality: (low, high, verdict, seeds), ours being model_b."""
    place = {
        "track": track,
        "dataset": "d",
        "seq_len": 5,
        "seen_items": "kept",
        "metric": "ndcg@10",
    }
    frames = {name: pd.DataFrame() for name in ("comparisons", "summary", "efficiency", "scaling")}
    frames["experiments"] = pd.DataFrame([{"track": track}])
    if quality:
        low, high, verdict, seeds = quality
        row = {
            "model_a": "theirs",
            "model_b": "ours",
            "difference": (low + high) / 2,
            "ci_low": low,
            "ci_high": high,
        }
        frames["comparisons"] = pd.DataFrame(
            [place | row | {"verdict": verdict, "trained_seeds": seeds}]
        )
    if value:
        mean, low, high, seeds = value
        row = {
            "model": "ours",
            "ties": "conservative",
            "mean": mean,
            "ci_low": low,
            "ci_high": high,
            "n_seeds": seeds,
        }
        frames["summary"] = pd.DataFrame([place | row])
    if cost:
        kind, values = cost
        frames["efficiency"] = pd.DataFrame([
            place | {"model": m, "device_kind": kind, "machine_name": machine, "phase": "train", "metric": "epoch_s", "median": v, "q25": v - s,
                     "q75": v + s, "iqr": 2 * s, "batch_size": batch, "rounds": rounds}
            for machine in machines for m, v, s in values
        ])  # fmt: skip
    if growth:
        frames["scaling"] = pd.DataFrame([
            {"track": track, "n_rounds": rounds, "model": m, "device_kind": "cuda", "machine_name": machine, "curve": "length-at-constant-batch", "phase": "train", "metric": "step_s",
             "fixed": "8 sequences", "threads": 1, "slope_end": (low + high) / 2, "slope_end_low": low, "slope_end_high": high, "slope_over": "50 800" if m in (short or {}) else "50 100 800",
             "x_max": 800.0}
            for machine in machines for m, low, high in growth
        ])  # fmt: skip
    return Tables(frames, {}, REPORT)


def verdict(kind, **facts):
    only = {key: CLAIMS[key] for key in ("source", "focal_model", kind)}
    (found,) = claims.judge(tables(**facts), only)
    return found


@pytest.mark.parametrize(
    ("quality", "expected"),
    [
        ((-0.03, -0.02, "worse", 3), claims.YES),  # theirs is worse
        ((0.02, 0.03, "better", 3), claims.NO),
        ((-0.001, 0.001, "equivalent", 3), claims.NO),
        ((-0.03, 0.01, "inconclusive", 3), claims.UNSURE),
        ((-0.03, -0.02, "worse", 1), claims.UNSURE),  # one seed proves nothing
        (None, claims.ABSENT),
    ],
)
def test_quality_follows_the_interval_and_the_seeds(quality, expected):
    found = verdict("quality", quality=quality)
    assert found.verdict == expected
    if quality and quality[3] == 3 and quality[1] < 0:
        assert found.measured == "difference +0.0250 [+0.0200, +0.0300]"  # read from our side


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ((0.21, 0.20, 0.22, 3), claims.YES),
        ((0.21, 0.20, 0.22, 1), claims.UNSURE),
        ((0.15, 0.14, 0.16, 3), claims.NO),
        ((0.17, 0.15, 0.19, 3), claims.UNSURE),  # outside the tolerance, but not surely
        ((0.30, 0.29, 0.31, 5), claims.NO),
        ((0.15, 0.14, 0.16, 1), claims.UNSURE),  # one seed proves nothing, this way either
        ((0.20, 0.15, 0.25, 3), claims.UNSURE),  # the mean is inside, the interval is not
        (None, claims.ABSENT),
    ],
)
def test_a_published_value_has_a_tolerance(value, expected):
    assert verdict("values", value=value).verdict == expected


@pytest.mark.parametrize(
    ("cost", "expected"),
    [
        (("cuda", [("ours", 5.0, 0.1), ("theirs", 10.0, 0.1)]), claims.YES),
        (
            ("cuda", [("ours", 8.0, 0.1), ("theirs", 10.0, 0.1)]),
            claims.NO,
        ),  # cheaper, but not by half
        (("cuda", [("ours", 12.0, 0.1), ("theirs", 10.0, 0.1)]), claims.NO),
        (("cuda", [("ours", 10.0, 0.0), ("theirs", 10.0, 0.0)]), claims.NO),  # equal is not less
        (
            ("cuda", [("ours", 6.0, 0.0), ("theirs", 10.0, 0.0)]),
            claims.YES,
        ),  # 1.2 times .5 is within a tolerance of .2
        (
            ("cuda", [("ours", 2.0, 0.0), ("theirs", 10.0, 0.0)]),
            claims.NO,
        ),  # less than was claimed is another figure
        (("cuda", [("ours", 9.9, 1.0), ("theirs", 10.0, 1.0)]), claims.UNSURE),
        (("cpu", [("ours", 5.0, 0.1), ("theirs", 10.0, 0.1)]), claims.ABSENT),  # a CPU says nothing
        (("cuda", [("ours", 5.0, 0.1)]), claims.ABSENT),
        (None, claims.ABSENT),
    ],
)
def test_cost_is_a_ratio_on_a_gpu(cost, expected):
    found = verdict("cost", cost=cost)
    if expected == claims.YES:
        assert found.measured.startswith(f"training epoch {cost[1][0][1]:.2g}")
    assert (found.verdict, found.sentence) == (expected, "less than theirs: 50 against 100")
    assert (claims.DIRECTION in found.measured) == (
        cost is not None and cost[1][0][1] in (2.0, 8.0)
    )


@pytest.mark.parametrize(
    ("growth", "expected"),
    [
        ([("ours", 0.9, 1.1), ("theirs", 1.5, 1.7)], claims.YES),
        ([("ours", 1.8, 1.9), ("theirs", 1.5, 1.7)], claims.NO),
        ([("ours", 0.9, 1.6), ("theirs", 1.5, 1.7)], claims.UNSURE),
        ([("ours", 0.9, 1.5), ("theirs", 1.5, 1.7)], claims.UNSURE),  # intervals that touch
        ([("ours", 1.7, 1.9), ("theirs", 1.5, 1.7)], claims.UNSURE),
        (None, claims.ABSENT),
    ],
)
def test_growth_is_compared_at_the_long_end(growth, expected):
    assert verdict("growth", growth=growth).verdict == expected


def test_slopes_over_different_lengths_decide_nothing():
    found = verdict(
        "growth", growth=[("ours", 0.9, 1.1), ("theirs", 1.5, 1.7)], short={"theirs": 1}
    )
    assert found.verdict == claims.UNSURE and "over different lengths" in found.measured


FAST = ("cuda", [("ours", 5.0, 0.1), ("theirs", 10.0, 0.1)])
SLOW_GROWTH = [("ours", 0.9, 1.1), ("theirs", 1.5, 1.7)]


def test_a_value_of_another_protocol_is_no_claim():
    facts = tables(value=(0.21, 0.20, 0.22, 3), track="another")
    only = {key: CLAIMS[key] for key in ("source", "focal_model", "values", "quality")}
    assert [f.sentence for f in claims.judge(facts, only)] == ["ours beats theirs: NDCG@10"]
    assert len(claims.judge(tables(value=(0.21, 0.20, 0.22, 3)), only)) == 2


def test_another_workload_says_nothing_about_the_papers_cost():
    assert verdict("cost", cost=FAST, batch=65).verdict == claims.ABSENT
    only = {key: CLAIMS[key] for key in ("source", "focal_model", "cost")}
    assert claims.judge(tables(cost=FAST, track="another"), only) == []


def test_several_gpus_are_judged_one_by_one_and_named():
    facts = tables(cost=FAST, growth=SLOW_GROWTH, machines=("one", "two"))
    slower = facts.frames["efficiency"].machine_name == "two"
    facts.frames["efficiency"].loc[slower & (facts.frames["efficiency"].model == "ours"), ["median", "q25", "q75"]] *= 4  # fmt: skip
    found = {f.sentence: f.verdict for f in claims.judge(facts, CLAIMS)}
    assert found == {
        "ours beats theirs: NDCG@10": claims.ABSENT,
        "ours reaches .2": claims.ABSENT,
        "less than theirs: 50 against 100 (on one)": claims.YES,
        "less than theirs: 50 against 100 (on two)": claims.NO,
        "grows less than theirs (on one)": claims.YES,
        "grows less than theirs (on two)": claims.YES,
    }


def test_two_curves_of_one_gpu_are_judged_one_by_one_and_never_mixed():
    facts = tables(growth=[*SLOW_GROWTH, ("ours", 2.0, 2.1), ("theirs", 1.5, 1.7)])
    facts.frames["scaling"]["fixed"] = ["8 sequences"] * 2 + ["256 sequences"] * 2
    facts.frames["scaling"]["threads"] = 1
    only = {key: CLAIMS[key] for key in ("source", "focal_model", "growth")}
    found = {f.sentence: f.verdict for f in claims.judge(facts, only)}
    assert found == {
        "grows less than theirs (8 sequences, 1 thread)": claims.YES,
        "grows less than theirs (256 sequences, 1 thread)": claims.NO,
    }
    rest = facts.frames["scaling"].iloc[[0, 3]]  # ours on one curve, theirs on the other
    (one, two) = claims.judge(Tables({**facts.frames, "scaling": rest}, {}, REPORT), only)
    assert one.verdict == two.verdict == claims.ABSENT


def test_a_gpu_that_measured_another_track_is_no_claim_of_this_one():
    facts, other = tables(cost=FAST, machines=("one", "two")), tables(cost=FAST, track="other", machines=("three",))  # fmt: skip
    frames = {name: pd.concat([frame, other.frames[name]]) for name, frame in facts.frames.items()}
    found = claims.judge(Tables(frames, {}, REPORT), CLAIMS)
    cost = [(f.track, f.sentence, f.verdict) for f in found if f.sentence.startswith("less than")]
    assert cost == [
        ("fair", "less than theirs: 50 against 100 (on one)", claims.YES),
        ("fair", "less than theirs: 50 against 100 (on two)", claims.YES),
    ]
    shown = claims.table(Tables(frames, {}, REPORT), CLAIMS)
    assert len([row for row in shown.rows if row[0].text.startswith("less than")]) == 2


def test_one_process_decides_nothing():
    for kind, facts in (("cost", {"cost": FAST}), ("growth", {"growth": SLOW_GROWTH})):
        found = verdict(kind, rounds=1, **facts)
        assert found.verdict == claims.UNSURE and "fewer than 3 processes" in found.measured


def test_the_table_has_a_row_per_sentence_and_counts_verdicts():
    facts = tables(
        quality=(-0.03, -0.02, "worse", 3), growth=[("ours", 1.8, 1.9), ("theirs", 1.5, 1.7)]
    )
    shown = claims.table(facts, CLAIMS)
    assert shown.rows[0][0].text == "ours beats theirs: NDCG@10"
    assert [row[3].text for row in shown.rows] == [
        claims.YES,
        claims.ABSENT,
        claims.ABSENT,
        claims.NO,
    ]
    assert shown.notes[0].startswith("1 reproduced, 1 not reproduced, 2 not measured here.")


def test_the_published_figures_are_read_and_complete():
    found = claims.read()
    (memory,) = [c for c in found["cost"] if c["metric"] == "peak_reserved_bytes"]
    assert (memory["focal_model"], memory["comparators"]) == (
        4.82,
        {"sasrec": 14.98, "bert4rec": 15.48},
    )
    assert found["quality"][0]["comparators"] == ["sasrec", "bert4rec", "gru4rec"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda c: c["values"][0].pop("published"), r"values\[0\].published is missing"),
        (lambda c: c["growth"][0].update(dataset="d"), r"growth\[0\].dataset is unknown"),
        (lambda c: c["cost"][0].update(metric="epochs"), r"cost\[0\]: metric 'epochs' is unknown"),
    ],
)
def test_a_mistake_in_the_file_is_one_line(tmp_path, change, said):
    content = yaml.safe_load(yaml.safe_dump(CLAIMS))
    change(content)
    path = tmp_path / "claims.yaml"
    path.write_text(yaml.safe_dump(content))
    with pytest.raises(UserError, match=f"claims.yaml: {said}"):
        claims.read(path)
