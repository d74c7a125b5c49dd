"""The leaderboard: which rows it has, and where a mark stands."""

import pytest
from frames import (
    CURVE,
    GPU,
    comparison,
    cost,
    costs,
    measurement,
    quality,
    rung,
    tables,
    training,
    trainings,
)

MODELS = ("mamba4rec", "sasrec", "gru4rec")


def board(summary=(), comparisons=(), efficiency=(), models=MODELS, **more):
    own = [*trainings(*models), training("popularity"), *map(measurement, efficiency)]
    rows = {"summary": list(summary), "comparisons": list(comparisons), "efficiency": list(efficiency)}  # fmt: skip
    return tables(experiments=own, **rows, **more).frames["leaderboard"]


def kept(frame, machine="m"):
    return frame[(frame.seen_items == "kept") & (frame.machine_name == machine)].set_index("model")


def test_every_condition_stands_with_both_treatments_on_every_machine():
    rows = [*quality("mamba4rec", 0.2), *quality("popularity", 0.1), *quality("sasrec", 0.1, seq_len=100)]  # fmt: skip
    efficiency = costs({"mamba4rec": 1.0, "sasrec": 1.0}) + costs({"sasrec": 1.0}, **GPU)
    found = board(rows, efficiency=efficiency)
    at = found.groupby(["seq_len", "seen_items", "machine_name"]).model.agg(tuple).to_dict()
    assert at == {
        (seq_len, seen_items, machine): models
        for seen_items in ("kept", "excluded") for machine in ("m", "gpu")
        for seq_len, models in ((50, ("mamba4rec", "sasrec", "popularity")), (100, ("sasrec",)))
    }  # fmt: skip
    own = kept(found[found.seq_len == 50])
    assert list(own.ndcg.fillna(-1)) == [0.2, -1, 0.1]
    assert own.loc["mamba4rec", ["hr", "mrr", "ndcg_low", "ndcg_high"]].tolist() == pytest.approx([0.4, 0.16, 0.18, 0.22])  # fmt: skip
    assert list(own.trained) == [True, True, False] and list(own.focal) == [True, False, False]
    assert own.epoch_s.isna().all() and found[found.seen_items == "excluded"].ndcg.isna().all()


def test_without_any_measured_cost_quality_stands_alone():
    found = board(quality("mamba4rec", 0.2))
    assert list(found.machine_name) == ["", ""] and found.cost_source.isna().all()


PAIRS = [("mamba4rec", "sasrec"), ("mamba4rec", "gru4rec"), ("sasrec", "gru4rec")]


@pytest.mark.parametrize(
    ("said", "best"),
    [
        (("better", "better", "better"), "mamba4rec"),
        (("better", "inconclusive", "better"), None),
        (("worse", "better", "better"), "sasrec"),
        (("worse", "better", "equivalent"), None),
    ],
)
def test_a_mark_of_quality_needs_significance_over_every_other_trained_model(said, best):
    pairs = [comparison(*pair, verdict) for pair, verdict in zip(PAIRS, said, strict=True)]
    pairs += [comparison(model, "popularity", "inconclusive") for model in MODELS]
    rows = [row for model in (*MODELS, "popularity") for row in quality(model, 0.1)]
    found = kept(board(rows, pairs), "")
    assert list(found.index[found.ndcg_best]) == ([best] if best else [])


def test_a_mark_of_cost_needs_quartiles_below_all_others():
    def best(values):
        efficiency = costs(values, metric="epoch_s")
        found = kept(board(efficiency=efficiency))
        return list(found.index[found.epoch_s_best])

    assert best({"mamba4rec": 3.0, "sasrec": 1.0, "gru4rec": 2.0}) == ["sasrec"]
    assert best({"mamba4rec": 3.0, "sasrec": 1.0, "gru4rec": 1.01}) == []
    assert best({"mamba4rec": 1.0}) == []  # of one alone nothing is said


def test_memory_and_its_mark_are_a_gpus():
    values = {"mamba4rec": 2e9, "sasrec": 1e9}
    memory = {"metric": "peak_allocated_bytes"}
    rows = costs(values, metric="peak_rss_bytes") + costs(values, **memory, **GPU)
    found = board(efficiency=rows)
    assert kept(found).memory_bytes.isna().all() and not kept(found).memory_best.any()
    assert list(kept(found, "gpu").memory_best) == [False, True]


def test_a_whole_training_is_its_steps_times_the_step_and_a_curve_gives_none():
    rows = [cost("mamba4rec", 0.1), *costs({"mamba4rec": 0.2, "sasrec": 0.2}, **CURVE, **GPU)]
    found = board(quality("mamba4rec", 0.2), efficiency=rows)
    own = kept(found).loc["mamba4rec"]
    assert (own.train_s, own.train_s_low, own.train_s_high) == pytest.approx((100, 99, 101))
    there = kept(found, "gpu").loc["mamba4rec"]
    assert there.cost_source == "synthetic" and there.train_s != there.train_s
    assert there.epoch_s == pytest.approx(0.2 * 2048 / 400)


def until(values, **changes):
    """Rows of the leaderboard where each model has rungs of these validations, of 100 and 200 s."""
    rows = [row for model in values for row in quality(model, 0.1)]
    own = [rung(model, k, value, **changes) for model, found in values.items() for k, value in enumerate(found, 1)]  # fmt: skip
    return kept(board(rows, efficiency=costs(dict.fromkeys(values, 1.0)), ladder=own))


def test_time_to_quality_is_that_of_the_cheapest_rung_at_the_goal():
    found = until({"mamba4rec": [0.096, 0.1], "sasrec": [0.09, 0.097], "gru4rec": [0.01, 0.02]})
    assert found.quality_s[["mamba4rec", "sasrec"]].tolist() == [100.0, 200.0]
    assert found.isna().quality_s["gru4rec"] and list(found.reached) == [True, True, False]
    assert list(found.index[found.quality_s_best]) == ["mamba4rec"]


def test_who_never_gets_there_is_later_than_who_does():
    found = until({"mamba4rec": [0.01, 0.02], "sasrec": [0.01, 0.1]})
    assert list(found.index[found.quality_s_best]) == ["sasrec"]


def test_two_seeds_mark_no_time_to_quality():
    found = until({"mamba4rec": [0.096, 0.1], "sasrec": [0.01, 0.02]}, n_seeds=2)
    assert found.reached["mamba4rec"] and not found.quality_s_best.any()


def test_without_a_ladder_nothing_is_reached_or_missed():
    found = kept(board([row for model in MODELS for row in quality(model, 0.1)]))
    assert found.reached.isna().all() and found.quality_s.isna().all()


def test_a_row_names_the_warnings_about_its_model_condition_and_machine():
    noisy = cost("sasrec", 1.0, iqr=0.5)
    rows = [*quality("mamba4rec", 0.2), *quality("sasrec", 0.1, 2), *quality("sasrec", 0.1, seq_len=100)]  # fmt: skip
    rows += [*quality("popularity", 0.15), *quality("sasrec", 0.2, 2, "excluded")]
    found = board(rows, efficiency=[noisy, cost("sasrec", 1.0, **GPU)])
    said = found[found.model == "sasrec"].set_index(["seq_len", "seen_items", "machine_name"])
    assert said.warnings[50, "kept", "m"] == "below_popularity below_baseline few_seeds noisy"
    assert said.warnings[50, "excluded", "gpu"] == "few_seeds"
    assert set(said.warnings[100]) == {""}
    assert set(found[found.model == "mamba4rec"].warnings) == {""}


def test_what_is_scaled_from_synthetic_batches_is_never_marked():
    prices = {"mamba4rec": 0.1, "sasrec": 0.2}
    rows = [row for model in prices for row in quality(model, 0.1)]
    for where, best in ((CURVE, []), ({}, ["mamba4rec"])):
        found = kept(board(rows, efficiency=costs(prices, **where) + costs(prices, metric="epoch_s", **where)))  # fmt: skip
        assert list(found.index[found.epoch_s_best]) == best
