"""What tiny jobs of every model yield in the checkout that is imported, number by number: what `equal` compares.

A script, so that another revision can be asked: ``python -P tools/gate/digests.py --out FILE`` with that revision in
PYTHONPATH. Names of jobs and quantities are a contract between revisions: who renames code keeps them. The JSON has
three parts by subject (``training/<model>``, ``measuring/<model>``, ``preparing``):

    identities  subject -> identity of its code, as its records name it
    jobs        subject -> job -> quantity -> a number, or the SHA-256 of an array
    unrun       subject -> digest of a module's meaning -> its file, of modules that no job loaded
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch

import models
from seqbench.core import provenance
from seqbench.core.jobs import FULL_LENGTH, MeasurementJob, Training, TrainingJob
from seqbench.core.metrics import ranks_of
from seqbench.data import Dataset, open_dataset, prepare
from seqbench.measuring import phases, session, workload
from seqbench.training import baselines, loop
from seqbench.training.supervisor import End

Quantities = dict[str, Any]
Jobs = dict[str, Callable[[], Quantities]]
CPU = torch.device("cpu")

# Histories of 5 to 150 events: windows are shorter and longer than L, batches are padded, attention passes 64 keys.
TRAINED_ON = {"source": "synthetic", "k_core": 1, "synthetic": {
    "n_users": 120, "n_items": 60, "mean_length": 30.0, "max_length": 150, "seed": 5,
}}  # fmt: skip
SHORT, LONG = 16, 120
# Together: both objectives, both precisions of a CPU, its kernels, both values of every switch, three seeds.
TRAININGS: dict[str, tuple[int, int, dict[str, Any]]] = {
    "all-positions": (SHORT, 0, {}),
    "all-positions-long-unsorted-every": (LONG, 1, {
        "bucket_by_length": False, "compute_all_positions": True, "select_seen_items": "excluded", "curve_test": True,
    }),
    "prefix-torch-every": (SHORT, 1, {"objective": "prefix", "kernels": "torch", "compute_all_positions": True}),
    "prefix-bf16-long-unsorted": (LONG, 0, {
        "objective": "prefix", "precision": "bf16", "bucket_by_length": False, "targets_per_step": 32, "max_steps": 12,
    }),
    "all-positions-bf16-torch-long": (LONG, 2, {"precision": "bf16", "kernels": "torch", "eval_batch": 7}),
    "all-positions-eager-decay": (SHORT, 2, {
        "kernels": "eager", "weight_decay": 0.01, "bucket_by_length": False, "targets_per_step": 97, "step_counts": "targets",
    }),
    "all-positions-linear-clipped": (SHORT, 3, {"schedule": "linear", "warmup_steps": 6, "clip_norm": 0.5}),
}  # fmt: skip
STEPS = {"targets_per_step": 256, "learning_rate": 0.003, "max_steps": 24, "eval_every": 8, "patience_steps": 16}  # fmt: skip
SMALL = {"d_model": 16, "dropout": 0.1}
# Settings of a model's Config that decide which code runs; the other jobs have the defaults of these.
VARIANTS: dict[str, dict[str, Any]] = {
    "bert4rec": {"attention": "naive", "attn_dropout": 0.1, "gelu": "unfused", "masking": "recbole", "item_bias": True},
    "gru4rec": {"n_layers": 2, "bias": True},
    "itemknn": {"k": 5, "shrinkage": 0.0},
    "mamba4rec": {"n_layers": 2, "scan": "reference"},
    "sasrec": {"attention": "naive", "attn_dropout": 0.1, "gelu": "unfused"},
}  # fmt: skip
MEASUREMENTS: dict[str, tuple[int, dict[str, Any]]] = {
    "auto": (SHORT, {}),
    "auto-long-prefix": (LONG, {"objective": "prefix"}),
    "auto-long-bf16": (LONG, {"precision": "bf16"}),
    "torch-long-every": (LONG, {"kernels": "torch", "compute_all_positions": True}),
    "eager-prefix-every": (SHORT, {"kernels": "eager", "objective": "prefix", "compute_all_positions": True}),
    "unsorted": (SHORT, {"bucket_by_length": False}),
}  # fmt: skip


def digests(names: list[str]) -> dict[str, dict[str, Any]]:
    """Run all jobs of these models, and those of preparing; see above."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        prepare("tiny", TRAINED_ON, Path(folder), Path(folder) / "tiny")
        subjects: dict[str, tuple[str, list[str], Jobs]] = {
            "preparing": (provenance.preparing(), [], _preparing(Path(folder)))
        }
        for name in names:
            trained = getattr(models.load(name), "trainable", True)
            subjects[f"training/{name}"] = (
                provenance.training(name),
                provenance.training_modules(name),
                _trainings(name, Path(folder)) if trained else _fits(name, Path(folder)),
            )
            if trained:
                subjects[f"measuring/{name}"] = (
                    provenance.measuring(name),
                    provenance.measuring_modules(name),
                    _measurements(name, Path(folder) / "tiny"),
                )
        jobs = {}
        for subject, (_, _, of_subject) in subjects.items():
            print(f"digests: {subject}: {len(of_subject)} jobs", file=sys.stderr, flush=True)
            jobs[subject] = {name: job() for name, job in of_subject.items()}
    return {
        "identities": {subject: identity for subject, (identity, _, _) in subjects.items()},
        "jobs": jobs,
        "unrun": {subject: _unrun(files) for subject, (_, files, _) in subjects.items()},
    }


def _unrun(files: list[str]) -> dict[str, str]:
    """Of these modules, those that nothing has loaded here: no number tells whether they are equal."""
    loaded = {getattr(module, "__file__", None) for module in list(sys.modules.values())}
    left = [file for file in files if str(provenance.ROOT / file) not in loaded]
    return {provenance.meaning(provenance.ROOT, [file], provenance.NUMBERS): file for file in left}


# --- training -----------------------------------------------------------------------------------------------------


def _trainings(name: str, folder: Path) -> Jobs:
    jobs: Jobs = {}

    def add(job: str, seq_len: int, seed: int, hyper: dict, training: dict) -> None:
        settings = Training(**{**STEPS, **training})
        described = TrainingJob("tiny", name, "tiny", seq_len, seed, tuple(sorted(hyper.items())), settings)  # fmt: skip
        jobs[job] = lambda: _trained(described, folder)

    for job, (seq_len, seed, training) in TRAININGS.items():
        add(job, seq_len, seed, SMALL, training)
    add("defaults", SHORT, 3, {}, {"max_steps": 8})
    if name in VARIANTS:
        add("variant", LONG, 4, {**SMALL, **VARIANTS[name]}, {"kernels": "torch"})
        add("variant-eager-every", SHORT, 5, {**SMALL, **VARIANTS[name]}, {
            "kernels": "eager", "compute_all_positions": True,
        })  # fmt: skip
    return jobs


def _trained(job: TrainingJob, folder: Path) -> Quantities:
    data = open_dataset(folder / "tiny")
    return _result(*loop.Trainer(job, data, folder, CPU).run())


def _fits(name: str, folder: Path) -> Jobs:
    def fit(seq_len: int, hyper: dict) -> Quantities:
        data = open_dataset(folder / "tiny")
        job = TrainingJob("tiny", name, "tiny", seq_len, 0, tuple(sorted(hyper.items())), Training(eval_batch=7))  # fmt: skip
        return _result(*baselines.fit_baseline(job, data, CPU)) | _counted(name, hyper, data)

    jobs: Jobs = {"short": lambda: fit(SHORT, {}), "long": lambda: fit(LONG, {})}
    if name in VARIANTS:
        jobs["variant"] = lambda: fit(SHORT, VARIANTS[name])
    return jobs


def _counted(name: str, hyper: dict, data: Dataset) -> Quantities:
    """What a model that counts has counted: a record keeps no weights of it."""
    model = models.build(name, hyper, data.n_items, SHORT)
    model.fit(*baselines.training_part(data, CPU))
    return {"weights": _sha_of_set(model.state_dict())}


def _result(values: dict[str, Any], samples: dict[str, np.ndarray], weights: dict) -> Quantities:
    """Losses, validations and ranks, numbers first: the first that differs is shown."""
    found: Quantities = {}
    for point in values["curve"]:
        found[f"step {point['step']}/loss"] = point["loss"]
        for part in ("valid", "test"):
            for seen, metrics in point.get(part, {}).items():
                found |= {f"step {point['step']}/{part}/{seen}/{m}": v for m, v in metrics.items()}
    for key in ("parameters", "steps", "epochs", "targets_seen", "best_step", "stopped"):
        found[key] = values[key]
    for key, ranks in _ranks(samples):
        found |= {f"{key}/mean": float(ranks.mean()), key: _sha(ranks.astype(np.int64))}
    return found | {"weights": _sha_of_set(weights)}


def _ranks(samples: dict[str, np.ndarray]) -> Iterator[tuple[str, np.ndarray]]:
    """Ranks and ties of every split and treatment of seen items, as what reads a record finds them."""
    for split in ("valid", "test"):
        for seen in ("kept", "excluded"):
            for name, array in zip(("rank", "ties"), ranks_of(samples, split, seen), strict=True):
                yield f"{split}/{seen}/{name}", array
    yield "test-shuffled/kept/rank", samples["test-shuffled/rank"]


# --- measuring ----------------------------------------------------------------------------------------------------


def _measurements(name: str, dataset: Path) -> Jobs:
    jobs: Jobs = {}
    for label, (seq_len, settings) in MEASUREMENTS.items():
        for place in (dataset, None):
            job = _measurement(name, seq_len, SMALL, bool(place), settings)
            jobs[f"{label}-{'data' if place else 'full-length'}"] = lambda job=job, place=place: (
                _measured(job, name, place)
            )
    jobs["defaults"] = lambda: _measured(_measurement(name, SHORT, {}, False, {}), name, None)
    if name in VARIANTS:
        job = _measurement(name, LONG, {**SMALL, **VARIANTS[name]}, True, {"kernels": "eager"})
        jobs["variant"] = lambda: _measured(job, name, dataset)
    jobs["session"] = lambda: _session(_measurement(name, SHORT, SMALL, False, {}), name)
    return jobs


def _measurement(name: str, seq_len: int, hyper: dict, data: bool, settings: dict) -> MeasurementJob:  # fmt: skip
    chosen = ((name, tuple(sorted(hyper.items()))),)
    return MeasurementJob(
        "tiny" if data else FULL_LENGTH, "tiny", seq_len, chosen, targets_per_step=4 * seq_len, eval_batch=4,
        rounds=2, steps=2, warmup=1, n_items=None if data else 1000, **settings,
    )  # fmt: skip


def _measured(job: MeasurementJob, name: str, dataset: Path | None) -> Quantities:
    """Counts, what a record says besides times, and the batches of two rounds."""
    found: Quantities = {}
    for phase, counts in phases.count_phases(job, name, dataset, 1).items():
        found |= {f"{phase}/{key}": value for key, value in _whole(counts).items()}
    for phase in session.PHASES:
        part = _whole(phases.measure_phase(job, name, phase, 1, dataset, 1))
        samples = part["samples"]
        found |= {f"{phase}/{k}": part["facts"][k] for k in ("parameters", "steps_per_epoch")}
        found |= {f"{phase}/samples/{key}": list(np.shape(a)) for key, a in sorted(samples.items())}
        found |= {k: list(map(float, a)) for k, a in samples.items() if k in ("train/targets", "train/tokens")}  # fmt: skip
        found[f"{phase}/missing"] = sorted(part["missing"])
    data = open_dataset(dataset) if dataset else None
    for round_ in (0, 1):
        for number, batch in enumerate(islice(workload.training_batches(job, data, round_, CPU), 3)):  # fmt: skip
            place = f"round {round_}/batch {number}"
            found |= {f"{place}/targets": batch.n_targets, f"{place}/windows": _sha(batch.windows)}
            found |= {
                f"{place}/mask": _sha(batch.target_mask),
                f"{place}/lengths": _sha(batch.lengths),
            }
        for number, items in enumerate(islice(workload.histories(job, data, round_, CPU), 3)):
            found[f"round {round_}/histories {number}"] = _sha(items)
    return found


def _whole(result: dict[str, Any] | End) -> dict[str, Any]:
    if isinstance(result, End):
        raise RuntimeError(f"a job ended: {result.status}: {result.reason}")
    return result


def _session(job: MeasurementJob, name: str) -> Quantities:
    """What a session makes of the samples of its processes: invented ones, of which a round ended early."""
    drawn = np.random.default_rng(0)
    found = session.Found()
    for size in (5, 4, 5):
        for phase in session.PHASES:
            steps = {f"{phase}/step_s": drawn.random(size), f"{phase}/peak_bytes": drawn.random()}
            samples = {key: np.asarray(value) for key, value in steps.items()}
            found.add(phase, {"samples": samples, "missing": {}, "sampler": {}, "facts": {}})
    stacked = {key: a for phase in session.PHASES for key, a in session._stacked(found.parts[phase])}  # fmt: skip
    several = replace(job, models=tuple((model, ()) for model in (name, "second", "third")))
    turns = [list(session._turn(several, round_, session.PHASES)) for round_ in range(3)]
    return {"turns": turns, **{key: _sha(a) for key, a in sorted(stacked.items())}}


# --- preparing ----------------------------------------------------------------------------------------------------


def _preparing(folder: Path) -> Jobs:
    """Datasets from a generator and from files whose rows have ties, repeats, rare items and gaps in the clock."""
    csv = folder / "own.csv"
    csv.write_text("".join(_rows()), encoding="utf-8")

    def own(columns: dict[str, str], **settings: Any) -> dict[str, Any]:
        local = {"path": str(csv), "differs_from_original": "made up", "columns": columns}
        return {"source": "file", "k_core": 3, "local": local, **settings}

    time, place = {"time": "time"}, {"position": "place"}
    definitions = {
        "synthetic": TRAINED_ON,
        "synthetic-copies": {"source": "synthetic", "k_core": 1, "synthetic": {
            "n_users": 90, "n_items": 40, "copy": 0.7, "copy_lag": 3, "markov": 0.2, "zipf": 0.5, "seed": 1,
        }},
        "time": own(time),
        "time-no-core": own(time, k_core=1),
        "time-float32": own(time, order="float32"),
        "time-seed": own(time, order="seed:3"),
        "temporal": own(time, split="temporal", holdout=0.2),
        "position": own(place),
        "file-order": own({"user": "user", "item": "item"}),
    }  # fmt: skip
    return {
        name: lambda name=name, definition=definition: _prepared(name, definition, folder)
        for name, definition in definitions.items()
    }


def _rows() -> Iterator[str]:
    drawn, places = np.random.default_rng(2), {}
    yield "user,item,time,place\n"
    for second in range(1500):
        user, item = int(drawn.integers(40)), int(drawn.zipf(1.4)) % 90
        places[user] = places.get(user, 0) + 1
        yield f"u{user},{item},{1_400_000_000 + second // 3 * 40},{places[user]}\n"


def _prepared(name: str, definition: dict[str, Any], folder: Path) -> Quantities:
    out = folder / "prepared" / name
    info = prepare(name, definition, folder, out)
    found: Quantities = {key: info[key] for key in ("n_users", "n_items", "n_interactions", "hash")}
    found |= {f"lengths/{key}": value for key, value in info["lengths"].items()}
    found |= {f"split/{key}": value for key, value in info["split"].items()}
    found |= {f"oracle/{key}": value for key, value in (info["oracle"] or {}).items()}
    found |= {key: info[key] for key in ("repeats", "ties", "order_changes")}
    split = open_dataset(out).split
    found |= {path.stem: _sha(np.load(path)) for path in sorted(out.glob("*.npy"))}
    found |= {path.stem: _sha(path.read_bytes()) for path in sorted(out.glob("*.txt"))}
    found |= {f"targets/{part}": _sha(a) for part, a in sorted(split.target_index.items())}
    return found | {"ends": _sha(split.ends)}


# --- digests ------------------------------------------------------------------------------------------------------


def _sha(value: bytes | np.ndarray | torch.Tensor) -> str:
    if isinstance(value, bytes):
        return hashlib.sha256(value).hexdigest()
    array = value.detach().contiguous().numpy() if isinstance(value, torch.Tensor) else value
    about = f"{array.dtype} {array.shape} ".encode()
    return hashlib.sha256(about + np.ascontiguousarray(array).tobytes()).hexdigest()


def _sha_of_set(weights: dict[str, torch.Tensor]) -> str:
    """Of all tensors; neither their names nor their order counts."""
    return hashlib.sha256("".join(sorted(map(_sha, weights.values()))).encode()).hexdigest()


def main() -> None:
    """Write the digests of the models named, or of all."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--out", type=Path, required=True, help="the file to write")
    parser.add_argument("--models", nargs="+", help="only these models (default: all)")
    asked = parser.parse_args()
    found = digests(asked.models or models.available())
    asked.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
