"""Rows of the tables `protocols` and `agreement`: what another split, order of events or treatment of seen items does to the results.

Datasets are variants of one another when they come from the same file with the same k-core. The one in file order with
leave-one-out is their base; every other one is a protocol, and so are seen items excluded on the base. Agreement with the base
is Kendall's tau-b between the models' means, and the pairs of models that change places.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from ..core.display import PRIMARY_METRIC
from ..data.split import HOLDOUT
from .summary import enough_seeds

BASE, EXCLUDED = "leave-one-out", "seen items excluded"
FEWEST = 3  # models, below which an order says nothing
OPPOSITE = {"better": "worse", "worse": "better"}
Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class Protocol:
    """One way to evaluate a base dataset: which dataset holds it, how seen items are treated, and its name."""

    base: str
    dataset: str
    seen_items: str
    name: str


def summarise(
    datasets: Mapping[str, Mapping[str, Any]], summary: Rows, comparisons: Rows
) -> tuple[Rows, Rows]:
    """Return rows of `protocols` and of `agreement`; bases without any other protocol than excluded seen items are among them."""
    values, agreement = [], []
    conditions = list(dict.fromkeys((row["track"], row["seq_len"]) for row in summary))
    for base, group in _by_base(protocols_of(datasets)).items():
        for track, seq_len in conditions:
            found = {p: _values(p, track, seq_len, summary) for p in group}
            found = {p: rows for p, rows in found.items() if rows}
            reference = next((p for p in found if p.name == BASE), None)
            if reference is None:
                continue
            about = {"base": base, "track": track, "seq_len": seq_len}
            for protocol, rows in found.items():
                values += [{**about, **_about(protocol), **row} for row in rows.values()]
            for protocol in found:
                if protocol is not reference:
                    row = _agreement(
                        reference, protocol, found, _verdicts(track, seq_len, comparisons)
                    )
                    agreement.append({**about, **_about(protocol), **row})
    return values, agreement


def protocols_of(datasets: Mapping[str, Mapping[str, Any]]) -> list[Protocol]:
    """Every way in which the datasets evaluate their bases, the base's own first."""
    groups: dict[tuple, dict[str, str]] = {}
    for name, facts in datasets.items():
        groups.setdefault(_file(name, facts), {})[name] = _name(facts)
    found = []
    for members in groups.values():
        bases = [name for name, words in members.items() if words == BASE]
        if not bases:
            continue
        base = bases[0]
        found += [
            Protocol(base, base, "kept", BASE),
            Protocol(base, base, "excluded", EXCLUDED),
        ]
        found += [Protocol(base, n, "kept", w) for n, w in members.items() if n not in bases]
    return found


def variants(datasets: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Dataset -> its base, for datasets that only repeat another one under another protocol."""
    return {p.dataset: p.base for p in protocols_of(datasets) if p.dataset != p.base}


def _file(name: str, facts: Mapping[str, Any]) -> tuple:
    sha256 = (facts.get("provenance") or {}).get("sha256")
    return (facts["source"], sha256 or name, facts["k_core"])


def _name(facts: Mapping[str, Any]) -> str:
    split = facts.get("split") or {"kind": BASE}
    words = [] if split["kind"] == BASE else [f"{split['kind']} split{_held_out(split)}"]
    order = facts.get("order_variant") or "file"
    if order == "float32":
        words.append("float32 clock")
    elif order != "file":
        words.append(f"ties shuffled, {order.replace(':', ' ')}")
    return ", ".join(words) or BASE


def _held_out(split: Mapping[str, Any]) -> str:
    """The share of time that a temporal split holds out, where it is not the usual one."""
    share = split.get("holdout", HOLDOUT)
    return "" if share == HOLDOUT else f", {share:g} held out"


def _by_base(protocols: list[Protocol]) -> dict[str, list[Protocol]]:
    groups: dict[str, list[Protocol]] = {}
    for protocol in protocols:
        groups.setdefault(protocol.base, []).append(protocol)
    return groups


def _about(protocol: Protocol) -> dict[str, Any]:
    return {
        "protocol": protocol.name,
        "dataset": protocol.dataset,
        "seen_items": protocol.seen_items,
    }


def _values(
    protocol: Protocol, track: str, seq_len: int, summary: Rows
) -> dict[str, dict[str, Any]]:
    """Model -> its value under a protocol."""
    keys = ("model", "metric", "n_seeds", "mean", "std", "ci_low", "ci_high")
    wanted = {
        "dataset": protocol.dataset, "seen_items": protocol.seen_items, "track": track, "seq_len": seq_len,
        "metric": PRIMARY_METRIC, "ties": "conservative",
    }  # fmt: skip
    rows = (row for row in summary if all(row[k] == v for k, v in wanted.items()))
    return {row["model"]: {key: row[key] for key in keys} for row in rows}


def _verdicts(track: str, seq_len: int, comparisons: Rows) -> dict[tuple, str]:
    """(dataset, seen_items, model, model) -> verdict on their difference, in both directions, where it has enough seeds."""
    found = {}
    for row in comparisons:
        here = (row["track"], row["seq_len"], row["metric"]) == (track, seq_len, PRIMARY_METRIC)
        if here and enough_seeds(row["trained_seeds"]):
            condition, a, b, verdict = (
                (row["dataset"], row["seen_items"]),
                row["model_a"],
                row["model_b"],
                row["verdict"],
            )
            found[(*condition, a, b)] = verdict
            found[(*condition, b, a)] = OPPOSITE.get(verdict, verdict)
    return found


def _agreement(
    reference: Protocol,
    protocol: Protocol,
    found: Mapping[Protocol, dict],
    verdicts: Mapping[tuple, str],
) -> dict[str, Any]:
    """Kendall's tau between two orders of the models, and which pairs change places.

    contradicted: pairs whose differences are established under both protocols, in opposite directions.
    """
    models = [m for m in found[reference] if m in found[protocol]]
    first, second = ([found[p][m]["mean"] for m in models] for p in (reference, protocol))
    tau = _tau_b(first, second) if len(models) >= FEWEST else None
    pairs = list(combinations(range(len(models)), 2))
    swapped = [(i, j) for i, j in pairs if (first[i] - first[j]) * (second[i] - second[j]) < 0]
    return {
        "n_models": len(models), "tau": tau, "pairs": len(pairs), "swapped": len(swapped),
        "contradicted": sum(_contradicted(reference, protocol, models[i], models[j], verdicts) for i, j in swapped),
        "swapped_pairs": "; ".join(f"{models[i]} / {models[j]}" for i, j in swapped),
    }  # fmt: skip


def _tau_b(first: list[float], second: list[float]) -> float:
    """Kendall's tau-b; NaN where one of the two orders nothing. (Loading `scipy.stats` for it takes half a second.)"""
    a, b = (np.sign(np.subtract.outer(values, values)) for values in (first, second))
    ordered = np.sqrt((a * a).sum() * (b * b).sum())
    return float((a * b).sum() / ordered) if ordered else float("nan")


def _contradicted(
    a: Protocol, b: Protocol, model: str, comparator: str, verdicts: Mapping[tuple, str]
) -> bool:
    first, second = (verdicts.get((p.dataset, p.seen_items, model, comparator)) for p in (a, b))
    return first in OPPOSITE and second == OPPOSITE[first]


def spread(rows: Rows) -> Iterator[dict[str, Any]]:
    """Per model of one base, track and length: spread over training seeds beside the spread over orders of ties."""
    for model in dict.fromkeys(row["model"] for row in rows):
        own = {row["protocol"]: row for row in rows if row["model"] == model}
        ties = [row["mean"] for name, row in own.items() if name.startswith("ties shuffled")]
        yield {"model": model, "base": own.get(BASE), "ties": ties, "own": own}
