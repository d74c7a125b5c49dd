"""The folder of tables between two steps: every table of `TABLES` as Parquet and CSV, beside them `datasets.json` and `settings.json`."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pandas as pd
import pyarrow as pa
from pyarrow import csv, parquet

from .disk import write_atomically
from .display import TABLES
from .errors import Damaged, UserError
from .integrity import SUMS, check_tables
from .ownership import is_owned
from .store import AGAIN, read_json

DECIDES = "nothing"
SETTINGS = {"margin": float, "focal_model": str, "models": list, "environments": list}


def write(
    out: Path, frames: Mapping[str, pd.DataFrame], datasets: Mapping[str, Any], settings: Mapping[str, Any]
) -> None:  # fmt: skip
    """Write all tables into a folder."""
    known = {}
    for name, content in _files(frames, datasets, settings):
        write_atomically(out / name, content, flush=False)
        known[name] = hashlib.sha256(content).hexdigest()
    write_atomically(out / SUMS, json.dumps(known, indent=1) + "\n")


def _files(
    frames: Mapping[str, pd.DataFrame], datasets: Mapping[str, Any], settings: Mapping[str, Any]
) -> Iterator[tuple[str, bytes]]:
    for name, frame in frames.items():
        table = pa.Table.from_pandas(frame, preserve_index=False)
        for kind, write_table in (("csv", csv.write_csv), ("parquet", parquet.write_table)):
            content = io.BytesIO()
            write_table(table, content)
            # Without columns there is nothing to write; an empty file would look like a lost one.
            yield f"{name}.{kind}", content.getvalue() or b"\n"
    for name, content in (("datasets", datasets), ("settings", settings)):
        yield f"{name}.json", json.dumps(content, indent=1, sort_keys=True).encode() + b"\n"


def read(folder: Path) -> tuple[dict[str, pd.DataFrame], dict[str, Any], dict[str, Any]]:
    """What `write` wrote, types included: tables by name, facts of the datasets, settings.

    Raises:
        UserError: a table is missing or damaged, or lacks what tables of this version hold; or somebody writes them now.
    """
    if is_owned(folder):
        raise UserError(
            f"{folder}: tables are being written; run the same command again when they are"
        )
    frames = {name: _table(folder / f"{name}.parquet", own) for name, own in TABLES.items()}
    rest = _mapping(folder / "datasets.json"), _mapping(folder / "settings.json", SETTINGS)
    check_tables(folder)
    return frames, *rest


def _mapping(file: Path, keys: Mapping[str, type] = MappingProxyType({})) -> dict[str, Any]:
    try:
        found = read_json(file, AGAIN)
    except UserError as error:
        raise Damaged(str(error), file) from None
    if not isinstance(found, dict):
        raise UserError(f"{file}: no mapping: delete it and {AGAIN}")
    for key, kind in keys.items():
        if not isinstance(found.get(key), kind):
            raise UserError(
                f"{file}: has no `{key}` ({kind.__name__}): of another version; delete it and {AGAIN}"
            )
    return found


def _table(path: Path, columns: list[str]) -> pd.DataFrame:
    try:
        frame = pd.read_parquet(path)
    except FileNotFoundError:
        raise UserError(f"{path}: not there: {AGAIN}") from None
    except (OSError, ValueError) as error:
        why = " ".join(str(error).split())
        raise Damaged(f"{path}: is no table ({why}): delete it and {AGAIN}", path) from None
    missing = [name for name in columns if name not in frame]
    if missing and len(frame):  # one without rows may have no columns
        raise UserError(
            f"{path}: has no column `{missing[0]}`: a table of another version; delete it and {AGAIN}"
        )
    return frame
