"""Padded windows of items: the batch that models are trained on, and how its rows are read.

Letters as in models/__init__.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor


@dataclass
class Batch:
    """Windows of consecutive items of users, right-padded with 0.

    windows (B, L+1) int64; lengths (B,) real items per window; target_mask (B, L) bool, true where
    ``windows[:, 1:]`` is a target; generator: source of the random masks of masked models; n_targets:
    number of targets, where the host knows it, so that nothing waits for a GPU to count them; last_only: whether each
    window's target is its last item, and no other.
    """

    windows: Tensor
    lengths: Tensor
    target_mask: Tensor
    generator: torch.Generator
    n_targets: int | None = None
    last_only: bool = False

    def target_places(self) -> Tensor:
        """Where ``target_mask.flatten()`` is true: (T,) int64, in order."""
        mask = self.target_mask.flatten()
        size = int(mask.sum()) if self.n_targets is None else self.n_targets
        return torch.nonzero_static(mask, size=size).squeeze(1)

    def before_last(self) -> tuple[Tensor, Tensor]:
        """Windows without their last items (B, L), and those items (B,)."""
        last = self.lengths[:, None] - 1
        return self.windows.scatter(1, last, 0)[:, :-1], self.windows.gather(1, last).squeeze(1)


class Places(NamedTuple):
    """Positions of rows (B, L) that something is asked for: as many of each row as it has, none filled up.

    flat (T,) int64: their places in the flattened rows, row after row; counts (B,) int64: of each row;
    most: the largest count.
    """

    flat: Tensor
    counts: Tensor
    most: int

    @classmethod
    def where(cls, mask: Tensor) -> Places:
        """The positions where mask (B, L) is true."""
        counts = mask.sum(1)
        most = int(counts.max())
        return cls(mask.flatten().nonzero().squeeze(1), counts, most)

    @classmethod
    def at(cls, positions: Tensor, length: int) -> Places:
        """Equally many positions (B, M) of each row of ``length``."""
        rows, most = positions.shape
        first = torch.arange(rows, device=positions.device)[:, None] * length
        return cls((positions + first).flatten(), positions.new_full((rows,), most), most)

    def padded(self) -> tuple[Tensor, Tensor]:
        """For rows of equal size: which of the T each slot takes, (B, M) int64, and which slots are real, (B, M)."""
        slot = torch.arange(self.most, device=self.flat.device)
        first = self.counts.cumsum(0) - self.counts
        taken = (first[:, None] + slot).clamp(max=len(self.flat) - 1)
        return taken, slot < self.counts[:, None]


def lengths_of(items: Tensor) -> Tensor:
    """Number of real items per right-padded row, at least 1: (B, L) -> (B,)."""
    return (items != 0).sum(1).clamp_(min=1)


def gather_positions(x: Tensor, positions: Tensor) -> Tensor:
    """Pick positions (B, M) of every row: (B, L, D) -> (B, M, D)."""
    return x.gather(1, positions[:, :, None].expand(-1, -1, x.shape[2]))
