"""Plans: hours and disk from records whose times are known, and what no record informs."""

import json

import pytest
from builders import (
    ENVIRONMENT,
    SEEDS,
    curves_of,
    measurement,
    training,
    write_measurement,
    write_training,
)

from seqbench.config.grid import Grid
from seqbench.core import provenance
from seqbench.core.jobs import MeasurementJob, TrainingJob
from seqbench.terminal import plan

HOUR = 3600


def asked(*entries):
    """The grid of these entries."""
    jobs = [e for e in entries if "records" not in e], [e for e in entries if "records" in e]
    trainings = tuple(TrainingJob.from_json(json.dumps(e)) for e in jobs[0])
    return Grid(trainings, tuple(MeasurementJob.from_json(json.dumps(e)) for e in jobs[1]))


def planned(tmp_path, *entries, kind="cpu", cores=2):
    rows = plan.plan(asked(*entries), tmp_path / "reference", tmp_path / "results", kind, cores)
    return {row["kind"]: row for row in rows.to_dict("records")}


def published(tmp_path, *entries, machine="here", environment=(), **values):
    named = ENVIRONMENT | {"machine_name": machine} | dict(environment)
    for entry in entries:
        write = write_measurement if "records" in entry else write_training
        write(tmp_path / "reference" / machine, entry, environment=named, values=values)


def hours(row):
    return row["hours_low"] * HOUR, row["hours_high"] * HOUR


def test_trainings_of_other_seeds_say_how_long_one_takes(tmp_path):
    for seed, seconds in ((0, 100.0), (1, 200.0)):
        published(tmp_path, training(seed=seed), steps=800, train_s=seconds, evaluate_s=9.0, first_step_after_s=2.0)  # fmt: skip
    row = planned(tmp_path, training(seed=7))["training"]
    assert hours(row) == pytest.approx((111, 211))  # start, steps, validations
    assert (row["jobs"], row["done"], row["unknown"], row["machines"]) == (1, 0, 0, "here")


def test_how_many_steps_it_takes_is_learnt_from_every_machine_how_long_they_take_from_this_kind(tmp_path):  # fmt: skip
    gpu = {"device_kind": "cuda", "n_cpus": 64}
    published(tmp_path, training(), machine="gpu", environment=gpu, steps=400, train_s=1.0, evaluate_s=1.0)  # fmt: skip
    published(tmp_path, training(max_steps=100), machine="cpu", steps=100, train_s=50.0, evaluate_s=4.0)  # fmt: skip
    row = planned(tmp_path, training(seed=1))["training"]
    # 400 steps of half a second, 5 looks at the users, of which the record had 2
    assert hours(row) == pytest.approx((400 * 0.5 + 5 * 2, 400 * 0.5 + 5 * 2))
    assert row["machines"] == "cpu"


def test_without_the_same_training_the_budget_and_patience_bound_its_steps(tmp_path):
    published(tmp_path, training(max_steps=100), steps=100, train_s=50.0, evaluate_s=0.0)
    row = planned(tmp_path, training())[
        "training"
    ]  # patience 400, validation every 100, 1,000 at most
    assert hours(row) == pytest.approx((500 * 0.5, 1000 * 0.5))


@pytest.mark.parametrize("changes", [{"targets_per_step": 4096}, {"precision": "bf16"}, {"model": "gru4rec"}, {"seq_len": 100}, {"dataset": "other"}])  # fmt: skip
def test_what_no_record_informs_is_counted_and_not_guessed(tmp_path, changes):
    published(tmp_path, training())
    row = planned(tmp_path, training(**changes))["training"]
    assert (row["unknown"], row["hours_high"], row["machines"]) == (1, 0, "")


def test_a_measured_step_informs_where_nothing_was_trained(tmp_path):
    published(tmp_path, measurement(models=("sasrec",)))
    row = planned(tmp_path, training())["training"]
    low, high = hours(row)
    assert 0 < low < high and row["unknown"] == 0


def test_the_nearest_number_of_cores_informs_first(tmp_path):
    for name, cores, seconds in (("small", 2, 80.0), ("large", 64, 800.0)):
        published(tmp_path, training(), machine=name, environment={"n_cpus": cores}, steps=800, train_s=seconds, evaluate_s=0.0)  # fmt: skip
    for cores, expected in ((4, ("small", 80)), (48, ("large", 800))):
        row = planned(tmp_path, training(seed=1), cores=cores)["training"]
        assert (row["machines"], hours(row)[1]) == (expected[0], pytest.approx(expected[1]))


def test_a_baseline_needs_no_record_of_its_length(tmp_path):
    published(tmp_path, training(model="popularity"), train_s=1.0, evaluate_s=2.0)
    assert hours(planned(tmp_path, training(model="popularity", seq_len=200))["training"]) == pytest.approx((3, 3))  # fmt: skip


def test_what_the_results_folder_holds_is_not_to_do(tmp_path):
    entries = [training(seed=seed) for seed in SEEDS]
    now = {"code": provenance.training("sasrec")}
    write_training(tmp_path / "results", entries[0], identity=now)
    write_training(tmp_path / "results", entries[1], identity=now, values={}, status="crashed", reason="x")  # fmt: skip
    write_training(
        tmp_path / "results", training(seed=2, max_steps=5), identity=now
    )  # other settings
    row = planned(tmp_path, *entries)["training"]
    assert (row["jobs"], row["done"], row["unknown"]) == (3, 2, 0)
    assert row["machines"] == "test-machine"  # what was done here informs what is left
    assert planned(tmp_path, entries[0])["data"]["done"] == 1


def test_records_of_other_code_are_made_again(tmp_path):
    write_training(tmp_path / "results", training())
    assert planned(tmp_path, training())["training"]["done"] == 0


def test_measurements_are_hours_of_the_whole_machine(tmp_path):
    point = curves_of()[0]
    published(tmp_path, point)
    published(tmp_path, training(), first_step_after_s=2.0)
    published(tmp_path, training(seed=1), first_step_after_s=4.0)
    wanted = {**point, "rounds": 6}
    row, once = (planned(tmp_path, entry)["measurement"] for entry in (wanted, point))
    assert row["unknown"] == 0 and 0 < row["hours_low"] < row["hours_high"]
    assert row["hours_low"] == pytest.approx(2 * once["hours_low"])
    assert planned(tmp_path, curves_of()[1])["measurement"]["unknown"] == 1


def test_disk_counts_weights_samples_and_arrays(tmp_path):
    published(tmp_path, training(), parameters=1_000_000)
    rows = planned(tmp_path, training(seed=1), training(model="gru4rec"))
    assert 4_000_000 < rows["training"]["disk_bytes"] < 4_100_000
    assert rows["training"]["disk_unknown"] == 1
    assert rows["data"]["disk_bytes"] == 12000 * 12 + 8 * 401  # items, rows; offsets


def test_nothing_published_is_all_unknown(tmp_path):
    rows = planned(tmp_path, training(), measurement())
    assert all(rows[kind]["unknown"] == 1 for kind in ("training", "measurement"))
    assert rows["data"]["disk_unknown"] == 1
