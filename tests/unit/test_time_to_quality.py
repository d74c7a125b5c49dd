"""Time to quality, from learning curves whose answer is known."""

import pytest
from frames import VALIDATIONS, costs, measurement, tables, training, trainings, validations

PRICES = {"mamba4rec": 0.6, "sasrec": 0.2}


def until(values=None, efficiency=(), extra=(), threads=1):
    own = [*trainings(*VALIDATIONS), *map(measurement, efficiency), *extra]
    efficiency = [row | {"threads": threads} for row in efficiency]
    found = tables(experiments=own, curves=validations(values), efficiency=efficiency)
    return found.frames["time_to_quality"].set_index("model")


def test_the_goal_is_one_for_all_a_share_of_the_best_final_mean():
    found = until()
    assert found.goal.tolist() == pytest.approx([0.095] * 3)  # Mamba4Rec ends at .1
    assert list(found.index) == ["mamba4rec", "sasrec", "gru4rec"]


def test_the_first_validation_at_the_goal_counts():
    found = until()
    own = found.loc["mamba4rec"]
    assert (own.n_reached, own.n_seeds) == (3, 3)
    assert own[["steps", "steps_low", "steps_high"]].tolist() == pytest.approx([500 / 3, 100, 200])
    other = found.loc["sasrec"]
    assert other[["steps", "steps_low", "steps_high"]].tolist() == pytest.approx([1100 / 3, 300, 400])  # fmt: skip
    once = found.loc["gru4rec"]  # fell again, but was there
    assert (once.n_reached, once.n_seeds, once.steps) == (1, 3, 200)


def test_the_final_validation_sets_the_goal_not_the_highest():
    found = until({"mamba4rec": ([0.3, 0.1],), "sasrec": ([0.1],)})
    assert found.goal.tolist() == pytest.approx([0.095] * 2)


def test_as_good_as_the_goal_is_there():
    found = until({"mamba4rec": ([0.05, 0.095],), "sasrec": ([0.1],)})
    assert found.loc["mamba4rec", "steps"] == 200


def test_who_never_gets_there_has_no_steps():
    row = until({**VALIDATIONS, "gru4rec": ([0.01],) * 3}).loc["gru4rec"]
    assert (row.n_reached, row.n_seeds) == (0, 3) and row.steps != row.steps


def test_a_training_that_failed_is_a_seed_that_did_not_get_there():
    failed = training("sasrec", 3, status="diverged", trained=False)
    assert tuple(until(extra=[failed]).loc["sasrec", ["n_reached", "n_seeds"]]) == (3, 4)


def test_time_is_steps_times_the_step_that_a_machine_measured():
    found = until(efficiency=costs(PRICES))
    own = found.loc["mamba4rec", ["seconds", "seconds_low", "seconds_high"]].tolist()
    assert own == pytest.approx([100, 0.99 * 60, 1.01 * 120])  # least steps at the lower quartile
    assert found.loc["gru4rec"].isna()[["machine_name", "seconds"]].all()
    two = until(efficiency=costs(PRICES, threads=2), threads=2)
    assert two.loc["mamba4rec", "seconds"] == pytest.approx(200)  # seconds of two cores


def test_every_machine_has_its_row():
    other = costs({"mamba4rec": 0.1}, machine_name="gpu", device_kind="cuda")
    found = until(efficiency=[*costs(PRICES), *other], threads=2).loc["mamba4rec"]
    assert found.set_index("machine_name").seconds.to_dict() == pytest.approx({"m": 200, "gpu": 500 / 30})  # fmt: skip
