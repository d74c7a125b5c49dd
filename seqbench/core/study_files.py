"""Studies of a folder of results: the trials of every search."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .display import TABLES
from .jobs import Study


def trials(folder: Path) -> Iterator[dict[str, Any]]:
    """One row per trial below ``folder``/tune; those of a study that another machine trained are in that machine's folder."""
    for file in sorted((folder / "tune").glob("*/*/*/study.json")):
        content = json.loads(file.read_text(encoding="utf-8"))
        study = Study.from_json(json.dumps(content["study"]))
        about = {key: content["study"][key] for key in ("dataset", "model", "seq_len", "seed")}
        for trial in content["trials"]:
            record = folder / study.trial_path(trial["number"]) / "record.json"
            if record.exists():
                environment = json.loads(record.read_text(encoding="utf-8"))["environment"]
                row = {**about, **trial, "trial": trial["number"], "machine_name": environment["machine_name"]}  # fmt: skip
                row |= {"chosen": json.dumps(trial["chosen"], sort_keys=True)}
                yield {column: row.get(column) for column in TABLES["tuning"]}
