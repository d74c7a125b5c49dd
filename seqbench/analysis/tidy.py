"""Rows of the tidy tables: one record in, one value per row out. Nothing here averages over records."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from ..core.store import Entry

SETTINGS = ("objective", "max_steps", "targets_per_step", "step_counts", "patience_steps", "learning_rate", "precision", "kernels")  # fmt: skip
OUTCOME = (
    *("parameters", "steps", "epochs", "targets_seen", "positions", "predictions", "best_step"),
    *("stopped", "still_improving"),
    *("train_s", "evaluate_s", "first_step_after_s", "compile_s", "peak_rss_bytes", "resumed_from"),
)


def identity(entry: Entry) -> dict[str, Any]:
    """Columns that say which job a row belongs to and where it ran."""
    job, environment = entry.job, entry.environment
    return {
        "path": entry.path,
        **{key: job[key] for key in ("dataset", "model", "track", "seq_len")},
        "seed": job.get("seed"),
        **{key: environment[key] for key in ("machine", "machine_name", "device", "device_kind")},
        "threads": environment["threads"],
        "shared_gpu": environment.get("shared_gpu"),
        "data_hash": entry.record["data"]["hash"],
    }


def backend(entry: Entry) -> dict[str, Any]:
    """Which kernels did the work: the selective scan's if there is one, else those between products."""
    report = entry.values.get("backend") or {}
    kinds = [report[kind] for kind in ("scan", "kernels") if kind in report]
    reasons = list(dict.fromkeys(kind["reason"] for kind in kinds if kind["fallback"]))
    return {"backend": kinds[0]["used"] if kinds else "torch", "fallback": bool(reasons), "fallback_reason": "; ".join(reasons) or None}  # fmt: skip


def throttled(entry: Entry) -> str | None:
    """What kept the GPU's clocks down while it was measured, in any phase and round."""
    parts = [part for rounds in (entry.values.get("sampler") or {}).values() for part in rounds]
    reasons = {reason for part in parts for reason in part.get("throttle_reasons", ())}
    return "; ".join(sorted(reasons)) or None


def experiment_row(entry: Entry) -> dict[str, Any]:
    """Everything about a record but its samples and curve, as one flat row."""
    job, training = entry.job, entry.job.get("training", {})
    return {
        **identity(entry),
        **{key: entry.record[key] for key in ("kind", "status", "reason")},
        "trained": entry.trained,
        "hyperparameters": json.dumps(job["hyperparameters"], sort_keys=True),
        **{key: training.get(key, job.get(key)) for key in SETTINGS},
        **{key: entry.values.get(key) for key in OUTCOME},
        **backend(entry),
        "throttled": throttled(entry),
        "n_items": job.get("n_items") or entry.dataset["n_items"],
        "substitute_file": (entry.dataset.get("provenance") or {}).get("substitute_file"),
        "badge": entry.badge,
        "code_hash": entry.record["identity"]["code"],
        **{f"code_{key}": entry.record["identity"][key] for key in ("revision", "dirty")},
        "command": entry.command,
    }


def effectiveness_rows(entry: Entry, by_split: Mapping[str, Mapping[tuple[str, str, str], np.ndarray]]) -> Iterator[dict[str, Any]]:  # fmt: skip
    """One row per split, seen_items, ties and metric of a training: the mean over its users; by_split: of `qualities`."""
    about = {**identity(entry), "trained": entry.trained}
    for split, table in by_split.items():
        for (seen_items, ties, metric), values in table.items():
            kind = {"split": split, "seen_items": seen_items, "ties": ties, "metric": metric}
            yield {**about, **kind, "value": float(values.mean()), "n_users": len(values)}


def curve_rows(entry: Entry) -> Iterator[dict[str, Any]]:
    """One row per validation, split, seen items and metric of a training."""
    keys = ("path", "dataset", "model", "track", "seq_len", "seed", "machine_name")
    about = {key: value for key, value in identity(entry).items() if key in keys}
    samples = entry.samples()
    measured = [
        (name.split("/")[1:], values) for name, values in samples.items() if name.count("/") == 3
    ]  # curve/<split>/<seen items>/<metric>
    for k, step in enumerate(samples.get("curve/step", ())):
        where = {"step": int(step), "targets": int(samples["curve/targets"][k])}
        where |= {key: float(samples[f"curve/{key}"][k]) for key in ("seconds", "loss")}
        best = step == entry.values.get("best_step")
        for (split, seen_items, metric), values in measured:
            what = {"split": split, "seen_items": seen_items, "metric": metric}
            yield {**about, **where, **what, "value": float(values[k]), "best": best}
