"""Layouts: which column of a publisher's file holds what, and what to say where a column is not what it is taken for.

A format is a row in LAYOUTS.
"""

import math
import re
from dataclasses import dataclass, replace

from ..core.errors import UserError
from .ids import bare

FIELDS = ("user", "item", "time", "position")  # position: place in the user's sequence


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
    "amazon-ratings": Layout(",", False, 0, 1, 3, member="*.csv"),  # of 2014
    "amazon-ratings-2018": Layout(",", False, 1, 0, 3, member="*.csv"),  # item first
    "inter": Layout("\t", "typed", "user_id", "item_id", "timestamp", member="*.inter"),
    "delimited": Layout(),
}


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
    if changes.get("delimiter") == "\\t":  # a tab in single quotes, or in none
        changes["delimiter"] = "\t"
    layout = replace(LAYOUTS[format_name], **changes)
    if (
        not re.fullmatch(r"""([\x01-\x7f])\1*""", layout.delimiter)
        or layout.delimiter[0] in '"\n\r'
    ):
        raise UserError(
            f"delimiter: {layout.delimiter!r} must be one character, or one repeated: an ASCII one, no quote and no line break"
            ' (a tab is "\\t")'
        )
    return layout


def column_names(head: list[str], layout: Layout) -> list[str]:
    """The columns' names if the first line is a header (types cut off), else its cells."""
    names = [cell.split(":")[0] for cell in head] if layout.header == "typed" else head
    return [bare(name) for name in names]


def column_numbers(names: list[str], layout: Layout, file: str, head: list[str]) -> dict[str, int]:
    """0-based number of every mapped column, resolved against the names; head: as they are written."""
    wanted = {field: getattr(layout, field) for field in FIELDS}
    numbers = {
        field: _column_number(field, column, names, layout, file, head)
        for field, column in wanted.items()
        if column is not None
    }
    if len(set(numbers.values())) < len(numbers):
        raise UserError(f"columns: two of {', '.join(numbers)} name the same column of {file}")
    return numbers


def _column_number(
    field: str, column: str | int, names: list[str], layout: Layout, file: str, head: list[str]
) -> int:
    if isinstance(column, int) and 0 <= column < len(names):
        return column
    if layout.header and (found := names.count(str(column).strip())):
        if found > 1:
            raise UserError(
                f"{file}: {found} columns are named {column!r}; give {field} by its 0-based number"
            )
        return names.index(str(column).strip())
    have = f"no header and {len(names)} columns (0-based numbers)"
    raise UserError(
        f"{file} has no column {column!r} for {field}; it has {', '.join(names) if layout.header else have}; "
        + _remedy(field, names, layout, head)
    )


# Delimiter -> in words, and as YAML takes it in double quotes.
DELIMITERS = {"\t": ("tabs", "\\t"), ";": ("semicolons", ";"), "::": ("::", "::"), "|": ("|", "|"),
              ",": ("commas", ","), " ": ("blanks", " ")}  # fmt: skip


def _remedy(field: str, names: list[str], layout: Layout, head: list[str]) -> str:
    """What to say where a column is not found: the delimiter that is there, or the columns that are."""
    if head[0].lower().startswith("sep="):
        return "take this line, which is meant for a spreadsheet, out"
    if head[0].startswith("#"):
        return "take the comment lines before the names out"
    other = next((d for d in DELIMITERS if d in head[0]), None) if len(head) == 1 else None
    if other:
        words, written = DELIMITERS[other]
        expected = DELIMITERS.get(layout.delimiter, (repr(layout.delimiter),))[0]
        return f'its columns are between {words}, not {expected}: say `delimiter: "{written}"`'
    rest = {f: getattr(layout, f) for f in ("user", "item")}
    said = ", ".join(f"{f}: {column}" for f, column in rest.items())
    if field == "time" and layout.header and all(column in names for column in rest.values()):
        return f"say `columns: {{{said}, time: <name>}}`, or `columns: {{{said}}}` to take the order of the lines"
    return "name the columns with `columns: {user: ..., item: ..., time: ...}`"


def check_header(names: list[str], layout: Layout, columns: dict[str, int], file: str) -> None:
    """Refuse a first line of values that would be taken for names, where columns are numbers, and names taken for ids."""
    about = [_words(names[columns[field]]) for field in ("user", "item")]
    if not layout.header and all(
        word.search(text) and not re.search("[0-9]", text)
        for word, text in zip((_USERS, _ITEMS), about, strict=True)
    ):
        raise UserError(
            f"{file}, line 1: holds names, {', '.join(names)}, which would be taken for a user and an item; say `header: true`"
        )
    for field, number in columns.items():
        by_number = layout.header and isinstance(getattr(layout, field), int)
        if by_number and is_number(names[number]) and names[number] != str(number):
            raise UserError(
                f"{file}, line 1: column {number} for {field} is named {names[number]!r}, which looks like a value; say `header: false`"
                " if the first line holds no names"
            )


LOOKED_AT = 1000  # ids that tell what a column holds


# What stands in names of columns, and before the numbers in ids.
_USERS, _ITEMS = (
    re.compile(rf"(?<![a-z])({words})(?![a-z])")
    for words in (
        "user|users|customer|customers|reviewer|reviewers|visitor|member|client|u|uid|userid|customerid|reviewerid",
        "item|items|product|products|asin|movie|movies|book|books|article|articles|track|song|i|iid|itemid|productid|movieid",
    )
)


# Amazon's product numbers (ISBN for books) and its reviewers.
_ASIN, _REVIEWER = re.compile(r"B[0-9A-Z]{9}|[0-9]{9}[0-9X]"), re.compile(r"A[0-9A-Z]{9,20}")


def check_exchanged(users: list[str], items: list[str], names: list[str], file: str) -> None:
    """Refuse users that are products and items that are users, by their ids and by the names of their columns."""
    users, items = users[:LOOKED_AT], items[:LOOKED_AT]
    if not users or not items:
        return
    words = [_words(name) for name in names]
    crossed = (
        bool(_ITEMS.search(words[0]) and _USERS.search(words[1]))
        and not _USERS.search(words[0])
        and not _ITEMS.search(words[1])
    )
    if (
        crossed
        or (_mostly(_ASIN, users) and _mostly(_REVIEWER, items))
        or (_prefixed(_ITEMS, users) and _prefixed(_USERS, items))
    ):
        raise UserError(
            f"{file}: users and items look exchanged: {users[0]!r} is taken for a user, {items[0]!r} for an item; exchange"
            " `user` and `item` under `columns`, or say `format: amazon-ratings-2018` for item,user,rating,time"
        )


def _words(name: str) -> str:
    """`userId` and `user_id` as words."""
    return re.sub("([a-z])([A-Z])", r"\1 \2", name).lower().replace("_", " ")


def _mostly(pattern: re.Pattern, ids: list[str]) -> bool:
    return sum(bool(pattern.fullmatch(one)) for one in ids) > 0.9 * len(ids)


def _prefixed(word: re.Pattern, ids: list[str]) -> bool:
    """Whether all ids are one of these words and a number, as `item_17`."""
    parts = (re.fullmatch(r"([A-Za-z]+)[-_:]?[0-9]+", one) for one in ids)
    return all(part and word.fullmatch(part[1].lower()) for part in parts)


_NUMBER = re.compile(
    r"[ \t]*([+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?|0[xX][0-9a-fA-F]{1,16})[ \t]*"
)


def is_number(value: str) -> bool:
    """Whether a cell is a finite number as the fast parser reads it: `1_000`, digits of other scripts and `inf` are none."""
    found = _NUMBER.fullmatch(value)
    return bool(found) and (found[2] is None or math.isfinite(float(value)))
