"""What a run that failed says last, from what Snakemake logs of its jobs and from their own logs."""

import logging
import types

import pytest

from seqbench.core import failures
from seqbench.core.errors import UserError
from tools.gate import revisions

JOBS = {
    "prepare": ("results/data/ml-1m/dataset.json", "data ml-1m"),
    "train": ("results/runs/ml-1m/matched/sasrec/L50-s0/record.json", "training ml-1m matched sasrec L50-s0"),
    "measure": ("results/runs/ml-1m/matched/measure/L50-T2048/sasrec/record.json", "measurement ml-1m matched measure L50-T2048"),
    "tune_model": ("results/tune/ml-1m/sasrec/L50/study.json", "study ml-1m sasrec L50"),
    "collect": ("results/tables/x.csv", "collect"),
}  # fmt: skip


@pytest.fixture
def logged():
    """A logger that is watched, and how a job that fails is logged."""
    kept, logger = failures.Failures(), logging.Logger("snakemake-like")
    logger.addHandler(kept)

    def job(number, rule, output, log):
        event = types.SimpleNamespace(value=failures.EVENT)
        about = {
            "event": event,
            "rule_name": rule,
            "jobid": number,
            "output": [output],
            "log": [log],
        }
        logger.error("Error in rule", extra=about)

    return kept, job


def test_each_failure_is_one_line_with_its_reason_data_first(logged, tmp_path):
    kept, job = logged
    for number, (rule, (output, _)) in enumerate(reversed(JOBS.items())):
        log = tmp_path / f"{rule}.log"
        log.write_text(f"progress\rmore\nerror: {rule} lacks x; do y\nerror: refused (see above)\n")
        job(number, rule, output, f"{log} (check log file(s) for error details)")
        job(number, rule, output, str(log))  # logged twice
    expected = [f"failed: {name}: {rule} lacks x; do y" for rule, (_, name) in JOBS.items()]
    assert kept.lines()[:-1] == expected
    assert "run the same command again" in kept.lines()[-1]


def test_a_job_that_ends_well_when_it_is_tried_again_has_not_failed(logged):
    kept, job = logged
    for number in (1, 2):
        job(number, "train", JOBS["train"][0], "nowhere")
    event = types.SimpleNamespace(value=failures.FINISHED)
    kept.handle(logging.makeLogRecord({"levelno": logging.INFO, "event": event, "job_id": 1}))
    assert list(kept.jobs) == ["2"]


def test_without_a_word_of_ours_the_last_line_of_the_log_is_told(logged, tmp_path):
    kept, job = logged
    (tmp_path / "a.log").write_text("Traceback\nValueError: odd\n\n")
    (tmp_path / "b.log").write_bytes(b"\xff\n")
    (tmp_path / "c.log").touch()
    for number, name in enumerate("abcd"):
        job(number, "train", JOBS["train"][0], str(tmp_path / f"{name}.log"))
    said = kept.lines()
    assert f"ValueError: odd (see {tmp_path / 'a.log'})" in said[0]
    assert said[2].endswith("ended without a word: was it killed?") and len(said) == 5


def test_a_hundred_failures_do_not_hide_what_to_do(logged):
    kept, job = logged
    for number in range(100):
        job(number, "train", JOBS["train"][0], "nowhere")
    assert len(kept.lines()) == failures.SHOWN + 2 and "80 more" in kept.lines()[-2]


def test_other_lines_of_the_log_are_no_failures(logged):
    kept, _ = logged
    logging.Logger.error(logging.getLogger("x"), "nothing of ours")
    kept.handle(logging.LogRecord("x", logging.ERROR, "", 0, "WorkflowError", None, None))
    assert not kept.jobs


@pytest.mark.parametrize(
    ("script", "said"),
    [
        (None, "git cannot be run (No such file or directory): install it"),
        ("exit 1", "git status: failed"),
        (
            "echo \"fatal: detected dubious ownership in repository at '/x'\n\n\tgit config --global --add safe.directory /x\" >&2; exit 128",
            "`git config --global --add safe.directory /x` trusts it",
        ),
        ("printf 'fatal: bad \\377 name\\n' >&2; exit 128", "fatal: bad"),
    ],
)  # fmt: skip
def test_git_that_is_absent_or_refuses_is_one_line_in_the_gate(monkeypatch, tmp_path, script, said):
    if script:
        (tmp_path / "git").write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / "git").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError) as caught:
        revisions.git("status")
    assert said in str(caught.value) and "\n" not in str(caught.value)
