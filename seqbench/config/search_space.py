"""Meaning of hyper-parameters in the configuration: values that a model takes, and spaces that a search can draw from."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

from ..core.jobs import TRAINING_KEYS
from .messages import instead, show, text_hint

# Python types of an annotation in a model's Config; bool is an int in Python and is told apart below.
_TYPES: dict[str, tuple[type, ...]] = {
    "int": (int,),
    "float": (int, float),
    "str": (str,),
    "bool": (bool,),
    "None": (type(None),),
}


Fields = Mapping[str, tuple[str, Any]]  # of a model's Config: name -> (annotation, default)


def bad_space(config: Mapping[str, Any], fields: Mapping[str, Fields]) -> Iterator[str]:
    """A space names what some trained model has, its values fit, and its rules are some. fields: of every trained model."""
    tune = config["tune"]
    yield from _bad_rungs("tune", tune)
    for dataset, block in tune["by_dataset"].items():
        yield from _bad_rungs(f"tune.by_dataset.{dataset}", {**tune, **block})
    for key, space in (
        ("tune.space", tune["space"]),
        *((f"tune.spaces.{m}", s) for m, s in tune["spaces"].items()),
    ):
        for name, rule in space.items():
            yield from _bad_shape(f"{key}.{name}", rule)
            yield from _bad_rule(f"{key}.{name}", rule)
    models = tune["models"] or [m for m in config["run"]["models"] if m in fields]
    searched = {name: rule for name, rule in tune["space"].items() if name not in TRAINING_KEYS}
    yield from unknown_everywhere("tune.space", searched, fields)
    spaces = [(f"tune.spaces.{model}", model, space) for model, space in tune["spaces"].items()]
    for model in models if tune["datasets"] else ():
        known = {*fields[model], *TRAINING_KEYS}
        shared = {name: rule for name, rule in tune["space"].items() if name in known}
        if not {**shared, **tune["spaces"].get(model, {})}:
            yield f"tune.space: {model} has nothing of it; name what it has under tune.spaces.{model}"
        spaces.append(("tune.space", model, shared))
    for key, model, space in spaces:
        for name, rule in space.items():
            if name in TRAINING_KEYS:
                yield from _bad_numbers(f"{key}.{name}", rule)
                continue
            if "int" in fields[model].get(name, ("",))[0] and "step" in rule:
                yield from bad_values(
                    f"{key}.{name}", {"step": rule["step"]}, model, {"step": fields[model][name]}
                )
            for value in rule.get("choices", [rule.get("low"), rule.get("high")]):
                yield from bad_values(key, {name: value}, model, fields[model])


def _bad_rungs(key: str, search: Mapping[str, Any]) -> Iterator[str]:
    for below, rung in pairwise(search["rungs"]):
        if rung["settings"] > below["settings"] or rung["share"] < below["share"]:
            yield f"{key}.rungs = {show(rung)}: follows {show(below)}; a rung has no more settings and no smaller share of the budget"
    if search["rungs"][-1]["share"] != 1:
        yield f"{key}.rungs: the last one has share = {show(search['rungs'][-1]['share'])}; it must train for the whole budget, 1"
    if len(search["rungs"]) > 1 and search["rungs"][-1]["settings"] == 1:
        yield f"{key}.rungs: the last one has settings = 1: one alone always wins; leave it out, or write at least 2"
    if len(search["rungs"]) > 1 and search["seed"] in search["rerun_seeds"]:
        yield f"{key}.rerun_seeds = {search['seed']}: is {key}.seed, with which they are trained already; write another"


def _bad_shape(key: str, rule: Mapping[str, Any]) -> Iterator[str]:
    """Choices or a range: a file that writes one over the other of a file below it has both, because mappings merge."""
    parts = [name for name in ("low", "high", "step", "log") if name in rule]
    if "choices" in rule and parts:
        yield (
            f"{key}: has both choices and a range ({', '.join(parts)}): files merge key by key, yours over config.yaml's;"
            f" take one away with null, as {{choices: null, low: ..., high: ...}} or {{choices: [...],"
            f" {', '.join(f'{name}: null' for name in parts)}}}"
        )
    elif "choices" not in rule:
        missing = [name for name in ("low", "high") if name not in rule]
        if missing:
            yield f"{key}.{missing[0]} is missing; {key} needs choices, or low and high"


def _bad_rule(key: str, rule: Mapping[str, Any]) -> Iterator[str]:
    """What Optuna would refuse, or take for something else, when the first trial is proposed."""
    if "choices" in rule:
        return
    low, high, step, log = rule["low"], rule["high"], rule.get("step"), rule.get("log", False)
    if low > high:
        yield f"{key}.low = {show(low)}: must not be above high = {show(high)}"
    if log and step is not None:
        yield f"{key}.step = {show(step)}: log takes no step"
    if log and low <= 0:
        yield f"{key}.low = {show(low)}: log needs a low above 0"
    if step is not None and step <= 0:
        yield f"{key}.step = {show(step)}: must be greater than 0"


def _bad_numbers(key: str, rule: Mapping[str, Any]) -> Iterator[str]:
    """A learning rate and a norm to clip to are above 0, a weight decay not below it; a norm may be null, for no clipping."""
    above = not key.endswith("weight_decay")
    for value in rule.get("choices", [rule.get("low"), rule.get("high")]):
        if value is None and key.endswith("clip_norm") and "choices" in rule:
            continue
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not number:
            yield f"{key} = {show(value)}: must be a number{text_hint(value)}"
        elif value < 0 or (value == 0 and above):
            yield f"{key} = {show(value)}: must be {'greater than' if above else 'at least'} 0"


def without_removed(config: dict[str, Any]) -> dict[str, Any]:
    """Without the rules of a search, and the parts of one, that a file set to null to take them away from a file below it."""
    tune = config["tune"]
    for space in (tune["space"], *tune["spaces"].values()):
        for name, rule in list(space.items()):
            if rule is None:
                del space[name]
            else:
                space[name] = {key: value for key, value in rule.items() if value is not None}
    return config


def unknown_everywhere(
    key: str, values: Mapping[str, Any], fields: Mapping[str, Fields]
) -> Iterator[str]:
    """Names that no trained model has, of hyper-parameters that apply to those that have them."""
    known = dict.fromkeys(name for own in fields.values() for name in own)
    for name, value in values.items():
        if name not in known:
            yield f"{key}.{name} = {show(value)}: no model has such a hyper-parameter; {instead(name, known)}"


def bad_values(
    key: str, values: Mapping[str, Any], model: str, fields: Fields, beside: Sequence[str] = ()
) -> Iterator[str]:
    """Problems of hyper-parameters that a model does not have, or whose value is of another type than its Config says.

    beside: other keys that may stand there.
    """
    for name, value in values.items():
        if name not in fields:
            yield f"{key}.{name} = {show(value)}: {model} has no such hyper-parameter; {instead(name, [*fields, *beside])}"
        elif words := _words(annotation := fields[name][0]):
            if value not in words:
                yield f"{key}.{name} = {show(value)}: {model} takes one of few words; {instead(value, words)}"
        elif not _fits(value, annotation):
            yield f"{key}.{name} = {show(value)}: {model} takes {annotation}{text_hint(value)}"


def _words(annotation: str) -> tuple[Any, ...]:
    """What a ``Literal`` lists; of any other annotation nothing."""
    tree = ast.parse(annotation, mode="eval").body
    if not isinstance(tree, ast.Subscript) or ast.unparse(tree.value).split(".")[-1] != "Literal":
        return ()
    listed = ast.literal_eval(tree.slice)
    return listed if isinstance(listed, tuple) else (listed,)


def _fits(value: Any, annotation: str) -> bool:
    names = [n.strip() for n in annotation.split("|")]
    if any(n not in _TYPES for n in names):
        return True  # an annotation that only the model itself can check
    if isinstance(value, bool):
        return "bool" in names
    return any(isinstance(value, _TYPES[n]) for n in names)
