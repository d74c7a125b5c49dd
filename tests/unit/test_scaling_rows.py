"""Curves of different machines, tracks, precisions or threads never meet; a model that fails early keeps its reason."""

import numpy as np
import pytest
from builders import (
    ENVIRONMENT,
    THREE,
    curves_of,
    grid,
    measurement,
    write_grid,
    write_measurement,
)

from seqbench.analysis import scaling, scaling_rows
from seqbench.core import store


def entries(results, jobs):
    return store.load(grid([], jobs), results)


def rows_of(growth, **values):
    return [row for row in growth if all(row[key] == value for key, value in values.items())]


@pytest.fixture
def tokens():
    return [job for job in curves_of() if job["curve"] == "length-at-constant-tokens"]


STEP = {"phase": "train", "metric": "step_s"}


def test_a_curve_has_a_row_per_model_and_a_pair_its_crossover(tmp_path, tokens):
    write_grid(tmp_path, grid([], tokens))
    growth, crossovers = scaling_rows.summarise(entries(tmp_path, tokens), THREE)
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
    growth, _ = scaling_rows.summarise(entries(tmp_path, tokens), THREE)
    assert {(row["n_points"], row["c"]) for row in rows_of(growth, **STEP)} == {
        (3, None),
        (2, None),
    }


@pytest.mark.parametrize("tokens", [3000, 6000, 12000, 48000, 8192])
def test_a_curve_at_constant_tokens_is_one_whatever_their_number(tmp_path, tokens):
    lengths = [n for n in (50, 200, 512, 1024, 4096, 8192) if n <= tokens]
    jobs = [measurement("full-length", THREE, "matched", n, 1000, "length-at-constant-tokens", tokens // n) for n in lengths]  # fmt: skip
    write_grid(tmp_path, grid([], jobs))
    growth, _ = scaling_rows.summarise(entries(tmp_path, jobs), THREE)
    assert {row["n_points"] for row in rows_of(growth, **STEP)} == {len(lengths)}


def test_two_numbers_of_tokens_make_two_curves(tmp_path):
    jobs = [measurement("full-length", THREE, "matched", n, 1000, "length-at-constant-tokens", t // n) for t in (8192, 10000) for n in (50, 100, 200)]  # fmt: skip
    write_grid(tmp_path, grid([], jobs))
    growth, _ = scaling_rows.summarise(entries(tmp_path, jobs), THREE)
    found = {(row["fixed"], row["n_points"]) for row in rows_of(growth, **STEP)}
    assert found == {("8,150 tokens a batch, 1,000 items", 3), ("10,000 tokens a batch, 1,000 items", 3)}  # fmt: skip


@pytest.mark.parametrize(("key", "value"), [("track", "another"), ("precision", "bf16")])
def test_points_of_another_track_or_precision_make_no_common_curve(tmp_path, tokens, key, value):
    jobs = [*tokens[:3], *(job | {key: value} for job in tokens[3:])]
    write_grid(tmp_path, grid([], jobs))
    growth, _ = scaling_rows.summarise(entries(tmp_path, jobs), THREE)
    assert {(row["n_points"], row["c"]) for row in rows_of(growth, **STEP)} == {
        (3, None),
        (2, None),
    }


def test_two_points_have_a_slope_and_no_curve_and_only_bracket_a_crossing(tmp_path, tokens):
    ends = [tokens[0], tokens[-1]]
    write_grid(tmp_path, grid([], ends))
    growth, crossovers = scaling_rows.summarise(entries(tmp_path, ends), THREE)
    low, high = (job["seq_len"] for job in ends)
    for row in rows_of(growth, **STEP):
        t = [
            np.median(e.samples()["train/step_s"])
            for e in entries(tmp_path, ends)
            if e.job["model"] == row["model"]
        ]
        assert row["slope_end"] == pytest.approx(np.log(t[1] / t[0]) / np.log(high / low))
        assert row["growth"] == pytest.approx(t[1] / t[0])
        assert (row["c"], row["max_residual"], row["slope_over"], row["x_max"]) == (
            None,
            None,
            f"{low} {high}",
            high,
        )
    crossed = [row for row in rows_of(crossovers, **STEP) if row["x"] is not None]
    assert crossed and all(
        (r["bracketed"], r["low"], r["high"]) == (True, low, high) for r in crossed
    )


def test_a_bracket_holds_what_resamples_say_of_the_crossing():
    """The estimate lies just above a point, part of its interval below it: the lower bracket does too."""
    x = (50.0, 200.0, 8192.0)
    rng = np.random.default_rng(0)

    def curve(values):
        return {
            at: value * rng.lognormal(0, 0.02, (3, 40)) for at, value in zip(x, values, strict=True)
        }

    first, second = curve((2.0, 2.0, 2.0)), curve((1.0, 1.99, 6.0))
    drawn = scaling.resampled_medians({"a": first, "b": second})
    row = scaling_rows._crossover(
        scaling.Curve(first, drawn["a"]), scaling.Curve(second, drawn["b"])
    )
    assert 200 < row["x"] < 250 and row["bracketed"]
    assert (row["low"], row["high"]) == (50.0, 8192.0)


def test_a_phase_that_was_not_asked_for_is_no_gap(tmp_path, tokens):
    arrays = {"train/step_s": np.ones((3, 10)), "train/peak_rss_bytes": np.full(3, 4e8)}
    for job in tokens:
        write_measurement(tmp_path, job, arrays=arrays)
    growth, _ = scaling_rows.summarise(entries(tmp_path, tokens), THREE)
    assert growth and not rows_of(growth, phase="inference", metric="batch_s")
    assert all(row["missing"] is None for row in rows_of(growth, **STEP))


def test_a_model_that_fails_early_keeps_its_reasons_and_the_others_their_curves(tmp_path, tokens):
    write_grid(tmp_path, grid([], tokens))
    failed = {"train": {"status": "oom", "reason": "full", "requested_bytes": 2**31}}
    samples = {"inference/batch_s": np.ones((3, 10)), "inference/peak_rss_bytes": np.full(3, 4e8)}
    for job in tokens[2:]:
        write_measurement(
            tmp_path,
            job,
            only="sasrec",
            status="oom",
            reason="full",
            values={"failed": failed},
            arrays=samples,
        )
    growth, crossovers = scaling_rows.summarise(entries(tmp_path, tokens), THREE)
    (row,) = rows_of(growth, **STEP, model="sasrec")
    assert (row["n_points"], row["c"]) == (2, None)
    assert row["missing"].startswith("200: oom (2.0 GiB asked for); 800: oom")
    assert rows_of(growth, **STEP, model="mamba4rec")[0]["n_points"] == 5
    (pair,) = rows_of(crossovers, **STEP, model_a="mamba4rec", model_b="sasrec")
    assert pair["x_max"] == 100


def test_a_cost_that_could_not_be_measured_keeps_its_reason(tmp_path, tokens):
    write_grid(tmp_path, grid([], tokens))
    arrays = {"train/step_s": np.full((3, 10), 0.1), "train/targets": np.full((3, 10), 2000)}
    why = "the system tells no resident memory"
    write_measurement(
        tmp_path, tokens[0], arrays=arrays, values={"missing": {why: ["train/peak_rss_bytes"]}}
    )
    growth, _ = scaling_rows.summarise(entries(tmp_path, tokens), THREE)
    (row,) = rows_of(growth, phase="train", metric="peak_rss_bytes", model="sasrec")
    assert row["missing"] == f"50: {why}"
