"""Markdown of the published results: the part of the project's README, and the page of one machine."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import jinja2

from ..analysis.collect import Tables
from . import answer
from . import format as fmt
from .answer import TEMPLATE
from .tables import markdown


def block(content: Tables, scatter: str | None, page: Path, reference: Path) -> str:
    """The verdicts, the sentences, the leaderboard and the scatter of the default view, and links.

    scatter: its file in the folder `page`. page, reference: folders as the README names them.
    """
    views = answer.views(content)
    return _rendered(
        "readme.md.j2",
        verdicts=answer.verdicts(content),
        sentences=answer.sentences(content),
        table=markdown(answer.leaderboard(views[0])) if views else "",
        scatter=scatter,
        page=page.as_posix(),
        reference=reference.as_posix(),
        machines=fmt.machine_names(content.settings),
    )


def of_machine(name: str, content: Tables) -> str:
    """What one machine is, what it ran, what failed, and its warnings by kind."""
    rows = content.frames["experiments"]
    datasets = rows.groupby(["kind", "track"]).dataset
    runs = datasets.agg(n="size", datasets=lambda own: ", ".join(own.unique()))
    warnings = content.frames["warnings"]
    counts = warnings.groupby("code", sort=False).size() if len(warnings) else {}
    return _rendered(
        "machine.md.j2",
        name=name,
        environments=_environments(content),
        runs=runs.reset_index().to_dict("records"),
        failed=rows[rows.status != "ok"].to_dict("records"),
        warnings=[(fmt.warning(code), int(n)) for code, n in dict(counts).items()],
    )


def _environments(content: Tables) -> list[dict[str, Any]]:
    """Devices and versions with the number of their records."""
    counts: Counter[tuple] = Counter()
    for facts in content.settings["environments"]:
        own = {key: facts[key] for key in ("device", "cpu", "n_cpus", "python")}
        own["torch"] = facts["packages"].get("torch")
        counts[tuple(own.items())] += facts["records"]
    return [dict(own) | {"records": n} for own, n in counts.items()]


def _rendered(template: str, **values: Any) -> str:
    environment = jinja2.Environment(  # nosec B701 # Markdown, and names hold no markup
        loader=jinja2.FileSystemLoader(TEMPLATE), trim_blocks=True, lstrip_blocks=True,
        undefined=jinja2.StrictUndefined, keep_trailing_newline=True,
    )  # fmt: skip
    environment.globals.update(count=fmt.count, quantity=fmt.quantity, condition=fmt.condition)
    return environment.get_template(template).render(**values)
