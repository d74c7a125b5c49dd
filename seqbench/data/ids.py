"""Ids as text: which are none, which of them are one, and which only look alike.

Blanks around an id are taken off. A spelling of "no value" is refused, dropped with a count, or kept as a name like others.
Ids stay as they are written (`text`), so `1`, `1.0` and `01` are three; as `number` they are one.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pyarrow as pa

# How programs write that there is no value, in lower case.
MISSING = frozenset({
    "", "nan", "+nan", "-nan", "null", "none", "nil", "na", "n/a", "#n/a", "#na", "#n/a n/a", "#null!", "nat", "<na>", "<nan>",
    "<null>", "<none>", "(null)", "[null]", "(none)", "\\n", "undefined", "missing", "1.#ind", "-1.#ind", "1.#qnan", "-1.#qnan",
})  # fmt: skip
RULES = {"missing": ("refuse", "drop", "keep"), "form": ("text", "number")}
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,2})?")
# Kinds of ids of which no two look alike and none stands for nothing: numbers with or without a word, Amazon's, hashes.
_SAFE = {
    "text": (
        "^[a-z_]*(0|[1-9][0-9]*)$",
        "^[A-Z][A-Z0-9]{9,}$",
        "^[A-Z0-9]{10}$",
        "^[0-9a-f]{32}$",
        "^[0-9a-f-]{36}$",
    ),
    "number": ("^(0|[1-9][0-9]*)$",),
}
_PLAIN = re.compile(r"0|[1-9][0-9]*")


@dataclass(frozen=True)
class Rule:
    """What is done with ids: ``datasets.<name>.ids`` of the configuration."""

    missing: str = "refuse"  # or drop their rows, or keep what is spelled out
    form: str = "text"  # or number


@dataclass(frozen=True)
class Seen:
    """What one column of ids held besides plain ids."""

    missing: Mapping[str, int] = field(default_factory=dict)  # spelling -> rows
    blanks: int = 0  # ids with blanks around them
    rewritten: int = 0  # ids that another spelling of the same number stands for
    alike: int = 0  # ids that differ from another one by their form only
    example: tuple[str, str] | None = None  # two of those


def is_missing(value: str, rule: Rule) -> bool:
    """Whether a value stands for none."""
    value = value.strip()
    return not value or (rule.missing != "keep" and value.lower() in MISSING)


def problem(value: str, rule: Rule) -> str | None:
    """What is wrong with a value of a column of ids; None if nothing is."""
    if is_missing(value, rule):
        return None if rule.missing == "drop" else f"is empty or missing ({value!r})"
    if rule.form == "number" and whole(value.strip()) is None:
        return f"is no whole number ({value!r}), which ids.form: number asks for"
    return None


def whole(text: str) -> str | None:
    """The plain form of a whole number, as `7` for `7.0`, `+7` and `007`; None for anything else."""
    if _PLAIN.fullmatch(text):
        return text
    if not _NUMBER.fullmatch(text) or len(text) > 1000:
        return None
    number = Decimal(text)
    return str(int(number)) if number == number.to_integral_value() else None


def all_plain(values: pa.StringArray, rule: Rule) -> bool:
    """Whether all ids are of one kind that needs no second look, which costs a microsecond each."""
    import pyarrow.compute as pc  # prepared synthetic data need no pyarrow

    return any(pc.all(pc.match_substring_regex(values, kind)).as_py() for kind in _SAFE[rule.form])


def read(array: pa.DictionaryArray, rule: Rule) -> tuple[np.ndarray, list[str], Seen]:
    """Codes (n,) and ids by first appearance, with -1 where an id is missing and may be; and what was seen.

    Every problem (see `problem`) is the caller's to refuse first.
    """
    codes = np.from_dlpack(array.indices)  # pyarrow's own to_numpy would import pandas first
    raw = array.dictionary.to_pylist()
    if all_plain(array.dictionary, rule):
        return codes, raw, Seen()
    clean = [value.strip() for value in raw]
    blanks = sum(a != b for a, b in zip(raw, clean, strict=True))
    lost = {k for k, value in enumerate(clean) if is_missing(value, rule)}
    rewritten = 0
    if rule.form == "number":
        plain = [value if k in lost else whole(value) or value for k, value in enumerate(clean)]
        rewritten = sum(a != b for a, b in zip(clean, plain, strict=True))
        clean = plain
    rows = np.bincount(codes, minlength=len(raw)) if lost else ()
    missing: dict[str, int] = {}
    for k in sorted(lost):
        missing[clean[k]] = missing.get(clean[k], 0) + int(rows[k])
    if blanks or lost or rewritten:
        numbers: dict[str, int] = {}
        new = np.array(
            [-1 if k in lost else numbers.setdefault(v, len(numbers)) for k, v in enumerate(clean)],
            dtype=codes.dtype,
        )
        codes, clean = new[codes], list(numbers)
    alike, example = lookalikes(clean)
    return codes, clean, Seen(missing, blanks, rewritten, alike, example)


def lookalikes(ids: Sequence[str]) -> tuple[int, tuple[str, str] | None]:
    """How many ids differ from an earlier one only as `1` and `1.0`, `7` and `007`, `a` and `A`; and two of them."""
    if all(map(_PLAIN.fullmatch, ids)):
        return 0, None
    first: dict[str, str] = {}
    found, example = 0, None
    for one in ids:
        other = first.setdefault(_form(one), one)
        if other is not one:
            found += 1
            example = example or (other, one)
    return found, example


def _form(one: str) -> str:
    """What an id and those that only look like it have in common."""
    one = one.strip("'\"`") or one  # quotes that the file does not take for such
    if one.isascii():
        return whole(one) or " ".join(one.lower().split())
    plain = unicodedata.normalize("NFKC", one).casefold()
    plain = "".join(c for c in plain if unicodedata.category(c) != "Cf")  # invisible marks
    return whole(plain) or " ".join(plain.split())
