"""The page: tidy tables in, one self-contained file out, with its figures and tables as files beside it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2

from ..analysis.tables import Tables, pick, trainings
from ..core.disk import write_atomically
from ..core.errors import UserError
from . import answer, figures, style, views
from . import format as fmt
from .answer import DIMENSIONS, TEMPLATE, BoardView
from .figures_cost import COMMON
from .style import Drawing
from .tables import Table, is_heading, save, spans

# Parts below the answer: its name in the address, its short name, its heading, and whether it is folded.
SECTIONS = (
    ("take", "What to take", "What to take", False),
    ("paper", "The paper", "The paper, cell by cell", False),
    ("lengths", "Sequence length", "Cost against sequence length", False),
    ("where", "Where it wins", "Where it wins", False),
    ("training", "Training", "What more training buys", False),
    ("more", "More", "More: breakdowns, ceilings, search, published values", True),
    ("provenance", "Provenance", "Machines, data, runs, warnings", True),
)
LEGENDS = {"dataset": "Data", "length": "L", "track": "Track", "seen": "Seen items", "machine": "Cost on"}  # fmt: skip


def render(content: Tables, out: Path, processes: int = 2) -> Path:
    """Write `index.html`, `figures/` and `tables/` into `out`; return the path of the page. processes: figures at a time."""
    drawings = drawn(content)
    pictures = style.pictures(drawings, out / "figures", processes)  # goes on beside what follows
    shown = views.tables(content)
    for group in shown.values():
        for table in group:
            save(table, out / "tables")
    for view in answer.views(content)[:1]:
        save(answer.leaderboard(view), out / "tables")
    page = out / "index.html"
    write_atomically(page, html(content, drawings, dict(pictures), shown, links=True), flush=False)
    return page


def drawn(content: Tables) -> list[Drawing]:
    """The figures of the page.

    Raises:
        UserError: one stands in no section of the page, where nobody would see it.
    """
    drawings, places = list(figures.drawn(content)), ("answer", *(name for name, *_ in SECTIONS))
    for drawing in drawings:
        if drawing.section not in places:
            raise UserError(f"figure {drawing.name}: section {drawing.section!r} is none of {', '.join(places)}")  # fmt: skip
    return drawings


def html(
    content: Tables, drawings: list[Drawing], pictures: Mapping[str, str], shown: Mapping[str, list[Table]], links: bool = False
) -> str:  # fmt: skip
    """The page as text. pictures: by name of the drawing. links: to files of its figures and tables, where they lie beside it."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATE), autoescape=True, trim_blocks=True, lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )  # fmt: skip
    found = answer.views(content)
    default = found[0] if found else None
    columns, parts = answer.columns_of(found), [section for section, *_ in SECTIONS]

    scatters = [drawing for drawing in drawings if drawing.section == "answer" and drawing.shown]
    bare = [(v, v.lacks or "left") for v in found if v.lacks or not any(map(v.is_of, (d.key for d in scatters)))]  # fmt: skip

    def shown_at_first(drawing: Drawing) -> bool:
        return default is not None and default.is_of(drawing.key)

    environment.globals.update(
        spans=spans, is_heading=is_heading, shown_at_first=shown_at_first,
        inline=lambda drawing: jinja2.filters.Markup(pictures[drawing.name]),
    )  # fmt: skip
    return environment.get_template("index.html.j2").render(
        question=answer.question(content),
        as_of=as_of(content),
        verdicts=answer.verdicts(content),
        sentences=answer.sentences(content),
        chips=chips(content, found),
        terms=[
            f"{t}: {said}"
            for t, said in answer.literals()["terms"].items()
            if t in {"L", *(v.track for v in found)}
        ],
        scaled_from=scaled_from(content),
        columns=columns,
        default=default,
        **{key: answer.literals()[key] for key in ("absent", "scatter")},
        take=answer.literals()["take"].format(margin=fmt.percent(content.settings["margin"])),
        marks=next(
            (said for view in found if (said := answer.marks(answer.leaderboard(view)))), ""
        ),
        board=[(view, board_rows(view, [key for key, *_ in columns])) for view in found],
        dataset_name=fmt.dataset_name,
        inner={"more": inner(shown.get("more", []))} if shown.get("more") else {},
        about_data=answer.about_data(content),
        sections=SECTIONS,
        drawings={
            s: [d for d in drawings if d.section == s and d.shown] for s in ("answer", *parts)
        },
        bare=bare,
        left={s: left(drawings, s) for s in parts},
        tables={section: shown.get(section, []) for section in parts},
        left_out=content.settings.get("left_out", []),
        links=links,
        style=_text("style.css"),
        script=_text("report.js"),
    )


def left(drawings: list[Drawing], section: str) -> str:
    """How many figures of a section are not drawn, in words; nothing where all are."""
    own = [d.shown for d in drawings if d.section == section]
    said = answer.literals()["capped"].format(drawn=fmt.count(sum(own)), figures=fmt.count(len(own)))  # fmt: skip
    return "" if all(own) else said


def inner(tables: list[Table]) -> list[tuple[str, str]]:
    """Links to the tables of a part: the first of each kind, by what its caption says first."""
    found: dict[str, str] = {}
    for table in tables:
        found.setdefault(table.caption.partition(", ")[0], table.name)
    return [(name, text) for text, name in found.items()]


def scaled_from(content: Tables) -> list[str]:
    """The batches of GPUs that costs marked as scaled were measured on; none where nothing is scaled."""
    board, curves = (content.frames[name] for name in ("leaderboard", "scaling"))
    scaled = pick(board, cost_source="synthetic", device_kind="cuda") if len(board) else board
    own = pick(curves, curve=COMMON, device_kind="cuda") if len(scaled) else scaled
    return list(dict.fromkeys(own.fixed)) if len(own) else []


def as_of(content: Tables) -> str:
    """What the page rests on."""
    rows = content.frames["experiments"]
    machines = fmt.listed(fmt.machine_names(content.settings).values())
    ended, runs = pick(rows, status="ok"), pick(pick(rows, status="ok"), kind="train")
    counts = {
        "training": len(trainings(rows)),
        "measurement": len(pick(ended, kind="measure")),
        "baseline": len(pick(runs, trained=False)),
        "failed job": len(rows) - len(ended),
    }
    said = [fmt.plural(n, word) for word, n in counts.items() if n or word == "training"]
    return f"{fmt.listed(said)} on {machines}"


def chips(content: Tables, found: list[BoardView]) -> list[dict[str, Any]]:
    """The chips of every dimension: its name, its legend, and value and text of each choice, in the order of the tables."""
    machines = fmt.machine_names(content.settings)
    said = {"dataset": fmt.dataset_name, "length": lambda value: fmt.count(int(value)), "machine": lambda value: machines.get(value, value or "none")}  # fmt: skip
    rows = content.frames["leaderboard"]
    order = {chip: [str(v) for v in rows[column].fillna("").drop_duplicates()] if len(rows) else [] for chip, column in DIMENSIONS.items()}  # fmt: skip
    order["length"].sort(key=int)
    order["seen"].sort(reverse=True)  # kept, excluded
    order["machine"].sort(key=lambda name: name != found[0].machine)  # that of the answers first
    return [
        {"name": chip, "legend": LEGENDS[chip], "choices": [(v, said.get(chip, str)(v)) for v in order[chip]]}
        for chip in DIMENSIONS if found
    ]  # fmt: skip


def board_rows(view: BoardView, keys: list[str]) -> list[tuple[Any, dict[str, Any], list[str]]]:
    """Every model of a view: its row, its cells of these columns and what its warnings say."""
    rows = view.rows.astype(object).itertuples()
    both = zip(rows, answer.cells_of(view), strict=True)
    return [(row, {key: cells[key] for key in keys}, answer.warnings_of(row)) for row, cells in both]  # fmt: skip


def _text(file: str) -> str:
    return (TEMPLATE / file).read_text(encoding="utf-8").strip()
