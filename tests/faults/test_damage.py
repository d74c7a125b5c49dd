"""Damaged files are found by their SHA-256, named, and only what they belong to is made anew."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from seqbench import cli
from seqbench.core import integrity, ownership, records, store, table_files
from seqbench.core.display import TABLES
from seqbench.core.errors import Damaged, UserError
from seqbench.data import open_dataset
from seqbench.hardware.environment import environment
from seqbench.training import loop, search

CPU = torch.device("cpu")
HARMS = ("cut", "flipped", "emptied")


def harm(path, how, at=0.5):
    """Cut a file, turn one bit of it, or empty it."""
    content = bytearray(path.read_bytes())
    place = int(len(content) * at)
    if how == "flipped":
        content[place] ^= 4
    path.write_bytes(content if how == "flipped" else content[:place] if how == "cut" else b"")


@pytest.fixture
def results(tmp_path, small, job):
    """A results folder of two trainings on a dataset, and its grid."""
    shutil.copytree(small, tmp_path / "data" / "small")
    grid = {"trainings": [], "measurements": [], "datasets": ["small"]}
    for seed in (0, 1):
        own = replace(job, seed=seed)
        records.write_record(
            tmp_path / own.path, kind="train", job=own.to_dict(), values={"steps": 2},
            identity={"code": "0" * 16, "revision": None, "dirty": None}, environment=environment("cpu", 1),
            data=records.data_of(open_dataset(small).info), weights=bytes(range(256)) * 8,
            samples={"test/rank": np.arange(1, 61)},
        )  # fmt: skip
        grid["trainings"].append({**own.to_dict(), "path": own.path})
    return tmp_path, grid


def test_what_is_sound_is_not_named(results):
    store.check(results[1], results[0])


@pytest.mark.parametrize("how", HARMS)
@pytest.mark.parametrize("name", ["record.json", "samples.npz", "weights.safetensors"])
def test_a_damaged_file_of_a_record_is_named_and_the_others_are_not(results, name, how):
    folder, grid = results
    path = folder / grid["trainings"][1]["path"] / name
    harm(path, how)
    with pytest.raises(Damaged) as caught:
        store.check(grid, folder)
    assert str(path) in str(caught.value) and grid["trainings"][0]["path"] not in str(caught.value)
    assert path in caught.value.files and path.with_name("record.json") in caught.value.files


@pytest.mark.parametrize("at", [0.05, 0.3, 0.6, 0.9])
def test_a_bit_of_a_record_is_enough(results, at):
    """Also where the text stays JSON and follows the schema: in a number, say."""
    folder, grid = results
    harm(folder / grid["trainings"][0]["path"] / "record.json", "flipped", at)
    with pytest.raises(Damaged):
        store.check(grid, folder)


def test_every_damaged_record_is_named_at_once_and_set_aside_by_collect(results, capsys):
    folder, grid = results
    paths = [folder / job["path"] for job in grid["trainings"]]
    harm(paths[0] / "record.json", "cut")
    harm(paths[1] / "weights.safetensors", "flipped")
    grid |= {"report": {"focal_model": "sasrec", "models": ["sasrec"], "margin": 0.01}}
    (folder / "grid.json").write_text(json.dumps(grid))
    arguments = ["--grid", str(folder / "grid.json"), "--results", str(folder), "--out"]
    assert cli.main(["collect", *arguments, str(folder / "tables")]) == 2
    said = capsys.readouterr().err
    assert all(str(path) in said for path in paths) and "the workflow makes it anew" in said
    assert not any((path / "record.json").exists() for path in paths)
    assert (paths[0] / "record.json.damaged").exists() and (paths[0] / "samples.npz").exists()


def test_a_record_of_before_without_checksums_is_read(results):
    folder, grid = results
    path = folder / grid["trainings"][0]["path"] / "record.json"
    record = json.loads(path.read_text())
    path.write_text(json.dumps({k: v for k, v in record.items() if "sha256" not in k}))
    store.check(grid, folder)


@pytest.mark.parametrize("how", HARMS)
@pytest.mark.parametrize("name", ["dataset.json", "items.npy", "offsets.npy", "rows.npy"])
def test_damaged_data_are_refused_with_the_command_that_prepares_them(tmp_path, small, name, how):
    folder = tmp_path / "small"
    shutil.copytree(small, folder)
    harm(folder / name, how, 0.98 if name.endswith("npy") else 0.5)
    with pytest.raises(UserError, match="prepare it with: snakemake"):
        open_dataset(folder)


@pytest.mark.parametrize("name", ["users.npz", "user_ids.txt", "item_ids.txt", "rows.npy", "dataset.json"])  # fmt: skip
def test_data_that_no_training_reads_are_checked_before_tables(results, name):
    folder, grid = results
    harm(folder / "data/small" / name, "flipped")
    with pytest.raises(UserError, match="prepare it with: snakemake"):
        store.check(grid, folder)


@pytest.mark.parametrize("how", HARMS)
def test_a_damaged_state_of_training_costs_the_state(
    tmp_path, small, job, monkeypatch, how, capsys
):
    """The training begins anew and ends as one that never stopped."""
    monkeypatch.setattr(loop, "SAVE_EVERY_S", -1.0)
    longer = replace(job, training=replace(job.training, max_steps=30))
    data = open_dataset(small)
    unlink = loop.Path.unlink
    monkeypatch.setattr(loop.Path, "unlink", lambda *_, **__: None)
    whole = loop.Trainer(longer, data, tmp_path, CPU)
    values, samples, _ = whole.run()
    monkeypatch.setattr(loop.Path, "unlink", unlink)
    assert whole.resume_file.exists()
    harm(whole.resume_file, how)
    again, same, _ = loop.Trainer(longer, data, tmp_path, CPU).run()
    assert "damaged (SHA-256 differs); the training begins anew" in capsys.readouterr().err
    assert again["resumed_from"] is None and again["steps"] == values["steps"] == 30
    assert all(np.array_equal(samples[key], same[key]) for key in samples)


@pytest.mark.parametrize("how", HARMS)
def test_a_damaged_table_is_named_and_set_aside(tmp_path, how, capsys):
    frames = {name: pd.DataFrame() for name in TABLES}
    settings = {"margin": 0.1, "focal_model": "sasrec", "models": [], "environments": []}
    first, second, *_ = TABLES
    for name in (f"{first}.parquet", f"{second}.csv", "datasets.json", "settings.json"):
        table_files.write(tmp_path, frames, {}, settings)
        harm(tmp_path / name, how)
        assert cli.main(["report", "--tables", str(tmp_path), "--out", str(tmp_path / "page")]) == 2
        said = capsys.readouterr().err
        assert said.startswith(f"error: {tmp_path / name}: ") or f"{tmp_path / name}: set" in said
        assert not (tmp_path / name).exists() and (tmp_path / f"{name}.damaged").exists()


def test_a_damaged_trial_is_trained_again(results, small, job):
    folder, grid = results
    path = folder / grid["trainings"][0]["path"]
    harm(path / "record.json", "flipped")
    assert not search._is_there(path, job, small)


def test_damage_is_set_aside_before_jobs_are_planned_and_only_what_changed_is_read(results, capsys, monkeypatch):  # fmt: skip
    folder, grid = results
    paths = [folder / job["path"] for job in grid["trainings"]]
    look = (paths, folder / "tables", folder / "memory.json")
    integrity.look(*look)
    read = []
    check = records.check_files
    monkeypatch.setattr(records, "check_files", lambda f, r: (read.append(f), check(f, r)))
    integrity.look(*look)
    assert read == [] and not capsys.readouterr().err
    harm(paths[1] / "weights.safetensors", "flipped")
    monkeypatch.setattr(
        integrity, "is_owned", lambda f: f == paths[1]
    )  # written into now: not judged
    integrity.look(*look)
    assert read == []
    monkeypatch.setattr(integrity, "is_owned", ownership.is_owned)
    integrity.look(*look)
    assert read == [paths[1]] and str(paths[1] / "weights.safetensors") in capsys.readouterr().err
    assert (paths[0] / "record.json").exists() and not (paths[1] / "record.json").exists()
    (folder / "memory.json").write_text("[damaged")
    integrity.look(*look)
    assert (paths[0] / "record.json").exists()


def test_a_damaged_table_is_set_aside_before_jobs_are_planned(tmp_path):
    settings = {"margin": 0.1, "focal_model": "sasrec", "models": [], "environments": []}
    frames = {name: pd.DataFrame({"a": range(3)}) for name in TABLES}
    table_files.write(tmp_path, frames, {}, settings)
    integrity.look([], tmp_path, tmp_path / "memory")
    harm(tmp_path / "settings.json", "cut")
    integrity.look([], tmp_path, tmp_path / "memory")
    assert (tmp_path / "settings.json.damaged").exists() and not (tmp_path / "settings.json").exists()  # fmt: skip
