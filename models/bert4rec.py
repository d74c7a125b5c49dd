"""BERT4Rec (arXiv 1904.06690): bidirectional self-attention that fills in masked items.

Two maskings. ``cloze``: a share of the targets of every window is replaced by a mask token and predicted
from both sides; in a small share of windows only the last item is, which is the task at inference.
There the mask token is appended behind the last real item and its vector is the query.

``recbole``: what RecBole 1.2.1 does. It masks items of the *history* of a sample, so the sample's target
trains nothing and a user's last training item is never seen; every item is masked with the same
probability, except that in half of the batches the last item of each history alone is; no loss falls
on position 0, and of too many masks only the last ``mask_prob`` x max_len count. At inference it makes
room for the mask token by dropping the first item, also of histories that are short.

Structure as in RecBole: learned positions, LayerNorm and dropout on the embedding, blocks with
LayerNorm behind the residual, GELU, and the prediction head of the original (dense, GELU, LayerNorm).
Its bias per item is there with ``item_bias`` only: as one more column of queries and item table, so that
a score stays the product of the two. By default attention is fused, without dropout on its
probabilities, and only masked positions pass through the last block, the head and the catalogue.
Letters as in models/__init__.py, and M masked positions per window at most; positions are L + 1, the
whole window.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models import Batch, SequenceModel, _kernels
from models._batch import Places, lengths_of
from models._catalogue import catalogue_cross_entropy
from models._layers import (
    NORM_EPS,
    AttentionBlock,
    Linear,
    Style,
    embedded,
    explicit_mask,
    initialise,
)

causal = False

label = "BERT4Rec"
color = "#009E73"
marker = "^"
predicts_all_targets = False  # only those that it masks


@dataclass(frozen=True)
class Config:
    """Hyper-parameters of BERT4Rec."""

    d_model: int = 64  # width of embeddings and blocks
    n_layers: int = 2  # attention blocks
    n_heads: int = 2  # attention heads per block; divides d_model
    d_inner: int = 256  # width inside the feed-forward network
    dropout: float = 0.2  # on the embedding and behind attention and feed-forward network
    mask_prob: float = 0.2  # share of the items that are masked; cloze: at least one per window
    last_only: float = 0.1  # share of windows (recbole: of batches) with the last item alone masked
    masking: Literal["cloze", "recbole"] = "cloze"  # recbole: masks, makes room as RecBole 1.2.1
    item_bias: bool = False  # a learned bias per item in the scores
    attention: Literal["fused", "naive"] = "fused"  # naive: explicit L x L scores, as in RecBole
    attn_dropout: float = 0.0  # on the probabilities of attention, whose training is then explicit
    gelu: Literal["fused", "unfused"] = "fused"  # unfused: in RecBole's five steps
    norm_first: bool = False  # LayerNorm in front of attention and network, not behind the sum


class Model(SequenceModel):
    """BERT4Rec for histories of up to max_len items."""

    def __init__(self, config: Config, n_items: int, max_len: int):
        super().__init__()
        c = config
        self.mask_prob, self.last_only, self.recbole = (
            c.mask_prob,
            c.last_only,
            c.masking == "recbole",
        )
        self.most_masks = max(1, int(c.mask_prob * max_len))  # recbole only
        self.mask_token = n_items + 1
        self.item_embedding = nn.Embedding(n_items + 2, c.d_model, padding_idx=0)
        self.position_embedding = nn.Embedding(max_len + (not self.recbole), c.d_model)
        self.norm = nn.LayerNorm(c.d_model, eps=NORM_EPS)
        self.dropout, self.norm_first = c.dropout, c.norm_first
        self.style = Style(c.attention, c.attn_dropout, c.gelu)
        self.blocks = nn.ModuleList(
            AttentionBlock(c.d_model, c.n_heads, c.d_inner, c.dropout, self.style, c.norm_first)
            for _ in range(c.n_layers)
        )
        self.head = Linear(c.d_model, c.d_model)
        self.head_norm = nn.LayerNorm(c.d_model, eps=NORM_EPS)
        self.item_bias = nn.Parameter(torch.zeros(n_items + 1)) if c.item_bias else None
        initialise(self)

    def hidden(self, items: Tensor) -> Tensor:
        """Represent every position of unmasked items: (B, L) -> (B, L, D)."""
        return self._encode(items, None)

    def query(self, items: Tensor) -> Tensor:
        """(B, L) -> (B, D) at a mask token behind the last real item; with a bias (B, D + 1)."""
        end = lengths_of(items)[:, None]
        items = F.pad(items, (0, 1)).scatter(1, end, self.mask_token)
        if self.recbole:
            items, end = items[:, 1:], end - 1
        return self._with_one(self._encode(items, Places.at(end, items.shape[1])))

    def item_table(self) -> Tensor:
        """(V, D), shared with the input, without the mask token; with a bias (V, D + 1)."""
        table = self.item_embedding.weight[:-1]
        return table if self.item_bias is None else torch.cat([table, self.item_bias[:, None]], 1)

    fresh_targets_only = True  # or items that two windows share would be masked twice as often

    def positions(self, lengths: np.ndarray) -> np.ndarray:
        """Whole windows, whose last item is read where it is not masked; recbole: their history, (W,) -> (W,)."""
        return lengths - 1 if self.recbole else lengths

    def predictions(self, positions: np.ndarray, targets: np.ndarray) -> np.ndarray:
        """Expected masks that a loss falls on, (W,) -> (W,).

        cloze: of n targets ``n p + (1 - p)^n``, as at least one is masked, and one in a window with the last item alone.
        recbole: of the history but its first item, ``most_masks`` of them at most.
        """
        p = self.mask_prob
        if self.recbole:
            able = positions - 1
            masked = _expected_at_most(self.most_masks, p, int(able.max(initial=0)))[able]
            last = np.minimum(able, 1)
        else:
            masked, last = targets * p + (1 - p) ** targets, 1.0
        return (1 - self.last_only) * masked + self.last_only * last

    def loss(self, batch: Batch) -> Tensor:
        """Mean cross-entropy of the masked items, given all other items of their windows."""
        if self.recbole:
            return self._loss_as_recbole(batch)
        masked = F.pad(self._draw_mask(batch), (1, 0))  # target t is item t + 1 of the window
        at = Places.where(masked)
        targets = batch.windows.flatten()[at.flat]
        items = batch.windows.masked_fill(masked, self.mask_token)
        hidden = self._with_one(self._encode(items, at))
        return catalogue_cross_entropy(hidden, self.item_table(), targets)

    def _loss_as_recbole(self, batch: Batch) -> Tensor:
        """As ``loss``, over the windows without their last items."""
        history, _ = batch.before_last()
        return self._loss_of(history, self._draw_mask_as_recbole(history, batch.generator))

    def _loss_of(self, history: Tensor, masked: Tensor) -> Tensor:
        """Loss of histories (B, L) of which ``masked`` (B, L) is hidden."""
        # The last M masks of a row are kept, in rising order behind those that are not there.
        at = masked.int().argsort(dim=1, stable=True)[:, -self.most_masks :]  # (B, M)
        counted = masked.gather(1, at) & (at > 0)
        eager, some = _kernels.is_eager(history.device), bool(counted.any())
        if some and not eager:
            hidden = torch.zeros_like(masked).scatter(1, at, counted)
            places = Places.where(hidden)
        else:
            places = Places.at(at, history.shape[1])
        encoded = self._encode(history.masked_fill(masked, self.mask_token), places)
        encoded, targets = self._with_one(encoded), history.flatten()[places.flat]
        if not some:
            return encoded.sum() * 0.0
        if not eager:
            return catalogue_cross_entropy(encoded, self.item_table(), targets)
        # Every slot, filled or not, as there.
        logits = _kernels.linear(encoded, self.item_table()[1:])
        losses = F.cross_entropy(logits, (targets - 1).clamp(min=0), reduction="none")
        return (losses * counted.flatten()).sum() / counted.sum().clamp(min=1)

    def _encode(self, items: Tensor, at: Places | None) -> Tensor:
        """Items with mask tokens (B, L) -> (B, L, D), or with places ``at`` (T, D) at that cost only."""
        positions = self.position_embedding.weight[: items.shape[1]]
        x = self.item_embedding(items) + positions
        x = embedded(x, self.norm, self.dropout, self.training, self.norm_first)
        mask = explicit_mask(items, causal=False) if self.style.explicit(self.training) else None
        lengths = None if self.style.explicit(self.training) else _lengths(items)
        for block in self.blocks[:-1]:
            x = block(x, lengths, mask=mask)
        if self.every_position and at is not None:
            return self._head(self.blocks[-1](x, lengths, mask=mask).normed).flatten(0, 1)[at.flat]
        return self._head(self.blocks[-1](x, lengths, at=at, mask=mask).normed)

    def _head(self, x: Tensor) -> Tensor:
        x = _kernels.gelu(self.head(x), 0.0, False)
        return _kernels.add_norm(x, None, self.head_norm, 0.0, False).normed

    def _with_one(self, x: Tensor) -> Tensor:
        """The column that meets the bias in the item table: (..., D) -> (..., D + 1), if there is a bias."""
        return x if self.item_bias is None else F.pad(x, (0, 1), value=1.0)

    def _draw_mask(self, batch: Batch) -> Tensor:
        """Choose targets to hide: (B, L) bool, at least one in every window.

        Only targets are hidden, so no item is predicted twice per epoch and a window's first item,
        which is known at inference too, never is.
        """
        candidates = batch.target_mask
        masked = _draw(candidates, batch.generator).masked_fill(~candidates, 2.0)
        masked = (masked < self.mask_prob) | (masked == masked.amin(1, keepdim=True))
        last = candidates & (candidates.flip(1).cumsum(1).flip(1) == 1)
        only_last = _draw(candidates[:, :1], batch.generator)
        return torch.where(only_last < self.last_only, last, masked) & candidates

    def _draw_mask_as_recbole(self, history: Tensor, generator: torch.Generator) -> Tensor:
        """(B, L) -> (B, L) bool."""
        real = history != 0
        if _draw(real[:1, :1], generator) < self.last_only:
            place = torch.arange(real.shape[1], device=real.device)
            return real & (place == real.sum(1, keepdim=True) - 1)
        return real & (_draw(real, generator) < self.mask_prob)


def _expected_at_most(most: int, p: float, n: int) -> np.ndarray:
    """Expected value of the smaller of ``most`` and of a binomial count of 0..n draws of probability p: (n + 1,)."""
    below, found = np.zeros(most), np.zeros(n + 1)  # below: probability of so many, fewer than most
    below[0] = 1.0
    for draws in range(n):  # another draw adds one where there are fewer
        found[draws + 1] = found[draws] + p * below.sum()
        below = (1 - p) * below + p * np.concatenate([[0.0], below[:-1]])
    return found


def _lengths(items: Tensor) -> Tensor | None:
    """Real items per row (B,), None if every row is full: faster unmasked."""
    lengths = (items != 0).sum(1)
    return None if bool((lengths == items.shape[1]).all()) else lengths


def _draw(like: Tensor, generator: torch.Generator) -> Tensor:
    """Uniform numbers from [0, 1) in the shape of a tensor and on its device."""
    return torch.rand(like.shape, generator=generator, device=generator.device).to(like.device)
