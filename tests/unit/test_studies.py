"""What is tuned: studies from a configuration, and mistakes in it, one line each."""

from dataclasses import replace

import pytest
from fake_tuning import PAIRS, TUNING

from seqbench.config import load
from seqbench.config.grid import studies
from seqbench.config.model_files import MODELS, model_config_fields
from seqbench.core.errors import UserError
from seqbench.core.jobs import TRAINING_KEYS, Study, Training


def test_a_study_that_is_no_json_is_one_line():
    with pytest.raises(UserError, match="study: not JSON"):
        Study.from_json("{")


@pytest.mark.parametrize("rung", [2, [2], [2, 1.5], [0, 1.0]])
def test_a_rung_that_is_none_is_one_line(rung):
    text = Study("a", "b", 5, ((2, 1.0),), PAIRS).to_json().replace("[2,1.0]", str(rung))
    with pytest.raises(UserError, match="study: rungs = "):
        Study.from_json(text)


def test_a_study_survives_its_json():
    study = Study(
        "a", "b", 5, ((2, 1.0),), PAIRS, 1, (("x", 1),), Training(max_steps=7, kernels="torch")
    )
    assert Study.from_json(study.to_json()) == study
    study = replace(study, rungs=((2, 1.0), (2, 1.0)), rerun_seeds=(7, 8, 9))
    assert Study.from_json(study.to_json()) == study and study.trainings == 2 + 2 * 3
    older = replace(study, training=Training(step_counts="targets"))
    assert Study.from_json(older.to_json()) == older


TWO = [{"settings": 5, "share": 1}, {"settings": 2, "share": 1}]


def changed(**tuning):
    return {**TUNING, "tune": {**TUNING["tune"], **tuning}}


def test_a_dataset_may_be_searched_otherwise_and_all_of_its_models_alike():
    own = {
        "rungs": [{"settings": 2, "share": 0.5}, {"settings": 2, "share": 1}],
        "seed": 3,
        "rerun_seeds": [7],
        "training": {"max_steps": 40},
    }
    found = studies(load.validate(changed(by_dataset={"toy": own})), MODELS)
    searches = {(s.rungs, s.seed, s.rerun_seeds, s.training.max_steps) for s in found}
    assert searches == {(((2, 0.5), (2, 1)), 3, (7,), 40)}
    assert {s.training.eval_every for s in found} == {10}, "the track's"


def test_no_trial_ranks_the_test_split():
    """Not even where the track's curves do."""
    study = Study(
        "a", "b", 5, ((2, 1.0),), PAIRS, training=Training(rank_test=True, curve_test=True)
    )
    training = study.training_job({}).training
    assert not training.rank_test and not training.curve_test


def test_every_trained_model_has_a_study_of_equal_size_at_the_longest_history():
    found = studies(load.validate(TUNING), MODELS)
    assert [(s.model, s.seq_len, s.rungs) for s in found] == [
        ("sasrec", 20, ((5, 1),)),
        ("mamba4rec", 20, ((5, 1),)),
    ]
    assert {s.training for s in found} == {Training(max_steps=300, eval_every=10)}
    assert [dict(s.space).keys() for s in found] == [{"n_layers"}, {"n_layers", "d_state"}]
    assert [s.start() for s in found] == [{"n_layers": 2}, {"n_layers": 1, "d_state": 32}], (
        "as the files have it"
    )
    assert len({s.path for s in found}) == 2
    found = studies(load.validate(changed(rungs=TWO, rerun_seeds=[8, 9])), MODELS)
    assert {s.rerun_seeds for s in found} == {(8, 9)}


def test_the_shipped_search_costs_nine_full_trainings():
    found = studies(load.load(), MODELS)
    assert found and {study.full_trainings for study in found} == {9.0}
    for study in found:  # a general knob is in the space of every model that has it
        fields = model_config_fields(MODELS / f"{study.model}.py")
        shared = {
            name for name in load.load()["tune"]["space"] if name in (*fields, *TRAINING_KEYS)
        }
        assert shared <= {*dict(study.space)}


@pytest.mark.parametrize(
    ("tuning", "words"),
    [
        ({"datasets": ["toys"]}, "tune.datasets = 'toys': unknown; did you mean 'toy'?"),
        ({"track": "fair"}, "tune.track = 'fair': unknown"),
        ({"models": ["popularity"]}, "tune.models = 'popularity': unknown"),
        (
            {"space": {"n_layer": {"choices": [1]}}},
            "tune.space.n_layer = {'choices': [1]}: no model has such a hyper-parameter",
        ),
        (
            {"space": {"dropout": {"low": "a", "high": 1}}},
            "tune.space.dropout.low = 'a': must be a number",
        ),
        ({"space": {"dropout": {"low": 0.1}}}, "tune.space.dropout"),
        (
            {"spaces": {"mamba4rec": {"d_state": {"choices": ["x"]}}}},
            "tune.spaces.mamba4rec.d_state = 'x'",
        ),
        (
            {"rungs": [{"settings": 5, "share": 0.5}, {"settings": 1, "share": 1}]},
            "tune.rungs: the last one has settings = 1: one alone always wins; leave it out, or write at least 2",
        ),
        (
            {"rungs": [{"settings": 5, "share": 0.5}]},
            "tune.rungs: the last one has share = 0.5; it must train for the whole budget, 1",
        ),
        (
            {"rungs": [{"settings": 2, "share": 0.5}, {"settings": 5, "share": 1}]},
            "a rung has no more settings and no smaller share of the budget",
        ),
        (
            {"space": {"clip_norm": {"choices": [None, 0]}}},
            "tune.space.clip_norm = 0: must be greater than 0",
        ),
        ({"rerun_seeds": []}, "tune.rerun_seeds = []"),
        (
            {"rungs": TWO, "rerun_seeds": [1, 0]},
            "tune.rerun_seeds = 0: is tune.seed, with which they are trained already",
        ),
        (
            {"rungs": [{"settings": 0, "share": 1}]},
            "tune.rungs[0].settings = 0: must be at least 1",
        ),
        ({"trials": 5}, "tune.trials: renamed to tune.rungs"),
        (
            {"space": {"learning_rate": {"choices": ["1e-3", 0.001]}}},
            "tune.space.learning_rate = '1e-3': must be a number; YAML reads 1e-3 as text: write 1.0e-3",
        ),
        (
            {"space": {"learning_rate": {"low": 0.0, "high": 1.0}}},
            "tune.space.learning_rate = 0.0: must be greater than 0",
        ),
        (
            {"space": {"weight_decay": {"choices": [-0.1]}}},
            "tune.space.weight_decay = -0.1: must be at least 0",
        ),
        (
            {"space": {"n_layers": {"low": 1, "high": 4, "step": 0.5}}},
            "tune.space.n_layers.step = 0.5: sasrec takes int",
        ),
        (
            {"space": {"dropout": {"low": 0.5, "high": 0.1}}},
            "tune.space.dropout.low = 0.5: must not be above high = 0.1",
        ),
        (
            {"space": {"dropout": {"low": 0.0, "high": 0.5, "log": True}}},
            "tune.space.dropout.low = 0.0: log needs a low above 0",
        ),
        (
            {
                "spaces": {
                    "sasrec": {"dropout": {"low": 0.1, "high": 0.5, "log": True, "step": 0.1}}
                }
            },
            "tune.spaces.sasrec.dropout.step = 0.1: log takes no step",
        ),
        (
            {"by_dataset": {"toys": {"seed": 2}}},
            "tune.by_dataset = 'toys': unknown; did you mean 'toy'?",
        ),
        (
            {"by_dataset": {"toy": {"rungs": [{"settings": 5, "share": 0.1}]}}},
            "tune.by_dataset.toy.rungs: the last one has share = 0.1",
        ),
    ],
)
def test_a_mistake_is_named_in_one_line(tuning, words):
    with pytest.raises(UserError) as error:
        load.validate(changed(**tuning))
    assert words in str(error.value) and "\n" not in str(error.value)
