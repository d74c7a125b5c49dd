"""First-order Markov chain: what most often came directly after the last item, then what is popular.

Scores are transition counts; popularity, scaled below 1, orders items with equal counts, also those
that never followed the last item.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from models import CountingModel
from models._batch import lengths_of

trainable = False
label = "Markov (last item)"
color = "#B58900"
marker = "P"


@dataclass(frozen=True)
class Config:
    """The Markov chain has no hyper-parameters."""


class Model(CountingModel):
    """Transition counts in rows of a sparse matrix (compressed rows, one per preceding item)."""

    def __init__(self, config: Config, n_items: int, max_len: int):
        super().__init__()
        self.register_buffer("backoff", torch.zeros(n_items + 1))  # (V,), in [0, 1)
        self.register_buffer("row_starts", torch.zeros(n_items + 2, dtype=torch.long))  # (V + 1,)
        self.register_buffer("next_items", torch.zeros(0, dtype=torch.long))  # (pairs,)
        self.register_buffer("counts", torch.zeros(0))  # (pairs,)

    def fit(self, items: Tensor, offsets: Tensor) -> None:
        """Count transitions within users, and interactions per item."""
        n_rows = len(self.backoff)
        popularity = torch.bincount(items, minlength=n_rows).to(self.backoff.dtype)
        self.backoff = popularity / (popularity.max() + 1)
        same_user = torch.ones(max(len(items) - 1, 0), dtype=torch.bool, device=items.device)
        borders = offsets[1:-1]
        same_user[borders[(borders > 0) & (borders < len(items))] - 1] = False
        pairs = (items[:-1] * n_rows + items[1:])[same_user]
        pairs, counts = pairs.unique(return_counts=True)  # sorted, hence grouped by first item
        per_row = torch.bincount(pairs // n_rows, minlength=n_rows)
        self.row_starts = torch.cat([per_row.new_zeros(1), per_row.cumsum(0)])
        self.next_items = pairs % n_rows
        self.counts = counts.to(self.backoff.dtype)

    def scores(self, items: Tensor) -> Tensor:
        """(B, L) -> (B, V)."""
        last = items.gather(1, lengths_of(items)[:, None] - 1).squeeze(1)  # (B,)
        starts = self.row_starts[last]
        sizes = self.row_starts[last + 1] - starts
        rows = torch.repeat_interleave(torch.arange(len(last), device=items.device), sizes)
        first_of_row = torch.repeat_interleave(starts - sizes.cumsum(0) + sizes, sizes)
        picked = torch.arange(len(rows), device=items.device) + first_of_row
        scores = self.backoff.repeat(len(last), 1)
        scores[rows, self.next_items[picked]] += self.counts[picked]
        return scores
