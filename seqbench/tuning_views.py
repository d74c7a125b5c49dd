"""Display table of the search behind a tuned track, and its trials as rows."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from .tables import Cell, Column, Table, known, label, whole
from .views import DASH

COLUMNS = (
    *("dataset", "model", "seq_len", "trial", "status", "value", "steps", "best_step", "stopped"),
    *("targets_seen", "train_s", "parameters", "chosen"),
)


def trials(folder: Path) -> Iterator[dict[str, Any]]:
    """One row per trial of every study below ``folder``/tune."""
    for file in sorted((folder / "tune").glob("*/*/*/study.json")):
        content = json.loads(file.read_text(encoding="utf-8"))
        about = {key: content["study"][key] for key in ("dataset", "model", "seq_len")}
        for trial in content["trials"]:
            row = {
                **about,
                **trial,
                "trial": trial["number"],
                "chosen": json.dumps(trial["chosen"], sort_keys=True),
            }
            yield {column: row.get(column) for column in COLUMNS}


def tables(settings: Mapping[str, Any]) -> Iterator[Table]:
    """One table per track and dataset of the configuration's ``settings`` that say where they come from."""
    for track, by_dataset in settings.items():
        for dataset, by_model in by_dataset.items():
            found = {m: chosen for m, chosen in by_model.items() if chosen.get("tuning")}
            if found:
                yield _table(track, dataset, found)


def written(value: Any) -> str:
    """A setting as text: numbers without trailing zeros, names as they are."""
    return f"{value:g}" if isinstance(value, float) else str(value)


def _table(track: str, dataset: str, found: Mapping[str, Any]) -> Table:
    columns = [Column("Model", number=False)]
    columns += [
        Column(text)
        for text in ("Trials", "Failed", "Steps at most", "Untuned", "Median", "Best", "Seconds")
    ]
    columns.append(Column("Chosen", number=False))
    rows = []
    for model in sorted(found, key=lambda m: -found[m]["tuning"]["best"]):
        chosen, tuning = found[model], found[model]["tuning"]
        values = {**chosen.get("hyperparameters", {}), **chosen.get("training", {})}
        words = ", ".join(f"{key} {written(value)}" for key, value in sorted(values.items()))
        cells = [
            Cell(whole(tuning[key]), value=tuning[key]) for key in ("trials", "failed", "max_steps")
        ]
        for key in ("default", "median", "best"):
            cells.append(
                Cell(f"{tuning[key]:.4f}", value=tuning[key]) if known(tuning[key]) else DASH
            )
        cells.append(Cell(whole(tuning["train_s"]), value=tuning["train_s"]))
        rows.append([Cell(label(model), value=model), *cells, Cell(words)])
    first = next(iter(found.values()))["tuning"]
    machines = sorted(
        {c["tuning"]["machine"] for c in found.values() if c["tuning"].get("machine")}
    )
    where = f", made on {' and '.join(machines)}" if machines else ""
    note = (
        f"Validation {first['metric']} at L = {first['seq_len']}; the test split was never ranked. Untuned: the first trial, with"
        " the settings before tuning. Every model had the same number of trials of the same number of steps; seconds are those of"
        f" training, informative only. The trials are records{where}."
    )
    caption = f"Tuning on {dataset}, track {track}: what the search chose and what it brought"
    return Table(f"tuning-{track}-{dataset}", caption, columns, rows, [note])
