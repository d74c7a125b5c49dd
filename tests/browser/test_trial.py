"""The trial: five questions of a new reader, each answered on the page within two clicks."""

import re
from pathlib import Path

import pytest
import yaml
from key import KEY

from seqbench.report import publish

ROOT = Path(__file__).parents[2]
QUESTIONS = yaml.safe_load(Path(__file__).with_name("questions.yaml").read_text(encoding="utf-8"))
UNITS = {"ms": 1e-3, "s": 1, "min": 60, "h": 3600}
QUANTITY = re.compile(r"(\d[\d,]*\.?\d*) ?(ms|s|min|h)?\b")
TOLERANCE = 0.05  # of a number as it is shown: a length is rounded to one digit or two


def says(text, words=(), numbers=()):
    """Whether a text has all these words, and a quantity near each of these numbers (times: in seconds)."""
    quantities = [
        float(digits.replace(",", "")) * UNITS.get(unit, 1)
        for digits, unit in QUANTITY.findall(text.replace("\N{NO-BREAK SPACE}", " "))
    ]
    near = (any(abs(q - n) <= TOLERANCE * abs(n) for q in quantities) for n in numbers)
    return all(word.lower() in text.lower() for word in words) and all(near)


@pytest.fixture(scope="module")
def tables():
    return publish.tables_of(ROOT / "results" / "reference")


def test_the_key_is_whole():
    assert list(QUESTIONS) == list(KEY)
    assert all(len(entry["clicks"]) <= 2 for entry in QUESTIONS.values())


@pytest.mark.slow
@pytest.mark.parametrize("name", QUESTIONS)
def test_a_question_is_answered_within_two_clicks(opened, published, tables, name):
    entry, slots = QUESTIONS[name], KEY[name](tables)
    page = opened(published).page
    for target in entry["clicks"]:
        page.click(target.format(**slots))
    for place in entry["shown"]:
        element = page.locator(place["element"].format(**slots))
        assert element.count() == 1, place
        assert element.is_visible(), place
        words = [word.format(**slots) for word in place.get("words", ())]
        numbers = {slot: slots[slot] for slot in place.get("numbers", ())}
        text = element.inner_text()
        assert says(text, words, numbers.values()), (text, words, numbers)
    print(f"{entry['question']} {entry['answer'].format(**slots)}")


@pytest.mark.parametrize(
    ("text", "words", "numbers", "there"),
    [
        ("Mamba4Rec 0.156 [0.150, 0.163]", ["mamba4rec"], [0.15599], True),
        ("Mamba4Rec 0.156 [0.150, 0.163]", ["SASRec"], [], False),
        ("0.156", [], [0.13], False),
        ("13.7 min", [], [820], True),
        ("44 ms", [], [44], False),
        ("from about 1,000 on", [], [1044], True),
        ("✗ not measured", [], [0.2], False),
    ],
)
def test_what_counts_as_said(text, words, numbers, there):
    assert says(text, words, numbers) == there
