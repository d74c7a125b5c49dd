"""Every table has the columns that docs/tables.md documents, no more and no fewer."""

import re
from pathlib import Path

import pytest
from builders import grid, measurement, training, write_grid

from seqbench.analysis import collect
from seqbench.core.display import TABLES
from seqbench.report import publish

PAGE = Path(__file__).parents[2] / "docs" / "tables.md"
PUBLISHED = {
    "effectiveness.csv": TABLES["summary"],
    "efficiency.csv": publish.EFFICIENCY,
}


def documented():
    """Table -> its columns; groups of columns in italics, and the ends of an interval behind ±, spelled out."""
    rows = PAGE.read_text(encoding="utf-8").partition("| table | one row per | columns |")[2]
    cells = re.findall(r"^\| [`*]([\w.]+)[`*] \|[^|]*\| (.*) \|$", rows, flags=re.M)
    found = {}
    for name, text in cells:
        words = text.replace("`", " ").split()
        found[name] = [c for w in words for c in (found[w[1:-1]] if w[0] == "*" else _ends(w))]
    return found


def _ends(word):
    name = word.removesuffix("±")
    return [name] if name == word else [name, f"{name}_low", f"{name}_high"]


@pytest.fixture(scope="module")
def produced(tmp_path_factory):
    """Every table of a small grid: two trained models and a baseline, measured on the data and along a curve."""
    results, pair = tmp_path_factory.mktemp("results"), ("sasrec", "mamba4rec")
    trainings = [training(model=m) for m in ("popularity", *pair)]
    curve = "length-at-constant-batch"
    points = [measurement("full-length", pair, "matched", n, 1000, curve, 8) for n in (50, 100)]
    plan = grid(trainings, [measurement("toy", pair), *points])
    collect.collect(write_grid(results, plan), results, results / "tables")
    return collect.read(results / "tables").frames


# These have rows only of what a small grid lacks: a second machine, a search.
MAY_BE_EMPTY = {
    "repeats",
    "machine_effect",
    "tuning",
    "searches",
    "memory",
    "ladder",
    "equal_cost",
    "time_to_quality",
}


@pytest.mark.parametrize("table", TABLES)
def test_a_table_has_the_documented_columns(produced, table):
    assert len(produced[table]) or table in MAY_BE_EMPTY
    assert sorted(produced[table].columns) == sorted(documented()[table])


@pytest.mark.parametrize("table", PUBLISHED)
def test_a_published_table_has_the_documented_columns(table):
    assert list(PUBLISHED[table]) == documented()[table]


def test_no_documented_table_is_unknown():
    known = {"who", "kernels", "curve", "condition", "on", *TABLES, *PUBLISHED}
    assert set(documented()) == known
