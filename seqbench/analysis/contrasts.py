"""One model against itself: what masking seen items, a longer history or more updates change, paired over users.

Every place is resampled from the same seed, so equally many users are drawn alike: resamples of two places are paired.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations, permutations, product
from typing import Any

import numpy as np

from .. import stats
from . import significance
from .groups import COMPARED, Group
from .tidy import MASKINGS, qualities

Row = dict[str, Any]


def masking(group: Group) -> Iterator[Row]:
    """Seen items masked against seen items ranked: the same trainings on the same users."""
    low, high = stats.interval(group.masking.means)
    for k, metric in enumerate(COMPARED):
        numbers = (group.masking.model.mean[k], low[k], high[k])
        yield _row("masking", group, group, "both", metric, numbers)


def lengths(groups: Sequence[Group]) -> Iterator[Row]:
    """Every model of a track at every longer history against every shorter one, with the same budget."""
    for short, long in combinations(groups, 2):
        longer = long.experiment["seq_len"] > short.experiment["seq_len"]
        if longer and short.budget == long.budget and _pairs(short, long):
            yield from _differences("length", short, long)


def budgets(groups: Sequence[Group]) -> Iterator[Row]:
    """Every trained model with more updates against fewer, where its tracks differ in nothing else.

    By the seeds that both have, in pairs: such a training is the other one gone on, so the luck of its start is in both.
    """
    for fewer, more in permutations((g for g in groups if g.trained), 2):
        steps = [group.experiment["training"]["max_steps"] for group in (fewer, more)]
        if steps[0] < steps[1] and _settings(fewer) == _settings(more) and _pairs(fewer, more):
            shared = sorted(fewer.by_seed.keys() & more.by_seed.keys())
            if shared:
                yield from _paired("budget", fewer, more, shared)


def _pairs(a: Group, b: Group) -> bool:
    return a.model == b.model and len(a.means.users) == len(b.means.users)


def _settings(group: Group) -> Row:
    """Everything that a training was asked for but its track, its seed and how many updates it may take."""
    asked = {k: v for k, v in group.experiment.items() if k not in ("track", "seed")}
    training = {k: v for k, v in asked["training"].items() if k != "max_steps"}
    return {**asked, "training": training}


def _differences(what: str, first: Group, second: Group) -> Iterator[Row]:
    for ranked, metric in product(MASKINGS, COMPARED):
        k = first.column(ranked, metric)
        low, high = significance.difference_interval(second.resamples, first.resamples, k)
        numbers = (second.means.mean[k] - first.means.mean[k], low[0], high[0])
        yield _row(what, first, second, ranked, metric, numbers)


def _paired(what: str, first: Group, second: Group, seeds: Sequence[int]) -> Iterator[Row]:
    """The same from the trainings of these seeds alone, each against its own."""
    keys = list(product(MASKINGS, COMPARED))

    def table(group: Group, seed: int) -> np.ndarray:
        values = qualities(group.by_seed[seed].samples(), "test")
        return np.column_stack([values[ranked, "conservative", metric] for ranked, metric in keys])

    means = stats.seed_means([table(second, seed) - table(first, seed) for seed in seeds])
    (resampled,) = stats.resample([means])
    low, high = stats.interval(resampled.means)
    for k, (ranked, metric) in enumerate(keys):
        row = _row(what, first, second, ranked, metric, (means.mean[k], low[k], high[k]))
        yield {**row, "n_seeds": len(seeds)}


def _row(what: str, first: Group, second: Group, ranked: str, metric: str, numbers: tuple) -> Row:
    return {
        **{key: second.experiment[key] for key in ("dataset", "track", "model")},
        "contrast": what, "masking": ranked, "metric": metric,
        "track_from": first.experiment["track"],
        "seq_len_from": first.experiment["seq_len"], "seq_len_to": second.experiment["seq_len"],
        **dict(zip(("difference", "ci_low", "ci_high"), numbers, strict=True)),
        "n_seeds": min(first.means.n_seeds, second.means.n_seeds),
    }  # fmt: skip
