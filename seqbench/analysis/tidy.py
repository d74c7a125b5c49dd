"""Rows of the tidy tables: one record in, one value per row out. Nothing here averages over records."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ..core.metrics import expected_under_random_ties, per_user
from ..core.store import Entry

QUALITIES = ("hr@10", "ndcg@10", "mrr@10")
SPLITS = ("valid", "test")
SEEN_ITEMS = ("kept", "excluded")
TIES = ("conservative", "average")
SETTINGS = (
    *("objective", "max_steps", "targets_per_step", "patience_steps", "learning_rate", "precision"),
    "kernels",
)
OUTCOME = (
    *("parameters", "steps", "epochs", "targets_seen", "best_step", "stopped", "still_improving"),
    *("train_s", "evaluate_s", "first_step_after_s", "compile_s", "peak_rss_bytes", "resumed_from"),
)


def identity(entry: Entry) -> dict[str, Any]:
    """Columns that say which experiment a row belongs to and where it ran."""
    experiment, environment = entry.experiment, entry.record["environment"]
    return {
        "path": entry.path,
        **{key: experiment[key] for key in ("dataset", "model", "track", "seq_len")},
        "seed": experiment.get("seed"),
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
    return {
        "backend": kinds[0]["used"] if kinds else "torch",
        "fallback": bool(reasons),
        "fallback_reason": "; ".join(reasons) or None,
    }


def throttled(entry: Entry) -> str | None:
    """What kept the GPU's clocks down while it was measured, in any phase and round."""
    parts = [part for rounds in (entry.values.get("sampler") or {}).values() for part in rounds]
    return (
        "; ".join(sorted({r for part in parts for r in part.get("throttle_reasons", ())})) or None
    )


def experiment_row(entry: Entry) -> dict[str, Any]:
    """Everything about a record but its samples and curve, as one flat row."""
    experiment, training = entry.experiment, entry.experiment.get("training", {})
    return {
        **identity(entry),
        **{key: entry.record[key] for key in ("kind", "status", "reason")},
        "trained": bool(entry.values.get("steps")),
        "hyperparameters": json.dumps(experiment["hyperparameters"], sort_keys=True),
        **{key: training.get(key, experiment.get(key)) for key in SETTINGS},
        **{key: entry.values.get(key) for key in OUTCOME},
        **backend(entry),
        "throttled": throttled(entry),
        "n_items": experiment.get("n_items") or entry.record["data"]["n_items"],
        "substitute_file": entry.record["data"]["substitute_file"],
        **{f"code_{key}": entry.record["code"][key] for key in ("hash", "revision", "dirty")},
        "command": command(entry),
    }


def command(entry: Entry) -> str:
    """The command line that makes this record again, from the root of the checkout."""
    experiment = dict(entry.experiment)
    verb, flag, out = "run", "--experiment", f"results/{entry.path}"
    if not entry.training:
        verb, flag, out = "measure", "--measurement", f"results/{Path(entry.path).parent}"
        model, hyperparameters = experiment.pop("model"), experiment.pop("hyperparameters")
        models = experiment.get(
            "models", [[model, hyperparameters]]
        )  # pairs in a record, a mapping in a job
        experiment["models"] = [[name, dict(values)] for name, values in models]
    text = json.dumps(experiment, sort_keys=True, separators=(",", ":")).replace("'", r"'\''")
    real = entry.record["data"]["hash"] is not None
    dataset = f" --dataset results/data/{experiment['dataset']}" if real else ""
    threads = f" --threads {entry.record['environment']['threads']}"
    return f"python -m seqbench {verb} {flag} '{text}'{dataset} --out {out}{threads}"


def qualities(samples: dict[str, np.ndarray], split: str) -> dict[tuple[str, str, str], np.ndarray]:
    """Return values per user (U,) by (seen_items, ties, metric)."""
    table = {}
    for seen_items in SEEN_ITEMS:
        rank, ties = (samples[f"{split}/{seen_items}/{name}"] for name in ("rank", "ties"))
        ranks = {"conservative": rank, "average": expected_under_random_ties(rank, ties)}
        for kind in TIES:
            for metric in QUALITIES:
                table[seen_items, kind, metric] = per_user(ranks[kind], metric)
    return table


def effectiveness_rows(entry: Entry, samples: dict[str, np.ndarray]) -> Iterator[dict[str, Any]]:
    """One row per split, seen_items, ties and metric of a training: the mean over its users."""
    about = {**identity(entry), "trained": bool(entry.values.get("steps"))}
    for split in SPLITS:
        for (seen_items, ties, metric), values in qualities(samples, split).items():
            kind = {"split": split, "seen_items": seen_items, "ties": ties, "metric": metric}
            yield {**about, **kind, "value": float(values.mean()), "n_users": len(values)}


def curve_rows(entry: Entry) -> Iterator[dict[str, Any]]:
    """One row per validation, split, seen items and metric of a training."""
    keys = ("dataset", "model", "track", "seq_len", "seed", "machine_name")
    about = {key: value for key, value in identity(entry).items() if key in keys}
    for point in entry.values.get("curve") or []:
        where = {key: point[key] for key in ("step", "targets", "seconds", "loss")}
        best = point["step"] == entry.values.get("best_step")
        for split in ("valid", "test"):
            for seen_items, metrics in point.get(split, {}).items():
                for metric, value in metrics.items():
                    row = {
                        "split": split,
                        "seen_items": seen_items,
                        "metric": metric,
                        "value": value,
                    }
                    yield {"path": entry.path, **about, **where, **row, "best": best}
