"""Ids as text: which are none, which of them are one, and which only look alike.

Blanks and invisible marks around an id are taken off. A spelling of "no value" is refused, dropped with a count, or kept as a name.
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
    "<null>", "<none>", "(null)", "[null]", "(none)", "\\n", "\\\\n", "undefined", "missing", "1.#ind", "-1.#ind", "1.#qnan", "-1.#qnan",
    "n.a.", "n.a", "not available", "<empty>", "(empty)", "(blank)", "[]", "{}", "()", "''", '""', "-", "--", "---", "\u2013", "\u2014", "?",
    "??", "???", ".", "..", "...", "_", "#", "#ref!", "#value!", "#name?", "#num!", "#div/0!", "#error!", "#spill!", "#calc!",
})  # fmt: skip
_AROUND = "\ufeff\u200b\u200c\u200d\u2060\u200e\u200f\u00ad"  # marks that nobody sees, as of files put behind each other
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
# What spreadsheets and programs make of long numbers: 1.23457E+11, 1.5E7, 1e+05.
_SCIENTIFIC = re.compile(r"[+-]?[0-9](?:\.([0-9]+)[eE]\+?|[eE]\+)([0-9]{1,3})")
EXACT_EXPONENT = 10  # below it `1e+05` is how R writes 100000
_CONTROL = re.compile(
    "[\x00-\x08\x0e-\x1b\x1f\x7f-\x84\x86-\x9f]"
)  # line breaks are refused elsewhere
_THOUSANDS = re.compile(r"[+-]?[0-9]{1,3}([,'\u2019\u00a0\u202f ][0-9]{3})+")
_QUOTES = "'\"`\u2018\u2019\u201a\u201c\u201d\u201e\u00ab\u00bb\u2039\u203a"  # that a file does not take for such


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


def bare(value: str) -> str:
    """A value without blanks and invisible marks around it."""
    return value.strip() if value.isascii() else _strip(value)


def _strip(value: str) -> str:
    before = None
    while value != before:
        before, value = value, value.strip().strip(_AROUND)
    return value


def is_missing(value: str, rule: Rule) -> bool:
    """Whether a value stands for none."""
    value = bare(value)
    return not value or (rule.missing != "keep" and value.lower() in MISSING)


def problem(value: str, rule: Rule) -> str | None:
    """What is wrong with a value of a column of ids; None if nothing is."""
    if is_missing(value, rule):
        return None if rule.missing == "drop" else f"is empty or missing ({value!r})"
    if _CONTROL.search(value):
        return f"holds a control character ({value!r}); take it out of the file"
    if (found := _SCIENTIFIC.fullmatch(bare(value))) and (rule.form == "text" or _rounded(found)):
        exact = ", or say `ids: {form: number}`" if not _rounded(found) else ""
        return f"is in scientific notation ({value!r}), as programs write long numbers, without all digits; write it in full{exact}"
    if rule.form == "number" and whole(bare(value)) is None:
        return f"is no whole number ({value!r}), which ids.form: number asks for"
    return None


def _rounded(scientific: re.Match) -> bool:
    """Whether digits of a number may be gone: the last ones that it has are not written."""
    fraction, exponent = scientific[1] or "", int(scientific[2])
    return exponent > len(fraction) and (bool(fraction) or exponent >= EXACT_EXPONENT)


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
    clean = [bare(value) for value in raw]
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
    one = one.strip(_QUOTES).lstrip("#") or one  # and the sign before a line that is left out
    if not one.isascii():
        one = unicodedata.normalize("NFKC", one)
        one = "".join(c for c in one if unicodedata.category(c) != "Cf")  # invisible marks
        one = unicodedata.normalize("NFKC", one.casefold())
    if _THOUSANDS.fullmatch(one):
        one = re.sub("[^0-9+-]", "", one)
    plain = whole(re.sub(",(0+)$", r".\1", one))
    return plain or " ".join(one.lower().split())
