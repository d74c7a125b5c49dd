"""The answer in a few sentences: is the focal model better and cheaper at once, how many claims and published values stand."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd

from ..analysis.collect import Tables
from ..analysis.summary import SEEDS_FOR_A_CLAIM
from ..core.display import PRIMARY_METRIC, QUALITY_METRICS, QUANTITIES
from ..core.jobs import Training
from . import claims, published_values, spent, versus
from .brief import points
from .findings import pick, place
from .points import Point
from .tables import label, plural, whole
from .views import SEEN_ITEMS

KINDS = {
    "quality": "who ranks better, direction only:",
    "values": "its own values:",
    "cost": "cost on a GPU:",
    "growth": "growth of cost with length, mostly our reading:",
}


def headline(tables: Tables) -> list[Point]:
    """Quality, cost and both together, metrics that disagree, the paper's claims and published values."""
    return [
        *points(tables),
        *_opposed(tables),
        *_claims(tables),
        *_published_values(tables),
    ]


def _opposed(tables: Tables) -> Iterator[Point]:
    """Where another metric decides the other way."""
    keys = ["track", "dataset", "seq_len", "seen_items", "comparator"]
    decided, found = versus.settled(versus.against(tables)), []
    for metric in (m for m in QUALITY_METRICS if m != PRIMARY_METRIC):
        other = versus.settled(versus.against(tables, metric))
        if other.empty or decided.empty:
            continue
        both = decided[[*keys, "verdict"]].merge(other, on=keys, suffixes=("_main", ""))
        found += [
            f"{QUANTITIES[metric].label} against {label(row.comparator)} on {place(row.dataset, row.seq_len)}, track {row.track},"
            f" {SEEN_ITEMS[row.seen_items].lower()}"
            for row in both.itertuples()
            if {row.verdict, row.verdict_main} == {"better", "worse"}
        ]
    if found:
        yield Point("Other metrics decide the other way:", [f"{'; '.join(found)}."])


def _claims(tables: Tables) -> Iterator[Point]:
    """Verdicts by track and kind of claim; what a track says nothing about is left out, and one in which nothing is judged."""
    found, every = claims.judge(tables, claims.read()), []
    for track in dict.fromkeys(f.track for f in found if f.verdict != claims.ABSENT):
        decided = any(f.track == track and f.verdict in (claims.YES, claims.NO) for f in found)
        if not decided and track not in versus.judged(tables):
            continue
        said, absent = [], 0
        for kind, words in KINDS.items():
            own = [f for f in found if (f.track, f.kind) == (track, kind)]
            verdicts = [f.verdict for f in own]
            order = (claims.YES, claims.NO, claims.UNSURE, claims.ABSENT)
            parts = [f"{verdicts.count(v)} {v}" for v in order if v in verdicts]
            only = sum(f.direction_holds for f in own)
            if only:
                parts[verdicts.count(claims.YES) > 0] += f" (of {only} the direction holds, not the figure)"  # fmt: skip
            if set(verdicts) - {claims.ABSENT}:
                said.append(f"{words} {', '.join(parts)}")
            else:
                absent += len(own)
        if absent:
            said.append(f"{plural(absent, 'other')} {claims.ABSENT}")
        every.append(f"Track {track}: {'; '.join(said)}.")
    if every:
        yield Point("Claims of the paper, by sentence and metric.", every)


def _published_values(tables: Tables) -> Iterator[Point]:
    """The counts, and what was missed."""
    told = published_values.sentences(tables, of=versus.judged(tables) or None)
    found = [text for text in told if not text.startswith(published_values.MISSED)]
    if found:
        yield Point("Published values.", [*found, *_missed(tables)])


def _missed(tables: Tables) -> Iterator[str]:
    """Values that were published and no track reaches, one sentence a model, the focal model's first; the best of our tracks each."""
    values: dict[int, list[published_values.Held]] = {}
    for h in published_values.held(tables):
        if h.verdict:
            values.setdefault(id(h.published_value), []).append(h)
    missed: dict[str, list[list[published_values.Held]]] = {}
    for own in values.values():
        if not any(h.reached for h in own):
            missed.setdefault(own[0].published_value["model"], []).append(own)
    for model in tables.ordered(missed):
        said = []
        for own in missed[model]:
            a, metric = own[0].published_value, own[0].metric
            at = f"{QUANTITIES[metric].label} on {place(a['dataset'], a['seq_len'])}, {published_values.treated(a)}"
            published, source = a[metric], a["source"]
            ours = [(h.ours["mean"], h.track) for h in own]
            best, track = max(ours)
            n = f", the best of {len(ours)} tracks" if len(ours) > 1 else ""
            said.append(f"{published:.3f} of {source} ({at}; ours {best:.3f} in track {track}{n}, {100 * best / published:.0f} % of it)")  # fmt: skip
        yield f"{label(model)} misses {'; '.join(said)}."


# --- what the sentences mean ---------------------------------------------------------------------------------------------


def terms(tables: Tables) -> str:
    """The words that the first sentences need."""
    return (
        f"A comparison is one other model at a *place*, a dataset at one `L`, the longest history that a model reads. Track `matched` gives all models the same"
        f" width, depth, loss and budget of updates; `tuned` {_trials(tables)}; `paper` is the paper's protocol in RecBole's"
        f" implementation. {QUANTITIES[PRIMARY_METRIC].label} on the test, items that a user has seen *ranked* too, which is also how weights and settings are chosen; in"
        " brackets with those *masked*.\n"
    )


def words(tables: Tables) -> str:
    """What the sentences and tables mean by their words."""
    asked = Training()
    return (
        "Places of one dataset share its users: their comparisons are not independent. Track `paper` has explicit attention and an unfused GELU, so that its"
        " costs are also those of other code. Items are ranked against the whole catalogue; the step of a training whose weights are tested, and the best"
        f" trial, are chosen by validation {QUANTITIES[asked.select_on].label} with {SEEN_ITEMS[asked.select_seen_items].lower()}. *Better* and *worse* are"
        f" said where the 95 % interval of the paired difference lies beyond {100 * tables.settings['margin']:g} % of the better mean, *equal* where it lies within,"
        f" with at least {SEEDS_FOR_A_CLAIM} seeds; everything else is *inconclusive*. *Full windows* are"
        f" synthetic histories of full length.{_never_twice(tables)}\n"
    )


def _never_twice(tables: Tables) -> str:
    """Which of the two rankings is whose: only where no user has an item twice."""
    if any(facts.get("repeats") for facts in tables.datasets.values()):
        return ""
    return (
        " No user of these datasets has an item twice, so what was seen is never the answer: who would not show it again reads"
        " *masked*, who compares with RecBole's and the paper's figures reads *ranked*."
    )


def _trials(tables: Tables) -> str:
    """How much the tuned settings were searched for."""
    settings = tables.settings.get("selected_settings", {}).get("tuned", {})
    every = [
        entry["tuning"]
        for models in settings.values()
        for entry in models.values()
        if "tuning" in entry
    ]
    if not every:
        return "each its best setting among equally many trials"
    trials, steps = ({tuning[key] for tuning in every} for key in ("trials", "max_steps"))
    ends = (
        " to ".join(dict.fromkeys(whole(f(values)) for f in (min, max)))
        for values in (trials, steps)
    )
    again = [
        name
        for name, models in sorted(settings.items())
        if any(entry.get("tuning", {}).get("finals") for entry in models.values())
    ]
    finals = f" (on {' and '.join(again)} the best of them again with other seeds)" if again else ""
    text = f"each its best of {next(ends)} trials{finals}, the first of them `matched`'s setting, of at most {next(ends)} updates each"
    trained = pick(spent.trainings(tables), track="tuned")
    if len(trained) and max(steps) < trained.steps.max():
        text += " (fewer than the trainings': settings that learn fast win)"
    alone = list(_searched_elsewhere(settings, trained))
    return f"{text}, searched on {' and '.join(alone)} for all lengths" if alone else text


def _searched_elsewhere(settings: Mapping[str, Any], trained: pd.DataFrame) -> Iterator[str]:
    """Datasets trained at more lengths than the one that their settings were searched at."""
    for dataset, models in sorted(settings.items()):
        searched = {entry["tuning"].get("seq_len") for entry in models.values() if "tuning" in entry}  # fmt: skip
        own = pick(trained, dataset=dataset)
        if len(searched) == 1 and len(own) and set(own.seq_len) - searched:
            yield f"{dataset} at L = {searched.pop()}"
