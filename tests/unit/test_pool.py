"""The pool: one training of every experiment, whoever made it."""

import json
from dataclasses import replace

import pytest
from builders import ENVIRONMENT, HASH, measurement, training, write_measurement, write_training

from seqbench import collect, pool
from seqbench.experiment import Experiment
from seqbench.tidy import Entry

OTHER = {"machine": "f" * 12, "machine_name": "other"}
DATA = {"toy": {"hash": HASH}}


@pytest.fixture
def made(tmp_path):
    def make(name, *entries, **changes):
        """Records of one machine, read back."""
        environment = ENVIRONMENT | {"machine": name, "machine_name": name}
        for entry in entries:
            write_training(tmp_path / name, entry, environment=environment, **changes)
        return collect.published(tmp_path / name)

    return make


def said(found):
    """Model, seed and machine of every training."""
    return {
        (e.experiment["track"], e.experiment["model"], e.experiment["seed"], pool.machine(e))
        for e in found.entries
    }


def test_the_machine_with_most_trainings_of_a_place_comes_first_and_others_fill_it(made):
    many = made("many", *(training(seed=s) for s in (0, 1)), training(model="gru4rec"))
    few = made("few", *(training(seed=s) for s in (1, 2)))
    found = pool.pool({"few": few, "many": many}, {"few": DATA, "many": DATA})
    places = {("sasrec", 0, "many"), ("sasrec", 1, "many"), ("sasrec", 2, "few"), ("gru4rec", 0, "many")}  # fmt: skip
    assert said(found) == {("matched", *p) for p in places}
    assert [(pool.machine(a), pool.machine(b)) for a, b in found.repeats] == [("few", "many")]


def test_of_equally_many_the_preferred_machine_comes_first(made):
    one, two = made("one", training()), made("two", training())
    for order in (("one", "two"), ("two", "one")):
        machines = {name: {"one": one, "two": two}[name] for name in order}
        found = pool.pool(machines, dict.fromkeys(order, DATA))
        assert said(found) == {("matched", "sasrec", 0, order[0])}


def test_seeds_with_other_settings_do_not_fill(made):
    many = made("many", training(seed=0), training(seed=1))
    other = made("other", training(seed=2, learning_rate=0.01))
    found = pool.pool({"other": other, "many": many}, {"other": DATA, "many": DATA})
    assert said(found) == {("matched", "sasrec", seed, "many") for seed in (0, 1)}


def test_data_that_most_did_not_use_are_left_out_and_named(made):
    many = made("many", training(seed=0), training(seed=1))
    odd = made("odd", training(seed=2), data={"hash": "b" * 64})
    found = pool.pool({"odd": odd, "many": many}, {"odd": {"toy": {"hash": "b" * 64}}, "many": DATA})  # fmt: skip
    assert {seed for _, _, seed, _ in said(found)} == {0, 1}
    assert found.left_out == [("odd", "toy")] and found.datasets == DATA


def test_failed_trainings_are_no_results(made):
    bad = made("bad", training(), status="oom", reason="too large")
    good = made("good", training())
    found = pool.pool({"bad": bad, "good": good}, {"bad": DATA, "good": DATA})
    assert said(found) == {("matched", "sasrec", 0, "good")} and not found.repeats


def tuned(entry):
    """The experiment of an entry, as track tuned wants it."""
    return replace(Experiment.from_json(_text(entry)), track="tuned")


def _text(entry):
    return json.dumps({k: v for k, v in entry.items() if k != "path"})


def test_a_place_borrows_what_another_track_trained_with_equal_settings(made):
    own = training(model="gru4rec", track="tuned", learning_rate=0.002)
    entries = made("m", training(seed=0), training(seed=1), own, training(seq_len=100))
    wanted = [tuned(training(seed=s, seq_len=n)) for s in (0, 1, 2) for n in (50, 100)]
    wanted.append(tuned(training(model="bert4rec")))  # nothing equal
    found = pool.pool({"m": entries}, {"m": DATA}, wanted)
    # At L = 100 the track trained nothing of its own: no such place.
    assert {(e.experiment["seed"], e.experiment["seq_len"]) for e in found.borrowed} == {(0, 50), (1, 50)}  # fmt: skip
    assert all(e.experiment["track"] == "tuned" for e in found.borrowed)
    assert all(isinstance(e, Entry) and e.samples() for e in found.borrowed)
    assert {t for t, *_ in said(found)} == {"matched", "tuned"}


def test_what_a_place_has_itself_is_not_borrowed(made):
    own = training(track="tuned")
    entries = made("m", training(), own)
    found = pool.pool({"m": entries}, {"m": DATA}, [tuned(training())])
    assert not found.borrowed and not found.repeats


def test_measurements_of_every_machine_stay(tmp_path):
    machines = {}
    for name in ("one", "two"):
        write_measurement(tmp_path / name, measurement(models=("sasrec",)))
        machines[name] = collect.published(tmp_path / name)
    found = pool.pool(machines, {"one": DATA, "two": DATA})
    assert len(found.entries) == 2
