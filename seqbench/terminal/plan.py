"""What a configuration will cost before anything starts: jobs, hours and disk, from records of the nearest machine.

How long a step takes is a machine's: records of this kind of device inform, those of the nearest number of cores first. How
many steps a training takes is not: records of every machine inform. A job that no record informs is counted, not guessed.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..config.grid import Grid
from ..config.model_files import MODELS, is_trainable, model_config_fields, shown
from ..core import provenance, records
from ..core.errors import UserError
from ..core.jobs import MeasurementJob, TrainingJob
from ..core.store import Entry, published, read_dataset, recover

GROUP = ["dataset", "track", "kind"]
COLUMNS = (*GROUP, "jobs", "done", "unknown", "hours_low", "hours_high", "disk_bytes", "disk_unknown", "machines")  # fmt: skip
# What decides how many steps a training takes, and not how long one does.
FREE = {
    *("learning_rate", "weight_decay", "max_steps", "eval_every", "patience_steps", "schedule"),
    *("warmup_steps", "clip_norm", "select_on", "select_seen_items", "rank_test", "curve_test"),
}
# Of a measurement: what its time is computed from, or does not depend on.
COUNTED = {
    *("track", "models", "model", "hyperparameters", "rounds", "steps", "warmup", "budget_s"),
    *("energy_window_s", "clip_norm", "clip_norms"),
}
STEP, BATCH = "train/step_s", "inference/batch_s"
WEIGHT_BYTES, RECORD_BYTES = 4, 4096
FEWEST_STEPS = 2  # that a process of a measurement takes, however small its budget
Job = TrainingJob | MeasurementJob
Range = tuple[float, float]  # lowest and highest
Found = dict[str, list[Entry]]


def plan(grid: Grid, reference: Path, results: Path, device_kind: str, cores: int) -> pd.DataFrame:
    """Jobs of a grid by dataset, track and kind (training, measurement, data), with what they will take on a machine.

    reference, results: records that inform; what `results` holds is done. Hours are core-hours of trainings (of a GPU if
    it computes) and hours of the whole machine of measurements; jobs that are `unknown` are not in them.
    """
    recover(reference)
    evidence = Evidence(reference, results, device_kind, cores)
    jobs = [*grid.trainings, *grid.measurements]
    rows = [evidence.row(job, _done(job, results)) for job in jobs]
    rows += [_prepared(name, evidence.folders, results) for name in grid.datasets()]
    frame = pd.DataFrame(rows).assign(jobs=1)
    todo = ~frame.done
    frame = frame.assign(
        hours_low=frame.low.where(todo) / 3600, hours_high=frame.high.where(todo) / 3600, disk_bytes=frame["size"].where(todo),
        unknown=frame.low.isna() & todo, disk_unknown=frame["size"].isna() & todo, machines=frame.machine.where(todo, ""),
    )  # fmt: skip
    numbers = [name for name in COLUMNS if name not in (*GROUP, "machines")]
    whole = frame.groupby(GROUP, sort=False, dropna=False)
    names = whole.machines.agg(lambda own: " ".join(sorted(set(own) - {""})))
    return whole[numbers].sum().assign(machines=names).reset_index()[[*COLUMNS]]


def _prepared(name: str, folders: Iterable[Path], results: Path) -> dict[str, Any]:
    """Preparing a dataset: the size of its arrays, where some machine's records tell; its time is small."""
    size = None
    for folder in folders:
        if size is None and (folder / "data" / name / "dataset.json").exists():
            facts = read_dataset(folder, name)
            columns = 4 + 8 + 8 * (facts.get("time") == "unix")  # items, rows, times
            size = facts["n_interactions"] * columns + 8 * (facts["n_users"] + 1)
    done = (results / "data" / name / "dataset.json").exists()
    return {"dataset": name, "track": None, "kind": "data", "done": done, "low": 0.0, "high": 0.0, "size": size, "machine": ""}  # fmt: skip


def _done(job: Job, results: Path) -> bool:
    """Whether the workflow would find every record of a job: the same job by the present code, however it ended."""
    if isinstance(job, TrainingJob):
        return _recorded(results / job.path, job.to_dict(), provenance.training(job.model))
    return all(
        _recorded(results / path, job.for_model(name), provenance.measuring(name))
        for path, (name, _) in zip(job.record_paths(), job.models, strict=True)
    )


def _recorded(folder: Path, job: Mapping[str, Any], code: str) -> bool:
    own = {key: value for key, value in job.items() if key != "models"}
    try:
        return (folder / "record.json").exists() and records.matches(records.read_record(folder), own, code)  # fmt: skip
    except UserError:  # a damaged one is made again
        return False


class Evidence:
    """What the records of all machines say about the time and size of jobs, those of the nearest machine first."""

    def __init__(self, reference: Path, results: Path, device_kind: str, cores: int) -> None:
        def far(entries: list[Entry]) -> tuple[bool, int]:
            about = entries[0].record["environment"]
            return about["device_kind"] != device_kind, abs((about["n_cpus"] or 0) - cores)

        folders = [results, *sorted(path.parent for path in reference.glob("*/runs"))]
        made = {f: [e for e in published(f) if e.ok] for f in folders if (f / "runs").is_dir()}
        near = sorted((own for own in made.items() if own[1]), key=lambda own: far(own[1]))
        self.folders = [folder for folder, _ in near]
        self.same: Found = {}
        self.pace: Found = {}
        self.cost: Found = {}
        self.begin = (0.0, 0.0)  # seconds from a process's start to its first step
        for _, entries in near:
            local = not far(entries)[0]
            for entry in entries:
                if entry.training:
                    self.same.setdefault(_settings(entry.job), []).append(entry)
                if local and entry.training:
                    self.pace.setdefault(_pace(entry.job), []).append(entry)
                elif local:
                    for key in (_cost(entry.job), _cost(entry.job, "eval_batch")):
                        self.cost.setdefault(key, []).append(entry)
            begun = [s for e in entries if (s := e.values.get("first_step_after_s"))]
            if local and begun and not self.begin[1]:
                self.begin = _quartiles(begun)

    def row(self, job: Job, done: bool) -> dict[str, Any]:
        """Seconds, bytes and machine of one job; None where no record informs."""
        training = isinstance(job, TrainingJob)
        seconds, size, machine = (self._training if training else self._measurement)(job)
        low, high = seconds or (None, None)
        about = {"dataset": job.dataset, "track": job.track, "kind": "training" if training else "measurement"}  # fmt: skip
        return {**about, "done": done, "low": low, "high": high, "size": size, "machine": machine}

    def _training(self, job: TrainingJob) -> tuple[Range | None, float | None, str]:
        asked = job.to_dict()
        same, own = self.same.get(_settings(asked), []), _nearest(self.pace.get(_pace(asked), []))
        size, machine = max(map(_bytes, same or own), default=None), _machine(own)
        took = [(e.values["train_s"], e.values["evaluate_s"], e.values["steps"], e) for e in own]
        if not is_trainable(MODELS / f"{job.model}.py"):
            seconds = [train + evaluate for train, evaluate, *_ in took]
            return ((min(seconds), max(seconds)) if seconds else None), size, machine
        if took:
            steps = [train / n for train, _, n, _ in took]
            looks = [evaluate / _validations(n, e.job) for _, evaluate, n, e in took]
            begin = [e.values.get("first_step_after_s") or 0.0 for e in own]
        else:
            keys = ("targets_per_step", "precision", "kernels", "objective", "compute_all_positions", "bucket_by_length", "step_counts")  # fmt: skip
            alike = {key: getattr(job.training, key) for key in keys}
            measured = MeasurementJob(job.dataset, job.track, job.seq_len, ((job.model, job.hyperparameters),), **alike)  # fmt: skip
            own = _nearest(self.cost.get(_cost(measured.for_model(job.model), "eval_batch"), []))
            samples = own[0].samples() if own else {}
            if not {STEP, BATCH} <= samples.keys():
                return None, size, ""
            batches = own[0].dataset["n_users"] / own[0].job["eval_batch"]
            steps, begin, machine = _quartiles(samples[STEP]), self.begin, _machine(own)
            looks = [batches * seconds for seconds in _quartiles(samples[BATCH])]
        low, high = (
            n * end(steps) + _validations(n, asked) * end(looks) + end(begin)
            for n, end in zip(_steps(job, same), (min, max), strict=True)
        )
        return (low, high), size, machine

    def _measurement(self, job: MeasurementJob) -> tuple[Range | None, float | None, str]:
        low, high, size, machine = 0.0, 0.0, 0.0, ""
        begin = self.begin[1]  # at most: of its processes only the first one imports
        for name, _ in job.models:
            own = _nearest(self.cost.get(_cost(job.for_model(name)), []))
            if not own:
                return None, None, ""
            size, machine = size + _bytes(own[0]), _machine(own)
            for shortest, longest in _processes(job, own[0].samples()):
                low, high = low + job.rounds * shortest, high + job.rounds * (longest + begin)
            high += begin  # of counting
        return (low, high), size, machine


# --- keys: what decides a time ------------------------------------------------------------------------------------------


def _hyperparameters(job: Mapping[str, Any]) -> dict[str, Any]:
    declared = model_config_fields(MODELS / f"{job['model']}.py")
    return {name: default for name, (_, default) in declared.items()} | job["hyperparameters"]


def _settings(job: Mapping[str, Any]) -> str:
    return _key(job, job["training"], _hyperparameters(job))


def _pace(job: Mapping[str, Any]) -> str:
    hyper = {**_hyperparameters(job), "dropout": None}  # which costs as much whatever its share
    return _key(job, {k: v for k, v in job["training"].items() if k not in FREE}, hyper)


def _key(job: Mapping[str, Any], training: Mapping[str, Any], hyper: Mapping[str, Any]) -> str:
    """A model without training hardly depends on settings and length."""
    training = {k: v for k, v in training.items() if k not in _indifferent(job)}
    own = [job["seq_len"], training] if is_trainable(MODELS / f"{job['model']}.py") else []
    return json.dumps([job["dataset"], job["model"], *own, hyper], sort_keys=True)


def _indifferent(job: Mapping[str, Any]) -> set[str]:
    """To a model that predicts all targets it is one what a step counts."""
    return {"step_counts"} if shown(job["model"]).predicts_all_targets else set()


def _cost(job: Mapping[str, Any], *without: str) -> str:
    left_out = COUNTED.union(without, _indifferent(job))
    rest = {key: value for key, value in job.items() if key not in left_out}
    hyper = {**_hyperparameters(job), "dropout": None}
    return json.dumps([job["model"], hyper, rest], sort_keys=True)


# --- what one record says -----------------------------------------------------------------------------------------------


def _machine(entries: list[Entry]) -> str:
    return entries[0].machine if entries else ""


def _nearest(entries: list[Entry]) -> list[Entry]:
    """Those of the first machine."""
    return [entry for entry in entries if _machine([entry]) == _machine(entries)]


def _steps(job: TrainingJob, same: list[Entry]) -> tuple[int, int]:
    """Steps that the same training took, with whatever seed and on whatever machine, or those that its budget allows."""
    taken, training = [entry.values["steps"] for entry in same], job.training
    if taken:
        return min(taken), max(taken)
    # Where the rate decays, patience ends nothing.
    fewest = training.max_steps if training.decays else training.patience_steps + training.eval_every  # fmt: skip
    return min(fewest, training.max_steps), training.max_steps


def _validations(steps: int, job: Mapping[str, Any]) -> int:
    """How often a training looks at the users of a split, the test split included."""
    return steps // job["training"]["eval_every"] + 1


def _processes(job: MeasurementJob, samples: Mapping[str, np.ndarray]) -> Iterator[Range]:
    """Seconds of one process of each phase, without its start."""
    budget = job.budget_s or float("inf")
    for name in (STEP, BATCH):
        if name not in samples:  # it failed, at once or at the end of its budget
            yield 0.0, job.budget_s or 0.0
            continue
        low, high = (
            min((job.warmup + job.steps) * s, max(budget, FEWEST_STEPS * s) + s) + job.energy_window_s
            for s in _quartiles(samples[name])
        )  # fmt: skip
        first = samples.get("train/first_step_s", np.zeros(1)).max() if name == STEP else 0.0
        yield low, high + float(first)


def _quartiles(values: Any) -> Range:
    low, high = np.quantile(values, [0.25, 0.75])
    return float(low), float(high)


def _bytes(entry: Entry) -> float:
    """Bytes of a record with its samples, and of the weights of a training."""
    file = entry.root / entry.path / "samples.npz"
    weights = (entry.values.get("parameters") or 0) * WEIGHT_BYTES if entry.training else 0
    return (file.stat().st_size if file.exists() else 0) + RECORD_BYTES + weights
