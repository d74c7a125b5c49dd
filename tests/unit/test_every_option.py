"""Every option of every verb with what nobody means: a line that says so, or the work; never a traceback, never a command run."""

import argparse
import json
import os

import pytest

from seqbench import cli

pytestmark = pytest.mark.slow
JOB = json.dumps({"dataset": "own", "model": "sasrec", "track": "matched", "seq_len": 4, "seed": 0})
GOOD = {
    "name": "own", "definition": '{"source": "file", "k_core": 1, "local": {"path": "missing"}}', "data_dir": "dir", "out": "out",
    "job": "{}", "study": "{}", "tuned": "tuned.yaml", "dataset": "dir", "config": "{}", "grid": "object.json", "results": "dir",
    "tables": "dir", "records": "dir", "status": "oom",
}  # fmt: skip
NONSENSE = [
    "", "missing", "file", "bytes", "dir", "list.json", "object.json", "utf-16.yaml", "loop", "file/below", "/dev/null", "~nobody-at-all/x",
    "a" * 300, "x/" * 3000, "\udcff", "\u202e", "-1", "0", "1e400", "nan", "1.5", "9" * 400, "[]", "{}", "null", '{"a":', '"x"', "[" * 9000,
    '{"dataset": 1}', '{"a": NaN}', "--", "--help-me", "$(touch pwned)", "; touch pwned", "`touch pwned`", "\n", "a\nb", "*", "<script>",
]  # fmt: skip
VERBS = next(a for a in cli._parser()._actions if isinstance(a, argparse._SubParsersAction)).choices


def options(verb):
    return [action for action in VERBS[verb]._actions if action.dest != "help"]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SEQBENCH_LEASES", str(tmp_path))
    (tmp_path / "dir").mkdir()
    (tmp_path / "loop").symlink_to("loop")
    for name, content in {
        "file": b"x", "bytes": b"\xff\xfe\x00\x01", "list.json": b"[]", "object.json": b"{}",
        "utf-16.yaml": "run: {}".encode("utf-16"),
    }.items():  # fmt: skip
        (tmp_path / name).write_bytes(content)
    return tmp_path


def command(verb, tried, value):
    """The verb with one option's nonsense; other options that it needs are plausible, and lead to nothing."""
    words = [verb]
    for action in options(verb):
        given = value if action is tried else GOOD.get(action.dest, "dir")
        if action is tried or action.required:
            if verb == "train" and action.dest == "job" and action is not tried:
                given = JOB  # in this process; the other verbs would start one for each value
            words.append(f"{action.option_strings[0]}={given}" if action.option_strings else given)
    return words


@pytest.mark.parametrize(
    ("verb", "option"),
    [(verb, action.dest) for verb in VERBS for action in options(verb)],
)
def test_nonsense_is_one_line(folder, capsys, verb, option):
    (tried,) = [action for action in options(verb) if action.dest == option]
    for value in NONSENSE:
        try:
            status = cli.main(command(verb, tried, value))
        except SystemExit as end:
            status = end.code
        said = capsys.readouterr().err
        assert status in (0, 1, 2, 75), (value, status)
        if status not in (0, 1):
            last = said.rstrip("\n").rpartition("\n")[2]
            assert "error: " in last and "Traceback" not in said, (value, said)
            assert last.isprintable()
        assert not list(folder.rglob("pwned"))
    assert not (folder / "~nobody-at-all").exists() and os.getcwd() == str(folder)
