"""Render: tables in, one self-contained page out, with its figures and tables as files beside it.

Reads only what `collect` wrote; what is drawn from it stands in drawings.py.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd

from ..analysis import collect, warnings
from ..analysis.collect import Tables
from ..core.jobs import CURVES
from . import (
    ablation,
    claims,
    costs,
    curves,
    findings,
    flags,
    protocol_views,
    published_values,
    scorecard,
    short,
    spent,
    style,
    time_to_quality,
    tradeoff,
    tuning_views,
    versus,
    views,
)
from .drawings import Drawing, drawn
from .findings import pick, unique
from .tables import Table, label, plural, save, spans, starts

TEMPLATE = Path(__file__).resolve().parents[2] / "report" / "template"


def render(tables: Path, out: Path) -> Path:
    """Write `index.html`, `figures/` and `tables/` into `out`; return the path of the page.

    Raises:
        UserError: a table is not there.
    """
    everything, out = collect.read(tables), Path(out)
    content = ablation.without_steps(protocol_views.without_variants(everything))
    drawings, shown = list(drawn(content)), _tables(content)
    shown["protocols"] = _protocols(everything)
    shown["ablation"] = ablation.tables(everything)
    shown["spent"] = [spent.table(everything, track) for track in spent.tracks(everything)]
    shown["tuning"] = list(tuning_views.tables(content.settings.get("selected_settings", {})))
    for drawing in drawings:
        style.save(drawing.figure, drawing.data, out / "figures", drawing.name)
    for group in shown.values():
        for table in group:
            save(table, out / "tables")
    page = out / "index.html"
    page.write_text(_page(content, drawings, shown, out), encoding="utf-8")
    return page


def check(tables: Path) -> list[str]:
    """Problems that a finished comparison must not have: failed records, models below Popularity, NaN."""
    return warnings.problems(collect.read(tables))


# --- tables -------------------------------------------------------------------------------------------------------------


def _tables(content: Tables) -> dict[str, list[Table]]:
    """All tables of the page by section; no table holds more than one track or kind of device."""
    quality = unique(content.frames["summary"], "track", "dataset")
    cost = unique(content.frames["efficiency"], "track", "machine_name", "device_kind")
    tracks = [track for (track,) in unique(content.frames["experiments"], "track")]
    shown = {
        "short": [short.table(content)],
        "scorecard": [scorecard.table(content, track) for track in versus.judged(content)],
        "choice": [tradeoff.choice(content, track) for track in versus.judged(content)],
        "until": [time_to_quality.table(content, track) for track in spent.tracks(content)],
        "claims": [claims.table(content), published_values.table(content)],
        "versus": [versus.table(content, track) for track in tracks if len(quality)],
        "machines": [views.machines(content)],
        "failed": [views.failed(content)],
        "datasets": [views.datasets(content)],
        "effectiveness": [views.effectiveness(content, *key) for key in quality],
        "differences": [views.differences(content, *key) for key in quality],
        "probes": [
            views.probes(content, track, dataset, probe)
            for track, dataset, probe in unique(
                content.frames["probes"], "track", "dataset", "probe"
            )
        ],
        "cpu": [t for key in cost if key[2] == "cpu" for t in _on_datasets(content, key)],
        "cuda": [t for key in cost if key[2] == "cuda" for t in _on_datasets(content, key)],
        "points": [costs.efficiency(content, *key, curve) for key in cost for curve in CURVES],
        "length": [t for key in cost for t in _growth(content, key, curves.LENGTHS)],
        "size": [t for key in cost for t in _growth(content, key, curves.SIZES)],
    }
    return {section: [table for table in group if table.rows] for section, group in shown.items()}


def _protocols(content: Tables) -> list[Table]:
    keys = protocol_views.keys(content)
    found = [
        table(content, *key)
        for key in keys
        for table in (protocol_views.values, protocol_views.ties)
    ]
    return [table for table in found if table.rows]


def _on_datasets(content: Tables, key: tuple[str, str, str]) -> list[Table]:
    return [costs.efficiency(content, *key, None, what) for what in costs.KINDS]


def _growth(content: Tables, key: tuple[str, str, str], which: tuple[str, ...]) -> list[Table]:
    return [curves.growth(content, *key, which), curves.crossings(content, *key, which)]


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
        flags=flags.flags(content),
        answer=short.answer(content),
        caution=short.caution(content),
        counts=_counts(content),
        tables=shown,
        drawings=drawings,
        datasets=content.datasets,
        temporal=any(
            (f.get("split") or {}).get("kind") == "temporal" for f in content.datasets.values()
        ),
        environments=content.settings["environments"],
        margin=content.settings["margin"],
        codes=_codes(experiments),
        focal=label(content.focal_model),
        comparators=_comparators(content),
        seeds=sorted(int(seed) for seed in experiments.seed.dropna().unique()),
    )


def _counts(content: Tables) -> dict[str, Any]:
    """What was compared, for the first paragraph."""
    experiments = content.frames["experiments"]
    trainings = pick(experiments, kind="train")
    trained = set(trainings.model[trainings.trained]) if len(trainings) else set()
    models = content.ordered(experiments.model)
    return {
        "trained": [label(model) for model in models if model in trained],
        "baselines": [label(m) for m in models if m in set(trainings.model) - trained],
        "datasets": list(content.datasets),
        "tracks": [track for (track,) in unique(experiments, "track")],
        "trainings": len(trainings),
        "measurements": len(pick(experiments, kind="measure")),
        "ok": int((experiments.status == "ok").sum()),
    }


def _comparators(content: Tables) -> str:
    """The other trained models, for the question."""
    trained = content.ordered(spent.trainings(content).model)
    names = [label(model) for model in trained if model != content.focal_model]
    if not names:
        return "other models"
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


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
