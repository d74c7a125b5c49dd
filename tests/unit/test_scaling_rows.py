"""Curves of different machines, tracks, precisions or threads never meet; a model that fails early keeps its reason."""

import numpy as np
import pytest
from builders import ENVIRONMENT, THREE, curves_of, grid, write_grid, write_measurement

from seqbench import collect, scaling_rows


def entries(results, jobs):
    return collect.load(grid([], jobs), results)


def rows_of(growth, **values):
    return [row for row in growth if all(row[key] == value for key, value in values.items())]


@pytest.fixture
def tokens():
    return [job for job in curves_of() if job["curve"] == "tokens"]


STEP = {"phase": "train", "metric": "step_s"}


def test_a_curve_has_a_row_per_model_and_a_pair_its_crossover(tmp_path, tokens):
    write_grid(tmp_path, grid([], tokens))
    growth, crossovers = scaling_rows.summarise(entries(tmp_path, tokens))
    assert [row["model"] for row in rows_of(growth, **STEP)] == list(THREE)
    pairs = [(row["model_a"], row["model_b"]) for row in rows_of(crossovers, **STEP)]
    assert pairs == [("mamba4rec", "sasrec"), ("mamba4rec", "gru4rec"), ("sasrec", "gru4rec")]


@pytest.mark.parametrize(
    "environment",
    [
        {"machine": "9" * 12, "machine_name": "another"}, {"threads": 2},
        {"device": "NVIDIA Test", "device_kind": "cuda", "machine": "9" * 12},
    ],
)  # fmt: skip
def test_points_of_another_machine_or_thread_count_make_no_common_curve(
    tmp_path, tokens, environment
):
    """Three points here and two there are no curve of five."""
    write_grid(tmp_path, grid([], tokens))
    for job in tokens[3:]:
        write_measurement(tmp_path, job, environment=ENVIRONMENT | environment)
    growth, _ = scaling_rows.summarise(entries(tmp_path, tokens))
    assert rows_of(growth, **STEP) == []


@pytest.mark.parametrize(("key", "value"), [("track", "another"), ("precision", "bf16")])
def test_points_of_another_track_or_precision_make_no_common_curve(tmp_path, tokens, key, value):
    jobs = [*tokens[:3], *(job | {key: value} for job in tokens[3:])]
    write_grid(tmp_path, grid([], jobs))
    growth, _ = scaling_rows.summarise(entries(tmp_path, jobs))
    assert rows_of(growth, **STEP) == []


def test_a_model_that_fails_early_keeps_its_reasons_and_the_others_their_curves(tmp_path, tokens):
    write_grid(tmp_path, grid([], tokens))
    failed = {"train": {"status": "oom", "reason": "full", "requested_bytes": 2**31}}
    samples = {"inference/batch_s": np.ones((3, 10)), "inference/peak_rss_bytes": np.full(3, 4e8)}
    for job in tokens[2:]:
        one = job | {"records": job["records"][1:2], "models": job["models"][1:2]}  # SASRec
        write_measurement(
            tmp_path, one, status="oom", reason="full", values={"failed": failed}, arrays=samples
        )
    growth, crossovers = scaling_rows.summarise(entries(tmp_path, tokens))
    (row,) = rows_of(growth, **STEP, model="sasrec")
    assert (row["n_points"], row["c"]) == (2, None)
    assert row["missing"].startswith("200: oom (2.0 GiB asked for); 800: oom")
    assert rows_of(growth, **STEP, model="mamba4rec")[0]["n_points"] == 5
    (pair,) = rows_of(crossovers, **STEP, model_a="mamba4rec", model_b="sasrec")
    assert pair["x_max"] == 100
