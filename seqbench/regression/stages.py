"""Tier 2's worker: times every stage of one checkout once. Run as a file, never imported by the package.

    python stages.py --root CHECKOUT --data FOLDER --out FILE [--only STAGE ...] [--bench ARGUMENTS]

``--only``: names of stages, or their first part with its slash. ``--bench``: arguments for pytest, as JSON, which then times
the benchmarks and writes a file of its own. The stages are those of the revision that asks; the code they call is CHECKOUT's,
first on the path. A stage that the other revision does not have, or has under another name, is an error of its own and not of
the run. Output: JSON, stage -> {"s":
seconds, the least of a few repetitions (what disturbs a process only ever adds), or those of the first and only run of what
takes seconds} or {"error": why}.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import re
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

LENGTHS, TOKENS, ITEMS = (50, 200), 1600, 2000
REPEATS, MORE = 3, 10  # after a first one; more of what takes a few milliseconds
MODELS = ("mamba4rec", "sasrec", "bert4rec", "gru4rec")
Stage = tuple[str, Callable[[], object], int]


def main() -> None:
    """Time all stages, or those named."""
    parser = argparse.ArgumentParser(allow_abbrev=False)
    for name in ("root", "data", "out"):
        parser.add_argument(f"--{name}", required=True, type=Path)
    parser.add_argument("--only", nargs="*")
    parser.add_argument("--bench", type=json.loads, default=[])
    a = parser.parse_args()
    here = str(Path(__file__).resolve().parent)
    sys.path[:] = [str(a.root), *(p for p in sys.path if Path(p or ".").resolve() != Path(here))]
    found = {}
    for name, make in stages(a.data):
        if a.only is not None and not any(
            name == o or o == f"{name.split('/')[0]}/" for o in a.only
        ):
            continue
        try:
            run, repeats = make()
            if repeats > 1:
                run()  # compiles, allocates, fills caches
            found[name] = {"s": min(_timed(run) for _ in range(repeats))}
        except Exception as error:  # whatever the other revision lacks
            found[name] = {
                "error": f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
            }
    why = _benchmarks(a.bench) if a.bench else ""
    if why:
        found["bench"] = {"error": why}
    a.out.write_text(json.dumps(found))


def _benchmarks(arguments: list[str]) -> str:
    """Run pytest; why it did not end well: the first exception it shows, or its last line."""
    import pytest

    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        status = pytest.main(arguments)
    if status == 0:
        return ""
    shown = re.findall(r"^E\s+(\w*(?:Error|Exception)\b.*)$", said.getvalue(), flags=re.MULTILINE)
    return shown[0] if shown else (said.getvalue().strip().splitlines() or ["no message"])[-1]


def _timed(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def stages(data: Path) -> Iterator[tuple[str, Callable[[], tuple[Callable[[], object], int]]]]:
    """Name of every stage and what makes it: a function to time and how often."""
    for model in MODELS:
        for length in LENGTHS:
            yield f"train/{model}/L{length}", lambda m=model, n=length: (_training(m, n), REPEATS)
            yield (
                f"inference/{model}/L{length}",
                lambda m=model, n=length: (_inference(m, n), MORE),
            )
    yield "evaluate", lambda: (_evaluation(data), REPEATS)
    yield "prepare", lambda: (_preparing(data), REPEATS)
    yield "report", lambda: (_rendering(data), 1)


def _training(name: str, length: int) -> Callable[[], object]:
    import torch

    import models
    from seqbench.batches import full_length_batch
    from seqbench.experiment import Training
    from seqbench.train import make_optimizer, training_step

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
    from seqbench.data import open_dataset
    from seqbench.experiment import Experiment
    from seqbench.quality import evaluator_of

    torch.set_num_threads(1)
    dataset = open_dataset(data / "small")
    experiment = Experiment("small", "sasrec", "t", 50, 0)
    evaluator = evaluator_of(experiment, dataset, torch.device("cpu"))
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


def _rendering(data: Path) -> Callable[[], object]:
    import tempfile

    from seqbench.report import render

    def run() -> object:
        with tempfile.TemporaryDirectory() as folder:
            return render(data / "tables", Path(folder))

    return run


if __name__ == "__main__":
    main()
