"""What both halves of the parity tests see: files of interactions, RecBole's arrays, our data."""

import os
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from seqbench.data.store import Dataset

ROOT = Path(__file__).parents[2]
PYTHON = ROOT / ".venv-peers" / "recbole" / "bin" / "python"
MADE = ROOT / ".venv-peers" / "recbole.made"
REAL = Path(os.environ.get("SEQBENCH_REAL_DATA", ROOT / "../shared/data")).resolve() / "ml-100k.zip"
LENGTH = 50
HEADER = "user_id:token\titem_id:token\ttimestamp:float\n"


@dataclass(frozen=True)
class Both:
    """One file seen by both: RecBole's arrays and facts, and our data by order of events."""

    theirs: dict[str, np.ndarray]
    facts: dict
    ours: dict[str, Dataset]


def rows_of_movielens():
    text = zipfile.ZipFile(REAL).read("ml-100k/u.data").decode()
    return [(u, i, t) for u, i, _, t in (line.split("\t") for line in text.splitlines())]


def rows_made_up():
    """150 users, times within a few minutes of each other: some equal, many that float32 merges."""
    rng = np.random.default_rng(0)
    rows = []
    for user in range(150):
        start = 978_300_000 + int(rng.integers(0, 10**7))
        for _ in range(int(rng.integers(6, 90))):
            start += int(rng.integers(0, 40))
            rows.append((f"u{user}", f"i{rng.zipf(1.4) % 60}", str(start)))
    return [rows[k] for k in rng.permutation(len(rows))]
