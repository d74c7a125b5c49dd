"""A results folder of thousands of records to try collecting and the page on: `python -m tools.many_records FOLDER`.

Its jobs are those of the project's configuration with more lengths, tracks and seeds. Each record is a published one of the
same model with other numbers, which mean nothing.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from seqbench.config import load
from seqbench.config.grid import Grid, grid, report
from seqbench.config.model_files import MODELS
from seqbench.core import records, store
from seqbench.core.store import Entry

REFERENCE = Path(__file__).resolve().parents[1] / "results/reference"
DATASETS = ("ml-1m", "ml-100k", "amazon-beauty", "amazon-video-games")
LENGTHS = [25, 50, 100, 200]
Templates = Mapping[tuple, Entry]


def write(folder: Path, tracks: int = 7, seeds: int = 8) -> tuple[Path, int]:
    """Write a grid, its datasets and all its records; return the grid's path and how many records it names."""
    config = configuration(tracks, seeds)
    asked, found = grid(config, MODELS), templates()
    for name in asked.datasets():
        entry = next(e for key, e in found.items() if key[0] == name)
        store.copy_files(entry.results / "data" / name, folder / "data" / name, ("users.npz", "dataset.json"))  # fmt: skip
    written = [_write(folder, *one, found) for one in _jobs(asked)]
    path = folder / "grid.json"
    path.write_text(json.dumps({**asked.to_dict(), "report": report(config)}), encoding="utf-8")
    return path, len(written)


def configuration(tracks: int, seeds: int) -> dict[str, Any]:
    """The project's configuration with so many tracks and seeds of four datasets at four lengths."""
    config = load.load()
    names = ["matched", *(f"rate-{k}" for k in range(1, tracks))]
    for k, name in enumerate(names[1:], 1):
        track = config["tracks"]["matched"]
        rate = track["training"]["learning_rate"] / (1 + k)
        config["tracks"][name] = {**track, "training": {**track["training"], "learning_rate": rate}}
    for name in DATASETS:
        config["datasets"][name]["seq_lens"] = LENGTHS
    config["run"] |= {"datasets": list(DATASETS), "tracks": names, "seeds": list(range(seeds)), "more_seeds": []}  # fmt: skip
    return config


def templates() -> Templates:
    """A published record by dataset and model of a training, and by curve and model of a measurement."""
    found: dict[tuple, Entry] = {}
    for folder in sorted(REFERENCE.glob("*/runs")):
        for entry in filter(lambda e: e.ok, store.published(folder.parent)):
            about = entry.job["dataset"] if entry.training else entry.job["curve"]
            found.setdefault((about, entry.job["model"]), entry)
    return found


def _jobs(asked: Grid) -> Iterator[tuple[str, Mapping[str, Any], tuple]]:
    """Folder and description of every job, and the key of its template."""
    for job in asked.trainings:
        yield job.path, job.to_dict(), (job.dataset, job.model)
    for job in asked.measurements:
        for path, (model, _) in zip(job.record_paths(), job.models, strict=True):
            yield path, job.for_model(model), (job.curve, model)


def _write(folder: Path, path: str, job: Mapping[str, Any], key: tuple, found: Templates) -> Path:
    own, first = found[key], next(iter(found.values()))
    rng = np.random.default_rng([*path.encode()])
    samples = _ranked(own.samples(), rng) if own.training else _timed(own.samples(), job, rng)
    data = records.data_of(store.read_dataset(folder, job["dataset"])) if job["dataset"] in DATASETS else own.record["data"]  # fmt: skip
    values = own.values
    if values.get("steps"):  # an older one may not say these
        values = {"predictions": values["targets_seen"], "positions": values["targets_seen"], **values}  # fmt: skip
    return records.write_record(
        folder / path, kind=own.record["kind"], job=job, data=data, samples=samples, values=values,
        identity=own.record["identity"], environment=first.record["environment"],
    )  # fmt: skip


def _ranked(samples: Mapping[str, np.ndarray], rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Samples of a training whose ranks lie a fifth higher or lower, none above what must stand above it."""
    found = dict(samples)
    for name in (name for name in found if name.endswith("/rank")):
        split = name.removesuffix("/rank")
        least = 1 + sum(found.get(f"{split}/{what}", 0) for what in ("ties", "seen_above"))
        moved = found[name] * np.exp(0.2 * rng.standard_normal(len(found[name])))
        found[name] = np.maximum(moved.astype(np.int64), least)
    return found


def _timed(
    samples: Mapping[str, np.ndarray], job: Mapping[str, Any], rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """Samples of a measurement whose times are those of its own length."""
    factor = (job["seq_len"] / 200) ** (2 if job["model"] == "sasrec" else 1)
    return {
        name: values * factor * np.exp(0.02 * rng.standard_normal(values.shape)) if name.endswith("_s") else values
        for name, values in samples.items()
    }  # fmt: skip


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tools.many_records", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--tracks", type=int, default=7)
    parser.add_argument("--seeds", type=int, default=8)
    asked_for = parser.parse_args()
    file, count = write(asked_for.folder, asked_for.tracks, asked_for.seeds)
    print(f"{file}: {count:,} records")
