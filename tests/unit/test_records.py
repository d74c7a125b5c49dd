"""Records are complete or absent, checked when written and when read."""

import io
import json
import zipfile

import numpy as np
import pytest

from seqbench.core import records
from seqbench.core.errors import UserError
from seqbench.hardware.environment import environment


def write(folder, **changes):
    content = {
        "kind": "train",
        "job": {
            "dataset": "d", "model": "m", "track": "t", "seq_len": 5, "hyperparameters": {},
        },
        "values": {"parameters": 1},
        "environment": environment("cpu", 1),
        "data": records.data_of({"name": "d"}),
        "identity": {"code": "0", "revision": None, "dirty": None},
        "samples": {"test/rank": np.arange(1, 4, dtype=np.int32)},
    }  # fmt: skip
    return records.write_record(folder, **{**content, **changes})


def test_what_was_written_is_read(tmp_path):
    write(tmp_path)
    found = records.read_record(tmp_path)
    assert found["status"] == "ok" and found["values"] == {"parameters": 1}
    assert records.read_samples(tmp_path, found)["test/rank"].tolist() == [1, 2, 3]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["record.json", "samples.npz"]


def test_equal_samples_make_equal_bytes(tmp_path):
    write(tmp_path / "a")
    write(tmp_path / "b")
    assert (tmp_path / "a/samples.npz").read_bytes() == (tmp_path / "b/samples.npz").read_bytes()


@pytest.mark.parametrize("change", [{"status": "fine"}, {"kind": "x"}, {"job": {}}])
def test_a_record_that_breaks_the_schema_is_refused_and_nothing_is_left_behind(tmp_path, change):
    with pytest.raises(ValueError, match=next(iter(change)).split("_")[0]):
        write(tmp_path / "r", **change)
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize(
    ("values", "where"),
    [
        ({}, "values: 'failed'"),
        ({"failed": {"train": {}}}, "values.failed.train: 'status'"),
        ({"failed": {"nowhere": {"status": "oom", "reason": None}}}, "values.failed: 'nowhere'"),
    ],
)
def test_a_measurement_that_failed_says_which_phase_and_how(tmp_path, values, where):
    with pytest.raises(ValueError, match=where):
        write(tmp_path, kind="measure", status="oom", values=values)
    write(tmp_path, kind="measure", values={})  # one that came to its end need not


def test_an_unknown_curve_is_refused(tmp_path):
    job = {"dataset": "d", "model": "m", "track": "t", "seq_len": 5, "hyperparameters": {}}
    write(tmp_path, kind="measure", job=job | {"curve": "batch-size"})
    with pytest.raises(ValueError, match=r"job\.curve: 'nope'"):
        write(tmp_path, kind="measure", job=job | {"curve": "nope"})


def test_a_value_that_is_not_a_number_is_refused(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        write(tmp_path, values={"train_s": float("nan")})
    assert not (tmp_path / "record.json").exists()


def test_reading_names_the_file_and_what_to_do(tmp_path):
    with pytest.raises(UserError, match=r"record\.json: no such record; run"):
        records.read_record(tmp_path)
    (tmp_path / "record.json").write_text("{")
    with pytest.raises(UserError, match=r"record\.json: not JSON .* delete it"):
        records.read_record(tmp_path)
    (tmp_path / "record.json").write_text(json.dumps({"schema": 99}))
    with pytest.raises(UserError, match=r"record\.json: .* delete it"):
        records.read_record(tmp_path)


def test_samples_of_another_record_are_refused(tmp_path):
    write(tmp_path / "a")
    write(tmp_path / "b", samples={"test/rank": np.array([9])})
    (tmp_path / "b/samples.npz").replace(tmp_path / "a/samples.npz")
    with pytest.raises(
        UserError, match=r"SHA-256 differs\); delete .*/a and run the workflow again"
    ):
        records.read_samples(tmp_path / "a", records.read_record(tmp_path / "a"))
    (tmp_path / "a/samples.npz").unlink()
    with pytest.raises(UserError, match=r"missing, .*; delete .*/a and run the workflow again"):
        records.read_samples(tmp_path / "a", records.read_record(tmp_path / "a"))


@pytest.mark.parametrize("damaged", [b"{", b"\xff", b"[]"])
def test_records_of_a_status_are_found_beside_damaged_ones(tmp_path, damaged):
    write(tmp_path / "fine")
    write(tmp_path / "full", status="oom", reason="no memory")
    file = tmp_path / "again/record.json"
    file.parent.mkdir()
    file.write_bytes(damaged)
    folders, (why,) = records.having(tmp_path, "oom")
    assert folders == [tmp_path / "full"]
    assert why.startswith(f"{file}: ") and "delete it" in why and "\n" not in why


def test_a_discarded_record_leaves_nothing_and_touches_no_other(tmp_path):
    write(tmp_path / "fine")
    write(tmp_path / "full", status="oom", reason="no memory")
    records.discard(tmp_path / "full")
    assert (tmp_path / "fine/record.json").exists()
    assert list((tmp_path / "full").iterdir()) == []


@pytest.mark.parametrize(
    ("status", "reason", "left"),
    [
        ("crashed", "exit status 1: EOFError", []),
        ("crashed", "killed by SIGTERM", ["resume-0.pt"]),
        ("timeout", "too slow", ["resume-0.pt"]),
    ],
)
def test_only_its_own_crash_costs_the_saved_state_of_training(tmp_path, status, reason, left):
    """Where loading it is what crashed, it would crash for ever; what was stopped goes on from it."""
    write(tmp_path, status=status, reason=reason)
    (tmp_path / "resume-0.pt").touch()
    records.discard(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == left


def test_the_environment_is_an_allow_list_without_names_of_host_user_or_folder():
    import getpass
    import os
    import socket

    found = json.dumps(environment("cpu", 2))
    for secret in (socket.gethostname(), os.getcwd(), os.path.expanduser("~")):
        assert f'"{secret}"' not in found and (len(secret) < 5 or secret not in found)
    assert f'"{getpass.getuser()}"' not in found


JOB = {
    "dataset": "d",
    "model": "m",
    "track": "t",
    "seq_len": 5,
    "hyperparameters": {"d_model": 8},
    "training": {"max_steps": 9},
}


@pytest.fixture
def made(tmp_path):
    write(
        tmp_path,
        job=JOB,
        identity={"code": "now", "revision": None, "dirty": None},
        data={"name": "d", "hash": "h"},
    )
    return records.read_record(tmp_path)


def test_a_record_is_the_one_that_was_asked_for(made):
    here = made["environment"]["machine"]
    assert records.matches(made, JOB, "now", ["h"], [here])
    assert records.matches(made, {**JOB, "training": {"max_steps": 9, "precision": "fp32"}})


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"job": {**JOB, "training": {"max_steps": 10}}}, "training.max_steps"),
        ({"job": {**JOB, "hyperparameters": {}}}, "hyperparameters"),
        ({"identity": "other"}, "other code"),
        ({"data": ["x"]}, "other data"),
        ({"machines": ["elsewhere"]}, "another machine"),
    ],
)
def test_what_differs_is_named(made, asked, said):
    assert said in records.difference(made, **{"job": JOB, **asked})


def test_whole_numbers_take_the_least_room_and_come_back_as_they_were(tmp_path):
    values = {
        "a": np.array([0, 255]),
        "b": np.array([1, 70000]),
        "c": np.array([-1, 2]),
        "d": np.array([0.5]),
    }
    write(tmp_path, samples=values)
    found = records.read_samples(tmp_path, records.read_record(tmp_path))
    assert all(np.array_equal(found[k], v) and found[k].dtype == v.dtype for k, v in values.items())
    with np.load(tmp_path / "samples.npz") as stored:
        assert [stored[k].dtype.itemsize for k in "abcd"] == [1, 4, 8, 8]


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA])
def test_samples_are_what_numpy_reads_however_they_were_compressed(method):
    """Older records hold LZMA."""
    values = {"rank": np.arange(300, dtype=np.uint16), "loss": np.zeros((0,)), "s": np.asfortranarray(np.ones((2, 3)))}  # fmt: skip
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, array in values.items():
            file = io.BytesIO()
            np.save(file, array)
            archive.writestr(f"{name}.npy", file.getvalue())
    found = records.unpacked(buffer.getvalue())
    with np.load(io.BytesIO(buffer.getvalue())) as stored:
        assert [*found] == stored.files
        for name in found:
            assert np.array_equal(found._stored[name], stored[name]), name
            assert found._stored[name].dtype == stored[name].dtype
            assert found._stored[name].flags.writeable


def test_a_curve_becomes_columns():
    rows = [
        {"step": 1, "valid": {"kept": {"hr@10": 0.5}}},
        {"step": 2, "valid": {"kept": {"hr@10": 0.75}}},
    ]
    found = records.columns(rows, "curve")
    assert {k: v.tolist() for k, v in found.items()} == {
        "curve/step": [1, 2],
        "curve/valid/kept/hr@10": [0.5, 0.75],
    }
