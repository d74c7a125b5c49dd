"""Pool: the trainings that several machines published, as one set, each experiment once.

What a model learns depends on data, settings, code and seed. A machine only rounds differently, and that moves a result as
another seed would (``repeats`` are the evidence: one experiment on two machines). So quality may be answered from all machines
together; what a model costs never leaves its machine.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import combinations, groupby
from typing import Any

from .experiment import Experiment
from .tidy import Entry

Machines = Mapping[str, list[Entry]]  # by name, the preferred ones first


@dataclass(frozen=True)
class Pool:
    """Trainings by experiment, measurements of every machine, and what had to be decided on the way.

    repeats: pairs of trainings of one experiment on two machines. borrowed: trainings that stand in another track too,
    because its settings are equal; those are copies that say the other track. left_out: datasets by machine whose data are
    not those of the others.
    """

    entries: list[Entry]
    datasets: dict[str, Any]
    repeats: list[tuple[Entry, Entry]]
    borrowed: list[Entry]
    left_out: list[tuple[str, str]]


def pool(
    machines: Machines, datasets: Mapping[str, Mapping[str, Any]], wanted: Iterable[Experiment] = ()
) -> Pool:
    """Choose one training of every experiment.

    At a place (dataset, track, length) the machine with most trainings comes first, and others fill what it lacks. A model's
    seeds all have the settings of the first machine that has the model there.

    machines: records by machine. datasets: facts of datasets by machine and name. wanted: experiments that a place may
    borrow from other tracks, where it has trainings of its own.
    """
    facts, left_out = _one_of_each(machines, datasets)
    trainings = [
        entry
        for entries in machines.values()
        for entry in entries
        if entry.training and entry.ok and _same_data(entry, facts)
    ]
    taken = [
        entry
        for _, members in groupby(sorted(trainings, key=place), place)
        for entry in _fill(list(members))
    ]
    borrowed = list(_borrow(taken, wanted))
    measured = [e for entries in machines.values() for e in entries if not e.training]
    repeats = list(_repeats(trainings))
    return Pool([*taken, *borrowed, *measured], facts, repeats, borrowed, left_out)


def place(entry: Entry) -> tuple[str, str, int]:
    """Dataset, track and length: what stands in one comparison."""
    return tuple(entry.experiment[key] for key in ("dataset", "track", "seq_len"))


def machine(entry: Entry) -> str:
    """Name of the machine that made a record."""
    return entry.record["environment"]["machine_name"]


def _hash(entry: Entry) -> str:
    return entry.record["data"]["hash"]


def _same_data(entry: Entry, facts: Mapping[str, Any]) -> bool:
    return facts.get(entry.experiment["dataset"], {}).get("hash", _hash(entry)) == _hash(entry)


def _settings(experiment: Mapping[str, Any], *without: str) -> str:
    """An experiment as text, for comparison, without some of its keys."""
    return json.dumps({k: v for k, v in experiment.items() if k not in without}, sort_keys=True)


def _one_of_each(
    machines: Machines, datasets: Mapping[str, Mapping[str, Any]]
) -> tuple[dict[str, Any], list[tuple[str, str]]]:
    """The facts of every dataset whose data most trainings used, and (machine, dataset) of those who used other data."""
    used = Counter(
        (e.experiment["dataset"], _hash(e)) for es in machines.values() for e in es if e.training
    )
    facts: dict[str, Any] = {}
    for name in machines:
        for dataset, own in datasets.get(name, {}).items():
            best = facts.get(dataset)
            if best is None or used[dataset, own["hash"]] > used[dataset, best["hash"]]:
                facts[dataset] = own
    left_out = [
        (name, dataset)
        for name in machines
        for dataset, own in datasets.get(name, {}).items()
        if own["hash"] != facts[dataset]["hash"]
    ]
    return dict(sorted(facts.items())), left_out


def _fill(members: list[Entry]) -> Iterator[Entry]:
    """The trainings of one place, which come in the order of machines, each model and seed once."""
    counts = Counter(machine(entry) for entry in members)
    ranked = sorted(members, key=lambda e: -counts[machine(e)])
    settings: dict[str, str] = {}
    found: dict[tuple[str, int], Entry] = {}
    for entry in ranked:
        model, seed = entry.experiment["model"], entry.experiment["seed"]
        own = _settings(entry.experiment, "seed")
        if settings.setdefault(model, own) == own:
            found.setdefault((model, seed), entry)
    yield from (found[key] for key in sorted(found))


def _borrow(taken: list[Entry], wanted: Iterable[Experiment]) -> Iterator[Entry]:
    """Trainings of equal settings in other tracks, for places that trained some of their models themselves."""
    here = {(*place(e), e.experiment["model"], e.experiment["seed"]) for e in taken}
    trained = {place(e) for e in taken if e.values.get("steps")}
    equal: dict[str, Entry] = {}
    for entry in taken:
        equal.setdefault(_settings(entry.experiment, "track"), entry)
    for experiment in wanted:
        at = (experiment.dataset, experiment.track, experiment.seq_len)
        entry = equal.get(_settings(experiment.to_dict(), "track"))
        if entry and at in trained and (*at, experiment.model, experiment.seed) not in here:
            record = entry.record
            said = {**record["experiment"], "track": experiment.track}
            yield replace(entry, record={**record, "experiment": said})


def _repeats(trainings: list[Entry]) -> Iterator[tuple[Entry, Entry]]:
    """Pairs of trainings of one experiment on two machines, whatever track they stand in; models without training have none."""
    same: dict[str, dict[str, Entry]] = {}
    for entry in trainings:
        if entry.values.get("steps"):
            key = _settings(entry.experiment, "track")
            same.setdefault(key, {}).setdefault(machine(entry), entry)
    for by_machine in same.values():
        yield from combinations(by_machine.values(), 2)
