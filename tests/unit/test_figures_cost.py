"""Figures of cost: points, fits and crossings are those of the tables."""

import numpy as np
import pandas as pd
import pytest
from builders import ENVIRONMENT, REPORT
from figure_check import assert_no_texts_overlap, lines_of

from seqbench.analysis.collect import Tables
from seqbench.report import figures_cost

MODELS = ("mamba4rec", "sasrec", "bert4rec", "gru4rec")
LENGTHS = (50, 100, 200, 512, 1024, 2048, 4096, 8192)
ABOUT = {"track": "matched", "machine_name": "test-machine", "device_kind": "cpu", "device": "cpu"}
CURVE = ABOUT | {"curve": figures_cost.COMMON, "fixed": "8 sequences a batch, 3,416 items"}
STEP = {"phase": "train", "metric": "step_s"}


def tables(**frames):
    found = {name: pd.DataFrame() for name in ("efficiency", "scaling", "crossovers")}
    found["leaderboard"] = pd.DataFrame({"track": ["matched"]})
    return Tables(found | {k: pd.DataFrame(v) for k, v in frames.items()}, {}, REPORT | {"environments": [ENVIRONMENT | {"records": 1}]})  # fmt: skip


def cost(model, seq_len, value, **changes):
    row = {"model": model, "seq_len": seq_len, "dataset": "full-length", "sequences": 8, "n_items": 3416, "reason": None}  # fmt: skip
    return CURVE | STEP | row | {"median": value, "q25": 0.9 * value, "q75": 1.1 * value} | changes


def growing(lengths=LENGTHS, b=(2e-5, 2e-6, 1e-6, 1.5e-5), c=(1.0, 1.4, 1.5, 1.02)):
    """Costs along a curve with their fits, a = 0.01 s."""
    costs = [cost(m, n, 0.01 + b[k] * n ** c[k]) for k, m in enumerate(MODELS) for n in lengths]
    fit = {"a": 0.01, "c_low": 1.0, "c_high": 1.6, "max_residual": 0.0}
    fits = [CURVE | STEP | fit | {"model": m, "b": b[k], "c": c[k]} for k, m in enumerate(MODELS)]
    if len(lengths) < 3:  # a column of nothing but nulls, which comes as None
        fits = [row | dict.fromkeys((*fit, "b", "c")) for row in fits]
    return costs, fits


def crossing(comparator, x, **changes):
    row = {"model_a": "mamba4rec", "model_b": comparator, "x": x, "low": 0.9 * x, "high": 1.1 * x, "extrapolated": False, "bracketed": False, "share": 1.0}  # fmt: skip
    return CURVE | STEP | row | changes


def drawn(crossings=(), **changes):
    costs, fits = growing(**changes)
    (drawing,) = figures_cost.lengths(tables(efficiency=costs, scaling=fits, crossovers=list(crossings)))  # fmt: skip
    return drawing, drawing.draw()


def rings(figure):
    return [round(line.get_xdata()[0]) for line in lines_of(figure, markersize=10, marker="o")]


def test_growth_has_points_and_fits():
    drawing, figure = drawn()
    assert_no_texts_overlap(figure)
    (points,) = lines_of(figure, marker="s")
    assert list(points.get_xdata()) == list(LENGTHS)
    assert points.get_ydata()[-1] == pytest.approx(1000 * (0.01 + 2e-6 * 8192**1.4))  # in ms
    fits = [line for line in figure.axes[0].lines if len(line.get_xdata()) == 24]
    assert len(fits) == 4 and drawing.key == {"machine": "test-machine", "track": "matched"}
    assert set(drawing.data) >= {"model", "x", "median", "q25", "q75", "a", "b", "c"}


def test_conclusive_crossings_within_the_points_are_ringed():
    _, figure = drawn([
        crossing("sasrec", 1000),
        crossing("bert4rec", 3000, share=0.5),
        crossing("gru4rec", 20000, extrapolated=True),
        crossing("gru4rec", np.nan),
    ])  # fmt: skip
    assert rings(figure) == [1000]
    assert "SASRec 1,000" in {text.get_text() for text in figure.axes[0].texts}


def test_two_points_make_no_fit_and_a_crossing_lies_between_them():
    _, figure = drawn([crossing("sasrec", 703, bracketed=True, low=200, high=8192)], lengths=(200, 8192))  # fmt: skip
    assert not [line for line in figure.axes[0].lines if len(line.get_xdata()) == 24]
    assert len(lines_of(figure, linestyle=":")) == 4
    assert rings(figure) == [703]
    assert "SASRec 200 to 8,192" in {text.get_text() for text in figure.axes[0].texts}


def test_a_point_that_failed_is_marked_not_drawn():
    costs, fits = growing()
    costs.append(cost("sasrec", 16384, np.nan, reason="oom: not enough memory"))
    (drawing,) = figures_cost.lengths(tables(efficiency=costs, scaling=fits))
    (cross,) = lines_of(drawing.draw(), marker="x")
    assert list(cross.get_xdata()) == [16384]


def test_other_curves_stand_over_what_they_vary():
    batch = {"curve": "batch-size", "fixed": "L = 200, 3,416 items"}
    costs = [cost(m, 200, 0.01 * n, sequences=n) | batch for m in MODELS for n in (1, 16, 256)]
    fits = [row | batch for row in growing()[1]]
    (drawing,) = figures_cost.sizes(tables(efficiency=costs, scaling=fits))
    assert sorted(set(drawing.data.x)) == [1, 16, 256]
    assert drawing.draw().axes[0].get_xlabel() == "sequences in a batch"
    assert drawing.section == "more"


def test_resident_memory_of_a_cpu_is_not_drawn():
    costs, fits = growing()
    memory = {"metric": "peak_rss_bytes"}
    found = figures_cost.lengths(tables(efficiency=[row | memory for row in costs], scaling=[row | memory for row in fits]))  # fmt: skip
    assert not list(found)


def counted():
    rows = []
    for k, model in enumerate(MODELS):
        own = ABOUT | {"dataset": "ml-1m", "seq_len": 200, "model": model, "curve": None}
        for phase in ("train", "inference"):
            values = {"intensity": 5.0 + k, "flop_per_s": (3 + k) * 1e10}
            rows += [own | {"phase": phase, "metric": name, "median": value} for name, value in values.items()]  # fmt: skip
        ceilings = {"product_flop_per_s": 9e10, "copy_bytes_per_s": 1.5e10}
        rows += [own | {"phase": "device", "metric": name, "median": value} for name, value in ceilings.items()]  # fmt: skip
    return rows


def test_a_roofline_has_both_phases_below_its_ceiling():
    (drawing,) = figures_cost.roofline(tables(efficiency=counted()))
    figure = drawing.draw()
    assert_no_texts_overlap(figure)
    assert len(drawing.data) == 8
    (roof,) = [line for line in figure.axes[0].lines if len(line.get_xdata()) == 3]
    assert list(roof.get_ydata())[1:] == [90.0, 90.0] and roof.get_xdata()[1] == 6.0
    assert not list(figures_cost.roofline(tables(efficiency=[row for row in counted() if row["phase"] != "device"])))  # fmt: skip


def test_energy_is_drawn_where_it_was_measured():
    about = ABOUT | {"dataset": "ml-1m", "seq_len": 200, "phase": "train", "metric": "energy_j_per_epoch"}  # fmt: skip
    rows = [about | {"model": m, "median": v, "q25": v, "q75": v} for m, v in (("mamba4rec", 9e3), ("sasrec", np.nan))]  # fmt: skip
    (drawing,) = figures_cost.energy(tables(efficiency=rows))
    assert list(drawing.data.model) == ["mamba4rec"]
    assert [patch.get_width() for patch in drawing.draw().axes[0].patches] == [9.0]  # kJ


def test_the_step_of_a_condition_is_that_of_the_machine_that_measured_most():
    on_cpu = [cost(m, 200, 1.0, dataset="ml-1m", curve=None) for m in MODELS[:2]]
    on_gpu = [row | {"machine_name": "gpu", "device_kind": "cuda", "median": 0.1} for row in on_cpu]
    both = tables(efficiency=[*on_gpu, *on_cpu])
    assert figures_cost.stepping(both)["ml-1m", 200, "matched"] == ("cpu", {"mamba4rec": 1.0, "sasrec": 1.0})  # fmt: skip
    more = tables(efficiency=[*on_gpu, on_cpu[0]])
    assert figures_cost.stepping(more)["ml-1m", 200, "matched"][0] == "cuda"
    assert ("ml-1m", 50, "matched") not in figures_cost.stepping(more)
