"""Configuration files are read as they are written, or refused in one line with the file and the lines."""

import json
from pathlib import Path

import pytest
import yaml

from seqbench.config import load
from seqbench.core.errors import UserError
from seqbench.core.yaml_files import Dumper, parsed, read, read_mapping

ROOT = Path(__file__).parents[2]
SHIPPED = [
    file
    for folder in ("config", "workflow/schemas", "report/template", "envs", "profiles")
    for file in sorted((ROOT / folder).rglob("*.yaml"))
]


def refusal(text):
    with pytest.raises(UserError) as caught:
        parsed(text, "mine.yaml")
    message = str(caught.value)
    assert "\n" not in message and message.startswith("mine.yaml")
    return message.removeprefix("mine.yaml")


@pytest.mark.parametrize("file", SHIPPED, ids=lambda file: file.name)
def test_files_of_the_project_are_plain_and_read_as_any_reader_does(file):
    assert read(file) == yaml.safe_load(file.read_text("utf-8"))


TWICE = "stands in line {} and in line {}, and one of them would be lost; keep one"
MISREAD = [
    ("run: {seeds: [1]}\nmeasure: {}\nrun: {seeds: [2]}\n", ": run " + TWICE.format(1, 3)),
    ("tracks:\n  a:\n    training: {}\n    'training': {}\n", ": tracks.a.training " + TWICE.format(3, 4)),
    ("seeds: {a: 1, a: 1}", ": seeds.a " + TWICE.format(1, 1)),
    ('{"a": {"b": 1,\n\t"b": 2}}', ": a.b " + TWICE.format(1, 2)),
    ("a: &a {x: 1}\nb: &b {x: 2}\nc:\n  <<: [*a, *b]\n", ": c.x " + TWICE.format(1, 2)),
    ("a: &a\n  x: {p: 1, q: 2}\nb:\n  <<: *a\n  x: {p: 3}\n", ", line 5: b.x: takes the place of all that `<<` brings there, q among it"),
    ("a:\n  on: 3\n", ", line 2: a: the key on is read as no text"),
    ("a: 1\n2: 3\n", ", line 2: the key 2 is read as no text"),
    ("2024-01-01: 3\n", ", line 1: the key 2024-01-01 is read as no text"),
    ("~: 3\n", ", line 1: the key ~ is read as no text"),
    ("? [a]\n: 3\n", ", line 1: a key is read as no text"),
    ("a: yes", ", line 1: a: YAML reads yes as true: write true, or put it into quotes"),
    ("a: [x, No]", ", line 1: a[1]: YAML reads No as false: write false"),
    ("a: ON", ", line 1: a: YAML reads ON as true"),
    ("a: 010", ", line 1: a: YAML reads 010 as another number than it looks like"),
    ("a: 0b11", ", line 1: a: YAML reads 0b11 as another number"),
    ("a: 0o17", ", line 1: a: YAML reads 0o17 as text"),
    ("a: [1,000]", ", line 1: a[1]: YAML reads 000 as another number"),
    ("a: 1_000", ", line 1: a: YAML reads 1_000 as another number"),
    ("a: 1_0.5", ", line 1: a: YAML reads 1_0.5 as another number"),
    ("a: 12:30", ", line 1: a: YAML reads 12:30 as another number"),
    ("a: 1:30.5", ", line 1: a: YAML reads 1:30.5 as another number"),
    ("a: 1e-3", ", line 1: a: YAML reads 1e-3 as text: write 1.0e-3, or put it into quotes"),
    ("a: 2.5E4", ", line 1: a: YAML reads 2.5E4 as text: write 2.5e+4"),
    ("a: 2024-01-31", ", line 1: a: YAML reads 2024-01-31 as a date"),
    ("a: 2024-13-99", ", line 1: a: YAML reads 2024-13-99 as a date"),
    ("a: 1\nb:\n", ", line 2: b: has no value, which YAML reads as null"),
    ("a: {b, c: 1}", ", line 1: a.b: has no value"),
    ("a:\n  - \n", ", line 2: a[0]: has no value"),
    ("a: =", ", line 1: a: YAML reads = as a special value"),
    ("a: !!binary aGk=", ", line 1: a: tag:yaml.org,2002:binary is not read here"),
    ("a: !!set {b}", ", line 1: a: tag:yaml.org,2002:set is not read here"),
    ("a: !!python/object/apply:os.system [ls]", ", line 1: a: tag:yaml.org,2002:python/object/apply:os.system is not read"),
    ("a: !mine 3", ", line 1: a: !mine is not read here"),
    ("a: " + "9" * 5000, ", line 1: a: YAML reads 9"),
    ('a: "\\ud800"', ": '\\ud800' is half a character"),
    ('{"a": "\\udc00"}', ": '\\udc00' is half a character"),
    ("a: &a {b: *a}", ", line 1: a.b: an alias stands for what it is part of"),
    ("a: &a {<<: *a}", ", line 1: a.<<: an alias stands for what it is part of"),
    ("a: 1\n---\nb: 2\n", ", line 2: is no YAML: expected a single document"),
    ("a: 1\n\tb: 2\n", ", line 2: is no YAML: "),
    ("a: [1\nb: 2", ", line 2: is no YAML: "),
    ("a: *b", ", line 1: is no YAML: found undefined alias"),
    ("a: {<<: 3}", ", line 1: is no YAML: "),
    ("a: \x07", ": is no YAML: "),
    ("[" * 5000, ": is nested too deeply"),
    ("- " * 5000, ": is nested too deeply"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "said"), MISREAD)
def test_what_would_be_read_as_something_else_is_refused_with_its_lines(text, said):
    assert refusal(text).startswith(said)


def test_aliases_that_unfold_without_end_are_refused():
    laughs = "a0: &a0 [1, 2, 3]\n" + "".join(
        f"a{k}: &a{k} [{', '.join([f'*a{k - 1}'] * 9)}]\n" for k in range(1, 12)
    )
    assert "holds more than 100,000 values" in refusal(laughs)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", None),
        ("# nothing\n", None),
        ("a: true\nb: 'yes'\nc: \"010\"\nd: 0\ne: -1.5e-3\nf: null\ng: ~\n",
         {"a": True, "b": "yes", "c": "010", "d": 0, "e": -0.0015, "f": None, "g": None}),
        ("'1': x\n'on': y\n", {"1": "x", "on": "y"}),
        ("a: &a {x: 1, y: 2}\nb: {<<: *a, x: 3}\n", {"a": {"x": 1, "y": 2}, "b": {"x": 3, "y": 2}}),
        ("a: v1.10\nb: 1.2.3\nc: 5%\nd: \\t\n", {"a": "v1.10", "b": "1.2.3", "c": "5%", "d": "\\t"}),
        ('{"a": 1e-3,\n\t"b": [010]}'.replace("010", "10"), {"a": 0.001, "b": [10]}),
    ],
)  # fmt: skip
def test_what_is_plain_is_read(text, value):
    assert parsed(text, "mine.yaml") == value


def test_what_accepting_a_search_writes_is_plain():
    facts = {"a": [1e-5, 3e20, True, None, "yes", "010", "1e3", "12:30", "", "2024-01-01"]}
    assert parsed(yaml.dump(facts, Dumper=Dumper), "mine.yaml") == facts
    assert parsed(json.dumps(facts), "mine.json") == facts


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("a: 1".encode("utf-16"), "is no UTF-8"),
        (b"a: \xff", "is no UTF-8"),
        (b"- a", "must be a mapping"),
        (b"3", "must be a mapping"),
        (None, "No such file or directory; name a configuration file"),
    ],
)
def test_files_that_are_no_configuration(tmp_path, content, said):
    file = tmp_path / "mine.yaml"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(UserError, match=said) as caught:
        read_mapping(file)
    assert str(file) in str(caught.value) and "\n" not in str(caught.value)


def test_a_mark_at_the_beginning_and_an_empty_file_are_no_fault(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_bytes(b"\xef\xbb\xbfa: 1\n")
    assert read_mapping(file) == {"a": 1}
    file.write_bytes(b"")
    assert read_mapping(file) == {}


@pytest.mark.parametrize(
    ("text", "command", "said"),
    [
        ("run: {}\nrun: {}\n", [], "run stands in line 1 and in line 2"),
        ("__use_yte__: true\na: ?1 + 2\n", [], "__use_yte__ makes Snakemake run code"),
        ("a: 1", ["report", "--configfile", "a.yaml", "--configfiles=b.yaml"], "--configfile stands twice"),
        ("a: 1", ["--config", "a=1", "-C", "b=2"], "--config stands twice"),
    ],
)  # fmt: skip
def test_what_snakemake_would_take_without_a_word(tmp_path, text, command, said):
    file = tmp_path / "mine.yaml"
    file.write_text(text)
    with pytest.raises(UserError, match=said):
        load.check_given([file], command)


def test_what_is_given_once_is_fine(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("a: 1")
    command = ["report", "--configfile", "a.yaml", "b.yaml", "--config", "a=1", "--cores", "2"]
    load.check_given([file], command)
