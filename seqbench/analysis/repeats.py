"""One training on two machines: how far they differ, and what another machine changes beside another seed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from scipy.special import stdtrit

from ..core.display import PRIMARY_METRIC
from ..core.metrics import SEEN_ITEMS, per_user, ranks_of
from ..core.pool import Pool, settings
from ..core.store import Entry
from . import resampling

Pairs = Sequence[tuple[Entry, Entry]]


def rows(pairs: Pairs) -> Iterator[dict[str, Any]]:
    """A row per training that two machines made and treatment of seen items: the test metric of both."""
    for a, b in pairs:
        about = {"machine_a": a.machine, "machine_b": b.machine, "track_a": a.job["track"], "track_b": b.job["track"]}  # fmt: skip
        about |= {key: a.job[key] for key in ("dataset", "seq_len", "model", "seed")}
        for seen_items in SEEN_ITEMS:
            first, second = _mean(a, seen_items), _mean(b, seen_items)
            yield {**about, "seen_items": seen_items, "metric": PRIMARY_METRIC, "value_a": first, "value_b": second, "difference": second - first}  # fmt: skip


def effect(pool: Pool) -> Iterator[dict[str, Any]]:
    """What another machine changes, as shares of the first one's value: a row per two machines and treatment of seen items.

    change, change_low, change_high: mean over models and conditions, with a t interval. spread_machines, spread_seeds:
    standard deviation of one run, between machines and between seeds on one machine. Two models or conditions at least.
    """
    for names in dict.fromkeys((a.machine, b.machine) for a, b in pool.repeats):
        pairs = [(a, b) for a, b in pool.repeats if (a.machine, b.machine) == names]
        groups: dict[str, list[tuple[Entry, Entry]]] = {}
        for a, b in pairs:
            groups.setdefault(settings(a.job, "seed", "track"), []).append((a, b))
        if len(groups) < 2:
            continue
        about = {"machine_a": names[0], "machine_b": names[1], "metric": PRIMARY_METRIC}
        about |= {"n_trainings": len(pairs), "n_groups": len(groups)}
        for seen_items in SEEN_ITEMS:
            yield about | {"seen_items": seen_items} | _changes(list(groups.values()), pool.every, seen_items)  # fmt: skip


def _changes(groups: list[Pairs], every: list[Entry], seen_items: str) -> dict[str, float | None]:
    changes = [[_mean(b, seen_items) / _mean(a, seen_items) - 1 for a, b in own] for own in groups]
    # Seeds of one model and condition are alike.
    means = np.array([np.mean(own) for own in changes])
    half = stdtrit(len(means) - 1, (1 + resampling.CONFIDENCE) / 2) * means.std(ddof=1)
    half /= np.sqrt(len(means))
    seeds = [v for own in groups for v in _of_seeds(own[0], every, seen_items)]
    return {
        "change": means.mean(), "change_low": means.mean() - half, "change_high": means.mean() + half,
        # Two runs differ by the square root of two times the spread of one.
        "spread_machines": np.sqrt(np.mean(np.square(np.concatenate(changes))) / 2),
        "spread_seeds": np.sqrt(np.mean(np.square(seeds))) if seeds else None,
    }  # fmt: skip


def _of_seeds(pair: tuple[Entry, Entry], every: list[Entry], seen_items: str) -> Iterator[float]:
    """Relative standard deviations over the seeds of a model and condition, on each machine that trained several."""
    for entry in pair:
        key = settings(entry.job, "seed")
        own = [e for e in every if e.machine == entry.machine and settings(e.job, "seed") == key]
        values = [_mean(e, seen_items) for e in own]
        if len(values) > 1:
            yield float(np.std(values, ddof=1) / np.mean(values))


def _mean(entry: Entry, seen_items: str) -> float:
    return float(per_user(ranks_of(entry.samples(), "test", seen_items)[0], PRIMARY_METRIC).mean())
