"""What `make own` hands to the workflow: a configuration for one file of interactions, after a look at its first two lines.

From the environment: CSV (the file), COLUMNS (field to column, as YAML), TIME (what the time column holds).
"""

from __future__ import annotations

import csv
import os
import sys
from collections.abc import Mapping
from io import StringIO
from itertools import islice
from pathlib import Path
from typing import Any

import yaml

from seqbench.core.errors import UserError, words
from seqbench.core.records import write_atomically
from seqbench.core.yaml_files import Dumper, parsed
from seqbench.data.containers import PARQUET, is_packed, read_content
from seqbench.data.layouts import FIELDS
from seqbench.data.times import PLAUSIBLE_UNIX_S, UNITS

OUT = Path("results/own.yaml")
TIMES = (*UNITS, "rank", "none")
LOOKED_AT = 2**16  # characters


def configuration(given: Mapping[str, str]) -> dict[str, Any]:
    """The configuration for the file that the variables name.

    Raises:
        UserError: no such file, a name or a value that cannot be taken, or a file without the columns or times named.
    """
    path, time = os.path.expanduser(given.get("CSV", "")), given.get("TIME") or "unix"
    if not path:
        raise UserError("CSV: names no file; say make own CSV=clicks.csv")
    if not Path(path).is_file():
        raise UserError(f"CSV={path}: no such file")
    if time not in TIMES:
        raise UserError(f"TIME={time}: say one of {', '.join(TIMES)}")
    columns = _columns(given.get("COLUMNS", ""), time)
    _look(path, columns, time)
    local = {"path": path, "columns": columns}
    if "time" in columns:  # without it the order of the lines counts
        local["time"] = time
    own = {"source": "file", "k_core": 5, "seq_lens": [50], "local": local}
    return {"datasets": {"own": own}, "run": {"datasets": ["own"], "seeds": [0, 1, 2]}}


def _columns(text: str, time: str) -> dict[str, Any]:
    example = 'COLUMNS="{user: customer, item: article, time: seconds}"'
    try:
        columns = parsed(text, "COLUMNS") if text else {f: f for f in FIELDS if f != "position"}
    except UserError as error:
        raise UserError(f"{error}; say {example}") from None
    if not isinstance(columns, dict) or not {"user", "item"} <= columns.keys() <= set(FIELDS):
        raise UserError(f"COLUMNS={text}: names no columns; say {example}")
    return {field: name for field, name in columns.items() if (field, time) != ("time", "none")}


def _look(path: str, columns: Mapping[str, Any], time: str) -> None:
    """Whether the columns are there, and whether the first time can be what it is said to be."""
    content = _beginning(path)
    if content is None:
        return  # Parquet: preparing names what lacks
    try:
        names, *rows = islice(csv.reader(StringIO(content, newline="")), 2)
    except (ValueError, csv.Error):
        raise UserError(f"{path}: no lines of comma-separated text; see config/README.md") from None
    names = [name.strip() for name in names]
    for field, name in columns.items():
        if name in names or (isinstance(name, int) and name < len(names)):
            continue
        rest = ", ".join(f"{f}: {n}" for f, n in columns.items() if f != "time")
        hint = f' or, without times, COLUMNS="{{{rest}}}"' if field == "time" else ""
        raise UserError(
            f"{path}: has no column {name!r} for {field}; it has {', '.join(names)}; name it with COLUMNS={hint}"
        )
    if "time" in columns and time in UNITS and rows:
        at = columns["time"]
        value = (
            rows[0][names.index(at) if at in names else at] if len(rows[0]) == len(names) else ""
        )
        if value and not _unix(value, time):
            other = next((f"TIME={unit}, " for unit in UNITS if _unix(value, unit)), "")
            raise UserError(
                f"{path}: the first time, {value!r}, is not what TIME={time} says; say {other}TIME=rank where numbers only"
                " order a user's lines, or TIME=none to take the order of the lines"
            )


def _beginning(path: str) -> str | None:
    """First lines of a file, unpacked; None of one that holds no lines."""
    if is_packed(Path(path)):
        content = read_content(Path(path), None)
        return (
            None
            if content.startswith(PARQUET)
            else content[:LOOKED_AT].decode("utf-8-sig", "ignore")
        )
    with open(path, encoding="utf-8-sig", errors="replace", newline="") as file:
        return file.read(LOOKED_AT)


def _unix(value: str, unit: str) -> bool:
    try:
        return PLAUSIBLE_UNIX_S[0] <= float(value) / UNITS[unit] <= PLAUSIBLE_UNIX_S[1]
    except ValueError:
        return False


def main() -> int:
    """Write the configuration; 2 on bad input."""
    try:
        text = yaml.dump(
            configuration(os.environ), Dumper=Dumper, sort_keys=False, allow_unicode=True
        )
        write_atomically(OUT, text.encode())
    except (UserError, OSError) as error:
        print(f"error: {words(error)}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
