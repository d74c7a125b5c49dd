"""Figures of quality: what is drawn is what was given, texts do not overlap, the page gets small pictures in its own ink."""

import re

import boards
import numpy as np
import pandas as pd
import pytest
from boards import MISSING, baseline, board_row
from builders import ENVIRONMENT, REPORT
from figure_check import assert_no_texts_overlap, lines_of, texts_of
from frames import rung, trainings

from seqbench.analysis.collect import Tables
from seqbench.core.errors import UserError
from seqbench.report import figures, style

MODELS = ("mamba4rec", "sasrec", "bert4rec", "gru4rec")


def tables(**frames):
    """Tables with these frames, the others empty; the leaderboard says who is trained in the condition ml-1m, L = 200."""
    names = ("comparisons", "curves", "effectiveness", "efficiency", "experiments", "probes", "answers")  # fmt: skip
    found = {name: pd.DataFrame() for name in names}
    found["leaderboard"] = pd.DataFrame([board_row(model) for model in MODELS])
    return Tables(found | frames, {}, REPORT | {"environments": [ENVIRONMENT | {"records": 1}]})


def one(drawings):
    (drawing,) = drawings
    return drawing


def board(*rows, answers=()):
    return boards.tables(rows, answers)


def full_view(seed=0):
    """A view of four trained models and three baselines anywhere."""
    rng = np.random.default_rng(seed)
    rows = []
    for model in MODELS:
        ndcg, seconds = rng.uniform(0.02, 0.2), rng.uniform(200, 2000)
        times = {"train_s": seconds, "train_s_low": 0.95 * seconds, "train_s_high": 1.08 * seconds}
        rows.append(board_row(model, ndcg=ndcg, ndcg_low=0.95 * ndcg, ndcg_high=1.05 * ndcg, **times))  # fmt: skip
    return [*rows, *(baseline(model=name, ndcg=ndcg) for name, ndcg in (("popularity", 0.008), ("markov", 0.1), ("itemknn", 0.019)))]  # fmt: skip


# --- quality against cost -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
def test_a_scatter_is_legible_small_and_of_the_page(seed):
    drawing = one(figures.scatter(board(*full_view(seed))))
    assert_no_texts_overlap(drawing.draw())
    picture = style.inline(drawing)
    assert len(picture.encode()) < 10_000
    assert "currentColor" in picture and "#000000" not in picture and "font-family" not in picture
    assert "<style" not in picture and 'role="img"' in picture


def test_labels_stay_at_their_points_at_any_resolution():
    figures_at = {}
    for dpi in (72, 144):
        figure = one(figures.scatter(board(*full_view()))).draw()
        figure.set_dpi(dpi)
        figures_at[dpi] = {text: (box.x0 / dpi, box.y0 / dpi) for text, box in texts_of(figure)}
    for text, place in figures_at[72].items():
        assert figures_at[144][text] == pytest.approx(place, abs=0.03), text


def test_a_scatter_has_the_values_of_its_view():
    rows = [board_row("mamba4rec", train_s=600.0, ndcg=0.2, ndcg_high=0.21), board_row("sasrec", train_s=1200.0, ndcg=0.1), baseline(ndcg=0.05)]  # fmt: skip
    found = figures.scatter(board(*rows, board_row(seen_items="excluded")))
    drawing = one(drawing for drawing in found if drawing.key["seen"] == "kept")
    figure = drawing.draw()
    marks = [(*line.get_xdata(), *line.get_ydata()) for line in figure.axes[0].lines if line.get_marker() in ("o", "s")]  # fmt: skip
    assert marks == [(10.0, 0.2), (20.0, 0.1)]
    assert [line.get_ydata()[0] for line in lines_of(figure, linestyle="--")] == [0.05]
    assert figure.axes[0].get_xlabel() == "core-minutes of training"
    assert list(drawing.data.ndcg) == [0.2, 0.1, 0.05]
    assert drawing.key == {"dataset": "ml-1m", "length": 200, "track": "matched", "seen": "kept", "machine": "test-machine"}  # fmt: skip


def test_warned_models_are_marked_for_more_than_notes():
    warned = board_row("bert4rec", ndcg=0.07, warnings="below_baseline budget")
    figure = one(figures.scatter(board(board_row(warnings="budget"), warned))).draw()
    assert {text for text, _ in texts_of(figure)} >= {"Mamba4Rec", "BERT4Rec (!)"}


@pytest.mark.parametrize("missing", ["ndcg", "train_s"])
def test_a_view_without_quality_or_cost_has_no_scatter(missing):
    assert not list(figures.scatter(board(*(board_row(model, **{missing: MISSING}) for model in MODELS))))  # fmt: skip


def test_a_model_without_time_is_a_line_beside_points():
    figure = one(figures.scatter(board(board_row(), board_row("sasrec", ndcg=0.1, train_s=MISSING)))).draw()  # fmt: skip
    assert [line.get_ydata()[0] for line in lines_of(figure, linestyle="--")] == [0.1]
    assert_no_texts_overlap(figure)


def test_of_the_scatters_the_default_view_alone_has_files():
    rows = [board_row(), board_row(seen_items="excluded"), board_row(machine_name="gpu-box", device_kind="cuda")]  # fmt: skip
    found = figures.scatter(board(*rows, answers=[boards.answer_row()]))
    assert [(d.key["machine"], d.key["seen"]) for d in found if d.files] == [("test-machine", "kept")]  # fmt: skip


# --- where it wins ------------------------------------------------------------------------------------------------------


def comparisons():
    rows = []
    for dataset, seq_len, verdicts in (("ml-1m", 200, "better worse"), ("amazon-video-games", 50, "inconclusive equivalent")):  # fmt: skip
        for model, verdict in zip(("sasrec", "bert4rec"), verdicts.split(), strict=True):
            rows.append({"dataset": dataset, "seq_len": seq_len, "track": "matched", "seen_items": "kept", "metric": "ndcg@10", "model_a": "mamba4rec", "model_b": model, "verdict": verdict,
                         "difference": 0.01, "share": 0.1, "share_low": 0.05, "share_high": 0.15, "margin": 0.001})  # fmt: skip
    return pd.DataFrame([*rows, rows[0] | {"model_b": "markov"}, rows[0] | {"metric": "hr@10"}])


def test_a_forest_fills_what_is_significant():
    own = pd.DataFrame(trainings("mamba4rec", "sasrec", "bert4rec"))
    drawing = one(figures.forest(tables(comparisons=comparisons(), experiments=own)))
    figure = drawing.draw()
    assert_no_texts_overlap(figure)
    assert list(drawing.data.model_b) == ["sasrec", "bert4rec"] * 2
    points = [line for line in figure.axes[0].lines if line.get_marker() in ("s", "^") and list(line.get_xdata()) == [0.1]]  # fmt: skip
    hollow = [line.get_marker() for line in points if line.get_markerfacecolor() == style.PAPER]
    assert len(points) == 4 and hollow == ["s"]


# --- training -----------------------------------------------------------------------------------------------------------


def curves(**changes):
    rows = [
        {"dataset": "ml-1m", "seq_len": 200, "track": "matched", "metric": "ndcg@10", "seen_items": "kept", "split": "valid",
         "model": model, "seed": seed, "step": 100 * k, "value": 0.02 * k + 0.01 * seed, "best": k == 4} | changes
        for model in MODELS for seed in (0, 1) for k in range(1, 6)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def steps(median=2.0, kind="cpu"):
    rows = [{"dataset": "ml-1m", "seq_len": 200, "track": "matched", "phase": "train", "metric": "step_s", "machine_name": "m", "device_kind": kind, "model": model, "median": median} for model in MODELS]  # fmt: skip
    return pd.DataFrame(rows)


def test_learning_curves_stand_over_the_time_of_measured_steps():
    drawing = one(figures.learning(tables(curves=curves(), efficiency=steps())))
    figure = drawing.draw()
    assert_no_texts_overlap(figure)
    assert drawing.data.busy_s.max() == 1000.0
    assert figure.axes[0].get_xlabel() == "core-minutes of training"
    assert len(lines_of(figure, alpha=0.8)) == 8
    assert max(figure.axes[0].lines[0].get_xdata()) == pytest.approx(1000 / 60)


def test_learning_curves_without_a_measured_step_stand_over_updates():
    figure = one(figures.learning(tables(curves=curves()))).draw()
    assert figure.axes[0].get_xlabel() == "updates of training"
    assert max(figure.axes[0].lines[0].get_xdata()) == 500


def test_curves_of_what_is_no_condition_of_the_leaderboard_are_not_drawn():
    assert not list(figures.learning(tables(curves=curves(dataset="ml-1m-ties-0"))))


def test_a_ladder_stands_over_time_or_over_updates():
    rows = pd.DataFrame([rung(model, k, 0.01 * k, dataset="ml-1m", seq_len=200) for model in MODELS for k in (1, 4)])  # fmt: skip
    drawing = one(figures.ladder(tables(ladder=rows)))
    figure = drawing.draw()
    assert_no_texts_overlap(figure)
    assert list(drawing.data.busy_s) == [100.0, 400.0] * 4
    assert figure.axes[0].get_xlabel() == "core-minutes of training"
    bare = one(figures.ladder(tables(ladder=rows.assign(seconds=MISSING, machine_name=MISSING, device_kind=MISSING))))  # fmt: skip
    assert bare.draw().axes[0].get_xlabel() == "updates of training"
    assert not list(figures.ladder(tables(ladder=rows[:0])))


# --- memory and breakdowns ----------------------------------------------------------------------------------------------


def remembered(*lags):
    rows = [{"track": "matched", "dataset": f"demo-{lag}", "seq_len": 32, "lag": lag, "model": model, "share": 0.9 - 0.02 * k * lag, "share_low": 0.8, "share_high": 0.95} for lag in lags for k, model in enumerate((*MODELS, "markov"))]  # fmt: skip
    return pd.DataFrame(rows)


def test_memory_is_drawn_over_lags_and_needs_two():
    figure = one(figures.memory(tables(memory=remembered(3, 5, 8)))).draw()
    assert_no_texts_overlap(figure)
    assert [list(line.get_xdata()) for line in lines_of(figure, marker="o")] == [[3, 5, 8]]
    assert not list(figures.memory(tables(memory=remembered(3))))


def test_breakdowns_have_every_group_in_its_order():
    rows = [
        {"dataset": "ml-1m", "seq_len": 200, "track": "matched", "probe": probe, "group": group, "model": model, "metric": "ndcg@10", "n_seeds": 3,
         "n_users": 1500, "mean": 0.2 - 0.02 * k - 0.03 * g, "ci_low": 0.15 - 0.02 * k - 0.03 * g, "ci_high": 0.25 - 0.02 * k}
        for probe in ("history length", "order of the history")
        for g, group in enumerate(("17 to 42", "43 to 94", "95 to 205")) for k, model in enumerate(MODELS)
    ]  # fmt: skip
    figure = one(figures.breakdown(tables(probes=pd.DataFrame(rows)))).draw()
    assert_no_texts_overlap(figure)
    assert [text.get_text() for text in figure.axes[0].get_xticklabels()] == ["17–42", "43–94", "95–205"]  # fmt: skip


# --- how figures are saved ----------------------------------------------------------------------------------------------


def drawing_of(name, marker="o"):
    def draw():
        axis = style.panel()
        axis.plot([0, 1], [0, 2], marker=marker, color=style.INK, markerfacecolor=style.PAPER)
        return axis.figure

    return style.Drawing(
        name, "more", {}, "Title <&>", "Caption.", draw, pd.DataFrame({"x": [0.1]})
    )


def test_pictures_of_a_page_share_no_identity():
    pictures = [style.inline(drawing_of(name)) for name in ("one", "two")]
    ids = [set(re.findall(r'\bid="([^"]+)"', picture)) for picture in pictures]
    assert ids[0] and not ids[0] & ids[1]
    for picture, own in zip(pictures, ids, strict=True):
        used = {*re.findall(r'href="#([^"]+)"', picture), *re.findall(r"url\(#([^)]+)\)", picture)}
        assert used <= own
    assert "var(--paper,#fff)" in pictures[0] and "&lt;&amp;&gt;" in pictures[0]


def test_a_figure_that_no_process_can_draw_is_refused_by_its_name():
    with pytest.raises(UserError, match=r"figure mine: .*function of a module") as caught:
        style.pictures([drawing_of("mine")])
    assert "\n" not in str(caught.value)


def test_files_embed_their_fonts_and_are_the_same_every_time(tmp_path):
    for folder in ("a", "b"):
        style.save(drawing_of("one"), tmp_path / folder)
    files = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert files == ["one.csv", "one.pdf", "one.png", "one.svg"]
    for name in files:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes(), name
    assert "<text" not in (tmp_path / "a" / "one.svg").read_text()
    assert b"/FontFile2" in (tmp_path / "a" / "one.pdf").read_bytes()


@pytest.mark.parametrize(
    ("heights", "moved"),
    [
        ([100, 50], [100, 50]),
        ([100, 95, 90], [100, 86, 72]),
        ([30, 25, 20], [48, 34, 20]),  # the lowest stays above 20, the others make room
    ],
)
def test_labels_at_the_ends_of_lines_are_spread(heights, moved):
    assert style.spread(heights, 14, 20) == moved


def test_a_model_keeps_its_colour_and_an_unknown_one_gets_a_spare():
    assert style.looks(["sasrec", "new"])["sasrec"] == style.looks(["sasrec"])["sasrec"]
    spare = style.looks(["one", "two"])
    assert spare["one"] != spare["two"]
