"""The prepared dataset on disk: flat arrays, user after user, plus dataset.json."""

import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from ..core.checksums import sha256_of
from ..core.disk import unwritten
from ..core.errors import UserError, is_of_machine
from ..core.records import digest, is_changed, packed
from .filtering import counts
from .split import Split, split_of

SCHEMA = 1
INFO = "dataset.json"
USERS = "users.npz"  # user_facts
ARRAYS = ("items", "offsets", "rows", "times")


@dataclass(frozen=True)
class Dataset:
    """Prepared interactions; the events of user u are items[offsets[u]:offsets[u + 1]].

    What trains and what is held out: ``split``.
    """

    name: str
    items: np.ndarray  # (n_interactions,) int32, 1..n_items, chronological within a user
    offsets: np.ndarray  # (n_users + 1,) int64
    rows: np.ndarray  # (n_interactions,) int64, 0-based data row in the publisher's file
    times: np.ndarray | None  # (n_interactions,) int64 Unix seconds; None unless time is unix
    info: dict  # content of dataset.json

    @cached_property
    def split(self) -> Split:
        """Training parts and targets, as dataset.json declares them."""
        return split_of(self.offsets, self.times, self.info)

    @property
    def n_users(self) -> int:
        """Number of users."""
        return self.info["n_users"]

    @property
    def n_items(self) -> int:
        """Number of items; item ids are 1..n_items."""
        return self.info["n_items"]


def open_dataset(folder: Path) -> Dataset:
    """Memory-map a prepared dataset; UserError when it is missing or not what it declares.

    Shapes, types and the hash are checked, which takes about 3 ms per million interactions.
    """
    folder = Path(folder)
    info = _read_info(folder)
    names = ARRAYS if info["time"] == "unix" else ARRAYS[:3]
    arrays = {name: _open_array(folder, name) for name in names}
    _check_arrays(folder, info, arrays)
    times = arrays.get("times")
    return Dataset(info["name"], arrays["items"], arrays["offsets"], arrays["rows"], times, info)


def content_hash(items: np.ndarray, offsets: np.ndarray, split: dict | None = None) -> str:
    """SHA-256 over the bytes of items (int32) and offsets (int64), and the split unless it is leave-one-out.

    That is all that a model and its evaluation can see.
    """
    digest = hashlib.sha256(np.ascontiguousarray(items, dtype="<i4"))
    digest.update(np.ascontiguousarray(offsets, dtype="<i8"))
    if split and split["kind"] != "leave-one-out":
        rule = {key: split[key] for key in ("kind", "valid_from", "test_from")}
        digest.update(json.dumps(rule, sort_keys=True).encode())
    return digest.hexdigest()


def user_facts(
    arrays: Mapping[str, np.ndarray], split: Split, n_items: int
) -> dict[str, np.ndarray]:
    """Of every user with a test target (U,): what breakdowns of quality group by.

    history_length: items before the test item; target_popularity: how often the test item occurs in the training
    parts; tied, where times are known: whether the test item and the one before it share theirs.
    """
    items, users, last = (
        np.asarray(arrays["items"]),
        split.users["test"],
        split.target_index["test"],
    )
    popularity = counts(items[split.trains], n_items + 1)
    found = {
        "history_length": last - split.offsets[users],
        "target_popularity": popularity[items[last]],
    }
    if arrays.get("times") is not None:
        times = np.asarray(arrays["times"])
        found["tied"] = (times[last] == times[last - 1]).astype(np.int64)
    return found


def sweep(out: Path) -> None:
    """Remove what preparing left beside `out` when it was killed; nobody else may be preparing it."""
    rest = re.compile(re.escape(f".{out.name}-") + "[a-z0-9_]{8}")  # as tempfile names folders
    for path in out.parent.glob(f".{out.name}-*"):
        if rest.fullmatch(path.name):
            shutil.rmtree(path, ignore_errors=True)


def save(out: Path, arrays: dict[str, np.ndarray], ids: dict[str, list], info: dict) -> dict:
    """Write everything beside `out`, then move it in; dataset.json leaves first and comes last.

    A reader therefore sees the old dataset, none, or the new one, never a mixture.

    Returns:
        What dataset.json holds: `info`, the SHA-256 of each other file, and its own.

    Raises:
        MachineError: the disk is full, gone or read-only.
    """
    try:
        return _save(out, arrays, ids, info)
    except OSError as error:
        if not is_of_machine(error):
            raise
        raise unwritten(out, sum(array.nbytes for array in arrays.values()), error) from None


def _save(out: Path, arrays: dict[str, np.ndarray], ids: dict[str, list], info: dict) -> dict:
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}-") as temporary:
        fresh = Path(temporary)
        for name, array in arrays.items():
            _write_array(fresh / f"{name}.npy", array)
        for name, values in ids.items():
            (fresh / f"{name}.txt").write_text("".join(f"{value}\n" for value in values), "utf-8")
        split = split_of(arrays["offsets"], arrays.get("times"), info)
        (fresh / USERS).write_bytes(packed(user_facts(arrays, split, info["n_items"])))
        files = {path.name: sha256_of(path) for path in sorted(fresh.iterdir())}
        info = {key: value for key, value in info.items() if key != "sha256"} | {"files": files}
        info["sha256"] = digest(info)
        (fresh / INFO).write_text(json.dumps(info, indent=1, ensure_ascii=False) + "\n", "utf-8")
        out.mkdir(exist_ok=True)
        for stale in (INFO, "times.npy"):
            (out / stale).unlink(missing_ok=True)
        for path in sorted(fresh.iterdir(), key=lambda path: path.name == INFO):
            os.replace(path, out / path.name)
    return info


def _write_array(path: Path, array: np.ndarray) -> None:
    """As np.save, but a full disk is an error of the system that says so."""
    array = np.ascontiguousarray(array)
    with path.open("wb") as file:
        header = np.lib.format.header_data_from_array_1_0(array)
        np.lib.format.write_array_header_1_0(file, header)
        file.write(array.reshape(-1).view(np.uint8).data)


def _prepare_hint(folder: Path) -> str:
    return f"prepare it with: snakemake --cores 1 {folder / INFO}"


def _read_info(folder: Path) -> dict:
    path = folder / INFO
    try:
        info = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path} does not exist; {_prepare_hint(folder)}") from None
    except ValueError as error:
        raise UserError(f"{path} is not valid JSON ({error}); {_prepare_hint(folder)}") from None
    if isinstance(info, dict) and is_changed(info):
        raise UserError(f"{path} is damaged (its SHA-256 differs); {_prepare_hint(folder)}")
    found = info.get("schema") if isinstance(info, dict) else None
    if found != SCHEMA:
        raise UserError(f"{path} has schema {found}, expected {SCHEMA}; {_prepare_hint(folder)}")
    return info


def _open_array(folder: Path, name: str) -> np.ndarray:
    path = folder / f"{name}.npy"
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as error:  # a damaged header raises whatever its text happens to be
        raise UserError(f"{path} cannot be read ({error}); {_prepare_hint(folder)}") from None


def _check_arrays(folder: Path, info: dict, arrays: dict[str, np.ndarray]) -> None:
    n = info["n_interactions"]
    shapes = {"items": n, "rows": n, "times": n, "offsets": info["n_users"] + 1}
    for name, array in arrays.items():
        dtype = np.dtype("int32" if name == "items" else "int64")
        if array.shape != (shapes[name],) or array.dtype != dtype:
            raise UserError(
                f"{folder / name}.npy holds {array.dtype} {array.shape}, dataset.json says "
                f"{dtype} ({shapes[name]},); {_prepare_hint(folder)}"
            )
    if content_hash(arrays["items"], arrays["offsets"], info.get("split")) != info["hash"]:
        raise UserError(f"{folder}: the arrays differ from their hash; {_prepare_hint(folder)}")
    for name in arrays.keys() - {"items", "offsets"}:
        known = info.get("files", {}).get(f"{name}.npy")
        if known and sha256_of(folder / f"{name}.npy") != known:
            raise UserError(
                f"{folder / name}.npy is damaged (SHA-256 differs); {_prepare_hint(folder)}"
            )
