"""The documents: one table of experiments, short notes of decisions, links that lead somewhere."""

import re
from datetime import date
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DECISIONS = sorted((ROOT / "docs" / "decisions").glob("*.md"))
PAGES = [
    *ROOT.glob("*.md"),
    *(ROOT / f"{folder}/README.md" for folder in ("config", "profiles", "results")),
    *(ROOT / "docs").rglob("*.md"),
]


def experiments() -> list[list[str]]:
    """Cells of every line of the table, its head first."""
    lines = (ROOT / "docs" / "experiments.md").read_text(encoding="utf-8").splitlines()
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if line[:1] == "|"]


def test_the_experiments_are_one_table_newest_first():
    head, _, *rows = experiments()
    assert head == ["date", "question", "expected", "found", "kept"]
    assert [row for row in rows if len(row) != len(head) or not all(row)] == []
    dates = [date.fromisoformat(row[0]) for row in rows]
    assert dates == sorted(dates, reverse=True)
    assert {row[-1] for row in rows} <= {"yes", "no", "partly"}


def test_decisions_are_numbered_few_and_short():
    assert [page.name[:4] for page in DECISIONS] == [f"{n + 1:04}" for n in range(len(DECISIONS))]
    assert len(DECISIONS) <= 15
    lengths = {page.name: len(page.read_text(encoding="utf-8").splitlines()) for page in DECISIONS}
    assert {name: n for name, n in lengths.items() if n > 25} == {}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_relative_links_lead_to_files(page):
    links = re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text(encoding="utf-8"))
    local = [link for link in links if "://" not in link]
    assert [link for link in local if not (page.parent / link).exists()] == []


KIB = 1024
README = ROOT / "README.md"


def generated(text: str) -> str:
    """What stands between the markers of the results."""
    return text.partition("<!-- results:begin -->")[2].partition("<!-- results:end -->")[0]


def test_the_readme_is_read_in_minutes():
    text = README.read_text(encoding="utf-8")
    assert len(text.encode()) <= 15 * KIB
    assert 0 < len(generated(text).encode()) <= 4 * KIB


def test_every_page_of_the_documents_is_short():
    pages = (*(ROOT / "docs").glob("*.md"), ROOT / "results" / "README.md")
    sizes = {page.name: page.stat().st_size for page in pages}
    del sizes["experiments.md"]  # one table, which grows with each experiment
    assert {name: size for name, size in sizes.items() if size > 12 * KIB} == {}
    assert {"method.md", "running.md", "gpu.md", "cluster.md", "regression.md", "extending.md"} <= set(sizes)  # fmt: skip
