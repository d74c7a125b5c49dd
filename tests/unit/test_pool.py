"""The pool: one training of every job, whoever made it."""

import json
from dataclasses import replace

import pytest
from builders import (
    ENVIRONMENT,
    HASH,
    REPORT,
    measurement,
    training,
    write_dataset,
    write_measurement,
    write_training,
)

from seqbench.analysis import collect
from seqbench.core import pool, records, store
from seqbench.core.jobs import TrainingJob

OTHER = {"machine": "f" * 12, "machine_name": "other"}
DATA = {"toy": {"hash": HASH}}


def named(name):
    return {"machine": name, "machine_name": name}


@pytest.fixture
def made(tmp_path):
    def make(name, *entries, **changes):
        """Records of one machine, read back."""
        environment = ENVIRONMENT | named(name)
        for entry in entries:
            write_training(tmp_path / name, entry, environment=environment, **changes)
        return store.published(tmp_path / name)

    return make


def said(found):
    """Model, seed and machine of every training."""
    return {(e.job["track"], e.job["model"], e.job["seed"], e.machine) for e in found.entries}


def test_the_machine_with_most_trainings_of_a_place_comes_first_and_others_fill_it(made):
    many = made("many", *(training(seed=s) for s in (0, 1)), training(model="gru4rec"))
    few = made("few", *(training(seed=s) for s in (1, 2)))
    found = pool.pool({"few": few, "many": many}, {"few": DATA, "many": DATA})
    places = {("sasrec", 0, "many"), ("sasrec", 1, "many"), ("sasrec", 2, "few"), ("gru4rec", 0, "many")}  # fmt: skip
    assert said(found) == {("matched", *p) for p in places}
    assert [(a.machine, b.machine) for a, b in found.repeats] == [("few", "many")]


def test_of_equally_many_the_preferred_machine_comes_first(made):
    one, two = made("one", training()), made("two", training())
    for order in (("one", "two"), ("two", "one")):
        machines = {name: {"one": one, "two": two}[name] for name in order}
        found = pool.pool(machines, dict.fromkeys(order, DATA))
        assert said(found) == {("matched", "sasrec", 0, order[0])}


def test_baselines_do_not_decide_which_machine_comes_first(made):
    names = ("popularity", "markov", "itemknn")
    one = made("one", *(training(model=m) for m in names), training(seed=0))
    two = made("two", *(training(seed=s) for s in (0, 1, 2)))
    found = pool.pool({"one": one, "two": two}, {"one": DATA, "two": DATA})
    seeds = {(seed, where) for _, model, seed, where in said(found) if model == "sasrec"}
    assert seeds == {(0, "two"), (1, "two"), (2, "two")}


def test_seeds_with_other_settings_do_not_fill_and_are_named(made):
    many = made("many", training(seed=0), training(seed=1))
    other = made("other", training(seed=2, learning_rate=0.01))
    found = pool.pool({"other": other, "many": many}, {"other": DATA, "many": DATA})
    assert said(found) == {("matched", "sasrec", seed, "many") for seed in (0, 1)}
    assert found.left_out == [("other", "toy", "other settings")]


def test_models_of_one_place_had_the_same_budget(made):
    many = made("many", training(seed=0), training(seed=1))
    longer = made("longer", training(model="gru4rec", max_steps=50000))
    faster = made("faster", training(model="mamba4rec", learning_rate=0.01))
    machines = {"longer": longer, "many": many, "faster": faster}
    found = pool.pool(machines, dict.fromkeys(machines, DATA))
    assert {model for _, model, _, _ in said(found)} == {"sasrec", "mamba4rec"}
    assert found.left_out == [("longer", "toy", "other settings")]


def test_data_that_most_did_not_use_are_left_out_and_named(made, tmp_path):
    many = made("many", training(seed=0), training(seed=1))
    made("odd", training(seed=2), data={"hash": "b" * 64})
    write_measurement(tmp_path / "odd", measurement(models=("sasrec",)), environment=named("odd"))
    job = tmp_path / "odd" / measurement(models=("sasrec",))["records"][0] / "record.json"
    record = json.loads(job.read_text())
    job.write_bytes(records.sealed({**record, "data": {**record["data"], "hash": "b" * 64}}))
    odd = store.published(tmp_path / "odd")
    write_dataset(tmp_path)
    facts = {"toy": store.read_dataset(tmp_path, "toy")}
    odd_facts = {"toy": facts["toy"] | {"hash": "b" * 64}}
    found = pool.pool({"odd": odd, "many": many}, {"odd": odd_facts, "many": facts})
    assert {seed for _, _, seed, _ in said(found)} == {0, 1} and len(found.entries) == 2
    assert found.left_out == [("odd", "toy", "other data")] and found.datasets == facts
    collect.build(found.entries, found.datasets, REPORT, one_machine=False)


def test_failures_and_baselines_do_not_vote_on_the_data(made):
    made("bad", training(seed=0), training(seed=1), data={"hash": "b" * 64}, status="oom", reason="x")  # fmt: skip
    bad = made("bad", training(model="popularity"), data={"hash": "b" * 64})
    good = made("good", training(seed=0))
    found = pool.pool({"bad": bad, "good": good}, {})
    assert said(found) == {("matched", "sasrec", 0, "good")}


def test_a_baseline_has_no_budget(made):
    one = made("one", training(seed=0), training(seed=1))
    two = made("two", training(model="popularity", max_steps=50000))
    found = pool.pool({"one": one, "two": two}, {"one": DATA, "two": DATA})
    assert {model for _, model, _, _ in said(found)} == {"sasrec", "popularity"}


def test_data_are_told_apart_without_their_facts(made):
    many = made("many", training(seed=0), training(seed=1))
    odd = made("odd", training(seed=2), data={"hash": "b" * 64})
    found = pool.pool({"odd": odd, "many": many}, {})
    assert {seed for _, _, seed, _ in said(found)} == {0, 1}
    assert found.left_out == [("odd", "toy", "other data")]


def test_a_failure_stays_only_where_no_machine_made_up_for_it(made):
    bad = made("bad", training(seed=0), training(seed=1), status="oom", reason="too large")
    good = made("good", training(seed=0))
    found = pool.pool({"bad": bad, "good": good}, {"bad": DATA, "good": DATA})
    assert said(found) == {("matched", "sasrec", 0, "good"), ("matched", "sasrec", 1, "bad")}
    assert not found.repeats


def tuned(entry):
    """The job of an entry, as track tuned wants it."""
    return replace(TrainingJob.from_json(_text(entry)), track="tuned")


def _text(entry):
    return json.dumps({k: v for k, v in entry.items() if k != "path"})


def test_a_place_borrows_what_another_track_trained_with_equal_settings(made):
    own = training(model="gru4rec", track="tuned", learning_rate=0.002)
    entries = made("m", training(seed=0), training(seed=1), own, training(seq_len=100))
    wanted = [tuned(training(seed=s, seq_len=n)) for s in (0, 1, 2) for n in (50, 100)]
    wanted.append(tuned(training(model="bert4rec")))  # nothing equal
    found = pool.pool({"m": entries}, {"m": DATA}, wanted)
    # At L = 100 the track trained nothing of its own: no such condition.
    assert {(e.job["seed"], e.job["seq_len"]) for _, e in found.borrowed} == {(0, 50), (1, 50)}  # fmt: skip
    tracks = {(a.job["track"], b.job["track"]) for a, b in found.borrowed}
    assert tracks == {("matched", "tuned")} and all(b.samples() for _, b in found.borrowed)
    assert {t for t, *_ in said(found)} == {"matched", "tuned"}
    rows = collect.build(found.entries, {}, REPORT, one_machine=False).frames["summary"]
    at = rows[(rows.track == "tuned") & (rows.seq_len == 50)]
    assert dict(zip(at.model, at.n_seeds, strict=True)) == {"sasrec": 2, "gru4rec": 1}


def test_what_a_place_has_itself_is_not_borrowed(made):
    own = training(track="tuned")
    entries = made("m", training(), own)
    found = pool.pool({"m": entries}, {"m": DATA}, [tuned(training())])
    assert not found.borrowed and not found.repeats


def test_a_model_without_training_is_borrowed_whatever_its_track_trains_with(made):
    own = training(model="gru4rec", track="tuned", learning_rate=0.002)
    entries = made("m", training(), training(model="markov"), own)
    wanted = [tuned(training(model=m, learning_rate=0.5)) for m in ("sasrec", "markov")]
    found = pool.pool({"m": entries}, {"m": DATA}, wanted)
    assert [e.job["model"] for _, e in found.borrowed] == ["markov"]


def test_a_default_is_the_same_setting_whether_written_or_not(made):
    own = training(model="gru4rec", track="tuned", learning_rate=0.002)
    entries = made("m", training(), own)
    written = replace(tuned(training()), hyperparameters=(("d_model", 64), ("n_layers", 2)))
    assert not pool.pool({"m": entries}, {"m": DATA}, [written]).borrowed
    defaults = {"sasrec": {"n_layers": 2}}
    assert len(pool.pool({"m": entries}, {"m": DATA}, [written], defaults).borrowed) == 1


def test_a_place_of_an_older_tuning_borrows_nothing(made):
    """Its own model has other settings than are wanted now: one row would mix two tunings."""
    old = training(model="gru4rec", track="tuned", learning_rate=0.003)
    entries = made("m", training(), old)
    now = [tuned(training(model="gru4rec", learning_rate=0.002)), tuned(training())]
    assert not pool.pool({"m": entries}, {"m": DATA}, now).borrowed


def test_what_is_wanted_now_comes_before_what_most_machines_trained(made):
    """And what an earlier choice left is named."""
    old = [training(track="tuned", learning_rate=0.01, seed=s) for s in (0, 1, 2)]
    comparator = [training(model="gru4rec", track="tuned", seed=s) for s in (0, 1, 2)]
    many = made("many", *old, *comparator)
    new = made("new", *(training(track="tuned", learning_rate=0.002, seed=s) for s in (0, 1)))
    now = [tuned(training(learning_rate=0.002)), tuned(training(model="gru4rec"))]
    machines, facts = {"many": many, "new": new}, {"many": DATA, "new": DATA}
    found = pool.pool(machines, facts, now)
    of_sasrec = {(seed, where) for _, model, seed, where in said(found) if model == "sasrec"}
    assert of_sasrec == {(0, "new"), (1, "new")}
    assert found.left_out == [("many", "toy", "other settings")]
    unknown = pool.pool(machines, facts)  # without a configuration the most trainings win
    assert {(s, w) for _, m, s, w in said(unknown) if m == "sasrec"} == {(s, "many") for s in (0, 1, 2)}  # fmt: skip
    assert unknown.left_out == [("new", "toy", "other settings")]


def test_a_model_that_the_place_trained_borrows_no_seeds(made):
    own = training(track="tuned", learning_rate=0.003)
    entries = made("m", training(seed=1), own)
    found = pool.pool({"m": entries}, {"m": DATA}, [tuned(training(seed=1))])
    assert not found.borrowed
    collect.build(found.entries, {}, REPORT, one_machine=False)


def test_measurements_of_every_machine_stay(tmp_path):
    machines = {}
    for name in ("one", "two"):
        write_measurement(tmp_path / name, measurement(models=("sasrec",)))
        machines[name] = store.published(tmp_path / name)
    found = pool.pool(machines, {"one": DATA, "two": DATA})
    assert len(found.entries) == 2
