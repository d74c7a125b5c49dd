"""The seeds of one model at one condition, read from their records: means over seeds and users, and resamples of both."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import numpy as np

from ..core.display import QUALITY_METRICS
from ..core.errors import UserError
from ..core.metrics import SEEN_ITEMS, SPLITS, TIES, qualities
from ..core.store import Entry
from . import resampling
from .tidy import effectiveness_rows

APART = 0.5  # lowest seed as a share of the highest, below which a mean describes neither
COMPARED = tuple(product(SEEN_ITEMS, QUALITY_METRICS))  # of two groups


@dataclass(frozen=True)
class Group:
    """Summary of one model: resampled means (R, K), where column k is the quantity names[k]."""

    entries: list[Entry]
    names: list[tuple[str, str, str]]  # (seen_items, ties, metric)
    seeds: np.ndarray  # (S, K) means over users
    resamples: resampling.Resampled

    @property
    def means(self) -> resampling.SeedMeans:
        """Means (U, K) of its seeds."""
        return self.resamples.model

    @property
    def job(self) -> dict[str, Any]:
        """What its trainings were asked for, those of the first seed."""
        return self.entries[0].job

    @property
    def model(self) -> str:
        """Its name."""
        return self.job["model"]

    @property
    def trained(self) -> bool:
        """Whether there was anything to train."""
        return self.entries[0].trained

    @property
    def budget(self) -> str | None:
        """How much training was allowed, in one phrase; None for a model that is not trained."""
        told = "{max_steps} steps x {targets_per_step} targets".format(**self.job["training"])
        return told if self.trained else None

    @property
    def steady(self) -> bool:
        """Whether its seeds are near each other in what its trainings were selected by; if not, some most likely never learnt."""
        chosen = self.job["training"]
        return near(self.seeds[:, self.column(chosen["select_seen_items"], chosen["select_on"])])

    def column(self, seen_items: str, metric: str) -> int:
        """Where a metric stands, ties counted against the model."""
        return self.names.index((seen_items, "conservative", metric))


def near(seeds: np.ndarray) -> bool:
    """Whether values (S,) of a model's seeds lie so near each other that their mean describes them."""
    return bool(seeds.min() >= APART * seeds.max())


def check_same_data(entries: list[Entry]) -> None:
    """Refuse trainings on one dataset whose data differ: their users cannot be paired."""
    first: dict[str, Entry] = {}
    for entry in entries:
        other = first.setdefault(entry.job["dataset"], entry)
        _same(other, entry, "data", *(e.record["data"]["hash"] for e in (other, entry)))


def groups(members: list[Entry], tidy: list[dict[str, Any]], one_machine: bool) -> list[Group]:
    """The models of one condition; rows of `effectiveness` are added to tidy.

    Raises:
        UserError: seeds of one model differ in machine or settings, or models in the users that they ranked for.
    """
    users, found, by_model = None, [], {}
    for entry in members:
        by_model.setdefault(entry.job["model"], []).append(entry)
    for seeds in by_model.values():
        tables = []
        for entry in seeds:
            _check_seeds(seeds[0], entry, one_machine)
            samples = entry.samples()
            users = users or len(samples["test/rank"])
            _same(members[0], entry, "evaluated users", users, len(samples["test/rank"]))
            by_split = {split: qualities(samples, split, QUALITY_METRICS) for split in SPLITS}
            tidy += effectiveness_rows(entry, by_split)
            tables.append(by_split["test"])
        found.append((seeds, list(tables[0]), *_means(tables)))
    resampled = resampling.resample([means for *_, means in found])
    return [Group(*own, draws) for (*own, _), draws in zip(found, resampled, strict=True)]


def _means(tables: list[dict[Any, np.ndarray]]) -> tuple[np.ndarray, resampling.SeedMeans]:
    """Means (S, K) of every seed, and those over seeds; where no seed has ties, both ways of counting them are worked out once."""
    names = list(tables[0])
    free = {seen for seen in SEEN_ITEMS if all(np.array_equal(*(t[seen, ties, m] for ties in TIES)) for t in tables for m in QUALITY_METRICS)}  # fmt: skip
    kept = [n for n in names if n[0] not in free or n[1] == TIES[0]]
    own = [kept.index(n if n in kept else (n[0], TIES[0], n[2])) for n in names]
    stacked = [np.column_stack([table[name] for name in kept]) for table in tables]
    found = resampling.seed_means(stacked)
    columns = {name: getattr(found, name)[..., own] for name in ("users", "mean", "std", "seed_variance")}  # fmt: skip
    return np.stack([values.mean(axis=0) for values in stacked])[:, own], replace(found, **columns)


def _check_seeds(first: Entry, entry: Entry, one_machine: bool) -> None:
    if one_machine:
        machines = (e.record["environment"]["machine"] for e in (first, entry))
        _same(first, entry, "machine", *machines)
    settings = [{k: v for k, v in e.job.items() if k != "seed"} for e in (first, entry)]
    _same(first, entry, "settings", *settings)


def _same(first: Entry, second: Entry, what: str, a: object, b: object) -> None:
    if a != b:
        raise UserError(
            f"{first.path} and {second.path} differ in {what} and cannot stand in one table:"
            " delete the folder of one of them and run the workflow again"
        )
