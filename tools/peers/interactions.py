"""The prepared dataset in the forms that the peers take. Needs numpy and, for frames, pandas of any version.

U users, N interactions. Leave-one-out: the last item of a user is the test item, the one before it is for validation.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

VALIDATION, TEST = 2, 1  # places counted from the end of a user's history


@dataclass(frozen=True)
class Flat:
    """Histories one after the other: user u owns ``items[offsets[u]:offsets[u + 1]]``, oldest first, items from 1."""

    items: np.ndarray
    offsets: np.ndarray

    @property
    def users(self) -> np.ndarray:
        """User of every interaction (N,)."""
        return np.repeat(np.arange(len(self.offsets) - 1), np.diff(self.offsets))

    @property
    def places(self) -> np.ndarray:
        """Place of every interaction within its user's history (N,), from 0."""
        return np.arange(len(self.items)) - np.repeat(self.offsets[:-1], np.diff(self.offsets))

    def counts(self, place: int) -> np.ndarray:
        """How many interactions each user (U,) has before the one at ``place`` from the end: VALIDATION or TEST."""
        return np.maximum(np.diff(self.offsets) - place, 0)

    def before(self, place: int) -> np.ndarray:
        """Which interactions (N,) those are."""
        return self.places < np.repeat(self.counts(place), np.diff(self.offsets))


def open_flat(folder: str) -> Flat:
    """Read the arrays that ``python -m seqbench prepare`` wrote."""
    return Flat(np.load(Path(folder) / "items.npy"), np.load(Path(folder) / "offsets.npy"))


def frame(flat: Flat, chosen: np.ndarray, columns: tuple[str, str, str]) -> Any:
    """The ``chosen`` interactions as a pandas frame; ``columns`` name user, item and place in the history."""
    import pandas as pd

    values = (flat.users, flat.items, flat.places)
    pairs = zip(columns, values, strict=True)
    return pd.DataFrame({name: value[chosen].astype(np.int64) for name, value in pairs})
