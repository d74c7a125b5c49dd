"""Final verdicts of comparisons: who comes first, what leaves a pair without one, and Holm over a track."""

import pytest
from frames import comparison, tables, trainings

MODELS = ("mamba4rec", "sasrec", "bert4rec", "gru4rec")


def final(comparisons, models=MODELS, **more):
    frame = tables(experiments=trainings(*models), comparisons=comparisons, **more).frames["comparisons"]  # fmt: skip
    return frame.set_index(["model_a", "model_b"])


def test_the_configured_order_decides_which_model_of_a_pair_comes_first():
    found = final([
        comparison("sasrec", "mamba4rec", "worse", mean_a=0.08, mean_b=0.1, difference=-0.02, ci_low=-0.03, ci_high=-0.01, effect=-0.2),
        comparison("gru4rec", "bert4rec", "better"), comparison("popularity", "sasrec", "worse"),
    ])  # fmt: skip
    assert list(found.index) == [
        ("mamba4rec", "sasrec"),
        ("sasrec", "popularity"),
        ("bert4rec", "gru4rec"),
    ]
    row = found.iloc[0]
    numbers = row[["mean_a", "mean_b", "difference", "ci_low", "ci_high", "effect"]].tolist()
    assert numbers == pytest.approx([0.1, 0.08, 0.02, 0.01, 0.03, 0.2])
    assert row[["share", "share_low", "share_high"]].tolist() == pytest.approx([0.2, 0.1, 0.3])
    assert list(found.verdict) == ["better", "better", "worse"]


@pytest.mark.parametrize(
    ("changes", "verdict", "why"),
    [
        ({}, "better", ""),
        ({"verdict": "equivalent"}, "equivalent", ""),
        ({"verdict": "inconclusive"}, "inconclusive", "interval"),
        ({"trained_seeds": 2}, "inconclusive", "few_seeds"),
        ({"trained_seeds": None}, "better", ""),  # neither was trained: both are deterministic
        ({"verdict": "unsteady"}, "inconclusive", "seeds_apart"),
        ({"p_margin": 0.06}, "inconclusive", "holm"),
        ({"verdict": "equivalent", "p_margin": 1.0}, "equivalent", ""),
    ],
)
def test_what_leaves_a_pair_without_a_verdict(changes, verdict, why):
    row = final([comparison("mamba4rec", "sasrec", **changes)]).iloc[0]
    assert (row.verdict, row.why) == (verdict, why)


def test_all_that_is_said_of_the_focal_model_in_a_track_is_corrected_together():
    """Holm: of two comparisons with p = .03 none is left; one of them alone would be."""
    pair = [comparison("mamba4rec", other, p_margin=0.03) for other in ("sasrec", "gru4rec")]
    assert set(final(pair).why) == {"holm"}
    assert set(final(pair[:1]).verdict) == {"better"}
    apart = [pair[0], pair[1] | {"track": "tuned"}]  # another track, another family
    assert set(final(apart).verdict) == {"better"}
    seen = [pair[0], pair[1] | {"seen_items": "excluded"}]
    assert set(final(seen).verdict) == {"better"}


@pytest.mark.parametrize(
    "outside",
    [
        comparison("sasrec", "gru4rec", p_margin=0.03),  # says nothing of the focal model
        comparison("mamba4rec", "popularity", p_margin=0.03),  # is not trained
        comparison("mamba4rec", "gru4rec", "unsteady", p_margin=0.03),
        comparison("mamba4rec", "gru4rec", p_margin=0.03, trained_seeds=1),
    ],
)
def test_what_is_not_counted_does_not_enlarge_the_family(outside):
    found = final([comparison("mamba4rec", "sasrec", p_margin=0.03), outside])
    assert found.loc[("mamba4rec", "sasrec"), "verdict"] == "better"


def test_variants_of_a_dataset_and_steps_of_the_ablation_have_tables_of_their_own():
    facts = {"source": "s", "k_core": 5, "n_users": 9, "n_items": 9, "n_interactions": 99, "ties": None,
             "provenance": {"sha256": "f"}}  # fmt: skip
    variant = facts | {"order_variant": "float32"}
    rows = [comparison("mamba4rec", "sasrec", p_margin=0.03, **at) for at in (
        {}, {"dataset": "toy-float32"}, {"track": "paper-1-gelu"}, {"track": "paper"},
    )]  # fmt: skip
    content = tables(
        {"toy": facts, "toy-float32": variant}, {"ablation": ["paper", "paper-1-gelu", "matched"]},
        experiments=trainings(*MODELS), comparisons=rows,
    )  # fmt: skip
    found = content.frames["comparisons"]
    assert list(zip(found.dataset, found.track, strict=True)) == [("toy", "matched"), ("toy", "paper")]  # fmt: skip
    assert set(found.verdict) == {"better"}
