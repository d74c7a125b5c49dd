"""Parsers: the bytes of a publisher's file -> integer codes, raw ids and times.

A format is a row in LAYOUTS. All of them are delimited text, so one fast parser reads them; when
it stumbles, a slow second reading finds the line to blame.

Quotes may enclose a value. Between commas such a value may span lines; elsewhere a file in which
one would is one whose quotes are text (a title `"Alien`), and no line joins the next.
"""

import csv
import io
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import chain

import numpy as np

from ..core.errors import UserError

FIELDS = ("user", "item", "time", "position")  # position: place in the user's sequence
LONGEST_HEADER_BYTES = 2**16
MISSING = ("", "nan", "NaN")
EXACT = 2**53  # whole numbers below it are told apart as float64


@dataclass(frozen=True)
class Layout:
    """How a delimited file is laid out; columns are names (with a header) or 0-based numbers."""

    delimiter: str = ","  # one character, or the same character repeated (`::`)
    header: bool | str = True  # "typed": RecBole's `user_id:token`
    user: str | int = "user"
    item: str | int = "item"
    time: str | int | None = None
    position: str | int | None = None
    member: str | None = None  # the file wanted from a zip


LAYOUTS = {
    "movielens": Layout("::", False, 0, 1, 3, member="ratings.dat"),
    "ml-100k": Layout("\t", False, 0, 1, 3, member="u.data"),
    "amazon-ratings": Layout(",", False, 0, 1, 3, member="*.csv"),
    "inter": Layout("\t", "typed", "user_id", "item_id", "timestamp", member="*.inter"),
    "delimited": Layout(),
}


@dataclass(frozen=True)
class Interactions:
    """Parsed rows in file order; codes number the raw ids by first appearance."""

    users: np.ndarray  # (n,) int32
    items: np.ndarray  # (n,) int32
    user_ids: list[str]
    item_ids: list[str]
    time: np.ndarray | None  # (n,) int64 or float64, as written in the file
    position: np.ndarray | None  # (n,)


def layout_of(format_name: str, overrides: dict) -> Layout:
    """The layout of a format with a user's `columns`, `delimiter` and `header` applied."""
    if format_name not in LAYOUTS:
        raise UserError(f"format: {format_name!r} is unknown; allowed: {', '.join(LAYOUTS)}")
    changes = {key: overrides[key] for key in ("delimiter", "header") if key in overrides}
    columns = overrides.get("columns", {})
    if unknown := sorted(set(columns) - set(FIELDS)):
        raise UserError(f"columns: {unknown[0]!r} is unknown; allowed: {', '.join(FIELDS)}")
    if columns:  # a mapping replaces the format's own: what it leaves out is not there
        changes |= {"time": None, "position": None} | columns
    layout = replace(LAYOUTS[format_name], **changes)
    if not layout.delimiter or len(set(layout.delimiter)) > 1:
        raise UserError(f"delimiter: {layout.delimiter!r} must be one character, or one repeated")
    return layout


def read_interactions(content: bytes, layout: Layout, file: str) -> Interactions:
    """Parse a whole file; UserError naming `file`, the line and the value of the first bad row."""
    import pyarrow as pa

    quoted = _quoted(content, layout)
    names = _first_row(content, layout, file, quoted)
    columns = _column_numbers(names, layout, file)
    try:
        table = _read_table(content, layout, columns, len(names), quoted)
    except pa.ArrowInvalid as error:
        _blame(content, layout, columns, file, quoted)
        raise UserError(f"{file} cannot be parsed: {error}") from None
    if quoted:
        _check_joined_lines(content, layout, columns, file, table.num_rows)
    if not table.num_rows:
        raise UserError(f"{file} holds no rows")
    arrays = {name: table[name].chunk(0) for name in columns}
    ids = {name: arrays[name].dictionary.to_pylist() for name in ("user", "item")}
    codes = {name: np.from_dlpack(arrays[name].indices) for name in ("user", "item")}
    # from_dlpack: pyarrow's own to_numpy would import pandas first
    numbers = {name: np.from_dlpack(arrays[name]) for name in columns if name not in ids}
    finite = all(np.isfinite(values).all() for values in numbers.values())
    if not finite or any(missing in names for missing in MISSING for names in ids.values()):
        _blame(content, layout, columns, file, quoted)
    for name, values in numbers.items():
        _check_whole(values, name, file)
    for name, known in ids.items():
        _check_lines(known, name, file)
    return Interactions(
        codes["user"],
        codes["item"],
        ids["user"],
        ids["item"],
        numbers.get("time"),
        numbers.get("position"),
    )


def _check_whole(numbers: np.ndarray, field: str, file: str) -> None:
    """Refuse numbers that became floats for one cell's sake and are too large to stay apart as such."""
    if numbers.dtype.kind == "f" and len(numbers) and np.abs(numbers).max() >= EXACT:
        raise UserError(
            f"{file}: column {field} holds both fractions and numbers above 2^53, which would fall together; write whole numbers"
        )


def _check_lines(ids: list[str], field: str, file: str) -> None:
    """Refuse an id with a line break: the prepared dataset lists ids by line."""
    broken = next((one for one in ids if one.splitlines() != [one]), None)
    if broken is not None:
        raise UserError(
            f"{file}: the {field} id {broken!r} holds a line break; take it out of the file"
        )


def _quoted(content: bytes, layout: Layout) -> bool:
    """Whether quotes of this file enclose values; False as well where it holds none."""
    if b'"' not in content or layout.delimiter == ",":
        return b'"' in content
    reader = csv.reader(chain(_lines(content), [""]), delimiter=layout.delimiter[0])
    try:  # the line behind the last one shows a value that is still open there
        return all(reader.line_num == row for row, _ in enumerate(reader, 1))
    except csv.Error:
        return False


def _lines(content: bytes) -> Iterator[str]:
    return io.TextIOWrapper(io.BytesIO(content), "utf-8-sig", "replace", newline="\n")


def _read_table(
    content: bytes, layout: Layout, columns: dict[str, int], n_columns: int, quoted: bool
):
    """pyarrow table of the wanted columns, ids dictionary-coded, numbers int64 or else float64."""
    import pyarrow as pa
    from pyarrow import csv as arrow_csv

    stride = len(layout.delimiter)  # `::` leaves an empty column between two fields
    names = {field: f"f{number * stride}" for field, number in columns.items()}
    coded = pa.dictionary(pa.int32(), pa.string())

    def read(number_type: pa.DataType) -> pa.Table:
        types = {name: number_type for name in names.values()}
        types |= {names["user"]: coded, names["item"]: coded}
        return arrow_csv.read_csv(
            pa.BufferReader(content),
            arrow_csv.ReadOptions(
                use_threads=False,
                column_names=[f"f{cell}" for cell in range((n_columns - 1) * stride + 1)],
                skip_rows=1 if layout.header else 0,
            ),
            arrow_csv.ParseOptions(
                delimiter=layout.delimiter[0],
                quote_char='"' if quoted else False,
                newlines_in_values=quoted,
            ),
            arrow_csv.ConvertOptions(
                include_columns=list(names.values()), column_types=types, null_values=[]
            ),
        )

    try:
        table = read(pa.int64())
    except pa.ArrowInvalid:
        table = read(pa.float64())
    return table.rename_columns(list(names)).unify_dictionaries().combine_chunks()


def _first_row(content: bytes, layout: Layout, file: str, quoted: bool) -> list[str]:
    """Cells of the first line: the columns' names if there is a header (types cut off)."""
    first = content[:LONGEST_HEADER_BYTES].split(b"\n", 1)[0].decode("utf-8-sig", "replace")
    first = first.rstrip("\r")
    if not first.strip():
        raise UserError(f"{file} is empty or begins with an empty line")
    try:
        cells = next(csv.reader([first], **_dialect(layout, quoted)))[:: len(layout.delimiter)]
    except csv.Error as error:
        raise UserError(f"{file}, line 1: not delimited text ({error})") from None
    return [cell.split(":")[0] for cell in cells] if layout.header == "typed" else cells


def _column_numbers(names: list[str], layout: Layout, file: str) -> dict[str, int]:
    """0-based number of every mapped column, resolved against the first row."""
    wanted = {field: getattr(layout, field) for field in FIELDS}
    numbers = {
        field: _column_number(field, column, names, bool(layout.header), file)
        for field, column in wanted.items()
        if column is not None
    }
    if len(set(numbers.values())) < len(numbers):
        raise UserError(f"columns: two of {', '.join(numbers)} name the same column of {file}")
    return numbers


def _column_number(field: str, column: str | int, names: list[str], header: bool, file: str) -> int:
    if isinstance(column, int) and 0 <= column < len(names):
        return column
    if header and column in names:
        return names.index(column)
    have = ", ".join(names) if header else f"no header and {len(names)} columns (0-based numbers)"
    raise UserError(f"{file} has no column {column!r} for {field}; it has {have}")


def _dialect(layout: Layout, quoted: bool) -> dict:
    """How Python's csv reads what `_read_table` does."""
    quoting = csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE
    return {"delimiter": layout.delimiter[0], "quoting": quoting}


def _check_joined_lines(
    content: bytes, layout: Layout, columns: dict[str, int], file: str, n_rows: int
) -> None:
    """UserError if fewer rows than lines were read, unless sound quotes enclose the line breaks."""
    n_lines = sum(1 for _ in re.finditer(rb"[^\r\n]+", content)) - bool(layout.header)
    if n_rows == n_lines:
        return
    text = content.decode("utf-8-sig", "replace")  # columns that nobody reads may be anything
    expected = _check_rows(text, layout, columns, file, quoted=True)
    if n_rows != expected:
        raise UserError(
            f"{file}: {n_rows} rows were read, {expected} expected from its {n_lines} lines; "
            "take the line breaks out of its quoted values"
        )


def _blame(
    content: bytes, layout: Layout, columns: dict[str, int], file: str, quoted: bool
) -> None:
    """Read line by line and raise UserError for the first bad row; returns when none is found."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UserError(f"{file}, line {line}: not UTF-8 text") from None
    _check_rows(text, layout, columns, file, quoted)


def _check_rows(text: str, layout: Layout, columns: dict[str, int], file: str, quoted: bool) -> int:
    """Number of rows; UserError naming the line in which the first bad one begins."""
    strict = quoted and layout.delimiter == ","  # elsewhere `"Heroes" (live)` is a title
    reader = csv.reader(io.StringIO(text), **_dialect(layout, quoted), strict=strict)
    stride, width, n_rows, line = len(layout.delimiter), None, 0, 1
    try:
        for cells in reader:
            if cells:
                width = width or len(cells)
                skip = n_rows == 0 and layout.header
                if problem := None if skip else _bad_row(cells, width, columns, stride):
                    raise UserError(f"{file}, line {line}: {problem}")
                n_rows += 1
            line = reader.line_num + 1
    except csv.Error as error:
        hint = "; close the quote, or double the quotes inside a quoted value" if strict else ""
        raise UserError(f"{file}, line {line}: {error}{hint}") from None
    return n_rows - bool(layout.header)


def _bad_row(cells: list[str], width: int, columns: dict[str, int], stride: int) -> str | None:
    if len(cells) != width:
        found, expected = (len(cells) - 1) // stride + 1, (width - 1) // stride + 1
        return f"{found} columns, expected {expected}"
    for field, number in columns.items():
        value = cells[number * stride]
        if field in ("user", "item") and value in MISSING:
            return f"{field} is empty or missing ({value!r})"
        if field in ("time", "position") and not _is_number(value):
            return f"{field} is not a number ({value!r})"
    return None


def _is_number(value: str) -> bool:
    try:
        return math.isfinite(float(value))
    except ValueError:
        return False
