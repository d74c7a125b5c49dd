"""Errors of the configuration's schema in words: one line that names the key, the value and what is allowed."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

from jsonschema.exceptions import ValidationError

from ..core.yaml_files import with_point

LARGEST = 10**15  # of any number: more is a slip of the hand, which ends in an overflow hours later
NO_MORE = "(?!\n)"  # behind the end of a pattern: `$` alone also stands before a last line break
# Keys of earlier configurations by the new one; * stands for any names.
RENAMED = {
    "settings": "selected_settings",
    "measure.real": "measure.on_datasets",
    "measure.lengths": "seq_lens of measure.scaling.length_at_constant_tokens and of length_at_constant_batch",
    "measure.tokens": "measure.scaling.length_at_constant_tokens.tokens",
    "measure.sequences": "measure.scaling.length_at_constant_batch.sequences",
    "measure.batches": "measure.scaling.batch_size",
    "measure.catalogues": "measure.scaling.catalogue_size",
    "tune.trials": "tune.rungs, as [{settings: 12, share: 1}]",
    "tune.rerun_top_k": "the last of tune.rungs, as {settings: 2, share: 1}",
    "tune.final_seeds": "tune.rerun_seeds",
    "report.waterfall": "report.ablation",
    "datasets.*.local.differs": "differs_from_original",
    "*.training.batch_targets": "targets_per_step",
    "*.training.bucket": "bucket_by_length",
    "*.training.positions": "compute_all_positions (true for every, false for needed)",
    "*.training.select_masking": "select_seen_items (kept for unmasked, excluded for seen-masked)",
}


def renamed(config: Mapping[str, Any]) -> Iterator[str]:
    """A line for every key that has another name now."""
    for key in _keys(config):
        for old, new in RENAMED.items():
            if fnmatchcase(key, old):
                yield f"{key}: renamed to {new}"


def _keys(block: Any, above: str = "") -> Iterator[str]:
    for key, value in block.items() if isinstance(block, Mapping) else ():
        yield f"{above}{key}"
        yield from _keys(value, f"{above}{key}.")


def explain(error: ValidationError) -> str:
    """One line on an error of the schema."""
    at = _key_path(error.absolute_path)
    if error.validator == "additionalProperties" and error.schema["additionalProperties"] is False:
        allowed = list(error.schema["properties"])
        unknown = next(key for key in error.instance if key not in allowed)
        return f"{_join(at, unknown)} = {show(error.instance[unknown])}: unknown key; {instead(unknown, allowed)}"
    if error.validator == "required":
        missing = next(key for key in error.validator_value if key not in error.instance)
        return f"{_join(at, missing)} is missing; {at or 'the configuration'} needs {', '.join(error.validator_value)}"
    if error.validator == "enum":
        return f"{at} = {show(error.instance)}: {instead(error.instance, error.validator_value)}"
    if "propertyNames" in error.absolute_schema_path:
        return f"{_join(at, error.instance)}: a name becomes a folder and {_rule(error)}"
    return f"{at} = {show(error.instance)}: {_rule(error)}"


def _rule(error: ValidationError) -> str:
    value = error.validator_value
    if error.validator == "type":
        needed = _or(value)
        if isinstance(error.instance, float) and not math.isfinite(error.instance):
            needed = needed.replace("a number", "a finite number")
        elif isinstance(error.instance, int | float) and abs(error.instance) > LARGEST:
            needed += f" of at most {len(str(LARGEST)) - 1} digits"
        return f"must be {needed}{text_hint(error.instance)}"
    rules = {
        "minimum": f"must be at least {value}",
        "maximum": f"must be at most {value}",
        "exclusiveMinimum": f"must be greater than {value}",
        "minItems": "must not be empty" if value == 1 else f"needs {value} or more",
        "minProperties": "must not be empty",
        "minLength": "must not be empty",
        "uniqueItems": "has an entry twice",
        "pattern": f"must match {str(value).removesuffix(NO_MORE)}",
    }
    return rules.get(error.validator, error.message)


def _or(types: str | Sequence[str]) -> str:
    names = [types] if isinstance(types, str) else types
    readable = {"object": "a mapping", "array": "a list", "integer": "an integer", "string": "text"}
    named = [readable.get(n, f"a {n}" if n in ("number", "boolean") else n) for n in names]
    return " or ".join(named)


def text_hint(value: Any) -> str:
    """Numbers that arrive as text: YAML reads 1e-3 so, and Snakemake those inside ``--config key={...}``."""
    if not isinstance(value, str):
        return ""
    try:
        float(value)
    except ValueError:
        return ""
    if "e" in value.lower() and with_point(value) != value.lower():
        return f"; YAML reads {value} as text: write {with_point(value)}"
    return "; a number nested in --config arrives as text: put it into a YAML file and pass that with --configfile"


def _key_path(parts: Iterable[str | int]) -> str:
    path = ""
    for part in parts:
        path = f"{path}[{part}]" if isinstance(part, int) else _join(path, part)
    return path


def _join(path: str, key: Any) -> str:
    return f"{path}.{key}" if path else str(key)


def show(value: Any) -> str:
    """A value as written, cut when long."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def instead(value: Any, allowed: Iterable[Any]) -> str:
    """What is allowed, the closest first."""
    names = [str(a) for a in allowed]
    close = difflib.get_close_matches(str(value), names, n=1)
    return f"{f'did you mean {close[0]!r}? ' if close else ''}allowed: {', '.join(names)}"
