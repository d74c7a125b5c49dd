"""Breakdowns: groups cover every user once, and means are those of the ranks."""

import numpy as np
import pytest
from builders import THREE, USERS, grid, plan, samples, training, write_grid, write_training

from seqbench.analysis import probe_rows
from seqbench.core import store
from seqbench.core.metrics import per_user
from seqbench.core.records import packed


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    results = tmp_path_factory.mktemp("results")
    wanted = grid(plan()["trainings"])
    write_grid(results, wanted)
    entries = store.load(wanted, results)
    return probe_rows.summarise(entries)


def of(rows, **values):
    return [r for r in rows if all(r[key] == value for key, value in values.items())]


@pytest.mark.parametrize("probe", [*probe_rows.BREAKDOWNS.values(), "time of the target"])
def test_groups_hold_every_user_once(rows, probe):
    for model in THREE:
        own = of(rows, model=model, probe=probe)
        assert 2 <= len(own) <= probe_rows.GROUPS
        assert sum(r["n_users"] for r in own) == 400


def test_means_are_those_of_the_users_of_a_group_over_seeds(rows):
    (tied,) = of(
        rows, model="sasrec", probe="time of the target", group="shared with the item before"
    )
    users = np.arange(400) % 10 == 0
    seeds = [
        per_user(samples("sasrec", seed)["test/rank"][users], "ndcg@10").mean()
        for seed in (0, 1, 2)
    ]
    assert tied["mean"] == pytest.approx(np.mean(seeds))
    assert tied["ci_low"] < tied["mean"] < tied["ci_high"] and tied["n_users"] == 40


def test_what_shuffling_costs_is_the_difference(rows):
    for model, loses in (("sasrec", True), ("popularity", False)):
        before, after, lost = (of(rows, model=model, probe="order of the history", group=g)[0]
                               for g in ("as it was", "shuffled", "lost"))  # fmt: skip
        assert lost["mean"] == pytest.approx(before["mean"] - after["mean"])
        assert (lost["ci_low"] > 0) is loses and (lost["mean"] == 0) is not loses


def test_users_that_are_all_alike_are_one_group():
    groups = probe_rows._groups(
        {"history_length": np.full(9, 7), "target_popularity": np.arange(9)}
    )
    assert groups["history length", "7"].all()
    assert sum(users.sum() for (probe, _), users in groups.items() if "popularity" in probe) == 9


def test_records_without_probes_are_left_out(tmp_path):
    entry = training(seed=0)
    old = {k: v for k, v in samples("sasrec", 0).items() if "shuffled" not in k}
    wanted = grid([entry])
    write_grid(tmp_path, wanted)
    write_training(tmp_path, entry, arrays=old)
    assert probe_rows.summarise(store.load(wanted, tmp_path)) == []


@pytest.mark.filterwarnings("error")
def test_a_group_of_nobody_has_no_mean(tmp_path):
    entries = [training(model=m, seed=0) for m in ("sasrec", "gru4rec")]
    write_grid(tmp_path, grid(entries))
    for entry in entries:
        write_training(tmp_path, entry)
    facts = USERS | {"tied": np.zeros(400, dtype=np.int64)}
    (tmp_path / "data/toy/users.npz").write_bytes(packed(facts))
    found = probe_rows.summarise(store.load(grid(entries), tmp_path))
    empty = of(found, probe="time of the target", group="shared with the item before")
    assert [(r["model"], r["n_users"], r["mean"], r["ci_low"]) for r in empty] == [
        ("sasrec", 0, None, None),
        ("gru4rec", 0, None, None),
    ]
    assert {r["n_users"] for r in of(found, group="its own")} == {400}
