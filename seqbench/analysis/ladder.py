"""The ladder, what more training buys: tables `ladder`, `equal_cost` and `time_to_quality`.

A rung is a fresh training of a track whose rate decays over the rung's own budget. Quality: its final validation.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
import pandas as pd

from ..core.display import PRIMARY_METRIC, TABLES
from ..core.jobs import Training
from ..core.metrics import SEEN_ITEMS, per_user, ranks_of
from ..core.store import Entry
from . import resampling, significance
from .costs import ENDS, core_seconds
from .groups import near
from .resampling import Resampled, SeedMeans
from .summary import enough_seeds
from .tables import CONDITION, MODEL, Tables, pick
from .verdicts import INCONCLUSIVE

SHARE = 0.95  # of the best final validation, the goal of time to quality
MACHINE = ["machine_name", "device_kind"]


@dataclass(frozen=True)
class Rung:
    """One budget of one model. about: condition of its track, model, budget and means over seeds. Columns of quality: SEEN_ITEMS.

    steady: whether its seeds lie near each other, as for every comparison.
    """

    about: dict[str, Any]
    quality: Resampled
    steady: bool


def climb(entries: list[Entry], ladder: Mapping[str, str]) -> list[Rung]:
    """Every rung that was trained, the smaller budget first. ladder: by track of a rung the track that it is one of."""

    def key(entry: Entry) -> tuple:
        track, *condition = (entry.job[name] for name in MODEL)
        return ladder[track], *condition, entry.job["training"]["max_steps"]

    trained = [e for e in entries if e.training and e.ok and e.trained and e.job["track"] in ladder]
    found = []
    for values, members in groupby(sorted(trained, key=key), key):
        own = list(members)
        ranks = [[ranks_of(e.samples(), "valid", seen)[0] for seen in SEEN_ITEMS] for e in own]
        users = [np.column_stack([per_user(r, PRIMARY_METRIC) for r in seed]) for seed in ranks]
        about = dict(zip((*MODEL, "max_steps"), values, strict=True)) | {"n_seeds": len(own)}
        about |= {k: np.mean([e.values[k] for e in own]) for k in ("predictions", "positions")}
        chosen = SEEN_ITEMS.index(own[0].job["training"]["select_seen_items"])
        steady = near(np.array([seed[:, chosen].mean() for seed in users]))
        found.append(Rung(about, resampling.resample([resampling.seed_means(users)])[0], steady))
    return found


def rows(tables: Tables) -> pd.DataFrame:
    """A row per rung, treatment of seen items and machine that measured the track's step; seconds are core-seconds on a CPU."""
    found = []
    for rung in tables.rungs:
        ends = np.stack([rung.quality.model.mean, *resampling.interval(rung.quality.means)], 1)
        for seen, own in zip(SEEN_ITEMS, ends, strict=True):
            found.append(rung.about | {"seen_items": seen} | dict(zip(("value", "value_low", "value_high"), own, strict=True)))  # fmt: skip
    if not found:
        return pd.DataFrame(columns=TABLES["ladder"])
    costs = tables.frames["costs"].dropna(subset="step_s")
    frame = pd.DataFrame(found).merge(costs, on=[*MODEL], how="left")
    unit = frame.max_steps * core_seconds(frame)
    frame = frame.assign(**{f"seconds{e}": unit * frame[f"step_s{e}"] for e in ENDS.values()})
    return tables.sorted(frame[TABLES["ladder"]])


def equal_cost(tables: Tables) -> pd.DataFrame:
    """The focal model against each other one at equal seconds: the least and the most that all ladders span, and between.

    Quality, in every resample too, is interpolated between two rungs over the logarithm of cost. No verdict is corrected.
    """
    rungs = {tuple(r.about[k] for k in (*MODEL, "max_steps")): r for r in tables.rungs}
    priced, found = pick(tables.frames["ladder"], seen_items=SEEN_ITEMS[0]), []
    for place, here in priced.dropna(subset="seconds").groupby([*CONDITION, *MACHINE], sort=False):
        models = {model: own for model, own in here.groupby("model") if len(own) > 1}
        least = max((own.seconds.min() for own in models.values()), default=0)
        most = min((own.seconds.max() for own in models.values()), default=0)
        able = tables.focal_model in models and least < most
        for seconds in np.geomspace(least, most, 3) if able else ():
            about = dict(zip((*CONDITION, *MACHINE), place, strict=True)) | {"seconds": seconds}
            climbs = {m: _at([(r.seconds, rungs[*place[:3], m, r.max_steps]) for r in own.itertuples()], seconds) for m, own in models.items()}  # fmt: skip
            focal = climbs.pop(tables.focal_model)
            for model in tables.ordered(climbs):
                both = _differences(focal, climbs[model], tables.settings["margin"])
                found += [about | {"comparator": model} | row for row in both]
    return pd.DataFrame(found, columns=TABLES["equal_cost"])


def _at(climb: list[tuple[float, Rung]], seconds: float) -> Rung:
    """A rung between the two about a cost, whose trainings are independent."""
    costs = np.log([cost for cost, _ in climb])
    k = int(np.clip(np.searchsorted(costs, np.log(seconds)), 1, len(costs) - 1))
    (_, below), (_, above) = climb[k - 1 : k + 1]
    a, b = below.quality, above.quality
    w = np.clip((np.log(seconds) - costs[k - 1]) / (costs[k] - costs[k - 1]), 0, 1)
    users, mean, std = ((1 - w) * getattr(a.model, x) + w * getattr(b.model, x) for x in ("users", "mean", "std"))  # fmt: skip
    variance = (1 - w) ** 2 * a.model.seed_variance + w**2 * b.model.seed_variance
    read = [rung for rung, share in ((below, 1 - w), (above, w)) if share > 0]
    n_seeds = min(rung.quality.model.n_seeds for rung in read)
    model = SeedMeans(users, mean, std, variance, n_seeds)
    quality = Resampled(model, (1 - w) * a.users + w * b.users, (1 - w) * a.means + w * b.means)
    return Rung(below.about, quality, all(rung.steady for rung in read))


def _differences(a: Rung, b: Rung, margin: float) -> Iterator[dict[str, Any]]:
    """By treatment of seen items the difference of two models as a share of the better one, with its verdict."""
    found, models = significance.difference(a.quality, b.quality), (a.quality.model, b.quality.model)  # fmt: skip
    n_seeds = min(model.n_seeds for model in models)
    few, apart = not enough_seeds(n_seeds), not (a.steady and b.steady)
    means = zip(SEEN_ITEMS, *(model.mean for model in models), found.low, found.high, strict=True)
    for seen, own, other, *ends in means:
        share, low, high = np.array([own - other, *ends]) / (max(own, other) or np.nan)
        verdict = INCONCLUSIVE if few or apart else resampling.verdict(low, high, margin)
        why = "few_seeds" if few else "seeds_apart" if apart else "interval" if verdict == INCONCLUSIVE else ""  # fmt: skip
        yield {
            "seen_items": seen, "focal_value": own, "comparator_value": other, "share": share, "share_low": low, "share_high": high,
            "n_seeds": n_seeds, "verdict": verdict, "why": why,
        }  # fmt: skip


def time_to_quality(tables: Tables) -> pd.DataFrame:
    """The cheapest rung of each model whose mean final validation reaches the goal, one for all models of a condition.

    The goal is a share of the best mean of any model and rung. Without such a rung budget and seconds are empty.
    """
    frame = pick(tables.frames["ladder"], seen_items=Training().select_seen_items)
    goal = SHARE * frame.groupby([*CONDITION]).value.transform("max")
    frame = frame.assign(goal=goal, share=SHARE).sort_values("max_steps", kind="stable")
    who = [*MODEL, *MACHINE, "goal", "share"]
    reached = frame[frame.value >= frame.goal].drop_duplicates(who)
    found = frame[who].drop_duplicates().merge(reached, on=who, how="left")
    return tables.sorted(found[TABLES["time_to_quality"]])
