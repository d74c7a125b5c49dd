"""Supervisor of one worker process: leases, time limit, and a record even when the worker dies.

Torch-free: it must outlive a worker that exhausts the machine. A worker killed by SIGKILL counts as out of
memory, because that is how Linux ends a process that exhausts the host.
"""

from __future__ import annotations

import collections
import os
import signal
import subprocess
import sys
import threading
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any

from safetensors.numpy import save

from ..config.model_files import MODELS, is_trainable
from ..core import deadline, processes, provenance
from ..core.errors import SEE_ABOVE, MachineError, UserError
from ..core.jobs import TrainingJob
from ..core.ownership import is_owned, owned
from ..core.records import data_of, discard, matches, read_record, write_record
from ..data import open_dataset
from ..hardware.environment import environment
from ..hardware.leases import (
    SHARED,
    check_precision,
    device_kind,
    lease,
    load_watched,
    variables,
)
from ..hardware.worker_env import worker_environment

DECIDES = "nothing"

# Signals by which somebody, or a scheduler, ends what runs: they say nothing about the training.
ASKED_TO_END = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


@dataclass(frozen=True)
class End:
    """How a worker ended: ``status`` of the record ("ok" if it wrote one) and why in one line.

    requested_bytes: size of the allocation that ended it, where that is known.
    """

    status: str
    reason: str | None = None
    requested_bytes: int | None = None


def supervise(
    job: TrainingJob, dataset: Path, out: Path, threads: int, time_limit_s: float | None
) -> str:
    """Train in a worker process and return the status of its record, which exists in any case but those below.

    Waits for whoever writes into ``out``, for a shared lease of the machine and for a GPU; ``time_limit_s`` begins with
    the worker. What another made meanwhile is taken, if it is what is asked for: a job of a scheduler outlives the run that
    asked for it, and the next run asks again.

    Raises:
        UserError: the worker refused its input; it has printed why.
        MachineError: it could not go on here (a full disk, no GPU), or somebody ended it; or the deadline came, and the
            training goes on from its saved state.
    """
    check_precision(job.training.precision)
    command = [
        sys.executable, "-m", "seqbench", "train", "--job", job.to_json(),
        "--dataset", str(dataset), "--out", str(out), "--threads", str(threads),
    ]  # fmt: skip
    another = is_owned(out)
    with ExitStack() as held:
        owner = held.enter_context(owned(out))
        if another and _is_made(job, dataset, out):
            print(f"{job.path}: was made while this waited", file=sys.stderr)
            return "ok"
        leased = held.enter_context(lease(SHARED, gpu=is_trainable(MODELS / f"{job.model}.py")))
        deadline.check(job.path)
        discard(out)
        code = provenance.begun(lambda: provenance.training(job.model))
        load = load_watched({**os.environ, **leased})
        theirs = {**worker_environment(threads), **leased, **owner}
        last_s = deadline.left_s() + deadline.GRACE_S
        cut = last_s < (time_limit_s or float("inf"))
        end = watch(command, theirs, last_s if cut else time_limit_s)
        if cut and end.status == "timeout":
            raise deadline.Over(job.path)
        if end.status != "ok":
            with variables(leased):  # which GPU it was
                record_failure(job, dataset, out, threads, end, code(), load())
    return end.status


def _is_made(job: TrainingJob, dataset: Path, out: Path) -> bool:
    """Whether the record in a folder is a finished one of this training."""
    with suppress(UserError):
        record, data = read_record(out), data_of(open_dataset(dataset).info)
        asked = (job.to_dict(), provenance.training(job.model), [data["hash"]])
        return record["status"] == "ok" and matches(record, *asked)
    return False


def watch(command: list[str], variables: dict[str, str], time_limit_s: float | None) -> End:
    """Run ``command`` to its end or its time limit, passing its messages on; nothing of it outlives this call."""
    die = partial(processes.die_with_parent, os.getpid(), processes.prctl())
    worker = subprocess.Popen(
        command, env={**variables, processes.ASKED_BY: processes.identity(os.getpid())}, stderr=subprocess.PIPE,
        text=True, errors="replace", start_new_session=True, preexec_fn=die,
    )  # fmt: skip
    last: collections.deque[str] = collections.deque(maxlen=5)
    relay = threading.Thread(target=_relay, args=(worker.stderr, last), daemon=True)
    relay.start()
    try:
        code_ = worker.wait(time_limit_s)
    except subprocess.TimeoutExpired:
        return End("timeout", f"stopped at its time limit of {time_limit_s:g} s")
    finally:
        _kill_group(worker)
        relay.join(timeout=5)
    return _end(code_, last)


def _end(returncode: int, last: collections.deque[str]) -> End:
    if returncode == 0:
        return End("ok")
    if returncode == UserError.status:
        raise UserError(f"the worker refused its input {SEE_ABOVE}")
    if returncode == MachineError.status:
        raise MachineError(f"the worker could not go on here {SEE_ABOVE}")
    if -returncode in ASKED_TO_END:
        raise MachineError(
            f"the worker was ended by {signal.Signals(-returncode).name}; the same command goes on from its saved state"
        )
    if returncode == -signal.SIGKILL:
        return End(
            "oom", "killed by SIGKILL, as the system does when the host's memory is exhausted"
        )
    if returncode < 0:
        return End("crashed", f"killed by {signal.Signals(-returncode).name}")
    return End("crashed", f"exit status {returncode}: {last[-1] if last else 'no message'}")


def _relay(stream: IO[str], last: collections.deque[str]) -> None:
    for line in stream:
        with suppress(OSError):  # who reads has gone, or the disk is full: the worker must not wait
            sys.stderr.write(line)
            sys.stderr.flush()
        if line.strip():
            last.append(line.strip())


def _kill_group(worker: subprocess.Popen) -> None:
    """End the worker and whatever it started; harmless when all of it is gone."""
    with suppress(ProcessLookupError):
        os.killpg(worker.pid, signal.SIGKILL)
    worker.wait()


def record_failure(
    job: TrainingJob, dataset: Path, out: Path, threads: int, end: End,
    identity: dict[str, Any] | None = None, load: dict[str, Any] | None = None,
) -> None:  # fmt: skip
    """Write the record of a training that left none. identity: of what it ran; without one that of now."""
    print(f"{job.path}: {end.status}: {end.reason}", file=sys.stderr)
    write_record(
        out,
        kind="train",
        status=end.status,
        reason=end.reason,
        job=job.to_dict(),
        values={},
        environment=environment(device_kind(), threads),
        data=data_of(open_dataset(dataset).info),
        identity=identity or provenance.provenance(provenance.training(job.model)),
        load=load,
        deadline_s=deadline.given(),
        weights=save({}, {"status": end.status}),
    )
