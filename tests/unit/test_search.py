"""Tuning with a stand-in for training, whose answer is known; resuming, failures, and what goes into the configuration."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from builders import ENVIRONMENT, HASH
from fake_tuning import PAIRS, data, trainer, value_of

from seqbench.core import records
from seqbench.core.errors import UserError
from seqbench.core.jobs import Study, Training
from seqbench.training import search

STUDY = Study(
    "toy",
    "sasrec",
    50,
    ((6, 1.0),),
    PAIRS,
    seed=3,
    hyperparameters=(("d_model", 32), ("dropout", 0.2), ("n_layers", 2)),
)


@pytest.fixture(autouse=True)
def here(monkeypatch):
    """The machine that made the stand-in's records."""
    monkeypatch.setattr(search, "machines", lambda: {ENVIRONMENT["machine"]})


def run(folder, study=STUDY, log=None, digest=HASH, **changes):
    log = [] if log is None else log
    return search.tune(
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
        and content["best"] == dict.fromkeys(("kept", "excluded"), values.index(max(values)))
        and content["default"] == values[0]
    )
    assert (
        max(values) > values[0] and content["train_s"] == 12.0 and content["targets_seen"] == 6000
    )
    assert json.loads((tmp_path / STUDY.path / "study.json").read_text()) == content


def test_trials_keep_what_the_space_leaves_out_and_never_rank_the_test_split(tmp_path):
    run(tmp_path)
    for number in range(6):
        experiment = records.read_record(tmp_path / STUDY.trial_path(number))["job"]
        assert experiment["hyperparameters"]["d_model"] == 32 and experiment["track"] == "tune"
        assert experiment["training"]["rank_test"] is False
        assert 0.0003 <= experiment["training"]["learning_rate"] <= 0.003


def test_trials_have_the_schedule_of_their_study_and_its_budget(tmp_path):
    training = Training(schedule="linear", warmup_steps=20, max_steps=200, clip_norm=1.0)
    study = replace(STUDY, training=training)
    assert Study.from_json(study.to_json()) == study
    content = run(tmp_path, study)
    assert None not in content["best"].values()
    for number in range(6):
        given = records.read_record(tmp_path / study.trial_path(number))["job"]["training"]
        assert (given["schedule"], given["warmup_steps"], given["max_steps"]) == ("linear", 20, 200)
        assert given["clip_norm"] == 1.0


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
        search.tune(STUDY, data(folder), folder / STUDY.path, 1, None, stopping)
    assert not (folder / STUDY.path / "study.json").exists()
    log = []
    assert run(folder, log=log) == whole
    assert [number for number, _ in log] == [3, 4, 5]


def test_weights_that_an_interrupted_search_left_beside_a_record_go(tmp_path):
    run(tmp_path)
    left = tmp_path / STUDY.trial_path(1) / "weights.safetensors"
    left.write_bytes(b"x")
    log = []
    run(tmp_path, log=log)
    assert log == [] and not left.exists()


def test_trials_of_other_data_are_made_again(tmp_path):
    run(tmp_path)
    log = []
    run(tmp_path, log=log, digest="other")
    assert len(log) == 6


def test_a_study_goes_on_elsewhere_with_what_came_to_its_end(tmp_path, monkeypatch):
    """What another machine had no memory for is tried here."""
    run(tmp_path, failing=(1,))
    monkeypatch.setattr(search, "machines", lambda: {"another"})
    log = []
    content = run(tmp_path, log=log, machine="another")
    assert log[0][0] == 1 and content["trials"][1]["value"] is not None
    log = []
    assert run(tmp_path, log=log, machine="another") == content and log == []


# --- rungs ------


HALVING = replace(
    STUDY, rungs=((16, 0.125), (6, 0.25), (3, 0.5), (2, 1.0)), rerun_seeds=(4,),
    training=Training(schedule="linear", warmup_steps=500, max_steps=8000),
)  # fmt: skip


def test_a_search_costs_nine_full_trainings_at_most(tmp_path):
    assert HALVING.full_trainings == 16 / 8 + 6 / 4 + 3 / 2 + 2 * 2 == 9
    log = []
    content = run(tmp_path, HALVING, log=log, limit=900.0)
    assert len(content["trials"]) == HALVING.trainings == len(log) == 16 + 6 + 3 + 4
    jobs = [records.read_record(tmp_path / HALVING.trial_path(n))["job"] for n in range(29)]
    assert sum(job["training"]["max_steps"] for job in jobs) == 9 * 8000
    assert sum(limit for _, limit in log) == pytest.approx(900)
    budgets = [(j["training"]["max_steps"], j["training"]["warmup_steps"], j["seed"]) for j in jobs]
    assert budgets == [(1000, 250, 3)] * 16 + [(2000, 500, 3)] * 6 + [(4000, 500, 3)] * 3 + [(8000, 500, 3), (8000, 500, 4)] * 2  # fmt: skip
    assert {job["training"]["schedule"] for job in jobs} == {"linear"}
    log = []
    assert run(tmp_path, HALVING, log=log, limit=900.0) == content and log == []


def test_the_best_of_a_rung_go_on_and_the_winner_is_the_best_of_the_last(tmp_path):
    content = run(tmp_path, HALVING)
    trials = content["trials"]
    order = sorted(trials[:16], key=lambda t: -t["value"])
    assert [t["repeats"] for t in trials[16:22]] == [t["number"] for t in order[:6]]
    assert [t["repeats"] for t in trials[22:25]] == [t["number"] for t in order[:3]]
    assert content["last"] == [25, 26, 27, 28]
    assert set(content["best"].values()) == {order[0]["number"]}
    assert content["median"] == np.median([t["value"] for t in trials[:16]])


def opposed(experiment):
    """With seen items excluded the order is the other way round."""
    return 0.5 - value_of(experiment)


def test_each_treatment_of_seen_items_has_its_winner_from_the_same_trials(tmp_path):
    content = run(tmp_path, HALVING, excluded=opposed)
    first = content["trials"][:16]
    best, worst = (pick(first, key=lambda t: t["value"])["number"] for pick in (max, min))
    assert content["best"] == {"kept": best, "excluded": worst}
    assert {t["repeats"] for t in content["trials"][25:]} == {best, worst}
    for seen, number in content["best"].items():
        found = search.settings(content, seen)
        assert found["tuning"]["trial"] == number and found["tuning"]["seen_items"] == seen


def test_a_seed_that_did_not_learn_is_reported_and_disqualifies(tmp_path):
    plain = run(tmp_path / "plain", HALVING)
    lost = plain["trials"][plain["best"]["kept"]]["chosen"]

    def value(experiment):
        hyper = dict(experiment.hyperparameters)
        same = all(hyper.get(k, experiment.training.learning_rate) == v for k, v in lost.items())
        return 0.01 if same and experiment.seed == 4 else value_of(experiment)

    content = run(tmp_path, HALVING, value=value)
    assert [content["trials"][n]["seed"] for n in content["collapsed"]] == [4]
    assert content["best"]["kept"] == content["trials"][27]["repeats"] != plain["best"]["kept"]
    assert search.settings(content, "kept")["tuning"]["collapsed"] == 1


def test_settings_that_collapse_with_every_seed_do_not_win(tmp_path):
    """Beside what they reached with a smaller budget."""

    def value(experiment):
        short = experiment.training.max_steps < 8000
        return value_of(experiment) if short else 0.01

    content = run(tmp_path, HALVING, value=value)
    assert content["collapsed"] == [25, 26, 27, 28]
    assert None not in content["best"].values(), "the best of all trials, as nobody is left"


# --- finals --------------------------------------------------------------------------------------------------------------

FINALS = replace(STUDY, rungs=((6, 1.0), (2, 1.0)), rerun_seeds=(4, 5))


def lucky(best):
    """Values as ``value_of`` with the study's seed; with others the settings whose value is ``best`` do not train."""

    def value(experiment):
        found = value_of(experiment)
        if experiment.seed == STUDY.seed:
            return found
        return 0.001 * experiment.seed if found == best else found - 0.001

    return value


def test_the_best_mean_over_seeds_wins_the_finals(tmp_path):
    plain = run(tmp_path / "plain")
    order = sorted(plain["trials"], key=lambda t: -t["value"])
    content = run(tmp_path, FINALS, value=lucky(order[0]["value"]))
    assert content["trials"][:6] == plain["trials"], "the search itself is the same"
    first, second = order[0]["number"], order[1]["number"]
    again = content["trials"][6:]
    assert [(t["number"], t["repeats"], t["seed"]) for t in again] == [
        (6, first, 4), (7, first, 5), (8, second, 4), (9, second, 5),
    ]  # fmt: skip
    assert content["best"]["kept"] == second and plain["best"]["kept"] == first
    assert content["median"] == plain["median"], "of the search"
    assert content["train_s"] == 20.0, "all that was spent"
    for trial in again:
        job = records.read_record(tmp_path / FINALS.trial_path(trial["number"]))["job"]
        assert job["seed"] == trial["seed"] and job["training"]["rank_test"] is False
        repeated = records.read_record(tmp_path / FINALS.trial_path(trial["repeats"]))["job"]
        assert {**job, "seed": 3} == repeated


def test_settings_say_how_the_finals_went(tmp_path):
    plain = run(tmp_path / "plain")
    content = run(tmp_path, FINALS, value=lucky(max(t["value"] for t in plain["trials"])))
    tuning = search.settings(content, "kept")["tuning"]
    assert (tuning["trials"], tuning["rungs"], tuning["rerun_seeds"]) == (
        6,
        [[6, 1.0], [2, 1.0]],
        [4, 5],
    )
    assert tuning["seed"] == 3
    first, second = tuning["finals"]
    assert first["trial"] == plain["best"]["kept"] and first["values"][1:] == [0.004, 0.005]
    assert second["trial"] == tuning["trial"] == content["best"]["kept"]
    assert second["values"] == pytest.approx([tuning["best"]] + [tuning["best"] - 0.001] * 2)
    assert search.settings(plain, "kept")["tuning"]["finals"] == []


def test_who_does_not_come_to_its_end_with_each_seed_loses_the_finals(tmp_path):
    content = run(tmp_path / "a", FINALS, failing=(7,))
    first = content["trials"][6]["repeats"]
    assert content["best"]["kept"] == content["trials"][8]["repeats"] != first
    content = run(tmp_path / "b", FINALS, failing=(7, 9))
    assert content["best"]["kept"] == first, "nobody is left: as without finals"


def test_finals_of_fewer_trials_than_finalists(tmp_path):
    content = run(tmp_path, replace(FINALS, rungs=((3, 1.0), (3, 1.0))), failing=(1, 2))
    assert [t.get("repeats") for t in content["trials"]] == [None, None, None, 0, 0]
    assert content["best"]["kept"] == 0


def test_settings_that_were_proposed_twice_are_one_finalist(tmp_path):
    small = replace(FINALS, space=(("n_layers", (("choices", (1, 2)),)),))
    content = run(tmp_path, small)
    repeated = [content["trials"][t["repeats"]] for t in content["trials"][6:]]
    assert [t["chosen"] for t in repeated] == [{"n_layers": 1}] * 2 + [{"n_layers": 2}] * 2


def test_interrupted_finals_go_on(tmp_path):
    log = []
    whole = run(tmp_path, FINALS, log=log, limit=100.0)
    assert {limit for _, limit in log} == {10.0}, "of ten trainings each has its share"
    shutil.rmtree(tmp_path / FINALS.trial_path(8))
    log = []
    assert run(tmp_path, FINALS, log=log) == whole
    assert [number for number, _ in log] == [8]


def test_progress_says_what_is_trained_again(tmp_path, capsys):
    content = run(tmp_path, FINALS)
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 10
    assert (
        f"trial 7 of 10 (trial {content['best']['kept'] + 1} again, seed 4, 1 of the budget): "
        in said[6]
    )


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
        search.tune(
            replace(STUDY, seed=4), data(tmp_path), tmp_path / STUDY.path, 1, None, stopping
        )
    assert not (tmp_path / STUDY.path / "study.json").exists()


def test_trials_of_other_identity_are_made_again(tmp_path):
    run(tmp_path)
    path = tmp_path / STUDY.trial_path(2) / "record.json"
    content = json.loads(path.read_text())
    content["identity"]["code"] = "other"
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

    monkeypatch.setattr(search, "record_failure", record_failure)
    good = trainer([])

    def train(experiment, dataset, out, threads, limit):
        if out.name == "trial-002":
            raise UserError("d_model 64 is not divisible by n_heads 3")
        return good(experiment, dataset, out, threads, limit)

    content = search.tune(STUDY, data(tmp_path), tmp_path / STUDY.path, 1, None, train)
    assert [t["value"] is None for t in content["trials"]] == [False, False, True, False, False, False]  # fmt: skip
    ((number, end),) = failed
    assert number == 2 and end.status == "crashed"
    assert "dropout = " in end.reason and "not divisible by n_heads 3" in end.reason


def test_a_study_whose_first_trial_is_refused_stops(tmp_path):
    """Those are the settings before tuning: something else is wrong."""

    def train(*_):
        raise UserError("no data")

    with pytest.raises(UserError, match="no data"):
        search.tune(STUDY, data(tmp_path), tmp_path / STUDY.path, 1, None, train)


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
    value = search._suggest(Asked(proposed), "x", rule)
    assert value == expected and type(value) is type(expected)
