"""Display tables at a glance: quality by place and cost by workload, models side by side; and what another machine changes.

A table of values never holds two tracks, and none of cost two machines; `repeats` holds one experiment in a row.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import pandas as pd
from scipy.stats import t as student_t

from . import answers, spent, stats
from .collect import Tables
from .costs import MEMORY, PHASES, SUBJECT, of_curve
from .experiment import FULL_LENGTH
from .findings import MAIN, enough_seeds, lead, pick, place, places
from .metrics import METRICS, per_user
from .pool import Pool, machine, settings
from .pool import place as place_of
from .tables import (
    Cell,
    Column,
    Table,
    decimals,
    label,
    metric_label,
    plural,
    rounded,
    unit_for,
    whole,
)
from .tidy import Entry
from .views import DASH, MASKINGS, difference_cell, ordered

LENGTHS = "batch"  # the curve whose ends are shown: what a longer history costs at the same number of sequences


# --- quality ------------------------------------------------------------------------------------------------------------


def quality(tables: Tables, track: str) -> Table:
    """Test NDCG@10 of a track by place and masking; a column per trained model and one for the best that needs no training.

    A last row per place says what masking adds on validation, at the first look at a training and at the chosen step.
    """
    summary = pick(tables.frames["summary"], track=track, metric=MAIN, ties="conservative")
    trained = ordered(pick(spent.trainings(tables), track=track).model)
    columns = [Column("Seen items", number=False), *[Column(label(m)) for m in trained]]
    columns.append(Column("Best without training"))
    body: list[list[Cell]] = []
    for dataset, seq_len in places(summary, "dataset", "seq_len"):
        body.append([Cell(place(dataset, seq_len) + _machines(tables, track, dataset, seq_len))])
        for masking, title in MASKINGS.items():
            part = pick(summary, dataset=dataset, seq_len=seq_len, masking=masking)
            best = lead(tables, dataset, track, seq_len, masking)
            cells = [_value(pick(part, model=model), best) for model in trained]
            others = part[~part.model.isin(trained)]
            top = others[others["mean"] == others["mean"].max()].head(1)
            name = title.removeprefix("Seen items ")
            body.append([Cell(name), *cells, _value(top, best, named=True)])
        gaps = {m: (a, b) for m, a, b in answers.gaps(tables, dataset, track, seq_len)}
        if gaps:
            cells = [_gap(*gaps[model]) if model in gaps else DASH for model in trained]
            body.append([Cell("gain by masking"), *cells, DASH])
    caption = f"Test {METRICS[MAIN].label}, track {track}: mean over seeds, 95 % interval"
    notes = [
        "Bold: the lead over every other model exceeds the margin, with at least 3 seeds. Italic (underlined in the report): the"
        f" highest mean, but not established. Gain by masking: what it adds to validation {METRICS[MAIN].label}, as a share of the value with seen"
        " items ranked, at the first look at a training and at the step that was chosen."
    ]
    return Table(f"glance-{track}", caption, columns, body, notes)


def _machines(tables: Tables, track: str, dataset: str, seq_len: int) -> str:
    """Where the models of a place were trained, if the tables hold several machines."""
    every = spent.trainings(tables)
    if every.machine_name.nunique() < 2:
        return ""
    here = pick(every, track=track, dataset=dataset, seq_len=seq_len)
    return f"; trained on {' and '.join(dict.fromkeys(here.machine_name))}" if len(here) else ""


def _value(rows: pd.DataFrame, best: object, named: bool = False) -> Cell:
    if rows.empty:
        return DASH
    row = rows.iloc[0]
    digits = decimals([(row.ci_high - row.ci_low) / 2])
    name = f"{label(row.model)} " if named else ""
    few = "" if named or enough_seeds(row.n_seeds) else f", {plural(row.n_seeds, 'seed')}"
    mark = "" if best.model != row.model else "best" if best.established else "lead"
    interval = f"[{row.ci_low:.{digits}f}, {row.ci_high:.{digits}f}]"
    return Cell(f"{name}{row['mean']:.{digits}f}", f"{interval}{few}", row["mean"], mark)


def _gap(first: float, chosen: float) -> Cell:
    return Cell(f"{100 * first:.0f} → {100 * chosen:.0f} %", value=chosen)


def versus(tables: Tables, track: str) -> Table:
    """The subject against each other trained model of a track by place: paired differences of NDCG@10 with their verdicts."""
    rows = pick(tables.frames["comparisons"], track=track, metric=MAIN)
    trained = [m for m in ordered(pick(spent.trainings(tables), track=track).model) if m != SUBJECT]
    columns = [Column("Dataset and length", number=False)]
    columns += [Column(label(m), title) for title in MASKINGS.values() for m in trained]
    body: list[list[Cell]] = []
    for dataset, seq_len in places(rows, "dataset", "seq_len"):
        part = pick(rows, dataset=dataset, seq_len=seq_len)
        cells = [_difference(pick(part, masking=m), rival) for m in MASKINGS for rival in trained]
        if any(cell is not DASH for cell in cells):
            body.append([Cell(place(dataset, seq_len)), *cells])
    caption = f"{label(SUBJECT)} minus each other model in test {METRICS[MAIN].label}, track {track}: paired difference, 95 % interval"
    return Table(f"glance-versus-{track}", caption, columns, body)


def _difference(rows: pd.DataFrame, rival: str) -> Cell:
    for first, second, sign in ((SUBJECT, rival, 1), (rival, SUBJECT, -1)):
        found = pick(rows, model_a=first, model_b=second)
        if len(found):
            return difference_cell(found.iloc[0], sign)
    return DASH


# --- cost ---------------------------------------------------------------------------------------------------------------


def cost(tables: Tables, track: str, name: str, kind: str) -> Table:
    """Time, memory and energy on one machine: every dataset at its longest history, both ends of the curve over length."""
    rows = pick(tables.frames["efficiency"], track=track, machine_name=name, device_kind=kind)
    shown = {metric for _, metric in _shown(kind)}
    rows = rows[rows["median"].notna() & rows.metric.isin(shown)] if len(rows) else rows
    rows = rows.assign(job=rows.path.str.rpartition("/")[0]) if len(rows) else rows
    models = ordered(rows.model) if len(rows) else []
    columns = [Column("Per", number=False), *[Column(label(model)) for model in models]]
    body: list[list[Cell]] = []
    for part in _workloads(rows) if len(rows) else ():
        body.append([Cell(_workload(part))])
        body += _costs(part, kind, models)
    device = f" ({rows.device.iloc[0]})" if len(rows) and kind != "cpu" else ""
    caption = f"Cost on {name}{device}, track {track}: median over fresh processes of every model in turn, interquartile range (IQR)"
    return Table(f"glance-cost-{track}-{name}-{kind}", caption, columns, body)


def _workloads(rows: pd.DataFrame) -> Iterator[pd.DataFrame]:
    """The jobs that are shown; what was measured in one job was measured in turn, with one batch."""
    real = of_curve(rows, None)
    for (dataset,) in places(real, "dataset"):
        own = pick(real, dataset=dataset)
        longest = pick(own, seq_len=own.seq_len.max())
        yield from (pick(longest, job=job) for (job,) in places(longest, "job"))
    curve = of_curve(rows, LENGTHS)
    for (fixed,) in places(curve, "fixed"):
        own = pick(curve, fixed=fixed)
        for seq_len in sorted({own.seq_len.min(), own.seq_len.max()}):
            yield pick(own, seq_len=seq_len)


def _workload(part: pd.DataFrame) -> str:
    first = part.iloc[0]
    units = {"train": "targets a step", "inference": "users a batch"}
    sizes = [
        f"{whole(pick(part, phase=phase).batch_size.max())} {unit}"
        for phase, unit in units.items()
        if len(pick(part, phase=phase))
    ]
    where = place(first.dataset, first.seq_len)
    if first.dataset == FULL_LENGTH:
        where = f"full windows of L = {whole(first.seq_len)} over {whole(first.n_items)} items"
    threads = plural(first.threads, "thread")
    return ", ".join([where, *sizes, first.precision, threads])


def _shown(kind: str) -> list[tuple[str, str]]:
    """Phases and metrics of the rows."""
    train, memory = ("step_s", MEMORY[kind][0], "energy_j_per_step"), MEMORY[kind][0]
    return [*(("train", m) for m in train), ("inference", "batch_s"), ("inference", memory)]


def _costs(part: pd.DataFrame, kind: str, models: list[str]) -> Iterator[list[Cell]]:
    memory = MEMORY[kind][0]
    for phase, metric in _shown(kind):
        rows = pick(part, phase=phase, metric=metric)
        if rows.empty:
            continue
        factor, unit = unit_for(METRICS[metric].unit, rows["median"])
        text = metric_label(metric, unit).removeprefix(f"{PHASES[phase]}: ")
        said = text if phase == "train" or metric != memory else f"{text}, inference"
        yield [Cell(said), *(_cost_cell(pick(rows, model=m), factor) for m in models)]


def _cost_cell(rows: pd.DataFrame, factor: float) -> Cell:
    if rows.empty:
        return DASH
    row = rows.iloc[0]
    value, iqr = row["median"] / factor, row.iqr / factor
    # A spread below a thousandth is none that the number beside it shows.
    detail = f"IQR {rounded(iqr, iqr)}" if iqr > value / 1000 else ""
    return Cell(rounded(value, iqr), detail, row["median"])


# --- machines -----------------------------------------------------------------------------------------------------------


def origins(pool: Pool, datasets: Iterable[str]) -> Table:
    """Which machine made the trainings of every place on some datasets, with their seeds."""
    trained = [e for e in pool.entries if e.training and e.values.get("steps")]
    trained = [e for e in trained if e.experiment["dataset"] in set(datasets)]
    models = ordered(pd.Series([e.experiment["model"] for e in trained]))
    columns = [Column("Dataset and length", number=False)]
    columns += [Column(label(model), number=False) for model in models]
    body: list[list[Cell]] = []
    at = dict.fromkeys(sorted((place_of(e) for e in trained), key=lambda key: key[1]))
    for track in dict.fromkeys(track for _, track, _ in at):
        body.append([Cell(f"Track {track}")])
        for key in (key for key in at if key[1] == track):
            own = [e for e in trained if place_of(e) == key]
            cells = [_origin([e for e in own if e.experiment["model"] == m]) for m in models]
            body.append([Cell(place(key[0], key[2])), *cells])
    return Table("origins", "Where it was trained: machine (seeds)", columns, body)


def _origin(entries: list[Entry]) -> Cell:
    seeds: dict[str, list[str]] = {}
    for entry in entries:
        seeds.setdefault(machine(entry), []).append(str(entry.experiment["seed"]))
    text = "; ".join(f"{name} ({', '.join(found)})" for name, found in seeds.items())
    return Cell(text) if text else DASH


def repeats(pool: Pool) -> Table:
    """Trainings of one experiment on two machines: test NDCG@10 of both, and how far they differ."""
    columns = [Column("Training", number=False)]
    for title in MASKINGS.values():
        columns += [Column(text, title) for text in ("First", "Second", "Difference")]
    body: list[list[Cell]] = []
    notes = []
    for names in dict.fromkeys((machine(a), machine(b)) for a, b in pool.repeats):
        body.append([Cell(f"{names[0]} (first), {names[1]} (second)")])
        own = [(a, b) for a, b in pool.repeats if (machine(a), machine(b)) == names]
        body += [_repeat_row(a, b) for a, b in own]
        notes.append(_repeated(names, own, pool.every))
    caption = f"One experiment on two machines: test {METRICS[MAIN].label}"
    return Table("repeats", caption, columns, body, notes)


def _mean(entry: Entry, masking: str) -> float:
    return float(per_user(entry.samples()[f"test/{masking}/rank"], MAIN).mean())


def _repeat_row(a: Entry, b: Entry) -> list[Cell]:
    e = a.experiment
    tracks = " / ".join(dict.fromkeys(entry.experiment["track"] for entry in (a, b)))
    cells = [Cell(f"{label(e['model'])} on {place(e['dataset'], e['seq_len'])}, seed {e['seed']} ({tracks})")]  # fmt: skip
    for masking in MASKINGS:
        first, second = _mean(a, masking), _mean(b, masking)
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
        groups.setdefault(settings(a.experiment, "seed", "track"), []).append((a, b))
    if len(groups) < 2:
        return f"{text}."
    said = [_relative(list(groups.values()), every, m) for m in MASKINGS]
    return f"{text} ({len(groups)} models and places). There test {METRICS[MAIN].label} differs by {'; '.join(said)}."


def _relative(groups: list[list[tuple[Entry, Entry]]], every: list[Entry], masking: str) -> str:
    changes = [[_mean(b, masking) / _mean(a, masking) - 1 for a, b in group] for group in groups]
    means = np.array([np.mean(own) for own in changes])  # seeds of one model and place are alike
    half = student_t.ppf((1 + stats.CONFIDENCE) / 2, len(means) - 1) * means.std(ddof=1)
    half /= np.sqrt(len(means))
    mean, low, high = 100 * np.array([means.mean(), means.mean() - half, means.mean() + half])
    # Two runs differ by the square root of two times the spread of one.
    spread = 100 * np.sqrt(np.mean(np.square(np.concatenate(changes))) / 2)
    text = f"{signed_percent(mean, low, high)} with {MASKINGS[masking].lower()} (standard deviation of one run: {spread:.1f} % between machines"
    seeds = [value for group in groups for value in _of_seeds(group[0], every, masking)]
    if seeds:
        text += f", {100 * np.sqrt(np.mean(np.square(seeds))):.1f} % between seeds on one machine"
    return f"{text})"


def signed_percent(value: float, low: float, high: float) -> str:
    """A relative difference with its interval, in percent with one decimal."""
    text, *ends = (f"{number:+.1f}".replace("-", "−") for number in (value, low, high))
    return f"{text} % [{', '.join(ends)}]"


def _of_seeds(pair: tuple[Entry, Entry], every: list[Entry], masking: str) -> Iterator[float]:
    """Relative standard deviations over the seeds of a model and place, on each machine that trained several."""
    for entry in pair:
        key = settings(entry.experiment, "seed")
        own = [e for e in every if machine(e) == machine(entry) and settings(e.experiment, "seed") == key]  # fmt: skip
        values = [_mean(e, masking) for e in own]
        if len(values) > 1:
            yield float(np.std(values, ddof=1) / np.mean(values))
