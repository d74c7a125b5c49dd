"""Which files of the checkout a file imports, read from the syntax tree: nothing is executed."""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterator
from functools import cache
from pathlib import Path


def closure(root: Path, *files: str, without: Collection[str] = ()) -> list[str]:
    """The files and every file below ``root`` that they import, directly or not, as sorted relative paths.

    Imports inside functions count. Modules found by name at run time (the models) do not: name them in ``files``.
    Files named in ``without`` are left out, and so is what only they import.
    """
    found: set[str] = set()
    waiting = list(files)
    while waiting:
        name = waiting.pop()
        if name not in found and name not in without:
            found.add(name)
            waiting.extend(direct(root, name))
    return sorted(found)


@cache
def direct(root: Path, file: str) -> tuple[str, ...]:
    """Files below ``root`` that one file imports; packages on the way count by their ``__init__.py``."""
    tree = ast.parse((root / file).read_text(encoding="utf-8"), filename=file)
    package = Path(file).parent.parts
    names = (name for node in ast.walk(tree) for name in _imported(node, package))
    return tuple(sorted({path for name in names for path in _files(root, name)}))


def _imported(node: ast.AST, package: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """Absolute dotted names, as tuples, that an import statement may mean."""
    if isinstance(node, ast.Import):
        yield from (tuple(alias.name.split(".")) for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        base = package[: len(package) + 1 - node.level] if node.level else ()
        base += tuple(node.module.split(".")) if node.module else ()
        yield from ((*base, alias.name) for alias in node.names)


def _files(root: Path, name: tuple[str, ...]) -> Iterator[str]:
    """Files behind a dotted name: each package's ``__init__.py`` and the module; a trailing attribute is ignored."""
    for end in range(1, len(name) + 1):
        path = Path(*name[:end])
        for candidate in (path.with_suffix(".py"), path / "__init__.py"):
            if (root / candidate).is_file():
                yield candidate.as_posix()
