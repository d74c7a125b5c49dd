"""Records: what one training or measuring job found, with everything that its numbers depend on.

A record is a folder with ``record.json`` (validated against ``workflow/schemas/record.schema.yaml`` when written
and when read) and ``samples.npz`` (raw ranks and times). The samples are written first and the JSON holds their
SHA-256, so a record that can be read is complete. This module never imports torch.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
import zlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from jsonschema import Draft202012Validator

from . import provenance
from .checksums import sha256_of
from .disk import write_atomically
from .errors import Damaged, UserError
from .jobs import MeasurementJob, Study, bad_schedule, check_complete, filled, parse, wrong_type
from .yaml_files import read as read_yaml

DECIDES = "nothing"

SCHEMA = 2
WEIGHTS = "weights.safetensors"
SCHEMA_FILE = Path(__file__).resolve().parents[2] / "workflow/schemas/record.schema.yaml"


def write_record(
    folder: Path,
    *,
    kind: str,
    job: Mapping[str, Any],
    identity: Mapping[str, Any],
    data: Mapping[str, Any],
    environment: Mapping[str, Any],
    values: Mapping[str, Any],
    load: Mapping[str, Any] | None = None,
    deadline_s: float | None = None,
    samples: Mapping[str, np.ndarray] | None = None,
    weights: bytes | None = None,
    status: str = "ok",
    reason: str | None = None,
) -> Path:
    """Write samples, weights (a safetensors file) and record atomically, the record last, and return its path.

    Raises:
        ValueError: the record does not follow the schema.
        MachineError: the disk is full, gone or read-only.
    """
    content = packed(samples or {})
    record = {
        "schema": SCHEMA, "kind": kind, "status": status, "reason": reason,
        "job": dict(job), "identity": dict(identity), "data": dict(data), "environment": dict(environment),
        "load": load and dict(load), "deadline_s": deadline_s, "values": dict(values),
        "samples": {
            "file": "samples.npz",
            "sha256": hashlib.sha256(content).hexdigest(),
            "arrays": sorted(samples or {}),
        },
        "weights_sha256": weights and hashlib.sha256(weights).hexdigest(),
    }  # fmt: skip
    problem = _problem(record)
    if problem:
        raise ValueError(f"record for {folder}: {problem}")
    if weights is not None:
        write_atomically(folder / WEIGHTS, weights)
    write_atomically(folder / "samples.npz", content)
    write_atomically(folder / "record.json", sealed(record))
    return folder / "record.json"


def sealed(record: Mapping[str, Any]) -> bytes:
    """The text of ``record.json``, with its SHA-256."""
    whole = {**record, "sha256": digest(record)}
    return json.dumps(whole, indent=1, sort_keys=True, allow_nan=False).encode() + b"\n"


def digest(content: Mapping[str, Any]) -> str:
    """SHA-256 of a record, or of a dataset's facts, without the key ``sha256`` that holds it."""
    rest = {key: value for key, value in content.items() if key != "sha256"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def is_changed(content: Mapping[str, Any]) -> bool:
    """Whether it is not what was written; what has no ``sha256`` cannot be told."""
    return "sha256" in content and content["sha256"] != digest(content)


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
        raise Damaged(
            f"{path}: not JSON ({error}); delete it and run the workflow again", path
        ) from None
    problem = _problem(record)
    if not problem and is_changed(record):
        problem = "damaged (its SHA-256 differs)"
    if problem:
        raise Damaged(f"{path}: {problem}; delete it and run the workflow again", path)
    return record


def check_files(folder: Path, record: Mapping[str, Any]) -> None:
    """Compare samples and weights beside a record with their SHA-256; published records have no weights.

    Raises:
        Damaged: they differ.
    """
    known = {
        record["samples"]["file"]: record["samples"]["sha256"],
        WEIGHTS: record.get("weights_sha256"),
    }
    for name, digest_ in known.items():
        path = Path(folder) / name
        if digest_ and path.exists() and sha256_of(path) != digest_:
            raise Damaged(
                f"{path}: damaged (SHA-256 differs); delete {folder} and run the workflow again",
                path, Path(folder) / "record.json",
            )  # fmt: skip


class Samples(Mapping[str, np.ndarray]):
    """Arrays by name, kept as narrow as they are stored; whole numbers come as int64."""

    def __init__(self, stored: Mapping[str, np.ndarray]) -> None:
        self._stored = stored

    def __getitem__(self, name: str) -> np.ndarray:
        array = self._stored[name]
        return array.astype(np.int64) if array.dtype.kind == "u" else array

    def __iter__(self) -> Iterator[str]:
        return iter(self._stored)

    def __len__(self) -> int:
        return len(self._stored)


def read_samples(folder: Path, record: Mapping[str, Any]) -> Samples:
    """Arrays of a record, whole numbers as int64, after checking that the file is the one the record was written with.

    Raises:
        UserError: the file is missing or its SHA-256 differs.
    """
    path = Path(folder) / record["samples"]["file"]
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise UserError(
            f"{path}: missing, and its record.json is there; delete {folder} and run the workflow again"
        ) from None
    if hashlib.sha256(content).hexdigest() != record["samples"]["sha256"]:
        raise Damaged(
            f"{path}: not the file its record.json was written with (SHA-256 differs);"
            f" delete {folder} and run the workflow again",
            path, Path(folder) / "record.json",
        )  # fmt: skip
    return unpacked(content)


def unpacked(content: bytes) -> Samples:
    """Inverse of ``packed``."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        files = {entry.filename: _file(content, entry, archive) for entry in archive.infolist()}
    return Samples({name.removesuffix(".npy"): _array(file) for name, file in files.items()})


def _file(content: bytes, entry: zipfile.ZipInfo, archive: zipfile.ZipFile) -> bytes:
    """A file of an archive; a deflated one without what `zipfile` takes for each, which is more than inflating it."""
    if entry.compress_type != zipfile.ZIP_DEFLATED:
        return archive.read(entry)
    at = entry.header_offset
    at += 30 + sum(int.from_bytes(content[k : k + 2], "little") for k in (at + 26, at + 28))
    file = zlib.decompress(content[at : at + entry.compress_size], -zlib.MAX_WBITS, entry.file_size)
    if zlib.crc32(file) != entry.CRC:
        raise zipfile.BadZipFile(f"{entry.filename}: its checksum differs")
    return file


def _array(file: bytes) -> np.ndarray:
    """What a ``.npy`` file of version 1 holds, in its own memory."""
    start = 10 + int.from_bytes(file[8:10], "little")
    shape, fortran, kind = _header(file[:start])
    return np.frombuffer(bytearray(file), kind, offset=start).reshape(shape, order="CF"[fortran])


@lru_cache  # a dozen say what all arrays of all records are
def _header(head: bytes) -> tuple[tuple[int, ...], bool, np.dtype]:
    stream = io.BytesIO(head)
    if np.lib.format.read_magic(stream) != (1, 0):
        raise ValueError("an array of another version than is written")
    return np.lib.format.read_array_header_1_0(stream)


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
    for name in ("record.json", "samples.npz", WEIGHTS):
        (folder / name).unlink(missing_ok=True)


def _failed_itself(folder: Path) -> bool:
    """Whether a record tells of a crash of its own, and not of a process that somebody killed."""
    try:
        record = read_record(folder)
    except UserError:  # none, or one that cannot be read
        return False
    return record["status"] == "crashed" and not (record["reason"] or "").startswith("killed by ")


def data_of(info: Mapping[str, Any]) -> dict[str, Any]:
    """A record's ``data`` from a prepared dataset's ``dataset.json``, which holds everything else about it."""
    return {"name": info["name"], "hash": info.get("hash")}


def columns(rows: Sequence[Mapping[str, Any]], prefix: str) -> dict[str, np.ndarray]:
    """Rows of nested numbers as float64 arrays by dotted name: ``[{"valid": {"kept": 1}}]`` -> ``prefix/valid/kept``."""
    flat = [_flat(row, "") for row in rows]
    keys = dict.fromkeys(key for row in flat for key in row)
    return {
        f"{prefix}/{key.replace('.', '/')}": np.array(
            [row.get(key, np.nan) for row in flat], dtype=np.float64
        )
        for key in keys
    }


def difference(
    record: Mapping[str, Any],
    job: Mapping[str, Any],
    identity: str | None = None,
    data: Collection[str | None] | None = None,
    machines: Collection[str] | None = None,
) -> str | None:
    """What keeps a record from being the one that is asked for, in one line; None: it is that one.

    The one test of whether a record is current. What is None is not asked for: identity of the code, content hashes of
    the data, fingerprints of machines. Every field of the job counts; one that the record lacks has the value that held before it existed.
    """
    asked, made = (_flat(filled(json.loads(json.dumps(j)))) for j in (job, record["job"]))
    for key in sorted(asked.keys() | made.keys()):
        if asked.get(key) != made.get(key):
            return f"made with {key} = {made.get(key)}, asked for {asked.get(key)}"
    if identity is not None and not provenance.same(record["identity"]["code"], identity):
        return "made by other code"
    if data is not None and record["data"]["hash"] not in data:
        return "made from other data"
    if machines is not None and record["environment"]["machine"] not in machines:
        return f"made on another machine ({record['environment']['machine_name']})"
    return None


def matches(record: Mapping[str, Any], *asked: Any, **more: Any) -> bool:
    """Whether a record is the one that is asked for; arguments as of ``difference``."""
    return difference(record, *asked, **more) is None


def _flat(value: Any, name: str = "") -> dict[str, Any]:
    """Leaves of nested mappings by dotted name."""
    if not isinstance(value, dict):
        return {name: value}
    inner = (_flat(v, f"{name}.{k}" if name else k) for k, v in value.items())
    return {key: leaf for leaves in inner for key, leaf in leaves.items()}


def packed(samples: Mapping[str, np.ndarray]) -> bytes:
    """A small ``.npz`` whose bytes depend on the arrays only (``np.savez`` stores the time of writing).

    Deflated: a tenth larger than by LZMA, and unpacked in a third of the time, which is most of what reading a record takes.
    """
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in sorted(samples):
            array = io.BytesIO()
            np.lib.format.write_array(array, _narrowed(samples[name]), allow_pickle=False)
            entry = zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))
            archive.writestr(entry, array.getvalue(), zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def _narrowed(values: Any) -> np.ndarray:
    """Whole numbers without a sign in the smallest type that holds them; anything else as it is."""
    array = np.ascontiguousarray(values)
    if array.dtype.kind not in "iu" or not array.size or array.min() < 0:
        return array
    return array.astype(np.min_scalar_type(int(array.max())))


def read_job(kind: type, text: str) -> Any:
    """A job of a kind (TrainingJob, MeasurementJob, Study) from its JSON.

    Raises:
        UserError: as ``parse``; a key that is missing or unknown, or a value that the job or its record cannot take.
    """
    name = "--study" if kind is Study else "--job"
    check_complete(kind, parse(text, name), name)
    try:
        job = kind.from_json(text)
    except (AttributeError, TypeError, ValueError) as error:  # a list for a mapping, further down
        raise UserError(
            f"{name}: not as the workflow prints it ({error}); pass what it prints"
        ) from None
    for find in (wrong_type, _unrecordable, _unlearnable):
        if problem := find(job):
            raise UserError(f"{name}: {problem}")
    return job


def _unlearnable(job: Any) -> str | None:
    problem = None if isinstance(job, MeasurementJob) else bad_schedule(job.training)
    return problem and f"training.{problem}"


def _unrecordable(job: Any) -> str | None:
    if isinstance(job, Study):
        return job_problem(job.training_job({}).to_dict())
    if isinstance(job, MeasurementJob):
        described = (job.for_model(name) for name, _ in job.models)
        return next(filter(None, map(job_problem, described)), None)
    return job_problem(job.to_dict())


def job_problem(job: Mapping[str, Any]) -> str | None:
    """Why no record could hold a job of this description, or None."""
    return _problem(job, "job")


@lru_cache
def _validator(part: str | None) -> Draft202012Validator:
    schema = read_yaml(SCHEMA_FILE)
    return Draft202012Validator(schema["properties"][part] if part else schema)


def _problem(record: Any, part: str | None = None) -> str | None:
    """The first way in which ``record``, or one part of it, breaks the schema, or None."""
    for error in _validator(part).iter_errors(record):
        where = ".".join(str(at) for at in error.absolute_path) or part or "record"
        return f"{where}: {error.message[:200]}"
    return None
