"""Two folders of records held against each other, from records whose ranks and times are known."""

import numpy as np
import pytest
from builders import (
    ENVIRONMENT,
    SEEDS,
    measurement,
    samples,
    times,
    training,
    write_dataset,
    write_measurement,
    write_training,
)

from seqbench.core.errors import UserError
from seqbench.core.metrics import per_user
from seqbench.terminal.compare import compare

MARGIN = 0.01


def trained(folder, *, shift=0, model="sasrec", seeds=SEEDS, **changes):
    """Trainings of one model; shift: added to every rank of the test split."""
    for seed in seeds:
        arrays = samples(model, seed)
        arrays["test/rank"] = arrays["test/rank"] + np.int32(shift)
        write_training(folder, training(model=model, seed=seed), arrays=arrays, **changes)


def measured(folder, factor=1.0, **environment):
    entry = measurement(models=("sasrec",))
    arrays = {name: factor * values for name, values in times(entry, 0).items()}
    write_measurement(folder, entry, arrays=arrays, environment=ENVIRONMENT | environment)


def only(frame, **values):
    for key, value in values.items():
        frame = frame[frame[key] == value]
    (row,) = frame.to_dict("records")
    return row


@pytest.mark.parametrize(("shifts", "verdict"), [((0, 3), "worse"), ((3, 0), "better")])
def test_quality_is_a_difference_paired_over_users(tmp_path, shifts, verdict):
    for folder, shift in zip("ab", shifts, strict=True):
        trained(tmp_path / folder, shift=shift)
    row = only(compare(tmp_path / "a", tmp_path / "b", MARGIN).quality, seen_items="kept")
    means = [
        np.mean([per_user(samples("sasrec", s)["test/rank"] + by, "ndcg@10").mean() for s in SEEDS])
        for by in shifts
    ]
    assert (row["mean_a"], row["mean_b"]) == pytest.approx(tuple(means))
    assert row["difference"] == pytest.approx(means[1] - means[0])
    assert row["ci_low"] < row["difference"] < row["ci_high"]
    assert (row["verdict"], row["n_seeds_a"], row["n_seeds_b"]) == (verdict, 3, 3)
    # Paired: users differ much from each other, and little from themselves.
    assert row["ci_high"] - row["ci_low"] < 0.05


def test_the_other_way_round_is_the_same_with_its_sign_turned(tmp_path):
    trained(tmp_path / "a"), trained(tmp_path / "b", shift=3)
    there, back = (
        only(compare(tmp_path / x, tmp_path / y, MARGIN).quality, seen_items="excluded") for x, y in ("ab", "ba")
    )  # fmt: skip
    assert there["difference"] == pytest.approx(-back["difference"])
    assert there["ci_low"] == pytest.approx(-back["ci_high"], abs=1e-3)


def test_the_same_records_are_equivalent(tmp_path):
    trained(tmp_path / "a"), trained(tmp_path / "b")
    row = only(compare(tmp_path / "a", tmp_path / "b", MARGIN).quality, seen_items="kept")
    assert (row["difference"], row["ci_low"], row["ci_high"]) == (0, 0, 0)
    assert (row["verdict"], row["why"]) == ("equivalent", "same_records")


def test_fewer_than_three_seeds_decide_nothing_and_a_baseline_needs_one(tmp_path):
    for folder, shift in (("a", 0), ("b", 3)):
        trained(tmp_path / folder, shift=shift, seeds=(0, 1))
        trained(tmp_path / folder, shift=shift, seeds=(0,), model="popularity")
    found = compare(tmp_path / "a", tmp_path / "b", MARGIN).quality
    row = only(found, model="sasrec", seen_items="kept")
    assert (row["verdict"], row["why"]) == ("inconclusive", "few_seeds")
    assert only(found, model="popularity", seen_items="kept")["verdict"] == "worse"


def test_costs_are_ratios_with_the_quartiles_that_bound_them(tmp_path):
    measured(tmp_path / "a"), measured(tmp_path / "b", factor=2.0, machine_name="other")
    found = compare(tmp_path / "a", tmp_path / "b", MARGIN).costs
    assert set(found.metric) == {"step_s", "batch_s"}  # on a CPU memory is that of Python
    row = only(found, metric="step_s")
    own = times(measurement(models=("sasrec",)), 0)["train/step_s"]
    low, high = np.quantile(own, [0.25, 0.75])
    assert row["ratio"] == pytest.approx(2)
    assert (row["ratio_low"], row["ratio_high"]) == pytest.approx((2 * low / high, 2 * high / low))
    assert (row["verdict"], row["machine_a"], row["machine_b"]) == ("dearer", "test-machine", "other")  # fmt: skip
    assert only(compare(tmp_path / "b", tmp_path / "a", MARGIN).costs, metric="step_s")["verdict"] == "cheaper"  # fmt: skip
    same = compare(tmp_path / "a", tmp_path / "a", MARGIN).costs
    assert set(same.verdict) == {"inconclusive"}


def test_memory_is_compared_on_a_gpu(tmp_path):
    entry = measurement(models=("sasrec",))
    arrays = {**times(entry, 0), "train/peak_allocated_bytes": np.full(3, 1e9)}
    for folder, factor in (("a", 1), ("b", 0.5)):
        own = {**arrays, "train/peak_allocated_bytes": factor * arrays["train/peak_allocated_bytes"]}  # fmt: skip
        write_measurement(tmp_path / folder, entry, arrays=own, environment={"device_kind": "cuda"})
    row = only(compare(tmp_path / "a", tmp_path / "b", MARGIN).costs, metric="peak_allocated_bytes")
    assert (row["ratio"], row["verdict"]) == (0.5, "cheaper")


def test_what_stands_in_one_folder_only_is_counted(tmp_path):
    trained(tmp_path / "a"), trained(tmp_path / "b")
    trained(tmp_path / "a", model="gru4rec"), measured(tmp_path / "b")
    found = compare(tmp_path / "a", tmp_path / "b", MARGIN)
    assert (found.only_a, found.only_b) == (1, 1)


def test_a_folder_of_tables_means_the_records_beside_it(tmp_path):
    trained(tmp_path / "a"), trained(tmp_path / "b")
    tables_alone(tmp_path / "a" / "tables")
    assert len(compare(tmp_path / "a" / "tables", tmp_path / "b", MARGIN).quality) == 2


def other_data(folder):
    write_dataset(folder, hash="f" * 64)
    trained(folder, data={"hash": "f" * 64})


def tables_alone(folder):
    folder.mkdir()
    (folder / "effectiveness.csv").write_text("path\n")


def several_machines(folder):
    trained(folder / "one"), trained(folder / "two")


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda folder: None, "no such folder"),
        (lambda folder: trained(folder.parent), "no such folder"),
        (lambda folder: folder.mkdir(), "holds no records"),
        (other_data, "toy: .* other data .* cannot be paired"),
        (tables_alone, "users are paired by their ranks: name the folder that has runs/"),
        (several_machines, "holds several machines; name one of .*/one, .*/two"),
        (lambda folder: trained(folder, model="gru4rec"), "hold no model at one condition in common"),
    ],
)  # fmt: skip
def test_what_cannot_be_compared_is_refused_in_one_line(tmp_path, make, words):
    trained(tmp_path / "a")
    make(tmp_path / "b")
    with pytest.raises(UserError, match=words) as error:
        compare(tmp_path / "a", tmp_path / "b", MARGIN)
    assert "\n" not in str(error.value)
