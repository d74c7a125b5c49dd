"""Tier 2's worker: holds every stage of one checkout and times one whenever it is asked to. Run as a file.

    python stages.py --root CHECKOUT --data FOLDER --bench FOLDER --fd NUMBER

Requests come, and answers go, through the connection with that file descriptor:

    ("names",)       all stages but the benchmarks
    ("make", stage)  build it and, if it is short, run it twice to warm up -> {}, or {"error": why}
    ("run",)         run what was made last, as often as its window takes -> {"s": seconds of each run, "elsewhere": the CPU time of other
                     threads and of child processes, as a share of this thread's}, or {"error": why}
    ("benches",)     hand over to benches.py until it is told to stop

The stages are those of the revision that asks; the code they call is CHECKOUT's, first on the path. A stage that the other
revision does not have, or has under another name, is an error of its own and not of the run.
"""

from __future__ import annotations

import argparse
import contextlib
import math
import resource
import sys
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import benches  # the file beside this one: a script's own folder is first on the path until it is taken off

LENGTHS, TOKENS, ITEMS = (50, 200), 400, 2000
WINDOW_S, FEWEST, MOST = 0.25, 3, 3000  # seconds of the runs of a short stage; their number


def main() -> None:
    """Answer requests until the other end is closed."""
    parser = argparse.ArgumentParser(allow_abbrev=False)
    for name in ("root", "data", "bench"):
        parser.add_argument(f"--{name}", required=True, type=Path)
    parser.add_argument("--fd", required=True, type=int)
    a = parser.parse_args()
    here = Path(__file__).resolve().parent
    sys.path[:] = [str(a.root), *(p for p in sys.path if Path(p or ".").resolve() != here)]
    connection, makers = Connection(a.fd), dict(stages(a.data))
    _import()
    run, times = int, 1
    while True:
        try:
            what, *rest = connection.recv()
        except EOFError:
            return
        if what == "names":
            connection.send(list(makers))
        elif what == "make":
            try:
                make, short = makers[rest[0]]
                run, times = make(), 1
                if short:
                    run()  # compiles, allocates, fills caches
                    times = min(MOST, max(FEWEST, math.ceil(WINDOW_S / timed(run))))
                connection.send({})
            except Exception as error:  # whatever the other revision lacks
                connection.send({"error": _text(error)})
        elif what == "run":
            connection.send(_run(run, times))
        else:
            benches.serve(connection, a.bench)


def _import() -> None:
    """Load what takes seconds while the other workers of the block do the same; what a checkout lacks shows in its stages."""
    with contextlib.suppress(Exception):
        import models  # noqa: F401
        import seqbench.report.page
        import seqbench.training.loop  # noqa: F401


def _run(run: Callable[[], object], times: int) -> dict[str, Any]:
    here, everywhere = time.thread_time(), _cpu_s()
    try:
        seconds = [timed(run) for _ in range(times)]
    except Exception as error:
        return {"error": _text(error)}
    here, everywhere = time.thread_time() - here, _cpu_s() - everywhere
    return {"s": seconds, "elsewhere": max(0.0, everywhere / here - 1)}


def _cpu_s() -> float:
    """CPU seconds of this process and of children that have ended; times(2) would round them to hundredths."""
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(u.ru_utime + u.ru_stime for u in used)


def timed(run: Callable[[], object]) -> float:
    """Seconds of one call, by a clock that stands still while the process waits for the CPU."""
    start = benches.clock()
    run()
    return benches.clock() - start


def _text(error: Exception) -> str:
    return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"


def stages(data: Path) -> Iterator[tuple[str, tuple[Callable[[], Callable[[], object]], bool]]]:
    """Name of every stage, what makes the function to time, and whether it is short: warmed up and run many times. What is not
    is the first of its process, with all that this loads.
    """
    for model in _trained():
        for length in LENGTHS:
            yield f"train/{model}/L{length}", (lambda m=model, n=length: _training(m, n), True)
            yield f"inference/{model}/L{length}", (lambda m=model, n=length: _inference(m, n), True)
    yield "evaluate", (lambda: _evaluation(data), True)
    yield "prepare", (lambda: _preparing(data), False)
    yield "report", (lambda: _rendering(data), False)


def _training(name: str, length: int) -> Callable[[], object]:
    import torch

    import models
    from seqbench.core.jobs import Training
    from seqbench.training.batches import full_length_batch
    from seqbench.training.loop import make_optimizer, training_step

    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = models.build(name, {"n_layers": 2}, ITEMS, length)
    optimizer = make_optimizer(model, Training())
    generator = torch.Generator().manual_seed(0)
    batch = full_length_batch(ITEMS, TOKENS // length, length, generator, torch.device("cpu"))
    return lambda: training_step(model, optimizer, batch)


def _inference(name: str, length: int) -> Callable[[], object]:
    import torch

    import models

    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = models.build(name, {"n_layers": 2}, ITEMS, length).eval()
    items = torch.randint(1, ITEMS + 1, (TOKENS // length, length))

    def run() -> object:
        with torch.inference_mode():
            return model.scores(items)

    return run


def _evaluation(data: Path) -> Callable[[], object]:
    import torch

    import models
    from seqbench.core.jobs import TrainingJob
    from seqbench.data import open_dataset
    from seqbench.training.ranking import evaluator_of

    torch.set_num_threads(1)
    dataset = open_dataset(data / "small")
    job = TrainingJob("small", "sasrec", "t", 50, 0)
    evaluator = evaluator_of(job, dataset, torch.device("cpu"))
    torch.manual_seed(0)
    model = models.build("sasrec", {}, dataset.n_items, 50)
    return lambda: evaluator.ranks(model, "test")


def _preparing(data: Path) -> Callable[[], object]:
    import tempfile

    from seqbench.data import prepare

    columns = {"user": "user", "item": "item", "time": "time"}
    local = {
        "path": str(data / "million.csv"),
        "format": "delimited",
        "header": True,
        "columns": columns,
    }

    def run() -> object:
        with tempfile.TemporaryDirectory() as folder:
            return prepare(
                "million", {"source": "file", "local": local}, Path(folder), Path(folder) / "out"
            )

    return run


def _trained() -> list[str]:
    """Models of the revision under test that are trained."""
    import models

    return [n for n in models.available() if getattr(models.load(n), "trainable", True)]


def _rendering(data: Path) -> Callable[[], object]:
    import tempfile

    from seqbench.analysis.collect import read
    from seqbench.report.page import render

    def run() -> object:
        with tempfile.TemporaryDirectory() as folder:
            return render(read(data / "tables"), Path(folder))

    return run


if __name__ == "__main__":
    main()
