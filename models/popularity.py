"""Popularity: every user is offered the items with the most interactions. The floor of any comparison."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from models import CountingModel

trainable = False
label = "Popularity"
color = "#6E6E6E"
marker = "X"


@dataclass(frozen=True)
class Config:
    """Popularity has no hyper-parameters."""


class Model(CountingModel):
    """Scores are interaction counts."""

    def __init__(self, config: Config, n_items: int, max_len: int):
        super().__init__()
        self.register_buffer("counts", torch.zeros(n_items + 1))

    def fit(self, items: Tensor, offsets: Tensor) -> None:
        """Count interactions per item."""
        self.counts.copy_(torch.bincount(items, minlength=len(self.counts)))

    def scores(self, items: Tensor) -> Tensor:
        """(B, L) -> (B, V), the same row for everybody."""
        return self.counts.repeat(len(items), 1)
