"""Which model to take: shown to rank as well as the best one, and cheapest at inference."""

import pytest
from frames import CURVE, comparison, cost, measurement, quality, tables, training, trainings

from seqbench.analysis import advice

MEANS = {"mamba4rec": 0.20, "sasrec": 0.19, "gru4rec": 0.18}
PRICES = {"mamba4rec": 2.0, "sasrec": 1.0, "gru4rec": 0.5}  # s per batch of 1,000 users
EQUAL = {"ci_low": -0.001, "ci_high": 0.0015, "margin": 0.002, "mean_a": 0.2}
OPEN = {"ci_low": -0.002, "ci_high": 0.02, "margin": 0.002, "mean_a": 0.2}
WORSE = {"ci_low": 0.01, "ci_high": 0.03, "margin": 0.002, "mean_a": 0.2}
PAIRS = {"as_good": ("inconclusive", EQUAL), "open": ("inconclusive", OPEN), "worse": ("better", WORSE), "unjudged": ("unsteady", WORSE)}  # fmt: skip


def inference(prices, **changes):
    about = {"phase": "inference", "metric": "batch_s", "batch_size": 1000} | changes
    return [cost(model, value, **about) for model, value in prices.items()]


def advised(sasrec="worse", gru4rec="worse", prices=PRICES, models=MEANS, seeds=3, turned=False, **changes):  # fmt: skip
    """The frames `leaderboard` and `advice`: what stands beside mamba4rec, which ranks highest."""
    pairs = [(model, *PAIRS[kind]) for model, kind in (("sasrec", sasrec), ("gru4rec", gru4rec))]
    rows = [comparison("mamba4rec", model, verdict, trained_seeds=float(seeds), **ends) for model, verdict, ends in pairs]  # fmt: skip
    rows.append(comparison("sasrec", "gru4rec", "inconclusive"))
    summary = [row for model, mean in models.items() for row in quality(model, mean, seeds)]
    priced = inference(prices, **changes)
    own = [*trainings(*models, seeds=seeds), training("popularity"), *map(measurement, priced)]
    found = tables(experiments=own, summary=summary, comparisons=rows if len(models) > 1 else [], efficiency=priced)  # fmt: skip
    return found.frames["leaderboard"], found.frames["advice"]


def told(**changes):
    _, found = advised(**changes)
    (row,) = found.astype(object).where(found.notna(), None).to_dict("records")
    return row["variant"], row["model"], row["other"]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, ("best", "mamba4rec", None)),
        ({"prices": {"mamba4rec": 1.0, "sasrec": 2.0, "gru4rec": 3.0}}, ("both", "mamba4rec", None)),
        ({"sasrec": "as_good"}, ("cheaper", "sasrec", "mamba4rec")),
        ({"sasrec": "as_good", "gru4rec": "as_good"}, ("cheaper", "gru4rec", "mamba4rec")),
        ({"sasrec": "open"}, ("open", "mamba4rec", "sasrec")),
        ({"sasrec": "as_good", "gru4rec": "open"}, ("open", "sasrec", "gru4rec")),
        ({"gru4rec": "as_good", "sasrec": "open"}, ("cheaper", "gru4rec", "mamba4rec")),  # what is dearer is no choice
        ({"sasrec": "unjudged"}, ("unjudged_apart", "mamba4rec", "sasrec")),
        ({"sasrec": "unjudged", "gru4rec": "open"}, ("open", "mamba4rec", "gru4rec")),
        ({"sasrec": "as_good", "prices": {"mamba4rec": 1.0, "sasrec": 0.99}}, ("both", "mamba4rec", None)),  # quartiles meet
        ({"sasrec": "as_good", "prices": {"sasrec": 1.0}}, ("unpriced", None, None)),
        ({"prices": {}}, ("unpriced", None, None)),
        ({"seeds": 2}, ("few_seeds", None, None)),
        ({"models": {"mamba4rec": 0.2}}, ("alone", None, None)),
    ],
)  # fmt: skip
def test_of_those_that_rank_as_well_the_cheapest_is_taken(changes, expected):
    assert told(**changes) == expected
    assert expected[0] in advice.VARIANTS


def test_a_difference_that_is_not_significant_does_not_make_a_model_as_good():
    board, found = advised(sasrec="open", gru4rec="as_good")
    own = board[board.seen_items == "kept"].set_index("model")
    assert own.standing.to_dict() == {"mamba4rec": "best", "sasrec": "open", "gru4rec": "as_good"}
    assert own.loss_high.to_dict() == pytest.approx({"mamba4rec": float("nan"), "sasrec": 0.1, "gru4rec": 0.0075}, nan_ok=True)  # fmt: skip
    assert own.advised.to_dict() == {"mamba4rec": False, "sasrec": False, "gru4rec": True}
    assert found.loss_high.item() == pytest.approx(0.0075)


def test_the_best_is_found_whichever_side_of_a_comparison_it_stands_on():
    """SASRec ranks highest: its comparison with Mamba4Rec holds it as model_b."""
    rows = [comparison("mamba4rec", "sasrec", "worse", mean_b=0.2), comparison("sasrec", "gru4rec", "better", mean_a=0.2), comparison("mamba4rec", "gru4rec", "inconclusive")]  # fmt: skip
    summary = [r for m, v in (("mamba4rec", 0.18), ("sasrec", 0.2), ("gru4rec", 0.17)) for r in quality(m, v)]  # fmt: skip
    prices = inference(PRICES)
    own = [*trainings(*PRICES), *map(measurement, prices)]
    board = tables(experiments=own, summary=summary, comparisons=rows, efficiency=prices).frames["leaderboard"]  # fmt: skip
    own = board[board.seen_items == "kept"].set_index("model")
    assert own.standing.to_dict() == {"mamba4rec": "worse", "sasrec": "best", "gru4rec": "worse"}
    assert own.index[own.advised].tolist() == ["sasrec"]
    assert own.loss_high["mamba4rec"] == pytest.approx(0.03 / 0.2)


def test_a_cost_that_stands_in_advises_nobody():
    board, found = advised(sasrec="as_good", **CURVE)
    assert set(board.cost_source.dropna()) == {"synthetic"} and board.inference_s.notna().any()
    assert not board.advised.any() and set(found.variant) == {"unpriced"}


def test_baselines_and_views_without_quality_are_not_advised():
    board, found = advised()
    assert set(board[board.seen_items == "excluded"].standing) == {""}
    assert set(found.seen_items) == {"kept"}
