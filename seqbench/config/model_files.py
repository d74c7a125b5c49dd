"""Models as their files declare them: names, hyper-parameters, flags and labels read from the syntax tree.

Standard library only: nothing here imports a model, because importing one loads torch.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from functools import lru_cache
from pathlib import Path
from typing import Any

from ..core.errors import UserError

MODELS = Path(__file__).resolve().parents[2] / "models"


def available_models(models_dir: Path) -> list[str]:
    """Names of the public files of the models folder."""
    return sorted(p.stem for p in models_dir.glob("*.py") if not p.stem.startswith("_"))


@lru_cache
def _module(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def model_config_fields(path: Path) -> dict[str, tuple[str, Any]]:
    """Fields of a model file's ``Config``: name -> (annotation, default).

    Raises:
        UserError: the file has no class ``Config``, or a field whose default is not a literal.
    """
    return dict(_config_fields(path))


@lru_cache  # asked for by every job of a grid
def _config_fields(path: Path) -> dict[str, tuple[str, Any]]:
    for node in _module(path).body:
        if isinstance(node, ast.ClassDef) and node.name == "Config":
            return dict(_declared(node, path))
    raise UserError(f"{path}: no class Config; a model file declares its hyper-parameters there")


def _declared(node: ast.ClassDef, path: Path) -> Iterator[tuple[str, tuple[str, Any]]]:
    for item in node.body:
        if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name):
            try:
                default = ast.literal_eval(item.value) if item.value else None
            except ValueError:
                raise UserError(
                    f"{path}: Config.{item.target.id} needs a literal default"
                ) from None
            yield item.target.id, (ast.unparse(item.annotation), default)


def is_trainable(path: Path) -> bool:
    """False when the file says ``trainable = False`` at module level."""
    return bool(_literals(path).get("trainable", True))


@dataclass(frozen=True)
class Shown:
    """How a model is shown, by literals of the same names in its file.

    label: in text; without one the model's name. color, marker: in figures; None for spare ones.
    predicts_all_targets: False if a step predicts only a part of its targets.
    """

    label: str
    color: str | None = None
    marker: str | None = None
    predicts_all_targets: bool = True


def shown(model: str, models_dir: Path = MODELS) -> Shown:
    """How a model is shown; by its bare name if its file is gone."""
    path = models_dir / f"{model}.py"
    said = _literals(path) if path.is_file() else {}
    return Shown(**{"label": model, **{k: v for k, v in said.items() if k != "trainable"}})


def in_order(models: Iterable[str], configured: Iterable[str]) -> list[str]:
    """Distinct models as configured, then the others by name."""
    known = list(configured)
    return sorted(set(models), key=lambda m: (known.index(m) if m in known else len(known), m))


@lru_cache
def _literals(path: Path) -> dict[str, Any]:
    """Literals of a model file by name, of those that this module reads.

    Raises:
        UserError: one of them is no literal.
    """
    read = {"trainable", *(field.name for field in fields(Shown))}
    found = {}
    for node in _module(path).body:
        for target in node.targets if isinstance(node, ast.Assign) else ():
            name = getattr(target, "id", None)
            if name in read:
                try:
                    found[name] = ast.literal_eval(node.value)
                except ValueError:
                    said = ast.unparse(node.value)
                    raise UserError(f"{path}: {name} = {said}: write a literal value") from None
    return found
