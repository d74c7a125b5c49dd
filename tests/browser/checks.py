"""What is wrong with a page: each function returns the faults that it found, as lines of text."""

import importlib.util
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
