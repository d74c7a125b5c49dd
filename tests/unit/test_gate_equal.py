"""A declared change: pairs of identities, what refuses them, and whole runs on two revisions."""

import copy
import json
import shutil
import subprocess
import sys

import pytest

from seqbench.core import provenance
from seqbench.core.errors import UserError
from tools.gate import equal

ABOUT = {"old_revision": "1" * 40, "new_revision": None, "python": "3.11", "torch": "2", "machine": "m"}  # fmt: skip
JOBS = {
    "short": {"step 8/loss": 4.25, "weights": "a" * 64},
    "long": {"step 8/loss": 4.5, "weights": "b" * 64},
}


def side(mark):
    """What a revision says of three subjects; ``mark`` tells its identities apart."""
    subjects = ("training/sasrec", "training/gru4rec", "preparing")
    return {
        "identities": {subject: f"{subject}-{mark}" for subject in subjects},
        "jobs": {subject: copy.deepcopy(JOBS) for subject in subjects},
        "unrun": {subject: {} for subject in subjects},
    }


@pytest.fixture
def sides():
    return side("old"), side("new")


def paired(pairs):
    return [(p["kind"], p["model"], p["old"], p["new"]) for p in pairs]


def test_equal_numbers_give_a_pair_of_every_identity_that_differs(sides):
    old, new = sides
    new["identities"]["training/gru4rec"] = old["identities"]["training/gru4rec"]
    pairs, differing = equal.compare(old, new, ABOUT)
    assert differing == {}
    assert paired(pairs) == [
        ("training", "sasrec", "training/sasrec-old", "training/sasrec-new"),
        ("preparing", None, "preparing-old", "preparing-new"),
    ]
    proof = pairs[0]["proof"]
    assert proof == {"jobs": 2, "digest": proof["digest"], **ABOUT} and len(proof["digest"]) == 64


def test_the_digest_of_a_proof_is_of_every_number_and_of_no_order(sides):
    old, new = sides
    (first, *_), _ = equal.compare(old, new, ABOUT)
    for one in sides:
        one["jobs"]["training/sasrec"] = dict(reversed(JOBS.items()))
    (again, *_), _ = equal.compare(old, new, ABOUT)
    for one in sides:
        one["jobs"]["training/sasrec"] = {**JOBS, "long": {**JOBS["long"], "step 8/loss": 4.75}}
    (other, *_), _ = equal.compare(old, new, ABOUT)
    digests = [pair["proof"]["digest"] for pair in (first, again, other)]
    assert digests[0] == digests[1] != digests[2]


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (lambda jobs: jobs["long"].update({"step 8/loss": 4.75}),
         "long: step 8/loss: 4.5 -> 4.75; 1 of 2 quantities"),
        (lambda jobs: jobs["long"].update({"weights": "c" * 64}),
         f"long: weights: {'b' * 12} -> {'c' * 12}; 1 of 2 quantities"),
        (lambda jobs: jobs["long"].pop("weights"),
         f"long: weights: {'b' * 12} -> none; 1 of 2 quantities"),
        (lambda jobs: jobs.pop("long"), "long: gone"),
    ],
)  # fmt: skip
def test_a_difference_is_one_line_and_no_pair_of_its_subject_alone(sides, change, line):
    old, new = sides
    change(new["jobs"]["training/sasrec"])
    pairs, differing = equal.compare(old, new, ABOUT)
    assert differing == {"training/sasrec": [line]}
    assert [p["model"] for p in pairs] == ["gru4rec", None]


def test_a_model_gets_no_pair_while_anything_of_it_differs(sides):
    old, new = sides
    for one in sides:
        one["identities"]["measuring/sasrec"] = f"measuring-{one is old}"
        one["jobs"]["measuring/sasrec"] = {"count": {"train/flops": 1 + (one is old)}}
    pairs, differing = equal.compare(old, new, ABOUT)
    assert list(differing) == ["measuring/sasrec"]
    assert [p["model"] for p in pairs] == ["gru4rec", None]


def test_a_subject_without_a_job_is_not_proved(sides):
    for one in sides:
        one["jobs"]["preparing"] = {}
    pairs, differing = equal.compare(*sides, ABOUT)
    assert differing == {"preparing": ["no job ran"]} and len(pairs) == 2


def test_a_job_that_only_the_new_revision_has_is_not_compared(sides):
    old, new = sides
    new["jobs"]["training/sasrec"]["later"] = {"step 8/loss": 1.0}
    new["jobs"]["training/other"] = {"short": {}}
    pairs, differing = equal.compare(old, new, ABOUT)
    assert differing == {} and pairs[0]["proof"]["jobs"] == 2


def test_equal_identities_with_other_numbers_differ(sides):
    old, new = sides
    new["identities"] = old["identities"]
    new["jobs"]["preparing"]["short"]["step 8/loss"] = 0.0
    assert list(equal.compare(old, new, ABOUT)[1]) == ["preparing"]


def test_other_code_that_no_job_runs_is_a_difference(sides):
    old, new = sides
    old["unrun"]["training/sasrec"] = {"d1": "models/gpu.py", "d2": "models/moved.py"}
    new["unrun"]["training/sasrec"] = {"d3": "models/gpu.py", "d2": "models/elsewhere.py"}
    _, differing = equal.compare(old, new, ABOUT)
    said = "models/gpu.py: its code differs, and no job here runs it"
    assert differing == {"training/sasrec": [said, said]}


def test_what_was_proved_before_needs_no_other_pair(sides, tmp_path, monkeypatch):
    old, new = sides
    file = tmp_path / "equivalent.json"
    monkeypatch.setattr(provenance, "EQUIVALENT", file)
    pairs, _ = equal.compare(old, new, ABOUT)
    assert equal.add(pairs, file) == pairs == json.loads(file.read_text())
    assert equal.add(pairs, file) == []
    provenance._representatives.cache_clear()
    assert equal.compare(old, new, ABOUT) == ([], {})
    assert equal.compare(new, old, ABOUT) == ([], {})  # taken back: the identities are one
    provenance._representatives.cache_clear()


def test_chains_of_proofs_are_one_class_in_any_order(tmp_path):
    file = tmp_path / "equivalent.json"
    chain = [{"old": "b", "new": "c"}, {"old": "a", "new": "b"}, {"old": "x", "new": "y"}]
    assert equal.add(chain, file) == chain
    found = provenance._representatives(file)
    assert {found[name] for name in "abc"} == {"a"} and found["y"] == "x"
    assert equal.add([{"old": "a", "new": "c"}, {"old": "c", "new": "x"}], file)
    provenance._representatives.cache_clear()
    assert set(provenance._representatives(file).values()) == {"a"}
    provenance._representatives.cache_clear()


@pytest.mark.parametrize("text", ["{", '[{"old": "a"}]', "3"])
def test_a_damaged_file_is_named(tmp_path, text):
    file = tmp_path / "equivalent.json"
    file.write_text(text)
    with pytest.raises(UserError, match=r"equivalent\.json: damaged; restore it"):
        equal.add([], file)
    assert file.read_text() == text


# --- revisions ----------------------------------------------------------------------------------------------------


def git(root, *arguments):
    command = ["git", "-C", str(root), "-c", "user.name=t", "-c", "user.email=t@t", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture
def checkout(tmp_path):
    """A repository of its own with the code of this one, committed."""
    root = tmp_path / "checkout"
    root.mkdir()
    for folder in equal.CODE:
        shutil.copytree(provenance.ROOT / folder, root / folder)
    schemas = "workflow/schemas"
    shutil.copytree(provenance.ROOT / schemas, root / schemas)
    (root / ".gitignore").write_text("__pycache__/\n")
    git(root, "init", "--quiet")
    git(root, "add", ".")
    git(root, "commit", "--quiet", "--message", "first")
    return root


def run(root, *arguments):
    command = [sys.executable, "-m", "tools.gate", "equal", *arguments]
    return subprocess.run(command, cwd=root, capture_output=True, text=True)


def edit(file, old, new):
    text = file.read_text()
    assert text.count(old) == 1
    file.write_text(text.replace(old, new))


def test_changes_that_are_not_committed_need_the_name_of_the_working_tree(checkout):
    (checkout / "models/more.py").write_text("")
    done = run(checkout, "HEAD")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "error: models/more.py is not committed: commit it, or name the working tree: equal OLD .\n"
    )


def test_an_unknown_revision_is_refused_in_one_line(checkout):
    done = run(checkout, "nowhere")
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1


@pytest.mark.slow
def test_a_revision_that_cannot_run_the_jobs_is_refused_in_one_line(checkout):
    """As any from before the command: it has no probe, and other names."""
    first = git(checkout, "rev-parse", "HEAD")
    (checkout / "seqbench/core/jobs.py").rename(checkout / "seqbench/core/other.py")
    (checkout / equal.PROBE).unlink()
    git(checkout, "commit", "--quiet", "--all", "--message", "other names")
    other = git(checkout, "rev-parse", "HEAD")
    git(checkout, "reset", "--quiet", "--hard", first)
    done = run(checkout, other, "HEAD", "--models", "popularity")
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith(
        f"error: {other}: {equal.PROBE} (it has none, and the new revision's) failed: "
    )
    assert "seqbench.core.jobs" in line


@pytest.mark.slow
def test_a_restructuring_is_declared_and_a_planted_number_refused_for_its_model(checkout):
    """Popularity is rewritten without another number, ItemKNN divides by a little more."""
    edit(
        checkout / "models/popularity.py",
        "self.counts.copy_(",
        "counts = self.counts\n        counts.copy_(",
    )
    edit(checkout / "models/itemknn.py", "shrinkage: float = 10.0", "shrinkage: float = 10.5")
    done = run(checkout, "HEAD", ".", "--models", "popularity", "itemknn", "markov", "--write")
    assert done.returncode == 1, done.stderr
    lines = done.stdout.splitlines()
    differing = [line for line in lines if "quantities" in line]
    assert differing and all(line.startswith("training/itemknn: ") for line in differing)
    (pair,) = json.loads((checkout / "results/reference/equivalent.json").read_text())
    assert (pair["kind"], pair["model"]) == ("training", "popularity")
    assert pair["proof"]["new_revision"] is None and pair["proof"]["jobs"] == 2
    assert pair["proof"]["old_revision"] == git(checkout, "rev-parse", "HEAD")


@pytest.mark.slow
def test_a_number_changed_in_sasrec_is_refused_for_sasrec_alone(checkout):
    embedded = "self.item_embedding(items) + positions"
    edit(checkout / "models/sasrec.py", embedded, f"1.0001 * {embedded}")
    git(checkout, "commit", "--quiet", "--all", "--message", "a number")
    done = run(checkout, "HEAD~1", "--models", "sasrec", "gru4rec", "--write")
    assert done.returncode == 1, done.stderr
    said = {line.partition(": ")[0]: line for line in done.stdout.splitlines()}
    assert "loss" in said["training/sasrec"]
    assert all("equal" in said[f"{kind}/gru4rec"] for kind in ("training", "measuring"))
    assert not (checkout / "results/reference/equivalent.json").exists()
