"""Models as their files declare them: names, hyper-parameters and flags read from the syntax tree.

Standard library only: nothing here imports a model, because importing one loads torch.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
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
    for node in _module(path).body:
        if isinstance(node, ast.ClassDef) and node.name == "Config":
            return dict(_fields(node, path))
    raise UserError(f"{path}: no class Config; a model file declares its hyper-parameters there")


def _fields(node: ast.ClassDef, path: Path) -> Iterator[tuple[str, tuple[str, Any]]]:
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
    return _flag(path, "trainable", default=True)


def _flag(path: Path, name: str, default: bool) -> bool:
    for node in _module(path).body:
        if isinstance(node, ast.Assign) and any(
            getattr(t, "id", None) == name for t in node.targets
        ):
            return bool(ast.literal_eval(node.value))
    return default
