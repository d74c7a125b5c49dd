"""How figures look and how they are saved: colours, panels, labels that do not overlap, SVG for the page, files to take along.

A panel is measured in pixels of the page: 1 px is one point of matplotlib. Ink is black and paper white in files; in the page they follow its theme.
"""

from __future__ import annotations

import io
import pickle
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any
from xml.etree import ElementTree
from xml.sax.saxutils import escape, quoteattr

import matplotlib

matplotlib.use("Agg")

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullLocator

from ..config.model_files import shown
from ..core.disk import write_atomically
from ..core.errors import UserError
from ..core.processes import side_by_side
from .format import short

INK, PAPER, MUTED = "#000000", "#ffffff", "#808080"
# Okabe and Ito's palette, which stays distinct for colour-blind readers; markers repeat the distinction.
SPARE = ((INK, "*"), ("#7B4EA3", "<"), ("#8C564B", ">"), ("#4D7C0F", "h"), ("#B91C1C", "p"))
TEXT, LINE, LETTER = 12, 14, 7.1  # px: size of text, height of a line of it, width of a letter
matplotlib.rcParams.update({
    "font.size": TEXT, "font.family": "DejaVu Sans", "axes.titlesize": TEXT, "axes.titlelocation": "left", "axes.spines.top": False,
    "axes.spines.right": False, "axes.axisbelow": True, "axes.grid": True, "grid.color": MUTED, "grid.alpha": 0.25, "grid.linewidth": 0.8,
    "figure.dpi": 72, "savefig.dpi": 144, "svg.hashsalt": "seqbench", "pdf.fonttype": 42, "lines.linewidth": 1.5, "lines.markersize": 7,
})  # fmt: skip
UNDATED = {"svg": {"Date": None}, "pdf": {"CreationDate": None, "ModDate": None}, "png": {"Software": None}}  # fmt: skip


@dataclass(frozen=True)
class Drawing:
    """A figure of one panel.

    section: of the page. key: what it shows, as the page's chips name it (`dataset`, `length`, `track`, `seen`, `machine`).
    draw: makes the figure, here or in another process. data: exactly what is drawn. files: whether it is saved to take along.
    shown: whether it is drawn at all.
    """

    name: str
    section: str
    key: dict[str, Any]
    title: str
    caption: str
    draw: Callable[[], Figure]
    data: pd.DataFrame
    files: bool = True
    shown: bool = True


def looks(models: Iterable[str]) -> dict[str, dict[str, str]]:
    """Colour and marker by model, as its file says; models that say nothing get spare pairs in alphabetical order."""
    said = {name: shown(name) for name in sorted(set(models))}
    bare = [name for name, look in said.items() if not (look.color and look.marker)]
    spare = {name: SPARE[k % len(SPARE)] for k, name in enumerate(bare)}
    return {n: {"color": look.color or spare[n][0], "marker": look.marker or spare[n][1]} for n, look in said.items()}  # fmt: skip


def panel(width: int = 420, height: int = 300, left: int = 52, right: int = 12, top: int = 26, bottom: int = 42) -> Axes:  # fmt: skip
    """One pair of axes on a figure of its own; all in px."""
    figure = Figure(figsize=(width / 72, height / 72))
    inner = ((width - left - right) / width, (height - top - bottom) / height)
    axis = figure.add_axes((left / width, bottom / height, *inner))
    axis.tick_params(length=3)
    axis.patch.set_visible(False)
    axis.grid(clip_on=False)
    return axis


def named(axis: Axes, x: str, y: str) -> None:
    """Name both axes; the upright one above itself, where it needs no width."""
    axis.set_xlabel(x)
    left = axis.get_position().x0 * axis.figure.bbox.width
    axis.annotate(y, (0, 1), (-left + 2, 10), "axes fraction", textcoords="offset points")


def even(axis: Axis, most: int = 6) -> None:
    """Let ticks stand at 1, 2 or 5 times powers of ten."""
    axis.set_major_locator(MaxNLocator(most, steps=[1, 2, 5, 10]))


def logarithmic(axis: Axis, values: Iterable[float], only: Sequence[float] = ()) -> None:
    """Make an axis logarithmic around these values, with plain numbers; `only` those, as far as they have room."""
    values = np.array([v for v in values if v is not None and v > 0])
    low, high = values.min(), values.max()
    room = max((high / low) ** 0.06, 1.06)
    name = axis.axis_name
    axis.axes.set(**{f"{name}scale": "log", f"{name}lim": (low / room, high * room)})
    span = high * room**2 / low
    if len(only):
        axis.set_major_locator(FixedLocator(_with_room(axis, sorted(only))))
    elif span < 4:
        even(axis, 5)  # even steps: powers of ten would leave nothing
    else:
        subs = (1, 2, 3, 5) if span < 12 else (1, 2, 5) if span < 200 else (1,)
        axis.set_major_locator(LogLocator(subs=subs))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,.0f}" if x >= 1000 else f"{x:.4g}"))


def _with_room(axis: Axis, numbers: Sequence[float]) -> list[float]:
    """Those of some numbers whose labels do not touch, from the largest down."""
    kept, left = [], np.inf
    for number in reversed(numbers):
        at, half = axis.axes.transData.transform((number, 1))[0], LETTER * len(f"{number:,.0f}") / 2
        if at + half < left:
            kept, left = [*kept, number], at - half - 4
    return kept


# --- labels -------------------------------------------------------------------------------------------------------------


class Labels:
    """Text beside points and lines of one panel whose limits are set; no text over another or over what is to be kept free."""

    def __init__(self, axis: Axes) -> None:
        self.axis, self.taken = axis, []
        self.inside = axis.get_window_extent()

    def keep_free(self, xs: Sequence[float], ys: Sequence[float], around: float = 4) -> None:
        """Let no text stand where a line between two points runs, along an axis."""
        ends = self.axis.transData.transform(np.column_stack([xs, ys]))
        (x0, y0), (x1, y1) = ends.min(axis=0) - around, ends.max(axis=0) + around
        self.taken.append((x0, y0, x1, y1))

    def beside(self, x: float, y: float, text: str, below: bool = False) -> None:
        """Write beside a point, at the nearest of some places that is free; below: right below it first."""
        places = [(9, -LINE + 2, "left")] * below + [(9, 0, "left"), (-9, 0, "right")]
        for k in (1, 2, 3):
            places += [(right, up * k * LINE, align) for right, align in ((9, "left"), (-9, "right"), (0, "center")) for up in (1, -1)]  # fmt: skip
        self._write(x, y, text, places)

    def along(self, y: float, text: str) -> None:
        """Write on a level line, which it interrupts, where there is room; at its right end first."""
        wide = (len(text) + 1) * LETTER
        room = self.inside.width - wide
        places = [(share * room + wide / 2, 0, "center") for share in (1, 0.02, 0.5, 0.75, 0.25)]
        self._write(None, y, text, places)

    def _write(self, x: float | None, y: float, text: str, places: list) -> None:
        at_x, at_y = self.axis.transData.transform((1 if x is None else x, y))
        at_x = self.inside.x0 if x is None else at_x
        wide = (len(text) + 1) * LETTER
        high = LINE if x is not None else 1.7 * LINE  # a level line stays apart from the next one
        best, least = None, np.inf
        for k, (right, up, align) in enumerate(places):
            x0 = at_x + right - {"left": 0, "right": wide, "center": wide / 2}[align]
            box = (x0, at_y + up - high / 2, x0 + wide, at_y + up + high / 2)
            cost = sum(_overlap(box, other) for other in self.taken) + 0.01 * k
            cost += 20 * (max(self.inside.x0 - box[0], 0) + max(box[2] - self.axis.figure.bbox.x1, 0))  # fmt: skip
            cost += 20 * (max(self.inside.y0 - box[1], 0) + max(box[3] - self.inside.y1 - 6, 0))
            if cost < least:
                best, least = (box, right, up, align), cost
        box, right, up, align = best
        self.taken.append(box)
        box = {"bbox": {"facecolor": PAPER, "linewidth": 0, "pad": 1}} if x is None else {}
        self.axis.annotate(text, (at_x + right, at_y + up), xycoords="figure points", ha=align, va="center_baseline", **box)  # fmt: skip


def _overlap(one: tuple, two: tuple) -> float:
    wide = min(one[2], two[2]) - max(one[0], two[0])
    high = min(one[3], two[3]) - max(one[1], two[1])
    return max(wide, 0) * max(high, 0)


def label_ends(axis: Axes, ends: list[tuple[float, float, str, str]]) -> None:
    """Write text at the ends of lines, right of the panel and one below another.

    ends: x and y of a line's end in data, text, colour of the line that leads there.
    """
    right = axis.get_window_extent().x1
    at = [axis.transData.transform((x, y)) for x, y, *_ in ends]
    order = sorted(range(len(ends)), key=lambda k: -at[k][1])
    heights = spread([at[k][1] for k in order], LINE, axis.get_window_extent().y0)
    for k, height in zip(order, heights, strict=True):
        (x, y), (*_, text, color) = at[k], ends[k]
        leader = {"arrowstyle": "-", "color": color, "lw": 0.8, "ls": ":", "shrinkA": 0, "shrinkB": 0, "relpos": (0, 0.5)}  # fmt: skip
        axis.annotate(text, (x, y), (right + 16, height), xycoords="figure points", textcoords="figure points",
                      va="center_baseline", arrowprops=leader)  # fmt: skip


def spread(heights: Sequence[float], gap: float, lowest: float) -> list[float]:
    """Heights in falling order moved apart to at least `gap`, none below `lowest` while there is room above."""
    moved: list[float] = []
    for height in heights:
        moved.append(min(height, moved[-1] - gap) if moved else height)
    for k in range(len(moved) - 1, -1, -1):
        moved[k] = max(moved[k], lowest + (len(moved) - 1 - k) * gap)
    return moved


def legend_above(axis: Axes, models: Sequence[str]) -> None:
    """Markers with names in one line above the panel, right-aligned."""
    look, x = looks(models), axis.figure.bbox.width - 4
    top = axis.get_window_extent().y1 + 14
    for model in reversed(models):
        x -= len(short(model)) * (LETTER + 0.5)
        axis.annotate(short(model), (x, top), xycoords="figure points", va="center_baseline")
        at = axis.transData.inverted().transform((x - 9, top))
        axis.plot(*at, linestyle="", clip_on=False, markersize=6, **look[model])
        x -= 26


# --- files and page -----------------------------------------------------------------------------------------------------


def save(drawing: Drawing, folder: Path, kinds: Iterable[str] = UNDATED) -> None:
    """Write a figure as SVG, PDF and PNG with fonts embedded, the same bytes every time, and its data as CSV beside it."""
    with matplotlib.rc_context({"svg.fonttype": "path"}):
        figure = drawing.draw()
        for kind in kinds:
            content = io.BytesIO()
            figure.savefig(content, format=kind, metadata=UNDATED[kind], facecolor=PAPER)
            write_atomically(folder / f"{drawing.name}.{kind}", content.getbuffer(), flush=False)
    data = drawing.data.to_csv(index=False, float_format="%.10g", lineterminator="\n")
    write_atomically(folder / f"{drawing.name}.csv", data, flush=False)


def pictures(drawings: Sequence[Drawing], folder: Path | None = None, processes: int = 2) -> Iterator[tuple[str, str]]:  # fmt: skip
    """Names of figures that are drawn, and elements of the page, while processes make them; with a folder their files too.

    Raises:
        UserError: a figure cannot be sent to a process.
    """
    drawings = [drawing for drawing in drawings if drawing.shown]
    for drawing in drawings:
        try:
            pickle.dumps(drawing)
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            raise UserError(f"figure {drawing.name}: {error}; `draw` must be a function of a module, or functools.partial of one") from None  # fmt: skip
    made = side_by_side(partial(_picture, folder=folder), drawings, processes)
    return zip((drawing.name for drawing in drawings), made, strict=True)


def _picture(drawing: Drawing, folder: Path | None) -> str:
    drawing = replace(drawing, draw=cache(drawing.draw))  # once, for the page and for all files
    if folder and drawing.files:
        save(drawing, folder)
    return inline(drawing)


def inline(drawing: Drawing) -> str:
    """The figure as an `<svg>` element for the page: ids of its own, font and ink of the page, numbers to a tenth of a pixel."""
    text, figure = io.StringIO(), drawing.draw()
    with matplotlib.rc_context({"svg.fonttype": "none"}):
        figure.savefig(text, format="svg", metadata=UNDATED["svg"], facecolor="none")
    root = ElementTree.fromstring(text.getvalue())  # nosec B314 # matplotlib has just written it
    own = f"f{zlib.crc32(drawing.name.encode()):x}"
    inner = "".join(_markup(child, own) for child in root)
    return (
        f'<svg viewBox="{root.get("viewBox")}" role="img" aria-label={quoteattr(drawing.title)} font-size="{TEXT}"'
        f' fill="currentColor" stroke-linejoin="round">{inner}</svg>'
    )


_DROPPED = re.compile(r"(font-family|stroke-linecap|stroke-linejoin):[^;]*;?")
_ROTATED_BY_NOTHING = re.compile(r"rotate\(-?0 [^)]*\)")


def _markup(element: ElementTree.Element, name: str) -> str:
    tag = element.tag.rpartition("}")[2]
    if tag in ("metadata", "style"):
        return ""
    inner = "".join(_markup(child, name) for child in element) or escape(element.text or "").strip()
    found = dict(_attributes(element, tag, name))
    if tag in ("g", "defs") and (not inner or (tag == "g" and not found)):
        return inner  # a group that says nothing
    if tag == "path" and found.get("style") == "fill:none":
        return ""  # the paper
    said = "".join(f" {key}={quoteattr(value)}" for key, value in found.items())
    return f"<{tag}{said}>{inner}</{tag}>" if inner else f"<{tag}{said}/>"


def _attributes(element: ElementTree.Element, tag: str, name: str) -> Iterable[tuple[str, str]]:
    for key, value in element.attrib.items():
        key = key.rpartition("}")[2]
        if key == "id" and tag == "g":
            continue
        if key in ("d", "x", "y", "transform", "width", "height"):
            value = _ROTATED_BY_NOTHING.sub("", value)
            value = re.sub(r"-?\d+\.\d+", lambda found: f"{float(found[0]):.1f}".removesuffix(".0"), value)  # fmt: skip
            value = re.sub(r"\s*\n?([MLCQz])\s*", r"\1", value).strip()
        if key == "style":
            value = _DROPPED.sub("", value).replace(": ", ":").replace("; ", ";").strip("; ")
            value = value.replace(INK, "currentColor").replace(PAPER, "var(--paper,#fff)")
            value = value.replace(f"font-size:{TEXT}px", "").strip("; ")
        value = re.sub(r"^#|(?<=url\()#", f"#{name}-", value) if key in ("href", "clip-path") else value  # fmt: skip
        value = f"{name}-{value}" if key == "id" else value
        if value:
            yield key, value
