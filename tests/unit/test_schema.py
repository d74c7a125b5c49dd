"""The schema is the documentation, and the configurations that come with the project keep what they promise."""

import ast
import dataclasses
import functools
import re
from pathlib import Path

import pytest
import yaml

from seqbench import config as configuration
from seqbench.experiment import Training
from seqbench.grid import grid

ROOT = Path(__file__).parents[2]
SCHEMA = yaml.safe_load(configuration.SCHEMA.read_text(encoding="utf-8"))
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
    return functools.reduce(configuration.merged, files)


@pytest.mark.parametrize(
    "names", [["config.yaml"], ["config.yaml", "demo.yaml"], ["config.yaml", "paper.yaml"]]
)
def test_shipped_configurations_are_valid(names):
    config = configuration.validate(merged(*names))
    assert grid(config, configuration.MODELS).trainings


def test_the_demo_reaches_no_network_and_stays_small():
    """Merged over config.yaml, whose datasets stay defined: only what the grid selects counts."""
    config = configuration.validate(merged("config.yaml", "demo.yaml"))
    jobs = grid(config, configuration.MODELS)
    assert {config["datasets"][name]["source"] for name in jobs.datasets()} == {"synthetic"}
    assert len(jobs.trainings) == 7
    assert {e.model for e in jobs.trainings} >= {"mamba4rec", "sasrec", "bert4rec", "gru4rec"}


# Every shipped file, after the files that it is documented to follow.
COMBINATIONS = [
    *([], ["paper"], ["paper", "gpu"], ["paper", "waterfall"], ["recbole"], ["longer"], ["prefix"]),
    *(["protocols"], ["tuned"], ["tune-published"], ["demo"]),
]


def jobs_by_folder(names):
    files = [ROOT / "config" / f"{name}.yaml" for name in names]
    return grid(configuration.load(files), configuration.MODELS)


def test_no_shipped_configuration_changes_what_another_one_trains():
    """A training's folder holds no budget: under other settings it would replace the record of a finished report."""
    shipped = {p.stem for p in (ROOT / "config").glob("*.yaml")} - {"config", "claims", "anchors"}
    assert shipped == {name for names in COMBINATIONS for name in names}
    found = {}
    for names in COMBINATIONS:
        for job in jobs_by_folder(names).trainings:
            first, json = found.setdefault(job.path, (names, job.to_json()))
            assert job.to_json() == json, (
                f"{job.path} of {names} is another training than of {first}"
            )


def test_only_the_papers_batch_of_inference_changes_what_another_configuration_measures():
    """As documented there: a measurement's folder holds neither the batch of inference nor the number of steps."""
    found, changed = {}, set()
    for names in COMBINATIONS:
        for job in jobs_by_folder(names).measurements:
            first, json = found.setdefault(job.path, (names, job.to_json()))
            if job.to_json() != json:
                changed.add((*first, "+", *names))
    assert {pair[-2:] for pair in changed} == {("paper", "gpu"), ("paper", "waterfall")}


def test_the_papers_budgets_hold_at_every_step_of_the_waterfall():
    found = {}
    for job in jobs_by_folder(["paper", "waterfall"]).trainings:
        training = job.training
        budget = (training.max_steps, training.eval_every, training.patience_steps)
        found.setdefault((job.dataset, job.track == "matched"), set()).add(budget)
    assert found == {
        ("ml-1m", False): {(144000, 480, 4800)},
        ("ml-1m", True): {(20000, 480, 4800)},
        ("amazon-beauty", False): {(300 * 65, 65, 650)},
        ("amazon-beauty", True): {(10000, 120, 1200)},
        ("amazon-video-games", False): {(300 * 78, 78, 780)},
        ("amazon-video-games", True): {(10000, 120, 1200)},
    }


def test_the_comparison_is_the_one_the_readme_promises():
    jobs = grid(configuration.validate(merged("config.yaml")), configuration.MODELS)
    assert jobs.datasets() == ["ml-1m", "amazon-beauty", "amazon-video-games"]
    assert len(jobs.trainings) == 5 * (
        4 * 3 + 3
    )  # (dataset, length) x (models x seeds + baselines)
    assert max(m.seq_len for m in jobs.measurements) > 1000
