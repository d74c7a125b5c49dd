"""What others published, as data: the sentences of the paper (claims.yaml) and values (published_values.yaml), checked when read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match

from ..core.display import QUANTITIES
from ..core.errors import UserError
from ..core.yaml_files import read
from .load import ROOT
from .messages import explain

CLAIMS, VALUES = ROOT / "config" / "claims.yaml", ROOT / "config" / "published_values.yaml"
SCHEMAS = ROOT / "workflow" / "schemas"


def claims(path: Path = CLAIMS) -> dict[str, Any]:
    """The paper's sentences by kind, each with what it is held against.

    Raises:
        UserError: a key that is missing or unknown, a metric that does not exist; one line that names it.
    """
    return _read(path, SCHEMAS / "claims.schema.yaml")


def published_values(path: Path = VALUES) -> dict[str, Any]:
    """Both blocks of the file: `published_values`, a list, and `paper`, the table of the paper.

    Raises:
        UserError: a key that is missing or unknown, a metric that does not exist, a value out of its range; one line
            that names it.
    """
    return _read(path, SCHEMAS / "published_values.schema.yaml")


def _read(path: Path, schema: Path) -> dict[str, Any]:
    content, rules = read(path), read(schema)
    if error := best_match(Draft202012Validator(rules).iter_errors(content)):
        raise UserError(f"{path.name}: {explain(error)}")
    for metric in _metrics(content):
        if metric not in QUANTITIES:
            raise UserError(
                f"{path.name}: metric {metric!r} is unknown; see seqbench/core/display.py"
            )
    return content


def _metrics(block: Any) -> Iterator[str]:
    """Every metric that a file names."""
    if isinstance(block, dict):
        yield from block.get("metrics", ())
        yield from [block["metric"]] if "metric" in block else ()
        yield from block["quality"] if isinstance(block.get("quality"), dict) else ()
    for part in (
        block.values() if isinstance(block, dict) else block if isinstance(block, list) else ()
    ):
        yield from _metrics(part)
