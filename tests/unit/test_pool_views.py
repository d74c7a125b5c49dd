"""Tables of pooled trainings, from records whose numbers are known."""

import numpy as np
import pytest
from builders import ENVIRONMENT, HASH, REPORT, SEEDS, grid, samples, training, write_training
from frames import PLACE, cells, tables_of

from seqbench.analysis import collect, pool
from seqbench.core.metrics import per_user
from seqbench.report import pool_views


def made_twice(tmp_path, *entries, shift):
    """The entries of two machines, the second one's ranks lower by a step more for every seed."""
    other = {"machine": "f" * 12, "machine_name": "other"}
    for entry in entries:
        write_training(tmp_path / "one", entry)
        arrays = samples(entry["model"], entry["seed"])
        for name in ("test/rank",):
            arrays[name] = arrays[name] + np.int32(shift * (1 + entry["seed"]))
        write_training(tmp_path / "two", entry, arrays=arrays, environment=ENVIRONMENT | other)
    machines = {name: collect.published(tmp_path / name) for name in ("one", "two")}
    return pool.pool(machines, {name: {"toy": {"hash": HASH}} for name in machines})


def test_repeats_on_another_machine_are_held_beside_each_other(tmp_path):
    entries = [training(model=m, seed=s) for m in ("sasrec", "gru4rec") for s in (0, 1)]
    found = made_twice(tmp_path, *entries, shift=1)
    table = pool_views.repeats(found)

    def mean(entry, shift=0):
        rank = samples(entry["model"], entry["seed"])["test/rank"]
        return per_user(rank + shift, "ndcg@10").mean()

    pairs = {(e["model"], e["seed"]): (mean(e), mean(e, 1 + e["seed"])) for e in entries}
    shown = [tuple(cell.value for cell in row[1:4]) for row in table.rows if len(row) > 1]
    expected = [pairs[key] for key in (("gru4rec", 0), ("gru4rec", 1), ("sasrec", 0), ("sasrec", 1))]  # fmt: skip
    assert np.array([row[:2] for row in shown]) == pytest.approx(np.array(expected))
    assert [row[2] for row in shown] == pytest.approx([b - a for a, b in expected])
    relative = np.array([b / a - 1 for a, b in expected])
    by_model = relative.reshape(2, 2).mean(axis=1)
    (note,) = table.notes
    assert note.startswith(
        "4 trainings of test-machine were repeated on other (2 models and conditions). There test NDCG@10 differs by "
        f"−{abs(100 * by_model.mean()):.1f} % ["
    )
    spread = 100 * np.sqrt(np.mean(relative**2) / 2)
    assert f"with seen items kept (standard deviation of one run: {spread:.1f} % between machines, " in note  # fmt: skip
    assert "with seen items excluded" in note
    origin = cells(
        pool_views.origins(found, collect.build(found.entries, {}, REPORT, one_machine=False))
    )["Track matched", PLACE, "SASRec"]
    assert origin.text == "test-machine (0, 1)"


def test_repeats_of_one_model_and_place_only_count(tmp_path):
    found = made_twice(tmp_path, training(seed=0), training(seed=1), shift=1)
    assert pool_views.repeats(found).notes == [
        "2 trainings of test-machine were repeated on other."
    ]


def test_nothing_repeated_is_nothing_said(tmp_path):
    tables_of(tmp_path, grid([training(seed=s) for s in SEEDS]))
    found = pool.pool({"m": collect.published(tmp_path)}, {"m": {"toy": {"hash": HASH}}})
    assert not pool_views.repeats(found).notes and not pool_views.repeats(found).rows
