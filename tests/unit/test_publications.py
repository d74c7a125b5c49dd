"""The files of what others published: sound as they are, and a mistake in one of them is one line."""

import copy

import pytest
import yaml
from fuzzing import drawing, one_line
from hypothesis import given
from hypothesis import strategies as st

from seqbench.config import publications
from seqbench.config.load import load
from seqbench.core.errors import UserError


def test_the_papers_sentences_are_sound():
    found = publications.claims()
    assert found["quality"][0]["comparators"] == ["sasrec", "bert4rec", "gru4rec"]
    assert {c["metric"] for c in found["cost"]} == {"peak_reserved_bytes", "epoch_s", "batch_s"}


def test_the_published_values_are_sound():
    found = publications.published_values()
    values = found["published_values"]
    assert {a["model"] for a in values} == {"mamba4rec", "sasrec", "bert4rec", "gru4rec"}
    assert all(a["hr@10"] is None or a["ndcg@10"] is None or a["hr@10"] > a["ndcg@10"] for a in values)  # fmt: skip
    costs = {c["metric"]: c["values"] for c in found["paper"]["cost"]}
    assert costs["peak_reserved_bytes"] == {"mamba4rec": 4.82, "sasrec": 14.98, "bert4rec": 15.48, "gru4rec": None}  # fmt: skip
    quality = found["paper"]["quality"]
    assert [quality[m]["mamba4rec"] for m in ("hr@10", "ndcg@10", "mrr@10")] == [0.3121, 0.1822, 0.1425]  # fmt: skip


def test_every_claim_on_a_figure_has_one_in_the_papers_table():
    table, found = publications.published_values()["paper"], publications.claims()
    focal, costs = found["focal_model"], {(c["phase"], c["metric"]): c["values"] for c in table["cost"]}  # fmt: skip
    for claim in found["cost"]:
        values = costs[claim["phase"], claim["metric"]]
        assert all(values[model] for model in (focal, *claim["comparators"]))
    for claim in found["values"]:
        assert all(table["quality"][metric][focal] for metric in claim["metrics"])


def put(value, *keys):
    """A change of a file's content: the value at a place; None takes the key away."""

    def change(content):
        *above, last = keys
        for key in above:
            content = content[key]
        if value is None:
            del content[last]
        else:
            content[last] = value

    return change


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("claims", put(None, "cost", 0, "tolerance"), "cost[0].tolerance is missing"),
        ("claims", put("d", "growth", 0, "dataset"), "growth[0].dataset = 'd': unknown key"),
        ("claims", put("epochs", "cost", 0, "metric"), "metric 'epochs' is unknown"),
        ("claims", put(["auc"], "quality", 0, "metrics"), "metric 'auc' is unknown"),
        ("claims", put(["ssasrec"], "quality", 0, "comparators"), "quality[0].comparators = 'ssasrec': unknown; did you mean 'sasrec'? allowed"),
        ("claims", put("mamba", "focal_model"), "focal_model = 'mamba': unknown; did you mean"),
        ("claims", put("above {rival}", "growth", 0, "sentence"), "growth[0].sentence = 'above {rival}': only {comparator} may stand in braces"),
        ("claims", put("{", "values", 0, "sentence"), "values[0].sentence = '{': only {comparator} may"),
        ("claims", put("gru4rec", "cost", 0, "comparators", 0), "cost[0]: published_values.yaml needs peak_reserved_bytes in train of mamba4rec, gru4rec, bert4rec"),
        ("claims", put(["hr@10", "epoch_s"], "values", 0, "metrics"), "values[0].metrics = 'epoch_s': published_values.yaml has none of mamba4rec"),
        ("claims", put(float("nan"), "cost", 0, "tolerance"), "cost[0].tolerance = nan: must be a finite number"),
        ("claims", put(float("inf"), "cost", 0, "tolerance"), "cost[0].tolerance = inf: must be a finite number"),
        ("published_values", put("sasrek", "published_values", 2, "model"), "published_values[2].model = 'sasrek': unknown; did you mean 'sasrec'?"),
        ("published_values", put(float("nan"), "published_values", 0, "hr@10"), "published_values[0].hr@10 = nan: must be a finite number or null"),
        ("published_values", put(1e300, "paper", "cost", 0, "scale"), "paper.cost[0].scale = 1e+300: must be a number of at most 15 digits"),
        ("published_values", put(True, "published_values", 0, "seq_len"), "published_values[0].seq_len = True: must be an integer"),
        ("published_values", put("unknown", "published_values", 0, "seen_items"), "published_values[0].seen_items = 'unknown': allowed: kept, excluded"),
        ("published_values", put(31.2, "published_values", 0, "hr@10"), "published_values[0].hr@10 = 31.2"),
        ("published_values", put(2024, "published_values", 0, "year"), "published_values[0].year = 2024: unknown key"),
        ("published_values", put(None, "published_values", 0, "source"), "published_values[0].source is missing"),
        ("published_values", put({"sasrec": 0.1}, "paper", "quality", "auc"), "metric 'auc' is unknown"),
        ("published_values", put(26, "paper", "quality", "hr@10", "sasrec"), "paper.quality.hr@10.sasrec = 26"),
        ("published_values", put(-1, "paper", "cost", 0, "values", "sasrec"), "paper.cost[0].values.sasrec = -1: must be greater than 0"),
        ("published_values", put(3, "paper", "cost", 0), "paper.cost[0] = 3: must be a mapping"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line(tmp_path, name, change, words):
    read = getattr(publications, name)
    content = copy.deepcopy(read())
    change(content)
    file = tmp_path / f"{name}.yaml"
    file.write_text(yaml.safe_dump(content))
    with pytest.raises(UserError) as error:
        read(file)
    assert f"{name}.yaml: {words}" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("claims", put("ml-1n", "quality", 0, "dataset"), "quality[0].dataset = 'ml-1n': unknown; did you mean 'ml-1m'? allowed: "),
        ("claims", put(["mathced"], "values", 0, "tracks"), "values[0].tracks = 'mathced': unknown; did you mean 'matched'? allowed: "),
        ("claims", put(["papr"], "cost", 1, "tracks"), "cost[1].tracks = 'papr': unknown; did you mean 'paper'?"),
        ("published_values", put("amazon-beuty", "published_values", 0, "dataset"), "published_values[0].dataset = 'amazon-beuty': unknown; did you mean 'amazon-beauty'?"),
        ("published_values", put("ml1m", "paper", "dataset"), "paper.dataset = 'ml1m': unknown; did you mean 'ml-1m'?"),
        ("claims", put(None, "focal_model"), "focal_model is missing"),
    ],
)  # fmt: skip
def test_what_no_configuration_has_is_refused_before_anything_runs(
    monkeypatch, tmp_path, name, change, words
):
    content = copy.deepcopy(getattr(publications, name)())
    change(content)
    file = tmp_path / f"{name}.yaml"
    file.write_text(yaml.safe_dump(content))
    read = getattr(publications, name)
    monkeypatch.setattr(publications, name, lambda: read(file))
    with pytest.raises(UserError) as error:
        publications.check(load())
    assert f"{name}.yaml: {words}" in str(error.value) and "\n" not in str(error.value)


def test_names_of_a_configuration_of_ones_own_are_known(monkeypatch):
    config = load()
    publications.check(config)
    content = publications.claims()
    content["quality"][0]["dataset"] = "mine"
    content["cost"][0]["tracks"] = ["wide", "wide-500"]
    monkeypatch.setattr(publications, "claims", lambda: content)
    config["datasets"]["mine"] = config["datasets"]["ml-1m"]
    config["tracks"]["wide"] = config["tracks"]["matched"]
    config["ladder"] = {"track": "wide", "rungs": [500]}
    publications.check(config)


def places(block, above=()):
    items = block.items() if isinstance(block, dict) else enumerate(block) if isinstance(block, list) else ()  # fmt: skip
    for key, value in items:
        yield (*above, key)
        yield from places(value, (*above, key))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["claims", "published_values"])
@drawing(60)
@given(data=st.data())
def test_whatever_stands_at_a_place_is_taken_or_one_line(tmp_path_factory, name, data):
    read = getattr(publications, name)
    content = copy.deepcopy(read())
    at = data.draw(st.sampled_from(list(places(content))))
    others = [
        None,
        True,
        -1,
        0,
        10**400,
        float("nan"),
        "",
        "\u0661",
        "{",
        [],
        {},
        [None],
        {"": None},
        "x" * 999,
    ]
    block = content
    for key in at[:-1]:
        block = block[key]
    if data.draw(st.booleans()) and isinstance(block, dict):
        block[f"{at[-1]}x"] = block.pop(at[-1])
    else:
        block[at[-1]] = data.draw(st.sampled_from(others))
    file = tmp_path_factory.mktemp("drawn") / f"{name}.yaml"
    file.write_text(yaml.safe_dump(content))
    with one_line(f"{name}.yaml"):
        read(file)


@pytest.mark.parametrize("content", ["", "[]", "3", "a: [", "a: 1\na: 2\n", "\x00"])
@pytest.mark.parametrize("name", ["claims", "published_values"])
def test_a_file_that_is_no_mapping_is_one_line(tmp_path, name, content):
    file = tmp_path / f"{name}.yaml"
    file.write_text(content)
    with pytest.raises(UserError) as caught:
        getattr(publications, name)(file)
    assert f"{name}.yaml" in str(caught.value) and "\n" not in str(caught.value)
