"""Collect: the records of a grid in, tables out. Everything after this step reads only the tables.

Below `results/tables` every table of `TABLES` is a Parquet file for the next step and a CSV for people; beside them
`datasets.json` and `settings.json` (margin, environments).
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from ..config import publications
from ..core import store, study_files, table_files
from ..core.display import TABLES
from ..core.pool import Pool
from ..core.store import Entry
from . import (
    advice,
    answers,
    budgets,
    claims,
    conditions,
    costs,
    ladder,
    leaderboard,
    memory_lag,
    protocols,
    published_values,
    repeats,
    scaling_rows,
    tuning,
    verdicts,
    warnings,
)
from .tables import Tables
from .tidy import experiment_row
from .tidy_cost import efficiency_rows

PUBLISHED = publications.published_values
MAKERS = {  # of tables from tables; those below read those above
    "comparisons": verdicts.final,
    "cost_ratios": costs.ratios,
    "costs": costs.of_conditions,
    "ladder": ladder.rows,
    "equal_cost": ladder.equal_cost,
    "time_to_quality": ladder.time_to_quality,
    "memory": memory_lag.rows,
    "paper": lambda own: published_values.paper_rows(own, PUBLISHED()["paper"]),
    "claims": lambda own: claims.rows(own, publications.claims(), PUBLISHED()["paper"]),
    "published_values": lambda own: published_values.rows(own, PUBLISHED()["published_values"]),
    "budgets": budgets.rows,
    "origins": budgets.origins,
    "warnings": warnings.rows,
    "leaderboard": leaderboard.rows,
    "advice": advice.rows,
    "answers": answers.rows,
}


def collect(grid_path: Path, results: Path, out: Path, processes: int = 1) -> None:
    """Read exactly the records that the grid names and write their tables into `out`.

    processes: conditions that are computed at a time.

    Raises:
        UserError: a record is missing, damaged or made with other settings, or records cannot be averaged.
    """
    grid = store.read_grid(grid_path)
    entries = store.load(grid, Path(results), store.check(grid, Path(results), processes))
    datasets = {name: store.read_dataset(Path(results), name) for name in grid["datasets"]}
    report = {**grid["report"], "selected_settings": grid.get("selected_settings", {})}
    trials = study_files.trials(Path(results))
    write(build(entries, datasets, report, trials=trials, processes=processes), Path(out))


def build(
    entries: list[Entry], datasets: dict[str, Any], report: Mapping[str, Any], one_machine: bool = True, pooled: Pool | None = None,
    trials: Iterable[dict[str, Any]] = (), processes: int = 1,
) -> Tables:  # fmt: skip
    """Turn records into tables.

    report: as `grid.report`, with `selected_settings` of the configuration. one_machine: as in `summarise`. pooled: what the
    records were chosen from, where several machines made them. trials: rows of `study_files.trials`. processes: as of `collect`.
    """
    store.check_datasets(entries, datasets)
    compared, rungs = store.of_one_code(entries), report.get("ladder", {})
    climbed = ladder.climb(compared, rungs)
    compared = [entry for entry in compared if entry.job["track"] not in rungs]
    of_conditions = conditions.columns(compared, report["margin"], one_machine, processes)
    order = (report["focal_model"], *report["models"])
    measured = [entry for entry in compared if not entry.training]
    growth, crossovers = scaling_rows.summarise(measured, order, processes)
    rows = {
        "experiments": [experiment_row(entry) for entry in entries],
        **of_conditions,
        "efficiency": [r for e in measured for r in efficiency_rows(e, e.samples())],
        "scaling": growth,
        "crossovers": crossovers,
    }
    frames = {name: pd.DataFrame(values) for name, values in rows.items()}
    found = {
        "repeats": repeats.rows(pooled.repeats if pooled else ()),
        "machine_effect": repeats.effect(pooled) if pooled else (),
        "tuning": trials,
        "searches": tuning.searches(report.get("selected_settings", {})),
    }
    frames |= {name: pd.DataFrame(own, columns=TABLES[name]) for name, own in found.items()}
    both = protocols.summarise(datasets, frames["summary"], frames["comparisons"])
    frames |= dict(zip(("protocols", "agreement"), both, strict=True))
    if measured:
        constant = scaling_rows.constants(measured)
        frames["efficiency"]["fixed"] = frames["efficiency"].path.map(constant)
    settings = {**report, "environments": _environments(entries)}
    tables = Tables(frames, datasets, settings, climbed)
    for name, make in MAKERS.items():
        frames[name] = make(tables)
    return tables


def write(tables: Tables, out: Path) -> None:
    """Write all tables into a folder."""
    table_files.write(out, tables.frames, tables.datasets, tables.settings)


def read(folder: Path) -> Tables:
    """Read what `write` wrote; raises as `table_files.read`."""
    return Tables(*table_files.read(Path(folder)))


def _environments(entries: list[Entry]) -> list[dict[str, Any]]:
    """Distinct environments with the number of their records, in order of first use."""
    counts = Counter(json.dumps(e.environment, sort_keys=True) for e in entries)
    return [{**json.loads(text), "records": n} for text, n in counts.items()]
