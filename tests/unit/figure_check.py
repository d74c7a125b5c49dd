"""What every figure is checked for: no texts overlap and none leaves the figure."""

MODELS = ("mamba4rec", "sasrec", "bert4rec", "gru4rec")


def shown_ticks(axis):
    low, high = sorted(axis.get_view_interval())
    inside = [tick for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high]
    return [tick.label1 for tick in inside if tick.label1.get_visible()]


def assert_no_texts_overlap(figure):
    figure.draw_without_rendering()
    frame, boxes = figure.bbox, []
    for axis in (a for a in figure.axes if a.get_visible()):
        ticks = [*shown_ticks(axis.xaxis), *shown_ticks(axis.yaxis)]
        texts = [
            *ticks,
            *axis.texts,
            axis.xaxis.label,
            axis.yaxis.label,
            axis.title,
            axis._left_title,
        ]
        boxes += [
            (t.get_text(), t.get_window_extent())
            for t in texts
            if t.get_text().strip() and t.get_visible()
        ]
    for text, box in boxes:
        assert frame.x0 <= box.x0 and box.x1 <= frame.x1, text
        assert frame.y0 <= box.y0 and box.y1 <= frame.y1, text
    for k, (text, box) in enumerate(boxes):
        for other_text, other in boxes[k + 1 :]:
            # A title leaves an empty second line for the subtitle that is drawn there.
            if "\n" not in text + other_text:
                assert not box.shrunk(0.9, 0.9).overlaps(other.shrunk(0.9, 0.9)), (text, other_text)
