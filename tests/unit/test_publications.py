"""The files of what others published: sound as they are, and a mistake in one of them is one line."""

import copy

import pytest
import yaml

from seqbench.config import publications
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
