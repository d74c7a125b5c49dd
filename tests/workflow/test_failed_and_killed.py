"""A run that is killed and one that fails: what is left, what it says last, and that the same command goes on."""

import os
import subprocess
import time
from pathlib import Path

import pytest
import yaml
from flow import DEMO, command, snakemake, write

pytestmark = [pytest.mark.workflow, pytest.mark.slow]

SHORT = {
    "run": {"datasets": ["demo"], "models": ["sasrec"], "more_seeds": []},
    "measure": {"models": ["sasrec"], "scaling": {"length_at_constant_batch": {"seq_lens": [8]}}},
    "report": {"focal_model": "sasrec"},
}


def until(condition):
    """A limit that ends a hang."""
    ends = time.monotonic() + 600
    while not condition():
        assert time.monotonic() < ends
        time.sleep(0.05)


def test_a_killed_run_leaves_no_process_and_no_lock_to_remove(stubbed, tmp_path):
    config, work = write(tmp_path / "short.yaml", SHORT), tmp_path / "work"
    arguments = ["report", "--cores", "2", "--configfile", DEMO, config]
    work.mkdir()
    first = subprocess.Popen(
        command(stubbed, *arguments), cwd=work, env={**os.environ, "SEQBENCH_STUB_HANG": "sasrec"},
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    hanging = work / "hanging"
    until(lambda: hanging.exists() and hanging.read_text())
    beside = snakemake(stubbed, work, *arguments)
    assert beside.status != 0
    last = beside.text.strip().splitlines()[-1]
    assert f"process {first.pid}: wait for it, or end it" in last, beside.text
    first.kill()
    first.wait()
    until(lambda: not Path(f"/proc/{hanging.read_text()}").exists())
    again = snakemake(stubbed, work, *arguments)
    assert again.status == 0, again.text
    assert "its lock is removed" in again.text
    assert "Nothing to be done" in snakemake(stubbed, work, *arguments).text
    damaged = next(work.glob("results/runs/*/*/sasrec/*/samples.npz"))
    damaged.write_bytes(b"x")
    healed = snakemake(stubbed, work, *arguments)
    assert f"{damaged.relative_to(work)}: damaged" in healed.text
    assert healed.jobs == {"train": 1, "collect": 1, "render": 1, "report": 1}, healed.text
    assert "Nothing to be done" in snakemake(stubbed, work, *arguments).text


def test_of_two_runs_that_start_at_once_one_computes_and_one_is_told_who_does(stubbed, tmp_path):
    config, work = write(tmp_path / "short.yaml", SHORT), tmp_path / "work"
    work.mkdir()
    arguments = ["report", "--cores", "2", "--configfile", DEMO, config]
    logs, both = [tmp_path / "0.log", tmp_path / "1.log"], []
    for log in logs:
        with log.open("wb") as file:
            both.append(
                subprocess.Popen(
                    command(stubbed, *arguments), cwd=work, env={**os.environ, "SEQBENCH_STUB_HANG": "sasrec"},
                    stdout=file, stderr=file,
                )
            )  # fmt: skip
    hanging = work / "hanging"
    until(lambda: hanging.exists() and hanging.read_text())
    until(lambda: any(run.poll() is not None for run in both))
    loser = next(number for number, run in enumerate(both) if run.poll() is not None)
    winner = both[1 - loser]
    assert both[loser].returncode and winner.poll() is None
    said = logs[loser].read_text().strip().splitlines()[-1]
    assert f"in use by process {winner.pid}: wait for it, or end it" in said
    winner.kill()
    winner.wait()
    until(lambda: not Path(f"/proc/{hanging.read_text()}").exists())


def test_what_data_need_comes_first_and_what_failed_comes_last(stubbed, tmp_path):
    demo = yaml.safe_load(DEMO.read_text(encoding="utf-8"))["datasets"]["demo"]
    more = {
        **SHORT,
        "datasets": {"lost": demo},
        "run": {**SHORT["run"], "datasets": ["demo", "lost"]},
    }
    config, work = write(tmp_path / "more.yaml", more), tmp_path / "work"
    arguments = ["report", "--cores", "2", "--configfile", DEMO, config]
    result = snakemake(stubbed, work, *arguments, variables={"SEQBENCH_STUB_FAIL": "lost"})
    assert result.status != 0
    assert result.text.strip().splitlines()[-2:] == [
        "failed: data lost: lost cannot be downloaded; put it into data/",
        "what is done stays: mend this, then run the same command again",
    ]
    started = result.text.index("Error in rule prepare")
    verbs = [line.split("\t")[0] for line in (work / "jobs.log").read_text().splitlines()]
    assert "measure" in verbs and "run" in verbs  # of what does not need it
    assert started < result.text.index("rule measure:")
    assert snakemake(stubbed, work, *arguments).status == 0


@pytest.mark.parametrize("seconds", ["0.001", "30"])
def test_a_deadline_ends_a_run_in_one_line_and_the_same_command_goes_on(stubbed, tmp_path, seconds):
    """The shorter one comes while Snakemake plans; at the other the training runs, or waits for a busy machine."""
    config, work = write(tmp_path / "short.yaml", SHORT), tmp_path / "work"
    arguments = ["report", "--cores", "2", "--configfile", DEMO, config]
    variables = {"SEQBENCH_STUB_LONG": "sasrec", "SEQBENCH_DEADLINE_S": seconds}
    result = snakemake(stubbed, work, *arguments, variables=variables)
    assert result.status == 75, result.text
    assert result.text.strip().splitlines()[-1].startswith(f"deadline: {seconds} s are over")
    assert "Error" not in result.text and "failed" not in result.text, result.text
    log = work / "jobs.log"
    before = log.read_text().splitlines() if log.exists() else []
    assert not [line for line in before if line.startswith("run\t")]
    again = snakemake(stubbed, work, *arguments)
    assert again.status == 0, again.text
    lines = log.read_text().splitlines()
    assert lines[: len(before)] == before and len(set(lines)) == len(lines)
    assert (
        "Nothing to be done"
        in snakemake(stubbed, work, *arguments, "--config", "deadline_s=60").text
    )
