"""How often files are read, parsed and hashed does not grow faster than what is asked for."""

import ast
import builtins
import json

import numpy as np
import pytest
from builders import THREE, curves_of, measurement, training, write_grid, write_training
from builders import grid as grid_of

from seqbench.analysis import collect, resampling, scaling
from seqbench.config import load, model_files
from seqbench.config.grid import grid
from seqbench.core import provenance, records, store, yaml_files
from seqbench.core.errors import UserError
from seqbench.report import figures, page, style
from seqbench.terminal.plan import plan
from tools import many_records


@pytest.fixture
def calls(monkeypatch):
    """Counts how often functions are called: `calls.of(module, name)` before, `calls[name]` after."""

    class Calls(dict):
        def of(self, module, name):
            original = getattr(module, name)
            self[name] = 0

            def counted(*args, **kwargs):
                self[name] += 1
                return original(*args, **kwargs)

            monkeypatch.setattr(module, name, counted)

    return Calls()


def configured(n_seeds):
    """The project's configuration with so many seeds."""
    config = load.load()
    config["run"]["seeds"] = list(range(n_seeds))
    return config


def test_planning_parses_and_hashes_nothing_more_for_more_seeds(tmp_path, calls):
    few, many = configured(2), configured(40)
    for config in (few, many):  # the first one fills what is kept
        for module, name in ((ast, "parse"), (yaml_files, "read"), (builtins, "compile")):
            calls.of(module, name)
        before = provenance._meaning.cache_info().misses
        jobs = grid(config, model_files.MODELS)
        frame = plan(jobs, tmp_path, tmp_path, "cpu", 1)
        assert frame.jobs.sum() >= len(jobs.trainings)
    assert len(jobs.trainings) > 500
    assert (calls["parse"], calls["read"], calls["compile"]) == (0, 0, 0)
    assert provenance._meaning.cache_info().misses == before


def test_a_record_is_read_validated_and_unpacked_once(tmp_path, calls):
    models = ("sasrec", "mamba4rec", "gru4rec")
    trainings = [training(model=m, seed=s, seq_len=n) for m in models for s in (0, 1) for n in (50, 100)]  # fmt: skip
    path = write_grid(tmp_path, grid_of(trainings, [measurement(models=models)]))
    for module, name in (
        (records, "read_record"),
        (records, "_problem"),
        (records, "read_samples"),
    ):
        calls.of(module, name)
    collect.collect(path, tmp_path, tmp_path / "tables")
    n = len(trainings) + len(models)
    assert calls == {"read_record": n, "_problem": n, "read_samples": n}


def test_many_records_are_valid_distinct_and_those_of_their_grid(tmp_path, monkeypatch):
    monkeypatch.setattr(many_records, "DATASETS", ("ml-100k",))
    monkeypatch.setattr(many_records, "LENGTHS", [50])
    path, n = many_records.write(tmp_path, tracks=1, seeds=2)
    wanted = store.read_grid(path)
    entries = store.load(wanted, tmp_path, store.check(wanted, tmp_path))
    assert len(entries) == n > 100
    trained = [entry.record["samples"]["sha256"] for entry in entries if entry.training]
    assert len(set(trained)) == len(trained) == 11  # four models with two seeds, three baselines


def trainings_at(*lengths):
    """Two models, two seeds, at these lengths."""
    return grid_of([training(model=m, seed=s, seq_len=n) for m in THREE[:2] for s in (0, 1) for n in lengths])  # fmt: skip


def test_users_are_drawn_once_however_many_conditions_there_are(tmp_path, calls):
    found, _ = [], calls.of(resampling, "resampled_user_means")
    for lengths in ((50,), (50, 100, 200)):
        resampling.user_draws.cache_clear()
        calls["resampled_user_means"] = 0
        folder = tmp_path / str(len(lengths))
        collect.collect(write_grid(folder, trainings_at(*lengths)), folder, folder / "tables")
        found.append((calls["resampled_user_means"], resampling.user_draws.cache_info().misses))
    (few, drawn), (many, still) = found
    assert many == 3 * few and still == drawn  # once for all models of a condition, or a group of its users  # fmt: skip


def test_conditions_side_by_side_give_the_same_tables(tmp_path):
    """Every training and measurement is in one process or another, in the same order."""
    measured = [m for m in curves_of() if m["curve"] == "length-at-constant-batch"]
    wanted = trainings_at(50, 100, 200)
    path = write_grid(tmp_path, wanted | {"measurements": measured})
    for processes in (1, 2):
        collect.collect(path, tmp_path, tmp_path / str(processes), processes)
    names = sorted(file.name for file in (tmp_path / "1").iterdir())
    assert any(name.startswith("scaling") for name in names)
    for name in names:
        assert (tmp_path / "1" / name).read_bytes() == (tmp_path / "2" / name).read_bytes(), name


def test_what_a_process_refuses_is_refused(tmp_path):
    path = write_grid(tmp_path, trainings_at(50, 100))
    write_training(tmp_path, training(model=THREE[0], seed=1), environment={"machine": "another"})
    with pytest.raises(UserError, match="differ in machine"):
        collect.collect(path, tmp_path, tmp_path / "tables", 2)


def test_equal_rows_are_fitted_once_and_as_each_alone(monkeypatch):
    x, t = np.array([1.0, 2, 4, 8, 16]), np.array([3.0, 4, 7, 12, 20])
    alone, sizes = scaling.fit_power(x, t), []
    best = scaling._best
    monkeypatch.setattr(scaling, "_best", lambda x, t, *more: sizes.append(len(t)) or best(x, t, *more))  # fmt: skip
    many = scaling.fit_power(x, np.tile(t, (1000, 1)))
    assert set(sizes) == {1}
    for name in ("a", "b", "c", "residuals"):
        assert np.array_equal(getattr(many, name), np.repeat(getattr(alone, name), 1000, axis=0))


def test_figures_of_a_kind_are_drawn_up_to_a_number_the_nearest_to_the_default_view_first():
    keys = [{"track": t, "dataset": d, "length": n, "seen": s} for t in "mn" for d in "abcde" for n in range(5) for s in ("excluded", "kept")]  # fmt: skip
    every = [style.Drawing(str(k), "answer", key, "", "", None, None) for k, key in enumerate(keys)]
    found = list(figures.limited(every, {"track": "n", "dataset": "c", "length": 3}))
    assert [one.name for one in found] == [one.name for one in every]
    drawn = [one.key for one in found if one.shown]
    assert len(drawn) == figures.MOST_DRAWN < len(found)
    assert sum(one.files for one in found) == figures.MOST_SAVED
    assert {key["track"] for key in drawn} == {
        "n"
    }  # of which there are 50: two of the farthest are left
    (first,) = [one for one in found if one.files and one.key["dataset"] == "c" and one.key["length"] == 3 and one.key["seen"] == "kept"]  # fmt: skip
    assert first.key["track"] == "n"
    few = list(figures.limited(every[:40], {}))
    assert all(one.shown for one in few)


def test_figures_that_are_not_drawn_are_counted_on_the_page(tmp_path, monkeypatch, calls):
    monkeypatch.setattr(figures, "MOST_DRAWN", 1)
    calls.of(style, "_picture")
    path = write_grid(tmp_path, trainings_at(50, 100))
    collect.collect(path, tmp_path, tmp_path / "tables")
    content = collect.read(tmp_path / "tables")
    text = page.render(content, tmp_path / "report", 1).read_text(encoding="utf-8")
    drawings = page.drawn(content)
    shown = [one for one in drawings if one.shown]
    assert calls["_picture"] == len(shown) < len(drawings)
    assert text.count("<figure id=") == len(shown)
    assert "1 of 2 figures are drawn" in text


def test_a_grid_is_loaded_from_what_was_checked(tmp_path, calls):
    path = write_grid(tmp_path, grid_of([training(seed=s) for s in range(3)]))
    plan_ = json.loads(path.read_text())
    calls.of(records, "read_record")
    sound = store.check(plan_, tmp_path)
    entries = store.load(plan_, tmp_path, sound)
    assert [entry.record for entry in entries] == list(sound.values())
    assert calls["read_record"] == 3
    assert [e.record for e in store.load(plan_, tmp_path)] == list(sound.values())


def test_samples_are_kept_as_narrow_as_they_are_stored():
    ranks = np.arange(200, dtype=np.int64)
    found = records.unpacked(records.packed({"rank": ranks, "loss": ranks / 2}))
    assert found._stored["rank"].itemsize == 1
    assert found["rank"].dtype == np.int64 and np.array_equal(found["rank"], ranks)
    assert np.array_equal(found["loss"], ranks / 2)
    assert sorted(found) == ["loss", "rank"] and len(found) == 2
