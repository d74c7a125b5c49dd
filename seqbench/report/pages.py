"""Pages of the published results as Markdown: one of every machine, one of all together, and the part of the project's README.

The README's part answers in a sentence, a table and a figure; the page of findings folds out below them. Everything else stands on
the pages it links to.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from ..analysis import protocols
from ..analysis.collect import Tables
from ..analysis.pool import Pool
from ..analysis.tidy import command
from ..core.jobs import CURVES
from ..core.store import Entry
from . import (
    ablation,
    answers,
    claims,
    costs,
    curves,
    glance,
    headline,
    pool_views,
    protocol_views,
    published_values,
    reach,
    scorecard,
    short,
    spent,
    tradeoff,
    tuning_views,
    versus,
    views,
)
from .drawings import Drawing, drawn
from .findings import places
from .flags import flags
from .tables import Table, markdown

REMADE = "python -m seqbench publish --grid results/grid.json --results results"
Machines = Sequence[tuple[str, Tables]]  # by name, every experiment that each of them made
IN_README = (
    answers.LENGTH,
    answers.CLAIMS,
)  # the rest of the sentences stands in its tables, or behind its links
FIGURES = "figures"  # folder of the figures, beside the page of all machines


def of_machine(name: str, content: Tables, entries: list[Entry]) -> str:
    """Everything that one machine's records say, and the command of each of them."""
    main = _main(content)
    shown = [views.machines(content), views.datasets(content), views.failed(content)]
    shown += [claims.table(main), published_values.table(main)]
    shown += [
        *_quality(content),
        *(reach.table(main, track) for track in spent.tracks(main)),
        *(spent.table(content, track) for track in spent.tracks(content)),
        *tuning_views.tables(content.settings["selected_settings"]),
        *_protocols(content),
        *ablation.tables(content),
        *_costs(content),
    ]
    commands = "\n".join(dict.fromkeys(command(entry) for entry in entries))
    return (
        f"# Results on {name}\n\n"
        f"Generated from the records in `runs/` by `snakemake publish` (`{REMADE}`); do not edit. `effectiveness.csv`, `efficiency.csv`, `scaling.csv`,"
        " `crossovers.csv`, `protocols.csv`, `agreement.csv` and `contrasts.csv` hold the same numbers. A record is described in `results/README.md`.\n\n"
        "What the words mean, and all machines together: [the page of all machines](../README.md).\n\n"
        f"{_warnings(content)}\n## Findings\n\n{answers.as_markdown(answers.answers(main))}\n{_sections(shown)}\n"
        f"## Commands\n\nEach record again, from the root of the checkout:\n\n```sh\n{commands}\n```\n"
    )


def figures(content: Tables) -> list[Drawing]:
    """What the pages show: the focal model against the others by judged track, and cost against length by machine."""
    main = _main(content)
    judged = versus.judged(main)
    found = [d for d in drawn(main) if d.kind in ("forest", "growth-length")]
    return [d for d in found if d.kind != "forest" or d.track in judged]


def of_all(content: Tables, pool: Pool, machines: Machines, figures: list[Drawing]) -> str:
    """Quality from all machines together, with the cost of each: what the README's part says, and the tables behind it."""
    main = _main(content)
    shown = [*_tradeoff(main), claims.table(main), published_values.table(main)]
    shown += [
        *_quality_glance(main, spent.tracks(main)),
        *_cost_glance(main, ("cuda", "cpu")),
        *_quality(main),
    ]
    shown += [
        pool_views.repeats(pool),
        pool_views.origins(pool, main),
        views.failed(main),
        views.datasets(main),
    ]
    return (
        "# Results of all machines\n\n"
        f"Generated from the records below this folder by `snakemake publish` (`{REMADE}`); do not edit. `effectiveness.csv` holds the"
        " same means and intervals.\n\n"
        f"{pool_views.words(pool, [name for name, _ in machines], '')}\n{_in_short(main)}{_answer(main)}\n{headline.words(main)}\n{_warnings(content)}\n{_shown(figures, Path())}\n"
        f"## Findings\n\n{answers.as_markdown(_together(main, machines))}\n{_sections(shown)}"
    )


def of_readme(
    content: Tables, pool: Pool, machines: Machines, figures: list[Drawing], link: Path
) -> str:
    """The page of findings, its tables by place folded. link: the folder of all machines, as the README sees it."""
    main = _main(content)
    said = [a for a in _together(main, machines) if a.question in IN_README]
    judged = versus.judged(main)
    chosen = [tradeoff.choice(main, track) for track in judged]
    quality = _quality_glance(main, judged)
    cost = _cost_glance(main, ("cuda", "cpu"))
    pages = ", ".join(f"[{name}]({link}/{name}/README.md)" for name, _ in machines)
    first = [d for d in figures if d.kind == "forest" and d.track in judged[:1]]
    others = [d for d in figures if d.kind == "forest" and d not in first]
    costly = [d for d in figures if d.kind != "forest"]
    folded = [
        ("The answer in sentences", f"{headline.terms(main)}\n{_points(main)}"),
        ("Every comparison, counted", f"{_cards(main)}\n{_shown(others, link)}"),
        (f"What to keep in mind{_titles(content)}", _warnings(content)),
        ("Which model for which case", _plain(chosen)),
        ("Quality by place", _plain(quality)),
        ("Cost", f"{_plain(cost)}\n{_shown(costly, link)}"),
        *((a.question, _bullets(a.sentences)) for a in said),
        (
            "What the words mean, and where it was measured",
            f"{headline.words(main)}\n{pool_views.words(pool, [name for name, _ in machines], f'{link}/')}",
        ),
    ]
    return (
        _in_short(main, _shown(first, link))
        + "".join(_folded(title, body) for title, body in folded if body.strip())
        + f"More: [all machines together]({link}/README.md) (every metric and track, cost as multiples, time to quality step by step, published values and what may be behind those"
        " that were missed, claims one by one, what was spent, what was trained where and what another machine changes);"
        f" by machine, with tuning, protocols, the ablation, every cost, how it grows, and the command of each record: {pages}.\n"
    )


def _tradeoff(main: Tables) -> list[Table]:
    """Quality and cost together, by track; the focal model's cost as a multiple of each other model's; time to quality."""
    tracks = versus.judged(main)
    together = [tradeoff.choice(main, track) for track in tracks]
    return [
        *together,
        tradeoff.multiples(main),
        *(reach.table(main, track) for track in tracks),
    ]


def _quality_glance(main: Tables, tracks: list[str]) -> list[Table]:
    """Quality of some tracks by place."""
    return [table(main, track) for track in tracks for table in (glance.quality, glance.versus)]


def _cost_glance(main: Tables, kinds: Iterable[str]) -> list[Table]:
    """Cost by track and machine on some kinds of device."""
    cost = places(main.frames["efficiency"], "track", "machine_name", "device_kind")
    return [glance.cost(main, *key) for kind in kinds for key in cost if key[2] == kind]


def _together(main: Tables, machines: Machines) -> list[answers.Answer]:
    """Findings of all machines; what was spent by each of them, on every training it made."""
    found = [a for a in answers.answers(main) if a.question != answers.SPENT]
    time = [
        f"On {name}, {text[0].lower()}{text[1:]}"
        for name, own in machines
        for text in spent.sentences(own)
    ]
    return [*found, answers.Answer(answers.SPENT, time)] if time else found


# --- parts --------------------------------------------------------------------------------------------------------------


def _main(content: Tables) -> Tables:
    """The datasets themselves: variants and steps of the ablation have tables of their own."""
    main = protocol_views.without_variants(ablation.without_steps(content))
    variants = protocols.variants(content.datasets)
    return replace(main, datasets={n: f for n, f in main.datasets.items() if n not in variants})


def _warnings(content: Tables) -> str:
    """The same warnings that stand above the results in the report."""
    return "".join(f"- **{flag.title}.** {flag.text}\n" for flag in flags(content))


def _shown(figures: Iterable[Drawing], folder: Path) -> str:
    """Figures with their captions."""
    return "\n".join(
        f"![{d.caption.partition(':')[0].partition('?')[0]}]({folder / FIGURES / d.name}.svg)\n\n*{d.caption}*\n"
        for d in figures
    )


def _titles(content: Tables) -> str:
    """The titles of the warnings proper, in one line behind a colon."""
    titles = [flag.title for flag in flags(content) if flag.level != "note"]
    return ": " * bool(titles) + "; ".join(f"{title[0].lower()}{title[1:]}" for title in titles)


def _in_short(main: Tables, figure: str = "") -> str:
    """The answer, a table, what it holds for, and perhaps a figure; nothing where nothing is judged."""
    answer, caution = "".join(f"{point}\n" for point in short.answer(main)), short.caution(main)
    parts = [
        answer,
        _plain([short.table(main)]),
        f"{caution}\n" if caution else "",
        figure,
    ]
    return "".join(f"{part}\n" for part in parts if part)


def _answer(main: Tables) -> str:
    """The answer in a few sentences and, by track, in a table."""
    return f"{headline.terms(main)}\n{_points(main)}\n{_cards(main)}"


def _cards(main: Tables) -> str:
    return _plain([scorecard.table(main, track) for track in versus.judged(main)])


def _points(main: Tables) -> str:
    return "".join(f"{point}\n" for point in headline.headline(main))


def _bullets(found: Iterable[str]) -> str:
    return "".join(f"- {text}\n" for text in found)


def _plain(tables: Sequence[Table]) -> str:
    """Tables one after the other; a note that stands below several is said below the first of them."""
    said: set[str] = set()
    shown = []
    for table in (table for table in tables if table.rows):
        shown.append(replace(table, notes=[note for note in table.notes if note not in said]))
        said |= set(table.notes)
    return "\n".join(map(markdown, shown))


def _folded(title: str, body: str) -> str:
    """A part of a page that opens on a click, where Markdown is shown by GitHub."""
    return f"<details>\n<summary><b>{title}</b></summary>\n\n{body}\n</details>\n\n"


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
    content = ablation.without_steps(content)
    keys = places(content.frames["efficiency"], "track", "machine_name", "device_kind")
    found = []
    for key in keys:
        found += [costs.efficiency(content, *key, None, what) for what in costs.KINDS]
        for which in (curves.LENGTHS, curves.SIZES):
            found += [curves.growth(content, *key, which), curves.crossings(content, *key, which)]
        found += [costs.efficiency(content, *key, curve) for curve in CURVES]
    return [table for table in found if table.rows]
