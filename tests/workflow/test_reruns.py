"""What runs again after what change, and what never runs side by side. Verbs are stubs (stub.py)."""

from itertools import combinations

import pytest
from flow import DEMO, snakemake, write

pytestmark = [pytest.mark.workflow, pytest.mark.slow]

SHORT = {
    "run": {"datasets": ["demo"], "more_seeds": []},
    "measure": {"scaling": {"length_at_constant_batch": {"seq_lens": [8]}}},
}


@pytest.fixture
def demo(stubbed, tmp_path):
    """Run or plan the demo of a stubbed checkout in a folder apart from it."""
    config = write(tmp_path / "short.yaml", SHORT)

    def run(*arguments, more=(), **keys):
        return snakemake(
            stubbed, tmp_path / "elsewhere", *arguments, "--configfile", DEMO, config, *more,
            "--directory", tmp_path / "work", **keys,
        )  # fmt: skip

    return run


def job_log(work):
    rows = [line.split("\t") for line in (work / "jobs.log").read_text().splitlines()]
    return [(verb, about, float(start), float(end)) for verb, about, start, end in rows]


def edit(path, text="\nEDITED = 1\n"):
    """Add a statement, which counts; with a comment, one that does not."""
    path.write_text(path.read_text(encoding="utf-8") + text, encoding="utf-8")


def test_reruns(demo, stubbed, tmp_path):
    """One story, because each run of Snakemake costs seconds: run, run again, edit one thing at a time."""
    first = demo("report", "--cores", "4")
    assert first.status == 0, first.text
    assert (tmp_path / "work" / "report" / "index.html").exists()
    assert not (tmp_path / "elsewhere" / "results").exists()
    log = job_log(tmp_path / "work")
    assert sorted(verb for verb, *_ in log) == sorted(
        ["prepare", "grid", "collect", "report"] + ["run"] * 7 + ["measure"] * 2
    )
    for one, other in combinations(log, 2):
        if "measure" in (one[0], other[0]):
            assert one[3] <= other[2] or other[3] <= one[2], f"{one} beside {other}"

    moved = write(tmp_path / "moved.yaml", {"data_dir": "raw files"})
    assert "Nothing to be done" in demo("report", "--cores", "4", more=[moved]).text

    for file in ("models/sasrec.py", "seqbench/training/loop.py", "seqbench/data/formats.py"):
        edit(stubbed / file, "\n# edited\n")
    edit(stubbed / "seqbench" / "core" / "errors.py")  # cannot change a number
    plan = demo("report", "-n")
    assert not plan.jobs.keys() & {"train", "measure", "prepare"}

    edit(stubbed / "models" / "sasrec.py")
    plan = demo("report", "-n")
    assert (plan.jobs["train"], plan.jobs["measure"]) == (1, 2)
    assert "prepare" not in plan.jobs
    assert "wildcards: dataset=demo, track=matched, model=sasrec" in plan.text
    assert demo("report", "--cores", "4").status == 0

    edit(stubbed / "seqbench" / "config" / "grid.py")
    plan = demo("report", "-n")
    assert plan.jobs["grid"] == 1 and "train" not in plan.jobs

    edit(stubbed / "seqbench" / "report" / "page.py")
    plan = demo("report", "-n")
    assert not plan.jobs.keys() & {"train", "measure", "prepare"}
    assert plan.jobs["render"] == 1

    edit(stubbed / "seqbench" / "training" / "loop.py")
    assert demo("report", "-n").jobs["train"] == 4  # no baseline


def test_another_path_of_the_checkout_reruns_nothing(stubbed, tmp_path):
    """Moved with its results, reached by a symbolic link, and named by ``-s``."""
    config = write(tmp_path / "short.yaml", SHORT)
    arguments = ["report", "--cores", "4", "--configfile", "config/demo.yaml", config]
    assert snakemake(stubbed, stubbed, *arguments).status == 0
    moved = tmp_path / "moved"
    stubbed.rename(moved)
    assert "Nothing to be done" in snakemake(moved, moved, *arguments, "-n").text
    link = tmp_path / "link"
    link.symlink_to(moved)
    assert "Nothing to be done" in snakemake(link, link, *arguments, "-n").text
    assert "Nothing to be done" in snakemake(link, moved, *arguments, "-n").text


def test_a_job_that_fails_leaves_the_others_alone(demo, tmp_path):
    result = demo("report", "--cores", "4", variables={"SEQBENCH_STUB_FAIL": "gru4rec"})
    assert result.status != 0
    assert "error: as asked" in result.text
    done = {about.split("/")[4] for verb, about, *_ in job_log(tmp_path / "work") if verb == "run"}
    assert done == {"mamba4rec", "sasrec", "bert4rec", "popularity", "markov", "itemknn"}


def test_prepared_files_that_are_lost_or_damaged_are_made_again(demo, tmp_path):
    """By the commands that a user has: the lost file asked for, or the advice of data/store.py with --force."""
    info, lost = "results/data/demo/dataset.json", "results/data/demo/rows.npy"
    assert demo(info, "--cores", "1").jobs == {"prepare": 1}
    (tmp_path / "work" / lost).unlink()
    assert demo(lost, "--cores", "1").jobs == {"prepare": 1}
    assert (tmp_path / "work" / lost).exists()
    assert "Nothing to be done" in demo(info, "-n").text
    assert demo("--cores", "1", "--force", info, "-n").jobs == {"prepare": 1}
