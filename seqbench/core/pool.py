"""Pool: the trainings that several machines published, as one set, each training of a track once.

What a model learns depends on data, settings, code and seed; a machine rounds differently, which sends a training another way.
How far that moves a result is measured by the trainings that several machines made (``repeats``). So quality may be
answered from all machines together, each training's machine named; what a model costs never leaves its machine.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import combinations
from types import MappingProxyType
from typing import Any

from .jobs import TRAINING_KEYS, TrainingJob
from .store import Entry, by_condition, condition

DECIDES = "nothing"

Machines = Mapping[str, list[Entry]]  # by name, the preferred ones first


@dataclass(frozen=True)
class Pool:
    """Trainings by job, measurements of every machine, and what had to be decided on the way.

    every: all trainings that came to their end on the pool's data. repeats: pairs of them that are one job on two
    machines. borrowed: trainings that stand in another track too, because its settings are equal, each with the copy that
    says the other track. left_out: (machine, dataset, why) of records that fit no others.
    """

    entries: list[Entry]
    datasets: dict[str, Any]
    every: list[Entry]
    repeats: list[tuple[Entry, Entry]]
    borrowed: list[tuple[Entry, Entry]]
    left_out: list[tuple[str, str, str]]


def pool(
    machines: Machines,
    datasets: Mapping[str, Mapping[str, Any]],
    wanted: Iterable[TrainingJob] = (),
    defaults: Mapping[str, Mapping[str, Any]] = MappingProxyType({}),
) -> Pool:
    """Choose one training of every job.

    At a condition (dataset, track, length) settings that are wanted now come before those of an earlier recipe. Then the
    machine with most trainings comes first, and others fill in the models and seeds that it lacks: with the same settings
    for all seeds of a model, and the same budget for all models. A training that failed stays only where no machine
    brought it to its end.

    machines: records by machine. datasets: facts of datasets by machine and name. wanted: jobs of the shipped
    configuration, which a condition may also borrow from other tracks, where it has trainings of its own. defaults:
    hyper-parameters by model, for those that a job leaves out: written or not, they are the same setting.
    """
    records = [_complete(entry, defaults) for entries in machines.values() for entry in entries]
    hashes = _hashes(records)
    kept, left_out = [], []
    for entry in records:
        if _hash(entry) == hashes.get(entry.job["dataset"], _hash(entry)):
            kept.append(entry)
        else:
            left_out.append((entry.machine, entry.job["dataset"], "other data"))
    chosen = [_with_defaults(w.to_dict(), defaults) for w in wanted]
    now = {(condition(w), w["model"]): _of_seeds(w) for w in chosen}
    taken: list[Entry] = []
    trainings = [e for e in kept if e.training]
    for members in by_condition(trainings):
        fitting, others = _fill(members, now)
        taken += fitting
        left_out += [(e.machine, e.job["dataset"], "other settings") for e in others]
    borrowed = list(_borrow(taken, chosen, now))
    facts: dict[str, Any] = {}
    for name in machines:
        for dataset, own in datasets.get(name, {}).items():
            if own["hash"] == hashes.get(dataset, own["hash"]):
                facts.setdefault(dataset, own)
    every = [e for e in trainings if e.ok]
    return Pool(
        [*taken, *(copy for _, copy in borrowed), *(e for e in kept if not e.training)], dict(sorted(facts.items())),
        every, list(_repeats(every)), borrowed, list(dict.fromkeys(left_out)),
    )  # fmt: skip


def settings(job: Mapping[str, Any], *without: str) -> str:
    """A job as text, for comparison, without some of its keys."""
    return json.dumps({k: v for k, v in job.items() if k not in without}, sort_keys=True)


def _with_defaults(
    job: Mapping[str, Any], defaults: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    own = job["hyperparameters"]
    return {**job, "hyperparameters": {**defaults.get(job["model"], {}), **own}}


def _complete(entry: Entry, defaults: Mapping[str, Mapping[str, Any]]) -> Entry:
    said = _with_defaults(entry.record["job"], defaults)
    return replace(entry, record={**entry.record, "job": said})


def _hash(entry: Entry) -> str | None:
    return entry.record["data"]["hash"]


def _hashes(records: list[Entry]) -> dict[str, str | None]:
    """By dataset the data that most trainings used that came to their end; of equally many the preferred machine's."""
    used: Counter[tuple[str, str | None]] = Counter()
    for entry in records:
        if entry.training:
            used[entry.job["dataset"], _hash(entry)] += bool(entry.ok and entry.trained)
    found: dict[str, str | None] = {}
    for (dataset, data), _ in used.most_common():
        found.setdefault(dataset, data)
    return found


def _fill(members: list[Entry], now: Mapping[tuple, str]) -> tuple[list[Entry], list[Entry]]:
    """The trainings of one condition, which come in the order of machines: each model and seed once, and those that do not fit.

    now: the settings that are wanted by condition and model, where they are known; those of an earlier choice come after them.
    """
    counts = Counter(e.machine for e in members if e.ok and e.trained)

    def rank(entry: Entry) -> tuple:
        own = _of_seeds(entry.job)
        old = now.get((entry.condition, entry.job["model"]), own) != own
        return not entry.ok, old, -counts[entry.machine]

    ranked = sorted(members, key=rank)
    allowed, of_model = None, {}
    found: dict[tuple[str, int], Entry] = {}
    others = []
    for entry in ranked:
        model, seed = entry.job["model"], entry.job["seed"]
        own, budget = _of_seeds(entry.job), settings(entry.job["training"], *TRAINING_KEYS)
        alike = of_model.get(model, own) == own
        if (
            (model, seed) not in found
            and alike
            and (not entry.trained or allowed in (None, budget))
        ):
            found[model, seed], of_model[model] = entry, own
            allowed = budget if entry.trained else allowed
        elif (model, seed) not in found or (entry.ok and not alike):
            others.append(entry)
    return [found[key] for key in sorted(found)], others


def _borrow(
    taken: list[Entry], wanted: list[dict[str, Any]], now: Mapping[tuple, str]
) -> Iterator[tuple[Entry, Entry]]:
    """Trainings of equal settings in other tracks, for models that a condition lacks.

    Only where the condition trained other models itself, all with the settings that are wanted now. How it would be trained
    is no setting of a model that is not.
    """
    untrained = {entry.job["model"] for entry in taken if entry.ok and not entry.trained}

    def alike(job: Mapping[str, Any]) -> str:
        return settings(job, "track", *["training"] * (job["model"] in untrained))

    own: dict[tuple, dict[str, str]] = {}
    equal: dict[str, Entry] = {}
    for entry in taken:
        equal.setdefault(alike(entry.job), entry)
        own.setdefault(entry.condition, {})[entry.job["model"]] = _of_seeds(entry.job)
    trained = {e.condition for e in taken if e.trained}
    current = {
        at for at in trained if all(now.get((at, m), text) == text for m, text in own[at].items())
    }
    for job in wanted:
        at = condition(job)
        entry = equal.get(alike(job))
        if entry and at in current and job["model"] not in own[at]:
            said = {**entry.record["job"], "track": job["track"]}
            yield entry, replace(entry, record={**entry.record, "job": said})


def _of_seeds(job: Mapping[str, Any]) -> str:
    return settings(job, "seed")


def _repeats(trainings: list[Entry]) -> Iterator[tuple[Entry, Entry]]:
    """Pairs of trainings of one job on two machines, whatever track they stand in; models without training have none."""
    same: dict[str, dict[str, Entry]] = {}
    for entry in trainings:
        if entry.trained:
            key = settings(entry.job, "track")
            same.setdefault(key, {}).setdefault(entry.machine, entry)
    for by_machine in same.values():
        yield from combinations(by_machine.values(), 2)
