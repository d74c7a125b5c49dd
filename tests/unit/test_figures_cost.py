"""Figures of cost: points and fits are what was given, failed points are marked, texts do not overlap."""

import numpy as np
import pandas as pd
import pytest
from figure_check import MODELS, assert_no_texts_overlap

from seqbench.config.model_files import shown
from seqbench.report import figures_cost

LENGTHS = (50, 100, 200, 512, 1024, 2048, 4096, 8192)
FIXED = {
    "length-at-constant-tokens": "8,192 tokens a batch, 3,416 items",
    "length-at-constant-batch": "8 sequences a batch, 3,416 items",
}


def growth(failed=()):
    rows = []
    for curve, fixed in FIXED.items():
        for phase, metric, scale in (
            ("train", "step_s", 1e-3),
            ("inference", "batch_s", 1e-4),
            ("train", "peak_rss_bytes", 1e6),
        ):
            for k, model in enumerate(MODELS):
                a, b, c = 50 * scale, (1 + k) * scale, 1 + 0.2 * k
                for x in LENGTHS:
                    value = a + b * x**c
                    row = {
                        "curve": curve,
                        "fixed": fixed,
                        "phase": phase,
                        "metric": metric,
                        "model": model,
                        "x": x,
                    }
                    row |= {"median": value, "q25": 0.9 * value, "q75": 1.1 * value, "reason": None}
                    if (model, x) in failed:
                        row |= {
                            "median": np.nan,
                            "q25": np.nan,
                            "q75": np.nan,
                            "reason": "oom: 3 GiB",
                        }
                    rows.append(
                        row
                        | {
                            "a": a,
                            "b": b,
                            "c": c,
                            "c_low": c - 0.05,
                            "c_high": c + 0.05,
                            "slope_end": c,
                            "max_residual": 0.02,
                        }
                    )
    return pd.DataFrame(rows)


def roofline():
    rows = []
    for seq_len in (50, 200):
        for phase in ("train", "inference"):
            for k, model in enumerate(MODELS):
                row = {
                    "dataset": "ml-1m",
                    "seq_len": seq_len,
                    "model": model,
                    "phase": phase,
                    "metric": "flop_per_s",
                }
                row |= {
                    "flop_per_s": 2e10 * (1 + k),
                    "q25": 1.9e10 * (1 + k),
                    "q75": 2.1e10 * (1 + k),
                }
                rows.append(
                    row
                    | {"intensity": 3.0 + k, "product_flop_per_s": 9e10, "copy_bytes_per_s": 2e10}
                )
    return pd.DataFrame(rows)


def energy():
    rows = [
        {"dataset": "ml-1m", "seq_len": seq_len, "model": model, "metric": "energy_j_per_epoch", "median": 900.0 + 50 * k,
         "q25": 880.0 + 50 * k, "q75": 930.0 + 50 * k}
        for seq_len in (50, 200) for k, model in enumerate(MODELS)
    ]  # fmt: skip
    return pd.DataFrame(rows)


ALL = {
    "growth": (figures_cost.growth, growth()),
    "failed": (figures_cost.growth, growth({("sasrec", 8192), ("sasrec", 4096)})),
    "roofline": (figures_cost.roofline, roofline()),
    "energy": (figures_cost.energy, energy()),
}


@pytest.mark.parametrize("name", ALL)
def test_no_texts_overlap_and_none_leaves_the_figure(name):
    function, data = ALL[name]
    assert_no_texts_overlap(function(data))


def lines(axis, model):
    return [line for line in axis.lines if line.get_color() == shown(model).color]


def test_points_and_the_fitted_curve_through_them_are_drawn():
    axis = figures_cost.growth(growth()).axes[0]
    for k, model in enumerate(MODELS):
        drawn = [line.get_xydata() for line in lines(axis, model)]
        points = next(d for d in drawn if len(d) == len(LENGTHS))
        curve = next(d for d in drawn if len(d) == 24)
        c = 1 + 0.2 * k
        assert np.allclose(points[:, 0], LENGTHS)
        unit = points[0, 1] / (1e-3 * (50 + (1 + k) * 50**c))  # s, ms or min
        assert np.allclose(points[:, 1], unit * 1e-3 * (50 + (1 + k) * np.array(LENGTHS) ** c))
        assert np.allclose(curve[:, 1], unit * 1e-3 * (50 + (1 + k) * curve[:, 0] ** c))


def test_exponents_stand_beside_the_curves():
    axis = figures_cost.growth(growth()).axes[0]
    texts = [text.get_text() for text in axis.get_legend().get_texts()]
    assert texts[:2] == ["c = 1.00 [0.95, 1.05]", "c = 1.20 [1.15, 1.25]"]


def test_a_point_that_failed_is_marked_with_how_it_ended():
    axis = figures_cost.growth(growth({("sasrec", 8192)})).axes[0]
    assert [text.get_text() for text in axis.texts if text.get_text() == "oom"] == ["oom"]
    points = next(
        d
        for d in (line.get_xydata() for line in lines(axis, "sasrec"))
        if len(d) == len(LENGTHS) - 1
    )
    assert points[-1, 0] == 4096


def test_roofs_are_the_measured_ceilings():
    axis = figures_cost.roofline(roofline()).axes[0]
    roof = next(line.get_xydata() for line in axis.lines if len(line.get_xdata()) == 100)
    assert roof[:, 1].max() == pytest.approx(90)  # GFLOP/s
    assert np.allclose(roof[:10, 1], 20 * roof[:10, 0])  # 20 GB/s


def test_training_is_filled_and_inference_hollow():
    axis = figures_cost.roofline(roofline()).axes[0]
    faces = [
        line.get_markerfacecolor() for line in lines(axis, "sasrec") if line.get_marker() == "s"
    ]
    assert faces == [shown("sasrec").color, "white"]


def test_a_fit_that_does_not_fit_says_by_how_much_and_too_few_points_say_so():
    data = growth()
    data.loc[data.model == "sasrec", "max_residual"] = 0.18
    data.loc[data.model == "gru4rec", ["a", "b", "c", "c_low", "c_high"]] = np.nan
    axis = figures_cost.growth(data).axes[0]
    texts = [text.get_text() for text in axis.get_legend().get_texts()]
    assert texts[1] == "c = 1.20 [1.15, 1.25], off by 18 %" and texts[3] == (
        "slope 1.60, too few points for a curve"
    )
