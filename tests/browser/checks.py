"""What is wrong with a page: each function returns the faults that it found, as lines of text."""

import importlib.util
import itertools
from pathlib import Path

# What sticks out of the window to the right, unless a part around it scrolls by itself.
OVERFLOW_JS = """() => {
  const root = document.documentElement, found = [];
  const name = node => node.tagName.toLowerCase() + (node.id ? '#' + node.id : '') + (node.className && node.className.baseVal === undefined ? '.' + node.className : '');
  if (root.scrollWidth > root.clientWidth) found.push(`the page is ${root.scrollWidth} px wide in ${root.clientWidth}`);
  for (const node of document.body.querySelectorAll('*')) {
    if (!node.checkVisibility() || node.getBoundingClientRect().right <= root.clientWidth + 1) continue;
    let scroller = node;
    while (scroller && !['auto', 'scroll'].includes(getComputedStyle(scroller).overflowX)) scroller = scroller.parentElement;
    if (!scroller) found.push(name(node) + ' sticks out');
  }
  return found;
}"""

# Parts whose content is wider than they are and cannot be seen: cut off, or behind a scroll bar where nothing scrolls.
CUT_JS = """scrolling => [...document.body.querySelectorAll('*')].filter(node => {
  if (!node.checkVisibility() || node.clientWidth <= 1 || node.namespaceURI !== 'http://www.w3.org/1999/xhtml') return false;
  const cutting = scrolling ? ['hidden', 'clip'] : ['hidden', 'clip', 'auto', 'scroll'];
  return cutting.includes(getComputedStyle(node).overflowX) && node.scrollWidth > node.clientWidth + 1;
}).map(node => `${node.tagName.toLowerCase()}#${node.id}.${node.className} cuts ${node.scrollWidth - node.clientWidth} px`)"""

OUTSIDE_JS = """(node, [width, height]) => {
  const box = node.getBoundingClientRect();
  const inside = box.width > 0 && box.height > 0 && box.left >= 0 && box.top >= 0 && box.right <= width && box.bottom <= height;
  return inside ? '' : `at ${[box.left, box.top, box.right, box.bottom].map(Math.round)}`;
}"""

# Text of figures: too pale on the page's ground, outside its figure, or over another text of it.
FIGURES_JS = r"""() => {
  const canvas = document.createElement('canvas').getContext('2d', {willReadFrequently: true}), found = [];
  const rgb = colour => { canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1); return [...canvas.getImageData(0, 0, 1, 1).data]; };
  const light = colour => rgb(colour).slice(0, 3).map(c => c / 255).map(c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const ground = light(getComputedStyle(document.body).backgroundColor);
  for (const figure of document.querySelectorAll('svg')) {
    if (!figure.checkVisibility()) continue;
    const frame = figure.getBoundingClientRect(), name = figure.closest('[id]')?.id ?? '';
    const texts = [...figure.querySelectorAll('text')].filter(text => text.textContent.trim());
    const boxes = texts.map(text => text.getBoundingClientRect());
    texts.forEach((text, i) => {
      const ink = light(getComputedStyle(text).fill), said = `${name}: "${text.textContent}"`, box = boxes[i];
      const contrast = (Math.max(ink, ground) + 0.05) / (Math.min(ink, ground) + 0.05);
      if (contrast < 4.5) found.push(`${said} has a contrast of ${contrast.toFixed(1)}`);
      if (box.left < frame.left - 1 || box.right > frame.right + 1 || box.top < frame.top - 1 || box.bottom > frame.bottom + 1) found.push(`${said} leaves its figure`);
      for (let j = 0; j < i; j++) {
        const across = Math.min(box.right, boxes[j].right) - Math.max(box.left, boxes[j].left);
        const down = Math.min(box.bottom, boxes[j].bottom) - Math.max(box.top, boxes[j].top);
        if (across > 1 && down > box.height / 3) found.push(`${said} over "${texts[j].textContent}"`);
      }
    });
  }
  return found;
}"""


def overflow(page):
    """What is wider than the window, or cut off."""
    return page.evaluate(OVERFLOW_JS) + page.evaluate(CUT_JS, True)


def cut_on_paper(page):
    """What is wider than the paper, cut off, or hidden behind a scroll bar. To be called in print."""
    return page.evaluate(OVERFLOW_JS) + page.evaluate(CUT_JS, False)


def outside(page, *selectors):
    """The visible elements that do not lie inside the window as it was opened, and selectors of nothing visible."""
    size, found = page.viewport_size, []
    for selector in selectors:
        nodes = page.locator(selector).locator("visible=true").all()
        if not nodes:
            found.append(f"{selector}: nothing is visible")
        for node in nodes:
            place = node.evaluate(OUTSIDE_JS, [size["width"], size["height"]])
            if place:
                found.append(f"{selector} {place}")
    return found


def accessibility(page):
    """Serious and critical violations that axe-core finds in what is visible."""
    # The wheel is taken for the script that it brings; its own class needs no part here.
    script = Path(importlib.util.find_spec("axe_playwright_python").origin).with_name("axe.min.js")
    page.evaluate(script.read_text(encoding="utf-8"))
    result = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    return [
        f"{violation['id']}: {node['html'][:200]} {node['failureSummary']}"
        for violation in result["violations"]
        if violation["impact"] in ("serious", "critical")
        for node in violation["nodes"]
    ]


def figures(page):
    """Text in the visible figures that cannot be read."""
    return page.evaluate(FIGURES_JS)


def inconsistent(board):
    """Where chips, table and scatter of the first screen show different views."""
    state, rows, scatters, found = board.state(), board.rows(), board.scatters(), []
    found += [f"the row of {row.model} is of {row.view}" for row in rows if row.view != state]
    found += [f"a scatter is of {view}" for view in scatters if view != state]
    if len(scatters) > 1:
        found.append(f"{len(scatters)} scatters")
    if len({row.model for row in rows}) < len(rows):
        found.append("a model has two rows")
    if not rows:
        found.append("no row")
    if not scatters and "not measured" not in board.page.inner_text("#answer"):
        found.append("no scatter, and nothing says why")
    return found


def disordered(values, direction):
    """Whether raw values of a column do not stand in an order with what is missing last."""
    there = [value for value in values if value != ""]
    if values != there + [""] * (len(values) - len(there)):
        return True
    try:
        keys = [float(value) for value in there]
    except ValueError:
        keys = [value.lower() for value in there]
    if direction == "descending":
        keys.reverse()
    return any(a > b for a, b in itertools.pairwise(keys))
