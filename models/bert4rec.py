"""BERT4Rec (arXiv 1904.06690): bidirectional self-attention that fills in masked items.

Training: a share of the targets of every window is replaced by a mask token and predicted from both
sides; in a small share of windows only the last item is, which is the task at inference. Inference: the
mask token is appended behind the last real item and its vector is the query.

Structure as in RecBole: learned positions, LayerNorm and dropout on the embedding, blocks with
LayerNorm behind the residual, GELU. The prediction head of the original (dense, GELU, LayerNorm) is
kept; its bias per item is left out, so that a score is the product of a query and the item table here
as in every other model. Fused attention without dropout on its probabilities. Only masked positions
pass through the last block, the head and the catalogue. Letters as in models/__init__.py, and
M masked positions per window at most; positions are L + 1, the whole window.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models import Batch, SequenceModel, _kernels
from models._catalogue import catalogue_cross_entropy
from models._layers import (
    NORM_EPS,
    AttentionBlock,
    initialise,
    lengths_of,
)

causal = False


@dataclass(frozen=True)
class Config:
    """Hyper-parameters of BERT4Rec."""

    d_model: int = 64  # width of embeddings and blocks
    n_layers: int = 2  # attention blocks
    n_heads: int = 2  # attention heads per block; divides d_model
    d_inner: int = 256  # width inside the feed-forward network
    dropout: float = 0.2  # on the embedding and behind attention and feed-forward network
    mask_prob: float = 0.2  # share of the targets that are masked, at least one per window
    last_only: float = 0.1  # share of windows in which the last item alone is masked


class Model(SequenceModel):
    """BERT4Rec for histories of up to max_len items."""

    def __init__(self, config: Config, n_items: int, max_len: int):
        super().__init__()
        c = config
        self.mask_prob, self.last_only = c.mask_prob, c.last_only
        self.mask_token = n_items + 1
        self.item_embedding = nn.Embedding(n_items + 2, c.d_model, padding_idx=0)
        self.position_embedding = nn.Embedding(max_len + 1, c.d_model)
        self.norm = nn.LayerNorm(c.d_model, eps=NORM_EPS)
        self.dropout = c.dropout
        self.blocks = nn.ModuleList(
            AttentionBlock(c.d_model, c.n_heads, c.d_inner, c.dropout) for _ in range(c.n_layers)
        )
        self.head = nn.Linear(c.d_model, c.d_model)
        self.head_norm = nn.LayerNorm(c.d_model, eps=NORM_EPS)
        initialise(self)

    def hidden(self, items: Tensor) -> Tensor:
        """Represent every position of unmasked items: (B, L) -> (B, L, D)."""
        every = torch.arange(items.shape[1], device=items.device).expand_as(items)
        return self._encode(items, every)

    def query(self, items: Tensor) -> Tensor:
        """(B, L) -> (B, D) at a mask token behind the last real item."""
        end = lengths_of(items)[:, None]
        items = F.pad(items, (0, 1)).scatter(1, end, self.mask_token)
        return self._encode(items, end).squeeze(1)

    def item_table(self) -> Tensor:
        """(V, D), shared with the input, without the mask token."""
        return self.item_embedding.weight[:-1]

    def loss(self, batch: Batch) -> Tensor:
        """Mean cross-entropy of the masked targets, given all other items of their windows."""
        masked = self._draw_mask(batch)  # (B, L)
        most = int(masked.sum(1).max())  # M
        order = masked.int().argsort(dim=1, descending=True, stable=True)[:, :most]
        drawn = masked.gather(1, order)  # (B, M): rows with fewer than M masks are filled up
        at = order + 1  # target t is item t + 1 of the window
        targets = batch.windows.gather(1, at)[drawn]
        items = batch.windows.clone()
        items[:, 1:][masked] = self.mask_token
        return catalogue_cross_entropy(self._encode(items, at)[drawn], self.item_table(), targets)

    def _encode(self, items: Tensor, at: Tensor) -> Tensor:
        """Items with mask tokens (B, L), positions (B, M) -> (B, M, D)."""
        lengths = (items != 0).sum(1)
        lengths = None if bool((lengths == items.shape[1]).all()) else lengths  # faster unmasked
        positions = self.position_embedding.weight[: items.shape[1]]
        x = _kernels.add_norm(self.item_embedding(items) + positions, None, self.norm, 0.0, False)
        x = _kernels.dropout(x, self.dropout, self.training)
        for block in self.blocks[:-1]:
            x = block(x, lengths)
        x = _kernels.gelu(self.head(self.blocks[-1](x, lengths, at=at)), 0.0, False)
        return _kernels.add_norm(x, None, self.head_norm, 0.0, False)

    def _draw_mask(self, batch: Batch) -> Tensor:
        """Choose targets to hide: (B, L) bool, at least one in every window.

        Only targets are hidden, so no item is predicted twice per epoch and a window's first item,
        which is known at inference too, never is.
        """
        candidates = batch.target_mask
        device = candidates.device
        draw = torch.rand(
            candidates.shape, generator=batch.generator, device=batch.generator.device
        )
        draw = draw.to(device).masked_fill(~candidates, 2.0)
        masked = (draw < self.mask_prob) | (draw == draw.amin(1, keepdim=True))
        last = candidates & (candidates.flip(1).cumsum(1).flip(1) == 1)
        only_last = torch.rand(
            (len(candidates), 1), generator=batch.generator, device=batch.generator.device
        )
        return torch.where(only_last.to(device) < self.last_only, last, masked) & candidates
