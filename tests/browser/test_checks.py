"""The checks find what is planted: a page that passes is changed, and the check that must see it does."""

import pytest
from checks import (
    accessibility,
    cut_on_paper,
    disordered,
    figures,
    inconsistent,
    outside,
    overflow,
)

PIXEL = "data:image/gif;base64,R0lGODlhAQABAAAAACw="
WIDE = '<div style="width: 3000px">wide</div>'
CUT = '<div style="width: 4em; overflow: hidden; white-space: nowrap">more text than there is room for</div>'
SCROLLED = f'<div style="overflow: auto">{WIDE}</div>'
PALE = '<p style="color: #888; background: #999">pale</p>'
PICTURE = f'<img src="{PIXEL}">'


@pytest.fixture
def planted(opened, published, tmp_path):
    """Open the page with a text put before another one, which must be there."""

    def open_(text, before="<nav", **options):
        page = published.read_text(encoding="utf-8")
        assert before in page
        file = tmp_path / "planted.html"
        file.write_text(page.replace(before, text + before, 1), encoding="utf-8")
        return opened(file, **options)

    return open_


@pytest.mark.parametrize("fault", [WIDE, CUT])
@pytest.mark.parametrize("width", [375, 1440])
def test_overflow(planted, fault, width):
    board = planted(fault, width=width)
    assert overflow(board.page)


def test_what_scrolls_by_itself_is_no_overflow_but_is_cut_on_paper(planted):
    board = planted(SCROLLED)
    assert overflow(board.page) == []
    board.page.emulate_media(media="print")
    assert cut_on_paper(board.page)


@pytest.mark.parametrize(("fault", "rule"), [(PALE, "color-contrast"), (PICTURE, "image-alt")])
def test_accessibility(planted, fault, rule):
    (found,) = accessibility(planted(fault).page)
    assert found.startswith(rule)


@pytest.mark.parametrize(
    "fault",
    [
        '<img alt="" src="https://example.org/x.png">',
        '<link rel="stylesheet" href="x.css">',
        '<script>fetch("https://example.org")</script>',
        "<style>nav { background: url(https://example.org/x.png) }</style>",
    ],
)
def test_network(planted, fault):
    board = planted(fault)
    assert board.until(board.foreign)
    assert len(board.foreign()) == 1


@pytest.mark.parametrize("fault", ["console.error(1)", "console.warn(1)", "nothing.there", "}"])
def test_complaints(planted, fault):
    assert len(planted(f"<script>{fault}</script>").complaints) == 1


@pytest.mark.parametrize(
    ("fault", "selector"),
    [
        ("h1 { margin-left: -100px }", "h1"),
        ("#sentences { padding-top: 900px }", "#sentences li"),
        ("#leaderboard tbody td { padding-bottom: 150px !important }", "#leaderboard tbody tr"),
        ("figure.scatter { position: relative; left: 300px }", "figure.scatter"),
        ("figure.scatter { display: none }", "figure.scatter"),
    ],
)
def test_first_screen(planted, fault, selector):
    board = planted(f"<style>{fault}</style>", before="</head>")
    assert outside(board.page, selector)


@pytest.mark.parametrize(
    "fault",
    [
        "#leaderboard tr[hidden] { display: table-row !important }",
        "figure.scatter[hidden] { display: block !important }",
        "figure.scatter { display: none }",
        "#leaderboard tbody { display: none }",
    ],
)
def test_a_view_that_is_not_one(planted, fault):
    assert inconsistent(planted(f"<style>{fault}</style>", before="</head>"))


@pytest.mark.parametrize(
    "fault",
    [
        '<text x="50" y="50" fill="#777" style="fill: #777">pale</text>',
        '<text x="-50" y="50">outside</text>',
        '<text x="200" y="50">one</text><text x="205" y="52">over</text>',
    ],
)
def test_text_in_figures(planted, fault):
    picture = (
        f'<svg viewBox="0 0 420 300" width="420" height="300" fill="currentColor">{fault}</svg>'
    )
    assert figures(planted(picture, color_scheme="dark").page)


@pytest.mark.parametrize(
    ("values", "direction", "wrong"),
    [
        (["2", "10", ""], "ascending", False),
        (["10", "2", "2", ""], "descending", False),
        (["10", "2"], "ascending", True),
        (["", "2", "10"], "ascending", True),
        (["a", "B", "c"], "ascending", False),
        (["1e-3", "0.01"], "ascending", False),
    ],
)
def test_order(values, direction, wrong):
    assert disordered(values, direction) == wrong
