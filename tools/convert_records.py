"""Convert published records of schema 1 to schema 2, once: ``python tools/convert_records.py OLD IDENTITIES WANTED NEW``.

OLD: results/reference of revision c79c1c6. IDENTITIES: JSON, revision -> kind -> model -> identity by meaning.
WANTED: a file with a record folder below results/reference a line. NEW: the folder to write.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np

from seqbench.core import records
from seqbench.core.jobs import MeasurementJob, Study, TrainingJob
from seqbench.training.ranking import PROBE_RANKS

CURVES = {
    "tokens": "length-at-constant-tokens",
    "batch": "length-at-constant-batch",
    "sequences": "batch-size",
    "catalogue": "catalogue-size",
}
SEEN = {"unmasked": "kept", "seen-masked": "excluded"}


def settings(old: dict[str, Any]) -> dict[str, Any]:
    """Keys and values that a training or a measurement says in other words now."""
    new = {}
    for key, value in old.items():
        if key == "batch_targets":
            new["targets_per_step"] = value
        elif key == "bucket":
            new["bucket_by_length"] = value
        elif key == "positions":
            new["compute_all_positions"] = value == "every"
        elif key == "select_masking":
            new["select_seen_items"] = SEEN[value]
        elif key == "kernels":
            new["kernels"] = "eager" if value == "plain" else value
        elif key == "curve":
            new["curve"] = CURVES.get(value)
        else:
            new[key] = value
    return new


def job_of(old: dict[str, Any]) -> dict[str, Any]:
    """A job in the words of today; the same class reads it."""
    if "training" in old:
        new = {**old, "training": settings(old["training"])}
        return TrainingJob.from_json(json.dumps(new)).to_dict()
    new = settings(old)
    model, hyper = new.pop("model"), dict(new.pop("hyperparameters"))
    pairs = new.get("models", [[model, hyper]])
    new["models"] = [{"model": name, "hyperparameters": dict(values)} for name, values in pairs]
    job = MeasurementJob.from_json(json.dumps(new))
    assert dict(dict(job.models)[model]) == hyper, (model, hyper)
    return json.loads(json.dumps(job.for_model(model)))


def backend(old: dict[str, Any]) -> dict[str, Any]:
    return json.loads(json.dumps(old).replace('"plain"', '"eager"'))


def curve(points: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        {k: {SEEN[m]: v for m, v in p[k].items()} if k in ("valid", "test") else p[k] for k in p}
        for p in points
    ]


def training_values(old: dict[str, Any], job: dict[str, Any], status: str) -> dict[str, Any]:
    new = {k: v for k, v in old.items() if k != "curve"}
    if "backend" in new:
        new["backend"] = backend(new["backend"])
    if new:
        points, chosen = curve(old.get("curve") or []), job["training"]
        values = [p["valid"][chosen["select_seen_items"]][chosen["select_on"]] for p in points]
        new["best_validation"] = max(values) if values and status == "ok" else None
    return new


def training_samples(
    old: dict[str, np.ndarray], points: list[dict[str, Any]], trial: bool
) -> dict[str, np.ndarray]:
    found = records.columns(curve(points), "curve")
    if trial:
        return found
    for split in ("valid", "test"):
        if f"{split}/unmasked/rank" not in old:
            continue
        kept, excluded = ({k: old[f"{split}/{m}/{k}"] for k in ("rank", "ties")} for m in SEEN)
        found |= {
            f"{split}/rank": kept["rank"],
            f"{split}/ties": kept["ties"],
            f"{split}/seen_above": kept["rank"] - excluded["rank"],
            f"{split}/seen_tied": kept["ties"] - excluded["ties"],
        }
        assert min(found[f"{split}/seen_above"].min(), found[f"{split}/seen_tied"].min()) >= 0
    if "test-shuffled/unmasked/rank" in old:
        found["test-shuffled/rank"] = np.minimum(old["test-shuffled/unmasked/rank"], PROBE_RANKS)
    return found


def measured_values(old: dict[str, Any]) -> dict[str, Any]:
    new, missing = dict(old), old.get("missing", {})
    if "backend" in new:
        new["backend"] = backend(new["backend"])
    reasons = dict.fromkeys(missing.values())
    new["missing"] = {why: [k for k, said in missing.items() if said == why] for why in reasons}
    return new


def convert(old: Path, new: Path, identities: dict[str, Any], path: str) -> None:
    """One record; its users' facts go to its dataset's folder."""
    folder = old / path
    record = json.loads((folder / "record.json").read_text())
    with np.load(folder / "samples.npz") as arrays:
        samples = {name: arrays[name] for name in arrays.files}
    job, values, status = job_of(record["experiment"]), record["values"], record["status"]
    machine, _, below = path.partition("/")
    kind, trial = record["kind"], below.startswith("tune/")
    code = record["code"]
    identity = identities[code["revision"]]["training" if kind == "train" else "measuring"][
        job["model"]
    ]
    if kind == "train":
        points = values.get("curve") or []
        changed, kept = (
            training_values(values, job, status),
            training_samples(samples, points, trial),
        )
        if not trial:
            below = TrainingJob.from_json(json.dumps(job)).path
            users(new / machine / "data" / job["dataset"], samples, record["experiment"])
    else:
        changed, kept = measured_values(values), samples
        session = MeasurementJob.from_json(
            json.dumps({k: v for k, v in job.items() if k not in ("model", "hyperparameters")})
        )
        below = f"{session.path}/{job['model']}"
    records.write_record(
        new / machine / below, kind=kind, status=status, reason=record["reason"], job=job,
        identity={"code": identity, "revision": code["revision"], "dirty": code["dirty"]},
        data={key: record["data"][key] for key in ("name", "hash")},
        environment=record["environment"], values=changed, samples=kept,
    )  # fmt: skip


def users(folder: Path, samples: dict[str, np.ndarray], job: dict[str, Any]) -> None:
    """Facts of the users, which every record on the data repeated."""
    if "history_length" not in samples:
        return
    content = records.packed(
        {k: samples[k] for k in ("history_length", "target_popularity", "tied") if k in samples}
    )
    file = folder / "users.npz"
    if file.exists():
        assert file.read_bytes() == content, (folder, job)
    else:
        folder.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)


def facts(old: Path, new: Path) -> None:
    """Facts of datasets that records are there of."""
    for file in sorted(old.glob("*/data/*/dataset.json")):
        target = new / file.relative_to(old)
        if not (target.parent / "users.npz").exists():
            print(f"left out: {file.relative_to(old)}")
            continue
        info = json.loads(file.read_text())
        provenance = info.get("provenance")
        if provenance:
            info["provenance"] = {
                ("substitute_file" if k == "stand_in" else k): v for k, v in provenance.items()
            }
        info.setdefault("split", {"kind": "leave-one-out"})
        target.write_text(json.dumps(info, indent=1, ensure_ascii=False) + "\n")


def studies(old: Path, new: Path) -> None:
    """Summaries of searches."""
    words = {"finalists": "rerun_top_k", "final_seeds": "rerun_seeds"}
    for file in sorted(old.glob("*/tune/*/*/*/study.json")):
        content = json.loads(file.read_text())
        study = {words.get(k, k): v for k, v in content["study"].items()}
        study["training"] = settings(study["training"])
        content["study"] = json.loads(Study.from_json(json.dumps(study)).to_json())
        target = new / file.relative_to(old)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n")


def main(old: Path, identities: Path, wanted: Path, new: Path) -> None:
    known = json.loads(identities.read_text())
    for part in ("runs", "tune", "data"):
        for folder in new.glob(f"*/{part}"):
            shutil.rmtree(folder)
    paths = wanted.read_text().split()
    for path in paths:
        convert(old, new, known, path)
    facts(old, new)
    studies(old, new)
    print(f"{len(paths)} records")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
