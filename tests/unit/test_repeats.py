"""One training on two machines, from records whose numbers are known."""

import numpy as np
import pytest
from builders import ENVIRONMENT, HASH, SEEDS, samples, training, write_training

from seqbench.analysis import repeats
from seqbench.core import pool, store
from seqbench.core.metrics import per_user


def made_twice(tmp_path, *entries, shift):
    """The entries of two machines, the second one's ranks lower by a step more for every seed."""
    other = {"machine": "f" * 12, "machine_name": "other"}
    for entry in entries:
        write_training(tmp_path / "one", entry)
        arrays = samples(entry["model"], entry["seed"])
        arrays["test/rank"] = arrays["test/rank"] + np.int32(shift * (1 + entry["seed"]))
        write_training(tmp_path / "two", entry, arrays=arrays, environment=ENVIRONMENT | other)
    machines = {name: store.published(tmp_path / name) for name in ("one", "two")}
    return pool.pool(machines, {name: {"toy": {"hash": HASH}} for name in machines})


def mean(entry, shift=0):
    rank = samples(entry["model"], entry["seed"])["test/rank"]
    return per_user(rank + shift, "ndcg@10").mean()


def test_repeats_on_another_machine_are_held_beside_each_other(tmp_path):
    entries = [training(model=m, seed=s) for m in ("sasrec", "gru4rec") for s in (0, 1)]
    found = made_twice(tmp_path, *entries, shift=1)
    rows = {(r["model"], r["seed"], r["seen_items"]): r for r in repeats.rows(found.repeats)}
    assert len(rows) == len(entries) * 2
    expected = []
    for entry in entries:
        first, second = mean(entry), mean(entry, 1 + entry["seed"])
        row = rows[entry["model"], entry["seed"], "kept"]
        assert (row["value_a"], row["value_b"]) == pytest.approx((first, second))
        assert row["difference"] == pytest.approx(second - first)
        assert (row["machine_a"], row["machine_b"]) == ("test-machine", "other")
        expected.append(second / first - 1)

    kept, excluded = repeats.effect(found)
    assert (kept["seen_items"], excluded["seen_items"]) == ("kept", "excluded")
    assert (kept["n_trainings"], kept["n_groups"]) == (4, 2)
    relative = np.array(expected)
    by_model = relative.reshape(2, 2).mean(axis=1)
    assert kept["change"] == pytest.approx(by_model.mean())
    assert kept["change_low"] < kept["change"] < kept["change_high"]
    assert kept["spread_machines"] == pytest.approx(np.sqrt(np.mean(relative**2) / 2))
    assert kept["spread_seeds"] > 0


def test_repeats_of_one_model_and_condition_say_nothing_about_machines(tmp_path):
    found = made_twice(tmp_path, training(seed=0), training(seed=1), shift=1)
    assert len(list(repeats.rows(found.repeats))) == 4
    assert list(repeats.effect(found)) == []


def test_nothing_repeated_is_no_row(tmp_path):
    for seed in SEEDS:
        write_training(tmp_path, training(seed=seed))
    found = pool.pool({"m": store.published(tmp_path)}, {"m": {"toy": {"hash": HASH}}})
    assert not list(repeats.rows(found.repeats)) and not list(repeats.effect(found))
