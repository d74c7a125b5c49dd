"""The model that the question is about is configuration: any model, without Mamba4Rec, beside any number of others."""

import pytest
from builders import REPORT, curves_of, grid, measurement, training, write_grid

from seqbench.analysis import collect
from seqbench.config.grid import report
from seqbench.report import answer, page

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
    tables = tables_of(tmp_path, models, focal)
    others = set(models) - {focal}
    pairs = tables.frames["comparisons"]
    own = pairs[(pairs.model_a == focal) | (pairs.model_b == focal)]
    assert set(own.model_a) == {focal} and others <= set(own.model_b)
    cost = tables.frames["cost_ratios"]
    assert set(cost.comparator) == others
    medians = tables.frames["efficiency"]
    steps = medians[(medians.metric == "step_s") & (medians.dataset == "toy")].set_index("model")["median"]  # fmt: skip
    row = cost[(cost.metric == "step_s") & (cost.source == "dataset")].iloc[0]
    assert row.ratio == steps[focal] / steps[row.comparator]
    assert set(tables.frames["answers"].focal) == {focal}


def test_tables_stand_in_the_order_of_the_configuration_with_the_focal_model_first(tmp_path):
    tables = tables_of(tmp_path, FIVE, "narm", order=("caser", "sasrec", "narm", "gru4rec"))
    assert tables.ordered([*FIVE, "aaa"]) == ["narm", "caser", "sasrec", "gru4rec", "aaa", "bert4rec"]  # fmt: skip


def test_a_focal_model_that_was_not_run_leaves_nothing_to_compare(tmp_path, monkeypatch):
    tables = tables_of(tmp_path, ("sasrec", "gru4rec"), "mamba4rec")
    monkeypatch.setattr(page.figures, "drawn", lambda _: [])
    assert tables.frames["cost_ratios"].empty
    assert {v.variant for v in answer.verdicts(tables)} == {"unmeasured"}
    assert page.render(tables, tmp_path / "out").stat().st_size > 10_000


def test_a_page_without_mamba4rec_asks_about_the_focal_model(tmp_path):
    tables = tables_of(tmp_path, FIVE, "sasrec")
    assert answer.question(tables) == "Is SASRec better than GRU4Rec, BERT4Rec, narm and caser in quality and cost?"  # fmt: skip
    said = [a.text for a in (*answer.verdicts(tables), *answer.sentences(tables))]
    assert said and not any("Mamba4Rec" in text for text in said)


def test_the_grid_hands_on_what_reports_read():
    config = {
        "run": {"models": ["b", "a"], "datasets": ["x"]},
        "measure": {"models": ["c", "a"]},
        "report": {"margin": 0.01, "focal_model": "a"},
    }
    assert report(config) == {"margin": 0.01, "focal_model": "a", "models": ["b", "a", "c"], "datasets": ["x"], "ladder": {}}  # fmt: skip
