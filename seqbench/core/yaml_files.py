"""YAML and JSON files as they are meant: what a reader takes for something else than is written is refused, with its line.

YAML keeps the last of two equal keys, reads `yes` as true, `010` as 8, `12:30` as 750, `1_000` as 1000, a date as no text,
`1e-3` as text, and nothing at all as null. Another reader of the same file may differ, so each must be written plainly.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from .errors import UserError

DECIDES = "nothing"

MOST_VALUES = 100_000  # of one file, aliases written out
_TAG = "tag:yaml.org,2002:"
_KINDS = {"str", "int", "float", "bool", "null", "seq", "map", "merge"}
_EXPONENT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)[eE][-+]?[0-9]+")
_OTHER_BASE = re.compile(r"[-+]?(0[0-9]|0b|0o[0-7])")


def read(path: Path) -> Any:
    """What a file holds; None for an empty one.

    Raises:
        UserError: no such file, no UTF-8, no YAML or JSON, or a value that is read as another one than it looks like.
    """
    try:
        text = Path(path).read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; name a configuration file") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: is no UTF-8 ({error}); save it as UTF-8") from None
    return parsed(text, str(path))


def read_mapping(path: Path) -> dict[str, Any]:
    """As `read`, for a file whose top level has keys; an empty one gives none."""
    content = read(path)
    if not isinstance(content, dict | None):
        raise UserError(f"{path} = {str(content)[:40]}: must be a mapping, `key: value`")
    return content or {}


def parsed(text: str, name: str) -> Any:
    """What a text holds that came from ``name``; see `read`."""
    try:
        found = _json(text, name)
        found = _yaml(text, name) if found is _NO_JSON else found
        json.dumps(found, ensure_ascii=False, default=str).encode()
        return found
    except UnicodeEncodeError as error:
        half = error.object[error.start]
        raise UserError(
            f"{name}: {half!r} is half a character; write the character itself"
        ) from None
    except RecursionError:
        raise UserError(f"{name}: is nested too deeply; write it with fewer levels") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        said = " ".join(filter(None, [error.context, error.problem]))
        hint = "; indent with blanks" if "\\t" in said else "; check indentation and quotes there"
        raise UserError(f"{name}, line {mark.line + 1}: is no YAML: {said}{hint}") from None
    except (yaml.YAMLError, ValueError) as error:
        raise UserError(f"{name}: is no YAML: {' '.join(str(error).split())}") from None


_NO_JSON = object()


class _Twice(Exception):
    """A JSON object has a key twice."""


def _json(text: str, name: str) -> Any:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            raise _Twice(next(k for i, (k, _) in enumerate(pairs) if k in dict(pairs[:i])))
        return found

    try:
        return json.loads(text, object_pairs_hook=unique)
    except _Twice as twice:
        # YAML knows the lines; it takes no tabs.
        _Checked(name, values=False).visit(yaml.compose(text.replace("\t", " "), yaml.SafeLoader))
        raise UserError(f"{name}: the key {twice} stands there twice; keep one") from None
    except ValueError:
        return _NO_JSON


def _yaml(text: str, name: str) -> Any:
    loader = yaml.SafeLoader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        _Checked(name).visit(node)
        return loader.construct_document(node)
    finally:
        loader.dispose()


class _Checked:
    """One walk over the nodes of a file; raises UserError for what is not read as it is written."""

    def __init__(self, name: str, values: bool = True):
        self.name, self.values = name, values
        self.sizes: dict[int, int] = {}  # node -> values in it, aliases written out; 0 while inside

    def visit(self, node: yaml.Node, path: str = "") -> int:
        known = self.sizes.get(id(node))
        if known is not None:
            if not known:
                self._refuse(node, f"{path}: an alias stands for what it is part of; write it out")
            return known
        self.sizes[id(node)] = 0
        kind = node.tag.removeprefix(_TAG)
        if self.values and kind not in _KINDS | {"timestamp", "value"}:
            self._refuse(node, f"{path}: {node.tag} is not read here; write text, numbers, lists or mappings")  # fmt: skip
        if isinstance(node, yaml.ScalarNode):
            size = 1
            if self.values and node.style is None:
                self._scalar(node, kind, path)
        elif isinstance(node, yaml.SequenceNode):
            size = 1 + sum(self.visit(v, f"{path}[{i}]") for i, v in enumerate(node.value))
        else:
            size = 1 + self._mapping(node, path)
        if size > MOST_VALUES:
            self._refuse(node, f"{path}: holds more than {MOST_VALUES:,} values; write less")
        self.sizes[id(node)] = size
        return size

    def _mapping(self, node: yaml.MappingNode, path: str) -> int:
        own: dict[str, yaml.Node] = {}
        size = 0
        for key, value in node.value:
            if key.tag == f"{_TAG}merge":
                size += 1 + self.visit(value, f"{path}.<<" if path else "<<")
                continue
            if self.values and key.tag != f"{_TAG}str":
                written = getattr(key, "value", None)
                shown = f"the key {written}" if isinstance(written, str) else "a key"
                self._refuse(key, f"{path}: {shown} is read as no text; put it into quotes")
            below = f"{path}.{key.value}" if path else str(key.value)
            self._once(below, own.get(key.value), key)
            own[key.value] = key
            size += 1 + self.visit(value, below)
        self._merges(node, path)
        return size

    def _merges(self, node: yaml.MappingNode, path: str) -> None:
        """What `<<` brings is brought once, and a mapping over a brought one repeats all of its keys."""
        above, brought = _written(node), {}
        for key, value in _merged(node):
            below = f"{path}.{key.value}" if path else str(key.value)
            if brought.get(key.value) not in (None, key):
                self._once(below, brought[key.value], key)
            brought[key.value] = key
            over = above.get(key.value)
            if isinstance(over, yaml.MappingNode) and isinstance(value, yaml.MappingNode):
                lost = _keys(value) - _keys(over)
                if lost:
                    self._refuse(over, f"{below}: takes the place of all that `<<` brings there, {', '.join(sorted(lost))} among it; write {{<<: *alias, ...}} there too")  # fmt: skip

    def _once(self, path: str, first: yaml.Node | None, second: yaml.Node) -> None:
        if first is not None:
            lines = [node.start_mark.line + 1 for node in (first, second)]
            raise UserError(
                f"{self.name}: {path} stands in line {lines[0]} and in line {lines[1]}, and one of them would be lost; keep one"
            )

    def _scalar(self, node: yaml.ScalarNode, kind: str, path: str) -> None:
        text, said = node.value, None
        if kind == "bool" and text.lower() not in ("true", "false"):
            value = yaml.SafeLoader.bool_values[text.lower()]
            said = f"as {str(value).lower()}: write {str(value).lower()}"
        elif kind == "int" and len(text) > 40:
            said = "as a number: write one of at most 40 digits"
        elif kind in ("int", "float") and (re.search("[_:]", text) or _OTHER_BASE.match(text)):
            said = "as another number than it looks like: write the number plainly, in decimals"
        elif kind == "str" and _EXPONENT.fullmatch(text):
            said = f"as text: write {with_point(text)}"
        elif kind == "str" and _OTHER_BASE.match(text) and re.fullmatch("[-+]?0o[0-7]+", text):
            said = "as text: write the number in decimals"
        elif kind == "timestamp":
            said = "as a date: write a number"
        elif kind == "value":
            said = "as a special value: write something else"
        elif kind == "null" and not text:
            self._refuse(node, f"{path}: has no value, which YAML reads as null; write one, or take the key out")  # fmt: skip
        if said:
            self._refuse(node, f"{path}: YAML reads {text} {said}, or put it into quotes where text is meant")  # fmt: skip

    def _refuse(self, node: yaml.Node, problem: str) -> None:
        raise UserError(f"{self.name}, line {node.start_mark.line + 1}: {problem.removeprefix(': ')}")  # fmt: skip


def _written(node: yaml.MappingNode) -> dict[str, yaml.Node]:
    """Keys that a mapping says itself, without those of `<<`."""
    return {
        k.value: v for k, v in node.value if isinstance(k.value, str) and k.tag != f"{_TAG}merge"
    }


def _merged(node: yaml.MappingNode) -> Iterator[tuple[yaml.Node, yaml.Node]]:
    """Keys and values that `<<` brings; of what is no mapping none: building the values refuses it."""
    for key, value in node.value:
        if key.tag == f"{_TAG}merge":
            for part in value.value if isinstance(value, yaml.SequenceNode) else [value]:
                if isinstance(part, yaml.MappingNode):
                    own = _written(part)
                    yield from ((k, v) for k, v in part.value if k.value in own)
                    yield from ((k, v) for k, v in _merged(part) if k.value not in own)


def _keys(node: yaml.MappingNode) -> set[str]:
    return {*_written(node), *(key.value for key, _ in _merged(node))}


def with_point(number: str) -> str:
    """A number with an exponent as YAML reads it: with a point, and a sign at the exponent."""
    mantissa, _, exponent = number.lower().partition("e")
    sign = "" if exponent.startswith(("-", "+")) else "+"
    point = "" if "." in mantissa else ".0"
    return f"{mantissa}{point}e{sign}{exponent}"


class Dumper(yaml.SafeDumper):
    """Writes what `read` takes: a text that looks like a number to others stands in quotes."""


def _text(dumper: yaml.Dumper, text: str) -> yaml.Node:
    alike = _EXPONENT.fullmatch(text) or _OTHER_BASE.match(text)
    return dumper.represent_scalar(f"{_TAG}str", text, "'" if alike else None)


Dumper.add_representer(str, _text)
