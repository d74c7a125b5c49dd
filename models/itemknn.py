"""Item-based nearest neighbours (Deshpande and Karypis 2004, doi:10.1145/963770.963776).

Two items are as similar as the sets of users who interacted with them:

    similarity(i, j) = users of both / (sqrt(users of i · users of j) + shrinkage)

that is the cosine, less trusted when few users are behind it. Every item keeps its k most similar
items; a user's score of item j is the sum of similarity(i, j) over the items i of the history that
have j among their neighbours. Order and repetition in the history play no role.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from models import CountingModel

trainable = False
label = "ItemKNN"
color = "#56B4E9"
marker = "v"
BLOCK_BYTES = 1 << 26  # of a dense block while fitting, and of gathered neighbours while scoring


@dataclass(frozen=True)
class Config:
    """Hyper-parameters of ItemKNN."""

    k: int = 100  # neighbours kept per item
    shrinkage: float = 10.0  # added to the denominator of the cosine, in users


class Model(CountingModel):
    """The k nearest neighbours of every item, in dense tables (V, k)."""

    def __init__(self, config: Config, n_items: int, max_len: int):
        super().__init__()
        self.shrinkage = config.shrinkage
        k = min(config.k, n_items)
        self.register_buffer("neighbours", torch.zeros(n_items + 1, k, dtype=torch.long))
        self.register_buffer("similarities", torch.zeros(n_items + 1, k))

    def fit(self, items: Tensor, offsets: Tensor) -> None:
        """Find the neighbours, a block of items against the whole catalogue at a time."""
        n_rows, k = self.neighbours.shape
        n_users = len(offsets) - 1
        users = torch.repeat_interleave(torch.arange(n_users, device=items.device), offsets.diff())
        pairs = (items * n_users + users).unique()  # every (item, user) once, by item
        rows, users = pairs // n_users, pairs % n_users
        counts = torch.bincount(rows, minlength=n_rows)  # users per item
        ones = torch.ones(len(pairs), device=items.device)
        who = torch.sparse_coo_tensor(
            torch.stack([rows, users]), ones, (n_rows, n_users), check_invariants=True
        )
        norms = counts.sqrt()
        block = max(1, BLOCK_BYTES // (4 * max(n_rows, n_users)))
        for start in range(1, n_rows, block):
            stop = min(start + block, n_rows)
            inside = (rows >= start) & (rows < stop)
            chosen = ones.new_zeros(n_users, stop - start)
            chosen[users[inside], rows[inside] - start] = 1.0
            both = torch.sparse.mm(who, chosen).T  # (block, V)
            similarity = both / (norms[start:stop, None] * norms + self.shrinkage).clamp(min=1e-9)
            similarity[torch.arange(stop - start), torch.arange(start, stop)] = 0.0  # itself
            best = similarity.topk(k, dim=1)
            self.similarities[start:stop], self.neighbours[start:stop] = best

    def scores(self, items: Tensor) -> Tensor:
        """(B, L) -> (B, V)."""
        n_rows, k = self.neighbours.shape
        scores = self.similarities.new_zeros(len(items), n_rows)
        distinct = _distinct(items)
        users, places = distinct.nonzero(as_tuple=True)  # of the real items
        history = distinct[users, places]
        at_once = max(1, BLOCK_BYTES // (8 * k))
        for u, i in zip(users.split(at_once), history.split(at_once), strict=True):
            cells = u[:, None] * n_rows + self.neighbours[i]  # (at_once, k) in the flat scores
            scores.view(-1).index_add_(0, cells.flatten(), self.similarities[i].flatten())
        return scores


def _distinct(items: Tensor) -> Tensor:
    """Replace repetitions within a row by padding, sorted: (B, L) -> (B, L)."""
    items = items.sort(dim=1).values
    repeated = torch.zeros_like(items, dtype=torch.bool)
    repeated[:, 1:] = items[:, 1:] == items[:, :-1]
    return items.masked_fill(repeated, 0)
