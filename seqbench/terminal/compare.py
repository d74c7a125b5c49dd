"""Two folders of records held against each other: quality paired over users, costs as ratios. Always the second against the first."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from ..analysis import resampling, significance
from ..analysis.groups import groups
from ..analysis.summary import enough_seeds
from ..analysis.tidy_cost import efficiency_rows
from ..core.display import PRIMARY_METRIC, compared, peak_memory
from ..core.errors import UserError
from ..core.metrics import SEEN_ITEMS
from ..core.store import Entry, of_one_code, published

QUALITY = (
    *("track", "dataset", "seq_len", "model", "seen_items", "metric", "n_seeds_a", "n_seeds_b"),
    *("mean_a", "mean_b", "difference", "ci_low", "ci_high", "margin", "verdict", "why"),
)
COSTS = (
    *("track", "dataset", "seq_len", "curve", "sequences", "model", "phase", "metric"),
    *("machine_a", "machine_b", "median_a", "median_b", "ratio", "ratio_low", "ratio_high", "verdict"),
)  # fmt: skip


Side = dict[tuple, list[Entry]]


@dataclass(frozen=True)
class Compared:
    """Rows of what both folders hold (QUALITY, COSTS), and how many models and conditions stand in one of them only."""

    quality: pd.DataFrame
    costs: pd.DataFrame
    only_a: int
    only_b: int


def compare(a: Path, b: Path, margin: float) -> Compared:
    """Hold the records of folder ``b`` against those of ``a``.

    margin: smallest difference of quality that counts, as a share of the better mean.

    Raises:
        UserError: a folder without records or of several machines, data that differ, so that users cannot be paired, or
            nothing that both hold.
    """
    sides = [_by_key(of_one_code([e for e in published(records_of(f)) if e.ok])) for f in (a, b)]
    _same_data((a, b), sides)
    both = [key for key in sides[0] if key in sides[1]]
    if not both:
        raise UserError(f"{a} and {b}: hold no model at one condition in common; name folders of the same configuration")  # fmt: skip
    rows: dict[bool, list[dict[str, Any]]] = {True: [], False: []}
    for key in both:
        own = [side[key] for side in sides]
        trained = own[0][0].training
        rows[trained] += _quality(*own, margin) if trained else _costs(*(side[0] for side in own))
    return Compared(
        pd.DataFrame(rows[True], columns=[*QUALITY]), pd.DataFrame(rows[False], columns=[*COSTS]),
        *(len(side) - len(both) for side in sides),
    )  # fmt: skip


def records_of(folder: Path) -> Path:
    """The folder of records that is named by itself or by the tables in it.

    Raises:
        UserError: it is not there, holds no records, or those of several machines.
    """
    tables = (folder / "effectiveness.csv").exists()
    for found in (folder, folder.parent) if tables else (folder,):
        if (found / "runs").is_dir():
            return found
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; name a results folder, as results/reference/<machine>")  # fmt: skip
    several = sorted(path.parent.name for path in folder.glob("*/runs"))
    if len(several) == 1:
        raise UserError(f"{folder}: is no results folder; did you mean {folder / several[0]}?")
    if several:
        raise UserError(f"{folder}: holds several machines; name one of {', '.join(f'{folder}/{n}' for n in several)}")  # fmt: skip
    if tables:
        raise UserError(f"{folder}: tables without their records; users are paired by their ranks: name the folder that has runs/")  # fmt: skip
    raise UserError(f"{folder}: holds no records; name a results folder, as results/reference/<machine>")  # fmt: skip


def _by_key(entries: list[Entry]) -> Side:
    """The trainings of a model at a condition together, and every measurement, in the order of conditions."""
    found: Side = {}
    for entry in sorted(entries, key=lambda e: (not e.training, *e.condition)):
        key = (*entry.condition, entry.job["model"]) if entry.training else (entry.path,)
        found.setdefault(key, []).append(entry)
    return found


def _same_data(folders: tuple[Path, Path], sides: list[Side]) -> None:
    """Users are paired by their place in the data, so these must be the same."""
    first, second = ({own[0].job["dataset"]: own[0].record["data"]["hash"] for own in side.values()} for side in sides)  # fmt: skip
    for dataset in first.keys() & second.keys():
        if first[dataset] != second[dataset]:
            hashes = " and ".join(str(own[dataset])[:12] for own in (first, second))
            raise UserError(
                f"{dataset}: {folders[0]} and {folders[1]} were made from other data (hashes {hashes}), so users cannot be"
                " paired; compare folders of the same data"
            )


def _quality(first: list[Entry], second: list[Entry], margin: float) -> Iterator[dict[str, Any]]:
    """The seeds of one model, with resamples of users that are drawn alike on both sides."""
    (a,), (b,) = (groups(entries, [], one_machine=False) for entries in (first, second))
    same = {e.record["samples"]["sha256"] for e in first} == {e.record["samples"]["sha256"] for e in second}  # fmt: skip
    about = {key: a.job[key] for key in ("track", "dataset", "seq_len", "model")}
    about |= {"n_seeds_a": a.means.n_seeds, "n_seeds_b": b.means.n_seeds}
    few = a.trained and not enough_seeds(min(a.means.n_seeds, b.means.n_seeds))
    for seen_items in SEEN_ITEMS:
        k = a.column(seen_items, PRIMARY_METRIC)
        mean_a, mean_b = float(a.means.mean[k]), float(b.means.mean[k])
        found = significance.difference(b.resamples, a.resamples, k)
        low, high = float(found.low[0]), float(found.high[0])
        least = margin * max(mean_a, mean_b)
        if same:  # seeds that differ in nothing have no interval
            low = high = 0.0
        verdict, why = resampling.verdict(low, high, least), None
        if same:
            why = "same_records"
        elif not (a.steady and b.steady) or few:
            verdict, why = "inconclusive", "few_seeds" if few else "seeds_apart"
        elif verdict == "inconclusive":
            why = "interval"
        yield {
            **about, "seen_items": seen_items, "metric": PRIMARY_METRIC, "mean_a": mean_a, "mean_b": mean_b,
            "difference": mean_b - mean_a, "ci_low": low, "ci_high": high, "margin": least,
            "verdict": verdict, "why": why,
        }  # fmt: skip


def _costs(a: Entry, b: Entry) -> Iterator[dict[str, Any]]:
    """Ratios of medians; their bounds pair the lower quartile of one with the upper of the other."""
    first, second = (_measured(entry) for entry in (a, b))
    for key in (key for key in first if key in second):
        one, other = first[key], second[key]
        ratio = other["median"] / one["median"]
        low, high = other["q25"] / one["q75"], other["q75"] / one["q25"]
        yield {
            **{k: one[k] for k in ("track", "dataset", "seq_len", "curve", "sequences", "model", "phase", "metric")},
            "machine_a": a.machine, "machine_b": b.machine, "median_a": one["median"], "median_b": other["median"],
            "ratio": ratio, "ratio_low": low, "ratio_high": high,
            "verdict": "cheaper" if high < 1 else "dearer" if low > 1 else "inconclusive",
        }  # fmt: skip


def _measured(entry: Entry) -> dict[tuple[str, str], dict[str, Any]]:
    """Rows of `efficiency` by phase and metric, of the costs that are compared; memory on a GPU only."""
    kind = entry.record["environment"]["device_kind"]
    wanted = {(phase, peak_memory(kind) if name == "memory" else name) for phase, name in compared() if name != "memory" or kind == "cuda"}  # fmt: skip
    found = efficiency_rows(entry, entry.samples())
    return {(r["phase"], r["metric"]): r for r in found if (r["phase"], r["metric"]) in wanted and r["median"]}  # fmt: skip
