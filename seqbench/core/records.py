"""Records: what one training or measuring job found, with everything that its numbers depend on.

A record is a folder with ``record.json`` (validated against ``workflow/schemas/record.schema.yaml`` when written
and when read) and ``samples.npz`` (raw ranks and times). The samples are written first and the JSON holds their
SHA-256, so a record that can be read is complete. This module never imports torch.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import zipfile
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from jsonschema import Draft202012Validator

from .errors import UserError

DECIDES = "nothing"

SCHEMA = 1
SCHEMA_FILE = Path(__file__).resolve().parents[2] / "workflow/schemas/record.schema.yaml"
STATUSES = ("ok", "oom", "diverged", "timeout", "crashed")


def write_record(
    folder: Path,
    *,
    kind: str,
    experiment: Mapping[str, Any],
    values: Mapping[str, Any],
    environment: Mapping[str, Any],
    data: Mapping[str, Any],
    code: Mapping[str, Any],
    samples: Mapping[str, np.ndarray] | None = None,
    status: str = "ok",
    reason: str | None = None,
) -> Path:
    """Write samples and record atomically, samples first, and return the path of ``record.json``.

    Raises:
        ValueError: the record does not follow the schema.
    """
    folder.mkdir(parents=True, exist_ok=True)
    packed = _pack(samples or {})
    record = {
        "schema": SCHEMA, "kind": kind, "status": status, "reason": reason,
        "experiment": dict(experiment), "data": dict(data), "code": dict(code),
        "environment": dict(environment), "values": dict(values),
        "samples": {
            "file": "samples.npz",
            "sha256": hashlib.sha256(packed).hexdigest(),
            "arrays": sorted(samples or {}),
        },
    }  # fmt: skip
    problem = _problem(record)
    if problem:
        raise ValueError(f"record for {folder}: {problem}")
    text = json.dumps(record, indent=1, sort_keys=True, allow_nan=False) + "\n"
    write_atomically(folder / "samples.npz", packed)
    write_atomically(folder / "record.json", text.encode())
    return folder / "record.json"


def read_record(folder: Path) -> dict[str, Any]:
    """Read and validate the record in ``folder``.

    Raises:
        UserError: missing, not JSON, or not of this schema; the message names the file.
    """
    path = Path(folder) / "record.json"
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: no such record; run the workflow to make it") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(
            f"{path}: not JSON ({error}); delete it and run the workflow again"
        ) from None
    problem = _problem(record)
    if problem:
        raise UserError(f"{path}: {problem}; delete it and run the workflow again")
    return record


def read_samples(folder: Path, record: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Arrays of a record, after checking that the file is the one the record was written with.

    Raises:
        UserError: the file is missing or its SHA-256 differs.
    """
    path = Path(folder) / record["samples"]["file"]
    try:
        packed = path.read_bytes()
    except FileNotFoundError:
        raise UserError(
            f"{path}: missing, and its record.json is there; delete {folder} and run the workflow again"
        ) from None
    if hashlib.sha256(packed).hexdigest() != record["samples"]["sha256"]:
        raise UserError(
            f"{path}: not the file its record.json was written with (SHA-256 differs);"
            f" delete {folder} and run the workflow again"
        )
    with np.load(io.BytesIO(packed)) as arrays:
        return {name: arrays[name] for name in arrays.files}


def having(runs: Path, status: str) -> tuple[list[Path], list[str]]:
    """Folders of every record with ``status`` below ``runs``; of those that cannot be read, why, in one line each."""
    folders, unreadable = [], []
    for path in sorted(runs.rglob("record.json")):
        try:
            if read_record(path.parent)["status"] == status:
                folders.append(path.parent)
        except UserError as error:
            unreadable.append(str(error))
    return folders, unreadable


def discard(folder: Path) -> None:
    """Delete the record in a folder, samples and weights included; a saved state of training stays unless it may be what failed."""
    # A state that cannot be loaded, cut off by a full disk say, would make every further training crash.
    for state in folder.glob("resume-*.pt") if _failed_itself(folder) else ():
        state.unlink(missing_ok=True)
    for name in ("record.json", "samples.npz", "weights.safetensors"):
        (folder / name).unlink(missing_ok=True)


def _failed_itself(folder: Path) -> bool:
    """Whether a record tells of a crash of its own, and not of a process that somebody killed."""
    try:
        record = read_record(folder)
    except UserError:  # none, or one that cannot be read
        return False
    return record["status"] == "crashed" and not (record["reason"] or "").startswith("killed by ")


def data_facts(info: Mapping[str, Any]) -> dict[str, Any]:
    """The record's ``data`` from a prepared dataset's ``dataset.json``; absent facts are null."""
    keys = ("name", "hash", "n_users", "n_items", "n_interactions")
    substitute_file = (info.get("provenance") or {}).get("substitute_file")
    rule = (info.get("split") or {}).get("kind", "leave-one-out")
    facts = {key: info.get(key) for key in keys}
    return {**facts, "split": rule, "order": info.get("order"), "substitute_file": substitute_file}


def write_atomically(path: Path, content: bytes) -> None:
    """Write through a temporary file in the same folder, made if need be, flushed to disk, then renamed over ``path``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _pack(samples: Mapping[str, np.ndarray]) -> bytes:
    """An ``.npz`` whose bytes depend on the arrays only (``np.savez`` stores the time of writing)."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in sorted(samples):
            array = io.BytesIO()
            np.lib.format.write_array(
                array, np.ascontiguousarray(samples[name]), allow_pickle=False
            )
            entry = zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))
            archive.writestr(entry, array.getvalue(), zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def experiment_problem(experiment: Mapping[str, Any]) -> str | None:
    """Why no record could hold a job of this description, or None."""
    return _problem(experiment, "experiment")


@lru_cache
def _validator(part: str | None) -> Draft202012Validator:
    schema = yaml.safe_load(SCHEMA_FILE.read_text(encoding="utf-8"))
    return Draft202012Validator(schema["properties"][part] if part else schema)


def _problem(record: Any, part: str | None = None) -> str | None:
    """The first way in which ``record``, or one part of it, breaks the schema, or None."""
    for error in _validator(part).iter_errors(record):
        where = ".".join(str(at) for at in error.absolute_path) or part or "record"
        return f"{where}: {error.message[:200]}"
    return None
