"""Figures: what is drawn is what was given, labels come from the table of metrics, nothing overlaps."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from figure_check import MODELS, assert_no_texts_overlap

from seqbench.core.display import QUANTITIES
from seqbench.report import drawings, figures, style
from seqbench.report.tables import metric_label

LENGTHS = (50, 100, 200, 500, 1000)


def quality():
    rows = []
    for seq_len in (50, 200):
        for k, model in enumerate((*MODELS, "popularity")):
            for seen_items in ("kept", "excluded"):
                mean = 0.1 + 0.01 * k + 0.02 * (seen_items == "excluded")
                row = {"dataset": "ml-1m", "seq_len": seq_len, "model": model, "metric": "ndcg@10"}
                row |= {
                    "seen_items": seen_items,
                    "mean": mean,
                    "ci_low": mean - 0.004,
                    "ci_high": mean + 0.005,
                }
                rows.append(row | {"oracle": 0.3 if seen_items == "kept" else np.nan})
    return pd.DataFrame(rows)


def cost(metrics, scale=0.05):
    rows = []
    for phase, metric in metrics:
        for k, model in enumerate(MODELS):
            for seq_len in LENGTHS:
                value = scale * (1 + k) * seq_len**0.9
                row = {
                    "dataset": "full-length",
                    "model": model,
                    "seq_len": seq_len,
                    "batch_size": 2048,
                }
                row |= {"phase": phase, "metric": metric}
                rows.append(row | {"median": value, "q25": 0.95 * value, "q75": 1.1 * value})
    return pd.DataFrame(rows)


def tradeoff():
    data = quality().query("seen_items == 'kept'").reset_index(drop=True)
    return data.assign(median=3.0 + data.index, q25=2.9 + data.index, q75=3.2 + data.index)


def curves():
    rows = []
    for model in MODELS:
        for seed in (0, 1):
            for k in range(1, 6):
                row = {
                    "dataset": "ml-1m",
                    "seq_len": 50,
                    "model": model,
                    "seed": seed,
                    "metric": "ndcg@10",
                }
                value = 0.1 * (1 - 0.5**k) + 0.001 * seed
                rows.append(
                    row | {"targets": 1e6 * k, "seconds": 90.0 * k, "value": value, "best": k == 4}
                )
    return pd.DataFrame(rows)


TIMES = (("train", "step_s"), ("inference", "batch_s"))
MEMORY = (("train", "peak_rss_bytes"), ("inference", "peak_rss_bytes"))
ALL = {
    "effectiveness": (figures.effectiveness, quality()),
    "time": (figures.time_against_length, cost(TIMES)),
    "memory": (figures.memory_against_length, cost(MEMORY, 2e6)),
    "tradeoff": (figures.quality_against_cost, tradeoff()),
    "curves": (figures.learning_curves, curves()),
    "gap": (figures.seen_items_gap, curves().drop(columns="seconds")),
    "a long name": (figures.effectiveness, quality().assign(dataset="amazon-video-games")),
}


@pytest.mark.parametrize("name", ALL)
def test_no_texts_overlap_and_none_leaves_the_figure(name):
    function, data = ALL[name]
    assert_no_texts_overlap(function(data))


def test_drawn_points_are_the_data():
    data = cost(TIMES)
    figure = figures.time_against_length(data)
    axis = figure.axes[0]
    drawn = sorted(
        (line.get_xydata() for line in axis.lines if len(line.get_xdata()) == len(LENGTHS)),
        key=lambda d: d[0, 1],
    )
    expected = data[data.metric == "step_s"].groupby("model", sort=False)["median"].apply(list)
    lines = [d for d in drawn if np.allclose(d[:, 0], LENGTHS)]
    for values in expected:
        assert any(np.allclose(line[:, 1], values) for line in lines)


def test_labels_units_and_direction_follow_the_table_of_metrics(monkeypatch):
    changed = dataclasses.replace(QUANTITIES["ndcg@10"], label="Renamed", better="lower")
    monkeypatch.setitem(QUANTITIES, "ndcg@10", changed)
    monkeypatch.setitem(
        QUANTITIES, "step_s", dataclasses.replace(QUANTITIES["step_s"], label="Stride")
    )
    assert figures.effectiveness(quality()).axes[0].get_xlabel() == "Renamed, lower is better"
    assert figures.time_against_length(cost(TIMES)).axes[0].get_ylabel() == "Stride (s)"


def test_both_axes_are_logarithmic_and_have_at_least_three_numbers():
    for function, data in (
        ALL["time"],
        ALL["memory"],
        (figures.time_against_length, cost(TIMES, 0.001)),
    ):
        for axis in function(data).axes:
            assert (axis.get_xscale(), axis.get_yscale()) == ("log", "log")
            low, high = axis.get_ylim()
            assert sum(low <= tick <= high for tick in axis.get_yticks()) >= 3


def test_a_narrow_logarithmic_axis_still_has_numbers():
    data = cost(TIMES).query("seq_len == 50")
    data = data.assign(median=[5, 5.1, 5.2, 5.3] * 2, q25=[4.9] * 8, q75=[5.4] * 8)
    axis = figures.time_against_length(data).axes[0]
    low, high = axis.get_ylim()
    assert sum(low <= tick <= high for tick in axis.get_yticks()) >= 3


def test_every_model_keeps_its_look_and_new_ones_get_their_own():
    looks = style.styles(["zeta", "alpha", "sasrec"])
    assert looks["sasrec"] == ("#0072B2", "s")  # as models/sasrec.py says
    assert looks["alpha"] == style.styles(["alpha", "zeta"])["alpha"]
    assert len(set(looks.values())) == len(looks)
    assert (
        len({color for color, _ in looks.values()})
        == len({m for _, m in looks.values()})
        == len(looks)
    )


def test_only_what_ranks_all_items_has_an_oracle_line():
    figure = figures.effectiveness(quality())
    lines = [[line for line in axis.lines if line.get_linestyle() == ":"] for axis in figure.axes]
    assert [len(found) for found in lines] == [1, 0, 1, 0]


@pytest.mark.slow
def test_saved_files_are_undated_and_the_same_every_time(tmp_path):
    for folder in ("one", "two"):
        style.save(figures.effectiveness(quality()), quality(), tmp_path / folder, "quality")
    for file in (tmp_path / "one").iterdir():
        assert file.read_bytes() == (tmp_path / "two" / file.name).read_bytes(), file.name
    assert "<dc:date>" not in (tmp_path / "one/quality.svg").read_text()
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "one/quality.csv"), quality())


def test_the_gap_is_what_excluding_adds_to_the_same_validation():
    keys = {
        "dataset": "d",
        "seq_len": 5,
        "model": "m",
        "metric": "ndcg@10",
        "split": "valid",
        "seed": 0,
    }
    rows = [
        keys | {"targets": targets, "best": targets == 20, "seen_items": seen_items, "value": value}
        for targets, ranked, masked in ((10, 0.1, 0.15), (20, 0.2, 0.25), (30, 0.0, 0.1))
        for seen_items, value in (("kept", ranked), ("excluded", masked))
    ]  # fmt: skip
    rows += [row | {"split": "test", "value": 9.0} for row in rows]
    gap = drawings._gap_data(pd.DataFrame(rows))
    assert list(gap.targets) == [10, 20] and gap.value.tolist() == pytest.approx([0.5, 0.25])
    assert gap.best.tolist() == [False, True]
    assert drawings._gap_data(pd.DataFrame()).empty


def test_a_forest_plot_draws_what_is_open_hollow_and_the_margin():
    rows = [
        {"dataset": d, "seq_len": n, "model": m, "seen_items": k, "metric": "ndcg@10", "share": x, "share_low": x - 0.02,
         "share_high": x + 0.03, "margin": 0.01, "conclusive": settled}
        for d, n, m, x, settled in (("a", 50, "sasrec", 0.1, True), ("a", 50, "gru4rec", -0.01, False), ("a", 100, "sasrec", 0.2, True))
        for k in ("kept", "excluded")
    ]  # fmt: skip
    drawing = figures.differences(pd.DataFrame(rows))
    left, right = drawing.axes
    assert [t.get_text() for t in left.get_yticklabels()] == ["a, L = 100", "a, L = 50"]
    assert left.get_title(loc="left") == "Seen items kept"
    points = [c for c in left.containers if hasattr(c, "lines")]
    at = {round(float(c.lines[0].get_xdata()[0]), 3): c.lines[0] for c in points}
    assert set(at) == {0.1, -0.01, 0.2}
    hollow = {x for x, line in at.items() if line.get_markerfacecolor() == "white"}
    assert hollow == {-0.01}
    assert at[0.1].get_ydata()[0] > at[-0.01].get_ydata()[0] > at[0.2].get_ydata()[0]
    assert left.get_xlim() == right.get_xlim()


def test_a_unit_joins_what_already_stands_in_brackets():
    assert QUANTITIES["peak_allocated_bytes"].label == "Peak allocated (GPU)"
    assert metric_label("peak_allocated_bytes", "GiB") == "Peak allocated (GPU, GiB)"
    assert metric_label("step_s", "ms") == f"{QUANTITIES['step_s'].label} (ms)"
