"""The page in a real browser: from disk, without network, on a large and on a small screen, on paper and without script."""

import csv
import itertools
import math

import pytest
from board import CHIPS
from checks import accessibility, cut_on_paper, outside, overflow

QUALITY = ("ndcg", "hr", "mrr")
CONTROLS = ".chips, #csv, #link"
LARGE, SMALL = 1440, 375


def flipped(board, chip):
    """Press a value of the chip that is not pressed; False if there is none."""
    now = board.state()[chip]
    other = next((value for value in board.offered()[chip] if value != now), None)
    if other is not None:
        board.press(chip, other)
    return other is not None


def away(board):
    """Press another value of every chip that has one."""
    return sum(flipped(board, chip) for chip in CHIPS)


def test_it_opens_without_network_and_without_a_complaint(opened, site):
    board = opened(site)
    for _ in board.views():
        pass
    for key in board.columns():
        board.sort(key)
    board.unfold()
    assert (board.foreign(), board.complaints) == ([], [])


def test_the_answer_stands_on_the_first_screen(opened, site):
    page = opened(site).page
    wanted = ("h1", "#verdicts li", "#sentences li", "#leaderboard tbody tr", "figure.scatter")
    assert outside(page, *wanted) == []
    assert page.locator("#verdicts li").count() == 3
    assert 1 <= page.locator("#sentences li").count() <= 5
    assert page.evaluate("document.documentElement.scrollTop") == 0


def consistent(board):
    """Table and scatter show exactly the view of the chips, or the page says that nothing was measured."""
    state = board.state()
    rows, scatters = board.rows(), board.scatters()
    assert all(row.view == state for row in rows)
    assert scatters in ([state], [])
    assert len({row.model for row in rows}) == len(rows)
    if not rows or not scatters:
        assert "not measured" in board.page.inner_text("#answer")
    return rows


def test_each_chip_changes_table_and_scatter_together(opened, site):
    board = opened(site)
    assert consistent(board)
    assert set(board.offered()) == set(CHIPS)
    start, changed = board.state(), 0
    for chip, value in board.views():
        assert board.state()[chip] == value
        consistent(board)
        changed += board.state() != start
    assert changed


def quality(rows):
    return {row.model: [row.cells[key] for key in QUALITY if key in row.cells] for row in rows}


def test_the_machine_changes_cost_only(opened, site):
    board = opened(site)
    machines = board.offered()["machine"]
    for length in board.offered()["length"]:
        board.press("length", length)
        seen = []
        for machine in machines:
            board.press("machine", machine)
            seen.append(quality(board.rows()))
        assert seen[0]
        assert all(one == seen[0] for one in seen)


def test_another_machine_shows_other_costs(opened, site):
    board = opened(site)
    before = board.rows()
    if flipped(board, "machine"):
        assert [row.cells for row in board.rows()] != [row.cells for row in before]


def in_order(values, direction):
    """Whether raw values stand in an order, with what is missing last."""
    there = [value for value in values if value != ""]
    if values != there + [""] * (len(values) - len(there)):
        return False
    with_numbers = all(value.replace(".", "").lstrip("-")[:1].isdigit() for value in there)
    keys = [float(value) for value in there] if with_numbers else [value.lower() for value in there]
    pairs = list(itertools.pairwise(keys))
    return all(a <= b if direction == "ascending" else a >= b for a, b in pairs)


def test_every_column_sorts_both_ways_with_missing_values_last(opened, site):
    board = opened(site)
    assert {"model", "ndcg"} <= set(board.columns())
    models = {row.model for row in board.rows()}
    for key in board.columns():
        directions = []
        for _ in range(2):
            board.sort(key)
            ((sorted_by, direction),) = board.sorted().items()
            assert sorted_by == key
            values = [row.cells[key].sort for row in board.rows()]
            assert in_order(values, direction), (key, direction, values)
            assert {row.model for row in board.rows()} == models
            directions.append(direction)
        assert sorted(directions) == ["ascending", "descending"]


def test_an_address_brings_the_view_back(opened, site):
    board = opened(site)
    assert away(board)
    board.sort(board.columns()[-1])
    address = board.page.evaluate("location.hash")
    assert opened(site, address).shown() == board.shown()
    board.page.reload()
    assert board.page.evaluate("location.hash") == address
    assert opened(site, address).shown() == board.shown()


def test_back_and_forward_walk_through_the_views(opened, site):
    board = opened(site)
    seen = [board.shown()]
    for chip in CHIPS:
        if flipped(board, chip):
            seen.append(board.shown())
    assert len(seen) > 1
    for earlier in reversed(seen[:-1]):
        board.page.go_back()
        assert board.until(lambda view=earlier: board.shown() == view)
    board.page.go_forward()
    assert board.until(lambda: board.shown() == seen[1])


@pytest.mark.parametrize(
    "address",
    [
        "#dataset=nothing&length=-1&track=&seen=perhaps&machine=%3Cimg%20src=x%3E&sort=unknown",
        "#dataset=constructor&sort=__proto__",
        "#nowhere",
        "#%E0%A4%A",
        "#=&&==",
        '#"]',
    ],
)  # fmt: skip
def test_an_address_with_unknown_values_shows_the_default(opened, site, address):
    board = opened(site, address)
    assert board.shown() == opened(site).shown()
    assert board.complaints == []


def test_an_unknown_value_leaves_the_known_ones(opened, site):
    board = opened(site)
    chip = next(chip for chip in CHIPS if flipped(board, chip))
    value = board.state()[chip]
    assert opened(site, f"#{chip}={value}&sort=unknown&more=1").state()[chip] == value


def downloaded(board):
    with board.page.expect_download() as waiting:
        board.page.click("#csv")
    with open(waiting.value.path(), encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def same(text, raw):
    """Whether a value of the CSV is the raw value of a cell."""
    try:
        return math.isclose(float(text), float(raw), rel_tol=1e-5)
    except ValueError:
        return text == raw


def test_the_csv_holds_the_rows_that_are_shown(opened, site):
    board = opened(site)
    for press in (None, "dataset", "seen", "machine"):
        if press and not flipped(board, press):
            continue
        board.sort("ndcg")
        rows, lines = board.rows(), downloaded(board)
        assert [line["model"] for line in lines] == [row.model for row in rows]
        assert all({"ndcg", "model"} <= set(line) for line in lines)
        for row, line in zip(rows, lines, strict=True):
            for key in set(line) & set(row.cells) - {"model"}:
                assert same(line[key], row.cells[key].sort), (row.model, key)


def test_the_link_button_copies_the_address(opened, site):
    board = opened(site, permissions=["clipboard-read", "clipboard-write"])
    away(board)
    board.page.click("#link")
    board.page.wait_for_function("async () => (await navigator.clipboard.readText()) !== ''")
    assert board.page.evaluate("navigator.clipboard.readText()") == board.page.url


@pytest.mark.parametrize("width", [SMALL, LARGE])
def test_nothing_overflows(opened, site, width):
    board = opened(site, width=width, height=800)
    faults = [("as opened", overflow(board.page))]
    board.unfold()
    faults.append(("unfolded", overflow(board.page)))
    for chip, value in board.views():
        faults.append((f"{chip}={value}", overflow(board.page)))
    assert [fault for fault in faults if fault[1]] == []


def test_on_paper_all_is_there_and_nothing_is_cut(opened, site):
    board = opened(site, width=718, height=1000)  # A4 at 96 dpi, margins of 1 cm
    page = board.page
    page.emulate_media(media="print")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.locator(CONTROLS).locator("visible=true").count() == 0
    assert page.locator("details > :not(summary)").locator("visible=true").count()
    assert page.locator("details:not([open])").count() == 0
    assert cut_on_paper(page) == []
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    page.emulate_media(media="screen")
    assert page.locator("details[open]").count() == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_serious_fault(opened, site, scheme):
    board = opened(site, color_scheme=scheme)
    board.unfold()
    assert accessibility(board.page) == []


def test_without_script_the_default_view_stands(opened, site):
    board, scripted = opened(site, java_script_enabled=False), opened(site)
    assert board.rows() == scripted.rows()
    assert board.scatters() == scripted.scatters()
    assert board.state() == scripted.state()
    assert board.page.locator("#csv, #link").locator("visible=true").count() == 0
