"""Workers of two checkouts that run no code of the project's but benches.py: a script in place of stages.py."""

import os
import sys

from tools.gate import process, workers

STUB = """
import argparse, os, sys, time
from multiprocessing.connection import Connection
sys.path.insert(0, {folder!r})
import benches
parser = argparse.ArgumentParser()
for name in ("root", "data", "bench", "fd"):
    parser.add_argument("--" + name)
a = parser.parse_args()
side, log, connection, made = os.path.basename(a.root), a.data + "/runs", Connection(int(a.fd)), None

def note(what):
    with open(log, "a") as file:
        file.write(what + " " + side + " " + str(sorted(os.sched_getaffinity(0))) + chr(10))

while True:
    try:
        what, *rest = connection.recv()
    except EOFError:
        break
    if what == "names":
        connection.send(["quick", "lacking", "dying", "once", "hanging", "threaded", "last"])
    elif what == "make":
        made = rest[0]
        note("make")
        if made == "lacking" and side == "base":
            connection.send({{"error": "ImportError: not yet"}})
        elif made == "dying" and side == "head":
            sys.exit("Segmentation of everything")
        elif made == "once" and side == "head" and not os.path.exists(log + "-died"):
            open(log + "-died", "w").close()
            os._exit(3)
        else:
            connection.send({{}})
    elif what == "run":
        if made == "hanging" and side == "head":
            time.sleep(600)
        note("run")
        seconds = [0.001, 0.001, 0.004] if side == "base" else [0.0011, 0.0044, 0.0044, 9.0]
        connection.send({{"s": seconds, "elsewhere": 0.3 if made == "threaded" else 0.01}})
    else:
        from pathlib import Path
        benches.serve(connection, Path(a.bench))
"""
SOUND = """
def test_quick(benchmark):
    assert benchmark(lambda: sum(range(1000))) == 499500

def test_slow(benchmark):
    assert benchmark(lambda: sum(range(200_000))) > 0

def test_scoring(benchmark):
    assert benchmark(lambda: 1) == 1
"""


def stubs_in(tmp_path, monkeypatch, folder):
    """Workers of two checkouts named base and head; ``folder``: their benchmarks."""
    for name in [name for name in os.environ if name.startswith("PYTEST_")]:
        monkeypatch.delenv(name)  # a worker is no worker of xdist
    script = tmp_path / "stub.py"
    script.write_text(STUB.format(folder=str(process.STAGES.parent)))
    monkeypatch.setattr(process, "STAGES", script)
    roots = {side: tmp_path / side for side in ("base", "head")}
    for root in roots.values():
        root.mkdir()
    return workers.Workers(roots, tmp_path, dict.fromkeys(roots, sys.executable), folder)
