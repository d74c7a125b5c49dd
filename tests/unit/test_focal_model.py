"""The model that the question is about is configuration: any model, without Mamba4Rec, beside any number of others."""

import pytest
from builders import REPORT, curves_of, grid, measurement, training, write_grid

from seqbench.analysis import collect
from seqbench.config.grid import report
from seqbench.report import page

FIVE = ("sasrec", "gru4rec", "bert4rec", "narm", "caser")  # the last two have no file


def tables_of(results, models, focal, order=None):
    trainings = [training(model=m, seed=s) for m in models for s in range(3)]
    curves = [
        job | {"models": [{"model": m, "hyperparameters": {"d_model": 64}} for m in models],
               "records": [f"{job['records'][0].rpartition('/')[0]}/{m}" for m in models]}
        for job in curves_of() if job["curve"] == "length-at-constant-batch"
    ]  # fmt: skip
    wanted = grid([training(model="popularity"), *trainings], [measurement(models=models), *curves])
    wanted["report"] = REPORT | {"focal_model": focal, "models": list(order or models)}
    path = write_grid(results, wanted)
    collect.collect(path, results, results / "tables")
    return collect.read(results / "tables")


@pytest.mark.parametrize(
    ("models", "focal"), [(("mamba4rec", "sasrec", "gru4rec"), "sasrec"), (FIVE, "gru4rec")]
)
def test_every_other_trained_model_is_held_against_it(tmp_path, models, focal):
    frames = tables_of(tmp_path, models, focal).frames
    others = set(models) - {focal}
    quality = frames["comparisons"][frames["comparisons"].model_a == focal]
    assert set(quality.model_b) == {*others, "popularity"}
    assert focal not in set(frames["comparisons"].model_b)
    cost, medians = frames["cost_ratios"], frames["efficiency"]
    assert set(cost.comparator) == others
    row = cost[(cost.metric == "step_s") & (cost.source == "dataset")].iloc[0]
    step = medians[(medians.dataset == "toy") & (medians.metric == "step_s")]
    step = step.set_index("model")["median"]
    assert row.ratio == pytest.approx(step[focal] / step[row.comparator])
    crossings = frames["crossovers"]
    held = crossings[(crossings.model_a == focal) | (crossings.model_b == focal)]
    assert len(held) and set(held.model_a) == {focal}
    assert set(frames["answers"].focal) == {focal}
    assert set(frames["leaderboard"].query("focal").model) == {focal}


def test_tables_stand_in_the_order_of_the_configuration_with_the_focal_model_first(tmp_path):
    tables = tables_of(tmp_path, FIVE, "narm", order=("caser", "sasrec", "narm", "gru4rec"))
    order = ["narm", "caser", "sasrec", "gru4rec", "bert4rec", "popularity"]
    assert tables.ordered([*FIVE, "popularity"]) == order
    assert list(dict.fromkeys(tables.frames["leaderboard"].model)) == order


def test_a_focal_model_that_was_not_run_leaves_nothing_to_compare(tmp_path):
    tables = tables_of(tmp_path, ("sasrec", "gru4rec"), "mamba4rec")
    assert "mamba4rec" not in set(tables.frames["comparisons"].model_a)
    assert tables.frames["cost_ratios"].empty
    answers = tables.frames["answers"].set_index("place").variant.drop("caution")
    assert set(answers) == {"unmeasured"}
    assert page.render(tables, tmp_path / "out").stat().st_size > 10_000


def test_the_grid_hands_on_what_reports_read():
    config = {
        "run": {"models": ["b", "a"], "datasets": ["d"]},
        "measure": {"models": ["c", "a"]},
        "report": {"margin": 0.01, "focal_model": "a"},
    }
    asked = {"margin": 0.01, "focal_model": "a", "models": ["b", "a", "c"], "datasets": ["d"]}
    assert report(config) == asked
