"""Display tables of the front page: quality by place, cost by workload, models side by side; and what a machine changes."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd
from scipy.stats import t as student_t

from . import answers, spent, stats
from .collect import Tables
from .costs import MEMORY, PHASES, of_curve
from .experiment import FULL_LENGTH
from .findings import MAIN, enough_seeds, lead, pick, place, places
from .metrics import METRICS, per_user
from .pool import Pool, machine
from .pool import place as where_trained
from .tables import (
    Cell,
    Column,
    Table,
    decimals,
    known,
    label,
    metric_label,
    plural,
    rounded,
    signed,
    unit_for,
    whole,
)
from .tidy import Entry
from .views import DASH, MASKINGS, ordered

LENGTHS = "batch"  # the curve whose ends are shown: what a longer history costs at the same number of sequences


# --- quality ------------------------------------------------------------------------------------------------------------


def quality(tables: Tables, masking: str) -> Table:
    """Test NDCG@10 by place; a column for every trained model and one for the best that needs no training."""
    summary = pick(tables.frames["summary"], metric=MAIN, masking=masking, ties="conservative")
    trained = ordered(spent.trainings(tables).model)
    columns = [Column("Dataset and length", number=False), *[Column(label(m)) for m in trained]]
    columns.append(Column("Best without training"))
    body: list[list[Cell]] = []
    for (track,) in places(summary, "track"):
        rows = pick(summary, track=track)
        body.append([Cell(f"Track {track}")])
        for dataset, seq_len in places(rows, "dataset", "seq_len"):
            part = pick(rows, dataset=dataset, seq_len=seq_len)
            best = lead(tables, dataset, track, seq_len, masking)
            cells = [_value(pick(part, model=model), best) for model in trained]
            others = part[~part.model.isin(trained)]
            top = others[others["mean"] == others["mean"].max()]
            cells.append(_value(top.head(1), best, named=True))
            body.append([Cell(place(dataset, seq_len)), *cells])
    caption = (
        f"Test {METRICS[MAIN].label}, {MASKINGS[masking].lower()}: mean over seeds, 95 % interval"
    )
    notes = [
        "Bold: the lead over every other model exceeds the margin, with at least 3 seeds. Italic (underlined in the report): the"
        " highest mean, but not established."
    ]
    return Table(f"glance-{masking}", caption, columns, body, notes)


def _value(rows: pd.DataFrame, best: object, named: bool = False) -> Cell:
    if rows.empty:
        return DASH
    row = rows.iloc[0]
    digits = decimals([(row.ci_high - row.ci_low) / 2])
    name = f"{label(row.model)} " if named else ""
    few = "" if named or enough_seeds(row.n_seeds) else f", {plural(row.n_seeds, 'seed')}"
    mark = "" if best is None or best.model != row.model else "lead" if best.unproven else "best"
    interval = f"[{row.ci_low:.{digits}f}, {row.ci_high:.{digits}f}]"
    return Cell(f"{name}{row['mean']:.{digits}f}", f"{interval}{few}", row["mean"], mark)


def gaps(tables: Tables) -> Table:
    """The gap between maskings on validation, at the first look and at the chosen step, by place and trained model."""
    trained = ordered(spent.trainings(tables).model)
    columns = [Column("Dataset and length", number=False), *[Column(label(m)) for m in trained]]
    body: list[list[Cell]] = []
    for (track,) in places(tables.frames["curves"], "track"):
        body.append([Cell(f"Track {track}")])
        part = pick(tables.frames["curves"], track=track)
        for dataset, seq_len in places(part, "dataset", "seq_len"):
            found = {m: (a, b) for m, a, b in answers.gaps(tables, dataset, track, seq_len)}
            cells = [_gap(*found[model]) if model in found else DASH for model in trained]
            body.append([Cell(place(dataset, seq_len)), *cells])
    caption = (
        f"What masking seen items adds to {METRICS[MAIN].label} on validation, as a share of the value with them ranked: at the"
        " first look at a training, and at the step that was chosen"
    )
    return Table("glance-gaps", caption, columns, body)


def _gap(first: float, chosen: float) -> Cell:
    return Cell(f"{100 * first:.0f} → {100 * chosen:.0f} %", value=chosen)


# --- cost ---------------------------------------------------------------------------------------------------------------


def cost(tables: Tables) -> Table:
    """Time, memory and energy by machine and workload: every dataset at its longest history, both ends of the curve over length."""
    every = tables.frames["efficiency"]
    every = every[every["median"].notna()] if len(every) else every
    models = ordered(every.model) if len(every) else []
    columns = [Column("Workload", number=False), *[Column(label(model)) for model in models]]
    body: list[list[Cell]] = []
    for track, name, kind, device in places(
        every, "track", "machine_name", "device_kind", "device"
    ):
        own = pick(every, track=track, machine_name=name, device_kind=kind)
        where = name if kind == "cpu" else f"{name} ({device})"
        for part in _workloads(own):
            rows = list(_costs(part, kind, models))
            if rows:
                body.append([Cell(f"{where}, track {track}, {_workload(part)}")])
                body += rows
    notes = [
        "Medians over fresh processes of every model in turn, interquartile range (IQR) behind them where it is not zero."
    ]
    return Table("glance-cost", "Cost", columns, body, notes)


def _workloads(rows: pd.DataFrame) -> Iterator[pd.DataFrame]:
    real = of_curve(rows, None)
    for (dataset,) in places(real, "dataset"):
        own = pick(real, dataset=dataset)
        yield pick(own, seq_len=own.seq_len.max())
    curve = of_curve(rows, LENGTHS)
    for seq_len in sorted(set(curve.seq_len))[:1] + sorted(set(curve.seq_len))[1:][-1:]:
        yield pick(curve, seq_len=seq_len)


def _workload(part: pd.DataFrame) -> str:
    first = part.iloc[0]
    sizes = [int(pick(part, phase=phase).batch_size.max()) for phase in PHASES if len(pick(part, phase=phase))]  # fmt: skip
    units = ("targets a step", "users a batch")
    batch = ", ".join(f"{whole(n)} {unit}" for n, unit in zip(sizes, units, strict=False))
    if first.dataset == FULL_LENGTH:
        return (
            f"full windows of L = {whole(first.seq_len)} over {whole(first.n_items)} items, {batch}"
        )
    return f"{place(first.dataset, first.seq_len)}, {batch}"


def _costs(part: pd.DataFrame, kind: str, models: list[str]) -> Iterator[list[Cell]]:
    memory = MEMORY[kind][0]
    wanted = [("train", "step_s"), ("train", memory), ("train", "energy_j_per_step")]
    for phase, metric in [*wanted, ("inference", "batch_s"), ("inference", memory)]:
        rows = pick(part, phase=phase, metric=metric)
        if rows.empty:
            continue
        factor, unit = unit_for(METRICS[metric].unit, rows["median"])
        text = metric_label(metric, unit).removeprefix(f"{PHASES[phase]}: ")
        said = text if phase == "train" or metric != memory else f"{text}, inference"
        cells = [_cost_cell(pick(rows, model=model), factor) for model in models]
        yield [Cell(said), *cells]


def _cost_cell(rows: pd.DataFrame, factor: float) -> Cell:
    if rows.empty:
        return DASH
    row = rows.iloc[0]
    iqr = row.iqr / factor
    detail = f"IQR {rounded(iqr, iqr)}" if iqr else ""
    return Cell(rounded(row["median"] / factor, iqr), detail, row["median"])


# --- machines -----------------------------------------------------------------------------------------------------------


def origins(pool: Pool) -> Table:
    """Which machine made the trainings of every place, with their seeds."""
    trained = [e for e in pool.entries if e.training and e.values.get("steps")]
    models = ordered(pd.Series([e.experiment["model"] for e in trained]))
    columns = [Column("Dataset and length", number=False)]
    columns += [Column(label(model), number=False) for model in models]
    body: list[list[Cell]] = []
    at = {where_trained(e): None for e in sorted(trained, key=lambda e: where_trained(e)[1])}
    for track in dict.fromkeys(track for _, track, _ in at):
        body.append([Cell(f"Track {track}")])
        for key in (key for key in at if key[1] == track):
            own = [e for e in trained if where_trained(e) == key]
            cells = [_origin([e for e in own if e.experiment["model"] == m]) for m in models]
            body.append([Cell(place(key[0], key[2])), *cells])
    return Table("origins", "Where it was trained: machine (seeds)", columns, body)


def _origin(entries: list[Entry]) -> Cell:
    seeds: dict[str, list[str]] = {}
    for entry in entries:
        seeds.setdefault(machine(entry), []).append(str(entry.experiment["seed"]))
    text = "; ".join(f"{name} ({', '.join(found)})" for name, found in seeds.items())
    return Cell(text) if text else DASH


def repeats(tables: Tables, pool: Pool) -> Table:
    """Trainings of one experiment on two machines: test NDCG@10 with seen items ranked, and how far they differ."""
    columns = [Column("Training", number=False), Column("First"), Column("Second")]
    columns.append(Column("Difference"))
    body: list[list[Cell]] = []
    notes = []
    for names in dict.fromkeys((machine(a), machine(b)) for a, b in pool.repeats):
        body.append([Cell(f"{names[0]} (first), {names[1]} (second)")])
        own = [(a, b) for a, b in pool.repeats if (machine(a), machine(b)) == names]
        values = np.array([[_mean(a), _mean(b)] for a, b in own])
        body += [_repeat_row(a, *pair) for (a, _), pair in zip(own, values, strict=True)]
        stds = [std for a, _ in own for std in _std(tables, a)]
        notes.append(_repeated(names, values[:, 1] - values[:, 0], stds))
    caption = f"One experiment on two machines: test {METRICS[MAIN].label}, seen items ranked"
    return Table("repeats", caption, columns, body, notes)


def repeated(tables: Tables, pool: Pool) -> str:
    """What the machine changes, as a sentence; empty where nothing was trained twice."""
    return " ".join(repeats(tables, pool).notes)


def _mean(entry: Entry) -> float:
    return float(per_user(entry.samples()["test/unmasked/rank"], MAIN).mean())


def _std(tables: Tables, entry: Entry) -> list[float]:
    """The standard deviation between seeds of that model at that place, if it has several."""
    keys = ("dataset", "track", "seq_len", "model")
    rows = pick(
        tables.frames["summary"], metric=MAIN, masking="unmasked", ties="conservative",
        **{key: entry.experiment[key] for key in keys},
    )  # fmt: skip
    return [std for std in rows["std"] if known(std)]


def _repeat_row(entry: Entry, first: float, second: float) -> list[Cell]:
    e = entry.experiment
    name = f"{label(e['model'])} on {place(e['dataset'], e['seq_len'])}, seed {e['seed']}"
    cells = [Cell(f"{value:.4f}", value=value) for value in (first, second)]
    change = second - first
    return [Cell(name), *cells, Cell(f"{change:+.4f}".replace("-", "−"), value=change)]


def _repeated(names: tuple[str, str], differences: np.ndarray, stds: list[float]) -> str:
    """What another machine changes, in words: the mean difference, and the spread beside that of seeds."""
    n = len(differences)
    text = f"{plural(n, 'training')} of {names[0]} {'was' if n == 1 else 'were'} repeated on {names[1]}"
    if n < 2:
        return f"{text}."
    error = differences.std(ddof=1) / np.sqrt(n)
    half = student_t.ppf((1 + stats.CONFIDENCE) / 2, n - 1) * error
    mean = differences.mean()
    text += f": there test {METRICS[MAIN].label} differs by {signed(mean, mean - half, mean + half)} on average"
    # Two runs differ by the square root of two times the spread of one.
    text += f"; the standard deviation of one run between machines is {np.sqrt((differences**2).mean() / 2):.4f}"
    if stds:
        text += f", between seeds of these models {np.sqrt(np.mean(np.square(stds))):.4f}"
    return f"{text}."
