"""Leases of one machine and of its GPUs: what may compute beside what. Torch-free.

Whatever computes holds a shared lease of the machine; a measurement holds an exclusive one. A lease is per machine: every
user, checkout and container that sees the same folder of locks takes part, and other nodes do not. ``SEQBENCH_LEASES`` names
another folder than /tmp, where containers or jobs of a scheduler have a /tmp of their own.

Turns are in order of arrival. A job draws a ticket, a locked file whose name holds its number and kind. It waits until every
earlier ticket that excludes it is unlocked. Waits go to lower numbers only, so there is no deadlock; no later ticket can
overtake, so nobody starves. The kernel unlocks the tickets of a process that died; the next arrival removes the files.

A GPU is lent whole, or by shares that never add up to more than the whole; the one of which least is lent comes first, so none
is idle while work waits. The order of taking is machine, then GPU (``lease``). Children of a holder inherit its lease by an environment variable.
"""

from __future__ import annotations

import fcntl
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from importlib import metadata
from pathlib import Path
from typing import IO, Any

from ..core import deadline
from ..core.errors import MachineError, UserError
from . import mps
from .environment import SHARE, environment

DECIDES = "nothing"

SHARED, EXCLUSIVE = "shared", "exclusive"
WHOLE = 100  # per cent of a GPU
ORDER, BY_BUS = (
    "CUDA_DEVICE_ORDER",
    "PCI_BUS_ID",
)  # as NVML and Slurm count; CUDA's own order is by speed
ASKED_SHARE = "SEQBENCH_ASKED_GPU_SHARE"  # variable: per cent of a GPU that a training asks for
ALLOW_CPU, NEEDS_GPU = "SEQBENCH_ALLOW_CPU", "SEQBENCH_NEEDS_GPU"  # variables: 1 or 0
FOLDER = "SEQBENCH_LEASES"  # variable: where the locks lie
HELD = (
    "SEQBENCH_MACHINE_LEASE"  # variable: seconds waited and ticket of the lease that a parent holds
)


@contextmanager
def lease(kind: str, gpu: bool = True) -> Iterator[dict[str, str]]:
    """The machine, then one GPU, whole or a share of it; yields the environment variables of workers that run inside.

    gpu: False hides all of them from work that needs none.
    """
    share = WHOLE if kind == EXCLUSIVE else int(os.environ.get(ASKED_SHARE) or WHOLE)
    with machine_lease(kind) as machine:
        if gpu:
            with device_lease(share) as visible:
                yield {**machine, **visible}
        else:
            yield {**machine, **({"CUDA_VISIBLE_DEVICES": ""} if gpu_devices() else {})}


@contextmanager
def holding(kind: str) -> Iterator[None]:
    """A lease of the machine for this process and for all that it starts."""
    with machine_lease(kind) as held, variables(held):
        yield


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


# --- machine ------------------------------------------------------------------------------------------------------------


@contextmanager
def machine_lease(kind: str) -> Iterator[dict[str, str]]:
    """Wait for a turn on this machine and keep it; ``kind``: SHARED or EXCLUSIVE.

    Yields the environment variable by which children know that they run inside; nothing within a parent's lease.

    Raises:
        UserError: an exclusive lease within a shared one, which would wait for itself; or the folder of locks cannot be used.
    """
    held, _ = _inherited(os.environ)
    if held and _is_live(held):
        if (kind, _kind(held)) == (EXCLUSIVE, SHARED):
            raise UserError(
                f"{held}: this process runs within a shared lease of the machine, so it cannot measure; start it by itself"
            )
        yield {}
        return
    with ExitStack() as mine:
        with ExitStack() as others:
            with _gate():
                queue = _queue(others)
                ticket = mine.enter_context(_ticket(kind))
            waited = _wait([file for file in queue if EXCLUSIVE in (kind, _kind(Path(file.name)))])
        yield {HELD: f"{waited:.1f} {ticket}"}


def load_watched(held: Mapping[str, str] = os.environ) -> Callable[[], dict[str, Any]]:
    """To be called when work begins: returns what gives the record's ``load`` when it ends.

    held: the variables that the work runs with, its lease's among them.
    """
    ticket, waited = _inherited(held)
    first = _load(ticket)

    def then() -> dict[str, Any]:
        last = _load(ticket)
        return {
            **{key: {"start": first[key], "end": last[key]} for key in first},
            "waited_s": waited,
        }

    return then


def _load(ticket: Path | None) -> dict[str, Any]:
    """Load average of one minute, and how many other jobs of this project hold the machine; None where it cannot be told."""
    average = beside = None
    with suppress(Exception):
        average = round(os.getloadavg()[0], 2)
    with suppress(Exception), ExitStack() as stack:  # no finished work is lost for this
        with _gate():
            queue = [Path(file.name) for file in _queue(stack)]
        beside = len({*_holders(queue)} - {ticket})
    return {"load_average_1m": average, "own_jobs_beside": beside}


def _holders(queue: list[Path]) -> list[Path]:
    """Of the live tickets in their order, those whose turn it is: shared ones up to the first exclusive, or that one."""
    kinds = [_kind(ticket) for ticket in queue]
    shared = kinds.index(EXCLUSIVE) if EXCLUSIVE in kinds else len(kinds)
    return queue[: max(shared, 1)]


def _inherited(held: Mapping[str, str]) -> tuple[Path | None, float]:
    """Ticket that the variable names, whoever drew it, and the seconds waited for it."""
    waited, _, ticket = held.get(HELD, "").partition(" ")
    return (Path(ticket), float(waited)) if ticket else (None, 0.0)


def _kind(ticket: Path) -> str:
    return ticket.stem.rpartition("-")[2]


@contextmanager
def _gate() -> Iterator[None]:
    """Held for the moment of drawing a ticket or of reading the queue: the order of passing it is that of arrival."""
    with _lock_file("machine") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _tickets(of: str) -> list[Path]:
    return sorted(folder().glob(f"seqbench-{of}-{'[0-9]' * 9}-*.lock"))


def _queue(stack: ExitStack, of: str = "job") -> list[IO[str]]:
    """Live tickets, first come first, opened on ``stack``; those of the dead are removed. To be called within the gate.

    of: ``job`` for the machine, ``gpu0`` for a GPU.
    """
    live = []
    for path in _tickets(of):
        try:
            file = stack.enter_context(path.open(encoding="utf-8"))
        except OSError:  # gone meanwhile; or not readable, and then its owner died before it was
            continue
        if _is_free(file):
            with suppress(OSError):  # that of another user lies there until its owner's next job
                path.unlink()
        else:
            live.append(file)
    return live


def _is_free(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_live(ticket: Path) -> bool:
    try:
        with ticket.open(encoding="utf-8") as file:
            return not _is_free(file)
    except OSError:
        return False


@contextmanager
def _ticket(kind: str, of: str = "job") -> Iterator[Path]:
    """A locked file behind all others. To be called within the gate."""
    number = max((int(path.name.split("-")[2]) for path in _tickets(of)), default=0) + 1
    path = folder() / f"seqbench-{of}-{number:09d}-{os.getpid()}-{kind}.lock"
    # Closed on exec: a child that outlives its parent does not hold the lease.
    try:
        file = os.open(path, os.O_RDONLY | os.O_CREAT | os.O_EXCL, 0o644)
    except OSError as error:
        raise _unusable(path, error) from None
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
        os.fchmod(file, 0o644)  # other users wait for it, whatever the umask of this one
        yield path
    finally:
        path.unlink(missing_ok=True)
        os.close(file)


def _wait(earlier: list[IO[str]]) -> float:
    """Block until all these tickets are unlocked, by their owners or by their death; the seconds that it took."""
    begun = time.monotonic()
    busy = [file for file in earlier if not _is_free(file)]
    if not busy:
        return 0.0
    jobs = ", ".join("{3} ({4})".format(*Path(file.name).stem.split("-")) for file in busy)
    _say(f"waits for the machine, behind {len(busy)} job(s): process {jobs}")
    with deadline.waiting("a job that needs the machine"):
        for file in busy:
            fcntl.flock(file, fcntl.LOCK_SH)
    waited = time.monotonic() - begun
    _say(f"waited {waited:.0f} s for the machine")
    return waited


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


# --- files --------------------------------------------------------------------------------------------------------------


def folder() -> Path:
    """Where the locks lie: /tmp, not TMPDIR, in which two users or two jobs of a scheduler would not see each other."""
    usual = "/tmp" if os.path.isdir("/tmp") else tempfile.gettempdir()  # nosec B108 # no file there is trusted
    return Path(os.environ.get(FOLDER) or usual)


def _lock_file(name: str) -> IO[str]:
    """The file that is locked for ``name``, opened to read: whoever came first owns it, and a lock needs no more."""
    path = folder() / f"seqbench-{name}.lock"
    try:
        with suppress(FileExistsError):
            path.touch(exist_ok=False)
            path.chmod(0o644)  # the next user reads it, whatever the umask of this one
        return path.open(encoding="utf-8")
    except PermissionError as error:
        if not path.exists():
            raise _unusable(path, error) from None
        raise UserError(
            f"{path}: cannot be read, so {name} cannot be shared with its owner: ask for `chmod 644 {path}`,"
            f" or name another folder with {FOLDER}"
        ) from None
    except OSError as error:
        raise _unusable(path, error) from None


def _unusable(path: Path, error: OSError) -> UserError:
    return UserError(
        f"{path}: {error.strerror}; name a folder that all users of this machine can write with {FOLDER}"
    )


# --- GPUs ---------------------------------------------------------------------------------------------------------------


@contextmanager
def device_lease(share: int = WHOLE) -> Iterator[dict[str, str]]:
    """Environment that shows a worker one GPU, of which it holds ``share`` per cent across all runs on this machine.

    Nothing to lease without a GPU, or where CUDA_VISIBLE_DEVICES is set already: a cluster sets it, and counts by bus.
    """
    choices = device_choices()
    if not choices:
        inherited = "CUDA_VISIBLE_DEVICES" in os.environ and ORDER not in os.environ
        yield {ORDER: BY_BUS} if inherited else {}
        return
    begun, said = time.monotonic(), False
    with ExitStack() as mine:
        while (found := _take(len(choices), share, mine)) is None:
            if not said:
                said = True
                _say(f"waits for a GPU: each of the {len(choices)} is leased to other jobs")
            deadline.check("a job that needs a GPU")
            time.sleep(0.2)
        if said:
            _say(f"waited {time.monotonic() - begun:.0f} s for a GPU")
        index, sharing = found
        yield {**choices[index], **sharing}


def _take(n: int, share: int, mine: ExitStack) -> tuple[int, dict[str, str]] | None:
    """Lease a share of the GPU of which least is lent: which of ``n``, and what sharing adds to the environment; None: none fits."""
    with _gate(), ExitStack() as others:
        held = [[int(_kind(Path(f.name))) for f in _queue(others, f"gpu{i}")] for i in range(n)]
        lent = list(map(sum, held))
        index = min(range(n), key=lent.__getitem__)
        if lent[index] + share > WHOLE:
            return None
        if share == WHOLE:
            mine.enter_context(_ticket(str(share), f"gpu{index}"))
            return index, {}
        if _sharing(n) == 0:
            mps.start(_service())
        mine.callback(_leave_service, n)
        mine.enter_context(_ticket(str(share), f"gpu{index}"))
        service = mps.clients(_service())
        return index, {**service, SHARE: f"{share} %, {'MPS' if service else 'in turns'}"}


def _service() -> Path:
    return folder() / f"seqbench-mps-{os.getuid()}"


def _sharing(n: int) -> int:
    """How many jobs of this user hold a share of one of ``n`` GPUs. To be called within the gate."""
    with ExitStack() as stack:
        files = [Path(f.name) for i in range(n) for f in _queue(stack, f"gpu{i}")]
        return sum(int(_kind(f)) < WHOLE and f.stat().st_uid == os.getuid() for f in files)


def _leave_service(n: int) -> None:
    with suppress(OSError, UserError), _gate():
        if _sharing(n) == 0:
            mps.stop(_service())


def device_choices() -> list[dict[str, str]]:
    """What shows a worker each GPU of this machine; none where there is no choice to make."""
    if "CUDA_VISIBLE_DEVICES" in os.environ:
        return []
    # Counted by bus, as NVML does: CUDA's own order is by speed.
    return [
        {"CUDA_VISIBLE_DEVICES": str(index), ORDER: BY_BUS} for index in range(len(gpu_devices()))
    ]


def gpu_devices() -> list[Path]:
    """NVIDIA device files of this machine."""
    return sorted(Path("/dev").glob("nvidia[0-9]*"))


def device_kind() -> str:
    """Where a worker computes, as far as can be told without torch: a GPU that is hidden, or that PyTorch was not built for, is none."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0].strip()
    shown = visible.isdigit() or visible.startswith(("GPU-", "MIG-"))  # CUDA sees nothing else
    return "cuda" if gpu_devices() and shown and not is_cpu_build() else "cpu"


def is_cpu_build() -> bool:
    """Whether the installed PyTorch says that it is a build for CPUs; the worker itself asks it in any case."""
    try:
        return "+cpu" in metadata.version("torch")
    except Exception:  # installed without a description of it
        return False


def ask_for_gpu(gpus: int, share: int = 0) -> None:
    """Say for this process and those to come whether the job asked for a GPU, and refuse one that is not there.

    share: per cent of it, of a training; 0: all of it.

    Raises:
        MachineError: there is none that PyTorch could use, and ``SEQBENCH_ALLOW_CPU`` is not 1.
    """
    needed = gpus > 0 and os.environ.get(ALLOW_CPU) != "1"
    os.environ[NEEDS_GPU] = str(int(needed))
    os.environ[ASKED_SHARE] = str(share or WHOLE)
    if needed:
        require_gpu(device_kind())


def require_gpu(kind: str) -> None:
    """Refuse to compute on another kind of device than the job asked for.

    Raises:
        MachineError: it asked for a GPU, and ``kind`` is cpu.
    """
    if kind != "cuda" and os.environ.get(NEEDS_GPU) == "1":
        raise MachineError(
            f"the job asks for a GPU and {_why_no_gpu()}; or say `allow_cpu: true` in the configuration to compute on the CPU"
        )


def _why_no_gpu() -> str:
    """What is missing, and the remedy."""
    if not gpu_devices():
        return "this machine has none: run it where there is one, or ask for none (--set-resources train:gpu=0)"
    if is_cpu_build():
        return "this PyTorch is a build for CPUs: `make setup TORCH_INDEX=<PyTorch's index of CUDA builds>`"
    return "PyTorch cannot use the one that is there: `python -m seqbench doctor` says why"


def machines() -> set[str]:
    """Fingerprints of what a worker may be given here: one for every kind of GPU, or that of the processor."""
    found = set()
    for visible in device_choices() or [{}]:
        with variables(visible):
            found.add(environment(device_kind(), None)["machine"])
    return found


def check_precision(precision: str) -> None:
    """Refuse what the device does not have.

    Raises:
        UserError: tf32 without an NVIDIA GPU.
    """
    if precision == "tf32" and device_kind() != "cuda":
        raise UserError("precision tf32: exists on NVIDIA GPUs only; use fp32 or mixed here")
