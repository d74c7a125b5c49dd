"""Publish: the small records of a grid are copied to `results/reference/<machine>/` and tables are made from the copies.

Weights stay behind. Records of several runs accumulate; one is replaced only by a record of the same job.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from ..analysis import collect
from ..analysis.collect import Tables
from ..config import shipped
from ..core import pool, store, study_files
from ..core.disk import write_atomically
from ..core.display import TABLES
from ..core.errors import UserError
from ..core.store import Entry
from . import answer, style, views
from . import readme as readmes
from .page import drawn, html, render

EFFICIENCY = (
    *("dataset", "model", "track", "device", "backend", "precision", "threads", "seq_len"),
    *("batch_size", "phase", "metric", "median", "iqr", "n"),
)
# Tables that are published as CSV: of a machine, and of all machines together. None: all columns, and no file without rows.
OF_MACHINE = {
    "effectiveness": ("summary", TABLES["summary"]),
    "efficiency": ("efficiency", EFFICIENCY),
    **{name: (name, None) for name in ("scaling", "crossovers", "protocols", "agreement", "tuning")},
}  # fmt: skip
OF_ALL = {
    "effectiveness": ("summary", TABLES["summary"]),
    **{name: (name, None) for name in ("answers", "leaderboard", "advice", "comparisons", "ladder", "equal_cost", "time_to_quality", "claims", "paper",
                                       "published_values", "warnings", "budgets", "origins", "repeats", "machine_effect", "searches")},
}  # fmt: skip
PAGE = Path("docs/report")  # beside the README, with the scatter of the default view
DIGITS = "%.6g"  # more than any of these numbers supports
BEGIN, END = "<!-- results:begin -->", "<!-- results:end -->"


def publish(grid_path: Path, results: Path) -> Path:
    """Copy the grid's records and facts of datasets, remake the tables there, and return the machine's folder.

    Raises:
        UserError: the grid's records come from several machines, or do not fit what is published; nothing changed.
    """
    results = Path(results)
    asked = store.read_grid(grid_path)
    entries = store.load(asked, results)
    folder = results / "reference" / store.machine_of(entries)
    for entry in entries:
        store.check_replacement(entry, folder / entry.path)
    for name in asked["datasets"]:
        store.check_dataset(store.read_dataset(results, name), folder, name)
    with store.staged(folder) as new:
        for entry in entries:
            store.copy_record(results / entry.path, new / entry.path)
        for name in asked["datasets"]:
            there, here = (root / "data" / name for root in (results, new))
            store.copy_files(there, here, ("users.npz", "dataset.json"))
        tables(new)
    return folder


def check_readme(readme: Path | None) -> None:
    """Refuse a README that could not be rewritten before anything else is written."""
    if readme is None:
        return
    try:
        text = readme.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "is no UTF-8"
        raise UserError(f"--readme {readme}: {why}; name a README with result tables") from None
    if END not in text.partition(BEGIN)[2]:
        raise UserError(f"{readme}: needs the lines {BEGIN} and {END} around its result tables")


def tables(folder: Path) -> None:
    """Make the CSV tables and `README.md` of a machine's folder from the records in it.

    Raises:
        UserError: the records differ in what must be equal, or a file is damaged.
    """
    folder = Path(folder)
    entries, trials = store.published(folder), list(study_files.trials(folder))
    if not entries and (trials or (folder / "tuning.csv").exists()):  # tuned here, nothing else
        frame = pd.DataFrame(trials, columns=TABLES["tuning"])
        _save({"tuning": frame}, {"tuning": OF_MACHINE["tuning"]}, folder)
        return
    store.machine_of(entries)  # one, or refused
    content = collect.build(entries, _datasets(folder), shipped.report(), trials=trials)
    _save(content.frames, OF_MACHINE, folder)
    text = readmes.of_machine(folder.name, content)
    write_atomically(folder / "README.md", text)


def together(reference: Path, readme: Path | None = None) -> None:
    """Make the tables of all machines in `reference`; with a README the part between its markers and the page beside it too.

    Raises:
        UserError: the README has no markers, or the records of a machine differ in what must be equal.
    """
    reference = Path(reference)
    check_readme(readme)
    machines = _machines(reference)
    content = _pooled(machines) if machines else None
    if content:
        _save(content.frames, OF_ALL, reference)
    if readme:
        body = "No results are published yet.\n"
        if content:
            link = Path(os.path.relpath(reference.resolve(), readme.resolve().parent))
            body = readmes.block(content, _page(content, readme.parent / PAGE), PAGE, link)
        before, _, rest = readme.read_text(encoding="utf-8").partition(BEGIN)
        after = rest.partition(END)[2]
        write_atomically(readme, f"{before}{BEGIN}\n\n{body}\n{END}{after}")


def _page(content: Tables, folder: Path) -> str | None:
    """Write the published page, one file, and the scatter of its default view; the latter's name, None if there is none."""
    drawings, default = drawn(content), next(iter(answer.views(content)), None)
    page = html(content, drawings, dict(style.pictures(drawings)), views.tables(content))
    write_atomically(folder / "index.html", page)
    for kind in ("svg", "csv"):  # or that of an earlier run would stay
        (folder / f"scatter.{kind}").unlink(missing_ok=True)
    for drawing in drawings:
        if default and drawing.section == "answer" and default.is_of(drawing.key):
            style.save(replace(drawing, name="scatter"), folder, ["svg"])
            return "scatter.svg"
    return None


def _save(
    frames: Mapping[str, pd.DataFrame], which: Mapping[str, tuple[str, Sequence[str] | None]], folder: Path
) -> None:  # fmt: skip
    """Write tables as CSV; one without rows is removed, or those of an earlier run would stay."""
    for name, (source, columns) in which.items():
        frame = frames[source]
        if source == "efficiency" and len(frame):  # why a value is missing, its record says
            frame = frame.dropna(subset="median")
        if columns is None and frame.empty:
            (folder / f"{name}.csv").unlink(missing_ok=True)
            continue
        frame = frame if columns is None else frame.reindex(columns=list(columns))
        text = frame.to_csv(index=False, float_format=DIGITS, lineterminator="\n")
        write_atomically(folder / f"{name}.csv", text)


def page(folder: Path, out: Path, processes: int = 2) -> Path:
    """Render the page of all records in a folder, published or of one's own, and return its path; nothing is trained.

    processes: conditions, and figures, that are worked on at a time.

    Raises:
        UserError: no record is there, or the records of a machine differ in what must be equal.
    """
    return render(_of_records(Path(folder), processes), out, processes)


def tables_of(folder: Path) -> Tables:
    """The tables that a folder holds, in itself or below it, or those of its records.

    Raises:
        UserError: it holds neither, or a table is damaged.
    """
    for found in (folder, folder / "tables"):
        if (found / "settings.json").exists():
            return collect.read(found)
    return _of_records(folder)


def _of_records(folder: Path, processes: int = 1) -> Tables:
    machines = _machines(folder) if folder.is_dir() else {}
    if not machines:
        raise UserError(f"{folder}: holds no records; name results, or results/reference")
    return _pooled(machines, processes)


def _pooled(machines: dict[str, list[Entry]], processes: int = 1) -> Tables:
    """The tables of all machines' records together. settings: also `left_out`, as the pool has it."""
    facts = {name: _datasets(entries[0].results) for name, entries in machines.items()}
    found = pool.pool(machines, facts, list(shipped.chosen()), shipped.defaults())
    trials = [
        row for entries in machines.values() for row in study_files.trials(entries[0].results)
    ]
    content = collect.build(
        found.entries, found.datasets, shipped.report(), one_machine=False, pooled=found, trials=trials,
        processes=processes,
    )  # fmt: skip
    content.settings["left_out"] = found.left_out
    return content


def _machines(reference: Path) -> dict[str, list[Entry]]:
    """The records of every machine that published some, their paths below `reference`; GPUs first."""
    if (reference / "runs").is_dir():  # a results folder: what one machine made
        own = store.published(reference)
        return {store.machine_of(own): own} if own else {}
    store.recover(reference)
    found = {
        folder.name: [
            replace(entry, root=reference, path=f"{folder.name}/{entry.path}")
            for entry in store.published(folder)
        ]
        for folder in sorted(reference.glob("*/"))
    }
    kinds = {n: es[0].record["environment"]["device_kind"] for n, es in found.items() if es}
    return {name: found[name] for name in sorted(kinds, key=lambda name: kinds[name] == "cpu")}


def _datasets(folder: Path) -> dict[str, Any]:
    names = sorted(path.parent.name for path in (folder / "data").glob("*/dataset.json"))
    return {name: store.read_dataset(folder, name) for name in names}
