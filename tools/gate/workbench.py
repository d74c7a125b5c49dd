"""What tier 2's stages read: a small prepared dataset, a file of a million interactions, tables of published records."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from seqbench.analysis import collect
from seqbench.config import grid, load
from seqbench.core import store
from seqbench.core.provenance import ROOT
from seqbench.core.store import Entry
from seqbench.data import prepare

SMALL = {"n_users": 1000, "n_items": 2000, "mean_length": 40.0, "max_length": 200, "seed": 1}
ROWS, USERS, ITEMS = 1_000_000, 20_000, 5_000
SHOWN = "amazon-beauty"  # of the published records
MODELS = (
    "popularity",
    "markov",
    "itemknn",
)  # of its models: a page with every table of quality and one figure


def make(folder: Path) -> Path:
    """Write everything into ``folder`` and return it."""
    prepare(
        "small", {"source": "synthetic", "k_core": 1, "synthetic": SMALL}, folder, folder / "small"
    )
    _million(folder / "million.csv")
    _tables(folder / "tables")
    return folder


def _million(file: Path) -> None:
    rng = np.random.default_rng(0)
    users = rng.integers(0, USERS, ROWS)
    items = np.minimum(rng.zipf(1.3, ROWS), ITEMS)
    times = 10**9 + rng.integers(0, 10**8, ROWS)
    np.savetxt(
        file,
        np.column_stack([users, items, times]),
        fmt="%d",
        delimiter=",",
        header="user,item,time",
        comments="",
    )


def _tables(out: Path) -> None:
    for reference in sorted((ROOT / "results" / "reference").glob("*/")):
        paths = sorted(
            p
            for model in MODELS
            for p in (reference / "runs" / SHOWN).glob(f"*/{model}/*/record.json")
        )
        if paths:
            entries: list[Entry] = [
                store.read_entry(reference, str(p.parent.relative_to(reference))) for p in paths
            ]
            facts = {SHOWN: store.read_dataset(reference, SHOWN)}
            collect.write(collect.build(entries, facts, grid.report(load.load())), out)
            return
