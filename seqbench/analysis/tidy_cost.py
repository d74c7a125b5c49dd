"""Rows of the tidy table of cost: one per phase and metric of a measurement, with the reason where there is no value."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import numpy as np

from ..core.display import QUANTITIES
from ..core.metrics import spread
from ..core.roofline import least_seconds
from ..core.store import Entry
from ..hardware.sampler import STEADY
from .tidy import backend, identity

# What a failed phase leaves empty, so that the tables can say why.
EXPECTED = {"train": ("step_s", "epoch_s", "peak_rss_bytes", "peak_allocated_bytes"), "inference": ("batch_s", "peak_rss_bytes", "peak_allocated_bytes")}  # fmt: skip
EXTRAPOLATED = ("epoch_s", "energy_j_per_epoch")
COUNTED = ("flops", "moved_bytes", "saved_bytes", "operators")
BACKWARDS = {"inference": ("saved_bytes",)}  # counted as 0 there, which says nothing
# NVML averages power and utilisation over about a second: of a few steps alone it shows the idle time before them.
ENERGY = {"train": "energy_j_per_step", "inference": "energy_j_per_batch"}
TOO_SHORT = "too few seconds of steps: only a round with an energy window has them"
Samples = dict[str, np.ndarray]


def efficiency_rows(entry: Entry, samples: Samples) -> Iterator[dict[str, Any]]:
    """One row per phase and metric of a measurement; what could not be measured has a reason, no value."""
    job = entry.job
    about = {
        **{key: value for key, value in identity(entry).items() if key != "seed"},
        **backend(entry),
        "precision": job["precision"],
        "rounds": _rounds(job, samples),
        "curve": job["curve"],
        "n_items": job.get("n_items") or entry.dataset["n_items"],
        "parameters": entry.values.get("parameters"),
    }
    measured = {**_measured(samples), **_derived(entry, samples), **_counted(entry, samples)}
    limits = entry.values.get("ceilings") or {}
    measured |= {f"device/{k}": np.array(v) for k, v in limits.items() if k in QUANTITIES}
    for name, values in measured.items():
        result = spread(values)
        yield {**about, **_phase(entry, name), **asdict(result), "reason": None}
    for name, reason in _missing(entry, samples).items():
        if name not in measured and "/" in name:
            row = dict.fromkeys(("median", "iqr", "q25", "q75")) | {"n": 0, "reason": reason}
            yield {**about, **_phase(entry, name), **row}


def _rounds(job: dict[str, Any], samples: Samples) -> int:
    """Fresh processes of each phase: as many as were asked for, unless a deadline came first."""
    timed = samples.keys() & {"train/step_s", "inference/batch_s"}
    return min((len(samples[name]) for name in timed), default=job["rounds"])


def sequences(job: dict[str, Any], phase: str) -> int | None:
    """Sequences in a training batch, users in one of inference; None where their number varies."""
    if phase == "inference":
        return job["eval_batch"]
    full_length = job["n_items"] is not None
    return max(1, job["targets_per_step"] // job["seq_len"]) if full_length else None


def _measured(samples: Samples) -> Samples:
    # Real targets and tokens of each step are what rates are computed from, not results.
    found = {name: own for name, own in samples.items() if name.partition("/")[2] in QUANTITIES}
    for phase, energy in ENERGY.items():
        windows = len(samples.get(f"{phase}/{energy}", ()))  # the first so many rounds had one
        for metric in STEADY:
            values = found.pop(f"{phase}/{metric}", None)
            if values is not None and windows:
                found[f"{phase}/{metric}"] = values[:windows]
    return found


def _derived(entry: Entry, samples: Samples) -> Samples:
    """Rates, and costs of an epoch: steps per epoch times what a measured step took."""
    derived = {}
    per_epoch = entry.values.get("steps_per_epoch")
    if "train/step_s" in samples:
        step = samples["train/step_s"]  # (rounds, steps)
        for what in ("targets", "tokens"):
            if f"train/{what}" in samples:
                derived[f"train/{what}_per_s"] = samples[f"train/{what}"] / step
        if per_epoch:
            derived["train/epoch_s"] = step.mean(axis=1) * per_epoch
    if "train/energy_j_per_step" in samples and per_epoch:
        derived["train/energy_j_per_epoch"] = samples["train/energy_j_per_step"] * per_epoch
    if "inference/batch_s" in samples:
        derived["inference/users_per_s"] = _users(entry) / samples["inference/batch_s"]
    return derived


def _users(entry: Entry) -> int:
    """Users of an inference batch: as many as were asked for, unless the test split has fewer."""
    counted = (entry.values.get("counts") or {}).get("inference") or {}
    n_users = counted.get("sequences") or entry.dataset.get("n_users")
    return min(entry.job["eval_batch"], n_users or entry.job["eval_batch"])


def _counted(entry: Entry, samples: Samples) -> Samples:
    """What was counted, and with the times what share of the device's measured ceilings it makes.

    On a dataset batches differ: a step's FLOPs and bytes are taken to be those of the counted one per target.
    A CPU infers in fp32 whatever the precision.
    """
    found: Samples = {}
    ceilings = entry.values.get("ceilings") or {}
    on_cpu = entry.environment["device_kind"] == "cpu"
    for phase, counts in (entry.values.get("counts") or {}).items():
        limits = dict(ceilings)
        if phase == "inference" and on_cpu and "fp32_flop_per_s" in limits:
            limits["product_flop_per_s"] = limits["fp32_flop_per_s"]
        for key in COUNTED:
            if key not in BACKWARDS.get(phase, ()):
                found[f"{phase}/{key}"] = np.array(counts[key])
        found[f"{phase}/intensity"] = np.array(counts["flops"] / counts["moved_bytes"])
        seconds = samples.get(f"{phase}/{'step_s' if phase == 'train' else 'batch_s'}")
        if seconds is None:
            continue
        size = samples["train/targets"] / counts["targets"] if phase == "train" else 1.0
        found[f"{phase}/flop_per_s"] = counts["flops"] * size / seconds
        if ceilings:
            product, copy = limits["product_flop_per_s"], limits["copy_bytes_per_s"]
            found[f"{phase}/share_of_product"] = found[f"{phase}/flop_per_s"] / product
            found[f"{phase}/share_of_copy"] = counts["moved_bytes"] * size / seconds / copy
        least = least_seconds(counts, limits)
        if least is not None:
            found[f"{phase}/share_of_roofline"] = least * size / seconds
    return found


def _missing(entry: Entry, samples: Samples) -> dict[str, str]:
    found = {f"{phase}/{metric}" for phase in ENERGY for metric in STEADY}
    missing = dict.fromkeys(sorted(found.intersection(samples)), TOO_SHORT)
    given = entry.values.get("missing") or {}
    missing |= {key: reason for reason, keys in given.items() for key in keys}
    for phase in EXPECTED:
        why = missing.pop(f"{phase}/counts", missing.get("counts"))
        for key in COUNTED if why else ():
            if key not in BACKWARDS.get(phase, ()):
                missing.setdefault(f"{phase}/{key}", why)
    if "train/energy_j_per_step" in missing:
        missing.setdefault("train/energy_j_per_epoch", missing["train/energy_j_per_step"])
    if not entry.ok:
        missing = {**_failures(entry), **missing}
    elif entry.values.get("steps_per_epoch") is None:
        why = "full-length synthetic batches have no epoch"
        missing |= {"train/epoch_s": why, "train/energy_j_per_epoch": why}
    return missing


def _failures(entry: Entry) -> dict[str, str]:
    """What a failed phase would have measured, with how it failed."""
    found = {}
    for phase, end in entry.values["failed"].items():
        why = f"{end['status']}: {end['reason'] or 'no reason recorded'}"
        found |= {f"{phase}/{metric}": why for metric in EXPECTED[phase]}
    return found


def _phase(entry: Entry, name: str) -> dict[str, Any]:
    """Phase and metric, and how large a batch was: targets of a training step, users of inference."""
    phase, _, metric = name.partition("/")
    job = entry.job
    in_batch = {"train": sequences(job, "train"), "inference": _users(entry)}.get(phase)
    targets = job["targets_per_step"]
    if job["n_items"] is not None and job.get("objective") == "prefix":
        targets = in_batch  # one at the end of every full-length window
    return {
        "batch_size": {"train": targets, "inference": in_batch}.get(phase),
        "sequences": in_batch,
        "phase": phase,
        "metric": metric,
        "extrapolated": metric in EXTRAPOLATED,
    }
