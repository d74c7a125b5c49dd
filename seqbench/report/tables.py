"""Tables for people: cells with text, a header of two levels, and writers for CSV, Markdown and LaTeX."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path

from ..core.disk import write_atomically


@dataclass(frozen=True)
class Cell:
    """One cell: its text, a smaller second line, the number behind it, its mark, and what a pointer shows over it.

    mark: `best`, `good`, `bad`, `open`, `level`, `muted` or empty.
    """

    text: str
    detail: str = ""
    value: float | str | None = None
    mark: str = ""
    title: str = ""


@dataclass(frozen=True)
class Column:
    """A column's header, the header over it, whether it holds numbers, and what a pointer shows over it."""

    text: str
    over: str = ""
    number: bool = True
    title: str = ""


@dataclass(frozen=True)
class Table:
    """Rows of cells; a row of one cell is a heading over the rows that follow it. name: of its files."""

    name: str
    caption: str
    columns: list[Column]
    rows: list[list[Cell]]
    notes: list[str] = field(default_factory=list)


def spans(columns: Sequence[Column]) -> list[tuple[str, int]]:
    """Upper header of a table: runs of equal text with their lengths."""
    return [(over, len(list(run))) for over, run in groupby(column.over for column in columns)]


def save(table: Table, folder: Path) -> None:
    """Write a table as CSV (numbers unrounded), Markdown and LaTeX."""
    for kind, writer in WRITERS.items():
        write_atomically(folder / f"{table.name}.{kind}", writer(table), flush=False)


def _heads(table: Table) -> list[str]:
    return [f"{c.over}: {c.text}" if c.over else c.text for c in table.columns]


def is_heading(table: Table, row: list[Cell]) -> bool:
    """Whether a row is a heading over the rows that follow it."""
    return len(row) == 1 and len(table.columns) > 1


def csv_text(table: Table) -> str:
    """One header line; the headings of groups become a first column."""
    group, rows = [], []
    for row in table.rows:
        if is_heading(table, row):
            group = [row[0].text]
        else:
            rows.append([*group, *(c.text if c.value is None else c.value for c in row)])
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*(["group"] if group else []), *_heads(table)])
    writer.writerows(rows)
    return text.getvalue()


def markdown(table: Table) -> str:
    """A table as Markdown; best in bold."""
    lines = [_heads(table), ["--:" if column.number else "---" for column in table.columns]]
    for row in table.rows:
        texts = [_joined(cell, "**{}**").replace("|", "\\|") for cell in row]
        if is_heading(table, row):
            texts = [f"**{texts[0]}**", *[""] * (len(table.columns) - 1)]
        lines.append(texts)
    body = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    return f"{table.caption}\n\n{body}\n" + "".join(f"\n{note}\n" for note in table.notes)


def _joined(cell: Cell, bold: str) -> str:
    text = bold.format(cell.text) if cell.text and cell.mark == "best" else cell.text
    detail = cell.detail if cell.detail.startswith("[") or not cell.detail else f"({cell.detail})"
    return f"{text} {detail}".strip()


def latex(table: Table) -> str:
    """A table as LaTeX (package booktabs); best in bold."""
    align = "".join("r" if column.number else "l" for column in table.columns)
    lines = [" & ".join(map(_escape, _heads(table))) + r" \\", r"\midrule"]
    for row in table.rows:
        escaped = [Cell(_escape(c.text), _escape(c.detail), mark=c.mark) for c in row]
        cells = [_joined(cell, r"\textbf{{{}}}") for cell in escaped]
        if is_heading(table, row):
            cells = [rf"\multicolumn{{{len(table.columns)}}}{{l}}{{\textit{{{cells[0]}}}}}"]
        if cells[0].startswith("["):
            cells[0] = "{}" + cells[0]  # or the row before would take it for its spacing
        lines.append(" & ".join(cells) + r" \\")
    body = "\n".join(lines)
    comments = "".join(f"% {line}\n" for note in table.notes for line in note.splitlines())
    return (f"% {table.caption}\n\\begin{{tabular}}{{{align}}}\n\\toprule\n{body}\n\\bottomrule\n\\end{{tabular}}\n" + comments)  # fmt: skip


_LATEX = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "±": r"$\pm$", "×": r"$\times$", "–": "--", "−": "$-$",
    "≤": r"$\leq$", "≥": r"$\geq$", "<": r"$<$", ">": r"$>$", "°": r"\textdegree{}", "·": r"$\cdot$", "→": r"$\rightarrow$", "↓": r"$\downarrow$", "↑": r"$\uparrow$", "≈": r"$\approx$",
    "▲": r"$\blacktriangle$", "▼": r"$\blacktriangledown$", "✓": r"$\checkmark$", "✗": r"$\times$",
}  # fmt: skip


def _escape(text: str) -> str:
    """Text as LaTeX sets it; the triangles and the tick are those of amssymb."""
    return "".join(_LATEX.get(char, char) for char in text)


WRITERS = {"csv": csv_text, "md": markdown, "tex": latex}
