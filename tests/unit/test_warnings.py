"""Warnings, each from tables whose case is known; and what `check` fails on."""

import pandas as pd
import pytest
from frames import (
    CONDITION,
    FACTS,
    comparison,
    cost,
    measurement,
    quality,
    tables,
    training,
    trainings,
)

from seqbench.analysis import warnings
from seqbench.analysis.warnings import problems


def found(code, **rows):
    frame = tables(**rows).frames["warnings"]
    return frame[frame.code == code].dropna(axis=1).to_dict("records")


def test_a_clean_comparison_has_no_warning_but_what_the_data_does_not_show():
    rows = [*quality("sasrec", 0.2), *quality("popularity", 0.1)]
    content = tables(experiments=trainings("sasrec"), summary=rows)
    assert list(content.frames["warnings"].code) == ["ties"]
    assert problems(content) == []


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"status": "diverged", "reason": "loss is NaN"}, "diverged: loss is NaN"),
        ({"status": "crashed"}, "crashed: no reason recorded"),
        ({"status": "oom", "dataset": "full-length"}, None),  # where a curve ends
        ({"status": "timeout", "dataset": "full-length"}, None),
        ({"status": "crashed", "dataset": "full-length"}, "crashed: no reason recorded"),
    ],
)
def test_a_failed_record_is_a_problem_unless_it_is_the_end_of_a_curve(changes, told):
    content = tables(experiments=[training("sasrec", **changes)])
    said = content.frames["warnings"].set_index("code").text.to_dict()
    assert said.get("failed") == told
    assert len(problems(content)) == (told is not None)
    assert all(told in line and "sasrec" in line for line in problems(content))


def test_a_trained_model_below_popularity_is_a_problem_and_one_below_markov_a_warning():
    rows = [*quality("sasrec", 0.15), *quality("gru4rec", 0.05)]
    rows += [*quality("popularity", 0.1), *quality("markov", 0.2)]
    content = tables(experiments=trainings("sasrec", "gru4rec"), summary=rows)
    said = content.frames["warnings"].set_index(["code", "model"])
    below = said.loc[("below_popularity", "gru4rec")]
    assert (below.level, below.value, below.limit) == ("bad", 0.05, 0.1)
    assert set(said.loc["below_baseline"].subject) == {"markov"}
    assert set(said.loc["below_baseline"].index) == {"sasrec", "gru4rec"}
    (line,) = problems(content)
    assert line.startswith("below_popularity: ") and "model=gru4rec" in line and "0.05" in line


def test_another_treatment_of_seen_items_or_another_length_has_its_own_baseline():
    rows = [*quality("sasrec", 0.15), *quality("popularity", 0.1)]
    rows += quality("popularity", 0.3, seen_items="excluded") + quality("popularity", 0.3, seq_len=9)  # fmt: skip
    assert found("below_popularity", summary=rows) == []


@pytest.mark.parametrize(
    ("frame", "row", "bad"),
    [
        ("effectiveness", {"value": float("nan")}, True),
        ("effectiveness", {"value": 0.1}, False),
        ("efficiency", {"median": float("nan"), "reason": None}, True),
        ("efficiency", {"median": float("nan"), "reason": "no NVIDIA device"}, False),
    ],
)
def test_a_value_that_is_nan_without_a_reason_is_a_problem(frame, row, bad):
    about = cost("sasrec", 1.0) if frame == "efficiency" else effectiveness("sasrec", 0, 0.1)
    content = tables(experiments=trainings("sasrec"), **{frame: [about | row]})
    assert [line.startswith("not_a_number") for line in problems(content)] == [True] * bad


def effectiveness(model, seed, value, **changes):
    return CONDITION | {
        "path": f"{model}/s{seed}", "model": model, "seed": seed, "machine_name": "m", "trained": True, "split": "test",
        "seen_items": "kept", "ties": "conservative", "metric": "ndcg@10", "value": value,
    } | changes  # fmt: skip


@pytest.mark.parametrize(("values", "apart"), [((0.1, 0.2), False), ((0.09, 0.2, 0.15), True)])
def test_seeds_far_apart_name_the_lowest(values, apart):
    rows = [effectiveness("sasrec", seed, value) for seed, value in enumerate(values)]
    rows += [effectiveness("sasrec", 7, 0.001, split="valid"), effectiveness("sasrec", 7, 0.001, seen_items="excluded")]  # fmt: skip
    said = found("seeds_apart", effectiveness=rows)
    assert [(row["model"], row["seed"], row["value"], row["limit"]) for row in said] == [("sasrec", 0, 0.09, 0.1)] * apart  # fmt: skip


def test_trainings_ended_by_their_budget_are_counted_by_condition_and_model():
    rows = [*trainings("sasrec", seeds=2, still_improving=True), training("sasrec", 2)]
    rows += [training("gru4rec", still_improving=None), training("gru4rec", 1)]  # by a schedule
    (row,) = found("budget", experiments=rows)
    assert (row["model"], row["count"], row["of"]) == ("sasrec", 2, 3)


def test_few_seeds_are_those_of_trained_models():
    rows = quality("sasrec", 0.2, 2) + quality("gru4rec", 0.2) + quality("popularity", 0.1, 1)
    rows += quality("sasrec", 0.2, 2, "excluded")
    (row,) = found("few_seeds", summary=rows)
    assert (row["model"], row["value"], row["limit"]) == ("sasrec", 2, 3)


def published(share, **changes):
    return CONDITION | {"model": "sasrec", "seen_items": "excluded", "source": "a paper", "note": "", "metric": "ndcg@10",
                        "share": share, "verdict": "below"} | changes  # fmt: skip


@pytest.mark.parametrize(
    ("rows", "shares"),
    [
        ([published(0.89)], [0.89]),
        ([published(0.9)], []),
        ([published(float("nan"), track=None, verdict="not measured")], []),
        ([published(0.95), published(0.5, metric="hr@10")], []),  # NDCG decides
        ([published(0.5, metric="hr@10")], [0.5]),  # unless only HR was published
        ([published(0.8), published(0.7, track="tuned")], [0.8, 0.7]),
    ],
)
def test_a_mean_far_below_a_published_value_is_told_by_track(rows, shares):
    assert [row["value"] for row in found("below_published", published_values=rows)] == shares


def test_what_the_files_do_not_tell_is_told_once_per_dataset():
    tied = FACTS | {"ties": {"test_decided_by_tie": 0.2}, "ties_reason": None}
    odd = {"provenance": {"sha256": "f", "substitute_file": "no ratings"}}
    variant = tied | odd | {"order_variant": "float32"}
    few = FACTS | {"ties": {"test_decided_by_tie": 0.05}, "ties_reason": None}
    frame = tables({"a": tied | odd, "a-float32": variant, "b": FACTS, "c": few}).frames["warnings"]
    said = frame.set_index(["code", "dataset"])
    assert sorted(said.index) == [("substitute_file", "a"), ("ties", "a"), ("ties", "b")]
    assert said.loc[("ties", "a"), "value"] == 0.2 and said.loc[("ties", "b"), "text"] == "no times"
    assert said.loc[("substitute_file", "a"), "text"] == "no ratings"


@pytest.mark.parametrize(
    ("code", "changes", "text"),
    [
        ("fallback", {"fallback": True, "fallback_reason": "no compiler"}, "no compiler"),
        ("fallback", {"fallback": True}, ""),
        ("shared_gpu", {"kind": "measure", "trained": False, "shared_gpu": True}, None),
        ("throttled", {"throttled": "power cap"}, "power cap"),
        ("dirty", {"code_dirty": True}, None),
    ],
)
def test_how_records_came_about_is_counted(code, changes, text):
    rows = [training("sasrec", 0, **changes), training("sasrec", 1, **changes), training("gru4rec")]
    (row,) = found(code, experiments=rows)
    assert row["count"] == 2 and row.get("text") == text and row["machine_name"] == "m"


def test_trainings_may_share_a_gpu():
    assert found("shared_gpu", experiments=[training("sasrec", shared_gpu=True)]) == []


def test_noisy_times_are_told_other_quantities_are_not():
    rows = [cost("sasrec", 1.0, iqr=0.26), cost("gru4rec", 1.0, iqr=0.25), cost("sasrec", 1.0, iqr=0.9, metric="epoch_s")]  # fmt: skip
    (row,) = found("noisy", experiments=[measurement(r) for r in rows], efficiency=rows)
    assert (row["model"], row["subject"], row["value"]) == ("sasrec", "step_s", 0.26)


def test_equal_settings_that_two_tracks_measured_otherwise_are_told_of_both():
    rows = [cost("sasrec", 1.0), cost("sasrec", 0.8, track="tuned"), cost("gru4rec", 1.0), cost("gru4rec", 1.05, track="tuned")]  # fmt: skip
    rows += [cost("mamba4rec", 1.0), cost("mamba4rec", 2.0, track="tuned")]
    wider = {"hyperparameters": '{"d_model": 128}'}
    own = [measurement(r, **(wider if (r["model"], r["track"]) == ("mamba4rec", "tuned") else {})) for r in rows]  # fmt: skip
    told = found("sessions_apart", experiments=own, efficiency=rows)
    assert [(r["model"], r["track"], r["text"]) for r in told] == [
        ("sasrec", "matched", "beside track tuned"), ("sasrec", "tuned", "beside track matched")
    ]  # fmt: skip
    assert [r["value"] for r in told] == pytest.approx([1.25, 0.8])
    rows = [r | {"phase": "inference", "metric": "batch_s"} for r in rows]
    told = found("sessions_apart", experiments=own, efficiency=rows)
    assert [r["subject"] for r in told] == ["batch_s", "batch_s"]
    rows = [r | {"batch_size": 256 if r["track"] == "tuned" else 943} for r in rows]
    assert found("sessions_apart", experiments=own, efficiency=rows) == []


def test_every_code_has_a_level_and_the_most_serious_stand_first():
    rows = [training("sasrec", status="crashed", code_dirty=True), training("gru4rec", fallback=True)]  # fmt: skip
    frame = tables(experiments=rows).frames["warnings"]
    assert list(frame.level) == ["bad", "warn", "note", "note"]
    assert set(frame.code) <= set(warnings.CODES)


def test_variants_and_steps_of_the_ablation_are_guarded_but_not_told():
    variant = FACTS | {"order_variant": "float32", "provenance": {"sha256": "f"}}
    base = FACTS | {"provenance": {"sha256": "f"}}
    at = {"dataset": "toy-float32"}
    rows = [training("sasrec", status="crashed", **at), training("sasrec", 1, still_improving=True, **at)]  # fmt: skip
    content = tables(
        {"toy": base, "toy-float32": variant}, experiments=rows,
        summary=quality("sasrec", 0.05, 1, **at) + quality("popularity", 0.1, **at),
        comparisons=[comparison("mamba4rec", "sasrec", **at)],
    )  # fmt: skip
    assert [line.partition(":")[0] for line in problems(content)] == ["failed", "below_popularity"]
    assert set(content.frames["warnings"].code) == {"failed", "below_popularity", "ties"}
    assert pd.isna(content.frames["warnings"].seed.iloc[-1])
