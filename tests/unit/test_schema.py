"""The schema is the documentation, and the configurations that come with the project keep what they promise."""

import ast
import dataclasses
import functools
import re
from pathlib import Path

import pytest
import yaml

from seqbench.config import load
from seqbench.config.grid import grid
from seqbench.core.jobs import Training

ROOT = Path(__file__).parents[2]
SCHEMA = yaml.safe_load(load.SCHEMA.read_text(encoding="utf-8"))
KEYWORDS = set(
    [
        "$ref",
        "additionalProperties",
        "allOf",
        "default",
        "description",
        "enum",
        "exclusiveMinimum",
        "items",
        "maximum",
        "minItems",
        "minLength",
        "minProperties",
        "minimum",
        "pattern",
        "patternProperties",
        "properties",
        "propertyNames",
        "required",
        "type",
        "uniqueItems",
        "unit",
    ]
)


def properties(schema, path=""):
    """(path, schema) of every key that the schema describes, behind references too."""
    for name, sub in schema.get("properties", {}).items():
        yield f"{path}.{name}", sub
        yield from properties(sub, f"{path}.{name}")
    for name, sub in schema.get("$defs", {}).items():
        yield from properties(sub, name)


@pytest.mark.parametrize(("path", "sub"), [pytest.param(*p, id=p[0]) for p in properties(SCHEMA)])
def test_every_key_is_documented(path, sub):
    target = sub
    if "$ref" in sub:
        target = {**SCHEMA["$defs"][sub["$ref"].removeprefix("#/$defs/")], **sub}
    assert re.match(r"[A-Z0-9].*[^.]\.$", target["description"])
    assert set(target) <= KEYWORDS, (
        "a comma in an unquoted description makes a keyword of what follows"
    )
    assert "type" in target or "enum" in target
    for number in (target, target.get("items", {})):
        if number.get("type") in ("integer", "number"):
            assert number["unit"]


def test_the_training_keys_and_defaults_are_those_of_the_dataclass():
    documented = {
        name: sub["default"] for name, sub in SCHEMA["$defs"]["training"]["properties"].items()
    }
    assert documented == dataclasses.asdict(Training())


def test_the_synthetic_keys_and_defaults_are_those_of_the_dataclass():
    tree = ast.parse((ROOT / "seqbench" / "data" / "synthetic.py").read_text(encoding="utf-8"))
    (generator,) = [
        n for n in tree.body if isinstance(n, ast.ClassDef) and n.name == "SyntheticConfig"
    ]
    fields = {
        n.target.id: ast.literal_eval(n.value)
        for n in generator.body
        if isinstance(n, ast.AnnAssign)
    }
    assert {
        n: sub["default"] for n, sub in SCHEMA["$defs"]["synthetic"]["properties"].items()
    } == fields


def merged(*names):
    """What Snakemake makes of several --configfile."""
    files = [yaml.safe_load((ROOT / "config" / name).read_text(encoding="utf-8")) for name in names]
    return functools.reduce(load.merged, files)


TRAINED = {"mamba4rec", "sasrec", "bert4rec", "gru4rec"}


def demo():
    """Merged over config.yaml, whose datasets stay defined: only what the grid selects counts."""
    config = load.validate(merged("config.yaml", "demo.yaml"))
    return config, grid(config, load.MODELS)


def test_the_demo_reaches_no_network_and_stays_small():
    config, jobs = demo()
    assert {config["datasets"][name]["source"] for name in jobs.datasets()} == {"synthetic"}
    assert len(jobs.trainings) == 3 * 7 + 2 * 4
    updates = sum(e.training.max_steps for e in jobs.trainings if e.model in TRAINED)
    assert updates <= 10_000 and max(e.training.targets_per_step for e in jobs.trainings) <= 1024


def test_the_demo_has_verdicts_lags_and_a_curve():
    """Three seeds where models are compared, data that differ in the lag only, cost at four lengths."""
    config, jobs = demo()
    seeds = {(e.dataset, e.model): set() for e in jobs.trainings}
    for e in jobs.trainings:
        seeds[e.dataset, e.model].add(e.seed)
    assert all(seeds[jobs.datasets()[0], model] == {0, 1, 2} for model in TRAINED)
    generators = [dict(config["datasets"][name]["synthetic"]) for name in jobs.datasets()]
    assert [g.pop("copy_lag") for g in generators] == [5, 3, 8]
    assert generators[0] == generators[1] == generators[2]
    assert {e.training.schedule for e in jobs.trainings} == {"linear"}
    curves = {}
    for m in jobs.measurements:
        curves.setdefault((m.dataset, m.curve), set()).add(m.seq_len)
    assert [len(lengths) for (_, curve), lengths in curves.items() if curve] == [4]
    assert {name for name, curve in curves if curve is None} == {jobs.datasets()[0]}


def test_the_comparison_is_the_one_the_readme_promises():
    jobs = grid(load.validate(merged("config.yaml")), load.MODELS)
    assert jobs.datasets() == ["ml-1m", "amazon-beauty", "amazon-video-games"]
    # (dataset, length) x (models x seeds + baselines), and two more seeds of one condition
    assert len(jobs.trainings) == 5 * (4 * 3 + 3) + 4 * 2
    assert max(m.seq_len for m in jobs.measurements) > 1000
