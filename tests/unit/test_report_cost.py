"""Report: what it says of cost, recomputed or known from how the records were made."""

import numpy as np
import pytest
from builders import (
    THREE,
    curves_of,
    grid,
    measurement,
    plan,
    read_table,
    rendered,
    write_measurement,
)

from seqbench.report import report

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """Results folder and page of a grid with all four curves."""
    results = tmp_path_factory.mktemp("results")
    small = plan()
    jobs = [small["measurements"][0], measurement("toy", THREE, seq_len=200), *curves_of()]
    return results, rendered(results, grid(small["trainings"], jobs))


def test_growth_tables_hold_the_exponents_that_the_records_were_made_with(measured):
    """Along the tokens curve Mamba4Rec's stand-in grows as a + b L, SASRec's as a + b L^1.3."""
    rows = [
        r
        for r in read_table(measured[0], "exponents-length-matched-test-machine-cpu")
        if "6,400" not in r["Model"]
    ]
    tokens = {r["Model"]: r for r in rows if "tokens a batch" in r["group"]}
    assert float(tokens["mamba4rec"]["Training step: Exponent c"]) == pytest.approx(1.0, abs=0.1)
    assert float(tokens["sasrec"]["Training step: Exponent c"]) == pytest.approx(1.3, abs=0.1)


def test_crossings_name_who_is_cheaper_from_where_on(measured):
    rows = read_table(measured[0], "crossings-length-matched-test-machine-cpu")
    pair = next(
        r for r in rows if r["Pair"] == "mamba4rec,sasrec" and "tokens a batch" in r["group"]
    )
    assert (
        pair["Training step"] == "Mamba4Rec throughout"
    )  # smaller at every length, and growing less


def test_a_size_that_does_not_fit_is_named_with_what_was_asked_for(tmp_path):
    wanted = plan()
    failed = {"train": {"status": "oom", "reason": "out of memory", "requested_bytes": 3 * 2**30}}
    last = wanted["measurements"][-1]
    change = lambda: write_measurement(  # noqa: E731
        tmp_path, last, status="oom", reason="out of memory", values={"failed": failed},
        arrays={"inference/batch_s": np.ones((3, 10))},
    )  # fmt: skip
    page = rendered(tmp_path, wanted, change)
    assert report.check(tmp_path / "tables") == []
    assert "3,200: oom (3.0 GiB asked for)" in page
    rows = read_table(tmp_path, "efficiency-matched-test-machine-cpu-length-at-constant-tokens")
    end = [r for r in rows if r["group"].endswith("1 thread") and "L = 3200" in r["group"]]
    assert {r["Training: Training step (ms)"] for r in end} == {"oom"}
    assert {float(r["Inference: Inference batch (ms)"]) for r in end} == {1.0}


def test_a_shared_gpu_is_marked_above_the_results_and_in_the_table(tmp_path):
    gpu = {
        "device": "NVIDIA Test", "device_kind": "cuda", "machine": "1" * 12, "machine_name": "gpu-box", "shared_gpu": True,
    }  # fmt: skip
    wanted = plan()
    power = {"train": [{"throttle_reasons": ["power cap"]}]}
    change = lambda: write_measurement(  # noqa: E731
        tmp_path, wanted["measurements"][0], environment=gpu, values={"sampler": power}
    )
    page = rendered(tmp_path, wanted, change)
    assert "Shared GPU" in page and "shared GPU</small>" in page
    assert "Clocks were held down" in page and "power cap: " in page


def test_ceilings_and_shares_of_them_are_in_the_arithmetic_table(measured):
    rows = read_table(measured[0], "arithmetic-matched-test-machine-cpu")
    row = next(r for r in rows if r["Model"] == "sasrec" and "L = 50" in r["group"])
    achieved = float(row["Training: Arithmetic achieved (GFLOP/s)"])
    assert float(row["Training: Share of the matrix-product ceiling"]) == pytest.approx(
        achieved / 9e10, rel=1e-3
    )
    assert float(row["Training: FLOPs per step or batch (GFLOP)"]) == 3e9
