"""The deadline of a run: after it nothing new starts, what runs stops so that the next call goes on, and what is done stays.

It is given in seconds from the start of Snakemake, as ``deadline_s`` in the configuration or as ``SEQBENCH_DEADLINE_S``.
Jobs learn by a variable when it comes. It is part of no identity; records name it.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from .errors import MachineError, UserError
from .failures import is_failure, reason

DECIDES = "nothing"

ASKED = "SEQBENCH_DEADLINE_S"  # variable of users: seconds
COMES = "SEQBENCH_DEADLINE"  # variable of jobs: the time at which it comes, since the epoch, and the seconds that were given
GRACE_S = 30.0  # for a training to come to the end of its epoch, behind the deadline
STATUS = MachineError.status  # of Snakemake, where the deadline ended it and nothing failed
WORDS = "stopped at the deadline"
_LOOK_EVERY_S = 0.1
# Snakemake's words on what ends by the deadline: of the scheduler, at each job's end again, and of the shell of such a job.
_WAITS, _EXIT = (
    "Will exit after finishing currently running jobs",
    f"non-zero exit status {STATUS}.",
)


class Over(MachineError):
    """The deadline has come; what was done of the job is kept where it can be."""

    def __init__(self, what: str) -> None:
        super().__init__(f"{WORDS}: {what}; the same command goes on")


def given() -> float | None:
    """Seconds that the run was given; None without a deadline."""
    return _known()[1]


def left_s() -> float:
    """Seconds until the deadline; infinite without one."""
    comes, _ = _known()
    return float("inf") if comes is None else comes - time.time()


def _known() -> tuple[float | None, float | None]:
    comes, _, seconds = os.environ.get(COMES, "").partition(" ")
    return (float(comes), float(seconds)) if seconds else (None, None)


def check(what: str) -> None:
    """Refuse to begin ``what`` behind the deadline.

    Raises:
        Over: it has come.
    """
    if left_s() <= 0:
        raise Over(f"{what} does not begin")


@contextmanager
def waiting(what: str) -> Iterator[None]:
    """Give up a wait at the deadline, in the main thread; elsewhere it lasts as long as it lasts.

    Raises:
        Over: it came while the block waited.
    """
    left = left_s()
    if left == float("inf") or threading.current_thread() is not threading.main_thread():
        yield
        return

    def give_up(*_: object) -> None:
        raise Over(f"{what} waited until then")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.setitimer(signal.ITIMER_REAL, max(left, 1e-3))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


# --- in Snakemake's own process ---------------------------------------------------------------------------------------


def announce(configured: float | None) -> None:
    """Say for this process and its jobs when the deadline comes; the variable of users wins over the configuration.

    Raises:
        UserError: the variable holds no positive number.
    """
    text = os.environ.get(ASKED, "")
    try:
        seconds = float(text) if text else configured
    except ValueError:
        seconds = -1.0
    if seconds is None:
        os.environ.pop(COMES, None)
    elif 0 < seconds < float("inf"):
        os.environ[COMES] = f"{time.time() + seconds:.3f} {seconds:g}"
    else:
        raise UserError(f"{ASKED} = {text!r}: not a positive number of seconds")


def end_scheduling(logger: logging.Logger) -> None:
    """At the deadline have Snakemake start nothing new and wait for what runs; jobs that stopped for it are no errors in its log."""
    if given() is None:
        return
    logger.addFilter(_is_news)
    timer = threading.Timer(max(left_s(), 0), _terminate)
    timer.daemon = True
    timer.start()


def _terminate() -> None:
    """SIGTERM is how Snakemake is asked to; while it still plans it has no handler, and would be killed."""
    while signal.getsignal(signal.SIGTERM) in (signal.SIG_DFL, None):
        time.sleep(_LOOK_EVERY_S)
    print("deadline: nothing new starts", file=sys.stderr, flush=True)
    os.kill(os.getpid(), signal.SIGTERM)


def _is_news(record: logging.LogRecord) -> bool:
    if is_failure(record):
        return not reason(record).startswith(WORDS)
    text = record.getMessage().strip()
    return not (text.startswith(_WAITS) or text.endswith(_EXIT))


def leave(failed: bool) -> None:
    """End a run that the deadline ended, with one line and a status of its own, unless something failed.

    Raises:
        SystemExit: with ``STATUS``.
    """
    seconds = given()
    if seconds is None or left_s() > 0:
        return
    print(
        f"deadline: {seconds:g} s are over; what is done stays, the same command goes on",
        file=sys.stderr, flush=True,
    )  # fmt: skip
    if not failed:
        sys.exit(STATUS)
