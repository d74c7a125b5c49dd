"""What is tuned: studies from a configuration, and mistakes in it, one line each."""

from dataclasses import replace

import pytest
from fake_tuning import PAIRS, TUNING

from seqbench.config import load
from seqbench.config.grid import studies
from seqbench.config.model_files import MODELS
from seqbench.core.errors import UserError
from seqbench.core.jobs import Study, Training


def test_a_study_that_is_no_json_is_one_line():
    with pytest.raises(UserError, match="study: not JSON"):
        Study.from_json("{")


def test_a_study_survives_its_json():
    study = Study("a", "b", 5, 2, PAIRS, 1, (("x", 1),), Training(max_steps=7, kernels="torch"))
    assert Study.from_json(study.to_json()) == study
    assert "final" not in study.to_json(), (
        "a study without finals is what it was before there were any"
    )
    study = replace(study, rerun_top_k=2, rerun_seeds=(7, 8, 9))
    assert Study.from_json(study.to_json()) == study and study.trainings == 2 + 2 * 3


def changed(**tuning):
    return {**TUNING, "tune": {**TUNING["tune"], **tuning}}


def test_a_dataset_may_be_searched_otherwise_and_all_of_its_models_alike():
    own = {
        "trials": 2,
        "seed": 3,
        "rerun_top_k": 2,
        "rerun_seeds": [7],
        "training": {"max_steps": 40},
    }
    found = studies(load.validate(changed(by_dataset={"toy": own})), MODELS)
    searches = {
        (s.trials, s.seed, s.rerun_top_k, s.rerun_seeds, s.training.max_steps) for s in found
    }
    assert searches == {(2, 3, 2, (7,), 40)}
    assert {s.training.eval_every for s in found} == {10}, "the track's"


def test_no_trial_ranks_the_test_split():
    """Not even where the track's curves do."""
    study = Study("a", "b", 5, 2, PAIRS, training=Training(rank_test=True, curve_test=True))
    training = study.training_job({}).training
    assert not training.rank_test and not training.curve_test


def test_every_trained_model_has_a_study_of_equal_size_at_the_longest_history():
    found = studies(load.validate(TUNING), MODELS)
    assert [(s.model, s.seq_len, s.trials) for s in found] == [
        ("sasrec", 20, 5),
        ("mamba4rec", 20, 5),
    ]
    assert {s.training for s in found} == {Training(max_steps=300, eval_every=10)}
    assert [dict(s.space).keys() for s in found] == [{"n_layers"}, {"n_layers", "d_state"}]
    assert [s.start() for s in found] == [{"n_layers": 2}, {"n_layers": 1, "d_state": 32}], (
        "as the files have it"
    )
    assert len({s.path for s in found}) == 2
    found = studies(load.validate(changed(rerun_top_k=2, rerun_seeds=[8, 9])), MODELS)
    assert {(s.rerun_top_k, s.rerun_seeds) for s in found} == {(2, (8, 9))}


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
            {"rerun_top_k": 1},
            "tune.rerun_top_k = 1: one alone always wins; write 0 (no finals), or at least 2",
        ),
        ({"rerun_seeds": []}, "tune.rerun_seeds = []"),
        (
            {"rerun_top_k": 2, "rerun_seeds": [1, 0]},
            "tune.rerun_seeds = 0: is tune.seed, with which they were trained already",
        ),
        ({"trials": 0}, "tune.trials = 0: must be at least 1"),
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
            {"by_dataset": {"toys": {"trials": 2}}},
            "tune.by_dataset = 'toys': unknown; did you mean 'toy'?",
        ),
        (
            {"by_dataset": {"toy": {"rerun_top_k": 1}}},
            "tune.by_dataset.toy.rerun_top_k = 1: one alone always wins",
        ),
    ],
)
def test_a_mistake_is_named_in_one_line(tuning, words):
    with pytest.raises(UserError) as error:
        load.validate(changed(**tuning))
    assert words in str(error.value) and "\n" not in str(error.value)
