"""Who asked for work and whether they live: nothing that computes outlives the run that started it.

Snakemake starts a shell, the shell a supervisor, the supervisor a worker. A signal that ends Snakemake reaches none of
them, and the shell would wait on. So each is told by a variable which process asked for its work, and ends with it.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import select
import signal
import sys
import threading
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from pathlib import Path

import psutil

DECIDES = "nothing"

ASKED_BY = (
    "SEQBENCH_ASKED_BY"  # variable: the process that asked for the work of those who inherit it
)
_PR_SET_PDEATHSIG = 1
MOST_SENT = 500  # messages to processes; of more items several go together
_LOOK_EVERY_S = 0.5  # where the kernel does not tell of an end


def here() -> str:
    """The kernel and the process ids that this process sees: only there does an id mean the same process."""
    return f"{boot()}/{_namespace()}"


def boot() -> str:
    """The start of this machine's kernel; a container has that of its host."""
    with suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    return f"{psutil.boot_time():.0f}"


def _namespace() -> str:
    with suppress(OSError):
        return os.readlink("/proc/self/ns/pid")
    return ""


def in_name() -> str:
    """This process as a part of a file's name."""
    return f"{zlib.crc32(here().encode()):08x}-{os.getpid()}"


def is_dead(name: str) -> bool:
    """Whether a process that ``in_name`` named has ended; False where its id means nothing here."""
    where, _, pid = name.partition("-")
    return where == in_name().partition("-")[0] and pid.isdecimal() and _began(int(pid)) is None


def identity(pid: int) -> str:
    """A process as text: where its id holds, the id, and when it began, because ids are used again."""
    return f"{here()} {pid} {_began(pid)}"


def _began(pid: int) -> str | None:
    """When a process began; None if there is none, or only one that has ended and was not yet reaped."""
    if sys.platform != "linux":
        with suppress(psutil.Error):
            return f"{psutil.Process(pid).create_time():.2f}"
        return None
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    state, *fields = text.rsplit(")", 1)[1].split()
    return None if state in "ZX" else fields[18]  # clock ticks since the boot


def lives(process: str) -> bool:
    """Whether a process that ``identity`` described is alive; True where its id means nothing here."""
    where, pid, began = process.rsplit(" ", 2)
    return where != here() or _began(int(pid)) == began


def end_with_who_asked() -> None:
    """End this process by SIGKILL when the process that asked for its work ends, or its parent; nothing where none asked.

    Called once, at the start of a command. Whatever it writes is replaced as a whole, so that it may end anywhere.
    """
    asked = os.environ.get(ASKED_BY, "")
    if asked.count(" ") != 2 or not asked.startswith(f"{here()} "):
        return  # by hand, or on another node or in a container, where somebody else must end it
    parent, pid = os.getppid(), int(asked.split()[1])
    watch = threading.Thread(target=_watch, args=(asked, pid, parent), daemon=True)
    watch.name = "who-asked"
    watch.start()


def _watch(asked: str, pid: int, parent: int) -> None:
    ends, processes = select.poll(), {pid, parent}
    try:  # opened first: then who is alive below is who is waited for
        for process in processes:
            ends.register(os.pidfd_open(process), select.POLLIN)
        told = True
    except (OSError, AttributeError):  # before Linux 5.3, or another system; or one has ended
        told = False
    while lives(asked) and os.getppid() == parent:
        if told:
            ends.poll()
            break
        time.sleep(_LOOK_EVERY_S)
    os.kill(os.getpid(), signal.SIGKILL)


def prctl() -> ctypes._CFuncPtr | None:
    """The C library's ``prctl``, to be loaded before a fork; None where there is none."""
    return ctypes.CDLL(None).prctl if sys.platform == "linux" else None


def die_with_parent(parent: int | None = None, call: ctypes._CFuncPtr | None = None) -> None:
    """Ask Linux to kill this process when its parent dies, so that a killed supervisor leaves no orphan.

    parent: its id; if it has died already, this process ends now. Without it, who started this process by
    ``multiprocessing`` counts, whose fork server may be the parent. call: what ``prctl`` gave.
    """
    call = call or prctl()
    if call is not None:
        call(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if parent is not None:
        gone = os.getppid() != parent
    else:
        starter = multiprocessing.parent_process()
        gone = starter is not None and _began(starter.pid) is None
    if gone:
        os._exit(1)


def side_by_side(function: Callable, items: Sequence, processes: int) -> Iterator:
    """Results of a function of a module, or `partial` of one, item by item, from so many processes that end with this one.

    They begin at once, so the caller may do something else before it takes the results.
    """
    if min(processes, len(items)) < 2:
        return map(function, items)
    pool = ProcessPoolExecutor(min(processes, len(items)), initializer=die_with_parent)
    found = pool.map(function, items, chunksize=max(1, len(items) // MOST_SENT))
    pool.shutdown(wait=False)  # its processes end after the last item
    return found
