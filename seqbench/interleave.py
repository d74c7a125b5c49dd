"""Measuring fairly: a fresh process per (model, phase, round), the models in rotating order, one record each.

Torch-free. Processes come from a fork server that has imported torch but has computed nothing, so each starts
clean (its memory peak is its own) without paying the import again.
"""

from __future__ import annotations

import multiprocessing
import os
import queue
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from . import code
from .data import open_dataset
from .environment import environment, worker_environment
from .experiment import FULL_LENGTH, Measurement
from .record import data_facts, write_record
from .run import End, check_precision, device_kind, device_lease, die_with_parent

PHASES = ("train", "inference")


def measure(
    job: Measurement, dataset: Path | None, out: Path, threads: int, time_limit_s: float
) -> dict[str, str]:
    """Measure all models of ``job``, write one record per model below ``out``, and return their statuses.

    ``time_limit_s`` holds for each process. A model whose process fails gets a record with that status.
    """
    check_precision(job.precision)
    found: dict[str, list[dict[str, Any]]] = {name: [] for name, _ in job.models}
    ends: dict[str, End] = {}
    with device_lease() as visible:
        os.environ.update({**worker_environment(threads), **visible})
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["seqbench.measure"])
        for name, phase, round_ in _order(job):
            if name in ends:
                continue  # it failed before: what fails once is not asked again
            print(f"{job.path}: {phase} {name}, round {round_ + 1}/{job.rounds}", file=sys.stderr)
            result = _in_fresh_process(
                context, (job, name, phase, round_, dataset, threads), time_limit_s
            )
            if isinstance(result, End):
                ends[name] = result
            else:
                found[name].append(result)
    for name in found:
        _write(job, name, found[name], ends.get(name, End("ok")), dataset, out, threads)
    return {name: ends.get(name, End("ok")).status for name in found}


def _order(job: Measurement) -> Iterator[tuple[str, str, int]]:
    """Rotate the models from round to round, so that none always runs first or behind the same neighbour."""
    names = [name for name, _ in job.models]
    for round_ in range(job.rounds):
        turn = round_ % len(names)
        for name in names[turn:] + names[:turn]:
            for phase in PHASES:
                yield name, phase, round_


def _in_fresh_process(context: Any, arguments: tuple, time_limit_s: float) -> dict[str, Any] | End:
    answers = context.Queue()
    process = context.Process(target=_child, args=(answers, *arguments))
    process.start()
    result: dict[str, Any] | End | None = None
    waited = 0.0
    while result is None and waited < time_limit_s:
        try:
            result = answers.get(timeout=0.5)
        except queue.Empty:
            waited += 0.5
            if not process.is_alive() and answers.empty():
                break
    if process.is_alive() and result is None:
        process.kill()
        result = End("timeout", f"stopped at its time limit of {time_limit_s:g} s")
    process.join()
    return result if result is not None else _death(process.exitcode)


def _death(exitcode: int) -> End:
    if exitcode == -9:
        return End(
            "oom", "killed by SIGKILL, as the system does when the host's memory is exhausted"
        )
    return End(
        "crashed", f"the measuring process ended with {exitcode}; its message stands in the log"
    )


def _child(answers: Any, *arguments: Any) -> None:
    """In the fresh process: measure and send back arrays and facts, or how it ended."""
    die_with_parent()
    from . import measure as worker  # loads torch: here, never in the parent

    answers.put(worker.measure_phase(*arguments))


def _write(
    job: Measurement, name: str, parts: list[dict[str, Any]], end: End, dataset: Path | None,
    out: Path, threads: int,
) -> None:  # fmt: skip
    samples, missing, facts = {}, {}, {}
    if end.status == "ok":
        for key in parts[0]["samples"] | parts[1]["samples"]:
            rows = [p["samples"][key] for p in parts if key in p["samples"]]
            samples[key] = np.stack(rows)
        for part in parts:
            missing |= part["missing"]
            facts |= part["facts"]
    else:
        print(f"{job.path}/{name}: {end.status}: {end.reason}", file=sys.stderr)
    kind = facts.pop("device_kind", device_kind())
    capability = facts.pop("cpu_capability", None)
    write_record(
        out / name,
        kind="measure",
        status=end.status,
        reason=end.reason,
        experiment=job.for_model(name),
        values={**facts, "missing": missing},
        samples=samples,
        environment=environment(kind, threads, capability),
        data=data_facts(open_dataset(dataset).info if dataset else _synthetic(job)),
        code=code.identity(code.measuring_sources(name)),
    )


def _synthetic(job: Measurement) -> dict[str, Any]:
    return {"name": FULL_LENGTH, "n_items": job.n_items}
