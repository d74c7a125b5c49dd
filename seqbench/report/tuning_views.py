"""Display table of the search behind a tuned track, and its trials as rows."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ..core.jobs import Study
from .tables import Cell, Column, Table, known, label, whole
from .views import DASH

COLUMNS = (
    *("dataset", "model", "seq_len", "trial", "repeats", "seed", "status", "value", "steps"),
    *("best_step", "stopped", "targets_seen", "train_s", "parameters", "chosen"),
)


def trials(folder: Path) -> Iterator[dict[str, Any]]:
    """One row per trial below ``folder``/tune; those of a study that another machine trained are in that machine's folder."""
    for file in sorted((folder / "tune").glob("*/*/*/study.json")):
        content = json.loads(file.read_text(encoding="utf-8"))
        study = Study.from_json(json.dumps(content["study"]))
        about = {key: content["study"][key] for key in ("dataset", "model", "seq_len", "seed")}
        for trial in content["trials"]:
            if not (folder / study.trial_path(trial["number"])).exists():
                continue
            row = {
                **about,
                **trial,
                "trial": trial["number"],
                "chosen": json.dumps(trial["chosen"], sort_keys=True),
            }
            yield {column: row.get(column) for column in COLUMNS}


def tables(settings: Mapping[str, Any]) -> Iterator[Table]:
    """One table per track and dataset of the configuration's ``selected_settings`` that say where they come from."""
    for track, by_dataset in settings.items():
        for dataset, by_model in by_dataset.items():
            found = {m: chosen for m, chosen in by_model.items() if chosen.get("tuning")}
            if found:
                yield _table(track, dataset, found)


def written(value: Any) -> str:
    """A setting as text: numbers without trailing zeros, names as they are."""
    return f"{value:g}" if isinstance(value, float) else str(value)


def _mean(tuning: Mapping[str, Any]) -> float | None:
    """Of the winner over the seeds of the finals; None without one that came to its end with each."""
    values = _finals(tuning).get(tuning["trial"], [None])
    return None if None in values else statistics.fmean(values)


def _finals(tuning: Mapping[str, Any]) -> dict[int, list[float | None]]:
    """Values by seed of the trials that were trained again, the best of the search first."""
    return {final["trial"]: final["values"] for final in tuning.get("finals", [])}


def _of_finals(found: Mapping[str, Any]) -> Iterator[str]:
    """How the winners were told from settings that were only lucky, and where that chose others."""
    tunings = {m: chosen["tuning"] for m, chosen in found.items() if _finals(chosen["tuning"])}
    if not tunings:
        return
    first = next(iter(tunings.values()))
    several = "s" if len(first["rerun_seeds"]) > 1 else ""
    seeds = ", ".join(str(seed) for seed in first["rerun_seeds"])
    yield (
        f"The best {first['rerun_top_k']} settings of every search were trained again with seed{several} {seeds}, and the best mean won;"
        " Best is the chosen settings' value in the search."
    )
    for model, tuning in tunings.items():
        finals = _finals(tuning)
        best = next(iter(finals))  # of the search
        if best != tuning["trial"]:
            yield (
                f"{label(model)}: the best trial of the search had {_series(finals[best])} by seed, the chosen one"
                f" {_series(finals[tuning['trial']])}."
            )


def _series(values: list[float | None]) -> str:
    return ", ".join("no end" if value is None else f"{value:.4f}" for value in values)


def _table(track: str, dataset: str, found: Mapping[str, Any]) -> Table:
    columns = [Column("Model", number=False)]
    columns += [
        Column(text)
        for text in ("Trials", "Failed", "Steps at most", "Untuned", "Median", "Best", "Seconds")
    ]
    seeds = 1 + max(len(chosen["tuning"].get("rerun_seeds", [])) for chosen in found.values())
    if seeds > 1:
        columns.insert(-1, Column(f"Mean of {seeds} seeds"))
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
        if seeds > 1:
            mean = _mean(tuning)
            cells.append(Cell(f"{mean:.4f}", value=mean) if known(mean) else DASH)
        cells.append(Cell(whole(tuning["train_s"]), value=tuning["train_s"]))
        rows.append([Cell(label(model), value=model), *cells, Cell(words)])
    first = next(iter(found.values()))["tuning"]
    machines = sorted({m for c in found.values() for m in c["tuning"].get("machines", [])})
    where = f", made on {' and '.join(machines)}" if machines else ""
    note = (
        f"Validation {first['metric']} at L = {first['seq_len']}, seed {first['seed']}; the test split was never ranked. Untuned: the first trial, with"
        " the settings before tuning. Every model had the same number of trials of the same number of steps; seconds are those of"
        f" training, informative only. The trials are records{where}."
    )
    notes = [note, *_of_finals(found)]
    caption = f"Tuning on {dataset}, track {track}: what the search chose and what it brought"
    return Table(f"tuning-{track}-{dataset}", caption, columns, rows, notes)
