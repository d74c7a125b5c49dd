"""Render: tables in, one self-contained page out, with its figures and tables as files beside it.

Reads only what `collect` wrote. A figure is one function in `figures`, one entry here, one line in the template.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd
from matplotlib.figure import Figure

from . import collect, costs, figures, findings, look, views
from .collect import Tables
from .experiment import FULL_LENGTH
from .findings import MAIN, pick, places
from .tables import Table, direction, label, plural, save, spans, starts

TEMPLATE = Path(__file__).resolve().parent.parent / "report" / "template"
COLUMNS = ["dataset", "seq_len", "model", "metric"]
COST = ["phase", "median", "q25", "q75", "batch_size"]


@dataclass(frozen=True)
class Drawing:
    """A figure of the report: file name, the track it belongs to, caption, data and the figure itself."""

    name: str
    kind: str
    track: str
    caption: str
    data: pd.DataFrame
    figure: Figure


def render(tables: Path, out: Path) -> Path:
    """Write `index.html`, `figures/` and `tables/` into `out`; return the path of the page.

    Raises:
        UserError: a table is not there.
    """
    content, out = collect.read(tables), Path(out)
    drawings, shown = list(_drawings(content)), _tables(content)
    for drawing in drawings:
        look.save(drawing.figure, drawing.data, out / "figures", drawing.name)
    for group in shown.values():
        for table in group:
            save(table, out / "tables")
    page = out / "index.html"
    page.write_text(_page(content, drawings, shown, out), encoding="utf-8")
    return page


def check(tables: Path) -> list[str]:
    """Problems that a finished comparison must not have: failed records, models below Popularity, NaN."""
    return findings.problems(collect.read(tables))


# --- tables -------------------------------------------------------------------------------------------------------------


def _tables(content: Tables) -> dict[str, list[Table]]:
    """All tables of the page by section; no table holds more than one track or kind of device."""
    quality = places(content.frames["summary"], "track", "dataset")
    cost = [
        (*key, full_length)
        for key in places(content.frames["efficiency"], "track", "machine_name", "device_kind")
        for full_length in (False, True)
    ]
    tracks = [track for (track,) in places(content.frames["experiments"], "track")]
    shown = {
        "versus": [costs.versus(content, track) for track in tracks if len(quality)],
        "machines": [views.machines(content)],
        "failed": [views.failed(content)],
        "datasets": [views.datasets(content)],
        "effectiveness": [views.effectiveness(content, *key) for key in quality],
        "differences": [views.differences(content, *key) for key in quality],
        "cpu": [costs.efficiency(content, *key) for key in cost if key[2] == "cpu"],
        "cuda": [costs.efficiency(content, *key) for key in cost if key[2] == "cuda"],
    }
    return {section: [table for table in group if table.rows] for section, group in shown.items()}


# --- figures ------------------------------------------------------------------------------------------------------------


def _drawings(content: Tables) -> Iterator[Drawing]:
    """All figures that the tables have data for, by track; those of cost also by machine."""
    frames = content.frames
    for (track,) in places(frames["summary"], "track"):
        yield from _draw("effectiveness", track, _effectiveness_data(content, track))
    cost = frames["efficiency"]
    cost = cost[cost["median"].notna()] if len(cost) else cost
    for track, machine, kind in places(cost, "track", "machine_name", "device_kind"):
        rows = pick(cost, track=track, machine_name=machine, device_kind=kind)
        memory = costs.MEMORY[kind][0]
        device = f"{machine} ({rows.device.iloc[0]})"
        selected = {
            "time": rows[rows.metric.isin(["step_s", "epoch_s", "batch_s"])][COLUMNS + COST],
            "memory": rows[rows.metric == memory][COLUMNS + COST],
            "tradeoff": _tradeoff_data(content, track, rows),
        }
        for name, data in selected.items():
            yield from _draw(name, track, data, f"{machine}-{kind}", device)
    for (track,) in places(frames["curves"], "track"):
        rows = pick(frames["curves"], track=track, metric=MAIN, masking="unmasked", split="valid")
        yield from _draw(
            "curves", track, rows[[*COLUMNS, "seed", "targets", "seconds", "value", "best"]]
        )


FIGURES = {
    "effectiveness": (
        figures.effectiveness,
        "Test quality of every model with its 95 % interval{on}. A dotted line is the best that any model could reach on generated data.",
    ),
    "time": (
        figures.time_against_length,
        f"Time against sequence length{{on}}: medians and interquartile ranges; {direction('step_s')}. A training step holds a fixed number of"
        " targets, so a longer history means fewer users in a step.",
    ),
    "memory": (
        figures.memory_against_length,
        "Peak memory of a fresh process against sequence length{on}: medians and interquartile ranges; "
        f"{direction('peak_rss_bytes')}.",
    ),
    "tradeoff": (
        figures.quality_against_cost,
        "Test quality (seen items ranked) against the time of one training epoch{on}. Upper left is better.",
    ),
    "curves": (
        figures.learning_curves,
        "Validation quality (seen items ranked) during training{on}, one line per seed; a marker shows the step whose"
        " weights were kept. Seconds are informative: trainings may have shared their machine.",
    ),
}


def _draw(
    kind: str, track: str, data: pd.DataFrame, suffix: str = "", device: str = ""
) -> Iterator[Drawing]:
    if data.empty:
        return
    function, caption = FIGURES[kind]
    ordered = _in_order(data)
    name = "-".join(part for part in (kind, track, suffix) if part)
    on = f", track {track}" + (f", on {device}" if device else "")
    yield Drawing(name, kind, track, caption.format(on=on), ordered, function(ordered))


def _in_order(data: pd.DataFrame) -> pd.DataFrame:
    """Sort models as the tables do, keeping the order of everything else; real datasets before synthetic batches."""
    rank = {model: k for k, model in enumerate(views.ordered(data.model))}
    keys = [data.dataset == FULL_LENGTH, data.model.map(rank)]
    order = pd.DataFrame(dict(enumerate(keys))).sort_values([0, 1], kind="stable").index
    return data.loc[order].reset_index(drop=True)


def _effectiveness_data(content: Tables, track: str) -> pd.DataFrame:
    rows = pick(content.frames["summary"], track=track, metric=MAIN, ties="conservative")
    rows = rows[[*COLUMNS, "masking", "mean", "ci_low", "ci_high"]].copy()
    oracles = {
        name: (facts.get("oracle") or {}).get("test", {})
        for name, facts in content.datasets.items()
    }
    known = rows.dataset.map({name: oracle.get(MAIN) for name, oracle in oracles.items()})
    # The oracle ranks all items, so it bounds only what does the same.
    rows["oracle"] = known.where(rows.masking == "unmasked").astype(float)
    return rows


def _tradeoff_data(content: Tables, track: str, cost: pd.DataFrame) -> pd.DataFrame:
    summary = content.frames["summary"]
    quality = pick(summary, track=track, metric=MAIN, ties="conservative", masking="unmasked")
    epochs = pick(cost, metric="epoch_s")[["dataset", "seq_len", "model", "median", "q25", "q75"]]
    if quality.empty or epochs.empty:
        return pd.DataFrame()
    return quality[[*COLUMNS, "mean", "ci_low", "ci_high"]].merge(epochs)


# --- page ---------------------------------------------------------------------------------------------------------------


def _page(
    content: Tables, drawings: list[Drawing], shown: dict[str, list[Table]], out: Path
) -> str:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATE), autoescape=True, trim_blocks=True, lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )  # fmt: skip
    environment.globals.update(
        spans=spans,
        starts=starts,
        plural=plural,
        inline=lambda name: _inline(out / "figures", name),
    )
    experiments = content.frames["experiments"]
    return environment.get_template("index.html.j2").render(
        style=(TEMPLATE / "style.css").read_text(encoding="utf-8"),
        flags=findings.flags(content),
        headline=findings.headline(content),
        counts=_counts(content),
        tables=shown,
        drawings=drawings,
        datasets=content.datasets,
        environments=content.settings["environments"],
        margin=content.settings["margin"],
        codes=_codes(experiments),
        seeds=sorted(int(seed) for seed in experiments.seed.dropna().unique()),
        commands=list(dict.fromkeys(experiments.command)),
    )


def _counts(content: Tables) -> dict[str, Any]:
    """What was compared, for the first paragraph."""
    experiments = content.frames["experiments"]
    trainings = pick(experiments, kind="train")
    trained = set(trainings.model[trainings.trained]) if len(trainings) else set()
    models = views.ordered(experiments.model)
    return {
        "trained": [label(model) for model in models if model in trained],
        "baselines": [label(m) for m in models if m in set(trainings.model) - trained],
        "datasets": list(content.datasets),
        "tracks": [track for (track,) in places(experiments, "track")],
        "trainings": len(trainings),
        "measurements": len(pick(experiments, kind="measure")),
        "ok": int((experiments.status == "ok").sum()),
    }


def _codes(experiments: pd.DataFrame) -> list[dict[str, Any]]:
    """Hashes of the sources by model, with the revision they were part of."""
    columns = ["model", "code_hash", "code_revision", "code_dirty"]
    rows = experiments[columns].drop_duplicates().sort_values(columns[:2])
    return [{**row, "model": label(row["model"])} for row in rows.astype(object).to_dict("records")]


def _inline(folder: Path, name: str) -> str:
    """Return an SVG file as an element of the page; its ids get the figure's name, or they would collide."""
    text = (folder / f"{name}.svg").read_text(encoding="utf-8")
    text = text[text.index("<svg") :]
    text = re.sub(r'\bid="', f'id="{name}-', text)
    text = text.replace("url(#", f"url(#{name}-").replace('xlink:href="#', f'href="#{name}-')
    width, height = re.search(r'width="([\d.]+)pt" height="([\d.]+)pt"', text).groups()
    text = text.replace(
        f'width="{width}pt" height="{height}pt"', f'role="img" aria-labelledby="{name}-caption"', 1
    )
    return jinja2.filters.Markup(re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL))
