"""Which datasets only repeat another one under another protocol, by their facts.

Datasets are variants of one another when they come from the same file with the same k-core. The one in file order with
leave-one-out is their base; every other one is a protocol, and so are seen items excluded on the base.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from .split import HOLDOUT

BASE, EXCLUDED = "leave-one-out", "seen items excluded"


class Protocol(NamedTuple):
    """One way to evaluate a base dataset: which dataset holds it, how seen items are treated, and its name."""

    base: str
    dataset: str
    seen_items: str
    name: str


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
