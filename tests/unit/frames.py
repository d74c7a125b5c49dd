"""Hand-made tidy tables for tests of what is derived from them: a row per call, and all tables from the rows."""

import pandas as pd
from builders import REPORT, write_grid

from seqbench.analysis import collect
from seqbench.analysis.collect import Tables
from seqbench.core import store
from seqbench.core.display import TABLES

CONDITION = {"track": "matched", "dataset": "toy", "seq_len": 50}
FACTS = {"source": "synthetic", "n_users": 100, "n_items": 300, "n_interactions": 2348, "k_core": 5, "ties": None, "ties_reason": "no times"}  # fmt: skip
BASELINES = ("popularity", "markov")
CURVE = {
    "dataset": "full-length", "curve": "length-at-constant-batch", "fixed": "8 sequences a batch, 300 items",
    "sequences": 8, "batch_size": 400,
}  # fmt: skip
GPU = {"machine_name": "gpu", "device": "A GPU", "device_kind": "cuda"}


def training(model, seed=0, **changes):
    """A row of `experiments`: a training that came to its end."""
    row = CONDITION | {
        "kind": "train", "status": "ok", "reason": None, "trained": model not in BASELINES, "seed": seed,
        "machine_name": "m", "device": "cpu", "device_kind": "cpu", "threads": 1, "steps": 1000.0, "targets_per_step": 2048, "step_counts": "predictions",
        "precision": "fp32", "hyperparameters": "{}", "still_improving": False, "fallback": False, "fallback_reason": None,
        "shared_gpu": None, "throttled": None, "code_dirty": False, "targets_seen": 2e6, "predictions": 2e6, "positions": 2e6, "best_step": 900.0, "epochs": 9.0,
        "train_s": 9.0, "evaluate_s": 1.0,
    } | changes  # fmt: skip
    condition = f"{row['dataset']}/{row['track']}/L{row['seq_len']}"
    return {"model": model, "path": f"{condition}/{model}/s{seed}", **row}


def trainings(*models, seeds=3, **changes):
    """Rows of `experiments` of several models with equally many seeds."""
    return [training(model, seed, **changes) for model in models for seed in range(seeds)]


def measurement(row, **changes):
    """The row of `experiments` that a row of `efficiency` belongs to."""
    about = {key: row[key] for key in ("path", "dataset", "track", "seq_len", "machine_name", "device", "device_kind", "precision")}  # fmt: skip
    return training(row["model"], kind="measure", trained=False, **about) | changes


def quality(model, mean, n_seeds=3, seen_items="kept", **changes):
    """Rows of `summary`, one per metric."""
    budget = None if model in BASELINES else "1000 steps x 2048 targets"
    row = CONDITION | {"model": model, "seen_items": seen_items, "ties": "conservative", "n_seeds": n_seeds, "budget": budget} | changes  # fmt: skip
    values = {"ndcg@10": mean, "hr@10": 2 * mean, "mrr@10": 0.8 * mean}
    return [
        row | {"metric": metric, "mean": value, "ci_low": 0.9 * value, "ci_high": 1.1 * value}
        for metric, value in values.items()
    ]


def comparison(a, b, verdict="better", **changes):
    """A row of `comparisons` as `summarise` leaves it; `unsteady` says that seeds lie far apart."""
    ends = {"better": (0.01, 0.03), "worse": (-0.03, -0.01), "equivalent": (-1e-4, 1e-4)}
    low, high = ends.get(verdict, (-0.03, 0.03))
    numbers = {"mean_a": 0.1 + (low + high) / 2, "mean_b": 0.1, "difference": (low + high) / 2, "ci_low": low, "ci_high": high}  # fmt: skip
    more = {"margin": 0.001, "p_margin": 0.001, "p_value": 0.001, "p_holm": 0.002, "effect": 0.1, "trained_seeds": 3.0}  # fmt: skip
    about = {"model_a": a, "model_b": b, "seen_items": "kept", "metric": "ndcg@10", "verdict": verdict}  # fmt: skip
    return CONDITION | about | numbers | more | changes


def cost(model, median, **changes):
    """A row of `efficiency`: a training step on a dataset, unless it is said otherwise."""
    base = CONDITION | {
        "machine_name": "m", "device": "cpu", "device_kind": "cpu", "n_items": 300, "curve": None, "fixed": None,
        "sequences": None, "threads": 1, "phase": "train", "metric": "step_s", "backend": "numba", "batch_size": 2048,
        "precision": "fp32", "rounds": 3, "reason": None, "iqr": 0.02 * median,
    }  # fmt: skip
    row = base | changes
    job = f"{row['dataset']}/{row['track']}/L{row['seq_len']}/{row['sequences']}/{row['machine_name']}"  # fmt: skip
    quartiles = {"q25": 0.99 * median, "q75": 1.01 * median}
    return quartiles | row | {"model": model, "median": median, "path": f"{job}/{model}"}


def costs(values, **changes):
    """Rows of `efficiency` of several models, by name."""
    return [cost(model, median, **changes) for model, median in values.items()]


def crossing(comparator, ends, x=None, ratio=0.5, **changes):
    """A row of `crossovers`; ends: who is cheaper at the least and at the largest x."""
    row = {
        "track": "matched", "machine_name": "m", "device_kind": "cpu", "curve": "length-at-constant-batch", "phase": "train",
        "metric": "step_s", "model_a": "mamba4rec", "model_b": comparator, "x": x, "low": 200.0, "high": 8192.0,
        "bracketed": False, "extrapolated": False, "share": float(x is not None), "x_min": 50.0, "x_max": 8192.0,
        "cheaper_min": ends[0], "cheaper_max": ends[1], "ratio_max": ratio,
    }  # fmt: skip
    return row | changes


def rung(model, k, value, **changes):
    """A row of `ladder`: k times 1,000 updates in k times 100 s."""
    about = CONDITION | {"machine_name": "m", "device_kind": "cpu", "seen_items": "kept", "n_seeds": 3, "predictions": 2e6, "positions": 2e6}  # fmt: skip
    ends = {f"{name}{end}": factor * x for name, x in (("value", value), ("seconds", 100.0 * k)) for end, factor in (("", 1.0), ("_low", 0.99), ("_high", 1.01))}  # fmt: skip
    return about | {"model": model, "max_steps": 1000 * k} | ends | changes


def tables(datasets=None, report=None, **rows):
    """All tables of these rows, those that are made from others too."""
    names = ("experiments", "summary", "effectiveness", "comparisons", "efficiency", "curves", "crossovers", "published_values")  # fmt: skip
    frames = {name: pd.DataFrame(rows.get(name, [])) for name in names}
    if frames["experiments"].empty:
        frames["experiments"] = pd.DataFrame([training("popularity")])
    if frames["published_values"].empty:
        frames["published_values"] = pd.DataFrame(columns=TABLES["published_values"])
    frames["ladder"] = pd.DataFrame(rows.get("ladder", []), columns=TABLES["ladder"])
    found = Tables(frames, datasets or {"toy": FACTS}, REPORT | (report or {}))
    for name in (
        "comparisons",
        "cost_ratios",
        "costs",
        "time_to_quality",
        "warnings",
        "leaderboard",
        "advice",
        "answers",
    ):
        frames[name] = collect.MAKERS[name](found)
    return found


def tables_of(results, wanted, change=lambda: None):
    """All tidy tables of these records; change: done after they are written."""
    write_grid(results, wanted)
    change()
    entries = store.load(wanted, results)
    return collect.build(entries, {"toy": store.read_dataset(results, "toy")}, REPORT)


def published_value(**changes):
    base = {"dataset": "toy", "seq_len": 50, "model": "sasrec", "seen_items": "kept", "hr@10": 0.3, "ndcg@10": 0.2,
            "source": "a paper", "note": "as told"}  # fmt: skip
    return base | changes
