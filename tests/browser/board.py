"""The first screen as an object: its chips, its table, its scatter and its address, as a reader sees them."""

import time
from dataclasses import dataclass

PATIENCE_S = 120  # what never becomes true fails; a busy machine does not

CHIPS = ("dataset", "length", "track", "seen", "machine")

CHIPS_JS = """() => Object.fromEntries([...document.querySelectorAll('fieldset.chips')].map(set =>
  [set.dataset.chip, [...set.querySelectorAll('button')].map(button =>
    ({value: button.dataset.value, pressed: button.getAttribute('aria-pressed') === 'true', enabled: !button.disabled}))]))"""
ROWS_JS = """() => [...document.querySelectorAll('#leaderboard tbody tr')].filter(row => row.checkVisibility()).map(row =>
  ({view: {...row.dataset}, cells: Object.fromEntries([...row.querySelectorAll('[data-key]')].map(cell =>
    [cell.dataset.key, {text: cell.innerText.trim(), sort: cell.dataset.sort ?? ''}]))}))"""
SCATTERS_JS = """() => [...document.querySelectorAll('figure.scatter')].filter(figure => figure.checkVisibility())
  .map(figure => ({...figure.dataset}))"""
SORTED_JS = """() => Object.fromEntries([...document.querySelectorAll('#leaderboard th[aria-sort]')]
  .filter(head => head.ariaSort !== 'none').map(head => [head.dataset.key, head.ariaSort]))"""


@dataclass(frozen=True)
class Cell:
    """A cell of the leaderboard: what is shown, and the raw value that it is sorted by (empty: none)."""

    text: str
    sort: str


@dataclass(frozen=True)
class Row:
    """A visible row: the view it belongs to, its model, its cells by column."""

    view: dict
    model: str
    cells: dict


class Board:
    """A page in the browser, with what it asked for and complained of since it was opened."""

    def __init__(self, page):
        self.page = page
        self.requests, self.complaints = [], []
        page.on("request", lambda request: self.requests.append(request.url))
        page.on(
            "console", lambda message: self.complaints.append(f"{message.type}: {message.text}")
        )
        page.on("pageerror", lambda error: self.complaints.append(f"error: {error}"))

    def until(self, holds):
        """Wait until a function of no arguments is true, or until it is in vain; whether it is true."""
        end = time.monotonic() + PATIENCE_S
        while not (there := holds()) and time.monotonic() < end:
            self.page.wait_for_timeout(20)
        return there

    def open(self, address):
        self.page.goto(address, wait_until="load")

    def foreign(self):
        """Addresses asked for, besides the page itself and what it holds."""
        own = self.page.url.partition("#")[0]
        return [url for url in self.requests if url.partition("#")[0] != own and not url.startswith(("data:", "blob:"))]  # fmt: skip

    def offered(self):
        """{chip: values that can be pressed}."""
        chips = self.page.evaluate(CHIPS_JS)
        return {chip: [b["value"] for b in buttons if b["enabled"]] for chip, buttons in chips.items()}  # fmt: skip

    def state(self):
        """{chip: the value that is pressed}."""
        found = {}
        for chip, buttons in self.page.evaluate(CHIPS_JS).items():
            (found[chip],) = (button["value"] for button in buttons if button["pressed"])
        return found

    def press(self, chip, value):
        """Press a value of a chip and wait until it is shown as pressed."""
        self.page.click(f'fieldset.chips[data-chip="{chip}"] button[data-value="{value}"]')
        assert self.until(lambda: self.state()[chip] == value), f"{chip}={value} was not taken"

    def rows(self):
        """Visible rows of the leaderboard from top to bottom."""
        found = []
        for row in self.page.evaluate(ROWS_JS):
            cells = {key: Cell(**cell) for key, cell in row["cells"].items()}
            view = {chip: row["view"].get(chip) for chip in CHIPS}
            found.append(Row(view, row["view"]["model"], cells))
        return found

    def scatters(self):
        """Views of the visible scatters."""
        return [{chip: data.get(chip) for chip in CHIPS} for data in self.page.evaluate(SCATTERS_JS)]  # fmt: skip

    def columns(self):
        """Keys of the visible columns that can be sorted."""
        heads = self.page.locator("#leaderboard th[data-key]:has(button)").locator("visible=true")
        return heads.evaluate_all("heads => heads.map(head => head.dataset.key)")

    def sort(self, key):
        """Press the head of a column and wait until it is sorted by in another way than before."""
        before = self.sorted()
        self.page.click(f'#leaderboard th[data-key="{key}"] button')
        assert self.until(lambda: self.sorted() != before), f"{key} was not sorted by"

    def sorted(self):
        """{column: "ascending" or "descending"} of the columns that say that they are sorted."""
        return self.page.evaluate(SORTED_JS)

    def shown(self):
        """All of a view that can be compared with another one."""
        return self.state(), self.sorted(), self.rows(), self.scatters()

    def views(self):
        """Press each dataset, and on it each value of each chip that it has; yield the chip and the value."""
        for dataset in self.offered()["dataset"]:
            self.press("dataset", dataset)
            yield "dataset", dataset
            for chip in CHIPS[1:]:
                for value in self.offered()[chip]:
                    self.press(chip, value)
                    yield chip, value

    def withheld(self):
        """{chip: values that cannot be pressed in this view}."""
        chips = self.page.evaluate(CHIPS_JS)
        return {chip: [b["value"] for b in buttons if not b["enabled"]] for chip, buttons in chips.items()}  # fmt: skip

    def advice(self):
        """The visible lines that say what to take."""
        return self.page.locator("p.advice").locator("visible=true").all_inner_texts()

    def unfold(self):
        """Open all folded parts."""
        self.page.evaluate("document.querySelectorAll('details').forEach(part => part.open = true)")
