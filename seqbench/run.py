"""Supervisor of one worker process: device lease, time limit, and a record even when the worker dies.

Torch-free: it must outlive a worker that exhausts the machine. A worker killed by SIGKILL counts as out of
memory, because that is how Linux ends a process that exhausts the host.
"""

from __future__ import annotations

import collections
import ctypes
import fcntl
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import IO, Any

import numpy as np
from safetensors.numpy import save_file

from . import provenance
from .data import open_dataset
from .environment import environment
from .errors import UserError
from .experiment import Experiment
from .record import data_facts, discard, write_record
from .workerenv import worker_environment

DECIDES = "nothing"

USER_ERROR = 2  # exit status of a worker that printed what the user has to mend
_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class End:
    """How a worker ended: ``status`` of the record ("ok" if it wrote one) and why in one line.

    requested_bytes: size of the allocation that ended it, where that is known.
    """

    status: str
    reason: str | None = None
    requested_bytes: int | None = None


def supervise(
    experiment: Experiment, dataset: Path, out: Path, threads: int, time_limit_s: float | None
) -> str:
    """Train in a worker process and return the status of its record, which exists in any case.

    Raises:
        UserError: the worker refused its input; it has printed why.
    """
    check_precision(experiment.training.precision)
    discard(out)
    code = provenance.begun(lambda: provenance.training(experiment.model))
    command = [
        sys.executable, "-m", "seqbench", "train", "--experiment", experiment.to_json(),
        "--dataset", str(dataset), "--out", str(out), "--threads", str(threads),
    ]  # fmt: skip
    with device_lease() as visible:
        end = watch(command, {**worker_environment(threads), **visible}, time_limit_s)
        if end.status != "ok":
            with variables(visible):  # which GPU it was
                record_failure(experiment, dataset, out, threads, end, code())
    return end.status


def machines() -> set[str]:
    """Fingerprints of what a worker may be given here: one for every kind of GPU, or that of the processor."""
    found = set()
    for visible in _leases() or [{}]:
        with variables(visible):
            found.add(environment(device_kind(), None)["machine"])
    return found


@contextmanager
def variables(changes: Mapping[str, str]) -> Iterator[None]:
    """Environment of this process and of those to come for a while; then as before, or the next lease would find a device chosen."""
    if not changes:
        yield
        return
    before = dict(os.environ)
    os.environ.update(changes)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def watch(command: list[str], variables: dict[str, str], time_limit_s: float | None) -> End:
    """Run ``command`` to its end or its time limit, passing its messages on; nothing of it outlives this call."""
    worker = subprocess.Popen(
        command, env=variables, stderr=subprocess.PIPE, text=True, start_new_session=True,
        preexec_fn=die_with_parent,
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
    if returncode == USER_ERROR:
        raise UserError("the worker refused its input (see above)")
    if returncode == -signal.SIGKILL:
        return End(
            "oom", "killed by SIGKILL, as the system does when the host's memory is exhausted"
        )
    if returncode < 0:
        return End("crashed", f"killed by {signal.Signals(-returncode).name}")
    return End("crashed", f"exit status {returncode}: {last[-1] if last else 'no message'}")


def _relay(stream: IO[str], last: collections.deque[str]) -> None:
    for line in stream:
        sys.stderr.write(line)
        sys.stderr.flush()
        if line.strip():
            last.append(line.strip())


def _kill_group(worker: subprocess.Popen) -> None:
    """End the worker and whatever it started; harmless when all of it is gone."""
    with suppress(ProcessLookupError):
        os.killpg(worker.pid, signal.SIGKILL)
    worker.wait()


def die_with_parent() -> None:
    """Ask Linux to kill this process when its parent dies, so that a killed supervisor leaves no orphan."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


@contextmanager
def device_lease() -> Iterator[dict[str, str]]:
    """Environment that shows a worker one free GPU, locked for the duration across all runs on this machine.

    Nothing to lease without a GPU, or where CUDA_VISIBLE_DEVICES is set already (a cluster sets it).
    """
    leases = _leases()
    if not leases:
        yield {}
        return
    while True:
        for index, visible in enumerate(leases):
            with _lock_file(index) as lock:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    continue
                yield visible
                return
        time.sleep(0.2)


def _leases() -> list[dict[str, str]]:
    """What shows a worker each GPU of this machine; none where there is no choice to make."""
    if "CUDA_VISIBLE_DEVICES" in os.environ:
        return []
    # Counted by bus, as NVML does: CUDA's own order is by speed.
    return [
        {"CUDA_VISIBLE_DEVICES": str(index), "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
        for index in range(len(gpu_devices()))
    ]


def _lock_file(index: int) -> IO[str]:
    """The file that is locked for a GPU, opened to read: whoever came first owns it, and a lock needs no more."""
    path = Path(tempfile.gettempdir()) / f"seqbench-gpu{index}.lock"
    with suppress(FileExistsError):
        path.touch(exist_ok=False)
        path.chmod(0o644)  # the next user reads it, whatever the umask of this one
    try:
        return path.open(encoding="utf-8")
    except PermissionError:
        raise UserError(
            f"{path}: cannot be read, so GPU {index} cannot be shared with its owner: ask for `chmod 644 {path}`,"
            " or choose a GPU with CUDA_VISIBLE_DEVICES"
        ) from None


def gpu_devices() -> list[Path]:
    """NVIDIA device files of this machine."""
    return sorted(Path("/dev").glob("nvidia[0-9]*"))


def device_kind() -> str:
    """Where a worker computes, as far as can be told without torch: a GPU that is hidden, or that PyTorch was not built for, is none."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0].strip()
    shown = visible.isdigit() or visible.startswith(("GPU-", "MIG-"))  # CUDA sees nothing else
    built = "+cpu" not in metadata.version("torch")
    return "cuda" if gpu_devices() and built and shown else "cpu"


def check_precision(precision: str) -> None:
    """Refuse what the device does not have.

    Raises:
        UserError: tf32 without an NVIDIA GPU.
    """
    if precision == "tf32" and device_kind() != "cuda":
        raise UserError("precision tf32: exists on NVIDIA GPUs only; use fp32 or bf16 here")


def record_failure(
    experiment: Experiment, dataset: Path, out: Path, threads: int, end: End,
    code: dict[str, Any] | None = None,
) -> None:  # fmt: skip
    """Write the record of a training that left none. code: provenance of what it ran; without one that of now."""
    out.mkdir(parents=True, exist_ok=True)
    print(f"{experiment.path}: {end.status}: {end.reason}", file=sys.stderr)
    empty: dict[str, np.ndarray] = {}
    save_file(empty, out / "weights.safetensors", metadata={"status": end.status})
    write_record(
        out,
        kind="train",
        status=end.status,
        reason=end.reason,
        experiment=experiment.to_dict(),
        values={},
        environment=environment(device_kind(), threads),
        data=data_facts(open_dataset(dataset).info),
        code=code or provenance.provenance(provenance.training(experiment.model)),
    )
