"""Building blocks that several models share. Letters as in models/__init__.py."""

from __future__ import annotations

from torch import Tensor, nn

from models import _kernels
from models._errors import ModelError

INIT_STD = 0.02  # of every Linear and Embedding in RecBole's models and in Mamba4Rec
NORM_EPS = 1e-12  # of every LayerNorm there


def lengths_of(items: Tensor) -> Tensor:
    """Number of real items per right-padded row, at least 1: (B, L) -> (B,)."""
    return (items != 0).sum(1).clamp_(min=1)


def gather_positions(x: Tensor, positions: Tensor) -> Tensor:
    """Pick positions (B, M) of every row: (B, L, D) -> (B, M, D)."""
    return x.gather(1, positions[:, :, None].expand(-1, -1, x.shape[2]))


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


class FeedForward(nn.Module):
    """Position-wise network with residual and LayerNorm behind it: (..., D) -> (..., D).

    LayerNorm(x + dropout(W2 dropout'(gelu(W1 x)))); dropout' is used by Mamba4Rec only.
    """

    def __init__(self, d_model: int, d_inner: int, dropout: float, inner_dropout: float = 0.0):
        super().__init__()
        self.inner = nn.Linear(d_model, d_inner)
        self.outer = nn.Linear(d_inner, d_model)
        self.inner_dropout, self.dropout = inner_dropout, dropout
        self.norm = nn.LayerNorm(d_model, eps=NORM_EPS)

    def forward(self, x: Tensor) -> Tensor:
        inner = _kernels.gelu(self.inner(x), self.inner_dropout, self.training)
        return _kernels.add_norm(self.outer(inner), x, self.norm, self.dropout, self.training)


class Attention(nn.Module):
    """Multi-head attention (arXiv 1706.03762, section 3.2) by kernels that never hold all probabilities.

    So there is no dropout on the probabilities: PyTorch's fused CPU kernel has none either.
    """

    def __init__(self, d_model: int, n_heads: int):
        super().__init__()
        if d_model % n_heads:
            raise ModelError(f"d_model {d_model} is not divisible by n_heads {n_heads}")
        self.n_heads = n_heads
        self.query = nn.Linear(d_model, d_model)
        self.key_value = nn.Linear(d_model, 2 * d_model)
        self.out = nn.Linear(d_model, d_model)

    def forward(self, queries: Tensor, x: Tensor, lengths: Tensor | None, causal: bool) -> Tensor:
        """Attend from queries (B, M, D) to x (B, L, D), of which lengths (B,) positions are real."""
        q = self._heads(self.query(queries))  # (B, H, M, D/H)
        k, v = (self._heads(part) for part in self.key_value(x).chunk(2, dim=-1))  # (B, H, L, D/H)
        y = _kernels.attention(q, k, v, lengths, causal)
        return self.out(y.transpose(1, 2).flatten(2))

    def _heads(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.n_heads, -1)).transpose(1, 2)


class AttentionBlock(nn.Module):
    """Attention, then FeedForward, each followed by residual and LayerNorm, as in RecBole and BERT."""

    def __init__(self, d_model: int, n_heads: int, d_inner: int, dropout: float):
        super().__init__()
        self.attention = Attention(d_model, n_heads)
        self.dropout = dropout
        self.norm = nn.LayerNorm(d_model, eps=NORM_EPS)
        self.ffn = FeedForward(d_model, d_inner, dropout)

    def forward(
        self,
        x: Tensor,
        lengths: Tensor | None = None,
        causal: bool = False,
        at: Tensor | None = None,
    ) -> Tensor:
        """(B, L, D) -> (B, L, D), or with positions ``at`` (B, M) -> (B, M, D) at that cost only.

        lengths (B,): nothing attends to positions from there on; None: padding is never read.
        """
        queries = x if at is None else gather_positions(x, at)
        attended = self.attention(queries, x, lengths, causal)
        return self.ffn(
            _kernels.add_norm(attended, queries, self.norm, self.dropout, self.training)
        )
