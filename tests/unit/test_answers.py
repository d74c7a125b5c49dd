"""Answers: which variant of each sentence holds, and its numbers, from tables whose answer is known."""

import pytest
from frames import (
    CURVE,
    FACTS,
    GPU,
    comparison,
    cost,
    costs,
    crossing,
    measurement,
    quality,
    tables,
    trainings,
)

from seqbench.analysis import answers

MODELS = ("mamba4rec", "sasrec", "gru4rec")
MEMORY = {"metric": "peak_allocated_bytes", **GPU}


def said(place, comparisons=(), efficiency=(), crossovers=(), summary=None, models=MODELS, **more):
    """The row of a place: variant, and the numbers of its slots."""
    summary = [row for m in models for row in quality(m, 0.1)] if summary is None else summary
    own = [*trainings(*models), *map(measurement, efficiency)]
    found = tables(
        experiments=own, summary=summary, comparisons=list(comparisons), efficiency=list(efficiency),
        crossovers=list(crossovers), **more,
    )  # fmt: skip
    row = found.frames["answers"].set_index("place").loc[place].dropna()
    assert row.variant in answers.VARIANTS[place]
    assert all(kind in answers.slots(place, row.variant) for kind in row.filter(like="_as"))
    return row


def slots(row):
    return row.variant, *row.reindex(["a", "b", "c"]).dropna().tolist()


def pairs(sasrec, gru4rec, **changes):
    return [comparison("mamba4rec", "sasrec", sasrec, **changes), comparison("mamba4rec", "gru4rec", gru4rec, **changes)]  # fmt: skip


LONGER = {"seq_len": 100}
GOOD, OPEN, BAD = ("better", "better"), ("better", "inconclusive"), ("better", "worse")


@pytest.mark.parametrize(
    ("short", "long", "expected"),
    [
        (GOOD, GOOD, ("everywhere", 2)),
        (GOOD, OPEN, ("some", 1, 2)),  # better than every comparator, or it does not count
        (GOOD, BAD, ("mixed", 1, 2, 1)),
        (OPEN, BAD, ("worse", 1, 2)),
        (OPEN, OPEN, ("level", 2)),
    ],
)
def test_better_counts_conditions(short, long, expected):
    row = said("better", [*pairs(*short), *pairs(*long, **LONGER)])
    variant, *numbers = expected
    found = slots(row)
    assert found[0] == variant and list(found[1:]) == numbers


def test_without_enough_seeds_nothing_is_said_of_better():
    assert said("better", pairs(*GOOD, trained_seeds=1)).variant == "few_seeds"
    assert said("better", pairs("unsteady", "unsteady")).variant == "unclear"
    rows = [*pairs(*GOOD), *pairs(*GOOD, trained_seeds=1, **LONGER)]
    assert slots(said("better", rows)) == ("here",)
    assert said("better", []).variant == "unmeasured"


@pytest.mark.parametrize(("one", "variant"), [(GOOD, "here"), (OPEN, "level_here"), (BAD, "worse_here")])  # fmt: skip
def test_one_condition_is_not_told_as_one_of_one(one, variant):
    assert slots(said("better", pairs(*one))) == (variant,)


def test_without_a_comparator_no_sentence_has_an_empty_slot():
    summary, efficiency = quality("mamba4rec", 0.1), [cost("mamba4rec", 1.0)]
    for place in set(answers.VARIANTS) - {"caution"}:
        row = said(place, summary=summary, models=["mamba4rec"], efficiency=efficiency)
        assert row.variant == "alone" and "comparator" not in row


def test_only_the_default_track_with_seen_items_kept_counts():
    rows = [*pairs(*GOOD), *pairs(*BAD, track="tuned"), *pairs(*BAD, seen_items="excluded")]
    assert slots(said("better", rows)) == ("here",)
    assert slots(said("others", rows)) == ("several", 2, 0, 2)


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (pairs(*BAD), ("several", 1, 1, 2)),
        (pairs("inconclusive", "equivalent"), ("none", 0, 0, 2)),
        (pairs("better", "unsteady"), ("one",)),
        (pairs(*GOOD, trained_seeds=2), ("unmeasured",)),
    ],
)
def test_others_counts_comparisons(rows, expected):
    assert slots(said("others", rows)) == expected


@pytest.mark.parametrize(
    ("verdict", "variant", "share"),
    [
        ("better", "above", 0.02 / 0.12),
        ("worse", "below", -0.2),
        ("equivalent", "level", 0),
        ("inconclusive", "open", 0),
    ],
)
def test_quality_is_that_of_the_default_condition_against_the_first_comparator(verdict, variant, share):  # fmt: skip
    rows = [*pairs(verdict, "better"), *pairs("worse", "worse", seq_len=20)]
    summary = [row for m in MODELS for n in (20, 50) for row in quality(m, 0.1, seq_len=n)]
    row = said("quality", rows, summary=summary)
    assert (row.variant, row.comparator, row.seq_len, row.a_as) == (variant, "sasrec", 50, "percent")  # fmt: skip
    assert row.a == pytest.approx(share)


STEPS = {"mamba4rec": 3.0, "sasrec": 2.0}


@pytest.mark.parametrize(
    ("long", "expected"),
    [
        ({"mamba4rec": 5.0, "sasrec": 2.0}, ("slower", 1.5, 2.5, 100)),
        ({"mamba4rec": 1.0, "sasrec": 2.0}, ("mixed", 0.5, 1.5, 100)),
        ({"mamba4rec": 3.004, "sasrec": 2.0}, ("slower_evenly", 1.5, 1.502, 100)),
    ],
)
def test_steps_are_told_from_the_least_to_the_largest_ratio(long, expected):
    row = said("step", efficiency=costs(STEPS) + costs(long, **LONGER) + costs(STEPS, **CURVE))
    assert slots(row) == pytest.approx(expected)


def test_a_step_that_was_not_measured_on_a_dataset_says_so():
    assert said("step", efficiency=costs(STEPS, **CURVE)).variant == "unmeasured"
    assert slots(said("step", efficiency=costs({"mamba4rec": 1.0, "sasrec": 2.0}))) == ("faster_evenly", 0.5, 0.5, 50)  # fmt: skip


FOCAL, OTHER = "mamba4rec", "sasrec"
BRACKET = {"bracketed": True, "low": 200.0, "high": 4096.0}


@pytest.mark.parametrize(
    ("row", "faster", "crossing_"),
    [
        (crossing(OTHER, (OTHER, FOCAL), 967.0), ("from", 512, 967), ("from", 967, 8192, 0.5)),
        (crossing(OTHER, (OTHER, FOCAL), 704.0, **BRACKET), ("from", 512, 4096), ("from", 4096, 8192, 0.5)),
        (crossing(OTHER, (FOCAL, OTHER), 967.0), ("until", 967), ("until", 967, 8192, 0.5)),
        (crossing(OTHER, (FOCAL, FOCAL)), ("always",), ("always", 8192, 0.5)),
        (crossing(OTHER, (OTHER, OTHER)), ("never", 8192), ("never", 8192, 0.5)),
        (crossing(OTHER, (OTHER, OTHER), 9e3, extrapolated=True), ("never", 8192), ("beyond", 9e3, 8192, 0.5)),
        (crossing(OTHER, (OTHER, FOCAL), 967.0, share=0.9), ("unclear",), ("unclear", 8192, 0.5)),
        (crossing(OTHER, (OTHER, OTHER), share=0.1), ("unclear",), ("unclear", 8192, 0.5)),
    ],
)  # fmt: skip
def test_where_the_training_steps_cross(row, faster, crossing_):
    efficiency = costs(STEPS) + costs(STEPS, **CURVE, seq_len=512) + costs({"mamba4rec": 1.0, "sasrec": 2.0}, **CURVE, seq_len=8192)  # fmt: skip
    other = crossing("gru4rec", (FOCAL, FOCAL))  # of another comparator
    rows = [other, row, crossing(OTHER, (FOCAL, FOCAL)) | {"machine_name": "gpu"}]
    assert slots(said("faster", efficiency=efficiency, crossovers=rows)) == faster
    assert slots(said("crossing", efficiency=efficiency, crossovers=rows)) == crossing_


ON_GPU = {"machine_name": "gpu", "device_kind": "cuda"}


@pytest.mark.parametrize(
    ("cpu", "gpu", "expected"),
    [
        ({}, BRACKET, ("two", 967, 200, 4096)),
        ({}, {}, ("from", 967, 8192, 0.5)),
        (BRACKET, BRACKET, ("from", 4096, 8192, 0.5)),
    ],
)
def test_where_they_cross_on_another_machine_is_told_as_a_range(cpu, gpu, expected):
    rows = [crossing(OTHER, (OTHER, FOCAL), 967.0, **cpu), crossing(OTHER, (OTHER, FOCAL), 704.0, **gpu, **ON_GPU)]  # fmt: skip
    row = said("crossing", efficiency=costs(STEPS), crossovers=rows)
    assert slots(row) == expected
    assert row.get("machine_b") == ("gpu" if expected[0] == "two" else None)


def test_the_first_curve_that_tells_is_told():
    unclear = crossing(OTHER, (OTHER, FOCAL), 967.0, share=0.9)
    clear = crossing(OTHER, (OTHER, FOCAL), 500.0, curve="length-at-constant-tokens")
    found = said("crossing", efficiency=costs(STEPS), crossovers=[clear, unclear])
    assert slots(found) == ("from", 500, 8192, 0.5)


FASTER = {"mamba4rec": 1.0, "sasrec": 2.0}


@pytest.mark.parametrize(
    ("efficiency", "expected"),
    [
        (costs(STEPS), ("never_here", 50)),
        (costs(STEPS) + costs(STEPS, **LONGER), ("never", 100)),
        (costs(FASTER), ("always_here", 50)),
        (costs(FASTER) + costs(FASTER, **LONGER), ("always", 100)),
        (costs(STEPS) + costs(FASTER, **LONGER), ("unclear",)),
        ([cost("mamba4rec", 1.0)], ("unmeasured",)),
    ],
)
def test_without_a_curve_the_datasets_say_who_is_faster(efficiency, expected):
    assert slots(said("faster", efficiency=efficiency)) == expected
    assert said("crossing", efficiency=efficiency).variant == "unmeasured"


def memory(matched=None, paper=None, stand_in=None):
    rows = costs({"mamba4rec": matched, "sasrec": 1.0}, **MEMORY) if matched else []
    rows += costs({"mamba4rec": paper, "sasrec": 1.0}, track="paper", **MEMORY) if paper else []
    return rows + (costs({"mamba4rec": stand_in, "sasrec": 1.0}, **CURVE, **MEMORY) if stand_in else [])  # fmt: skip


@pytest.mark.parametrize(
    ("rows", "smaller", "sentence"),
    [
        (memory(1.2, 0.3), "paper_only", ("both", 0.3, 1.2)),
        (memory(stand_in=1.2, paper=0.3), "paper_only", ("both", 0.3, 1.2)),
        (memory(1.2, stand_in=0.5), "more", ("matched", 1.2)),  # the dataset before a curve
        (memory(0.5, 0.3), "less", ("both", 0.3, 0.5)),
        (memory(0.5), "less", ("matched", 0.5)),
        (memory(1.2), "more", ("matched", 1.2)),
        (memory(1.2, 1.3), "more", ("both", 1.3, 1.2)),
        (memory(1.0, 0.3), "unclear", ("both", 0.3, 1.0)),
        (memory(paper=0.3), "unclear", ("paper", 0.3)),
        ([], "unmeasured", ("unmeasured",)),
        (costs(STEPS, metric="peak_rss_bytes"), "unmeasured", ("unmeasured",)),
    ],
)
def test_memory_is_that_of_a_gpu_in_both_set_ups(rows, smaller, sentence):
    assert said("smaller", efficiency=rows).variant == smaller
    row = said("memory", efficiency=rows)
    assert slots(row) == pytest.approx(sentence)
    assert (said("smaller", efficiency=rows).get("machine_name") == "gpu") == bool(rows and smaller != "unmeasured")  # fmt: skip
    assert (row.get("machine_name") == "gpu") == (sentence[0] != "unmeasured")


def published(model, share, seen_items="kept"):
    return {"track": "matched", "dataset": "toy", "seq_len": 50, "model": model, "seen_items": seen_items, "source": "a",
            "note": "", "metric": "ndcg@10", "share": share, "verdict": "below"}  # fmt: skip


def test_caution_names_what_weighs_most():
    weak = [
        published("gru4rec", 0.6),
        published("gru4rec", 1.1, "excluded"),
        published("sasrec", 0.8),
    ]
    row = said("caution", published_values=weak)
    assert (row.variant, row.comparator, row.a) == ("below_published", "gru4rec", 0.6)
    assert row.basis == "NDCG@10, seen items kept"
    low = [row for m, v in (("mamba4rec", 0.2), ("gru4rec", 0.1), ("markov", 0.15)) for row in quality(m, v)]  # fmt: skip
    row = said("caution", summary=low)
    assert (row.variant, row.comparator) == ("below_baseline", "gru4rec")
    one = [row for m in MODELS for row in quality(m, 0.1, 1)]
    assert said("caution", summary=one).variant == "few_seeds"
    assert said("caution").variant == "none"


@pytest.mark.parametrize(
    ("focal", "expected"),
    [
        ([0.9, 0.85], ("both_below_published", 0.6, 0.85)),  # the lowest of both
        ([1.2], ("both_below_published", 0.6, 1.2)),
        ([0.5], ("below_published", 0.5)),
    ],
)
def test_one_rule_says_how_far_the_focal_model_and_the_furthest_one_lie_below(focal, expected):
    own = [published("mamba4rec", share, seen) for share, seen in zip(focal, ("kept", "excluded"), strict=False)]  # fmt: skip
    row = said("caution", published_values=[*own, published("gru4rec", 0.6), published("sasrec", 0.95)])  # fmt: skip
    assert slots(row) == expected
    assert row.comparator == ("gru4rec" if len(expected) > 2 else "mamba4rec")
    assert said("caution", published_values=[published("mamba4rec", 0.95)]).variant == "none"
    if len(focal) > 1:
        assert row.basis_b == "NDCG@10, seen items excluded"


ELSEWHERE = {"dataset": "other"}


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([*pairs(*GOOD), *pairs(*OPEN, **LONGER)], ("one", 0, 1, 1)),
        ([*pairs(*GOOD), *pairs(*GOOD, **ELSEWHERE)], ("several", 2, 2, 0)),
        ([*pairs(*GOOD), *pairs(*OPEN, **LONGER), *pairs(*GOOD, **ELSEWHERE)], ("several", 1, 2, 1)),
        ([*pairs(*GOOD), *pairs("inconclusive", "worse", **ELSEWHERE)], ("several", 1, 2, 0)),
        (pairs(*GOOD), ("unmeasured",)),
        ([], ("unmeasured",)),
    ],
)  # fmt: skip
def test_below_better_stands_on_how_many_datasets(rows, expected):
    assert slots(said("conditions", rows)) == expected


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, ("from", 2400)),
        ({"phase": "train", "metric": "step_s"}, ("unmeasured",)),
        (BRACKET, ("from", 4096)),
        ({"share": 0.9}, ("unclear",)),
    ],
)
def test_below_faster_stands_where_inference_crosses(change, expected):
    row = crossing(OTHER, (OTHER, FOCAL), 2400.0) | {"phase": "inference", "metric": "batch_s"} | change  # fmt: skip
    assert slots(said("inference", efficiency=costs(STEPS), crossovers=[row])) == expected


def test_the_default_view_is_the_longest_history_of_the_first_configured_dataset():
    summary = [row for at in ({"dataset": "abc", "seq_len": 900}, {"seq_len": 50}, {"seq_len": 100}, {"track": "aaa", "seq_len": 800})
               for m in MODELS for row in quality(m, 0.1, **at)]  # fmt: skip
    row = said("quality", summary=summary, datasets={"abc": FACTS, "toy": FACTS})
    assert (row.dataset, row.seq_len, row.track) == ("toy", 100, "matched")


@pytest.mark.parametrize(
    ("efficiency", "machine"),
    [
        (costs(STEPS, **GPU) + costs(STEPS), "m"),  # a CPU first where they are equal
        ([*costs(STEPS, **GPU), cost("sasrec", 1.0)], "gpu"),
        ([*costs(STEPS, **GPU, **CURVE), cost("sasrec", 1.0)], "m"),  # the dataset before a curve
        (costs(STEPS, **GPU) + costs(STEPS, **LONGER), "gpu"),
    ],
)
def test_the_default_machine_measured_most_of_the_default_condition(efficiency, machine):
    assert said("step", efficiency=efficiency).machine_name == machine


def test_a_focal_model_that_was_not_run_leaves_every_place_unmeasured():
    summary = [row for m in MODELS[1:] for row in quality(m, 0.1)]
    for place in set(answers.VARIANTS) - {"caution"}:
        assert said(place, summary=summary, models=MODELS[1:]).variant == "unmeasured"
    assert said("caution", summary=summary, models=MODELS[1:]).variant == "none"
