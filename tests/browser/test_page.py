"""The page in a real browser: from disk, without network, on a large and on a small screen, on paper and without script."""

import csv
import math
import re

import pytest
from board import CHIPS
from checks import (
    accessibility,
    cut_on_paper,
    disordered,
    figures,
    inconsistent,
    outside,
    overflow,
)

QUALITY = ("ndcg", "hr", "mrr")
CONTROLS = ".chips button[aria-pressed=false], #csv, #link"
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


def test_each_chip_changes_table_and_scatter_together(opened, site):
    board = opened(site)
    assert inconsistent(board) == []
    assert set(board.offered()) == set(CHIPS)
    start, changed = board.state(), 0
    for chip, value in board.views():
        assert board.state()[chip] == value
        assert inconsistent(board) == [], (chip, value)
        changed += board.state() != start
    assert changed


def quality(rows):
    return {row.model: [row.cells[key] for key in QUALITY if key in row.cells] for row in rows}


def test_each_view_says_once_what_to_take(opened, site):
    board, said = opened(site), set()
    for view in board.views():
        (line,) = board.advice()
        said.add(line)
        marked = [row for row in board.rows() if "take" in row.cells["model"].text.split()]
        assert len(marked) <= 1, view
        assert all(row.cells["model"].sort in line for row in marked), view
    assert said


def test_a_chip_never_changes_what_stands_left_of_it(opened, site):
    """What the chosen data lack cannot be pressed, and says why."""
    board, withheld = opened(site), 0
    before = board.state()
    for chip, value in board.views():
        now, left = board.state(), CHIPS[: CHIPS.index(chip)]
        assert {name: now[name] for name in left} == {name: before[name] for name in left}, value
        before = now
        for other in CHIPS[1:]:
            for lacking in board.withheld()[other]:
                button = board.page.locator(f'[data-chip="{other}"] [data-value="{lacking}"]')
                assert button.get_attribute("title").startswith("not measured with"), lacking
                withheld += 1
    assert withheld


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
            assert not disordered(values, direction), (key, direction, values)
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


def test_an_address_keeps_its_data_where_they_lack_the_rest(opened, site):
    board, wanted = opened(site), []
    for dataset in board.offered()["dataset"]:
        board.press("dataset", dataset)
        wanted += [(dataset, length) for length in board.withheld()["length"]]
    assert wanted
    for dataset, length in wanted:
        assert opened(site, f"#length={length}&dataset={dataset}").state()["dataset"] == dataset


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
        assert [line["model"] for line in lines] == [row.cells["model"].sort for row in rows]
        assert all({"ndcg", "model"} <= set(line) for line in lines)
        for row, line in zip(rows, lines, strict=True):
            for key in set(line) & set(row.cells):
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


def test_a_large_screen_shows_the_whole_leaderboard_in_every_view(opened, site):
    board = opened(site, width=LARGE)
    for view in board.views():
        hidden = board.page.locator("#board .scroll").evaluate("part => part.scrollWidth - part.clientWidth")  # fmt: skip
        assert hidden <= 0, view
        assert outside(board.page, "#leaderboard tbody tr") == [], view


ON_PAPER = ("#verdicts", "#sentences", "p.advice", "#leaderboard", "figure.scatter", "#limits")
FOR_THE_SCREEN = (
    "nav",
    "details",
    "#take",
    "#lengths",
    "#where",
    "#training",
    "#paper .block:not(#claims)",
)


def test_on_paper_stands_the_answer_with_its_claims_and_limits(opened, site):
    board = opened(site, width=1030, height=700)  # what A4 across has at 96 dpi
    page, there = board.page, [*ON_PAPER]
    there += ["#claims"] * page.locator("#claims").count()
    page.emulate_media(media="print")
    assert page.locator(CONTROLS).locator("visible=true").count() == 0
    assert [name for name in there if page.locator(name).locator("visible=true").count() != 1] == []
    assert [name for name in FOR_THE_SCREEN if page.locator(name).locator("visible=true").count()] == []  # fmt: skip
    assert cut_on_paper(page) == []


def test_the_view_that_is_chosen_is_printed_on_a_few_pages(opened, site):
    board = opened(site)
    away(board)
    board.unfold()
    printed = board.page.pdf(prefer_css_page_size=True)
    assert 1 <= len(re.findall(rb"/Type\s*/Page\b", printed)) <= 4


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_serious_fault(opened, site, scheme):
    board = opened(site, color_scheme=scheme)
    board.unfold()
    assert accessibility(board.page) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_in_figures_can_be_read(opened, site, scheme):
    board = opened(site, color_scheme=scheme)
    board.unfold()
    faults = [figures(board.page)] + [figures(board.page) for _ in board.views()]
    assert [fault for fault in faults if fault] == []


def brightness(board):
    colour = board.page.evaluate("getComputedStyle(document.body).backgroundColor")
    return sum(int(part) for part in re.findall(r"\d+", colour)[:3]) / (3 * 255)


def test_the_ground_is_dark_where_dark_is_asked_for(opened, site):
    assert brightness(opened(site, color_scheme="dark")) < 0.2
    assert brightness(opened(site, color_scheme="light")) > 0.8


def test_a_link_into_a_folded_part_opens_it_and_keeps_the_view(opened, site):
    board = opened(site)
    page, links = board.page, board.page.locator("a[href^='#']")
    away(board)
    before = board.state(), board.rows()
    for name in sorted(set(links.evaluate_all("links => links.map(link => link.hash.slice(1))"))):
        page.evaluate("document.querySelectorAll('details').forEach(part => part.open = false)")
        link = page.locator(f"a[href='#{name}']").locator("visible=true").first
        if link.count():
            link.click()
            assert board.until(page.locator(f"[id='{name}']").is_visible), name
            inside = page.locator(f"[id='{name}']").evaluate(
                "part => part.closest('details')?.open ?? true"
            )
            assert inside, name
            assert (board.state(), board.rows()) == before
    assert opened(site, "#provenance").page.locator("#provenance[open]").count() == 1


def test_the_keyboard_reaches_and_presses_every_control(opened, site):
    board = opened(site)
    page, reached = board.page, set()
    wanted = "fieldset.chips button:enabled, #csv, #link, #leaderboard th[data-key] button, summary"
    count = page.locator(wanted).locator("visible=true").count()
    for _ in range(10 * count):
        page.keyboard.press("Tab")
        at = page.evaluate("wanted => [...document.querySelectorAll(wanted)].indexOf(document.activeElement)", wanted)  # fmt: skip
        if at in reached:
            break
        if at >= 0:
            reached.add(at)
    assert len(reached) == count
    chip = next(chip for chip in CHIPS if len(board.offered()[chip]) > 1)
    button = page.locator(f'[data-chip="{chip}"] button[aria-pressed="false"]').first
    value = button.get_attribute("data-value")
    button.focus()
    page.keyboard.press("Enter")
    assert board.until(lambda: board.state()[chip] == value)
    assert inconsistent(board) == []


def test_without_script_the_default_view_stands(opened, site):
    board, scripted = opened(site, java_script_enabled=False), opened(site)
    assert board.rows() == scripted.rows()
    assert board.scatters() == scripted.scatters()
    assert board.state() == scripted.state()
    assert board.page.locator(CONTROLS).locator("visible=true").count() == 0
