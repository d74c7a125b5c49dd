"""Finding and building a model by the name of its file."""

from __future__ import annotations

import dataclasses
import importlib
from pathlib import Path
from types import ModuleType
from typing import Literal, get_args, get_origin, get_type_hints

from torch import nn

from models._errors import ModelError


def available() -> list[str]:
    """Names of all models: the public files of this folder."""
    files = Path(__file__).parent.glob("[!_]*.py")
    return sorted(file.stem for file in files)


def load(name: str) -> ModuleType:
    """Import models/<name>.py and nothing else; an unknown name is a ModelError listing the known."""
    if name not in available():
        raise ModelError(f"model {name!r} is unknown; available: {', '.join(available())}")
    return importlib.import_module(f"models.{name}")


def build(name: str, hyperparameters: dict, n_items: int, max_len: int) -> nn.Module:
    """Build a model for histories of up to max_len items; unknown hyper-parameters are refused."""
    module = load(name)
    known = [field.name for field in dataclasses.fields(module.Config)]
    unknown = sorted(set(hyperparameters) - set(known))
    if unknown:
        raise ModelError(
            f"model {name!r} has no hyper-parameter {unknown[0]!r}; it has: {', '.join(known)}"
        )
    config = module.Config(**hyperparameters)
    for field, kind in get_type_hints(module.Config).items():
        if get_origin(kind) is Literal and getattr(config, field) not in get_args(kind):
            allowed = ", ".join(map(str, get_args(kind)))
            raise ModelError(f"{field} {getattr(config, field)!r} is unknown; allowed: {allowed}")
    if not 0 <= getattr(config, "dropout", 0.0) < 1:
        raise ModelError(f"model {name!r}: dropout {config.dropout} is not in [0, 1)")
    return module.Model(config, n_items, max_len)
