"""What a configuration will cost before anything starts: jobs, hours and disk, from records of the nearest machine.

How long a step takes is a machine's: records of this kind of device inform, those of the nearest number of cores first. How
many steps a training takes is not: records of every machine inform. A job that no record informs is counted, not guessed.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from ..config.grid import Grid
from ..config.model_files import available_models, is_trainable, model_config_fields
from ..core import provenance, records
from ..core.errors import UserError
from ..core.jobs import MeasurementJob, TrainingJob
from ..core.store import Entry, read_dataset
from .collect import published

COLUMNS = (
    *("dataset", "track", "kind", "jobs", "done", "unknown", "hours_low", "hours_high"),
    *("disk_bytes", "disk_unknown", "machines"),
)
# What decides how many steps a training takes, and not how long one does.
FREE = {
    *("learning_rate", "weight_decay", "max_steps", "eval_every", "patience_steps", "schedule"),
    *("warmup_steps", "clip_norm", "select_on", "select_seen_items", "rank_test", "curve_test"),
}
# Of a measurement: what its time is computed from, or does not depend on.
COUNTED = {"track", "models", "model", "hyperparameters", "rounds", "steps", "warmup", "budget_s", "energy_window_s", "clip_norm"}  # fmt: skip
HOUR, WEIGHT_BYTES, RECORD_BYTES = 3600.0, 4, 4096
FEWEST_STEPS = 2  # that a process of a measurement takes, however small its budget
Range = tuple[float, float]


@dataclass(frozen=True)
class Machine:
    """Records of one machine, and the folder with the facts of their datasets."""

    name: str
    kind: str
    cores: int
    folder: Path
    entries: list[Entry]


@dataclass(frozen=True)
class Estimate:
    """Seconds of one job, lowest and highest, bytes that it leaves, and the machines whose records say so; None: unknown."""

    seconds: Range | None = None
    size: float | None = None
    machines: frozenset[str] = field(default_factory=frozenset)


def machines(reference: Path, results: Path, kind: str, cores: int) -> list[Machine]:
    """Machines with records, the nearest first: of this kind of device, of the nearest number of cores, and here before there."""
    folders = [results, *sorted(path.parent for path in reference.glob("*/runs"))]
    found = []
    for folder in folders:
        if (folder / "runs").is_dir() and (entries := [e for e in published(folder) if e.ok]):
            about = entries[0].record["environment"]
            found.append(Machine(about["machine_name"], about["device_kind"], about["n_cpus"], folder, entries))  # fmt: skip
    return sorted(found, key=lambda m: (m.kind != kind, abs(m.cores - cores)))


def plan(grid: Grid, near: list[Machine], results: Path, kind: str, models: Path) -> pd.DataFrame:
    """Jobs of a grid by dataset, track and kind, with what they will take.

    near: as `machines` gives them. kind: `cpu` or `cuda`, of the device that will compute. Hours are core-hours of
    trainings (on a GPU its hours) and hours of the whole machine of measurements; those of `unknown` jobs are not in them.
    """
    evidence = Evidence(near, kind, models)
    jobs = [("training", job) for job in grid.trainings]
    jobs += [("measurement", job) for job in grid.measurements]
    groups: dict[tuple[str, str, str], list[Any]] = {}
    for what, job in jobs:
        groups.setdefault((job.dataset, job.track, what), []).append(job)
    rows = [_row(key, own, results, evidence) for key, own in groups.items()]
    rows += [_dataset_row(name, near, results) for name in grid.datasets()]
    return pd.DataFrame(rows, columns=[*COLUMNS])


def _row(
    key: tuple[str, str, str], jobs: list[Any], results: Path, evidence: Evidence
) -> dict[str, Any]:
    todo = [job for job in jobs if not _done(job, results)]
    found = [evidence.of(job) for job in todo]
    known = [e.seconds for e in found if e.seconds]
    sizes = [e.size for e in found if e.size is not None]
    names = sorted({name for e in found for name in e.machines})
    return {
        **dict(zip(("dataset", "track", "kind"), key, strict=True)),
        "jobs": len(jobs), "done": len(jobs) - len(todo), "unknown": len(todo) - len(known),
        "hours_low": sum(low for low, _ in known) / HOUR, "hours_high": sum(high for _, high in known) / HOUR,
        "disk_bytes": sum(sizes), "disk_unknown": len(todo) - len(sizes), "machines": " ".join(names),
    }  # fmt: skip


def _dataset_row(name: str, near: list[Machine], results: Path) -> dict[str, Any]:
    """Preparing a dataset: the size of its arrays; its time is not recorded and small."""
    done = (results / "data" / name / "dataset.json").exists()
    facts = next(filter(None, (_facts(m.folder, name) for m in near)), None)
    size = None
    if facts and not done:
        columns = 4 + 8 + 8 * (facts.get("time") == "unix")  # items, rows, times
        size = facts["n_interactions"] * columns + 8 * (facts["n_users"] + 1)
    return {
        "dataset": name, "track": None, "kind": "data", "jobs": 1, "done": int(done), "unknown": 0,
        "hours_low": 0.0, "hours_high": 0.0, "disk_bytes": size or 0, "disk_unknown": int(not done and size is None),
        "machines": "",
    }  # fmt: skip


def _facts(folder: Path, name: str) -> dict[str, Any] | None:
    return read_dataset(folder, name) if (folder / "data" / name / "dataset.json").exists() else None  # fmt: skip


def _done(job: TrainingJob | MeasurementJob, results: Path) -> bool:
    """Whether the workflow would find every record of a job: the same job by the present code, however it ended."""
    if isinstance(job, TrainingJob):
        return _recorded(results / job.path, job.to_dict(), provenance.training(job.model))
    return all(
        _recorded(results / path, job.for_model(name), provenance.measuring(name))
        for path, (name, _) in zip(job.record_paths(), job.models, strict=True)
    )


def _recorded(folder: Path, job: Mapping[str, Any], code: str) -> bool:
    if not (folder / "record.json").exists():
        return False
    own = {key: value for key, value in job.items() if key != "models"}
    try:
        return records.matches(records.read_record(folder), own, code)
    except UserError:  # a damaged one is made again
        return False


class Evidence:
    """What the records say about the time and size of jobs.

    near: machines, the nearest first. kind: of the device whose times count.
    """

    def __init__(self, near: list[Machine], kind: str, models: Path) -> None:
        self.near = [m for m in near if m.kind == kind]
        self.models = models
        self.defaults = {
            name: {key: value for key, (_, value) in model_config_fields(models / f"{name}.py").items()}
            for name in available_models(models)
        }  # fmt: skip
        self.paces: dict[str, dict[str, list[Entry]]] = {}  # by pace, by machine
        self.same: dict[str, list[Entry]] = {}  # by all settings but track and seed
        self.measured: dict[
            str, dict[str, Entry]
        ] = {}  # by what decides a batch's time, by machine
        for machine in near:
            for entry in machine.entries:
                job = entry.job
                if entry.training:
                    self.same.setdefault(self._settings(job), []).append(entry)
                    if machine.kind == kind:
                        self.paces.setdefault(self._pace(job), {}).setdefault(machine.name, []).append(entry)  # fmt: skip
                elif machine.kind == kind:
                    for key in (self._cost(job), self._cost(job, "eval_batch")):
                        self.measured.setdefault(key, {}).setdefault(machine.name, entry)

    def of(self, job: TrainingJob | MeasurementJob) -> Estimate:
        """Time and size of one job."""
        return self._training(job) if isinstance(job, TrainingJob) else self._measurement(job)

    # --- keys ---------------------------------------------------------------------------------------------------------

    def _hyperparameters(self, job: Mapping[str, Any], *without: str) -> dict[str, Any]:
        own = {**self.defaults.get(job["model"], {}), **job["hyperparameters"]}
        return {key: value for key, value in own.items() if key not in without}

    def _settings(self, job: Mapping[str, Any]) -> str:
        return self._key(job, job["training"], self._hyperparameters(job))

    def _pace(self, job: Mapping[str, Any]) -> str:
        training = {k: v for k, v in job["training"].items() if k not in FREE}
        return self._key(job, training, self._hyperparameters(job, "dropout"))

    def _key(self, job: Mapping[str, Any], training: Mapping, hyper: Mapping) -> str:
        """Of a model without training neither settings nor length: its time hardly depends on them."""
        about = [job["dataset"], job["model"]]
        if is_trainable(self.models / f"{job['model']}.py"):
            about += [job["seq_len"], training]
        return json.dumps([*about, hyper], sort_keys=True)

    def _cost(self, job: Mapping[str, Any], *without: str) -> str:
        rest = {key: value for key, value in job.items() if key not in COUNTED.union(without)}
        own = [job["model"], self._hyperparameters(job, "dropout")]
        return json.dumps([*own, rest], sort_keys=True)

    # --- trainings ----------------------------------------------------------------------------------------------------

    def _training(self, job: TrainingJob) -> Estimate:
        asked = job.to_dict()
        same = self.same.get(self._settings(asked), [])
        names, own = self._nearest(self.paces.get(self._pace(asked), {}))
        size = max(map(_bytes, same or own or []), default=None)
        if not is_trainable(self.models / f"{job.model}.py"):
            seconds = [e.values["train_s"] + e.values["evaluate_s"] for e in own or []]
            return Estimate((min(seconds), max(seconds)) if seconds else None, size, names)
        if own:
            steps = [e.values["train_s"] / e.values["steps"] for e in own]
            validations = [
                e.values["evaluate_s"] / _validations(e.values["steps"], e.job) for e in own
            ]
            begin = [e.values.get("first_step_after_s") or 0.0 for e in own]
        elif cost := self._measured_pace(job):
            names, steps, validations = cost
            begin = self._begin()
        else:
            return Estimate(None, size)
        low, high = (
            n * end(steps) + _validations(n, asked) * end(validations) + end(begin)
            for n, end in zip(_steps(job, same), (min, max), strict=True)
        )
        return Estimate((low, high), size, names)

    def _measured_pace(self, job: TrainingJob) -> tuple[frozenset[str], Range, Range] | None:
        """Machine, quartiles of a step's time and of a validation's, from measurements on the dataset."""
        keys = ("targets_per_step", "precision", "kernels", "objective", "compute_all_positions", "bucket_by_length")  # fmt: skip
        wanted = MeasurementJob(
            job.dataset, job.track, job.seq_len, ((job.model, job.hyperparameters),),
            **{key: getattr(job.training, key) for key in keys},
        )  # fmt: skip
        cost = self._cost(wanted.for_model(job.model), "eval_batch")
        names, own = self._nearest(self.measured.get(cost, {}))
        samples = own.samples() if own else {}
        if not {"train/step_s", "inference/batch_s"} <= samples.keys():
            return None
        low, high = _quartiles(samples["inference/batch_s"])
        batches = own.dataset["n_users"] / own.job["eval_batch"]
        return names, _quartiles(samples["train/step_s"]), (low * batches, high * batches)

    def _begin(self) -> Range:
        """Quartiles of the seconds from a process's start to its first step, on the nearest machine that trained something."""
        for machine in self.near:
            found = [e.values.get("first_step_after_s") for e in machine.entries]
            if len(found := [seconds for seconds in found if seconds]) > 1:
                low, _, high = statistics.quantiles(found)
                return low, high
        return 0.0, 0.0

    # --- measurements -------------------------------------------------------------------------------------------------

    def _measurement(self, job: MeasurementJob) -> Estimate:
        low, high, size, names = 0.0, 0.0, 0.0, frozenset()
        _, begin = self._begin()  # at most: of its processes only the first one imports
        for name, _ in job.models:
            where, own = self._nearest(self.measured.get(self._cost(job.for_model(name)), {}))
            if not own:
                return Estimate()
            names, size, samples = names | where, size + _bytes(own), own.samples()
            for phase in ("train", "inference"):
                shortest, longest = _process(job, phase, samples)
                low, high = low + job.rounds * shortest, high + job.rounds * (longest + begin)
            high += begin  # of counting
        return Estimate((low, high), size, names)

    def _nearest(self, found: Mapping[str, Any]) -> tuple[frozenset[str], Any]:
        for machine in self.near:
            if machine.name in found:
                return frozenset({machine.name}), found[machine.name]
        return frozenset(), None


def _steps(job: TrainingJob, same: Iterable[Entry]) -> tuple[int, int]:
    """Steps that the same training took, with whatever seed and on whatever machine, or those that its budget allows."""
    taken = [entry.values["steps"] for entry in same]
    if taken:
        return min(taken), max(taken)
    most, training = job.training.max_steps, job.training
    if getattr(training, "schedule", "constant") != "constant":  # patience ends nothing
        return most, most
    return min(most, training.patience_steps + training.eval_every), most


def _validations(steps: int, job: Mapping[str, Any]) -> int:
    """How often a training looks at the users of a split, the test split included."""
    return steps // job["training"]["eval_every"] + 1


def _process(job: MeasurementJob, phase: str, samples: Mapping[str, Any]) -> Range:
    """Seconds of one process of a measurement, without its start."""
    values = samples.get("train/step_s" if phase == "train" else "inference/batch_s")
    budget = job.budget_s or float("inf")
    if values is None:  # it failed, at once or at the end of its budget
        return 0.0, job.budget_s or 0.0
    first = float(samples["train/first_step_s"].max()) if "train/first_step_s" in samples else 0.0
    low, high = (
        min((job.warmup + job.steps) * seconds, max(budget, FEWEST_STEPS * seconds) + seconds)
        + job.energy_window_s
        for seconds in _quartiles(values)
    )
    return low, high + first * (phase == "train")


def _quartiles(values: Any) -> Range:
    flat = [float(value) for value in values.ravel()]
    if len(flat) < 2:
        return flat[0], flat[0]
    low, _, high = statistics.quantiles(flat, method="inclusive")
    return low, high


def _bytes(entry: Entry) -> float:
    """Bytes of a record with its samples, and of the weights of a training."""
    file = entry.root / entry.path / "samples.npz"
    weights = (entry.values.get("parameters") or 0) * WEIGHT_BYTES if entry.training else 0
    return (file.stat().st_size if file.exists() else 0) + RECORD_BYTES + weights
