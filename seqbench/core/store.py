"""Folders of records: one loaded record, and copies of records from one folder to another."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from . import records
from .errors import UserError
from .jobs import filled

DECIDES = "nothing"

AGAIN = "run `make report` (or `snakemake --cores 8 report`)"


@dataclass(frozen=True)
class Entry:
    """One record of the grid and where it lies: `path` below the folder `root`, as in the grid. What is read is kept."""

    path: str
    root: Path
    record: dict[str, Any]

    @cached_property
    def job(self) -> dict[str, Any]:
        """The resolved description of the job."""
        return filled(self.record["job"])

    @property
    def values(self) -> dict[str, Any]:
        """What the job found, apart from its samples."""
        return self.record["values"]

    @property
    def ok(self) -> bool:
        """Whether the job came to its end."""
        return self.record["status"] == "ok"

    @property
    def training(self) -> bool:
        """Whether it was a training and not a measurement."""
        return self.record["kind"] == "train"

    def samples(self) -> Mapping[str, np.ndarray]:
        """Raw samples, after their SHA-256 was compared with the record's."""
        return self._samples

    @cached_property
    def _samples(self) -> Mapping[str, np.ndarray]:
        return MappingProxyType(records.read_samples(self.root / self.path, self.record))

    @cached_property
    def results(self) -> Path:
        """The results folder that the record lies in, with the facts of its dataset."""
        parts = Path(self.path).parts
        below = next(i for i, part in enumerate(parts) if part in ("runs", "tune"))
        return self.root.joinpath(*parts[:below])

    @cached_property
    def dataset(self) -> dict[str, Any]:
        """Facts of its dataset; empty for synthetic full-length batches."""
        known = self.record["data"]["hash"] is not None
        return read_dataset(self.results, self.record["data"]["name"]) if known else {}

    def users(self) -> dict[str, np.ndarray]:
        """What breakdowns of quality group the users with a test target by, arrays (U,)."""
        file = self.results / "data" / self.record["data"]["name"] / "users.npz"
        try:
            return records.unpacked(file.read_bytes())
        except (OSError, ValueError) as error:
            raise UserError(f"{file}: cannot be read ({error}); {AGAIN}") from None


def read_dataset(results: Path, name: str) -> dict[str, Any]:
    """Facts of a prepared dataset.

    Raises:
        UserError: not there, not JSON, or no facts of a dataset.
    """
    file = results / "data" / name / "dataset.json"
    try:
        return _facts(file, file.stat().st_mtime_ns)
    except FileNotFoundError:
        raise UserError(f"{file}: not there: {AGAIN}") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{file}: not JSON ({error}): delete it and {AGAIN}") from None


@lru_cache
def _facts(file: Path, _: int) -> dict[str, Any]:
    facts = json.loads(file.read_text(encoding="utf-8"))
    if not isinstance(facts, dict) or not {"name", "hash", "split"} <= facts.keys():
        raise UserError(f"{file}: no facts of a dataset: delete it and {AGAIN}")
    return facts


@contextmanager
def staged(folder: Path) -> Iterator[Path]:
    """A copy of a machine's folder to change. It takes the folder's place at the end, unless something was refused."""
    above = folder.parent.parent
    above.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=above, prefix=".publish-") as name:
        new, old = Path(name) / folder.name, Path(name) / "old"
        if folder.exists():
            shutil.copytree(folder, new)
        new.mkdir(exist_ok=True)
        yield new
        folder.parent.mkdir(exist_ok=True)
        if folder.exists():
            folder.rename(old)
        new.rename(folder)


def machine_of(entries: list[Entry]) -> str:
    """Name of the one machine that made all records."""
    if not entries:
        raise UserError("nothing to publish: the grid has no records")
    first = entries[0].record["environment"]
    for entry in entries[1:]:
        other = entry.record["environment"]
        if first["machine_name"] == other["machine_name"] and first["machine"] != other["machine"]:
            raise UserError(
                f"{entries[0].path} and {entry.path} come from two machines named {first['machine_name']} ({first['machine']} and"
                f" {other['machine']}: another processor or memory); only one of them can be published under that name"
            )
        if first["machine"] != other["machine"]:
            raise UserError(
                f"{entries[0].path} and {entry.path} come from two machines ({first['machine_name']} and"
                f" {other['machine_name']}): publish them from grids of their own"
            )
    return first["machine_name"]


def check_replacement(entry: Entry, target: Path) -> None:
    """Refuse to put a record in the place of a published one of another job."""
    if not (target / "record.json").exists():
        return
    why = records.difference(records.read_record(target), entry.job)
    if why:
        raise UserError(
            f"{target}: published {why}; delete the published record to replace it by another job"
        )


def copy_record(source: Path, target: Path) -> None:
    """Copy a record, samples first; weights stay behind."""
    copy_files(source, target, ("samples.npz", "record.json"))


def copy_files(source: Path, target: Path, names: tuple[str, ...]) -> None:
    """Copy files of a folder, each written whole, in this order."""
    target.mkdir(parents=True, exist_ok=True)
    for name in names:
        records.write_atomically(target / name, (source / name).read_bytes())
