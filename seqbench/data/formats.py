"""Parsers: the bytes of a publisher's file -> integer codes, raw ids and times.

A format is a row in LAYOUTS. All of them are delimited text, so one fast parser reads them; when
it stumbles, a slow second reading finds the line to blame.
"""

import csv
import io
import math
from dataclasses import dataclass, replace

import numpy as np

from seqbench.errors import UserError

FIELDS = ("user", "item", "time", "position")  # position: place in the user's sequence
LONGEST_HEADER_BYTES = 2**16
MISSING = ("", "nan", "NaN")


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

    names = _first_row(content, layout, file)
    columns = _column_numbers(names, layout, file)
    try:
        table = _read_table(content, layout, columns, len(names))
    except pa.ArrowInvalid as error:
        _blame(content, layout, columns, file)
        raise UserError(f"{file} cannot be parsed: {error}") from None
    if not table.num_rows:
        raise UserError(f"{file} holds no rows")
    arrays = {name: table[name].chunk(0) for name in columns}
    ids = {name: arrays[name].dictionary.to_pylist() for name in ("user", "item")}
    codes = {name: np.from_dlpack(arrays[name].indices) for name in ("user", "item")}
    # from_dlpack: pyarrow's own to_numpy would import pandas first
    numbers = {name: np.from_dlpack(arrays[name]) for name in columns if name not in ids}
    finite = all(np.isfinite(values).all() for values in numbers.values())
    if not finite or any(missing in names for missing in MISSING for names in ids.values()):
        _blame(content, layout, columns, file)
    return Interactions(
        codes["user"],
        codes["item"],
        ids["user"],
        ids["item"],
        numbers.get("time"),
        numbers.get("position"),
    )


def _read_table(content: bytes, layout: Layout, columns: dict[str, int], n_columns: int):
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
            arrow_csv.ParseOptions(delimiter=layout.delimiter[0]),
            arrow_csv.ConvertOptions(
                include_columns=list(names.values()), column_types=types, null_values=[]
            ),
        )

    try:
        table = read(pa.int64())
    except pa.ArrowInvalid:
        table = read(pa.float64())
    return table.rename_columns(list(names)).unify_dictionaries().combine_chunks()


def _first_row(content: bytes, layout: Layout, file: str) -> list[str]:
    """Cells of the first line: the columns' names if there is a header (types cut off)."""
    first = content[:LONGEST_HEADER_BYTES].split(b"\n", 1)[0].decode("utf-8-sig", "replace")
    first = first.rstrip("\r")
    if not first.strip():
        raise UserError(f"{file} is empty or begins with an empty line")
    try:
        cells = next(csv.reader([first], delimiter=layout.delimiter[0]))[:: len(layout.delimiter)]
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


def _blame(content: bytes, layout: Layout, columns: dict[str, int], file: str) -> None:
    """Read line by line and raise UserError for the first bad row; returns when none is found."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UserError(f"{file}, line {line}: not UTF-8 text") from None
    reader = csv.reader(io.StringIO(text), delimiter=layout.delimiter[0])
    stride, width = len(layout.delimiter), None
    try:
        for index, cells in enumerate(cells for cells in reader if cells):
            width = width or len(cells)
            skip = index == 0 and layout.header
            if problem := None if skip else _bad_row(cells, width, columns, stride):
                raise UserError(f"{file}, line {reader.line_num}: {problem}")
    except csv.Error as error:
        raise UserError(f"{file}, line {reader.line_num}: {error}") from None


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
