"""Building blocks that several models share. Letters as in models/__init__.py."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models import _kernels
from models._batch import Places
from models._errors import ModelError
from models._kernels import Sum, products

HIDDEN = -10000.0  # added to what attention must not see, where its scores are explicit

INIT_STD = 0.02  # of every Linear and Embedding in RecBole's models and in Mamba4Rec
NORM_EPS = 1e-12  # of every LayerNorm there


def initialise(module: nn.Module) -> None:
    """Give every Linear and Embedding below module N(0, 0.02) weights and zero biases, as BERT does.

    Row 0 of an embedding with a padding index becomes zero.
    """
    for part in module.modules():
        if isinstance(part, (nn.Linear, nn.Embedding)):
            nn.init.normal_(part.weight, std=INIT_STD)
        if isinstance(part, nn.Linear) and part.bias is not None:
            nn.init.zeros_(part.bias)
        if isinstance(part, nn.Embedding) and part.padding_idx is not None:
            nn.init.zeros_(part.weight[part.padding_idx : part.padding_idx + 1])


@dataclass(frozen=True)
class Style:
    """How attention and GELU are computed; the function is the same but for the dropout.

    attention: ``fused`` never holds all probabilities; ``naive`` is RecBole's: explicit (B, H, L, L)
    scores with an additive mask, stored probabilities, dropout ``attn_dropout`` on them. Fused kernels have no
    dropout, so with one a training step is explicit too. gelu: ``fused`` is one operator, ``unfused`` RecBole's five.
    """

    attention: str = "fused"
    attn_dropout: float = 0.0
    gelu: str = "fused"

    def __post_init__(self) -> None:
        if not 0 <= self.attn_dropout < 1:
            raise ModelError(f"attn_dropout {self.attn_dropout} is not in [0, 1)")

    def explicit(self, training: bool) -> bool:
        """Whether attention is computed with explicit scores."""
        return self.attention == "naive" or (training and self.attn_dropout > 0)


def explicit_mask(items: Tensor, causal: bool) -> Tensor:
    """What RecBole adds to attention scores: 0 where a key may be read, else HIDDEN.

    items (B, L) -> (B, 1, L, L), or (B, 1, 1, L) if every position may attend to later ones.
    """
    seen = (items != 0)[:, None, None, :]
    if causal:
        seen = seen.expand(-1, -1, items.shape[1], -1).tril()
    return torch.where(seen, 0.0, HIDDEN)


class Linear(nn.Linear):
    """PyTorch's linear layer with the products of ``models._kernels``: (..., K) -> (..., N)."""

    def forward(self, x: Tensor) -> Tensor:
        return _kernels.linear(x, self.weight, self.bias)


def onward(normed: Tensor, total: Tensor, norm_first: bool) -> Sum:
    """What goes on behind a norm: it is read, and the next sum adds to it or, with the norm first, to its input.

    Either way the norms stand in the same places: on the embedding and behind every sum. With the norm first
    (arXiv 2002.04745) nothing normalises the sum itself, and the last norm is the one in front of the output.
    """
    return Sum(normed, total if norm_first else normed)


def embedded(x: Tensor, norm: nn.LayerNorm, p: float, training: bool, norm_first: bool) -> Sum:
    """An embedding (B, L, D) with LayerNorm and dropout on it; norm first: dropout, and the norm of what goes on."""
    if norm_first:
        return _kernels.add_norm(x, None, norm, p, training)
    x = _kernels.dropout(_kernels.add_norm(x, None, norm, 0.0, False).normed, p, training)
    return Sum(x, x)


class FeedForward(nn.Module):
    """Position-wise network, added up, and the LayerNorm of the sum: x (..., D) -> (..., D).

    The sum is residual + dropout(W2 dropout'(gelu(W1 x))), x itself without residual; dropout' is Mamba4Rec's only.
    """

    def __init__(
        self,
        d_model: int,
        d_inner: int,
        dropout: float,
        inner_dropout: float = 0.0,
        gelu: str = "fused",
    ):
        super().__init__()
        self.gelu = gelu
        self.inner = Linear(d_model, d_inner)
        self.outer = Linear(d_inner, d_model)
        self.inner_dropout, self.dropout = inner_dropout, dropout
        self.norm = nn.LayerNorm(d_model, eps=NORM_EPS)

    def forward(self, x: Tensor, residual: Tensor | None = None) -> Sum:
        parts, shares = (self.inner, self.outer, self.norm), (self.inner_dropout, self.dropout)
        if self.gelu == "fused":
            return _kernels.feed_forward(x, residual, *parts, *shares, self.training)
        inner = F.dropout(_gelu_in_steps(self.inner(x)), self.inner_dropout, self.training)
        added = x if residual is None else residual
        return _kernels.add_norm(self.outer(inner), added, self.norm, self.dropout, self.training)

    def behind(
        self, mixed: Tensor, residual: Tensor | None, out: nn.Linear | None, norm: nn.LayerNorm
    ) -> Tensor:
        """Of norm(residual + out(mixed)), all in one compiled kernel (``_kernels.infers``)."""
        from models._kernels import block_inference

        parts = (self.inner, self.outer, self.norm)
        return block_inference.feed_forward(mixed, residual, out, norm, *parts)


def _gelu_in_steps(x: Tensor) -> Tensor:
    """Exact GELU as RecBole writes it, each step stored for the backward pass."""
    return x * 0.5 * (1.0 + torch.erf(x / math.sqrt(2.0)))


class Attention(nn.Module):
    """Multi-head attention (arXiv 1706.03762, section 3.2), fused or naive (``Style``).

    Fused has no dropout on the probabilities: PyTorch's fused CPU kernel has none either.
    """

    def __init__(self, d_model: int, n_heads: int, dropout: float = 0.0):
        super().__init__()
        self.dropout = dropout
        if d_model % n_heads:
            raise ModelError(f"d_model {d_model} is not divisible by n_heads {n_heads}")
        self.n_heads = n_heads
        self.query = Linear(d_model, d_model)
        self.key_value = Linear(d_model, 2 * d_model)
        self.out = Linear(d_model, d_model)

    def forward(
        self,
        queries: Tensor,
        x: Tensor,
        lengths: Tensor | None,
        causal: bool,
        mask: Tensor | None = None,
        at: Places | None = None,
    ) -> Tensor:
        """Attend from queries (B, L, D), or (T, D) of the places ``at``, to x (B, L, D): the shape of queries.

        lengths (B,) positions of x are real. mask (B, 1, 1 or M, L): added to explicit scores; None: fused, by
        lengths and causality.
        """
        if mask is None and self._is_of_one(x, at):
            return self._of_one(queries, x, lengths)
        q, counts = self.query(queries), None
        if at is not None:
            (taken, real), counts = at.padded(), at.counts
            q = q.index_select(0, taken.flatten()).view(*taken.shape, -1)
        q = self._heads(q)  # (B, H, M, D/H)
        k, v = (self._heads(part) for part in self.key_value(x).chunk(2, dim=-1))  # (B, H, L, D/H)
        if mask is None:
            y = _kernels.attention(q, k, v, lengths, causal, counts)
        else:
            scores = q @ k.transpose(2, 3) / math.sqrt(q.shape[-1]) + mask  # (B, H, M, L)
            y = F.dropout(scores.softmax(-1), self.dropout, self.training) @ v
        y = y.transpose(1, 2).flatten(2)
        return self.out(y if at is None else y[real])

    @property
    def layers(self) -> tuple[nn.Linear, nn.Linear, nn.Linear]:
        """To the query, to key and value, and behind the heads."""
        return self.query, self.key_value, self.out

    def fuses(self, x: Tensor, at: Places | None) -> bool:
        """Whether all of it runs as one compiled kernel."""
        width = self.query.out_features // self.n_heads
        asked = at is None or len(at.flat) > 0
        return asked and _kernels.fuses_attention(x, width) and not self._is_of_one(x, at)

    def _is_of_one(self, x: Tensor, at: Places | None) -> bool:
        """Whether nothing is trained and one position of each row asks."""
        one = at is not None and at.most == 1 and len(at.flat) == len(x)
        return one and products.half(x.device) is None and not torch.is_grad_enabled()

    def of_itself(self, x: Tensor, lengths: Tensor | None, causal: bool) -> Tensor:
        """As ``forward`` from x to x without ``out``, in one compiled kernel (``_kernels.infers``)."""
        from models._kernels import fused_attention

        weight = torch.cat([self.query.weight, self.key_value.weight])
        bias = torch.cat([self.query.bias, self.key_value.bias])
        return fused_attention.self_attention(x, self.n_heads, weight, bias, lengths, causal)

    def _of_one(self, query: Tensor, x: Tensor, lengths: Tensor | None) -> Tensor:
        """Attend from one position per row, (B, D) to x (B, L, D), without forming keys and values.

        With key K x + b the score q (K x + b) is (K'q) x and a term that all positions share, which softmax
        ignores; and the weighted sum of values V x + c is V times the weighted sum of x, plus c.
        """
        rows, length, width = x.shape
        K, V = self.key_value.weight.view(2, self.n_heads, -1, width)  # (H, D/H, D) each
        c = self.key_value.bias[width:].view(self.n_heads, -1)
        q = self.query(query).view(rows, *c.shape)  # (B, H, D/H)
        scores = torch.einsum("bhe,hed->bhd", q, K) @ x.transpose(1, 2) / math.sqrt(c.shape[1])
        if lengths is not None:
            padding = torch.arange(length, device=x.device) >= lengths[:, None]
            scores = scores.masked_fill(padding[:, None], -torch.inf)  # (B, H, L)
        y = torch.einsum("bhd,hed->bhe", scores.softmax(-1) @ x, V) + c
        return self.out(y.flatten(1))

    def _heads(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.n_heads, -1)).transpose(1, 2)


class AttentionBlock(nn.Module):
    """Attention, then FeedForward, each added up and normed: as in RecBole and BERT, or norm first (``onward``)."""

    def __init__(
        self, d_model: int, n_heads: int, d_inner: int, dropout: float,
        style: Style | None = None, norm_first: bool = False,
    ):  # fmt: skip
        super().__init__()
        self.norm_first = norm_first
        style = style or Style()
        self.attention = Attention(d_model, n_heads, style.attn_dropout)
        self.dropout = dropout
        self.norm = nn.LayerNorm(d_model, eps=NORM_EPS)
        self.ffn = FeedForward(d_model, d_inner, dropout, gelu=style.gelu)

    def forward(
        self,
        state: Sum,
        lengths: Tensor | None = None,
        causal: bool = False,
        at: Places | None = None,
        mask: Tensor | None = None,
    ) -> Sum:
        """(B, L, D) -> (B, L, D), or with places ``at`` -> (T, D) at that cost only; what goes ``onward``.

        lengths (B,): nothing attends to positions from there on; None: padding is never read. mask:
        explicit scores with it instead of either (``explicit_mask``).
        """
        x, residual = state.normed, state.total if self.norm_first else None
        if at is None and mask is None and not self.training and _kernels.infers(x) and not self.norm_first:  # fmt: skip
            attended = self.attention.of_itself(x, lengths, causal)
            normed = self.ffn.behind(attended, x, self.attention.out, self.norm)
            return Sum(normed, normed)
        if at is not None and residual is not None:
            residual = residual.flatten(0, 1).index_select(0, at.flat)
        if mask is None and self.dropout < 1 and self.attention.fuses(x, at):
            parts, p = (*self.attention.layers, self.norm), self.dropout
            heads = self.attention.n_heads
            attended = _kernels.attention_block(
                x, residual, at, lengths, causal, heads, parts, p, self.training
            )
        else:
            queries = x if at is None else x.flatten(0, 1).index_select(0, at.flat)
            mixed = self.attention(queries, x, lengths, causal, mask, at)
            added = queries if residual is None else residual
            attended = _kernels.add_norm(mixed, added, self.norm, self.dropout, self.training)
        summed = self.ffn(attended.normed, attended.total if self.norm_first else None)
        return onward(*summed, self.norm_first)
