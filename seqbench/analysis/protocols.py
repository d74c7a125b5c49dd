"""The tables `protocols` and `agreement`: what another split, order of events or treatment of seen items does to the results.

Agreement with the base is Kendall's tau-b between the models' means, and the pairs of models that change places.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations, product
from typing import Any

import numpy as np
import pandas as pd

from ..core.display import PRIMARY_METRIC, TABLES
from ..data.variants import BASE, protocols_of
from .resampling import OPPOSITE
from .summary import enough_seeds
from .tables import pick, unique
from .verdicts import both_sides

FEWEST = 3  # models, below which an order says nothing
Verdicts = Mapping[tuple, str]


def summarise(datasets: Mapping[str, Mapping[str, Any]], summary: pd.DataFrame, comparisons: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:  # fmt: skip
    """Make both tables; bases without any other protocol than excluded seen items are among them."""
    ways = pd.DataFrame(protocols_of(datasets), columns=["base", "dataset", "seen_items", "protocol"])  # fmt: skip
    means = pick(summary, metric=PRIMARY_METRIC, ties="conservative")
    ours = [name for name in TABLES["protocols"] if name not in ("base", "protocol")]
    found = ways.merge(means.reindex(columns=ours))[TABLES["protocols"]]
    verdicts, values, agreement = _verdicts(comparisons), [found[:0]], []
    for (base,), place in product(unique(ways, "base"), unique(summary, "track", "seq_len")):
        about = dict(zip(("base", "track", "seq_len"), (base, *place), strict=True))
        here = pick(found, **about)
        if BASE in set(here.protocol):
            values.append(here)
            first, *others = (own for _, own in here.groupby("protocol", sort=False))
            for other in others:
                how = other.iloc[0][["protocol", "dataset", "seen_items"]].to_dict()
                agreement.append({**about, **how, **_agreement(first, other, verdicts)})
    return pd.concat(values, ignore_index=True), pd.DataFrame(agreement)


def _verdicts(comparisons: pd.DataFrame) -> Verdicts:
    """(condition, seen_items, model, model) -> verdict on their difference, in both directions, where it has enough seeds."""
    return {
        (row.track, row.seq_len, row.dataset, row.seen_items, row.model_a, row.model_b): row.verdict
        for row in both_sides(pick(comparisons, metric=PRIMARY_METRIC)).itertuples()
        if enough_seeds(row.trained_seeds)
    }


def _agreement(first: pd.DataFrame, second: pd.DataFrame, verdicts: Verdicts) -> dict[str, Any]:
    """Kendall's tau-b between two orders of the models, and which pairs change places; first, second: rows of `protocols`.

    contradicted: pairs whose differences are established under both protocols, in opposite directions. tau: NaN where one
    of the two orders nothing. (Loading `scipy.stats` for it takes half a second.)
    """
    both = first.merge(second, on="model", suffixes=("", "_other"))
    a, b = (np.sign(np.subtract.outer(v, v)) for v in (both["mean"].array, both.mean_other.array))
    ordered = np.sqrt((a * a).sum() * (b * b).sum())
    tau = float((a * b).sum() / ordered) if ordered else float("nan")
    pairs = list(combinations(range(len(both)), 2))
    swapped = [[both.model[k] for k in pair] for pair in pairs if a[pair] * b[pair] < 0]
    places = [tuple(own.iloc[0][["track", "seq_len", "dataset", "seen_items"]]) for own in (first, second)]  # fmt: skip
    judged = [[verdicts.get((*place, *pair)) for place in places] for pair in swapped]
    return {
        "n_models": len(both), "tau": tau if len(both) >= FEWEST else None, "pairs": len(pairs), "swapped": len(swapped),
        "contradicted": sum(one in OPPOSITE and other == OPPOSITE[one] for one, other in judged),
        "swapped_pairs": "; ".join(" / ".join(pair) for pair in swapped),
    }  # fmt: skip
