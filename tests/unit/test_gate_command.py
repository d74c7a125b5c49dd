"""The command as a whole, with processes and counts made up: what it writes, its exit status, revisions and their pins."""

import json

import numpy as np
import pytest

from seqbench.core.errors import UserError
from seqbench.core.provenance import ROOT
from tools.gate import command, golden, history, output, revisions, workbench, workers
from tools.gate.golden import Change

needs_git = pytest.mark.skipif(not (ROOT / ".git").exists(), reason="not a git checkout")


class Blocks:
    """In place of processes: one stage, which head runs so much slower."""

    def __init__(self, factor):
        self.factor = factor

    def warm(self):
        pass

    def block(self, only):
        if self.factor is None:
            return {"prepare": {"error": "ImportError: no", "side": "base"}}
        return {"prepare": workers.result(np.array([1, self.factor, self.factor, 1])[:, None])}


@pytest.fixture
def run(monkeypatch, tmp_path):
    """`regression` with these changes of tier 1 and this factor of tier 2; its exit status and what it wrote."""
    monkeypatch.setattr(workbench, "make", lambda folder: folder)

    def regression(changes=(), factor=1.0, base="HEAD", budget_s=30.0):
        monkeypatch.setattr(golden, "check", lambda: list(changes))
        monkeypatch.setattr(command, "Workers", lambda *a: Blocks(factor))
        status = command.regression(base, budget_s, tmp_path / "out", accept=False)
        return status, json.loads((tmp_path / "out" / "regression.json").read_text())

    return regression


@needs_git
@pytest.mark.parametrize(
    ("changes", "factor", "outcome"),
    [
        ((), 1.0, output.OK),
        ((), 1.2, output.FAILED),
        ((Change("x", 1, 2),), 1.0, output.FAILED),
        ((), None, output.INCONCLUSIVE),
    ],
)
def test_exit_status_and_files(run, tmp_path, changes, factor, outcome):
    status, content = run(changes, factor)
    assert (status, content["outcome"]) == (output.STATUS[outcome], outcome)
    names = {file.name for file in (tmp_path / "out").iterdir()}
    assert names == {"regression.json", "regression.xml", "regression.md", "history.jsonl"}
    (line,) = history.read(tmp_path / "out" / "history.jsonl")
    assert list(line["seconds"]) == ([] if factor is None else ["prepare"])
    if factor is None:
        assert content["reason"] == "nothing could be compared: base: ImportError: no"


def test_a_run_that_breaks_leaves_nothing_of_the_one_before(run, tmp_path, monkeypatch):
    """Or a system that collects files would show that one's."""
    run()

    def broken():
        raise UserError("no golden values")

    monkeypatch.setattr(golden, "check", broken)
    with pytest.raises(UserError, match="no golden values"):
        command.regression(None, 1.0, tmp_path / "out", accept=False)
    assert {file.name for file in (tmp_path / "out").iterdir()} == {"history.jsonl"}


def test_without_a_base_only_what_needs_no_clock_runs(run, tmp_path):
    status, content = run(base=None)
    assert status == 0 and content["tier2"] is None and content["tier1"] == []
    assert not (tmp_path / "out" / "history.jsonl").exists()


@needs_git
def test_a_base_that_is_none_is_said_before_anything_is_measured(run, tmp_path, monkeypatch):
    monkeypatch.setattr(golden, "check", lambda: pytest.fail("measured"))
    with pytest.raises(UserError, match="name a revision that this checkout has with --base"):
        command.regression("no-such-revision", 1.0, tmp_path, accept=False)


@needs_git
def test_a_base_with_other_pins_is_timed_in_its_own_environment_or_not_at_all(run, monkeypatch):
    seen = []
    monkeypatch.setattr(revisions, "pins", lambda root: [str(root == ROOT)])
    monkeypatch.setattr(revisions, "interpreter", lambda root: seen.append(root) or "its python")
    assert run()[0] == 0 and len(seen) == 1 and seen[0] != ROOT

    def cannot(root):
        raise UserError("its pins differ, and its own environment could not be made: no network")

    monkeypatch.setattr(revisions, "interpreter", cannot)
    status, content = run()
    assert status == 3 and content["tier2"] is None and "no network" in content["reason"]


@needs_git
def test_a_worktree_is_a_checkout_and_gone_afterwards():
    with revisions.worktree("HEAD") as folder:
        assert (folder / "Snakefile").exists() and folder != ROOT
        assert revisions.pins(folder), "it can be compared"
    assert not folder.exists()


def test_pins_are_those_of_what_is_timed(tmp_path):
    file = tmp_path / "pyproject.toml"
    with pytest.raises(UserError, match=r"pyproject.toml of the other revision: .*compare with a later one"):  # fmt: skip
        revisions.pins(tmp_path)
    text = '[project]\nname = "x"\ndependencies = ["torch=={}", "numpy==2"]\n[project.optional-dependencies]\ndev = ["ruff=={}", "pytest-benchmark==5"]\n'
    found = []
    for torch, ruff in (("1", "1"), ("1", "2"), ("2", "1")):
        file.write_text(text.format(torch, ruff))
        found.append(revisions.pins(tmp_path))
    assert found[0] == found[1] == ["numpy==2", "pytest-benchmark==5", "torch==1"]
    assert found[2] != found[0]


def test_an_environment_that_cannot_be_made_says_why(tmp_path):
    (tmp_path / "Makefile").write_text("setup:\n\t@echo no torch for this machine >&2; exit 1\n")
    with pytest.raises(UserError, match=r"could not be made: no torch for this machine$"):
        revisions.interpreter(tmp_path)


@pytest.mark.parametrize("arguments", [["--budget-s", "nan"], ["--budget-s", "0"], ["--budget-s", "-3"]])  # fmt: skip
def test_a_budget_that_is_none_is_refused(capsys, arguments):
    from tools.gate.__main__ import main

    with pytest.raises(SystemExit) as end:
        main(["--out", "x", *arguments])
    assert end.value.code == 2 and "not a positive number" in capsys.readouterr().err
