"""Time to quality, from learning curves whose answer is known."""

import pandas as pd
import pytest
from frames import PRICES, VALIDATIONS, cells, cost
from frames import trained as tables

from seqbench.report import time_to_quality, tradeoff

pytestmark = pytest.mark.slow


def test_the_goal_is_a_share_of_the_best_comparators_mean_and_the_first_validation_there_counts():
    found = time_to_quality.rows(tables()).set_index(["share", "model"])
    assert set(found.comparator) == {"sasrec"}  # .100 on average, GRU4Rec .053
    assert found.loc[0.95].goal.tolist() == pytest.approx([0.095] * 3)
    own = found.loc[(0.95, "mamba4rec")]
    steps = own[["steps", "steps_low", "steps_high"]].tolist()
    assert (own.n_reached, own.n_seeds, steps) == (3, 3, [pytest.approx(500 / 3), 100, 200])
    other = found.loc[(0.95, "sasrec")]
    assert (other.n_reached, other.steps_low, other.steps_high) == (3, 300, 400)
    assert other.steps == pytest.approx(1100 / 3)
    once = found.loc[(0.95, "gru4rec")]  # fell again, but was there
    assert (once.n_reached, once.n_seeds, once.steps) == (1, 3, 200)


def test_a_training_that_failed_is_a_seed_that_did_not_get_there():
    content = tables()
    failed = content.frames["experiments"].query("model == 'sasrec'").head(1)
    failed = failed.assign(status="diverged", trained=False)
    content.frames["experiments"] = pd.concat([content.frames["experiments"], failed])
    found = time_to_quality.rows(content).set_index(["share", "model"])
    assert tuple(found.loc[(0.95, "sasrec"), ["n_reached", "n_seeds"]]) == (3, 4)


def test_as_good_as_the_goal_is_there():
    goal = 0.95 * 0.1
    content = tables({"mamba4rec": ([0.05, goal, 0.2],), "sasrec": ([0.1],)})
    found = time_to_quality.rows(content).set_index(["share", "model"])
    assert found.loc[(0.95, "mamba4rec"), "steps"] == 200


def test_the_focal_model_alone_has_no_goal():
    assert time_to_quality.rows(tables({"mamba4rec": VALIDATIONS["mamba4rec"]})).empty
    assert (
        time_to_quality.table(tables({"mamba4rec": VALIDATIONS["mamba4rec"]}), "matched").rows == []
    )


JOULES = {
    "metric": "energy_j_per_step",
    "device_kind": "cuda",
    "device": "A GPU",
    "machine_name": "g",
}


def test_time_is_steps_times_the_measured_step_of_the_same_place():
    windows = {"dataset": "full-length", "curve": "length-at-constant-batch", "fixed": "x"}
    other = [cost("mamba4rec", 9.0, seq_len=100), cost("mamba4rec", 9.0, **windows)]
    content = tables(costs=[*PRICES, *other, cost("sasrec", 30.0, **JOULES)])
    found = time_to_quality.costs(content, time_to_quality.rows(content))
    own = found[(found.share == 0.95) & (found.model == "mamba4rec")]
    assert own[["value", "low", "high"]].to_numpy().tolist() == [pytest.approx([100, 60, 120])]
    joules = found[(found.share == 0.95) & (found.what == "energy_j_per_step")]
    assert joules[["model", "value"]].to_numpy().tolist() == [["sasrec", pytest.approx(11000)]]


def test_the_table_marks_who_is_there_first_and_who_never_gets_there():
    table = time_to_quality.table(tables(costs=PRICES), "matched", (0.95,))
    found = {key[1:]: cell for key, cell in cells(table).items()}
    assert table.rows[0][0].text == "toy, L = 50; all of it is SASRec's 0.1000"
    steps = {name: found["95 %: steps", name] for name in ("Mamba4Rec", "SASRec", "GRU4Rec")}
    assert [(c.text, c.detail, c.mark) for c in steps.values()] == [
        ("167", "[100, 200]", "lead"),  # GRU4Rec's only seed that gets there takes 200 too
        ("367", "[300, 400]", ""),
        ("200", "1 of 3 seeds", ""),
    ]
    times = {name: found["95 %: time on m (min)", name] for name in ("Mamba4Rec", "SASRec")}
    assert [(c.text, c.mark) for c in times.values()] == [("1.67", ""), ("1.22", "lead")]
    never = {**VALIDATIONS, "gru4rec": ([0.01], [0.02], [0.01])}
    found = {
        key[1:]: cell
        for key, cell in cells(time_to_quality.table(tables(never), "matched", (0.95,))).items()
    }
    assert found["95 %: steps", "Mamba4Rec"].mark == "best"
    assert found["95 %: steps", "GRU4Rec"].text == "not reached"


def test_one_seed_is_never_established():
    validations = {model: seeds[:1] for model, seeds in VALIDATIONS.items()}
    marks = {
        c.mark
        for c in cells(time_to_quality.table(tables(validations), "matched", (0.95,))).values()
    }
    assert "lead" in marks and "best" not in marks
    assert (
        cells(time_to_quality.table(tables(validations), "matched", (0.95,)))[
            ("toy, L = 50; all of it is SASRec's 0.1000", "95 %: steps", "SASRec")
        ].detail
        == "1 seed"
    )


@pytest.mark.parametrize(
    ("other", "step", "sooner"),
    [
        (([0.05, 0.1],) * 3, 1.0, False),  # the focal model's slowest seed takes as long
        (([0.05, 0.1],) * 3, 1.01, True),
        (([0.05, 0.1], [0.05, 0.1], [0.1, 0.05]), 1.5, False),  # one of its seeds is there first
        (([0.01], [0.01], [0.1, 0.1]), 0.9, False),  # one seed is not enough for it, but was there
        (([0.01], [0.01], [0.01]), 0.1, True),
    ],
)
def test_sooner_is_before_any_seed_of_the_other(other, step, sooner):
    """The goal is GRU4Rec's .1 by 95 %: the focal model is there after 200 steps, by the slower seed."""
    validations = {
        "mamba4rec": ([0.05, 0.1], [0.1], [0.1]),
        "sasrec": other,
        "gru4rec": ([0.1],) * 3,
    }
    prices = [cost("mamba4rec", 1.0), cost("sasrec", step), cost("gru4rec", 9.0)]
    (found,) = (b for b in time_to_quality.beside(tables(validations, prices), "matched", 0.95) if b.comparator == "sasrec")  # fmt: skip
    assert (found.own, found.sooner) == (True, sooner)
    assert found.other == (found.ratio is not None)


def test_who_does_not_get_there_is_not_sooner():
    validations = {
        "mamba4rec": ([0.1], [0.1], [0.01]),
        "sasrec": ([0.1],) * 3,
        "gru4rec": ([0.01],) * 3,
    }
    found = {
        b.comparator: b
        for b in time_to_quality.beside(tables(validations, PRICES), "matched", 0.95)
    }
    assert not found["sasrec"].sooner and not found["gru4rec"].sooner
    assert found["sasrec"].ratio is None and (found["sasrec"].own, found["sasrec"].other) == (False, True)  # fmt: skip


def test_nothing_stands_beside_another_without_a_measured_step_or_enough_seeds():
    two = {model: seeds[:2] for model, seeds in VALIDATIONS.items()}
    for content in (tables(), tables(two, PRICES), tables(costs=PRICES[1:])):
        assert time_to_quality.beside(content, "matched", 0.95) == []


@pytest.mark.parametrize(
    ("validations", "text", "detail"),
    [
        (VALIDATIONS, "SASRec", "Mamba4Rec ×1.91"),  # 700 / 3 steps of .6 s against 1,100 / 3 of .2
        ({**VALIDATIONS, "sasrec": ([0.1], [0.1], [0.01])}, "Mamba4Rec", ""),
        ({**VALIDATIONS, "mamba4rec": ([0.01],) * 3}, "SASRec", ""),
        ({m: seeds[:2] for m, seeds in VALIDATIONS.items()}, "none", ""),
    ],
)
def test_a_choice_names_who_is_soonest_as_good(validations, text, detail):
    table = tradeoff.choice(tables(validations, PRICES), "matched")
    cell = table.rows[0][-1]
    assert table.columns[-1].text == "Soonest at 99 %"
    assert (cell.text, cell.detail) == (text, detail)
