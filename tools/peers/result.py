"""The result of a race as plain data: raw samples, derived figures, and everything that they depend on."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

from seqbench.core import metrics, provenance
from seqbench.core.roofline import least_seconds
from seqbench.hardware.environment import environment

from .contestants import MODELS, REFERENCE, SAME_BATCH
from .figures import estimate, per_target, ratio
from .protocol import Settings
from .race import Lane

SCHEMA = 2
OWN = (
    "data",
    "model",
    "batch",
    "kernels",
    "precision",
    "bucket_by_length",
)  # settings that are a row's own, or a path
# Prefixes of variables that decide how memory is allocated and what the kernels of torch do.
SHOWN = ("LD_PRELOAD", "MALLOC_", "ATEN_", "KMP_", "MKL_", "OMP_")


def assemble(
    lanes: list[Lane], settings: Settings, variables: dict[str, str], options: dict[str, Any],
    ceilings: list[dict[str, Any]],
) -> dict[str, Any]:  # fmt: skip
    """Everything about one race; ``ceilings`` are rates by precision, measured before and after it."""
    machine = environment("cpu", settings.threads)
    machine.pop("settings")  # the orchestrator's own; the workers' stand in ``variables``
    rounds = {lane.contestant.key: lane.rounds for lane in lanes if not lane.failure}
    return {
        "schema": SCHEMA,
        "machine": {**machine, "allowed_cpus": _allowed_cpus()},
        "identity": provenance.provenance(
            provenance.meaning(provenance.ROOT, _sources(), provenance.NUMBERS)
        ),
        "data": json.loads((Path(settings.data) / "dataset.json").read_text(encoding="utf-8")),
        "settings": {k: v for k, v in asdict(settings).items() if k not in OWN},
        "options": options,
        "variables": shared_variables(variables),
        "ceilings": ceilings,
        "contestants": [contestant(lane, rounds, ceilings) for lane in lanes],
    }


def contestant(lane: Lane, rounds: dict[str, list], ceilings: list[dict]) -> dict[str, Any]:
    """One row: facts, samples, figures. A contestant that failed has its samples and no figures."""
    failed = lane.failure is not None
    return {
        "key": lane.contestant.key,
        "label": lane.contestant.label,
        "model": lane.contestant.settings.model,
        **{k: getattr(lane.contestant.settings, k) for k in OWN[2:]},
        "status": "failed" if failed else "ok",
        "reason": lane.failure,
        "start_s": lane.start_s,
        "facts": {k: v for k, v in lane.facts.items() if k != "ready"},
        "evaluation": lane.evaluation,
        "peak_rss_bytes": lane.peak_rss_bytes,
        "figures": {} if failed else figures(lane, rounds, ceilings),
        "warmup": lane.warmup,
        "rounds": lane.rounds,
    }


def figures(lane: Lane, rounds: dict[str, list], ceilings: list[dict]) -> dict[str, Any]:
    """Seconds per target, ratios to our two rows, and for our models the share of their roofline.

    The share is formed of CPU seconds on both sides, so other work on the same core does not move it.
    """
    cpu_seconds = estimate(per_target(lane.rounds, "cpu_s"))
    steps = sum(len(r["step_s"]) for r in lane.rounds)
    wall, cpu = (sum(sum(r[k]) for r in lane.rounds) for k in ("step_s", "cpu_s"))
    found: dict[str, Any] = {
        "seconds_per_target": asdict(estimate(per_target(lane.rounds))),
        "cpu_seconds_per_target": asdict(cpu_seconds),
        "step_s": asdict(metrics.spread([s for r in lane.rounds for s in r["step_s"]])),
        "cpu_per_wall": cpu / wall,
        "steps": steps,
        "targets_per_step": sum(sum(r["targets"]) for r in lane.rounds) / steps,
    }
    for name, reference in (("ratio", REFERENCE), ("ratio_same_batch", SAME_BATCH)):
        for prefix, clock in (("", "step_s"), ("cpu_", "cpu_s")):
            known = reference in rounds
            times = asdict(ratio(lane.rounds, rounds[reference], clock)) if known else None
            found[prefix + name] = times
    counted = lane.facts.get("per_target")  # of ours
    if counted:
        limits = [run[lane.contestant.settings.precision] for run in ceilings]
        least = [least_seconds(counted, limit) for limit in limits]
        found["flops_per_target"] = counted["flops"]
        found["share_of_roofline"] = sum(least) / len(least) / cpu_seconds.median if least else None
    return found


def summary_row(row: dict[str, Any]) -> dict[str, Any]:
    """One contestant as flat columns, unrounded; an estimate becomes three of them."""
    flat = {name: row[name] for name in ("key", "label", "status", "reason", "peak_rss_bytes")}
    flat["parameters"] = row["facts"].get("parameters")
    flat["load_s"] = row["facts"].get("seconds", {}).get("load")
    flat["evaluate_s"] = row["evaluation"].get("evaluate_s")
    for name, value in row["figures"].items():
        parts = value.items() if isinstance(value, dict) else [(None, value)]
        flat |= {f"{name}_{part}" if part else name: number for part, number in parts}
    return flat


def sample_rows(result: dict[str, Any]) -> list[list[Any]]:
    """Every timed step: contestant, round, step, wall seconds, CPU seconds, real targets."""
    return [
        [row["key"], number, step, *values]
        for row in result["contestants"]
        for number, r in enumerate(row["rounds"])
        for step, values in enumerate(zip(r["step_s"], r["cpu_s"], r["targets"], strict=True))
    ]


def shared_variables(variables: dict[str, str]) -> dict[str, str]:
    """Variables that every worker got and that matter for speed; of a path its last part only."""
    names = sorted(n for n in variables if n.startswith(SHOWN) or n.endswith("_NUM_THREADS"))
    return {
        n: " ".join(Path(p).name for p in variables[n].replace(":", " ").split()) for n in names
    }


def _allowed_cpus() -> int | None:
    """How many CPUs this process, and so every worker, may run on; None where the system does not tell."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None


def _sources() -> list[str]:
    files = (f"tools/peers/{p.name}" for p in Path(__file__).parent.glob("*.py"))
    return sorted({*files, *provenance.measuring_modules(*MODELS)})
