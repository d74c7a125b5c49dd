"""The answer: verdicts and sentences as whole literals with their slots filled, and the leaderboard of every view as a table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import pandas as pd

from ..analysis.collect import Tables
from ..analysis.warnings import CODES
from ..core.yaml_files import read
from . import format as fmt
from .format import DASH, known
from .tables import Cell, Column, Table

TEMPLATE = Path(__file__).resolve().parents[2] / "report" / "template"
VERDICTS = ("better", "faster", "smaller")
BELOW = {"better": "conditions", "faster": "inference"}  # in small letters below a verdict
SENTENCES = ("quality", "others", "step", "crossing", "memory", "caution")
DIMENSIONS = {"dataset": "dataset", "length": "seq_len", "track": "track", "seen": "seen_items", "machine": "machine_name"}  # fmt: skip
NOT_MEASURED = "not measured"


# --- verdicts and sentences ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Answer:
    """A place of the page, which variant holds there, and its literal with the slots filled."""

    place: str
    variant: str
    text: str
    question: str = ""
    about: str = ""
    tone: str = ""


@lru_cache
def literals() -> dict[str, Any]:
    """The literals of sentences.yaml."""
    return read(TEMPLATE / "sentences.yaml")


def question(tables: Tables) -> str:
    """The question of the page."""
    trained = pd.concat([tables.frames["leaderboard"], pd.DataFrame({"model": [], "trained": []})])
    models = tables.ordered(trained.model[trained.trained.eq(True)])
    others = [fmt.label(model) for model in models if model != tables.focal_model]
    return literals()["question"].format(focal=fmt.label(tables.focal_model), comparators=fmt.listed(others) if others else "other models")  # fmt: skip


def verdicts(tables: Tables) -> list[Answer]:
    """The verdicts of the first screen, in its order."""
    below = {a.place: a.text for a in _answers(tables, tuple(BELOW.values()))}
    found = _answers(tables, VERDICTS)
    return [replace(a, about=below.get(BELOW.get(a.place, "")) or a.about) for a in found]


def sentences(tables: Tables) -> list[Answer]:
    """At most five sentences, in their order; a place with nothing to say is left out."""
    said = [a for a in _answers(tables, SENTENCES) if a.text]
    return [a for a in said if len(said) <= 5 or a.place != "others"]


def _answers(tables: Tables, places: tuple[str, ...]) -> Iterator[Answer]:
    rows = tables.frames["answers"]
    machines = fmt.machine_names(tables.settings)
    for place in places:
        for row in rows[rows.place == place].to_dict("records") if len(rows) else ():
            yield said(row, machines)


def said(row: dict[str, Any], machines: dict[str, str]) -> Answer:
    """One row of the table of answers in words."""
    words, key = literals(), f"{row['place']}.{row['variant']}"
    slots = {
        "focal": fmt.label(row["focal"]),
        "comparator": fmt.label(row["comparator"]) if known(row["comparator"]) else "",
        "dataset": fmt.dataset_name(row["dataset"]) if known(row["dataset"]) else "",
        "length": fmt.count(row["seq_len"]),
        "machine": machines.get(row["machine_name"], ""),
        "machine_b": machines.get(row["machine_b"], ""),
        **{key: row[key] for key in ("track", "basis", "basis_b")},
        **{s: fmt.slot(row[s], row[f"{s}_as"]) for s in "abc" if known(row[f"{s}_as"])},
    }
    head = words["verdicts"].get(row["place"], {})
    return Answer(
        row["place"],
        row["variant"],
        words["answers"][key].format(**slots),
        head.get("question", ""),
        (head.get("about", "") if slots["comparator"] or not head else words["verdicts"]["alone"])
        .format(**slots)
        .removesuffix(", "),
        words["tones"].get(key, ""),
    )


# --- leaderboard --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class BoardView:
    """One view of the leaderboard: the value of every chip, the kind of device, its rows as in the table, and what to take."""

    dataset: str
    length: int
    track: str
    seen: str
    machine: str
    kind: str
    rows: pd.DataFrame
    advice: str

    @property
    def lacks(self) -> str:
        """What its scatter would need and was not measured."""
        rows = self.rows[self.rows.ndcg.notna()]
        return "quality" if rows.empty else "cost" if rows.train_s.isna().all() else ""

    @property
    def state(self) -> dict[str, str]:
        """Chip -> value, as the page's address has it."""
        return {chip: str(getattr(self, chip)) for chip in DIMENSIONS}

    def is_of(self, key: Mapping[str, Any]) -> bool:
        """Whether a drawing's key names this view."""
        return {chip: str(value) for chip, value in key.items()} == self.state


# Key of the column, its head, what it means, and whether more is better.
COLUMNS = (
    ("model", "Model", "", None),
    ("ndcg", "NDCG@10", "Normalised discounted cumulative gain at 10, with its 95 % interval; higher is better", True),
    ("hr", "HR@10", "Hit rate at 10; higher is better", True),
    ("epoch", "Epoch", "Time of one pass over the training targets; lower is better", False),
    ("inference", "Inference per 1,000 users", "Time to rank all items for 1,000 users; lower is better", False),
    ("memory", "GPU memory allocated", "Peak memory allocated by tensors while training; lower is better", False),
    ("quality", "Time to quality", "Training time of the cheapest budget whose final validation reaches 95 % of the best one of this condition; lower is better", False),
)  # fmt: skip
# Key of a column -> its column of the table, the unit of that, and where its mark stands.
COSTS = {
    "epoch": ("epoch_s", "s", "epoch_s_best"),
    "inference": ("inference_s", "s", "inference_s_best"),
    "memory": ("memory_bytes", "bytes", "memory_best"),
    "quality": ("quality_s", "s", "quality_s_best"),
}


def views(tables: Tables) -> list[BoardView]:
    """Every view of the leaderboard in which anything was measured, the default one first."""
    frame = tables.frames["leaderboard"]
    if frame.empty:
        return []
    frame = frame.astype(object)
    frame = frame.assign(machine_name=frame.machine_name.fillna(""))
    found, advice = [], _advice(tables)
    for key, rows in frame.groupby([*DIMENSIONS.values()], sort=False):
        dataset, length, *rest = key
        if rows[["ndcg", *(column for column, *_ in COSTS.values())]].isna().all(axis=None):
            continue
        kind = rows.device_kind.fillna("").iloc[0]
        rows = rows.sort_values("ndcg", ascending=False, kind="stable")
        said = advice.get(key, literals()["advice"]["unmeasured"])
        found.append(BoardView(dataset, int(length), *rest, kind, rows, said))
    default = default_view(tables, found) if found else None
    return sorted(found, key=lambda view: view is not default)


def _advice(tables: Tables) -> dict[tuple, str]:
    """What to take, by view."""
    said = {}
    for row in tables.frames["advice"].to_dict("records"):
        model = row["model"] if known(row["model"]) else row["best"]
        said[tuple(row[key] for key in DIMENSIONS.values())] = literals()["advice"][row["variant"]].format(
            model=fmt.label(model), other=fmt.label(row["other"]) if known(row["other"]) else "",
            a=f"{fmt.significant(row['inference_s'])} s", b=f"{fmt.significant(row['other_s'])} s", loss=fmt.percent(row["loss_high"]),
        )  # fmt: skip
    return said


def default_view(tables: Tables, found: list[BoardView]) -> BoardView:
    """The view that the answers are about."""
    answers = tables.frames["answers"]
    about = answers[answers.place == "quality"] if len(answers) else answers
    wanted = about.to_dict("records")[0] if len(about) else {}

    def agrees(view: BoardView) -> tuple:
        own = (wanted.get(DIMENSIONS[chip]) == getattr(view, chip) for chip in DIMENSIONS)
        return sum(own), view.seen == "kept"

    return max(found, key=agrees)


def columns_of(found: list[BoardView]) -> list[tuple]:
    """The columns of these views: no time to quality where no budgets were compared."""
    climbed = any(view.rows.reached.notna().any() for view in found)
    return [c for c in COLUMNS if c[0] != "quality" or climbed]


def leaderboard(view: BoardView) -> Table:
    """The table of one view, best first; no column of memory on a CPU."""
    columns = [c for c in columns_of([view]) if c[0] != "memory" or view.kind == "cuda"]
    cells = cells_of(view)
    table = Table(
        "leaderboard",
        f"{fmt.condition(view.dataset, view.length)}, track {view.track}, seen items {view.seen}",
        [Column(text, number=key != "model", title=title) for key, text, title, _ in columns],
        [[row[key] for key, *_ in columns] for row in cells],
    )
    notes = [f"Take {view.advice}"] if view.rows.advised.eq(True).any() else []
    notes += [f"Bold: {marks(table)}."] if marks(table) else []
    return replace(table, notes=notes)


def marks(table: Table) -> str:
    """What a mark in a leaderboard says; nothing where none stands."""
    marked = any(cell.mark == "best" for row in table.rows for cell in row)
    return literals()["marks"] if marked else ""


def cells_of(view: BoardView) -> list[dict[str, Cell]]:
    """The cells of a view by row and key of the column."""
    rows = view.rows
    digits = fmt.decimals((rows.ndcg_high - rows.ndcg_low) / 2)
    units = {key: fmt.unit_for(unit, rows[column]) for key, (column, unit, _) in COSTS.items()}
    return [
        {
            "model": Cell(fmt.label(row.model), "take" * (row.advised is True), row.model, "focal" if row.focal else ""),
            "ndcg": _quality(row.ndcg, digits, fmt.interval(row.ndcg_low, row.ndcg_high, digits), row.ndcg_best),
            "hr": _quality(row.hr, digits),
            **{key: _cost(row, key, *units[key]) for key in COSTS},
        }
        for row in rows.astype(object).itertuples()
    ]  # fmt: skip


def _quality(value: float, digits: int, detail: str = "", best: object = False) -> Cell:
    if not known(value):
        return Cell(NOT_MEASURED, mark="muted")
    return Cell(fmt.fixed(value, digits), detail, value, "best" if best is True else "")


def _cost(row: Any, key: str, factor: float, unit: str) -> Cell:
    """One cost, in the unit of its column; what is missing says why."""
    column, _, mark = COSTS[key]
    value = getattr(row, column)
    if not known(value):
        if not row.trained:
            return Cell(DASH, mark="muted")
        if key == "quality" and row.reached is False:
            return Cell("not reached", mark="muted")
        return Cell(NOT_MEASURED, mark="muted")
    low, high = (getattr(row, f"{column}_{end}", None) for end in ("low", "high"))
    synthetic = row.cost_source == "synthetic"
    said = [f"quartiles {fmt.significant(low / factor)} to {fmt.significant(high / factor)} {unit}"] if known(low) else []  # fmt: skip
    if synthetic:
        said.append("scaled from synthetic full-length batches")
    text = f"{'≈ ' * synthetic}{fmt.significant(value / factor)} {unit}"
    return Cell(text, value=value, mark="best" if getattr(row, mark) is True else "", title="; ".join(said))  # fmt: skip


def about_data(tables: Tables) -> list[tuple[str, str]]:
    """What the warnings of every dataset itself say: its name, and a line of words."""
    rows = tables.frames["warnings"]
    rows = rows[rows.dataset.notna() & rows.seq_len.isna()] if len(rows) else rows
    found: dict[str, list[str]] = {}
    for row in rows.to_dict("records"):
        said = fmt.warning(row["code"])
        if row["code"] == "ties":
            unknown = "Whether ties in time decide test items is unknown"
            said = f"{said} ({fmt.percent(row['value'])})" if known(row["value"]) else unknown
        found.setdefault(row["dataset"], []).append(said[0].lower() + said[1:])
    return [(name, "; ".join(dict.fromkeys(said))) for name, said in found.items()]


def warnings_of(row: Any) -> list[str]:
    """What the warnings of a row of the leaderboard say, notes left out."""
    codes = row.warnings.split() if known(row.warnings) else ()
    return [fmt.warning(code) for code in codes if CODES[code] != "note"]
