"""SASRec (arXiv 1808.09781): causal self-attention over the user's items.

Structure as in RecBole's SASRec, which most comparisons use: learned positions, LayerNorm and
dropout on the embedding, blocks with LayerNorm behind the residual (the original has it in front: ``norm_first``),
GELU (original: ReLU), item embeddings tied with the output. By default it differs from RecBole in
two things: fused causal attention without dropout on its probabilities, and a loss at every position
instead of one window per prefix. ``attention: naive``, ``gelu: unfused`` and the objective ``prefix``
take them back. Letters as in models/__init__.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from models import SequenceModel
from models._batch import Places, lengths_of
from models._kernels import Sum
from models._layers import (
    NORM_EPS,
    AttentionBlock,
    Style,
    embedded,
    explicit_mask,
    initialise,
)

label = "SASRec"
color = "#0072B2"
marker = "s"


@dataclass(frozen=True)
class Config:
    """Hyper-parameters of SASRec."""

    d_model: int = 64  # width of embeddings and blocks
    n_layers: int = 2  # attention blocks
    n_heads: int = 2  # attention heads per block; divides d_model
    d_inner: int = 256  # width inside the feed-forward network
    dropout: float = 0.2  # on the embedding and behind attention and feed-forward network
    attention: Literal["fused", "naive"] = "fused"  # naive: explicit L x L scores, as in RecBole
    attn_dropout: float = 0.0  # on the probabilities of attention, whose training is then explicit
    gelu: Literal["fused", "unfused"] = "fused"  # unfused: in RecBole's five steps
    norm_first: bool = False  # LayerNorm in front of attention and network, as in the original


class Model(SequenceModel):
    """SASRec for histories of up to max_len items."""

    def __init__(self, config: Config, n_items: int, max_len: int):
        super().__init__()
        c = config
        self.item_embedding = nn.Embedding(n_items + 1, c.d_model, padding_idx=0)
        self.position_embedding = nn.Embedding(max_len, c.d_model)
        self.norm = nn.LayerNorm(c.d_model, eps=NORM_EPS)
        self.dropout, self.norm_first = c.dropout, c.norm_first
        self.style = Style(c.attention, c.attn_dropout, c.gelu)
        self.blocks = nn.ModuleList(
            AttentionBlock(c.d_model, c.n_heads, c.d_inner, c.dropout, self.style, c.norm_first)
            for _ in range(c.n_layers)
        )
        initialise(self)

    def hidden(self, items: Tensor) -> Tensor:
        """(B, L) -> (B, L, D)."""
        x = self._embed(items)
        mask = explicit_mask(items, causal=True) if self.style.explicit(self.training) else None
        for block in self.blocks:
            x = block(x, causal=True, mask=mask)
        return x.normed

    def query(self, items: Tensor) -> Tensor:
        """(B, L) -> (B, D) at the last real item.

        The last block works at that position only, unless ``every_position``.
        """
        if self.every_position:
            return super().query(items)
        lengths = lengths_of(items)
        x = self._embed(items)
        mask = explicit_mask(items, causal=True) if self.style.explicit(self.training) else None
        for block in self.blocks[:-1]:
            x = block(x, causal=True, mask=mask)
        last = None if mask is None else explicit_mask(items, causal=False)
        at = Places.at(lengths[:, None] - 1, items.shape[1])
        return self.blocks[-1](x, lengths, at=at, mask=last).normed

    def item_table(self) -> Tensor:
        """(V, D), shared with the input."""
        return self.item_embedding.weight

    def _embed(self, items: Tensor) -> Sum:
        positions = self.position_embedding.weight[: items.shape[1]]
        x = self.item_embedding(items) + positions
        return embedded(x, self.norm, self.dropout, self.training, self.norm_first)
