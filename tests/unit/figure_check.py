"""What every figure is checked for: no texts overlap and none leaves the figure."""

from itertools import combinations

from matplotlib.text import Text


def shown_ticks(axis):
    low, high = sorted(axis.get_view_interval())
    inside = [tick for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high]
    return [tick.label1 for tick in inside if tick.label1.get_visible()]


def texts_of(figure):
    """Text and box of everything that is written in a figure."""
    figure.draw_without_rendering()
    (axis,) = figure.axes
    ticks = [*shown_ticks(axis.xaxis), *shown_ticks(axis.yaxis)]
    found = [*ticks, *axis.texts, axis.xaxis.label, axis.yaxis.label]
    # Of text alone: the box of an annotation would hold the line that leads to it.
    return [(t.get_text(), Text.get_window_extent(t)) for t in found if t.get_text().strip()]


def assert_no_texts_overlap(figure):
    frame, boxes = figure.bbox, texts_of(figure)
    for text, box in boxes:
        assert frame.x0 <= box.x0 and box.x1 <= frame.x1, text
        assert frame.y0 <= box.y0 and box.y1 <= frame.y1, text
    for (text, box), (other_text, other) in combinations(boxes, 2):
        assert not box.shrunk(0.9, 0.9).overlaps(other.shrunk(0.9, 0.9)), (text, other_text)


def lines_of(figure, **looks):
    """Lines of a figure that look so: marker, linestyle, color, markerfacecolor."""
    (axis,) = figure.axes
    return [
        line for line in axis.lines if all(getattr(line, f"get_{k}")() == v for k, v in looks.items())
    ]  # fmt: skip
