"""Mamba4Rec (arXiv 2403.03900): selective state space layers over the user's items.

Follows the authors' code. Dropout and LayerNorm on the item embedding, no positions. Per block: Mamba,
dropout, LayerNorm, then a feed-forward network. With one block the Mamba layer has no residual around
it; with several it has. Item embeddings are tied with the output (the authors' answer to the paper's
equation 5: softmax over hidden times embeddings).

Initialisation, as their code has it: N(0, 0.02) weights and zero biases for *every* Linear, those
inside Mamba included. That overrides what mamba-ssm sets up for the step sizes: with a zero dt_proj
bias and small weights every step starts near softplus(0) = 0.69, where Mamba draws it from
[0.001, 0.1], so memories start short; ``step_init: mamba`` draws them as Mamba does. The convolution, A and D keep
Mamba's initialisation.

Difference by default: a loss at every position instead of one window per prefix (objective ``prefix``).
Letters as in
models/__init__.py and models/_scan/__init__.py.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models import SequenceModel, _kernels
from models._batch import gather_positions, lengths_of
from models._kernels import Sum
from models._layers import NORM_EPS, FeedForward, initialise, onward
from models._resting import once
from models._scan import (
    MixerParams,
    mamba_mixer,
    mamba_mixer_last,
    mamba_mixer_of_items,
    require,
    resolve,
)

STEPS = (0.001, 0.1)  # least and greatest of Mamba's own

label = "Mamba4Rec"
color = "#D55E00"
marker = "o"


@dataclass(frozen=True)
class Config:
    """Hyper-parameters of Mamba4Rec; the defaults are the authors' for ML-1M."""

    d_model: int = 64  # width of embeddings and blocks
    n_layers: int = 1  # Mamba blocks; one has no residual around Mamba, several have
    d_state: int = 32  # states per channel
    d_conv: int = 4  # width of the causal convolution; the CUDA kernels know 2, 3 and 4
    expand: int = 2  # channels inside Mamba per model width
    dropout: float = 0.2  # on the embedding, behind Mamba and twice in the feed-forward network
    step_init: Literal["authors", "mamba"] = "authors"  # of the step sizes; mamba: mamba-ssm's
    norm_first: bool = False  # LayerNorm in front of Mamba and network instead of behind the sum
    scan: Literal["auto", "fused", "mamba_ssm", "triton", "numba", "reference"] = "auto"  # backend


class Model(SequenceModel):
    """Mamba4Rec for histories of up to max_len items; the length leaves no trace in the weights."""

    cpu_positions = 51200  # few batches: each forms the first product of every item

    def __init__(self, config: Config, n_items: int, max_len: int):
        super().__init__()
        c = config
        require(c.scan)
        self.scan = c.scan
        self.item_embedding = nn.Embedding(n_items + 1, c.d_model, padding_idx=0)
        self.dropout, self.norm_first = c.dropout, c.norm_first
        self.norm = nn.LayerNorm(c.d_model, eps=NORM_EPS)
        self.blocks = nn.ModuleList(Block(c) for _ in range(c.n_layers))
        initialise(self)
        if c.step_init == "mamba":
            for block in self.blocks:
                block.mamba.draw_steps()

    def hidden(self, items: Tensor) -> Tensor:
        """(B, L) -> (B, L, D)."""
        x = self._embed(items)
        for block in self.blocks:
            x = block(x)
        return x.normed

    def query(self, items: Tensor) -> Tensor:
        """(B, L) -> (B, D) at the last real item; the last block's second half works only there.

        With ``every_position`` all pass through everything, as in the authors' code.
        """
        if self.every_position:
            return super().query(items)
        last = lengths_of(items)[:, None] - 1
        table, first = self.item_embedding.weight, self.blocks[0]
        few = len(table) < items.numel() and not self.training and len(self.blocks) > 1
        if few and first.mamba.infers(table):
            known = once(table, lambda: self._normed(table))
            x, rest = first.of_items(items, known), self.blocks[1:-1]
        else:
            x, rest = self._embed(items), self.blocks[:-1]
        for block in rest:
            x = block(x)
        return self.blocks[-1](x, at=last).normed.squeeze(1)

    def item_table(self) -> Tensor:
        """(V, D), shared with the input."""
        return self.item_embedding.weight

    def backend_report(self) -> dict:
        """The selective scan that runs on the device of the weights, and the other kernels."""
        scan = resolve(self.scan, self.item_embedding.weight.device)
        return {**super().backend_report(), "scan": dataclasses.asdict(scan)}

    def _embed(self, items: Tensor) -> Sum:
        return self._normed(self.item_embedding(items))

    def _normed(self, x: Tensor) -> Sum:
        summed = _kernels.add_norm(x, None, self.norm, self.dropout, self.training)
        return onward(*summed, self.norm_first)


class Block(nn.Module):
    """Mamba and a feed-forward network, each with dropout, summed up and normed, or norm first (``onward``)."""

    def __init__(self, config: Config):
        super().__init__()
        c = config
        self.residual, self.norm_first = c.n_layers > 1, c.norm_first
        self.mamba = Mamba(c)
        self.dropout = c.dropout
        self.norm = nn.LayerNorm(c.d_model, eps=NORM_EPS)
        self.ffn = FeedForward(c.d_model, 4 * c.d_model, c.dropout, inner_dropout=c.dropout)

    def forward(self, state: Sum, at: Tensor | None = None) -> Sum:
        """(B, L, D) -> (B, L, D), or with positions ``at`` (B, M) -> (B, M, D); what goes ``onward``."""
        x, added = state
        infers = not self.training and self.mamba.infers(x)
        if at is None:
            mixed = self.mamba(x)
        elif infers and at.shape[1] == 1:
            mixed, added = self.mamba.last(x, at), gather_positions(added, at)
        else:
            mixed, added = gather_positions(self.mamba(x), at), gather_positions(added, at)
        return self._behind(mixed, added if self.residual else None, infers)

    def of_items(self, items: Tensor, table: Sum) -> Sum:
        """``forward`` of rows of table (V, D), where ``Mamba.infers``: items (B, L) -> (B, L, D)."""
        mixed = mamba_mixer_of_items(table.normed, items, self.mamba.params())
        added = F.embedding(items, table.total) if self.residual else None
        return self._behind(mixed, added, True)

    def _behind(self, mixed: Tensor, added: Tensor | None, infers: bool) -> Sum:
        if infers and not self.norm_first:
            normed = self.ffn.behind(mixed, added, None, self.norm)
            return Sum(normed, normed)
        x = _kernels.add_norm(mixed, added, self.norm, self.dropout, self.training)
        summed = self.ffn(x.normed, x.total if self.norm_first else None)
        return onward(*summed, self.norm_first)


class Mamba(nn.Module):
    """The weights of one Mamba layer (arXiv 2312.00752, section 3.4), named as in mamba-ssm."""

    def __init__(self, config: Config):
        super().__init__()
        c = config
        channels = c.expand * c.d_model  # E
        step_rank = math.ceil(c.d_model / 16)  # R
        self.scan = c.scan
        self.in_proj = nn.Linear(c.d_model, 2 * channels, bias=False)
        self.conv1d = nn.Conv1d(channels, channels, c.d_conv, groups=channels)
        self.x_proj = nn.Linear(channels, step_rank + 2 * c.d_state, bias=False)
        self.dt_proj = nn.Linear(step_rank, channels)
        rates = torch.arange(1, c.d_state + 1, dtype=torch.float32)  # S4D-Real: A = -1 .. -N
        self.A_log = nn.Parameter(rates.log().repeat(channels, 1))
        self.D = nn.Parameter(torch.ones(channels))
        self.out_proj = nn.Linear(channels, c.d_model, bias=False)

    @torch.no_grad()
    def draw_steps(self) -> None:
        """Step sizes as mamba-ssm initialises them: exp(uniform) in [0.001, 0.1], their logits into the bias."""
        low, high = STEPS
        nn.init.uniform_(self.dt_proj.weight, -(self.dt_proj.in_features**-0.5), self.dt_proj.in_features**-0.5)  # fmt: skip
        step = torch.exp(torch.empty_like(self.dt_proj.bias).uniform_(math.log(low), math.log(high)))  # fmt: skip
        self.dt_proj.bias.copy_(step + torch.log(-torch.expm1(-step)))  # softplus gives the step

    def infers(self, x: Tensor) -> bool:
        """Whether nothing is trained and numba's kernels run, in float32."""
        return _kernels.infers(x) and resolve(self.scan, x.device).used == "numba"

    def forward(self, x: Tensor) -> Tensor:
        """(B, L, D) -> (B, L, D)."""
        return mamba_mixer(x, self.params(), resolve(self.scan, x.device).used)

    def last(self, x: Tensor, at: Tensor) -> Tensor:
        """As ``forward`` at one position ``at`` (B, 1) per row, nothing behind it is read: (B, 1, D)."""
        return mamba_mixer_last(x, self.params(), at[:, 0] + 1)[:, None]

    def params(self) -> MixerParams:
        """All of them, as models._scan takes them."""
        return MixerParams(
            in_proj=self.in_proj.weight,
            conv_weight=self.conv1d.weight,
            conv_bias=self.conv1d.bias,
            x_proj=self.x_proj.weight,
            dt_proj=self.dt_proj.weight,
            dt_bias=self.dt_proj.bias,
            A_log=self.A_log,
            D=self.D,
            out_proj=self.out_proj.weight,
        )
