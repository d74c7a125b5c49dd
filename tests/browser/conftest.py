"""The browser of the system without a display, and the pages that the tests open in it."""

import os
import shutil
import sys
from pathlib import Path

import pytest
from board import PATIENCE_S, Board

ROOT = Path(__file__).parents[2]
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def pytest_addoption(parser):
    parser.addoption("--page", help="open this file instead of the published page")


def executable():
    """Chromium of this machine: of SEQBENCH_BROWSER, else by name; None if there is none."""
    named = os.environ.get("SEQBENCH_BROWSER")
    return named or next(filter(None, map(shutil.which, BROWSERS)), None)


@pytest.fixture(scope="session")
def browser():
    sync_api = pytest.importorskip(
        "playwright.sync_api", reason="Playwright is not here: `make browser` installs it"
    )
    path = executable()
    if path is None:
        pytest.skip("no Chromium here (SEQBENCH_BROWSER names one)")
    with sync_api.sync_playwright() as playwright:
        # Chromium's sandbox refuses to run as root.
        flags = ["--no-sandbox"] if os.geteuid() == 0 else []
        browser = playwright.chromium.launch(
            executable_path=path, args=flags, timeout=1000 * PATIENCE_S
        )
        yield browser
        browser.close()


@pytest.fixture
def opened(browser):
    """Open a file: ``opened(file, hash="", width=1440, height=900, **context) -> Board``."""
    contexts = []

    def open_(file, hash="", *, width=1440, height=900, **options):
        context = browser.new_context(
            offline=True, viewport={"width": width, "height": height}, **options
        )
        contexts.append(context)
        context.set_default_timeout(1000 * PATIENCE_S)
        board = Board(context.new_page())
        board.open(Path(file).resolve().as_uri() + hash)
        return board

    yield open_
    for context in contexts:
        context.close()


@pytest.fixture(scope="session")
def small(tmp_path_factory):
    """The page of a few hand-made records: two datasets, two lengths, cost measured in one condition only."""
    sys.path.insert(0, str(ROOT / "tests" / "unit"))
    from builders import THREE, curves_of, grid, measurement, rendered, training

    trainings = [
        training(dataset, model, seq_len=seq_len, seed=seed)
        for dataset, seq_len in (("toy", 50), ("toy", 100), ("other", 50))
        for model, seeds in (("popularity", [0]), *((model, [0, 1]) for model in THREE))
        for seed in seeds
    ]
    curve = [one for one in curves_of() if one["curve"] == "length-at-constant-batch"]
    results = tmp_path_factory.mktemp("small")
    rendered(results, grid(trainings, [measurement("toy", THREE, seq_len=100), *curve]), draw=True)
    return results / "report" / "index.html"


@pytest.fixture(scope="session")
def published(request):
    """The file of the published page, or of the one that --page names."""
    given = request.config.getoption("--page")
    return Path(given) if given else ROOT / "docs" / "report" / "index.html"


@pytest.fixture(scope="session", params=["published", "small"])
def site(request):
    """The file of a page under test."""
    return request.getfixturevalue(request.param)
