"""Fake records for tests of collect, report and publish.

The numbers come from a seeded generator, exist only in a test's temporary folder, and never enter the report or results
of the project.
"""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from seqbench.analysis import collect
from seqbench.core import records
from seqbench.report import page

N_USERS, N_ITEMS = 400, 300
COUNTS = {"flops": 3 * 10**9, "product_flops": 2 * 10**9, "exponentials": 10**8, "scan_bytes": 10**8, "moved_bytes": 4 * 10**8, "saved_bytes": 2 * 10**7, "operators": 150}  # fmt: skip
HASH = "a" * 64
SKILL = {"popularity": 0.0, "gru4rec": 1.0, "sasrec": 1.2, "mamba4rec": 1.4, "bert4rec": 0.9}
MODELS = tuple(SKILL)
THREE = ("mamba4rec", "sasrec", "gru4rec")
SEEDS = (0, 1, 2)
LENGTHS = (50, 100, 200, 800, 3200)
BASELINES = ("popularity", "markov", "itemknn")
REPORT = {
    "margin": 0.01, "ablation": [], "focal_model": "mamba4rec",
    "models": ["mamba4rec", "sasrec", "bert4rec", "gru4rec", *BASELINES], "datasets": ["toy"],
}  # fmt: skip
TRAINING = {
    "objective": "all-positions", "precision": "fp32", "targets_per_step": 2048, "learning_rate": 0.001,
    "weight_decay": 0.0, "max_steps": 1000, "eval_every": 100, "patience_steps": 400, "select_on": "ndcg@10",
    "select_seen_items": "kept", "bucket_by_length": True, "eval_batch": 256, "step_counts": "predictions",
}  # fmt: skip
ENVIRONMENT = {
    "machine": "0123456789ab", "machine_name": "test-machine", "device": "cpu", "device_kind": "cpu",
    "cpu": "Test CPU", "n_cpus": 2, "memory_bytes": 8 * 2**30, "os": "Linux 6", "python": "3.12.1",
    "packages": {"numpy": "2.4.6", "torch": "2.13.0"}, "driver": None, "threads": 1,
}  # fmt: skip


def training(dataset="toy", model="sasrec", track="matched", seq_len=50, seed=0, **settings):
    """One entry of the grid's trainings."""
    hyper = {} if model in BASELINES else {"d_model": 64}
    return {
        "dataset": dataset, "model": model, "track": track, "seq_len": seq_len, "seed": seed,
        "hyperparameters": hyper, "training": {**TRAINING, **settings},
        "path": f"runs/{dataset}/{track}/{model}/L{seq_len}-s{seed}",
    }  # fmt: skip


def measurement(
    dataset="toy",
    models=MODELS[1:],
    track="matched",
    seq_len=50,
    n_items=None,
    curve=None,
    sequences=None,
):
    """One entry of the grid's measurements; of a curve of full-length batches if it is named."""
    targets = sequences * seq_len if sequences else 2048
    size = f"{curve}-L{seq_len}-T{targets}-V{n_items}" if curve else f"L{seq_len}-T{targets}"
    path = f"runs/{dataset}/{track}/measure/{size}"
    return {
        "dataset": dataset, "track": track, "seq_len": seq_len, "n_items": n_items, "targets_per_step": targets,
        "eval_batch": sequences or 256, "rounds": 3, "steps": 10, "warmup": 3, "precision": "fp32",
        "step_counts": "targets" if curve else "predictions",
        "curve": curve, "budget_s": 12, "energy_window_s": 0.0,
        "models": [{"model": model, "hyperparameters": {"d_model": 64}} for model in models],
        "records": [f"{path}/{model}" for model in models],
    }  # fmt: skip


def grid(trainings, measurements=(), margin=0.01):
    """A whole grid."""
    jobs = [*trainings, *measurements]
    datasets = list(dict.fromkeys(j["dataset"] for j in jobs if j["dataset"] != "full-length"))
    return {
        "trainings": list(trainings), "measurements": list(measurements), "datasets": datasets,
        "report": REPORT | {"margin": margin},
    }  # fmt: skip


def plan(seeds=SEEDS, track="matched"):
    """Three trained models and Popularity on one dataset, measured at several lengths."""
    trainings = [training(model=m, seed=s, track=track) for m in THREE for s in seeds]
    real = measurement("toy", THREE, track)
    lengths = [m for m in curves_of(track) if m["curve"] == "length-at-constant-tokens"]
    return grid([training(model="popularity", track=track), *trainings], [real, *lengths])


def curves_of(track="matched"):
    """Five points of each of the four curves."""
    points = [("length-at-constant-tokens", length, 1000, 6400 // length) for length in LENGTHS]
    points += [("length-at-constant-batch", length, 1000, 8) for length in LENGTHS]
    points += [("batch-size", 100, 1000, rows) for rows in (1, 4, 16, 64, 256)]
    points += [("catalogue-size", 50, items, 16) for items in (100, 1000, 10000, 100000, 1000000)]
    return [
        measurement("full-length", THREE, track, length, items, curve, rows)
        for curve, length, items, rows in points
    ]


def ranks(model, seed, n_users=N_USERS):
    """Plausible ranks (U,): the same users are easy for every model, a better model ranks lower."""
    easy = np.random.default_rng(1).normal(size=n_users)
    luck = np.random.default_rng([seed, len(model)]).normal(size=n_users)
    score = SKILL.get(model, 1.0) + easy + 0.4 * luck
    return np.clip(np.ceil(N_ITEMS * 0.15 / (1 + np.exp(2 * score))), 1, N_ITEMS).astype(np.int32)


def samples(model, seed):
    """Arrays of a training."""
    arrays = {}
    for split in ("valid", "test"):
        excluded = ranks(model, seed + (100 if split == "valid" else 0))
        arrays[f"{split}/rank"] = excluded + 1
        arrays[f"{split}/ties"] = (excluded + 1 > 5).astype(np.int32)
        arrays[f"{split}/seen_above"] = np.ones(N_USERS, dtype=np.int32)
        arrays[f"{split}/seen_tied"] = arrays[f"{split}/ties"] - (excluded > 5)
    lost = 0 if model == "popularity" else 3  # ranks that shuffling costs
    arrays["test-shuffled/rank"] = arrays["test/rank"] + np.int32(lost)
    return arrays


USERS = {
    "history_length": 5 + np.arange(N_USERS) % 40,
    "target_popularity": 1 + np.arange(N_USERS) // 4,
    "tied": (np.arange(N_USERS) % 10 == 0).astype(np.int64),
}


def curve(model, seed, points=8):
    """Validations of a training."""
    final = 0.1 + 0.02 * SKILL.get(model, 1.0) + 0.002 * seed
    rows = []
    for k in range(1, points + 1):
        value = final * (1 - np.exp(-k / 3))
        metrics = {"hr@10": 1.8 * value, "ndcg@10": value, "mrr@10": 0.8 * value}
        valid = {"kept": metrics, "excluded": {m: 1.2 * v for m, v in metrics.items()}}
        row = {
            "step": 100 * k,
            "targets": 204800 * k,
            "seconds": 7.0 * k,
            "loss": 6.0 - 0.2 * k,
            "valid": valid,
        }
        rows.append(row)
    return rows


def write_training(results: Path, entry, *, arrays=None, status="ok", **changes):
    """Write the record of one training; changes: keyword `values`, `environment`, `data`, `identity`, `reason`."""
    model, seed = entry["model"], entry["seed"]
    trained = model not in BASELINES
    values = {
        "parameters": 123456 if trained else None, "backend": {}, "steps": 800 if trained else None,
        "epochs": 8.0 if trained else None, "targets_seen": 1638400 if trained else None,
        "predictions": 1638400 if trained else None, "positions": 1638400 if trained else None,
        "best_step": 700 if trained else None, "stopped": "patience" if trained else None,
        "still_improving": False, "train_s": 60.0, "evaluate_s": 2.0, "peak_rss_bytes": 5 * 10**8,
        "resumed_from": None, "best_validation": 0.1 if trained else None,
    }  # fmt: skip
    _with_dataset(results, entry)
    values |= changes.get("values", {})
    points = values.pop("curve", curve(model, seed) if trained else [])
    if arrays is None and status == "ok":
        arrays = samples(model, seed)
    records.write_record(
        results / entry["path"], kind="train", status=status, reason=changes.get("reason"),
        job={k: v for k, v in entry.items() if k != "path"},
        values=values, environment=ENVIRONMENT | changes.get("environment", {}),
        data=_data(entry["dataset"]) | changes.get("data", {}), identity=_identity() | changes.get("identity", {}),
        samples={**(arrays or {}), **records.columns(points, "curve")},
    )  # fmt: skip


def write_measurement(results: Path, entry, *, only=None, status="ok", **changes):
    """Write one record per model of a measurement, or of one; slower and larger with length, by model."""
    _with_dataset(results, entry)
    for k, (path, own) in enumerate(zip(entry["records"], entry["models"], strict=True)):
        if only and own["model"] != only:
            continue
        full = entry["dataset"] == "full-length"
        values = {
            "parameters": 123456, "backend": {}, "steps_per_epoch": None if full else 120,
            "missing": {"no NVIDIA device": ["train/energy_j_per_step"]}, "failed": {}, "sampler": {},
            "counts": {"train": COUNTS | {"targets": 2000}, "inference": COUNTS},
            "ceilings": {"product_flop_per_s": 9e10, "copy_bytes_per_s": 2e10, "exponentials_per_s": 5e9, "product_n": 6, "copy_n": 6},
        }  # fmt: skip
        records.write_record(
            results / path, kind="measure", status=status, reason=changes.get("reason"),
            job={key: v for key, v in entry.items() if key != "records"} | own,
            values=values | changes.get("values", {}), environment=ENVIRONMENT | changes.get("environment", {}),
            data=_data(entry["dataset"]) if not full else _data("full-length", None), identity=_identity(),
            samples=changes.get("arrays", times(entry, k) if status == "ok" else {}),
        )  # fmt: skip


def times(entry, k):
    """Arrays of a measurement: offset plus a power of the length, by model, times the size of batch and catalogue."""
    seq_len, rows, items = entry["seq_len"], entry["eval_batch"], entry["n_items"] or 1000
    rng = np.random.default_rng([seq_len, rows, items, k])
    noise = rng.lognormal(0, 0.03, (3, 10))
    rows = 8 if entry["curve"] in (None, "length-at-constant-tokens") else rows
    step = 0.02 * (1 + 0.3 * k) * (1 + (seq_len / 100) ** (1 + 0.3 * (k % 2))) * noise
    step = step * (0.5 + rows / 16) * (0.9 + items / 1e4)
    return {
        "train/step_s": step, "train/targets": np.full((3, 10), 2000), "inference/batch_s": 0.3 * step,
        "train/peak_rss_bytes": np.full(3, 4e8 + 1e6 * seq_len * (k + 1)),
        "inference/peak_rss_bytes": np.full(3, 3e8 + 5e5 * seq_len * (k + 1)),
    }  # fmt: skip


def write_dataset(results: Path, name="toy", **changes):
    """Write the facts of a prepared dataset."""
    facts = {
        "schema": 1, "name": name, "source": "synthetic", "n_users": N_USERS, "n_items": N_ITEMS,
        "n_interactions": 12000, "k_core": 5, "hash": HASH, "time": "rank", "split": {"kind": "leave-one-out"},
        "order": "stable sort by (user, time), ties in file order", "ties": None,
        "ties_reason": "synthetic data has no timestamps", "repeats": 0.01,
        "lengths": {"min": 5, "median": 24.0, "mean": 30.0, "max": 200},
        "provenance": {"file": None, "sha256": None, "url": None, "substitute_file": None, "terms": "generated here",
                       "citation": None},
        "oracle": {"test": {"hr@10": 0.9, "ndcg@10": 0.8, "mrr@10": 0.7}},
    }  # fmt: skip
    folder = results / "data" / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "dataset.json").write_text(json.dumps(facts | changes))
    (folder / "users.npz").write_bytes(records.packed(USERS))


def _with_dataset(results, entry):
    """A record lies beside the facts of its dataset."""
    name = entry["dataset"]
    if name != "full-length" and not (results / "data" / name / "dataset.json").exists():
        write_dataset(results, name)


def write_grid(results: Path, plan, **changes) -> Path:
    """Write a grid with its datasets and the records of all its jobs, and return the grid's path."""
    for name in plan["datasets"]:
        write_dataset(results, name)
    for entry in plan["trainings"]:
        write_training(results, entry, **changes)
    for entry in plan["measurements"]:
        write_measurement(results, entry, **changes)
    path = results / "grid.json"
    path.write_text(json.dumps(plan))
    return path


def _data(name, hash_=HASH):
    return {"name": name, "hash": hash_}


def _identity():
    return {"code": "c0de", "revision": "b" * 40, "dirty": False}


def rendered(results, wanted=None, change=lambda: None, *, draw=False):
    """The page of a grid; without draw it has no figures, which are what takes the time."""
    path = write_grid(results, wanted or plan())
    change()
    collect.collect(path, results, results / "tables")
    with pytest.MonkeyPatch.context() as patch:
        if not draw:
            patch.setattr(page.figures, "drawn", lambda _: [])
        file = page.render(collect.read(results / "tables"), results / "report")
    return file.read_text(encoding="utf-8")


def read_table(results, name):
    with open(results / "report/tables" / f"{name}.csv", newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))
