"""What the trainings cost to run: seconds of one process by dataset and model, and where each of them stopped.

Times of a training are informative (other work may have run beside it, or it was paused); published ones are measured.
"""

from __future__ import annotations

import pandas as pd

from ..analysis.collect import Tables
from .findings import condition_name, in_order, pick, unique
from .tables import Cell, Column, Table, label, whole

HOUR = 3600.0


def trainings(tables: Tables) -> pd.DataFrame:
    """Rows of `experiments` of models that were trained and came to their end."""
    frame = tables.frames["experiments"]
    return pick(frame, kind="train", status="ok", trained=True) if len(frame) else frame


def machines(tables: Tables, **where: object) -> set[str]:
    """Names of the machines that made the trainings with these values."""
    rows = pick(trainings(tables), **where)
    return set(rows.machine_name) if len(rows) else set()


def tracks(tables: Tables) -> list[str]:
    """Tracks in which something was trained."""
    return in_order(track for (track,) in unique(trainings(tables), "track"))


def table(tables: Tables, track: str) -> Table:
    """Per condition and model: trainings, where they stopped, and the hours that training and validating took."""
    rows = pick(trainings(tables), track=track)
    columns = [Column("Model", number=False), Column("Trainings")]
    columns += [Column(text, "Steps, mean") for text in ("Run", "Chosen")]
    columns += [Column("Epochs, mean"), Column("Ended by the budget")]
    columns += [
        Column(text, "Hours of one process") for text in ("Training", "Validating and testing")
    ]
    body: list[list[Cell]] = []
    for dataset, seq_len in unique(rows.sort_values(["dataset", "seq_len"]), "dataset", "seq_len"):
        part = pick(rows, dataset=dataset, seq_len=seq_len)
        body.append([Cell(condition_name(dataset, seq_len))])
        body += [
            _row(label(model), pick(part, model=model)) for model in tables.ordered(part.model)
        ]
    if len(rows):
        body.append([Cell("All of the track")])
        body += [
            _row(label(model), pick(rows, model=model)) for model in tables.ordered(rows.model)
        ]
    notes = [
        "Chosen: the step that validated best, whose weights were tested. Ended by the budget: trainings that the budget of"
        " steps ended before their patience did; more steps might have helped. Hours are informative: other work may have run beside a training."
    ]
    return Table(
        f"spent-{track}", f"What the trainings of track {track} took", columns, body, notes
    )


def _row(name: str, own: pd.DataFrame) -> list[Cell]:
    rising = int(own.still_improving.sum())
    cells = [Cell(name), Cell(whole(len(own)), value=len(own))]
    cells += [Cell(whole(own[key].mean()), value=own[key].mean()) for key in ("steps", "best_step")]
    cells.append(Cell(f"{own.epochs.mean():.1f}", value=own.epochs.mean()))
    cells.append(Cell(f"{rising} of {len(own)}", value=rising, mark="bad" if rising else ""))
    return cells + [_hours(own[key]) for key in ("train_s", "evaluate_s")]


def _hours(seconds: pd.Series) -> Cell:
    total = seconds.sum() / HOUR
    return Cell(f"{total:.2f}", value=total)
