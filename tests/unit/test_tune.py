"""Tuning with a stand-in for training, whose answer is known; resuming, failures, and what goes into the configuration."""

import json
from dataclasses import replace

import pytest
from builders import ENVIRONMENT, HASH, N_ITEMS, N_USERS, _code

from seqbench import code, record, tune
from seqbench.errors import UserError
from seqbench.study import Study

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
    monkeypatch.setattr(tune, "machines", lambda: {ENVIRONMENT["machine"]})


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
    monkeypatch.setattr(tune, "machines", lambda: {"another"})
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
