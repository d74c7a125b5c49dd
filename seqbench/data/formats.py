"""Parsers: the bytes of a publisher's file -> integer codes, raw ids and times.

All formats are delimited text, so one fast parser reads them; when it stumbles, a slow second
reading finds the line to blame. Parquet has the columns of any of them.

Quotes may enclose a value. Between commas such a value may span lines; elsewhere a file in which
one would is one whose quotes are text (a title `"Alien`), and no line joins the next.
"""

import csv
import dataclasses
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import chain

import numpy as np

from ..core.errors import UserError
from . import ids as identifiers
from .containers import PARQUET
from .ids import Rule, Seen
from .layouts import Layout, check_exchanged, check_header, column_names, column_numbers, is_number

LONGEST_HEADER_BYTES = 2**16
BLOCK_BYTES = 2**25  # read together: each block numbers its ids anew
HEADER = "a header among the rows"
EXACT = 2**53  # whole numbers below it are told apart as float64


@dataclass(frozen=True)
class Interactions:
    """Parsed rows in file order; codes number the raw ids by first appearance, -1 where one is missing."""

    users: np.ndarray  # (n,) int32
    items: np.ndarray  # (n,) int32
    user_ids: list[str]
    item_ids: list[str]
    time: np.ndarray | None  # (n,) int64 or float64, as written in the file
    position: np.ndarray | None  # (n,)
    seen: dict[str, Seen] = dataclasses.field(default_factory=dict)  # by user, item

    @cached_property
    def _complete(self) -> bool:
        return min(self.users.min(initial=0), self.items.min(initial=0)) >= 0

    @cached_property
    def known(self) -> np.ndarray:
        """Rows (n,) with a user and an item, ascending."""
        return np.flatnonzero((self.users >= 0) & (self.items >= 0))

    @property
    def n_known(self) -> int:
        """How many rows have a user and an item."""
        return len(self.users) if self._complete else len(self.known)

    def of_known(self, values: np.ndarray) -> np.ndarray:
        """Those of `values` (n,) whose rows have a user and an item; no copy where all have."""
        return values if self._complete else values[self.known]


@dataclass(frozen=True)
class _Judge:
    """What a row must be."""

    columns: dict[str, int]
    stride: int  # cells from one column to the next
    rule: Rule
    head: frozenset[str]  # cells of the header as `_name` has them

    def bad_row(self, cells: list[str], width: int) -> str | None:
        """What is wrong with a row of so many cells, in words."""
        if len(cells) != width:
            found, expected = ((n - 1) // self.stride + 1 for n in (len(cells), width))
            return f"{found} columns, expected {expected}"
        values = {field: cells[number * self.stride] for field, number in self.columns.items()}
        if self.head and all(_name(value) in self.head for value in values.values()):
            return "repeats the header; take it out"
        for field, value in values.items():
            if problem := self.bad_value(field, value):
                return f"{field} {problem}"
        return None

    def bad_value(self, field: str, value: str) -> str | None:
        """What is wrong with one value, in words."""
        if _NO_TEXT.search(value):
            return f"is not UTF-8 text ({value.encode('utf-8', 'surrogateescape')!r}); save the file as UTF-8"
        if field in ("user", "item"):
            found = identifiers.problem(value, self.rule)
            drop = self.rule.missing == "refuse" and identifiers.is_missing(value, self.rule)
            return found and found + (
                "; `ids: {missing: drop}` leaves such rows out" if drop else ""
            )
        if not is_number(value):
            hint = "dates as Unix seconds" if _DATE.match(value) else "a plain one"
            return f"is not a number ({value!r}); write {hint}"
        return None


def _name(cell: str) -> str:
    """A cell of a header as any other program may have written it."""
    return identifiers.bare(cell).strip('"').casefold()


_NO_TEXT = re.compile("[\ud800-\udfff]")  # bytes that no text stands for
_DATE = re.compile(r"\s*\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}")


def read_interactions(
    content: bytes,
    layout: Layout,
    file: str,
    rule: Rule = Rule(),  # noqa: B008 (frozen)
) -> Interactions:
    """Parse a whole file; UserError naming `file`, the line and the value of the first bad row."""
    if content.startswith(PARQUET):
        from .parquet import read_parquet

        names, columns, arrays = read_parquet(content, layout, file, rule)
    else:
        names, columns, arrays = _read_text(content, layout, file, rule)
    read = {name: identifiers.read(arrays[name], rule) for name in ("user", "item")}
    numbers = {name: np.from_dlpack(arrays[name]) for name in columns if name not in read}
    for name, values in numbers.items():
        _check_whole(values, name, file)
    for name, (_, known, _) in read.items():
        _check_lines(known, name, file)
    (users, user_ids, _), (items, item_ids, _) = read.values()
    check_exchanged(user_ids, item_ids, [names[columns[name]] for name in read], file)
    seen = {name: about for name, (*_, about) in read.items()}
    return Interactions(
        users, items, user_ids, item_ids, numbers.get("time"), numbers.get("position"), seen
    )


def _read_text(content: bytes, layout: Layout, file: str, rule: Rule):
    """Names and numbers of the columns, and arrow arrays by field; every bad row is refused."""
    import pyarrow as pa

    quoted = _quoted(content, layout)
    head = _first_row(content, layout, file, quoted)
    names = column_names(head, layout)
    columns = column_numbers(names, layout, file, head)
    check_header(names, layout, columns, file)
    known = frozenset(map(_name, [*head, *names])) if layout.header else frozenset()
    judge = _Judge(columns, len(layout.delimiter), rule, known)
    try:
        arrays, n_rows = _read_table(content, layout, columns, len(head), quoted)
    except pa.ArrowInvalid as error:
        _check_rows(content, layout, judge, file, quoted)
        said = " ".join(str(error).split())
        raise UserError(f"{file} cannot be parsed: {said}") from None
    if quoted:
        _check_joined_lines(content, layout, judge, file, n_rows)
    if not n_rows:
        raise UserError(f"{file} holds no rows")
    doubts = list(filter(None, (_doubt(name, arrays[name], judge) for name in columns)))
    if doubts:
        _check_rows(content, layout, judge, file, quoted)
        if problem := next((doubt for doubt in doubts if doubt != HEADER), None):
            raise UserError(f"{file}: {problem}")  # of a row that the slow reading cuts elsewhere
    return names if layout.header else [""] * len(names), columns, arrays


def _doubt(name: str, array, judge: _Judge) -> str | None:
    """What may be wrong with a column, in words: a value that `_Judge` refuses, or a repeated header."""
    if name not in ("user", "item"):
        finite = np.isfinite(np.from_dlpack(array)).all()
        return None if finite else f"{name} is not a number in some row"
    if identifiers.all_plain(array.dictionary, judge.rule):
        return None
    values = array.dictionary.to_pylist()
    if problem := next(filter(None, (identifiers.problem(v, judge.rule) for v in values)), None):
        return f"{name} {problem}"
    longest = max(map(len, judge.head), default=0) + len("\ufeff  ")
    repeated = any(len(value) <= longest and _name(value) in judge.head for value in values)
    return HEADER if repeated else None


def _check_whole(numbers: np.ndarray, field: str, file: str) -> None:
    """Refuse numbers that became floats for one cell's sake and are too large to stay apart as such."""
    largest = max(numbers.max(initial=0), -numbers.min(initial=0))
    if numbers.dtype.kind == "f" and largest >= EXACT:
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
    """Arrow arrays by field, ids dictionary-coded, numbers int64 or else float64; and the number of rows."""
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
                block_size=BLOCK_BYTES,
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
    n_rows, arrays = table.num_rows, {}
    for (
        field,
        name,
    ) in names.items():  # one column after the other, so that only one lies there twice
        column = table.column(name)
        table = table.drop_columns([name])
        coded_column = pa.types.is_dictionary(column.type)
        chunks = (column.unify_dictionaries() if coded_column else column).chunks
        arrays[field] = pa.concat_arrays(chunks) if chunks else pa.array([], column.type)
    return arrays, n_rows


def _first_row(content: bytes, layout: Layout, file: str, quoted: bool) -> list[str]:
    """Cells of the first line."""
    first = content[:LONGEST_HEADER_BYTES].split(b"\n", 1)[0].decode("utf-8-sig", "replace")
    first = first.rstrip("\r")
    if not first.strip():
        raise UserError(f"{file} is empty or begins with an empty line")
    try:
        return next(csv.reader([first], **_dialect(layout, quoted)))[:: len(layout.delimiter)]
    except csv.Error as error:
        if "\r" in first:
            raise UserError(
                f"{file}, line 1: not delimited text: its lines end with carriage returns alone; end them with line feeds"
            ) from None
        raise UserError(f"{file}, line 1: not delimited text ({error})") from None


def _dialect(layout: Layout, quoted: bool) -> dict:
    """How Python's csv reads what `_read_table` does."""
    quoting = csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE
    return {"delimiter": layout.delimiter[0], "quoting": quoting}


def _check_joined_lines(
    content: bytes, layout: Layout, judge: _Judge, file: str, n_rows: int
) -> None:
    """UserError if fewer rows than lines were read, unless sound quotes enclose the line breaks."""
    n_lines = _count_lines(content) - bool(layout.header)
    if n_rows == n_lines:
        return
    expected = _check_rows(content, layout, judge, file, quoted=True)
    if n_rows != expected:
        raise UserError(
            f"{file}: {n_rows} rows were read, {expected} expected from its {n_lines} lines; "
            "take the line breaks out of its quoted values"
        )


def _count_lines(content: bytes) -> int:
    """Lines that are not empty."""
    found, after_break = 0, True
    for start in range(0, len(content), BLOCK_BYTES):
        block = np.frombuffer(content, np.uint8, min(BLOCK_BYTES, len(content) - start), start)
        breaks = (block == ord("\n")) | (block == ord("\r"))
        begins = ~breaks
        begins[1:] &= breaks[:-1]
        begins[0] &= after_break
        found += int(np.count_nonzero(begins))
        after_break = breaks[-1]
    return found


def _check_rows(content: bytes, layout: Layout, judge: _Judge, file: str, quoted: bool) -> int:
    """Number of rows; UserError naming the line in which the first bad one begins."""
    # What is no UTF-8 stays as it is: only columns that are read must be text.
    text = io.TextIOWrapper(io.BytesIO(content), "utf-8-sig", "surrogateescape", newline="\n")
    strict = quoted and layout.delimiter == ","  # elsewhere `"Heroes" (live)` is a title
    reader = csv.reader(text, **_dialect(layout, quoted), strict=strict)
    csv.field_size_limit(2**31 - 1)  # a title of 128 KiB is no fault
    width, n_rows, line = None, 0, 1
    try:
        for cells in reader:
            if cells:
                width = width or len(cells)
                skip = n_rows == 0 and layout.header
                if problem := None if skip else judge.bad_row(cells, width):
                    names = (
                        ""
                        if n_rows or layout.header
                        else "; say `header: true` if the first line holds names"
                    )
                    raise UserError(f"{file}, line {line}: {problem}{names}")
                n_rows += 1
            line = reader.line_num + 1
    except csv.Error as error:
        hint = "; close the quote, or double the quotes inside a quoted value" if strict else ""
        raise UserError(f"{file}, line {line}: {error}{hint}") from None
    return n_rows - bool(layout.header)
