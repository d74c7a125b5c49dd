"""Which code decides a number: a hash over the meaning of modules, and the git revision for people.

A module counts if a name that leads to it is used on the way from an entry module. What is hashed is its syntax
tree without docstrings, comments, formatting, error texts, display literals, ``__all__``, and the import lines of
the project's own modules. A name from another module of the project stands for the meaning of the module that
defines it, so neither a moved file nor another style of import counts. The order and the paths of modules do not
count either. The hash is equal on every supported Python. Nothing is executed.

A module may say ``DECIDES = "nothing"`` (it cannot change a number) or ``DECIDES = "measurements"`` (it cannot
change what a training yields).
"""

from __future__ import annotations

import ast
import hashlib
import json
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from .errors import UserError

DECIDES = "nothing"

ROOT = Path(__file__).resolve().parents[2]
EQUIVALENT = ROOT / "results/reference/equivalent.json"  # written by `python -m tools.gate equal`
EVERYTHING = ("nothing", "measurements", "numbers")
NUMBERS = ("measurements", "numbers")
TRAININGS = ("numbers",)
# Module-level literals of a model file that people read and no number depends on.
DISPLAY = frozenset({"label", "marker", "color", "order", "predicts_all_targets"})
NOTES = frozenset({"__all__", "DECIDES"})  # of any module


def training(model: str) -> str:
    """Identity of the code that decides what a training of ``model`` yields."""
    return meaning(ROOT, _training_entries(model), TRAININGS)


def measuring(*models: str) -> str:
    """Identity of the code that decides what measuring ``models`` yields."""
    return meaning(ROOT, _measuring_entries(models), NUMBERS)


def rendering(*entries: str) -> str:
    """Identity of everything that the modules ``entries`` use, labels included."""
    return meaning(ROOT, entries, EVERYTHING)


def searching() -> str:
    """Identity of the code that decides which trials a study has and which wins."""
    return meaning(ROOT, ["seqbench/training/search.py"], NUMBERS)


def preparing() -> str:
    """Identity of the code that decides what preparing a dataset yields."""
    return meaning(ROOT, ["seqbench/data/pipeline.py"], NUMBERS)


def training_modules(model: str) -> list[str]:
    """Modules whose meaning decides what a training of ``model`` yields, as sorted paths below the checkout."""
    return closure(ROOT, _training_entries(model), TRAININGS)


def measuring_modules(*models: str) -> list[str]:
    """Modules whose meaning decides what measuring ``models`` yields, as sorted paths below the checkout."""
    return closure(ROOT, _measuring_entries(models), NUMBERS)


def _training_entries(model: str) -> tuple[str, ...]:
    file = f"models/{model}.py"
    loop = (
        "seqbench/training/loop.py" if _trainable(ROOT / file) else "seqbench/training/baselines.py"
    )
    return loop, file


def _measuring_entries(models: Iterable[str]) -> tuple[str, ...]:
    files = (f"models/{model}.py" for model in models)
    return "seqbench/measuring/session.py", "seqbench/measuring/phases.py", *files


def _trainable(file: Path) -> bool:
    return _literal(_parsed(file), "trainable", True)


def provenance(code: str) -> dict[str, Any]:
    """A record's block `identity`: that of its code, the git revision, and whether tracked files differ from it."""
    revision = _git("rev-parse", "HEAD")
    dirty = bool(_git("status", "--porcelain", "--untracked-files=no")) if revision else None
    return {"code": code, "revision": revision, "dirty": dirty}


def begun(code: Callable[[], str]) -> Callable[[], dict[str, Any]]:
    """Call before a job runs; the result, called after it, gives the provenance of what ran.

    A file may be edited while a process runs what it held before. The record then keeps the identity of what ran and
    is marked as made with local changes.
    """
    first = provenance(code())

    def then() -> dict[str, Any]:
        forget()
        try:
            if code() == first["code"]:
                return first
        except (
            Exception
        ) as error:  # edited to what is no Python, or gone: what ran is known all the same
            print(f"sources cannot be read any more: {error}", file=sys.stderr)
        print(
            "sources were edited while they ran: the record names the code that ran;"
            " delete it to have it made by the new one",
            file=sys.stderr,
        )
        return first | {"dirty": True}

    return then


def same(one: str | None, other: str | None) -> bool:
    """Whether two identities of code are equal, or were proved to give equal numbers (``equivalent.json``)."""
    return representative(one) == representative(other)


def representative(code: str | None) -> str | None:
    """One identity for all that were proved to give equal numbers: the oldest."""
    return _representatives(EQUIVALENT).get(code, code)


@cache
def _representatives(path: Path) -> dict[str | None, str]:
    """Identity -> the oldest of its class, for every identity that a proof names."""
    first: dict[str | None, str] = {}
    try:
        pairs = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
        proved = [(pair["old"], pair["new"]) for pair in pairs]
    except (ValueError, TypeError, KeyError) as error:
        raise UserError(f"{path}: no list of proofs ({error}); restore it with git") from None
    for pair in proved:
        old, new = (first.get(code, code) for code in pair)
        first |= dict.fromkeys(pair, old)
        first |= {code: old for code, oldest in first.items() if oldest == new}
    return first


# --- meaning of a set of modules ----------------------------------------------------------------------------------


def meaning(root: Path, entries: Iterable[str], counted: Iterable[str]) -> str:
    """Hash over the set of modules that ``entries`` (paths below ``root``) use, of the kinds ``counted``."""
    return _meaning(root, tuple(entries), tuple(counted))


@cache  # a thousand jobs are planned in seconds
def _meaning(root: Path, entries: tuple[str, ...], counted: tuple[str, ...]) -> str:
    texts = {_module(root, file).canonical(counted) for file in closure(root, entries, counted)}
    return _digest("\n".join(sorted(texts - {"[]"})))


def closure(root: Path, entries: Iterable[str], counted: Iterable[str] = EVERYTHING) -> list[str]:
    """``entries`` and every module below ``root`` that they use, as sorted relative paths.

    Modules found by name at run time (the models) are no entry of their users: name them in ``entries``.
    """
    found: set[str] = set()
    waiting = list(entries)
    while waiting:
        file = waiting.pop()
        if file not in found and _module(root, file).decides in counted:
            found.add(file)
            waiting.extend(_module(root, file).used)
    return sorted(found)


def forget() -> None:
    """Read every module anew: files may have changed."""
    _meaning.cache_clear()
    _module.cache_clear()
    _module_names.cache_clear()
    _parsed.cache_clear()


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class _Reference:
    """A module of the project (symbol None) or a name that it defines."""

    file: str
    symbol: str | None = None


@dataclass
class _Module:
    """One module: its tree, the names it binds to the project's modules, and what its own code means."""

    root: Path
    file: str
    tree: ast.Module
    bound: dict[str, _Reference] = field(default_factory=dict)
    whole: set[str] = field(
        default_factory=set
    )  # imported for their effect: no name of theirs is used

    @cached_property
    def decides(self) -> str:
        return _literal(self.tree, "DECIDES", "numbers")

    @cached_property
    def defined(self) -> set[str]:
        return _bound_names(self.tree.body)

    @cached_property
    def read(self) -> set[str]:
        """Names whose value its own code takes."""
        nodes = (n for n in ast.walk(self.tree) if isinstance(n, ast.Name))
        return {node.id for node in nodes if isinstance(node.ctx, ast.Load)}

    @cached_property
    def acts(self) -> bool:
        """Whether importing it does more than to bind names: a call, or a change of what is elsewhere."""
        return _act(self.tree.body)

    @cached_property
    def used(self) -> set[str]:
        """Modules that a name leads to, and those that are imported without using a name of theirs."""
        writer, _ = self.written
        if not self.file.endswith("__init__.py"):  # which hand names on
            idle = self.bound.keys() - writer.names
            writer.used.update(_resolved(self.root, self.bound[name]).file for name in idle)
        return writer.used | self.whole | _acting(self.root, self.file)

    @cached_property
    def written(self) -> tuple[_Writer, list[Any]]:
        """Its canonical form and who wrote it; literals that people read left out of a model."""
        writer = _Writer(self, display=False)
        return writer, writer.write(self.tree)

    def canonical(self, counted: Iterable[str]) -> str:
        """The meaning as text; names of other modules carry the meaning of what those modules say themselves."""

        def carried(reference: _Reference) -> list[str | None]:
            module = _module(self.root, reference.file)
            digest = module.own_digest if module.decides in counted else None
            return ["Own", reference.symbol, digest]

        display = "nothing" in counted
        form = _Writer(self, display).write(self.tree) if display else self.written[1]
        return _text(form, carried)

    @cached_property
    def own_digest(self) -> str:
        return _digest(_text(self.written[1], lambda reference: ["Own", reference.symbol]))


def _text(tree: Any, named: Callable[[_Reference], list[Any]] | None = None) -> str:
    """Canonical form as text; named: what stands for a name of another module."""
    return json.dumps(tree, separators=(",", ":"), default=named)


@cache
def _module(root: Path, file: str) -> _Module:
    module = _Module(root, file, _parsed(root / file))
    package = Path(file).parent.parts
    statements = (n for n in ast.walk(module.tree) if isinstance(n, ast.Import | ast.ImportFrom))
    for node in statements:
        for name, target in _imports(root, node, package):
            if name is None:
                module.whole.add(target.file)
                continue
            if module.bound.get(name, target) != target:  # branches, or functions with their own
                module.whole |= {_resolved(root, t).file for t in (module.bound[name], target)}
            module.bound[name] = target
    return module


@cache
def _parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def _imports(
    root: Path, node: ast.AST, package: tuple[str, ...]
) -> Iterator[tuple[str | None, _Reference]]:
    """Names that an import statement binds to the project's modules; None for a module behind a dotted name."""
    if isinstance(node, ast.Import):
        for alias in node.names:
            parts = tuple(alias.name.split("."))
            file = _file(root, parts)
            if file is None:
                continue
            if alias.asname:
                yield alias.asname, _Reference(file)
                continue
            top = _file(root, parts[:1])
            if top is not None:
                yield parts[0], _Reference(top)
            if len(parts) > 1:
                yield None, _Reference(file)
    elif isinstance(node, ast.ImportFrom):
        base = _base(node, package)
        if _file(root, base) is None and not (root / Path(*base)).is_dir():
            return
        for alias in node.names:
            target = _member(root, base, alias.name)
            if target is not None:
                yield None if alias.name == "*" else alias.asname or alias.name, target


def _member(root: Path, base: tuple[str, ...], name: str) -> _Reference | None:
    """What ``from base import name`` means: a name that base binds or defines, else the module base.name."""
    file, submodule = _file(root, base), _file(root, (*base, name))
    if file is not None and (submodule is None or name in _module_names(root, file)):
        return _Reference(file, name)
    return None if submodule is None else _Reference(submodule)


@cache
def _module_names(root: Path, file: str) -> frozenset[str]:
    """Names that a module defines by itself or takes from the modules it imports from; modules do not count."""
    tree, package = _parsed(root / file), Path(file).parent.parts
    imported = {
        alias.asname or alias.name
        for node in tree.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if _file(root, (*_base(node, package), alias.name)) is None
    }
    return frozenset(_bound_names(tree.body) | imported)


def _base(node: ast.ImportFrom, package: tuple[str, ...]) -> tuple[str, ...]:
    """Parts of the name of the module that ``from ... import`` takes from."""
    base = package[: len(package) + 1 - node.level] if node.level else ()
    return (*base, *node.module.split(".")) if node.module else base


def _file(root: Path, parts: tuple[str, ...]) -> str | None:
    """Path of a module or of a package's ``__init__.py`` below ``root``, or None."""
    if not parts:
        return None
    path = Path(*parts)
    for candidate in (path / "__init__.py", path.with_suffix(".py")):  # as Python looks
        if (root / candidate).is_file():
            return candidate.as_posix()
    return None


def _acting(root: Path, file: str) -> set[str]:
    """Modules that act when ``file`` is imported although no name leads to them: its packages, and what those import."""
    packages = {file} if file.endswith("__init__.py") else set()
    for folder in Path(file).parents:
        if (root / folder / "__init__.py").is_file() and folder.parts:
            packages.add((folder / "__init__.py").as_posix())
    loaded = {t.file for p in packages for t in _module(root, p).bound.values()}
    return {f for f in packages | loaded if _module(root, f).acts}


def _resolved(root: Path, reference: _Reference) -> _Reference:
    """The reference behind names that modules only hand on."""
    seen = set()
    while reference.symbol is not None and reference not in seen:
        seen.add(reference)
        module = _module(root, reference.file)
        if reference.symbol in module.defined or reference.symbol not in module.bound:
            break
        reference = module.bound[reference.symbol]
    return reference


# --- canonical form ------------------------------------------------------------------------------------------------

_ACTIONS = (ast.Expr, ast.AugAssign, ast.Delete, ast.For, ast.While, ast.With)
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
_SCOPES = (*_FUNCTIONS, ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)


class _Writer:
    """Writes syntax trees as nested lists that are equal where the meaning is, on every Python."""

    def __init__(self, module: _Module, display: bool):
        self.module, self.display = module, display
        self.used: set[str] = set()
        self.names: set[str] = set()  # of the bound ones, those that the code uses
        self.hidden: list[set[str]] = []  # names that inner scopes bind anew

    def write(self, node: Any) -> Any:
        if isinstance(node, list):
            return [self.write(item) for item in _statements(node) if not self._own_import(item)]
        if not isinstance(node, ast.AST):
            return node if node is None or isinstance(node, bool) else str(node)
        if isinstance(node, ast.Module):
            return self._module_body(node.body)
        if isinstance(node, ast.Constant):
            return [type(node.value).__name__, _constant(node.value)]
        if isinstance(node, ast.JoinedStr):
            return ["JoinedStr", self._pieces(node.values)]
        if isinstance(node, ast.Raise):
            return ["Raise", self._raised(node.exc), self.write(node.cause)]
        reference = self._reference(node)
        if reference is not None:
            self.used.add(reference.file)
            return reference
        if isinstance(node, _SCOPES):
            self.hidden.append(_scope_names(node))
            try:
                return self._fields(node)
            finally:
                self.hidden.pop()
        return self._fields(node)

    def _fields(self, node: ast.AST) -> list[Any]:
        """Class and fields; what is None, empty or a context is left out, as newer Pythons add such fields."""
        skipped = ("ctx", "type_comment", "kind")
        fields = ((n, v) for n, v in ast.iter_fields(node) if n not in skipped)
        said = [
            [name, self.write(value)] for name, value in fields if value is not None and value != []
        ]
        return [type(node).__name__, *(pair for pair in said if pair[1] != [])]

    def _module_body(self, body: list[ast.stmt]) -> list[Any]:
        """Statements; imports of other packages first and sorted, because a formatter sorts them."""
        of_model = {"Config", "Model"} <= self.module.defined and not self.display
        ignored = NOTES | (DISPLAY - self.module.read if of_model else set())
        imports, others = [], []
        for node in _statements(body):
            if self._own_import(node) or _named(node) in ignored:
                continue
            if isinstance(node, ast.Import | ast.ImportFrom):
                imports += [
                    _text([type(node).__name__, getattr(node, "module", None), a.name, a.asname])
                    for a in node.names
                ]
            else:
                others.append(self.write(node))
        return [*sorted(set(imports)), *others]

    def _own_import(self, node: ast.AST) -> bool:
        if not isinstance(node, ast.Import | ast.ImportFrom):
            return False
        if isinstance(node, ast.ImportFrom) and node.module == "__future__":
            return True
        package = Path(self.module.file).parent.parts
        return any(True for _ in _imports(self.module.root, node, package))

    def _pieces(self, values: list[ast.expr]) -> list[Any]:
        """Parts of an f-string; neighbouring texts are one, empty ones none."""
        pieces: list[Any] = []
        for value in values:
            piece = self.write(value)
            if piece[0] == "str" and pieces and pieces[-1][0] == "str":
                pieces[-1] = ["str", pieces[-1][1] + piece[1]]
            elif piece != ["str", ""]:
                pieces.append(piece)
        return pieces

    def _raised(self, node: ast.expr | None) -> Any:
        """What is raised, without the texts that it is given: they tell people what happened."""
        if not isinstance(node, ast.Call):
            return self.write(node)
        given = [a for a in node.args if not isinstance(a, ast.JoinedStr) and not _is_text(a)]
        return ["Call", self.write(node.func), [self.write(a) for a in given]]

    def _reference(self, node: ast.AST) -> _Reference | None:
        """What a name or a chain of attributes means if it begins with a module of the project."""
        if isinstance(node, ast.Attribute):
            owner = self._reference(node.value)
            if owner is None or owner.symbol is not None:
                return None
            package = Path(owner.file)
            if package.name == "__init__.py":
                base = package.parent.parts
            else:
                base = package.with_suffix("").parts
            target = _member(self.module.root, base, node.attr)
            return _resolved(self.module.root, target or _Reference(owner.file, node.attr))
        if isinstance(node, ast.Name) and not any(node.id in names for names in self.hidden):
            found = self.module.bound.get(node.id)
            self.names.add(node.id)
            return None if found is None else _resolved(self.module.root, found)
        return None


def _statements(nodes: list[Any]) -> list[Any]:
    """Items of a list without docstrings and other bare texts, and without ``pass``."""
    return [
        node
        for node in nodes
        if not isinstance(node, ast.Pass)
        and not (isinstance(node, ast.Expr) and _is_text(node.value))
    ]


def _act(body: list[ast.stmt]) -> bool:
    """Whether statements call something, loop, or assign to an attribute or an item."""
    for node in _statements(body):
        elsewhere = any(isinstance(t, ast.Attribute | ast.Subscript) for t in _targets(node))
        if elsewhere or isinstance(node, _ACTIONS):
            return True
        if isinstance(node, ast.If | ast.Try) and (_act(node.body) or _act(node.orelse)):
            return True
    return False


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def _named(node: ast.stmt) -> str | None:
    """The one name that an assignment binds."""
    targets = _targets(node)
    return getattr(targets[0], "id", None) if len(targets) == 1 else None


def _targets(node: ast.stmt) -> list[ast.expr]:
    if isinstance(node, ast.Assign):
        return node.targets
    return [node.target] if isinstance(node, ast.AnnAssign) else []


def _literal(tree: ast.Module, name: str, default: Any) -> Any:
    """Value of a module-level literal assignment."""
    for node in tree.body:
        if any(getattr(target, "id", None) == name for target in _targets(node)):
            return ast.literal_eval(node.value)
    return default


def _constant(value: Any) -> Any:
    return value if isinstance(value, str) else repr(value)


def _bound_names(body: Iterable[ast.AST]) -> set[str]:
    """Names that statements bind in their own scope, own imports apart."""
    names: set[str] = set()
    waiting = list(body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif not isinstance(node, _SCOPES):
            waiting.extend(ast.iter_child_nodes(node))
    return names


def _scope_names(node: ast.AST) -> set[str]:
    """Parameters of a function and what it assigns; targets of a comprehension."""
    if isinstance(node, _FUNCTIONS):
        a = node.args
        names = {
            arg.arg for arg in (*a.posonlyargs, *a.args, *a.kwonlyargs, a.vararg, a.kwarg) if arg
        }
        return names | (set() if isinstance(node, ast.Lambda) else _bound_names(node.body))
    return _bound_names(generator.target for generator in node.generators)


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(ROOT), *arguments],
            capture_output=True,
            text=True,
            timeout=20,
            check=True,
        )
    except (
        Exception
    ):  # no checkout, no git, or one that refuses: the identity of the code still stands
        return None
    return done.stdout.strip()
