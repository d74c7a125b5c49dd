"""How often files are read, parsed and hashed does not grow faster than what is asked for."""

import ast
import builtins
import json

import numpy as np
import pytest
from builders import grid as grid_of
from builders import measurement, training, write_grid

from seqbench.analysis import collect
from seqbench.config import load, model_files
from seqbench.config.grid import grid
from seqbench.core import provenance, records, store, yaml_files
from seqbench.terminal.plan import plan


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
