"""A full disk, or one that is gone: one line with the folder and the room that is needed, and no record of it."""

import errno
import os
import shutil
import types
from dataclasses import replace

import numpy as np
import pytest
import torch

from seqbench import cli
from seqbench.core import disk, records
from seqbench.core.errors import MachineError
from seqbench.data import open_dataset
from seqbench.data import store as data_store
from seqbench.training import loop, search, supervisor

REFUSALS = [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EFBIG, errno.EMFILE]
CPU = torch.device("cpu")


@pytest.fixture
def refuse(monkeypatch):
    """Let every file that is flushed to disk be refused with an error of the system."""

    def with_(code):
        def fsync(_):
            raise OSError(code, os.strerror(code))

        monkeypatch.setattr(os, "fsync", fsync)

    return with_


@pytest.mark.parametrize("code", REFUSALS, ids=errno.errorcode.get)
def test_what_cannot_be_written_is_the_machines(tmp_path, refuse, code):
    refuse(code)
    with pytest.raises(MachineError) as caught:
        records.write_atomically(tmp_path / "a/file", b"x" * 2**20)
    said = str(caught.value)
    assert str(tmp_path / "a/file") in said and "\n" not in said
    if code in (errno.ENOSPC, errno.EDQUOT):
        assert said.startswith("disk full: ") and "needs 1.0 MiB" in said and "MiB free" in said
    assert list((tmp_path / "a").iterdir()) == []


def test_a_training_without_room_for_its_result_is_refused_before_it_begins(
    tmp_path, small, job, monkeypatch, capsys
):
    none = types.SimpleNamespace(free=10)
    monkeypatch.setattr(disk.shutil, "disk_usage", lambda _: none)
    arguments = ["train", "--job", job.to_json(), "--dataset", str(small), "--out"]
    assert cli.main([*arguments, str(tmp_path / "out")]) == MachineError.status
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith(f"error: disk full: {tmp_path / 'out'} needs") and "0.0 MiB free" in said
    assert not list((tmp_path / "out").glob("*.json"))


def test_a_disk_that_fills_while_a_training_runs_is_no_crash_of_it(
    tmp_path, small, job, refuse, capsys
):
    refuse(errno.ENOSPC)
    arguments = ["train", "--job", job.to_json(), "--dataset", str(small), "--out"]
    assert cli.main([*arguments, str(tmp_path / "out")]) == MachineError.status
    assert "error: disk full: " in capsys.readouterr().err
    assert [f for f in (tmp_path / "out").iterdir() if f.suffix in (".json", ".tmp")] == []


def test_a_state_that_finds_no_room_costs_the_state_and_not_the_training(
    tmp_path, small, job, monkeypatch, capsys
):
    monkeypatch.setattr(loop, "SAVE_EVERY_S", -1.0)

    def full(path, content):
        raise disk.unwritten(path, len(content), OSError(errno.ENOSPC, "full"))

    monkeypatch.setattr(loop, "write_atomically", full)
    longer = replace(job, training=replace(job.training, max_steps=30))
    values, _, _ = loop.Trainer(longer, open_dataset(small), tmp_path, CPU).run()
    assert (
        values["steps"] == 30
        and "state of training is not saved: disk full" in capsys.readouterr().err
    )


def test_the_supervisor_makes_no_record_of_a_full_disk(tmp_path, small, job, monkeypatch):
    watch = supervisor.watch
    command = ["python3", "-c", f"raise SystemExit({MachineError.status})"]
    monkeypatch.setattr(supervisor, "watch", lambda _, env, limit: watch(command, env, limit))
    with pytest.raises(MachineError):
        supervisor.supervise(job, small, tmp_path / "out", 1, None)
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGHUP"])
def test_a_worker_that_somebody_ends_leaves_no_record(tmp_path, small, job, monkeypatch, name):
    watch = supervisor.watch
    code = f"import os, signal; signal.signal(signal.{name}, signal.SIG_DFL); os.kill(os.getpid(), signal.{name})"
    monkeypatch.setattr(
        supervisor, "watch", lambda _, env, limit: watch(["python3", "-c", code], env, limit)
    )
    with pytest.raises(MachineError, match=f"ended by {name}; the same command goes on"):
        supervisor.supervise(job, small, tmp_path / "out", 1, None)
    assert not (tmp_path / "out/record.json").exists()


def test_a_full_disk_is_no_failed_trial_of_a_search(tmp_path, small, job, monkeypatch):
    """It would count against the settings that were proposed."""
    study = types.SimpleNamespace(trial_path=lambda number: f"tune/x/t{number}")

    def train(*_):
        raise MachineError("disk full")

    with pytest.raises(MachineError):
        search._trial(study, job, 3, {}, small, tmp_path, 1, None, train)
    assert not (tmp_path / "t3/record.json").exists()


def test_preparing_on_a_full_disk_is_one_line(tmp_path, small, monkeypatch):
    info = {**open_dataset(small).info}

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(data_store, "_write_array", full)
    with pytest.raises(MachineError, match=r"disk full: .*out needs"):
        data_store.save(tmp_path / "out", {"items": np.zeros(9, np.int32)}, {}, info)
    assert list(tmp_path.iterdir()) == []


def test_arrays_are_written_as_numpy_writes_them(tmp_path):
    for array in (np.arange(5, dtype=np.int32), np.zeros(0, np.int64), np.arange(6)[::2]):
        data_store._write_array(tmp_path / "a.npy", array)
        np.save(tmp_path / "b.npy", array)
        assert (tmp_path / "a.npy").read_bytes() == (tmp_path / "b.npy").read_bytes()


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("mount") is None, reason="cannot mount")
def test_a_real_disk_of_one_megabyte(tmp_path, small, job, capfd):
    import subprocess

    folder = tmp_path / "small disk"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", folder]).returncode:
        pytest.skip("mounting is not allowed")
    try:
        (folder / "fill").write_bytes(bytes(2**20 - 2**14))
        with pytest.raises(MachineError):
            supervisor.supervise(job, small, folder / "out", 1, None)
        said = capfd.readouterr().err
        assert "error: disk full: " in said and "Traceback" not in said and "enforce" not in said
        (folder / "fill").unlink()
        assert supervisor.supervise(job, small, folder / "out", 1, None) == "ok"
    finally:
        subprocess.run(["umount", folder], check=True)
