"""What the trainings took and which machine made them, from rows of `experiments`."""

import pandas as pd
import pytest
from builders import REPORT

from seqbench.analysis import budgets
from seqbench.analysis.tables import Tables


def training(seed, **changes):
    return {
        "kind": "train", "status": "ok", "trained": True, "track": "matched", "dataset": "toy", "seq_len": 50,
        "model": "sasrec", "machine_name": "m", "device_kind": "cpu", "threads": 2, "seed": seed, "still_improving": False,
        "steps": 100.0 * (1 + seed), "best_step": 50.0, "epochs": 2.0, "targets_seen": 1000.0, "train_s": 10.0,
        "predictions": 200.0, "positions": 1000.0,
        "evaluate_s": 5.0, **changes,
    }  # fmt: skip


def test_trainings_are_counted_and_summed_by_model_and_machine():
    found = pd.DataFrame(
        [
            training(0, still_improving=True),
            training(1),
            training(2, machine_name="gpu", device_kind="cuda"),
            training(3, status="crashed"),
            training(0, trained=False, model="popularity"),
            training(0, kind="measure"),
        ]
    )
    found = Tables({"experiments": found, "efficiency": pd.DataFrame()}, {}, REPORT)
    here, gpu = budgets.rows(found).to_dict("records")
    assert (here["n_seeds"], here["ended_by_budget"], here["steps"]) == (2, 1, 150)
    assert here["core_s"] == pytest.approx(2 * 15 * 2)  # two trainings, two threads
    assert (gpu["machine_name"], gpu["core_s"]) == ("gpu", 15)  # seconds of the device
    assert [(o["machine_name"], o["seeds"]) for o in budgets.origins(found).to_dict("records")] == [
        ("m", "0 1"), ("gpu", "2")
    ]  # fmt: skip


def test_nothing_trained_is_no_row():
    assert budgets.rows(Tables({"experiments": pd.DataFrame()}, {}, {})).empty
