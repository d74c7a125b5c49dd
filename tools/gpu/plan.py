"""What `gpu-check` measures and on which data: jobs of the configuration, most important first, and which are done."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from seqbench.core import provenance
from seqbench.core.errors import UserError
from seqbench.core.provenance import ROOT
from seqbench.core.store import copy_files

DONE, FAILED, UNFINISHED = 0, 1, 3  # exit statuses; 2 is bad input
# Of the curve over lengths at constant sequences per batch, on which the claims about growth are judged: as many as a fit
# needs, the paper's first, its longest next.
CORE_LENGTHS = (200, 8192, 2048, 512)
CORE_TRACK = "matched"
SHORT = {"max_steps": 300, "eval_every": 100, "patience_steps": 300, "targets_per_step": 8192}
GENERATED = {"n_users": 6000, "n_items": 3400, "mean_length": 160.0, "max_length": 400}
GENERATED_TINY = {"n_users": 100, "n_items": 40, "mean_length": 12.0, "max_length": 20}
TINY = {
    "tracks": {"matched": {"hyperparameters": {"d_model": 16}, "training": {"targets_per_step": 64}}},
    "run": {"tracks": ["matched"]},
    "measure": {
        "models": ["sasrec"], "n_items": 40, "rounds": 1,
        "steps": 2, "warmup": 1, "eval_batch": 8,
        "scaling": {"length_at_constant_tokens": {"tokens": 32, "seq_lens": [4, 8, 12, 16]}, "length_at_constant_batch": {"seq_lens": []},
                    "batch_size": {"sequences": []}, "catalogue_size": {"n_items": []}},
    },
}  # fmt: skip


@dataclass(frozen=True)
class Plan:
    """What to do: where to write, on which prepared dataset (None: generated), how large, and until when."""

    out: Path
    parts: tuple[str, ...]
    data: Path | None
    deadline: float
    tiny: bool = False
    every: bool = False
    grid: Path | None = None  # of the part `quality`
    share: int = 1  # trainings at once, in the parts `tune` and `quality`
    only: str = "*"  # of cost: jobs whose folder below runs/ matches
    published: Path = (
        ROOT / "results" / "reference"
    )  # records of this machine there need not be made again

    @property
    def checks(self) -> Path:
        """Folder of what is no record."""
        return self.out / "checks"

    @property
    def results(self) -> Path:
        """Folder of records, as the workflow's ``results``."""
        return self.out / "results"

    def left_s(self) -> float:
        """Seconds until the budget ends."""
        return self.deadline - time.monotonic()


def is_done(plan: Plan, job: Any) -> bool:
    """Whether every model of a job has its record: of this machine, description, code and data, and worth keeping."""
    phases = ask(plan, job).phases
    on = None if job.n_items is not None else _facts(dataset(plan))["hash"]

    def is_whole(record: dict[str, Any]) -> bool:
        values = record["values"]
        full = {p for p, rounds in values.get("sampler", {}).items() if len(rounds) >= job.rounds}
        missing = values.get("missing", {}).items()
        counted = not any("counts" in keys and why.startswith("timeout") for why, keys in missing)
        whole = full.union(values.get("failed", {})).issuperset(phases)
        return counted and whole and record["data"]["hash"] == on

    return all(
        any(map(is_whole, valid_records(plan, f"{job.path}/{name}", job.for_model(name), provenance.measuring(name))))
        for name, _ in job.models
    )  # fmt: skip


def valid_records(
    plan: Plan, path: str, job: dict[str, Any], code: str, anywhere: bool = False
) -> Iterator[dict[str, Any]]:
    """Records at a path, made here or published, of this machine, this description and this code, that did not crash.

    anywhere: those of other machines too, where they came to their end.
    """
    from seqbench.core.records import matches, read_record
    from seqbench.hardware.leases import machines

    here = machines()
    for folder in (plan.results, *sorted(plan.published.glob("*/"))):
        try:
            record = read_record(folder / path)
        except UserError:
            continue
        made_by = None if anywhere and record["status"] == "ok" else here
        if matches(record, job, code, machines=made_by) and record["status"] != "crashed":
            yield record


def ask(plan: Plan, job: Any) -> Any:
    """What of a job is measured: in the core an energy window in the first round only."""
    from seqbench.measuring.session import ALL, Ask

    if plan.every or plan.tiny:
        return ALL
    return Ask(energy_rounds=1)


def jobs(plan: Plan) -> Iterator[Any]:
    """Measurements of config/gpu.yaml, those that matter most first; their core unless all are asked for.

    The core is what the paper's claims about cost are judged on (the paper's workload in its own track, a curve over
    lengths), then the same workload in the track ``matched``.
    """
    from seqbench.config.grid import grid

    measurements = grid(configuration(plan), ROOT / "models").measurements
    order = {
        "length-at-constant-tokens": 1,
        "length-at-constant-batch": 2,
        "batch-size": 3,
        "catalogue-size": 4,
    }

    def rank(job: Any) -> tuple:
        near = CORE_LENGTHS.index(job.seq_len) if job.seq_len in CORE_LENGTHS else len(CORE_LENGTHS)
        first = 0 if job.track != CORE_TRACK and job.curve is None else 1 if in_core(job) else 2
        return first, not job.curve if first == 1 else 0, order.get(job.curve, 0), near, job.seq_len

    for job in sorted(measurements, key=rank):
        named = fnmatchcase(job.path.removeprefix("runs/"), plan.only)
        if named and (plan.every or plan.tiny or in_core(job)):
            yield job


def trainings(plan: Plan) -> list[Any]:
    """One short training of every measured model, in the track ``matched``."""
    from seqbench.config.grid import grid
    from seqbench.core.jobs import Training

    config = configuration(plan)
    config["run"]["models"] = config["measure"]["models"]
    tiny = {"max_steps": 20, "eval_every": 10, "targets_per_step": 64}
    training = Training(**(SHORT | tiny if plan.tiny else SHORT))
    every = grid(config, ROOT / "models").trainings
    return [replace(job, training=training) for job in every if job.track == "matched"]


def in_core(job: Any) -> bool:
    """Whether a job is measured unless the whole grid is asked for."""
    if job.curve is None:
        return True
    return (
        job.curve == "length-at-constant-batch"
        and job.seq_len in CORE_LENGTHS
        and job.track == CORE_TRACK
    )


def configuration(plan: Plan) -> dict[str, Any]:
    """The configuration as the workflow would merge it, with one dataset: the one given, or a generated one."""
    from seqbench.config.load import merged, validate
    from seqbench.core.yaml_files import read_mapping

    config: dict[str, Any] = {}
    for name in ("config", "gpu"):
        config = merged(config, read_mapping(ROOT / "config" / f"{name}.yaml"))
    name = _name(plan)
    block = config["datasets"].get(
        name,
        {
            "source": "synthetic",
            "k_core": 1,
            "synthetic": GENERATED_TINY if plan.tiny else GENERATED,
        },
    )
    block = {**block, "seq_lens": [8 if plan.tiny else 200]}
    config["run"] |= {"datasets": [name], "seeds": [0]}
    config = merged(config, {"datasets": {name: block}})
    if plan.tiny:
        config = merged(config, TINY)
    return validate(config)


def _name(plan: Plan) -> str:
    if plan.data is None:
        return "generated-tiny" if plan.tiny else "generated"  # a folder each: they share no data
    return _facts(plan.data)["name"]


def _facts(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "dataset.json").read_text(encoding="utf-8"))


def dataset(plan: Plan) -> Path:
    """The prepared dataset, whose facts are kept with the records; generated where none was given."""
    from seqbench.config.load import definition
    from seqbench.data import prepare

    name = _name(plan)
    kept = plan.results / "data" / name
    if plan.data is not None:
        kept.mkdir(parents=True, exist_ok=True)
        copy_files(plan.data, kept, ("users.npz", "dataset.json"))
        return plan.data
    if not (kept / "items.npy").exists():
        block = json.loads(definition(configuration(plan)["datasets"][name]))
        prepare(name, block, plan.out, kept)
    return kept


def table(plan: Plan) -> str:
    """The measured jobs in one line each: the short table that ends a run."""
    import numpy as np

    from seqbench.core.records import read_record, read_samples

    lines = [f"{'job':44} {'model':10} {'step ms':>9} {'batch ms':>9} {'GiB':>6} {'J/step':>7}"]
    for path in sorted((plan.results / "runs").rglob("record.json")):
        record = read_record(path.parent)
        samples = read_samples(path.parent, record)

        def median(key: str, scale: float, samples: dict = samples) -> str:
            return f"{np.median(samples[key]) * scale:.4g}" if key in samples else "-"

        job = (
            path.parent.parent.relative_to(plan.results / "runs").as_posix().replace("/measure", "")
        )
        status = "" if record["status"] == "ok" else f" {record['status']}"
        lines.append(
            f"{job[-44:]:44} {record['job']['model']:10} {median('train/step_s', 1e3):>9}"
            f" {median('inference/batch_s', 1e3):>9} {median('train/peak_allocated_bytes', 2**-30):>6}"
            f" {median('train/energy_j_per_step', 1):>7}{status}"
        )
    return "\n".join(lines)
