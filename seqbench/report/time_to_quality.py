"""Time to quality: how long each model trains until it is about as good as the best of the focal model's comparators.

A step is not the same work for everyone, and not everyone needs as many. Per condition the goal is a share of the best
validation value that a comparator of the focal model reaches, averaged over its seeds; a training gets there at its first validation
that is at least as good. Time is steps times the measured step of the same batch on the same data, never the training's own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pandas as pd

from ..analysis.collect import Tables
from ..core.display import QUANTITIES
from ..core.jobs import Training
from . import versus
from .costs import of_curve
from .findings import condition_name, enough_seeds, pick, unique
from .tables import Cell, Column, Table, decimals, label, named, plural, rounded, unit_for
from .views import DASH

SHARES = (0.95, 0.99)
COLUMNS = (
    *(
        "track",
        "dataset",
        "seq_len",
        "share",
        "comparator",
        "goal",
        "model",
        "n_seeds",
        "n_reached",
    ),
    *("steps", "steps_low", "steps_high"),
)
SEEN_ITEMS, METRIC = (
    Training().select_seen_items,
    Training().select_on,
)  # what trainings are chosen by


def goal(share: float) -> str:
    """What a training is measured until."""
    return f"{100 * share:g} % of the best other model's validation {QUANTITIES[METRIC].label}"


def rows(tables: Tables) -> pd.DataFrame:
    """Per condition, share and model: trainings, those that reached the goal, and their steps (mean, least, most).

    comparator: whose value the goal is a share of. Conditions without a trained comparator are left out.
    """
    curves = pick(tables.frames["curves"], split="valid", metric=METRIC, seen_items=SEEN_ITEMS)
    trainings = pick(tables.frames["experiments"], kind="train")
    found = []
    for track, dataset, seq_len in unique(curves, "track", "dataset", "seq_len"):
        here = pick(curves, track=track, dataset=dataset, seq_len=seq_len)
        best = here.groupby(["model", "path"]).value.max().groupby("model").mean()
        comparators = best.drop(tables.focal_model, errors="ignore")
        for share in SHARES if len(comparators) else ():
            goal = share * comparators.max()
            about = {"track": track, "dataset": dataset, "seq_len": seq_len, "share": share,
                     "comparator": comparators.idxmax(), "goal": goal}  # fmt: skip
            for model in tables.ordered(here.model):
                own = pick(here, model=model)
                steps = own[own.value >= goal].groupby("path").step.min()
                begun = pick(trainings, track=track, dataset=dataset, seq_len=seq_len, model=model)
                n_seeds = max(len(begun), own.path.nunique())  # one that failed has no curve
                counts = {"model": model, "n_seeds": n_seeds, "n_reached": len(steps)}
                ends = {"steps": steps.mean(), "steps_low": steps.min(), "steps_high": steps.max()}
                found.append({**about, **counts, **ends})
    return pd.DataFrame(found, columns=list(COLUMNS))


def costs(tables: Tables, steps: pd.DataFrame) -> pd.DataFrame:
    """Time and energy to quality, a row per row of ``steps``, from `rows`, and machine: adds machine_name, device, device_kind, what, value.

    what: ``step_s`` (value in seconds) or ``energy_j_per_step`` (in joules); value, low, high of mean, least and most steps.
    """
    every = of_curve(versus.costs(tables), None)
    every = every[every.what.isin(["step_s", "energy_j_per_step"])]
    key = ["track", "dataset", "seq_len", "model"]
    cost = every[[*key, "machine_name", "device", "device_kind", "what", "median"]]
    both = steps.merge(cost, on=key)
    for name, taken in (("value", "steps"), ("low", "steps_low"), ("high", "steps_high")):
        both[name] = both[taken] * both["median"]
    return both


# --- for people ---------------------------------------------------------------------------------------------------------


def table(tables: Tables, track: str, shares: Sequence[float] = SHARES) -> Table:
    """Steps, and on every machine that measured them time and energy, by condition; a column per trained model."""
    steps = pick(rows(tables), track=track)
    steps = steps[steps.share.isin(shares)]
    priced = costs(tables, steps)
    models = tables.ordered(steps.model)
    columns = [Column("Until", number=False), *[Column(label(model)) for model in models]]
    body: list[list[Cell]] = []
    for dataset, seq_len in unique(steps, "dataset", "seq_len"):
        own = pick(steps, dataset=dataset, seq_len=seq_len)
        digits = decimals([own.goal.max() / 100])
        first = own.iloc[0]
        body.append([Cell(f"{condition_name(dataset, seq_len)}; all of it is {label(first.comparator)}'s {first.goal / first.share:.{digits}f}")])  # fmt: skip
        for share in shares:
            part = pick(own, share=share)
            said = f"{100 * share:g} %"
            body.append([Cell(f"{said}: steps"), *_cells(part, models, "steps", 1)])
            here = pick(priced, dataset=dataset, seq_len=seq_len, share=share)
            for machine, device, what in unique(here, "machine_name", "device", "what"):
                line = pick(here, machine_name=machine, device=device, what=what)
                factor, unit = unit_for(QUANTITIES[what].unit, line.value)
                name = "time" if what == "step_s" else "energy"
                body.append([Cell(f"{said}: {name} on {named(machine, device)} ({unit})"), *_cells(line, models, "value", factor)])  # fmt: skip
    caption = f"Training until a share of the best other model's validation {QUANTITIES[METRIC].label} is reached, track {track}"
    notes = [
        f"Best other: of all trained models but {label(tables.focal_model)}, mean over seeds, seen items kept. Mean over seeds [least, most]; trainings are"
        " validated at intervals, which is how exact the steps are. Time and energy: steps times the measured step of the same batch;"
        " those of one condition and track come from one measurement session, those of others may come from days on which the machine was faster or slower."
        " Bold: every seed was there before any of the others'. Italic (underlined in the report): the lowest mean of those whose every seed got there."
    ]
    return Table(f"time-to-quality-{track}", caption, columns, body, notes)


def _cells(part: pd.DataFrame, models: list[str], value: str, factor: float) -> Iterator[Cell]:
    low, high = ("steps_low", "steps_high") if value == "steps" else ("low", "high")
    sure = part[part.n_reached == part.n_seeds]
    for model in models:
        own = pick(part, model=model)
        if own.empty:
            yield DASH
            continue
        row = own.iloc[0]
        if not row.n_reached:
            yield Cell("not reached", mark="muted")
            continue
        texts = [
            f"{row[key]:,.0f}" if value == "steps" else rounded(row[key] / factor, row[value] / factor / 50)
            for key in (value, low, high)
        ]  # fmt: skip
        every = row.n_reached == row.n_seeds
        details = [f"[{texts[1]}, {texts[2]}]"] if row.n_reached > 1 else []
        if not every or row.n_seeds == 1:
            seeds = plural(row.n_seeds, "seed")
            details.append(seeds if every else f"{row.n_reached} of {seeds}")
        mark = ""
        if every and row[value] == sure[value].min():
            others = part[(part.model != model) & (part.n_reached > 0)]
            first = (others[low] > row[high]).all() and enough_seeds(row.n_seeds)
            mark = "best" if first else "lead"
        yield Cell(texts[0], ", ".join(details), row[value], mark)


@dataclass(frozen=True)
class Beside:
    """The focal model beside one comparator in a condition, by the step that one machine measured.

    own, other: whether every seed of the focal model, of the comparator, gets to the goal. ratio: the focal model's time over the comparator's,
    where both do. sooner: whether every seed of the focal model is there before any of the comparator's.
    """

    machine: str
    device: str
    comparator: str
    dataset: str
    seq_len: int
    own: bool
    other: bool
    ratio: float | None
    sooner: bool


def beside(tables: Tables, track: str, share: float = SHARES[-1]) -> list[Beside]:
    """Every condition and machine of a track that measured the steps of both, where both were trained with enough seeds."""
    priced = pick(costs(tables, pick(rows(tables), track=track, share=share)), what="step_s")
    found = []
    for where in unique(priced, "machine_name", "device", "dataset", "seq_len"):
        machine, device, dataset, seq_len = where
        here = pick(priced, machine_name=machine, device=device, dataset=dataset, seq_len=seq_len)
        here = here.set_index("model")
        for comparator in (
            tables.ordered(here.index.drop(tables.focal_model))
            if tables.focal_model in here.index
            else ()
        ):
            one, two = (here.loc[model] for model in (tables.focal_model, comparator))
            if not enough_seeds(min(one.n_seeds, two.n_seeds)):
                continue
            own, other = (row.n_reached == row.n_seeds for row in (one, two))
            ratio = one.value / two.value if own and other else None
            sooner = bool(own and (not two.n_reached or one.high < two.low))
            found.append(Beside(machine, device, comparator, dataset, seq_len, bool(own), bool(other), ratio, sooner))  # fmt: skip
    return found


def counted(tables: Tables, found: list[Beside]) -> str:
    """In how many conditions both, one alone or neither gets to the goal with every seed."""
    names = {
        (True, True): "both",
        (True, False): f"only {label(tables.focal_model)}",
        (False, True): f"only {label(found[0].comparator)}",
        (False, False): "neither",
    }
    ends = [(b.own, b.other) for b in found]
    said = [f"{who} at {ends.count(end)}" for end, who in names.items() if end in ends]
    return f"{', '.join(said)} of {len(found)}"
