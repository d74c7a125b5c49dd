"""Measuring fairly: a fresh process per (model, phase, round), the models in rotating order, one record each.

Torch-free. Processes come from a fork server that has imported torch but has computed nothing, so each starts
clean (its memory peak is its own) without paying the import again.
"""

from __future__ import annotations

import multiprocessing
import os
import queue
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ..core import deadline, provenance
from ..core.errors import UserError
from ..core.jobs import FULL_LENGTH, MeasurementJob
from ..core.processes import die_with_parent
from ..core.records import data_of, matches, read_record, read_samples, write_record
from ..data import open_dataset
from ..hardware.environment import environment
from ..hardware.leases import (
    EXCLUSIVE,
    check_precision,
    device_kind,
    lease,
    load_watched,
    require_gpu,
    variables,
)
from ..hardware.worker_env import worker_environment
from ..training.supervisor import End

PHASES = ("train", "inference")
TIMES = ("train/step_s", "inference/batch_s")  # (rounds, ...)
NOT_ASKED = "this phase was not asked for"
COUNTED_AT_ONCE_BYTES = 2**35  # of all models on a GPU, up to which their counting shares it
SLACK = 1.5  # times the round before, that must be left for another one and for the counting
LEAST_S = 1.0  # of a process, when the time is over


@dataclass(frozen=True)
class Ask:
    """What of a job is wanted, where that is less than all of it.

    phases: those to measure; energy_rounds: rounds that get an energy window (None: all); until: ``time.monotonic()`` at
    which it ends: no round begins that is not expected to end before it, and a round that it cuts is not kept; cut_first:
    whether a first round that it cuts is recorded, what is missing as a timeout.
    """

    phases: tuple[str, ...] = PHASES
    energy_rounds: int | None = None
    until: float = float("inf")
    cut_first: bool = False


ALL = Ask()


def measure(
    job: MeasurementJob, dataset: Path | None, out: Path, threads: int, time_limit_s: float,
    ask: Ask = ALL,
) -> dict[str, str]:  # fmt: skip
    """Measure all models of ``job``, write one record per model below ``out``, and return their statuses.

    Waits for an exclusive lease of the machine, which its processes inherit.
    ``time_limit_s`` holds for each process. A phase whose process fails gives the record its status; what
    the other phase measured stays. Nothing is written and returned if ``ask.until`` comes within the first round, unless
    ``ask.cut_first``.
    """
    check_precision(job.precision)
    names = [name for name, _ in job.models]
    found = {name: Found() for name in names}
    with lease(EXCLUSIVE) as leased, variables({**worker_environment(threads), **leased}):
        identities = {name: provenance.begun(partial(provenance.measuring, name)) for name in names}
        load = load_watched()
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["seqbench.measuring.phases"])

        def run(function: str, *arguments: Any) -> dict[str, Any] | End:
            limit_s = min(time_limit_s, max(ask.until - time.monotonic(), LEAST_S))
            return _in_fresh_process(context, leased, function, arguments, limit_s)

        limits = run("measure_ceilings", job, threads)
        if (
            isinstance(limits, dict) and "device_kind" in limits
        ):  # as PyTorch, not loaded here, found it
            require_gpu(limits.pop("device_kind"))
        took = 0.0
        for round_ in range(job.rounds):
            begun = time.monotonic()
            if round_ and begun + SLACK * took > ask.until:
                print(f"{job.path}: no time for round {round_ + 1}/{job.rounds}", file=sys.stderr)
                break
            asked = job if round_ < _energy_rounds(job, ask) else replace(job, energy_window_s=0.0)
            whole = _round(
                job, round_, ask, found,
                lambda *which, asked=asked: run("measure_phase", asked, *which, dataset, threads),
            )  # fmt: skip
            if not whole and not round_ and not ask.cut_first:
                return {}
            if not whole:
                for model in found.values():
                    model.cut(round_, ask.phases)
                break
            took = time.monotonic() - begun
        _count(job, found, lambda name: run("count_phases", job, name, dataset, threads))
        for name in names:  # while the environment that they describe holds
            about = {"identity": identities[name](), "load": load()}
            _write(job, name, found[name], limits, dataset, out, threads, ask, about)
    return {name: found[name].end.status for name in names}


def _round(
    job: MeasurementJob, round_: int, ask: Ask, found: dict[str, Found],
    phase_of: Callable[[str, str, int], dict[str, Any] | End],
) -> bool:  # fmt: skip
    """Add one round to what was found; False if ``ask.until`` cut it."""
    for name, phase in _turn(job, round_, ask.phases):
        if phase in found[name].ends:
            continue  # it failed before: what fails once is not asked again
        print(f"{job.path}: {phase} {name}, round {round_ + 1}/{job.rounds}", file=sys.stderr)
        result = phase_of(name, phase, round_)
        if isinstance(result, End) and time.monotonic() >= ask.until:
            return False  # our end, not its own
        found[name].add(phase, result)
    return True


def _energy_rounds(job: MeasurementJob, ask: Ask) -> int:
    return job.rounds if ask.energy_rounds is None else ask.energy_rounds


@dataclass
class Found:
    """What the processes of one model sent back: parts by phase, the end of a phase that failed, counts."""

    parts: dict[str, list[dict[str, Any]]] = field(
        default_factory=lambda: {phase: [] for phase in PHASES}
    )
    ends: dict[str, End] = field(default_factory=dict)
    counts: dict[str, Any] | End = field(default_factory=lambda: End("crashed", "not counted"))

    def add(self, phase: str, result: dict[str, Any] | End) -> None:
        """Keep the result of a process; a phase that fails in one round has no samples."""
        if isinstance(result, End):
            self.ends[phase], self.parts[phase] = result, []
        else:
            self.parts[phase].append(result)

    def cut(self, rounds: int, phases: tuple[str, ...]) -> None:
        """Forget what came after so many rounds; of a cut first one, keep what there is: the phases without are timeouts."""
        self.parts = {phase: parts[: rounds or 1] for phase, parts in self.parts.items()}
        for phase in phases:
            if not self.parts[phase] and phase not in self.ends:
                self.ends[phase] = End("timeout", "the time of its job ended in the first round")

    def reserved_bytes(self) -> float:
        """Largest pool of GPU memory of its processes; 0 on a CPU."""
        parts = [(phase, part["samples"]) for phase in PHASES for part in self.parts[phase]]
        pools = [samples.get(f"{phase}/peak_reserved_bytes", 0) for phase, samples in parts]
        return max(map(float, pools), default=0.0)

    @property
    def end(self) -> End:
        """How the model ended: as its first phase that failed."""
        return next((self.ends[phase] for phase in PHASES if phase in self.ends), End("ok"))


def _turn(job: MeasurementJob, round_: int, phases: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """Rotate the models from round to round, so that none always runs first or behind the same neighbour."""
    names = [name for name, _ in job.models]
    turn = round_ % len(names)
    for name in names[turn:] + names[:turn]:
        for phase in phases:
            yield name, phase


def _count(
    job: MeasurementJob, found: dict[str, Found], count: Callable[[str], dict[str, Any] | End]
) -> None:
    """Counts of all models: on a GPU all at once where their memory is known to allow it, because no clock is read."""
    needed = sum(model.reserved_bytes() for model in found.values())
    known = not any(model.ends for model in found.values())
    at_once = device_kind() == "cuda" and known and needed < COUNTED_AT_ONCE_BYTES
    print(f"{job.path}: counting {', '.join(found)}", file=sys.stderr)
    with ThreadPoolExecutor(len(found) if at_once else 1) as pool:
        for name, counts in zip(found, pool.map(count, found), strict=True):
            found[name].counts = counts


def _in_fresh_process(
    context: Any, visible: dict[str, str], function: str, arguments: tuple, time_limit_s: float
) -> dict[str, Any] | End:
    answers = context.Queue()
    process = context.Process(target=_child, args=(answers, visible, function, *arguments))
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


def _child(answers: Any, visible: dict[str, str], function: str, *arguments: Any) -> None:
    """In the fresh process: do one thing of seqbench.measuring.phases and send back what it found, or how it ended.

    The fork server may be older than the lease of this job: which GPU is visible is said here.
    """
    die_with_parent()
    os.environ.update(visible)
    from . import phases as worker  # loads torch: here, never in the parent

    answers.put(getattr(worker, function)(*arguments))


def _write(
    job: MeasurementJob, name: str, found: Found, limits: dict[str, Any] | End, dataset: Path | None,
    out: Path, threads: int, ask: Ask, about: dict[str, dict[str, Any]],
) -> None:  # fmt: skip
    end, parts = found.end, [part for phase in PHASES for part in found.parts[phase]]
    for phase, failure in found.ends.items():
        said = f"{job.path}/{name}: {phase}: {failure.status}: {failure.reason}"
        print(said, file=sys.stderr)
    facts: dict[str, Any] = {}
    for part in parts:
        facts |= part["facts"]
    kind, capability = facts.pop("device_kind", device_kind()), facts.pop("cpu_capability", None)
    where = environment(kind, threads, capability)
    if any(part["sampler"].get("shared") for part in parts):
        where["shared_gpu"] = True  # seen while measuring, when it mattered
    described = job.for_model(name)
    if _has_more(out / name, found, described, about["identity"]["code"], where["machine"]):
        print(f"{job.path}/{name}: the record there has more rounds and stays", file=sys.stderr)
        return
    write_record(
        out / name,
        kind="measure",
        status=end.status,
        reason=end.reason,
        job=described,
        values={**facts, **_values(found, limits, ask)},
        samples={key: array for phase in PHASES for key, array in _stacked(found.parts[phase])},
        environment=where,
        data=data_of(open_dataset(dataset).info if dataset else {"name": FULL_LENGTH}),
        deadline_s=deadline.given(),
        **about,
    )


def _has_more(folder: Path, found: Found, job: dict[str, Any], code: str, machine: str) -> bool:
    """Whether the same job has a record with more rounds: a call that ends sooner takes none away."""
    try:
        record = read_record(folder)
        rounds = [len(a) for key, a in read_samples(folder, record).items() if key in TIMES]
    except UserError:
        return False
    same = record["status"] == "ok" and matches(record, job, code, machines=[machine])
    return same and min(rounds, default=0) > max(len(parts) for parts in found.parts.values())


def _values(found: Found, limits: dict[str, Any] | End, ask: Ask) -> dict[str, Any]:
    """The record's values besides facts: what is missing and why, failures by phase, counts, ceilings, sampling."""
    missing = {phase: NOT_ASKED for phase in PHASES if phase not in ask.phases}
    for phase in PHASES:
        parts = found.parts[phase]
        measured = {key for part in parts for key in part["samples"]}
        for part in parts:
            missing |= {k: why for k, why in part["missing"].items() if k not in measured}
    whole = found.counts if isinstance(found.counts, dict) else {}  # of a process that came back
    by_phase = {f"{phase}/counts": result for phase, result in whole.items()}
    for key, result in {"counts": found.counts, "ceilings": limits, **by_phase}.items():
        if isinstance(result, End):
            missing[key] = f"{result.status}: {result.reason}"
    return {
        "missing": {
            reason: [key for key, why in missing.items() if why == reason]
            for reason in dict.fromkeys(missing.values())
        },
        "failed": {phase: asdict(end) for phase, end in found.ends.items()},
        "counts": {phase: c for phase, c in whole.items() if not isinstance(c, End)},
        "ceilings": {} if isinstance(limits, End) else limits,
        "sampler": {phase: [p["sampler"] for p in found.parts[phase]] for phase in PHASES},
    }


def _stacked(parts: list[dict[str, Any]]) -> Iterator[tuple[str, np.ndarray]]:
    """Samples of all rounds as arrays (R, ...); where the budget ended a round early, all are cut to its steps."""
    for key in dict.fromkeys(key for part in parts for key in part["samples"]):
        rows = [part["samples"][key] for part in parts if key in part["samples"]]
        shortest = min((len(row) for row in rows if row.ndim), default=None)
        yield key, np.stack([row[:shortest] if row.ndim else row for row in rows])
