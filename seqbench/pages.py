"""Pages of the published results as Markdown: one of every machine, one of all together, and the part of the project's README.

The README's part is the page of findings: sentences and tables at a glance. Everything else stands on the pages it links to.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from . import (
    anchors,
    answers,
    claims,
    costs,
    curves,
    glance,
    protocol_views,
    spent,
    tuning_views,
    views,
    waterfall,
)
from .collect import Tables
from .experiment import CURVES
from .findings import flags, places
from .pool import Pool
from .tables import Table, label, markdown
from .tidy import Entry, command

REMADE = "python -m seqbench publish --grid results/grid.json --results results"
# The first is told by the marks in the tables, the second by a table of its own.
IN_TABLES = ("Which model ranks best?", "What does masking seen items do, and does training close the gap?")  # fmt: skip
SPENT = "What was spent?"


def of_machine(name: str, content: Tables, entries: list[Entry]) -> str:
    """Everything that one machine's records say, and the command of each of them."""
    main = _main(content)
    shown = [views.machines(content), views.datasets(content), views.failed(content)]
    shown += [claims.table(main), anchors.table(main)]
    shown += [
        *_quality(content),
        *(spent.table(content, track) for track in spent.tracks(content)),
        *tuning_views.tables(content.settings["settings"]),
        *_protocols(content),
        *waterfall.tables(content),
        *_costs(content),
    ]
    commands = "\n".join(dict.fromkeys(command(entry) for entry in entries))
    return (
        f"# Results on {name}\n\n"
        f"Generated from the records in `runs/` by `snakemake publish` (`{REMADE}`); do not edit. `effectiveness.csv`, `efficiency.csv`, `scaling.csv`,"
        " `crossovers.csv`, `protocols.csv`, `agreement.csv` and `contrasts.csv` hold the same numbers. A record is described in `results/README.md`.\n\n"
        f"{_warnings(content)}\n## Findings\n\n{answers.as_markdown(answers.answers(main))}\n{_sections(shown)}\n"
        f"## Commands\n\nEach record again, from the root of the checkout:\n\n```sh\n{commands}\n```\n"
    )


def of_all(content: Tables, pool: Pool, machines: Sequence[tuple[str, Tables]]) -> str:
    """Quality from all machines together, with the cost of each: what the README's part says, and the tables behind it."""
    main = _main(content)
    shown = [
        claims.table(main),
        anchors.table(main),
        *(costs.versus(main, t) for t in spent.tracks(main)),
    ]
    shown += [*_quality(main), glance.gaps(main)]
    shown += [glance.repeats(main, pool), glance.origins(pool), glance.cost(main), views.datasets(main)]  # fmt: skip
    return (
        "# Results of all machines\n\n"
        f"Generated from the records below this folder by `snakemake publish` (`{REMADE}`); do not edit. `effectiveness.csv` holds the"
        " same means and intervals.\n\n"
        f"{_pooled(main, pool, machines, '')}\n{_warnings(content)}\n## Findings\n\n{answers.as_markdown(_together(main, machines))}\n{_sections(shown)}"
    )


def of_readme(
    content: Tables, pool: Pool, machines: Sequence[tuple[str, Tables]], link: Path
) -> str:
    """The page of findings. link: the folder of all machines, as the README sees it."""
    main = _main(content)
    said = [a for a in _together(main, machines) if a.question not in IN_TABLES]
    shown = [*(glance.quality(main, masking) for masking in views.MASKINGS), glance.gaps(main), glance.cost(main)]  # fmt: skip
    tables = "\n".join(markdown(table) for table in shown if table.rows)
    pages = ", ".join(f"[{name}]({link}/{name}/README.md)" for name, _ in machines)
    return (
        f"{_pooled(main, pool, machines, f'{link}/')}\n{answers.as_markdown(said)}\n{tables}\n"
        f"Mind:\n\n{_warnings(content)}\n"
        f"More: [all machines together]({link}/README.md) (every metric, published values, claims one by one, what was trained where);"
        f" by machine, with tuning, protocols, the waterfall, every cost, how it grows, and the command of each record: {pages}.\n"
    )


def _together(main: Tables, machines: Sequence[tuple[str, Tables]]) -> list[answers.Answer]:
    """Findings of all machines; what was spent by each of them, on every training it made."""
    found = [a for a in answers.answers(main) if a.question != SPENT]
    time = [f"On {name}: {text[0].lower()}{text[1:]}" for name, own in machines for text in spent.sentences(own)]  # fmt: skip
    return [*found, answers.Answer(SPENT, time)] if time else found


def _pooled(main: Tables, pool: Pool, machines: Sequence[tuple[str, Tables]], prefix: str) -> str:
    """How the records of several machines were put together; nothing to say where there is one."""
    pages = [f"[{name}]({prefix}{name}/README.md)" for name, _ in machines]
    if len(pages) == 1:
        return f"Measured on {pages[0]}.\n"
    said = [
        f"Measured on {' and '.join(pages)}. Cost is told by machine. Quality is taken from all of them, every experiment once.",
        glance.repeated(main, pool),
        _borrowed(pool),
        *(
            f"Left out, because its data differ: {name} on {where}."
            for where, name in pool.left_out
        ),
    ]
    return " ".join(text for text in said if text) + "\n"


def _borrowed(pool: Pool) -> str:
    trained = {
        (e.experiment["track"], e.experiment["dataset"], e.experiment["model"]): Path(e.path)
        for e in pool.borrowed
        if e.values.get("steps")
    }
    said = [
        f"{label(model)} on {dataset} stands in track {track} with its trainings of track {path.parts[-3]}, whose settings are equal."
        for (track, dataset, model), path in trained.items()
    ]
    return " ".join(said)


# --- parts --------------------------------------------------------------------------------------------------------------


def _main(content: Tables) -> Tables:
    """The datasets themselves: variants and steps of the waterfall have tables of their own."""
    return protocol_views.without_variants(waterfall.without_steps(content))


def _warnings(content: Tables) -> str:
    """The same warnings that stand above the results in the report."""
    return "".join(f"- **{flag.title}.** {flag.text}\n" for flag in flags(content))


def _sections(shown: Iterable[Table]) -> str:
    return "\n".join(f"## {markdown(table)}" for table in shown if table.rows)


def _quality(content: Tables) -> list[Table]:
    main = protocol_views.without_variants(content)
    keys = places(main.frames["summary"], "track", "dataset")
    return [views.effectiveness(main, *key) for key in keys]


def _protocols(content: Tables) -> list[Table]:
    keys = protocol_views.keys(content)
    found = [t(content, *key) for key in keys for t in (protocol_views.values, protocol_views.ties)]
    return [table for table in found if table.rows]


def _costs(content: Tables) -> list[Table]:
    """Cost on the datasets, what it is made of, how it grows, and every point of the curves."""
    content = waterfall.without_steps(content)
    keys = places(content.frames["efficiency"], "track", "machine_name", "device_kind")
    found = []
    for key in keys:
        found += [costs.efficiency(content, *key, None, what) for what in costs.KINDS]
        for which in (curves.LENGTHS, curves.SIZES):
            found += [curves.growth(content, *key, which), curves.crossings(content, *key, which)]
        found += [costs.efficiency(content, *key, curve) for curve in CURVES]
    return [table for table in found if table.rows]
