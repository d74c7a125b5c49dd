"""From a measurement's samples to rows: what counts, and what does not though it was sampled."""

import numpy as np
import pytest
from builders import measurement, write_measurement

from seqbench.analysis import tidy_cost
from seqbench.core.store import read_entry


@pytest.fixture
def entry(tmp_path):
    wanted = measurement("toy", ("sasrec",))
    write_measurement(tmp_path, wanted)
    return read_entry(tmp_path, wanted["records"][0])


def rows(entry, **samples):
    steps = {"train/step_s": np.full((3, 5), 0.04), "train/targets": np.full((3, 5), 2000)}
    named = {name.replace("__", "/"): np.array(values) for name, values in samples.items()}
    return {
        (row["phase"], row["metric"]): row
        for row in tidy_cost.efficiency_rows(entry, steps | named)
    }


def test_power_is_that_of_rounds_with_an_energy_window(entry):
    """Rounds of 20 steps end before NVML's average has forgotten the idle time before them."""
    power = [470.0, 350.0, 320.0]
    found = rows(entry, train__power_w=power, train__energy_j_per_step=[20.0])
    assert found["train", "power_w"]["median"] == 470 and found["train", "power_w"]["n"] == 1
    whole = rows(entry, train__power_w=power, train__energy_j_per_step=[20.0, 20.0, 20.0])
    assert whole["train", "power_w"]["median"] == 350 and whole["train", "power_w"]["n"] == 3


def test_without_an_energy_window_power_and_utilisation_have_a_reason(entry):
    found = rows(
        entry, train__power_w=[350.0], train__utilisation=[0.5], train__sm_clock_mhz=[1980]
    )
    for metric in ("power_w", "utilisation", "sm_clock_mhz"):
        assert found["train", metric]["n"] == 0
        assert found["train", metric]["reason"] == tidy_cost.TOO_SHORT
    assert ("inference", "power_w") not in found


@pytest.mark.parametrize(
    ("key", "without"), [("counts", {"train", "inference"}), ("train/counts", {"train"})]
)
def test_what_could_not_be_counted_has_a_reason(entry, key, without):
    entry.values["missing"] = {"oom: much": [key]}
    for phase in without:
        del entry.values["counts"][phase]
    found = rows(entry)
    assert not any(metric == "counts" for _, metric in found)
    for phase in ("train", "inference"):
        for metric in ("flops", "moved_bytes", "operators"):
            row = found[phase, metric]
            assert (row["reason"] == "oom: much" and row["n"] == 0) is (phase in without)
    assert ("inference", "saved_bytes") not in found


def test_a_step_is_held_against_the_roofline_of_its_own_counts(entry):
    """2.9e9 FLOPs at 9e10, 1e8 exponentials at 5e9; the counted step has as many targets as the measured ones."""
    share = rows(entry)["train", "share_of_roofline"]
    assert share["median"] == pytest.approx((2.9 / 90 + 0.1 / 5) / 0.04)
    del entry.values["counts"]["train"]["exponentials"]
    assert ("train", "share_of_roofline") not in rows(entry)


def test_a_cpu_infers_in_fp32_and_is_held_against_that_ceiling(entry):
    """Whatever the precision of training is."""
    timed = {"inference__batch_s": np.full((3, 5), 0.5)}
    before = rows(entry, **timed)
    entry.values["ceilings"] |= {"product_flop_per_s": 1.8e11, "fp32_flop_per_s": 9e10}
    after = rows(entry, **timed)
    for metric in ("share_of_product", "share_of_roofline"):
        assert after["inference", metric]["median"] == before["inference", metric]["median"]
    assert after["train", "share_of_product"]["median"] == pytest.approx(
        before["train", "share_of_product"]["median"] / 2
    )


def test_rounds_are_those_that_were_taken(entry):
    assert entry.job["rounds"] == 3
    assert rows(entry)["train", "step_s"]["rounds"] == 3
    cut = rows(entry, train__step_s=np.full((2, 5), 0.04), train__targets=np.full((2, 5), 2000))
    assert cut["train", "step_s"]["rounds"] == 2


def test_users_are_those_that_were_in_a_batch(entry, monkeypatch):
    assert entry.job["eval_batch"] == 256
    one = {"inference/batch_s": np.full((3, 5), 0.5)}
    found = rows(entry, **{k.replace("/", "__"): v for k, v in one.items()})
    assert found["inference", "users_per_s"]["median"] == 512
    entry.values["counts"]["inference"] = {**entry.values["counts"]["inference"], "sequences": 166}
    found = rows(entry, **{k.replace("/", "__"): v for k, v in one.items()})
    assert found["inference", "users_per_s"]["median"] == 332
    assert found["inference", "batch_s"]["batch_size"] == 166


def test_a_full_window_of_a_prefix_track_has_one_target(tmp_path):
    wanted = measurement(
        "full-length", ("sasrec",), "paper", 50, 1000, "length-at-constant-batch", 8
    )
    for objective, targets in (("all-positions", 400), ("prefix", 8)):
        write_measurement(tmp_path, {**wanted, "objective": objective})
        step = rows(read_entry(tmp_path, wanted["records"][0]))["train", "step_s"]
        assert (step["batch_size"], step["sequences"]) == (targets, 8)
