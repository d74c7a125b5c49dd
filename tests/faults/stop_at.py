"""Loaded by every Python process of a killed command: ends it at the n-th change of a file, which no clock would hit.

Written out as ``sitecustomize``. Variables: FAULTS_WORK, the folder whose changes count; FAULTS_COUNT, a file that grows by
a byte with each, in whichever process; FAULTS_STOP, number, seconds behind it, signal, and whether it meets the command or its group.
"""

import os
import sys
import threading
import time

WORK, COUNT = os.environ.get("FAULTS_WORK"), os.environ.get("FAULTS_COUNT")
CHANGES = {"os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.truncate", "os.link"}
WRITES = os.O_WRONLY | os.O_RDWR


def end(_, delay_s, signal_, of):
    until = time.perf_counter() + float(delay_s)
    while time.perf_counter() < until:
        pass
    send = os.killpg if of == "group" else os.kill
    send(int(os.environ["FAULTS_ROOT"]), int(signal_))


def hook(event, arguments):
    if event != "open" and event not in CHANGES:
        return
    if event == "open" and not (arguments[2] or 0) & WRITES:
        return
    path = arguments[-2] if event == "os.rename" and isinstance(arguments[1], str) else arguments[0]
    if not isinstance(path, (str, os.PathLike)):
        return
    if not os.path.abspath(os.fspath(path)).startswith(WORK) or busy.is_set():
        return
    busy.set()
    try:
        file = os.open(COUNT, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(file, b".")
        n = os.fstat(file).st_size
        os.close(file)
        stop = os.environ.get("FAULTS_STOP", "").split()
        if stop and n == int(stop[0]):
            if float(stop[1]):
                threading.Thread(target=end, args=stop, daemon=True).start()
            else:
                end(*stop)
    finally:
        busy.clear()


if WORK and COUNT:
    os.environ.setdefault("FAULTS_ROOT", str(os.getpid()))
    busy = threading.Event()
    sys.addaudithook(hook)
