"""The last lines of a run that failed: which data, trainings or measurements, why, and what mends it; or who has the folder."""

from __future__ import annotations

import atexit
import logging
import re
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from . import runs
from .errors import SEE_ABOVE

DECIDES = "nothing"

EVENT, FINISHED = "job_error", "job_finished"  # of Snakemake's own log
LOCKED = "LockException"  # a class of Snakemake's, whose name its log shows
SHOWN = 20
REFUSED = "error: "  # how a command of ours begins the line that says what to mend
# By rule, its output with what names the job.
_JOBS = {
    "prepare": ("data", r"results/data/([^/]+)/"),
    "train": ("training", r"results/runs/(.+)/record\.json"),
    "baseline": ("baseline", r"results/runs/(.+)/record\.json"),
    "measure": ("measurement", r"results/runs/(.+)/[^/]+/record\.json"),
    "tune_model": ("study", r"results/tune/(.+)/study\.json"),
}


class Failures(logging.Handler):
    """Keeps what Snakemake logs of jobs that failed; ``lines`` says it in full."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.jobs: dict[str, tuple[str, list[str], list[str]]] = {}
        self.refused = False  # the folder is locked

    def emit(self, record: logging.LogRecord) -> None:
        """Keep one failure: rule, outputs and logs of its job; a job that ends well when it is tried again is none."""
        if record.levelno >= logging.ERROR:
            self.refused |= LOCKED in str(record.msg)
        if _event(record) == FINISHED:
            self.jobs.pop(str(record.job_id), None)
        elif is_failure(record):
            said = (record.rule_name, _files(record, "output"), _files(record, "log"))
            self.jobs[str(getattr(record, "jobid", record.msg))] = said

    def lines(self) -> list[str]:
        """One line per job, data first, and what to do then."""
        rules = list(_JOBS)
        order = {rule: i for i, rule in enumerate(rules)}
        jobs = sorted(self.jobs.values(), key=lambda job: (order.get(job[0], len(rules)), job[1]))
        said = [f"failed: {_what(rule, output)}: {_why(log)}" for rule, output, log in jobs]
        if len(said) > SHOWN:
            said[SHOWN:] = [f"... and {len(said) - SHOWN} more"]
        return [*said, "what is done stays: mend this, then run the same command again"]


def is_failure(record: logging.LogRecord) -> bool:
    """Whether Snakemake logs a job that failed."""
    return _event(record) == EVENT and hasattr(record, "rule_name")


def _event(record: logging.LogRecord) -> str | None:
    event = getattr(record, "event", None)
    return getattr(event, "value", event)


def reason(record: logging.LogRecord) -> str:
    """Why the job failed that Snakemake logs: the last line by which a command refused, else the last line of its log."""
    return _why(_files(record, "log"))


def _files(record: logging.LogRecord, part: str) -> list[str]:
    return [str(file) for file in getattr(record, part, None) or ()]


def watch(logger: logging.Logger, snakemake: Path) -> Failures:
    """Print what failed when this process ends, behind everything that Snakemake says; what has failed so far.

    snakemake: folder of its state. Of a lock Snakemake says how to remove it, also where its owner lives.
    """
    failures = Failures()
    logger.addHandler(failures)
    atexit.register(_say, failures, snakemake)
    return failures


def _say(failures: Failures, snakemake: Path) -> None:
    lines = failures.lines() if failures.jobs else []
    with suppress(OSError):
        if failures.refused and (others := runs.in_use(snakemake)):
            lines.append(f"note: {others}")
        if lines:
            print("\n".join(lines), file=sys.stderr, flush=True)


def _what(rule: str, output: Sequence[str]) -> str:
    kind, pattern = _JOBS.get(rule, (rule, "$^"))
    found = next(filter(None, (re.search(pattern, file) for file in output)), None)
    return f"{kind} {found[1].replace('/', ' ')}" if found else kind


def _why(logs: Sequence[str]) -> str:
    """The last line by which a command refused, else the last line of its log."""
    for log in logs:
        path = re.sub(r" \(check log file.*", "", log)
        try:
            text = Path(path).read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue
        said = [line.strip() for line in re.split(r"[\r\n]+", text) if line.strip()]
        refused = [ln for ln in said if ln.startswith(REFUSED) and not ln.endswith(SEE_ABOVE)]
        if refused:
            return refused[-1].removeprefix(REFUSED)
        if said:
            return f"{said[-1]} (see {path})"
    return "ended without a word: was it killed?"
