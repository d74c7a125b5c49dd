"""Where the focal model and a comparator are known both in quality and in cost: conditions by machine, and in how many it is ahead in both."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from ..analysis.collect import Tables
from ..core.display import compared
from . import time_to_quality, versus
from .findings import pick, unique
from .tables import known, plural
from .tradeoff import meeting
from .views import SEEN_ITEMS

STEP, MEMORY = ("train", "step_s"), ("train", "memory")
OTHERS = {"worse": "worse", "equivalent": "equal", "inconclusive": "inconclusive"}  # beside better
Count = tuple[Sequence[int], Sequence[int]]  # in how many, of how many; by seen items
Test = Callable[["Met"], "bool | None"]  # whether it is cheaper in some way; None: not known


@dataclass(frozen=True)
class Met:
    """The focal model beside one comparator in a condition whose cost one machine measured.

    better: by seen items (kept, excluded), whether it ranks better; empty with too few seeds. ratios: by (phase, what) the row of
    `versus.ratios`. until: by share of the best comparator's quality the training until it, if its time is known.
    """

    machine: str
    device: str
    kind: str
    dataset: str
    seq_len: int
    comparator: str
    better: dict[str, bool]
    ratios: dict[tuple[str, str], Any]
    until: dict[float, time_to_quality.Beside]

    @property
    def where(self) -> tuple[str, str, str]:
        """Machine, device and kind of device."""
        return self.machine, self.device, self.kind

    @property
    def full(self) -> bool:
        """Whether the cost is of synthetic histories of full length, because the dataset was not measured."""
        return any(known(row.curve) for row in self.ratios.values())

    def cheaper(self) -> bool | None:
        """Whether its training step is shorter beyond both quartiles; None where it is not known."""
        return self.ratios[STEP].ratio_high < 1 if STEP in self.ratios else None

    def sooner(self, share: float) -> bool | None:
        """Whether every seed of it is at the goal before any of the comparator's; None where no step of both was measured."""
        goal = self.until.get(share)
        return goal.sooner if goal else None


def met(tables: Tables, track: str) -> list[Met]:
    """Every condition and machine of a track where the focal model and a comparator were compared and a cost is known."""
    verdicts = pick(versus.against(tables), track=track)
    settled = versus.settled(verdicts)
    every = pick(versus.ratios(tables), track=track)
    until = {
        (b.machine, b.device, b.comparator, b.dataset, b.seq_len, share): b
        for share in time_to_quality.SHARES
        for b in time_to_quality.beside(tables, track, share)
    }
    found = []
    for machine, device, kind, comparator in unique(
        every, "machine_name", "device", "device_kind", "comparator"
    ):
        own = pick(
            every, machine_name=machine, device=device, device_kind=kind, comparator=comparator
        )
        for dataset, seq_len in unique(pick(verdicts, comparator=comparator), "dataset", "seq_len"):
            here = meeting(tables, own, dataset, seq_len)  # one source for all costs of a condition
            ratios = {
                key: rows.iloc[0]
                for key in compared()
                if len(rows := pick(here, phase=key[0], what=key[1]))
            }
            if ratios:
                rows = pick(settled, comparator=comparator, dataset=dataset, seq_len=seq_len)
                better = (
                    dict(zip(rows.seen_items, rows.verdict == "better", strict=True))
                    if len(rows)
                    else {}
                )
                keys = {
                    share: (machine, device, comparator, dataset, seq_len, share)
                    for share in time_to_quality.SHARES
                }
                goals = {share: until[key] for share, key in keys.items() if key in until}
                found.append(
                    Met(machine, device, kind, dataset, seq_len, comparator, better, ratios, goals)
                )
    return found


def at_once(
    here: list[Met], comparator: str, test: Test
) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
    """In how many conditions it is better and passes, and of how many: by seen items, where both are known."""
    both = [m for m in here if m.comparator == comparator and m.better and test(m) is not None]
    found = [[m.better[seen_items] and test(m) for m in both if seen_items in m.better] for seen_items in SEEN_ITEMS]  # fmt: skip
    return (tuple(map(sum, found)), tuple(map(len, found))) if both else None


def measured(own: list[Met]) -> str:
    """In how many conditions one machine's costs were measured, and in how many of them not on the dataset itself."""
    n, full = (len({(m.dataset, m.seq_len) for m in part}) for part in (own, [m for m in own if m.full]))  # fmt: skip
    source = {0: "", n: " by synthetic full-length batches"}.get(
        full, f", {full} of them by synthetic full-length batches"
    )
    return f"{plural(n, 'condition')}{source}"


def counted(count: Count) -> str:
    """In how many conditions of how many, by seen items; one number where only one treatment is known."""
    said = [f"{passed} of {n}" for passed, n in zip(*count, strict=True) if n]
    passed, of = count
    second = passed[1] if len(set(of)) == 1 else said[-1]
    return said[0] if len(said) == 1 else f"{said[0]} ({second})"


def added(counts: Iterable[Count]) -> Count:
    """The sum of counts."""
    passed, of = zip(*counts, strict=True)
    return [sum(ns) for ns in zip(*passed, strict=True)], [sum(ns) for ns in zip(*of, strict=True)]


def given(rows: pd.DataFrame, verdict: str) -> str:
    """How often a verdict was given, of how many comparisons, by seen items."""
    parts = [pick(rows, seen_items=seen_items) for seen_items in SEEN_ITEMS]
    count = [int((part.verdict == verdict).sum()) if len(part) else 0 for part in parts]
    return counted((count, [len(part) for part in parts]))
