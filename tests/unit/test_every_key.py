"""Every key of the configuration's schema with values that it does not take: one line that names the file and the key.

The schema is walked, so a new key is tested by itself. Values are drawn by what the key says of itself: other types, beyond its
range, not of its words, too many of it, null, NaN and infinity, huge, nested, misspelt and twice.
"""

import copy
import math

import pytest
import yaml
from fuzzing import drawing
from hypothesis import given
from hypothesis import strategies as st

from seqbench.config import load
from seqbench.core.errors import UserError
from seqbench.core.yaml_files import Dumper, read

pytestmark = pytest.mark.slow
SCHEMA = read(load.SCHEMA)
# What is in the demo's configuration, and one of everything that it leaves out.
BASE = load.merged(load.load([load.ROOT / "config" / "demo.yaml"]), {
    "datasets": {
        "demo": {"training": {}, "hyperparameters": {"dropout": 0.1}},
        "own": {"source": "file", "seq_lens": [5], "ids": {}, "expect": {}, "local": {"path": "x", "columns": {"user": 0}}},
    },
    "models": {"sasrec": {"matched": {"d_model": 8}}},
    "tracks": {"matched": {"datasets": {"demo": {"training": {}}}}},
    "selected_settings": {"matched": {"demo": {f"L{n}": {model: {"hyperparameters": {"dropout": 0.1}, "training": {}} for model in ("mamba4rec", "sasrec", "bert4rec", "gru4rec")} for n in (32,)}}},
    "ladder": {"track": "matched", "rungs": [100, 200]},
    "run": {"datasets": ["demo"], "more_seeds": [{"track": "matched", "dataset": "demo", "seq_len": 50, "seeds": [7]}]},
    "tune": {"by_dataset": {"demo": {"seq_lens": [32], "training": {}}}, "space": {"dropout": {"low": 0.1, "high": 0.2}}, "spaces": {"sasrec": {"n_layers": {"choices": [1, 2]}}}},
})  # fmt: skip


def resolved(node):
    if "$ref" in node:
        return {**SCHEMA["$defs"][node["$ref"].removeprefix("#/$defs/")], **{k: v for k, v in node.items() if k != "$ref"}}  # fmt: skip
    return node


def places(node, value, path=()):
    """(path, schema) of every key and entry; names that a user chooses are those of BASE."""
    node = resolved(node)
    if path:
        yield path, node
    for name, sub in node.get("properties", {}).items():
        inner = value.get(name) if isinstance(value, dict) else None
        yield from places(sub, inner, (*path, name))
    if isinstance(value, dict):
        for name, inner in list(value.items())[-1:] if "properties" not in node else ():
            patterns = [sub for pattern, sub in node.get("patternProperties", {}).items() if name in pattern]  # fmt: skip
            more = node.get("additionalProperties")
            for sub in patterns or ([more] if isinstance(more, dict) else []):
                yield from places(sub, inner, (*path, name))
    if isinstance(value, list) and value and "items" in node:
        yield from places(node["items"], value[0], (*path, 0))


PLACES = {".".join(map(str, path)): (path, node) for path, node in places(SCHEMA, BASE)}
SAMPLES = {
    "null": None, "boolean": True, "integer": 3, "number": 2.5, "string": "words", "array": [3.5, "x"],
    "object": {"no-such": 1},
}  # fmt: skip
EXTREME = [math.nan, math.inf, -math.inf, 1e308, -1e308, 10**400, -(10**400), 2**63, "", " ", "\u00e9" * 3, "e\u0301", "\u202e", "a" * 2000, "1e-3", "0x10", "\u0661", [], {}, [[]], [None], {"": None}]  # fmt: skip


def types(node):
    given = node.get("type", [])
    return [given] if isinstance(given, str) else given


def is_of(value, kinds):
    tests = {
        "null": lambda v: v is None,
        "boolean": lambda v: isinstance(v, bool),
        "integer": lambda v: isinstance(v, int) and not isinstance(v, bool) and abs(v) <= 10**15,
        "number": lambda v: isinstance(v, int | float) and not isinstance(v, bool) and abs(v) <= 10**15,
        "string": lambda v: isinstance(v, str),
        "array": lambda v: isinstance(v, list),
        "object": lambda v: isinstance(v, dict),
    }  # fmt: skip
    return any(tests[kind](value) for kind in kinds)


def wrong(node):
    """Values that a key does not take, by its own schema, each with what is wrong."""
    kinds = types(node)
    if "enum" in node:
        for value in [*SAMPLES.values(), *EXTREME]:
            if not any(value == one and type(value) is type(one) for one in node["enum"]):
                yield "word", value
        for one in node["enum"]:
            if isinstance(one, str):
                yield "word", one.upper() if one.upper() != one else f"{one}x"
                yield "word", f" {one}"
        return
    for value in [*SAMPLES.values(), *EXTREME]:
        if not is_of(value, kinds):
            yield "type", value
    numeric = {"integer", "number"} & set(kinds)
    if numeric:
        if "minimum" in node:
            yield "range", node["minimum"] - 1
        if "exclusiveMinimum" in node:
            yield "range", node["exclusiveMinimum"]
            yield "range", node["exclusiveMinimum"] - 1
        if "maximum" in node:
            yield "range", node["maximum"] + 1
    if "array" in kinds and node.get("uniqueItems") and "items" in node:
        entry = resolved(node["items"])
        twice = 7 if "integer" in types(entry) else "matched"
        yield "twice", [twice, twice]
    if node.get("minItems"):
        yield "empty", []
    if node.get("minLength"):
        yield "empty", ""


def changed(path, value):
    config = copy.deepcopy(BASE)
    block = config
    for key in path[:-1]:
        if isinstance(block, dict):
            block.setdefault(key, {})
        block = block[key]
    block[path[-1]] = value
    return config


def dotted(path):
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)[1:]


def refusal(config):
    with pytest.raises(UserError) as caught:
        load.validate(config)
    message = str(caught.value)
    assert "\n" not in message and message.isprintable() and len(message) < 1200
    return message


def test_all_keys_are_walked():
    """As many as the schema describes, each at some place of BASE."""
    described = set()

    def collect(node, name):
        for key, sub in node.get("properties", {}).items():
            described.add((name, key))
            collect(sub, key)
        for part in ("items", "additionalProperties"):
            if isinstance(node.get(part), dict):
                collect(node[part], name)

    for name, sub in [("", SCHEMA), *SCHEMA["$defs"].items()]:
        collect(sub, name)
    walked = {path[-1] for path, _ in PLACES.values()}
    assert {key for _, key in described} <= walked
    load.validate(BASE)


@pytest.mark.parametrize("place", PLACES)
@drawing(8)
@given(data=st.data())
def test_what_a_key_does_not_take_is_named_with_the_key(place, data):
    path, node = PLACES[place]
    faults = list(wrong(node))
    for what, value in [data.draw(st.sampled_from(faults))] if faults else ():
        if value is None and "null" not in types(node) and path[-1] in ("space", "spaces"):
            continue
        message = refusal(changed(path, value))
        assert message.startswith("config: ") and dotted(path).rpartition("[")[0 if "[" in dotted(path) else 2] in message, (what, value, message)  # fmt: skip


@pytest.mark.parametrize("place", [p for p, (path, _) in PLACES.items() if isinstance(path[-1], str)])  # fmt: skip
def test_a_misspelt_key_is_named(place):
    path, _ = PLACES[place]
    above = resolved(PLACES[".".join(map(str, path[:-1]))][1]) if len(path) > 1 else SCHEMA
    if path[-1] not in above.get("properties", {}):
        return  # a name of the user's
    value = BASE
    for key in path:
        value = value.get(key) if isinstance(value, dict) else value[key] if value else None
    for other in (f"{path[-1]}s", path[-1].upper(), f"{path[-1]} ", path[-1].replace("e", "\u0435"), path[-1].replace("_", "-")):  # fmt: skip
        if other in above["properties"]:
            continue
        message = refusal(changed((*path[:-1], other), 1 if value is None else value))
        assert f"{other!r}"[1:-1] in message.encode("unicode_escape").decode() or other in message
        said = ("unknown key", "renamed to", "no such hyper-parameter")
        assert any(words in message for words in said)
        if other == f"{path[-1]}s":
            assert f"did you mean {path[-1]!r}?" in message


@drawing(60)
@given(data=st.data())
def test_a_files_fault_is_told_with_the_file(tmp_path_factory, data):
    """As YAML, behind another file; the file that brings it is named, not the one before."""
    path, node = PLACES[data.draw(st.sampled_from(sorted(PLACES)))]
    candidates = [value for _, value in wrong(node) if not (isinstance(value, int) and abs(value) > 10**39)]  # fmt: skip
    if not candidates or any(isinstance(part, int) for part in path):
        return
    value = data.draw(st.sampled_from(candidates))
    for key in reversed(path):
        value = {key: value}
    folder = tmp_path_factory.mktemp("fault")
    first, second = folder / "first.yaml", folder / "second.yaml"
    first.write_text(yaml.dump(BASE, Dumper=Dumper), encoding="utf-8")
    second.write_text(yaml.dump(value, Dumper=Dumper, allow_unicode=True), encoding="utf-8")
    try:
        load.load([first, second])
    except UserError as error:
        message = str(error)
        assert message.startswith(str(second)) and "\n" not in message, message
    else:
        assert path[-1] in ("space", "spaces") or value == {} or _merges_to_nothing(value)


def _merges_to_nothing(value):
    """A mapping without keys changes nothing below it."""
    while isinstance(value, dict) and value:
        value = next(iter(value.values()))
    return value == {}


@pytest.mark.parametrize("place", [p for p, (path, _) in PLACES.items() if all(isinstance(k, str) for k in path)])  # fmt: skip
def test_a_key_that_stands_twice_is_named_with_both_lines(tmp_path, place):
    path, _ = PLACES[place]
    lines = [f"{'  ' * k}{key}:" for k, key in enumerate(path)]
    lines[-1] += " 1"
    lines.append(lines[-1])
    file = tmp_path / "mine.yaml"
    file.write_text("\n".join(lines))
    with pytest.raises(UserError) as caught:
        load.load([file])
    n = len(lines)
    assert str(caught.value) == (
        f"{file}: {dotted(path)} stands in line {n - 1} and in line {n}, and one of them would be lost; keep one"
    )
