"""The page of small grids: self-contained, complete, the same bytes each time; what is missing is said where it is missing."""

import csv
import html
import re
from html.parser import HTMLParser

import boards
import pandas as pd
import pytest
from builders import (
    THREE,
    curves_of,
    grid,
    measurement,
    plan,
    rendered,
    training,
    write_dataset,
    write_measurement,
    write_training,
)

from seqbench.analysis import collect
from seqbench.analysis.warnings import problems
from seqbench.core.errors import UserError
from seqbench.report import answer, page, style
from seqbench.report.figures_cost import COMMON

SECTIONS = {"answer", *(section for section, *_ in page.SECTIONS)}
VOID = {"meta", "br", "img", "link", "path", "use", "circle", "rect", "line", "polyline", "polygon"}


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A grid of three models with three seeds, measured on the dataset at two lengths and along the curves."""
    results = tmp_path_factory.mktemp("results")
    small = plan()
    measured = [small["measurements"][0], measurement("toy", THREE, seq_len=200), *curves_of()]
    return results, rendered(results, grid(small["trainings"], measured), draw=True)


class Page(HTMLParser):
    """Attributes of every element, texts by element, and whether elements are closed in turn."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.open, self.faults = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag in VOID:
            return
        if not self.open or self.open.pop() != tag:
            self.faults.append(tag)

    def of(self, tag, **attributes):
        return [a for t, a in self.elements if t == tag and all(a.get(k) == v for k, v in attributes.items())]  # fmt: skip

    def values(self, *names):
        return [a[name] for _, a in self.elements for name in names if a.get(name)]


@pytest.mark.slow
def test_the_page_is_one_file_of_closed_elements(built):
    found = Page(built[1])
    assert found.faults == [] and found.open == []
    assert found.values("src", "srcset", "data") == []
    assert not re.search(r"@import|url\((?!#)|https?://", built[1])
    assert len(built[1].encode()) < 2_000_000


@pytest.mark.slow
def test_links_lead_somewhere_and_ids_are_unique(built):
    results, text = built
    found = Page(text)
    ids = found.values("id")
    assert len(ids) == len(set(ids)) and set(ids) >= SECTIONS
    for target in found.values("href", "xlink:href"):
        there = target[1:] in ids if target.startswith("#") else (results / "report" / target).exists()  # fmt: skip
        assert there, target
    named = {i for value in found.values("aria-labelledby") for i in value.split()}
    assert len(named) > 5 and named <= set(ids)


@pytest.mark.slow
def test_every_row_is_there_before_a_script_runs_and_only_one_view_is_shown(built):
    content = collect.read(built[0] / "tables")
    board = content.frames["leaderboard"]
    rows = [a for a in Page(built[1]).of("tr") if "data-model" in a]
    assert len(rows) == len(board) > 4
    shown = {tuple(a[f"data-{chip}"] for chip in answer.DIMENSIONS) for a in rows if "hidden" not in a}  # fmt: skip
    assert shown == {tuple(answer.views(content)[0].state.values())}
    assert len(Page(built[1]).of("figure", **{"class": "scatter"})) >= 1


@pytest.mark.slow
def test_files_of_figures_and_tables_lie_beside_the_page(built):
    folder = built[0] / "report"
    for part, kinds in (("figures", ("svg", "pdf", "png", "csv")), ("tables", ("csv", "md", "tex"))):  # fmt: skip
        names = {file.stem for file in (folder / part).iterdir()}
        assert len(names) > 3
        assert {f.name for f in (folder / part).iterdir()} == {f"{n}.{k}" for n in names for k in kinds}  # fmt: skip
        assert all(file.stat().st_size > 20 for file in (folder / part).iterdir())
    with (folder / "tables" / "leaderboard.csv").open(encoding="utf-8") as file:
        rows = {row["Model"]: row for row in csv.DictReader(file)}
    board = collect.read(built[0] / "tables").frames["leaderboard"]
    shown = board[(board.model == "sasrec") & (board.seen_items == "kept")].iloc[0]
    assert float(rows["sasrec"]["NDCG@10"]) == shown.ndcg


@pytest.mark.slow
def test_the_same_tables_give_the_same_page(built, tmp_path):
    content = collect.read(built[0] / "tables")
    pages = [page.render(content, tmp_path / name).read_bytes() for name in "ab"]
    assert pages[0] == pages[1] == built[1].encode()


@pytest.mark.slow
def test_text_from_outside_is_escaped(tmp_path):
    told = {"file": "a.zip", "sha256": None, "url": None, "terms": "<b>x</b>", "citation": None, "substitute_file": "a & <i>b</i>"}  # fmt: skip
    text = rendered(tmp_path, change=lambda: write_dataset(tmp_path, provenance=told))
    assert not re.search(r"<[bi]>x?", text.replace('<b class="best">', "")) or "<i>" not in text
    assert "<i>b</i>" not in text and "a &amp; &lt;i&gt;b" in text


def test_a_grid_in_which_everything_failed_still_renders(tmp_path):
    def fail():
        for entry in plan()["trainings"]:
            write_training(tmp_path, entry, status="crashed", reason="boom")
        for entry in plan()["measurements"]:
            write_measurement(tmp_path, entry, status="oom", reason="full")

    text = rendered(tmp_path, change=fail)
    assert "No training has ended yet." in text and "boom" in text
    found = problems(collect.read(tmp_path / "tables"))
    assert len(found) >= 10 and any("boom" in line or "crashed" in line for line in found)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["2024", "nan"])
def test_a_name_that_looks_like_something_else_still_renders(tmp_path, name):
    trainings = [training(name, m, name, seed=s) for m in THREE for s in (0, 1, 2)]
    text = rendered(tmp_path, grid(trainings, [measurement(name, THREE, name)]))
    (button,) = Page(text).of("button", **{"data-value": name})[:1]
    assert button["aria-pressed"] == "true"


def test_without_records_on_the_papers_data_one_line_says_so_and_no_table_stands(tmp_path):
    text = rendered(tmp_path)
    section = text.partition('<section id="paper"')[2].partition("</section>")[0]
    assert "<table" not in section and section.count('<p class="none">') == 1
    assert answer.literals()["absent"]["paper"] in html.unescape(section)


def test_a_figure_of_no_section_is_refused_by_its_name(tmp_path, monkeypatch):
    lost = style.Drawing("lost", "nowhere", {}, "T", "C", style.panel, pd.DataFrame())
    monkeypatch.setattr(page.figures, "drawn", lambda _: [lost])
    with pytest.raises(UserError, match=r"figure lost: section 'nowhere' is none of answer, take, .*provenance"):  # fmt: skip
        page.render(boards.tables(), tmp_path)


def test_the_head_counts_what_ended_and_names_failures_and_baselines_apart(tmp_path):
    small = grid([training(model="popularity"), *(training(seed=s) for s in (0, 1, 2))], [measurement()])  # fmt: skip
    text = rendered(tmp_path, small, lambda: write_training(tmp_path, small["trainings"][3], status="oom", reason="full"))  # fmt: skip
    (said,) = re.findall(r'<p id="asof">(.*)</p>', text)
    assert said.startswith("2 trainings, 4 measurements, 1 baseline and 1 failed job on ")


def test_a_grid_without_measurements_says_that_nothing_was_measured(tmp_path):
    text = rendered(tmp_path, grid(plan()["trainings"]))
    assert text.count(">not measured<") >= 3 and "not measured in this view" in text


def test_curves_of_too_few_points_for_any_fit_are_drawn(tmp_path):
    """As in config/quick.yaml: tables on disk hold columns of nothing but nulls, which come back as None."""
    points = [measurement("full-length", THREE, "matched", n, 1000, COMMON, 8) for n in (50, 200)]
    rendered(tmp_path, grid(plan()["trainings"], points), draw=True)
    scaling = collect.read(tmp_path / "tables").frames["scaling"]
    assert len(scaling) and scaling[["a", "b", "c"]].isna().all(axis=None)
    assert list((tmp_path / "report/figures").glob(f"{COMMON}*.svg"))


EVIL = "\"'><img src=x onerror=alert(1)>{{ 7*7 }}"  # a name is a folder's, so without a slash
CLOSING = f"</script></style></title><svg onload=alert(1)>{EVIL}"


@pytest.mark.slow
def test_names_and_reasons_that_are_markup_stay_text(tmp_path):
    """Of datasets, tracks, models, machines and failures, in the page without figures and in the tables beside it."""
    trainings = [training(EVIL, m, EVIL, seed=s) for m in (*THREE, EVIL) for s in (0, 1, 2)]

    def told():
        write_dataset(tmp_path, EVIL, provenance=dict.fromkeys(("file", "sha256", "url", "terms", "citation", "substitute_file"), CLOSING))  # fmt: skip
        for entry in trainings[-3:]:
            write_training(tmp_path, entry, status="crashed", reason=CLOSING)

    text = rendered(tmp_path, grid(trainings, [measurement(EVIL, THREE, EVIL)]), told)
    found = Page(text)
    assert found.faults == [] and found.open == []
    assert not found.of("img") and not [
        a for _, a in found.elements if {"onerror", "onload"} & {*a}
    ]
    assert len(found.of("script")) == 1 and "alert(1)" not in text.rpartition("<script>")[2]
    assert "{{ 7*7 }}" in html.unescape(text) and "alert(1)" in html.unescape(text)
