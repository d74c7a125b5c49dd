"""Display tables of pooled trainings and the words about them: who made which, and what another machine changes."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy.stats import t as student_t

from ..analysis import resampling
from ..analysis.collect import Tables
from ..analysis.pool import Pool, machine, settings
from ..analysis.pool import condition as condition_of
from ..analysis.tidy import ranks_of
from ..core.display import PRIMARY_METRIC, QUANTITIES
from ..core.metrics import per_user
from ..core.store import Entry
from .findings import condition_name
from .tables import Cell, Column, Table, label, plural
from .views import DASH, SEEN_ITEMS


def origins(pool: Pool, shown: Tables) -> Table:
    """Which machine made the trainings of every condition on the datasets shown, with their seeds."""
    trained = [e for e in pool.entries if e.training and e.values.get("steps")]
    trained = [e for e in trained if e.job["dataset"] in set(shown.frames["summary"].dataset)]
    models = shown.ordered(e.job["model"] for e in trained)
    columns = [Column("Dataset and length", number=False)]
    columns += [Column(label(model), number=False) for model in models]
    body: list[list[Cell]] = []
    at = dict.fromkeys(sorted((condition_of(e) for e in trained), key=lambda key: key[1]))
    for track in dict.fromkeys(track for _, track, _ in at):
        body.append([Cell(f"Track {track}")])
        for key in (key for key in at if key[1] == track):
            own = [e for e in trained if condition_of(e) == key]
            cells = [_origin([e for e in own if e.job["model"] == m]) for m in models]
            body.append([Cell(condition_name(key[0], key[2])), *cells])
    return Table("origins", "Where it was trained: machine (seeds)", columns, body)


def _origin(entries: list[Entry]) -> Cell:
    seeds: dict[str, list[str]] = {}
    for entry in entries:
        seeds.setdefault(machine(entry), []).append(str(entry.job["seed"]))
    text = "; ".join(f"{name} ({', '.join(found)})" for name, found in seeds.items())
    return Cell(text) if text else DASH


def repeats(pool: Pool) -> Table:
    """One training on two machines: test NDCG@10 of both, and how far they differ."""
    columns = [Column("Training", number=False)]
    for title in SEEN_ITEMS.values():
        columns += [Column(text, title) for text in ("First", "Second", "Difference")]
    body: list[list[Cell]] = []
    notes = []
    for names in dict.fromkeys((machine(a), machine(b)) for a, b in pool.repeats):
        body.append([Cell(f"{names[0]} (first), {names[1]} (second)")])
        own = [(a, b) for a, b in pool.repeats if (machine(a), machine(b)) == names]
        body += [_repeat_row(a, b) for a, b in own]
        notes.append(_repeated(names, own, pool.every))
    caption = f"One training on two machines: test {QUANTITIES[PRIMARY_METRIC].label}"
    return Table("repeats", caption, columns, body, notes)


def _mean(entry: Entry, seen_items: str) -> float:
    return float(per_user(ranks_of(entry.samples(), "test", seen_items)[0], PRIMARY_METRIC).mean())


def _repeat_row(a: Entry, b: Entry) -> list[Cell]:
    e = a.job
    tracks = " / ".join(dict.fromkeys(entry.job["track"] for entry in (a, b)))
    cells = [Cell(f"{label(e['model'])} on {condition_name(e['dataset'], e['seq_len'])}, seed {e['seed']} ({tracks})")]  # fmt: skip
    for seen_items in SEEN_ITEMS:
        first, second = _mean(a, seen_items), _mean(b, seen_items)
        cells += [Cell(f"{value:.4f}", value=value) for value in (first, second)]
        change = second - first
        cells.append(Cell(f"{change:+.4f}".replace("-", "−"), value=change))
    return cells


def _repeated(names: tuple[str, str], pairs: list[tuple[Entry, Entry]], every: list[Entry]) -> str:
    """What another machine changes, in words: relative differences, beside the spread of seeds on one machine."""
    n = plural(len(pairs), "training")
    text = f"{n} of {names[0]} {'was' if len(pairs) == 1 else 'were'} repeated on {names[1]}"
    groups: dict[str, list[tuple[Entry, Entry]]] = {}
    for a, b in pairs:
        groups.setdefault(settings(a.job, "seed", "track"), []).append((a, b))
    if len(groups) < 2:
        return f"{text}."
    said = [_relative(list(groups.values()), every, m) for m in SEEN_ITEMS]
    return f"{text} ({len(groups)} models and conditions). There test {QUANTITIES[PRIMARY_METRIC].label} differs by {'; '.join(said)}."


def _relative(groups: list[list[tuple[Entry, Entry]]], every: list[Entry], seen_items: str) -> str:
    changes = [
        [_mean(b, seen_items) / _mean(a, seen_items) - 1 for a, b in group] for group in groups
    ]
    means = np.array(
        [np.mean(own) for own in changes]
    )  # seeds of one model and condition are alike
    half = student_t.ppf((1 + resampling.CONFIDENCE) / 2, len(means) - 1) * means.std(ddof=1)
    half /= np.sqrt(len(means))
    mean, low, high = 100 * np.array([means.mean(), means.mean() - half, means.mean() + half])
    # Two runs differ by the square root of two times the spread of one.
    spread = 100 * np.sqrt(np.mean(np.square(np.concatenate(changes))) / 2)
    text = f"{_percent(mean, low, high)} with {SEEN_ITEMS[seen_items].lower()} (standard deviation of one run: {spread:.1f} % between machines"
    seeds = [value for group in groups for value in _of_seeds(group[0], every, seen_items)]
    if seeds:
        text += f", {100 * np.sqrt(np.mean(np.square(seeds))):.1f} % between seeds on one machine"
    return f"{text})"


def _percent(value: float, low: float, high: float) -> str:
    """A relative difference with its interval, in percent with one decimal."""
    text, *ends = (f"{number:+.1f}".replace("-", "−") for number in (value, low, high))
    return f"{text} % [{', '.join(ends)}]"


def _of_seeds(pair: tuple[Entry, Entry], every: list[Entry], seen_items: str) -> Iterator[float]:
    """Relative standard deviations over the seeds of a model and condition, on each machine that trained several."""
    for entry in pair:
        key = settings(entry.job, "seed")
        own = [e for e in every if machine(e) == machine(entry) and settings(e.job, "seed") == key]  # fmt: skip
        values = [_mean(e, seen_items) for e in own]
        if len(values) > 1:
            yield float(np.std(values, ddof=1) / np.mean(values))


def words(pool: Pool, names: list[str]) -> str:
    """How the records of several machines were put together, and what was left out."""
    pages = " and ".join(f"[{name}]({name}/README.md)" for name in names)
    if len(names) == 1:
        return f"Measured on {pages}.\n"
    said = [
        f"Measured on {pages}. Cost is told by machine; for quality each training of a track counts once, on whichever machine it ran"
        " (`origins.csv`, `repeats.csv`).",
        *repeats(pool).notes,
        *(f"Left out for {why}: records of {name} on {where}." for name, where, why in pool.left_out),
    ]  # fmt: skip
    return " ".join(said) + "\n"
