"""Tuning with a stand-in for training, whose answer is known; resuming, failures, and what goes into the configuration."""

import json
from dataclasses import replace

import pytest
from builders import ENVIRONMENT, HASH, N_ITEMS, N_USERS, _code

from seqbench import code, config, record, tune
from seqbench.errors import UserError
from seqbench.experiment import Training
from seqbench.modelfile import MODELS
from seqbench.study import Study, studies

SPACE = {
    "n_layers": {"choices": (1, 2)},
    "dropout": {"low": 0.1, "high": 0.5, "step": 0.1},
    "learning_rate": {"low": 0.0003, "high": 0.003, "log": True},
}
PAIRS = tuple(sorted((name, tuple(sorted(rule.items()))) for name, rule in SPACE.items()))
STUDY = Study(
    "toy",
    "sasrec",
    50,
    6,
    PAIRS,
    seed=3,
    hyperparameters=(("d_model", 32), ("dropout", 0.2), ("n_layers", 2)),
)


def value_of(experiment):
    """Best at one block, dropout .4 and a large step."""
    hyper = dict(experiment.hyperparameters)
    return (
        0.1
        - 0.02 * hyper["n_layers"]
        - 0.1 * abs(hyper["dropout"] - 0.4)
        + 5 * experiment.training.learning_rate
    )


def trainer(log, failing=()):
    """A training that writes its record at once; numbers in ``failing`` run out of memory."""

    def train(experiment, dataset, out, threads, limit):
        number = int(out.name.removeprefix("trial-"))
        log.append((number, limit))
        ok = number not in failing
        point = {m: {"ndcg@10": value_of(experiment)} for m in ("unmasked", "seen-masked")}
        values = {
            "parameters": 100, "steps": 50, "best_step": 40, "stopped": "patience", "targets_seen": 1000,
            "train_s": 2.0, "curve": [{"step": 1, "valid": {m: {"ndcg@10": 0.0} for m in point}}, {"step": 2, "valid": point}],
        }  # fmt: skip
        known = {"n_users": N_USERS, "n_items": N_ITEMS, "n_interactions": 12000}
        record.write_record(
            out, kind="train", status="ok" if ok else "oom", reason=None if ok else "too large",
            experiment=experiment.to_dict(), values=values if ok else {}, environment=ENVIRONMENT,
            data={"name": "toy", "hash": HASH, **known, "stand_in": None},
            code={**_code(), "hash": code.identity(code.training_sources(experiment.model))["hash"]},
        )  # fmt: skip
        return "ok" if ok else "oom"

    return train


@pytest.fixture(autouse=True)
def here(monkeypatch):
    """The machine that made the stand-in's records."""
    monkeypatch.setattr(tune, "machine", lambda: ENVIRONMENT["machine"])


def data(folder, digest=HASH):
    """A prepared dataset as far as tuning reads one."""
    (folder / "data").mkdir(parents=True, exist_ok=True)
    (folder / "data" / "dataset.json").write_text(json.dumps({"hash": digest}))
    return folder / "data"


def run(folder, study=STUDY, log=None, digest=HASH, **changes):
    log = [] if log is None else log
    return tune.tune(
        study,
        data(folder, digest),
        folder / study.path,
        1,
        changes.pop("limit", None),
        trainer(log, **changes),
    )


def test_the_first_trial_is_what_is_run_untuned_and_the_best_is_found(tmp_path):
    content = run(tmp_path)
    assert content["trials"][0]["chosen"] == {"n_layers": 2, "dropout": 0.2, "learning_rate": 0.001}
    values = [t["value"] for t in content["trials"]]
    assert (
        len(values) == 6
        and content["best"] == values.index(max(values))
        and content["default"] == values[0]
    )
    assert (
        max(values) > values[0] and content["train_s"] == 12.0 and content["targets_seen"] == 6000
    )
    assert json.loads((tmp_path / STUDY.path / "study.json").read_text()) == content


def test_trials_keep_what_the_space_leaves_out_and_never_rank_the_test_split(tmp_path):
    run(tmp_path)
    for number in range(6):
        experiment = record.read_record(tmp_path / STUDY.trial_path(number))["experiment"]
        assert experiment["hyperparameters"]["d_model"] == 32 and experiment["track"] == "tune"
        assert experiment["training"]["rank_test"] is False
        assert 0.0003 <= experiment["training"]["learning_rate"] <= 0.003


def test_an_interrupted_study_goes_on_with_the_trials_that_are_there(tmp_path):
    whole = run(tmp_path / "whole")

    class Stopped(Exception):
        pass

    def stopping(experiment, dataset, out, threads, limit):
        if out.name == "trial-003":
            raise Stopped
        return trainer([])(experiment, dataset, out, threads, limit)

    folder = tmp_path / "parts"
    with pytest.raises(Stopped):
        tune.tune(STUDY, data(folder), folder / STUDY.path, 1, None, stopping)
    assert not (folder / STUDY.path / "study.json").exists()
    log = []
    assert run(folder, log=log) == whole
    assert [number for number, _ in log] == [3, 4, 5]


def test_trials_of_other_data_or_of_another_machine_are_made_again(tmp_path, monkeypatch):
    run(tmp_path)
    log = []
    run(tmp_path, log=log, digest="other")
    assert len(log) == 6
    monkeypatch.setattr(tune, "machine", lambda: "another")
    log = []
    run(tmp_path, log=log)
    assert len(log) == 6


def test_a_trial_that_cannot_be_read_is_made_again(tmp_path):
    run(tmp_path)
    (tmp_path / STUDY.trial_path(3) / "record.json").write_text('{"cut":')
    log = []
    run(tmp_path, log=log)
    assert [number for number, _ in log] == [3]


def test_until_a_search_ends_there_is_no_winner_of_an_earlier_one(tmp_path):
    run(tmp_path)

    def stopping(*_):
        raise RuntimeError

    with pytest.raises(RuntimeError):
        tune.tune(replace(STUDY, seed=4), data(tmp_path), tmp_path / STUDY.path, 1, None, stopping)
    assert not (tmp_path / STUDY.path / "study.json").exists()


def test_trials_of_other_code_are_made_again(tmp_path):
    run(tmp_path)
    path = tmp_path / STUDY.trial_path(2) / "record.json"
    content = json.loads(path.read_text())
    content["code"]["hash"] = "other"
    path.write_text(json.dumps(content))
    log = []
    run(tmp_path, log=log)
    assert [number for number, _ in log] == [2]


def test_a_failed_trial_counts_and_the_time_is_shared(tmp_path):
    log = []
    content = run(tmp_path, failing=(1, 2), limit=60.0, log=log)
    assert [t["value"] is None for t in content["trials"]] == [
        False,
        True,
        True,
        False,
        False,
        False,
    ]
    assert content["trials"][1]["status"] == "oom" and {limit for _, limit in log} == {10.0}


def test_values_that_a_model_refuses_cost_a_trial_and_not_the_study(tmp_path, monkeypatch):
    failed = []

    def record_failure(experiment, dataset, out, threads, end):
        failed.append((int(out.name.removeprefix("trial-")), end))
        trainer([], failing=(failed[-1][0],))(experiment, dataset, out, threads, None)

    monkeypatch.setattr(tune, "record_failure", record_failure)
    good = trainer([])

    def train(experiment, dataset, out, threads, limit):
        if out.name == "trial-002":
            raise UserError("d_model 64 is not divisible by n_heads 3")
        return good(experiment, dataset, out, threads, limit)

    content = tune.tune(STUDY, data(tmp_path), tmp_path / STUDY.path, 1, None, train)
    assert [t["value"] is None for t in content["trials"]] == [False, False, True, False, False, False]  # fmt: skip
    ((number, end),) = failed
    assert number == 2 and end.status == "crashed"
    assert "dropout = " in end.reason and "not divisible by n_heads 3" in end.reason


def test_a_study_whose_first_trial_is_refused_stops(tmp_path):
    """Those are the settings before tuning: something else is wrong."""

    def train(*_):
        raise UserError("no data")

    with pytest.raises(UserError, match="no data"):
        tune.tune(STUDY, data(tmp_path), tmp_path / STUDY.path, 1, None, train)


class Asked:
    """Stands in for Optuna's trial: the value that it was told to propose."""

    def __init__(self, value):
        self.value = value

    def suggest_int(self, *_, **__):
        return int(self.value)

    def suggest_float(self, *_, **__):
        return self.value


@pytest.mark.parametrize(
    ("rule", "proposed", "expected"),
    [
        ({"low": 1, "high": 4}, 3, 3),
        ({"low": 0, "high": 1, "step": 0.1}, 0.30000000000000004, 0.3),
        ({"low": 0.0003, "high": 0.003, "log": True}, 0.00072512345, 0.000725),
        ({"low": 1e-8, "high": 1e-4, "log": True}, 4.951234e-07, 4.95e-07),
        ({"low": 0.0, "high": 1.0}, 0.0, 0.0),
    ],
)
def test_a_proposed_number_keeps_three_digits_at_least(rule, proposed, expected):
    value = tune._suggest(Asked(proposed), "x", rule)
    assert value == expected and type(value) is type(expected)


def test_a_study_that_is_no_json_is_one_line():
    with pytest.raises(UserError, match="study: not JSON"):
        Study.from_json("{")


def test_a_study_survives_its_json():
    study = Study("a", "b", 5, 2, PAIRS, 1, (("x", 1),), Training(max_steps=7, kernels="torch"))
    assert Study.from_json(study.to_json()) == study


# --- configuration ------------------------------------------------------------------------------------------------

TUNING = {
    "datasets": {"toy": {"source": "synthetic", "k_core": 1, "seq_lens": [10, 20]}},
    "tracks": {"matched": {"hyperparameters": {"d_model": 32}, "training": {"max_steps": 900, "eval_every": 10}}},
    "run": {"datasets": ["toy"], "tracks": ["matched"], "models": ["sasrec", "mamba4rec", "popularity"], "seeds": [0]},
    "tune": {
        "datasets": ["toy"], "trials": 5, "training": {"max_steps": 300}, "space": {"n_layers": {"choices": [1, 2]}},
        "spaces": {"mamba4rec": {"d_state": {"choices": [16, 32]}}},
    },
}  # fmt: skip


def changed(**tuning):
    return {**TUNING, "tune": {**TUNING["tune"], **tuning}}


def test_every_trained_model_has_a_study_of_equal_size_at_the_longest_history():
    found = studies(config.validate(TUNING), MODELS)
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


@pytest.mark.parametrize(
    ("tuning", "words"),
    [
        ({"datasets": ["toys"]}, "tune.datasets = 'toys': unknown; did you mean 'toy'?"),
        ({"track": "fair"}, "tune.track = 'fair': unknown"),
        ({"models": ["popularity"]}, "tune.models = 'popularity': unknown"),
        (
            {"space": {"n_layer": {"choices": [1]}}},
            "tune.space.n_layer = 1: sasrec has no such hyper-parameter",
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
    ],
)
def test_a_mistake_is_named_in_one_line(tuning, words):
    with pytest.raises(UserError) as error:
        config.validate(changed(**tuning))
    assert words in str(error.value) and "\n" not in str(error.value)
