"""Pages of the published results as Markdown: one of every machine, one of all together, and the part of the project's README.

They are short: the answer, its table and the warnings. Every number behind them stands in the CSV files beside them and on the page
that `make page` renders from the same records.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from ..analysis import protocols
from ..analysis.collect import Tables
from ..analysis.pool import Pool
from . import ablation, pool_views, protocol_views, short, versus, views
from .drawings import Drawing, drawn
from .flags import Flag, flags
from .tables import Table, markdown

FIGURES = "figures"  # folder of the figures, beside the page of all machines
MADE = (
    "Generated from the records by `python -m seqbench publish`; do not edit. `results/README.md` describes the records and CSV files."
    " `make page` renders every table and figure of them."
    " `python -m seqbench command RECORD` prints how a record was made.\n"
)


def of_machine(name: str, content: Tables) -> str:
    """What one machine ran, and what to keep in mind about it."""
    shown = "\n".join(f"## {markdown(t)}" for t in (views.machines(content), views.failed(content)) if t.rows)  # fmt: skip
    files = ", ".join(f"`{file}.csv`" for file in ("effectiveness", "efficiency", "scaling", "crossovers", "protocols", "agreement", "contrasts"))  # fmt: skip
    return (
        f"# Results on {name}\n\n{MADE}\nIts numbers, as far as it measured them: {files}."
        f" All machines together: [their page](../README.md).\n\n{shown}\n{_warnings(content)}"
    )


def figures(content: Tables) -> list[Drawing]:
    """What the pages show: the focal model against the others by judged track, and cost against length by machine."""
    main = _main(content)
    judged = versus.judged(main)
    found = [d for d in drawn(main) if d.kind in ("forest", "growth-length")]
    return [d for d in found if d.kind != "forest" or d.track in judged]


def of_all(content: Tables, pool: Pool, machines: list[str], figures: list[Drawing]) -> str:
    """Quality from all machines together, with the cost of each: what the README's part says, the figures and the datasets."""
    main = _main(content)
    shown = "\n".join(f"## {markdown(t)}" for t in (views.failed(main), views.datasets(main)) if t.rows)  # fmt: skip
    return (
        f"# Results of all machines\n\n{MADE}\n{pool_views.words(pool, machines)}\n{_in_short(main)}"
        f"{_warnings(content)}\n{_shown(figures, Path())}\n{shown}"
    )


def of_readme(content: Tables, machines: list[str], figures: list[Drawing], link: Path) -> str:
    """The answer, its table, one figure and the warnings. link: the folder of all machines, as the README sees it."""
    main = _main(content)
    first = [d for d in figures if d.kind == "forest"][:1]
    pages = ", ".join(f"[{name}]({link}/{name}/README.md)" for name in machines)
    return (
        f"{_in_short(main)}{_shown(first, link)}\n{_titles(content)}"
        f"More: [all machines together]({link}/README.md); by machine: {pages}. `make page` renders every table.\n"
    )


# --- parts --------------------------------------------------------------------------------------------------------------


def _main(content: Tables) -> Tables:
    """The datasets themselves: variants and steps of the ablation have tables of their own."""
    main = protocol_views.without_variants(ablation.without_steps(content))
    variants = protocols.variants(content.datasets)
    return replace(main, datasets={n: f for n, f in main.datasets.items() if n not in variants})


def _warnings(content: Tables) -> str:
    """The same warnings that stand above the results in the report."""
    said = "".join(f"- **{flag.title}.** {flag.text}\n" for flag in flags(content))
    return f"## Warnings\n\n{said}" if said else ""


def _titles(content: Tables) -> str:
    """The warnings by title; what they are about stands on the page of all machines."""
    found: list[Flag] = flags(content)
    return f"Warnings: {'; '.join(flag.title for flag in found)}.\n\n" if found else ""


def _shown(figures: Iterable[Drawing], folder: Path) -> str:
    """Figures with their captions."""
    return "\n".join(
        f"![{d.caption.partition(':')[0].partition('?')[0]}]({folder / FIGURES / d.name}.svg)\n\n*{d.caption}*\n"
        for d in figures
    )


def _in_short(main: Tables) -> str:
    """The answer, its table and what it holds for; nothing where nothing is judged."""
    table: Table = short.table(main)
    parts = ["".join(f"{point}\n" for point in short.answer(main)), markdown(table) if table.rows else "", short.caution(main)]  # fmt: skip
    return "".join(f"{part.rstrip()}\n\n" for part in parts if part)
