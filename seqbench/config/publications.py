"""What others published, as data: the sentences of the paper (claims.yaml) and values (published_values.yaml), checked when read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from jsonschema.exceptions import best_match

from ..core.display import QUANTITIES
from ..core.errors import UserError
from ..core.yaml_files import read, read_mapping
from .grid import rungs
from .load import ROOT, Validator
from .messages import explain, instead, show
from .model_files import MODELS, available_models

CLAIMS, VALUES = ROOT / "config" / "claims.yaml", ROOT / "config" / "published_values.yaml"
SCHEMAS = ROOT / "workflow" / "schemas"


def claims(path: Path = CLAIMS) -> dict[str, Any]:
    """The paper's sentences by kind, each with what it is held against.

    Raises:
        UserError: a key that is missing or unknown, a metric that does not exist; one line that names it.
    """
    content = _read(path, SCHEMAS / "claims.schema.yaml")
    for problem in _unheld(content, published_values()["paper"]):
        raise UserError(f"{path.name}: {problem}")
    return content


def check(config: Mapping[str, Any]) -> None:
    """Refuse, before hours of training, what could not be held against anything at their end.

    Datasets and tracks are those of the configuration and of the project's files, as `tuned` of config/tuned.yaml.

    Raises:
        UserError: as `claims` and `published_values`, or a dataset or track that no configuration has.
    """
    ours = [read_mapping(file) for file in sorted(CLAIMS.parent.glob("*.yaml"))]
    known = {
        "dataset": [*dict.fromkeys(name for c in (config, *ours) for name in c.get("datasets", ()))],
        "track": [*dict.fromkeys([*rungs(config), *(name for c in (config, *ours) for name in c.get("tracks", ()))])],
    }  # fmt: skip
    for path, content in (CLAIMS, claims()), (VALUES, published_values()):
        for key, kind, name in _places("", content):
            if name not in known[kind]:
                raise UserError(
                    f"{path.name}: {key} = {name!r}: unknown; {instead(name, known[kind])}"
                )


def _places(key: str, block: Any) -> Iterator[tuple[str, str, str]]:
    """Every dataset and track that a file names: (key, ``dataset`` or ``track``, name)."""
    parts = enumerate(block) if isinstance(block, list) else ()
    for i, part in parts:
        yield from _places(f"{key}[{i}]", part)
    for name, part in block.items() if isinstance(block, dict) else ():
        inner = f"{key}.{name}".lstrip(".")
        if name == "dataset":
            yield inner, "dataset", part
        elif name == "tracks":
            yield from ((inner, "track", track) for track in part)
        else:
            yield from _places(inner, part)


KINDS = ("quality", "values", "cost", "growth")


def _unheld(content: dict[str, Any], paper: dict[str, Any]) -> Iterator[str]:
    """What could never be held against anything: a model that is none, a figure that was not published, a slot that is none."""
    focal = content["focal_model"]
    yield from _unknown("focal_model", focal)
    for kind in KINDS:
        for i, claim in enumerate(content.get(kind, [])):
            key, compared = f"{kind}[{i}]", claim.get("comparators", [])
            for model in compared:
                yield from _unknown(f"{key}.comparators", model)
            try:
                claim["sentence"].format(comparator="")
            except (LookupError, ValueError, AttributeError, TypeError):
                yield f"{key}.sentence = {show(claim['sentence'])}: only {{comparator}} may stand in braces"
            if kind == "values":
                for metric in claim["metrics"]:
                    if focal not in paper["quality"].get(metric, {}):
                        yield f"{key}.metrics = {metric!r}: published_values.yaml has none of {focal} under paper.quality"
            if kind == "cost":
                cell = {"phase": claim["phase"], "metric": claim["metric"]}
                found = [cost["values"] for cost in paper["cost"] if cell.items() <= cost.items()]
                if len(found) != 1 or not all(found[0].get(m) for m in (focal, *compared)):
                    yield f"{key}: published_values.yaml needs {cell['metric']} in {cell['phase']} of {', '.join([focal, *compared])} under paper.cost, once"


def _unknown(key: str, model: str) -> Iterator[str]:
    models = available_models(MODELS)
    if model not in models:
        yield f"{key} = {model!r}: unknown; {instead(model, models)}"


def published_values(path: Path = VALUES) -> dict[str, Any]:
    """Both blocks of the file: `published_values`, a list, and `paper`, the table of the paper.

    Raises:
        UserError: a key that is missing or unknown, a metric that does not exist, a value out of its range; one line
            that names it.
    """
    content = _read(path, SCHEMAS / "published_values.schema.yaml")
    for i, value in enumerate(content["published_values"]):
        for problem in _unknown(f"published_values[{i}].model", value["model"]):
            raise UserError(f"{path.name}: {problem}")
    return content


def _read(path: Path, schema: Path) -> dict[str, Any]:
    content, rules = read(path), read(schema)
    if error := best_match(Validator(rules).iter_errors(content)):
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
