"""Tables for people: cells with text, a header of two levels, and writers for CSV, Markdown and LaTeX.

Also how numbers are written: with no more digits than their uncertainty supports, and in a unit that fits the column.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..config.model_files import shown
from ..core.display import QUANTITIES

UNITS = {
    "s": ((1e-3, "ms"), (1, "s"), (60, "min"), (3600, "h")),
    "bytes": ((2**10, "KiB"), (2**20, "MiB"), (2**30, "GiB")),
    "1/s": ((1, "1/s"), (1e3, "1000/s"), (1e6, "million/s")),
    "J": ((1, "J"), (1e3, "kJ")),
    "FLOP": ((1e6, "MFLOP"), (1e9, "GFLOP"), (1e12, "TFLOP")),
    "FLOP/s": ((1e9, "GFLOP/s"), (1e12, "TFLOP/s")),
    "bytes/s": ((1e9, "GB/s"), (1e12, "TB/s")),
}


@dataclass(frozen=True)
class Cell:
    """One cell: its text, a smaller second line, the number behind it, and how it is marked.

    mark: `best` (established), `lead` (highest, not established), `bad`, `muted` or empty.
    """

    text: str
    detail: str = ""
    value: float | str | None = None
    mark: str = ""


@dataclass(frozen=True)
class Column:
    """A column's header, the header over it, and whether it holds numbers."""

    text: str
    over: str = ""
    number: bool = True


@dataclass(frozen=True)
class Table:
    """Rows of cells; a row of one cell is a heading over the rows that follow it."""

    name: str
    caption: str
    columns: list[Column]
    rows: list[list[Cell]]
    notes: list[str] = field(default_factory=list)


def label(model: str) -> str:
    """Name of a model as it is written in text."""
    return shown(model).label


def spans(columns: Sequence[Column]) -> list[tuple[str, int]]:
    """Upper header of a table: runs of equal text with their lengths."""
    runs: list[tuple[str, int]] = []
    for column in columns:
        if runs and runs[-1][0] == column.over:
            runs[-1] = (column.over, runs[-1][1] + 1)
        else:
            runs.append((column.over, 1))
    return runs


def starts(columns: Sequence[Column], index: int) -> bool:
    """Whether a column begins a new upper header."""
    return index > 0 and columns[index - 1].over != columns[index].over


# --- numbers ------------------------------------------------------------------------------------------------------------


def known(value: object) -> bool:
    """Whether a value is there (not None and not NaN)."""
    return value is not None and value == value


def first_digit(value: float) -> int:
    """Decimal place of a number's first digit that is not 0; at most 5, and 3 where there is none."""
    return min(-math.floor(math.log10(value)), 5) if known(value) and value > 0 else 3


def decimals(half_widths: Iterable[float]) -> int:
    """Decimals (3 to 5) that intervals of these half-widths support: where the middle one begins."""
    finite = sorted(h for h in half_widths if known(h) and h > 0)
    return max(first_digit(finite[len(finite) // 2]), 3) if finite else 3


def signed(value: float, low: float, high: float) -> str:
    """A difference with its interval, signs written out, in the decimals that the interval supports."""
    digits = decimals([(high - low) / 2])
    text, *ends = (f"{number:+.{digits}f}".replace("-", "−") for number in (value, low, high))
    return f"{text} [{', '.join(ends)}]"


def rounded(value: float, uncertainty: float) -> str:
    """Write a number with 2 to 4 significant digits, as its uncertainty supports."""
    if value == 0:
        return "0"
    ratio = abs(value) / uncertainty if uncertainty > 0 else math.inf
    digits = 4 if math.isinf(ratio) else min(max(math.ceil(math.log10(ratio)) + 1, 2), 4)
    digits = min(digits, 3) if abs(value) < 1000 else digits
    exponent = int(f"{value:.{digits - 1}e}".partition("e")[2])  # after rounding: 0.0999 is 0.10
    places = digits - 1 - exponent
    return f"{round(value, places):,.{max(places, 0)}f}"


def unit_for(unit: str, values: Iterable[float]) -> tuple[float, str]:
    """Factor and name of the unit in which most of these values read well."""
    finite = sorted(abs(v) for v in values if known(v) and v != 0)
    if unit not in UNITS or not finite:
        return 1, unit
    smallest_first = UNITS[unit]
    fits = [pair for pair in smallest_first if finite[len(finite) // 2] >= pair[0]]
    return fits[-1] if fits else smallest_first[0]


def metric_label(metric: str, unit: str | None = None) -> str:
    """Label of a metric with its unit, as the registry has them."""
    entry = QUANTITIES[metric]
    unit = entry.unit if unit is None else unit
    if unit and entry.label.endswith(")"):
        return f"{entry.label[:-1]}, {unit})"
    return f"{entry.label} ({unit})" if unit else entry.label


def direction(metric: str) -> str:
    """Which way is better, in words; empty where neither is."""
    better = QUANTITIES[metric].better
    return f"{better} is better" if better else ""


def named(machine: str, device: str) -> str:
    """A machine with its device, where that is no CPU."""
    return machine if device == "cpu" else f"{machine} ({device})"


def span(values: Iterable[float]) -> str:
    """The least and the largest of some factors."""
    values = list(values)
    low, high = min(values), max(values)
    ends = dict.fromkeys(rounded(value, value / 50) for value in (low, high))
    return " to ".join(ends)


def whole(value: float | None) -> str:
    """Write a count with thousands separated; a dash where there is none."""
    return f"{int(value):,}" if known(value) else "–"


def plural(n: float, word: str) -> str:
    """Write a number with its noun."""
    return f"{whole(n)} {word}" + ("" if n == 1 else "s")


def share(value: float | None) -> str:
    """Write a share as a percentage; a dash where there is none."""
    return f"{100 * value:.1f} %" if known(value) else "–"


# --- writers ------------------------------------------------------------------------------------------------------------


def save(table: Table, folder: Path) -> None:
    """Write a table as CSV (numbers unrounded), Markdown and LaTeX."""
    folder.mkdir(parents=True, exist_ok=True)
    write_csv(table, folder / f"{table.name}.csv")
    (folder / f"{table.name}.md").write_text(markdown(table), encoding="utf-8")
    (folder / f"{table.name}.tex").write_text(latex(table), encoding="utf-8")


def _heads(table: Table) -> list[str]:
    return [f"{c.over}: {c.text}" if c.over else c.text for c in table.columns]


def _is_heading(table: Table, row: list[Cell]) -> bool:
    return len(row) == 1 and len(table.columns) > 1


def write_csv(table: Table, path: Path) -> None:
    """One header line; the headings of groups become a first column."""
    group, rows = [], []
    for row in table.rows:
        if _is_heading(table, row):
            group = [row[0].text]
        else:
            rows.append([*group, *(c.text if c.value is None else c.value for c in row)])
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([*(["group"] if group else []), *_heads(table)])
        writer.writerows(rows)


def markdown(table: Table) -> str:
    """Return a table as Markdown; best in bold, the highest that is not established in italics."""
    wrap = {"best": "**{}**", "lead": "*{}*"}
    lines = [_heads(table), ["--:" if column.number else "---" for column in table.columns]]
    for row in table.rows:
        texts = [_joined(cell, wrap.get(cell.mark, "{}")).replace("|", "\\|") for cell in row]
        if _is_heading(table, row):
            texts = [f"**{texts[0]}**", *[""] * (len(table.columns) - 1)]
        lines.append(texts)
    body = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    return f"{table.caption}\n\n{body}\n" + "".join(f"\n{note}\n" for note in table.notes)


def _joined(cell: Cell, wrap: str) -> str:
    text = wrap.format(cell.text) if cell.text else ""
    detail = cell.detail if cell.detail.startswith("[") or not cell.detail else f"({cell.detail})"
    return f"{text} {detail}".strip()


def latex(table: Table) -> str:
    """Return a table as LaTeX (package booktabs); best in bold, the highest that is not established underlined."""
    wrap = {"best": r"\textbf{{{}}}", "lead": r"\underline{{{}}}"}
    align = "".join("r" if column.number else "l" for column in table.columns)
    lines = [" & ".join(map(_escape, _heads(table))) + r" \\", r"\midrule"]
    for row in table.rows:
        cells = [_joined(_escaped(cell), wrap.get(cell.mark, "{}")) for cell in row]
        if _is_heading(table, row):
            cells = [rf"\multicolumn{{{len(table.columns)}}}{{l}}{{\textit{{{cells[0]}}}}}"]
        lines.append(" & ".join(cells) + r" \\")
    body = "\n".join(lines)
    return (
        f"% {table.caption}\n\\begin{{tabular}}{{{align}}}\n\\toprule\n{body}\n\\bottomrule\n\\end{{tabular}}\n"
        + "".join(f"% {note}\n" for note in table.notes)
    )


def _escaped(cell: Cell) -> Cell:
    return Cell(_escape(cell.text), _escape(cell.detail), cell.value, cell.mark)


def _escape(text: str) -> str:
    text = text.replace("\\", r"\textbackslash{}")
    for char in "&%$#_":
        text = text.replace(char, "\\" + char)
    return text.replace("±", r"$\pm$").replace("×", r"$\times$").replace("–", "--")
