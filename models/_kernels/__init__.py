"""The parts of a layer and of the loss, each with a fast and a plain implementation.

    backend   device   what runs
    numba     CPU      compiled loops and products, float32, hand-written backward passes
    torch     any      PyTorch's own operators (twins.py): what tests compare with
    inductor  any      the same, each function made into one kernel by torch.compile
    eager     any      as torch, and all logits of the loss at once, as a first version would have it

``use`` chooses for the whole process, as ``torch.set_num_threads`` does; ``auto`` is numba where it
applies, else torch. numba draws other dropout masks than PyTorch from the same seed; without dropout
all differ by rounding only.
"""

from __future__ import annotations

import contextlib
import functools
import sys
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models import _cost, _numba
from models._batch import Places
from models._errors import ModelError
from models._kernels import products, twins
from models._resting import once, resting

BACKENDS = ("auto", "numba", "torch", "inductor", "eager")
NO_NUMBA = "No module named 'numba'"
WHOLE = 16  # widths are multiples of it where products are compiled: whole vector registers
SHORT_ROW = 64  # keys up to which attention is PyTorch's on a CPU too
_requested = "auto"


class KernelChoice(NamedTuple):
    """Which backend was asked for and which one runs; fallback: the slow one for want of numba."""

    requested: str
    used: str
    fallback: bool
    reason: str | None


def use(backend: str) -> None:
    """Choose the backend of this process, one of BACKENDS; an unknown or impossible one is a ModelError."""
    global _requested
    if backend not in BACKENDS:
        raise ModelError(f"kernels {backend!r} are unknown; allowed: {', '.join(BACKENDS)}")
    if backend == "numba" and not _installed():
        raise ModelError(
            f"kernels 'numba' cannot run: {_numba.why_not() or NO_NUMBA}; they need the package numba: `pip install numba`"
        )
    _requested = backend


@contextlib.contextmanager
def using(backend: str) -> Iterator[None]:
    """``use`` for the length of a block."""
    before = _requested
    use(backend)
    try:
        yield
    finally:
        use(before)


def resolve(device: torch.device | str) -> KernelChoice:
    """What runs on a device. On a GPU PyTorch's operators are compiled kernels, so torch is no fallback."""
    if _requested in ("torch", "inductor", "eager"):
        return KernelChoice(_requested, _requested, False, None)
    if torch.device(device).type != "cpu":
        numba = _requested == "numba"
        return KernelChoice(
            _requested, "torch", numba, "numba's kernels run on CPUs" if numba else None
        )
    if _installed():
        return KernelChoice(_requested, "numba", False, None)
    return KernelChoice(_requested, "torch", True, _numba.why_not() or NO_NUMBA)


def is_eager(device: torch.device | str) -> bool:
    """Whether the loss has all its logits at once, as a first version would have it."""
    return resolve(device).used == "eager"


def compile_seconds() -> float:
    """Seconds that numba has compiled for in this process; what it finds compiled on disk costs none."""
    compiled = sys.modules.get("models._compiled")
    return compiled.COMPILING.duration if compiled and compiled.COMPILING.done else 0.0


def exponentials(x: Tensor, out: Tensor, times: int) -> bool:
    """Compute x.numel() * times exponentials as the compiled kernels do; false if they are not installed."""
    if not _installed():
        return False
    from models._kernels.rates import powers_of_two

    powers_of_two(x, out, times)
    return True


def multiplications(a: Tensor, b: Tensor, out: Tensor, times: int) -> bool:
    """Compute a (R, M, K) times b (R, K, N) as the compiled kernels do, ``times`` times; false if they are not installed."""
    if not _installed():
        return False
    from models._kernels import rates

    rates.products(a, b, out, times)
    return True


@functools.cache
def _installed() -> bool:
    return _numba.why_not() is None


def _compiled(x: Tensor) -> bool:
    """Whether numba's kernels apply."""
    return x.dtype == torch.float32 and resolve(x.device).used == "numba"


def reads_half(x: Tensor) -> bool:
    """Whether one of numba's kernels applies that reads bfloat16 as well as float32."""
    return x.dtype in (torch.float32, torch.bfloat16) and resolve(x.device).used == "numba"


def infers(x: Tensor) -> bool:
    """Whether whole halves of a block run as one compiled kernel each: float32 where nothing is trained."""
    trains = torch.is_grad_enabled() or _cost.is_counting()
    return _compiled(x) and not trains and not products.enabled()


def trains_whole(x: Tensor) -> bool:
    """Whether several products and what lies between run as one compiled kernel each: float32."""
    return _compiled(x) and not _cost.is_counting() and not products.enabled()


def _twin(function: Callable, x: Tensor) -> Callable:
    """A function of twins.py as it runs where x is."""
    return _fused(function) if resolve(x.device).used == "inductor" else function


@functools.cache
def _fused(function: Callable) -> Callable:
    return torch.compile(function, dynamic=True)  # batches differ in both of their sizes


def operand(x: Tensor) -> Tensor:
    """What only products read, (..., D): rounded once for all of them, where half products are asked for.

    Then (R, D) with at least as many rows, to be cut off by ``shaped``. Products of it, and GELU
    between them, stay in half precision, which saves time in numba's kernels; others compute the
    same from float32.
    """
    return products.operand(x) if products.enabled() and _compiled(x) else x


def shaped(rows: Tensor, x: Tensor) -> Tensor:
    """Results (R, M) of ``operand(x)`` as (..., M); results (..., M) as they are."""
    return rows if rows.shape[:-1] == x.shape[:-1] else products.like(x, rows, rows.dtype)


def dropout(x: Tensor, p: float, training: bool) -> Tensor:
    """Zero a share p of the elements and scale the others by 1 / (1 - p), in training only."""
    if not training or p == 0:
        return x
    if _compiled(x) and p < 1:
        from models._kernels import elementwise

        return elementwise.dropout(x, p)
    return F.dropout(x, p)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x weight' + bias: x (..., K), weight (N, K), bias (N,) -> (..., N), in half precision if asked for."""
    if products.enabled():
        return products.linear(x, weight, bias)
    if not _multiplied(x, weight):
        return F.linear(x, weight, bias)
    from models._kernels import compiled_linear

    return compiled_linear.linear(x, weight, bias)


def scores(query: Tensor, table: Tensor, model: nn.Module) -> Tensor:
    """Products of queries (B, D) with all items of a model's table (V, D): (B, V).

    The compiled product reads the table by columns, which pays where one copy serves many batches.
    """
    if not resting() or not infers(query) or query.shape[1] % WHOLE:
        return query @ table.T
    from models._kernels import compiled_linear

    return compiled_linear.product(query.contiguous(), once(model, lambda: table.T.contiguous()))


def _multiplied(x: Tensor, weight: Tensor) -> bool:
    """Whether compiled kernels multiply x by weight (N, K): float32, widths of whole registers."""
    plain = _cost.is_counting() or products.enabled()
    return _compiled(x) and not plain and not any(width % WHOLE for width in weight.shape)


class Sum(NamedTuple):
    """LayerNorm of a sum over the last axis, (..., D), and the sum (..., D) itself."""

    normed: Tensor
    total: Tensor


def feed_forward(
    x: Tensor,
    residual: Tensor | None,
    inner: nn.Linear,
    outer: nn.Linear,
    norm: nn.LayerNorm,
    inner_p: float,
    p: float,
    training: bool,
) -> Sum:
    """The norm of residual + dropout(outer(dropout(gelu(inner(x))))), both (..., D); residual None: x itself."""
    if not _multiplied(x, inner.weight) or max(inner_p, p) >= 1:
        hidden = gelu(inner(operand(x)), inner_p, training)
        added = x if residual is None else residual
        return add_norm(shaped(outer(hidden), x), added, norm, p, training)
    from models._kernels import fused_feed_forward

    parameters = (t for layer in (inner, outer, norm) for t in (layer.weight, layer.bias))
    shares = (inner_p, p) if training else (0.0, 0.0)
    return Sum(*fused_feed_forward.feed_forward(x, residual, *parameters, norm.eps, *shares))


def add_norm(
    x: Tensor, residual: Tensor | None, norm: nn.LayerNorm, p: float, training: bool
) -> Sum:
    """The norm of dropout(x) + residual: (..., D), (..., D) or None."""
    if reads_half(x) and p < 1:
        from models._kernels import elementwise

        p = p if training else 0.0
        return Sum(*elementwise.add_norm(x, residual, norm.weight, norm.bias, norm.eps, p))
    run = _twin(twins.add_norm, x)
    return Sum(*run(x, residual, norm.weight, norm.bias, norm.eps, p, training))


def gelu(x: Tensor, p: float, training: bool) -> Tensor:
    """dropout(gelu(x)) with the exact GELU (arXiv 1606.08415): (..., D) -> (..., D)."""
    if reads_half(x) and p < 1:
        from models._kernels import elementwise

        return elementwise.gelu(x, p if training else 0.0)
    return _twin(twins.gelu, x)(x, p, training)


def attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    lengths: Tensor | None,
    causal: bool,
    counts: Tensor | None = None,
) -> Tensor:
    """softmax(q k' / sqrt(d)) v: q (B, H, M, d), k and v (B, H, L, d) -> (B, H, M, d).

    lengths (B,): keys from there on are hidden; causal: those behind the query too (M = L). counts (B,): who
    asks reads the results of that many queries of a row, and gives no gradient to the others. On a CPU
    short rows are left to PyTorch's kernel, which is faster there, and half precision is not: its
    bfloat16 kernel takes twice as long as the float32 one.
    """
    if _cost.is_counting():
        return _cost.attention(q, k, v, causal, counts)
    if q.device.type == "cpu" and torch.bfloat16 in (q.dtype, k.dtype):
        q, k, v = (t.to(torch.float32, memory_format=torch.contiguous_format) for t in (q, k, v))
    if _compiled(q) and k.shape[2] > SHORT_ROW:
        from models._kernels import fused_attention

        (n_queries, n_keys), rows = (q.shape[2], k.shape[2]), len(k)
        real = torch.full((rows,), n_keys) if lengths is None else lengths.clamp(max=n_keys)
        asked = torch.full((rows,), n_queries) if counts is None else counts
        return fused_attention.attention(q, k, v, real, causal, asked)
    mask = None
    if lengths is not None:
        mask = (torch.arange(k.shape[2], device=k.device) < lengths[:, None])[:, None, None, :]
        if causal:  # PyTorch takes a mask or is_causal, not both
            mask = mask & mask.new_ones(q.shape[2], k.shape[2]).tril()
            causal = False
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=causal)


def fuses_attention(x: Tensor, width: int) -> bool:
    """Whether ``attention_block`` runs for x (B, L, D), heads of a width: float32 on a CPU with numba, no counting."""
    plain = _cost.is_counting() or products.enabled()
    return _compiled(x) and not plain and x.numel() > 0 and not width % WHOLE


def attention_block(
    x: Tensor,
    residual: Tensor | None,
    at: Places | None,
    lengths: Tensor | None,
    causal: bool,
    heads: int,
    layers: tuple[nn.Linear, nn.Linear, nn.Linear, nn.LayerNorm],
    p: float,
    training: bool,
) -> Sum:
    """The norm of residual + dropout(out(attention of y to x)), y = x (B, L, D) or its places ``at`` (T, D): as y.

    residual: as y; None: y itself. layers: to the query, to key and value, out, and the norm. lengths and causal as in ``attention``.
    """
    from models._kernels import fused_attention_block

    rows, length = x.shape[:2]
    flat, counts = (None, torch.full((rows,), length)) if at is None else (at.flat, at.counts)
    real = torch.full((rows,), length) if lengths is None else lengths.clamp(max=length)
    parameters = tuple(t for layer in layers for t in (layer.weight, layer.bias))
    p = p if training else 0.0
    settings = (counts, real, causal, heads, parameters, layers[3].eps, p)
    return Sum(*fused_attention_block.attention_block(x, residual, flat, *settings))


def has_cross_entropy(hidden: Tensor) -> bool:
    """Whether ``cross_entropy`` runs for queries (T, D): float32 on a CPU with numba, D a multiple of 16."""
    wide = hidden.numel() > 0 and hidden.shape[1] % WHOLE == 0
    return wide and _compiled(hidden) and not _cost.is_counting()


def cross_entropy(
    hidden: Tensor, table: Tensor, targets: Tensor, gradient: bool
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Mean of -log softmax(hidden table')[target] over the items 1..n, and its gradients if asked for.

    hidden (T, D), table (1 + n, D), targets (T,) int64 items -> scalar, (T, D), (1 + n, D).
    """
    from models._kernels import catalogue

    return catalogue.cross_entropy(hidden, table, targets, gradient)


def cross_entropy_rows(logits: Tensor, targets: Tensor, losses: Tensor, scale: Tensor) -> None:
    """Loss of every row of logits (T, n), and its gradient up to a factor per row, in place.

    losses (T,) becomes -log softmax(logits)[target]; logits times scale (T, 1) become softmax minus the
    one-hot target. targets (T,) int64: columns.
    Half logits are overwritten in half precision, their sums are float32.
    """
    if reads_half(logits):
        from models._kernels import softmax

        softmax.cross_entropy_rows(logits, targets, losses, scale)
    else:
        _twin(twins.cross_entropy_rows, logits)(logits, targets, losses, scale)


def count_above(scores: Tensor, targets: Tensor, seen: Tensor) -> tuple[Tensor, Tensor]:
    """Where a target stands among the items 1..n: counts (B, 4) int64, and whether a score is NaN.

    scores (B, V), targets (B,) and seen (B, H) int64, padded with 0. Counted are the items that score at
    or above the target, itself included; the others of equal score; and how many of either are in seen.
    An item counts once there, the target never. Column 0 is not read.
    """
    if _compiled(scores):
        from models._kernels import ranks

        return ranks.count_above(scores, targets, seen)
    return twins.count_above(scores, targets, seen)


def gru(layer: nn.GRU, x: Tensor) -> Tensor:
    """States of a one-directional, batch-first GRU (arXiv 1406.1078) from state 0: (B, L, D) -> (B, L, U)."""
    if _cost.is_counting():
        return _cost.gru(layer, x)
    if not _compiled(x) or layer.hidden_size % WHOLE:
        return layer(x)[0]
    from models._kernels import recurrence

    for input_weight, weight, *biases in layer.all_weights:
        input_bias, bias = biases or (None, None)
        x = recurrence.gru(linear(x, input_weight, input_bias), weight, bias)
    return x


def conv_silu(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """silu of a causal convolution of every channel with its own W taps, the last on its own position.

    x (B, L, E), weight (E, W), bias (E,) -> (B, L, E).
    """
    if _cost.is_counting():
        return _cost.convolution(x, weight, bias)
    if _compiled(x):
        from models._kernels import recurrence

        return recurrence.conv_silu(x, weight, bias)
    return _twin(twins.conv_silu, x)(x, weight, bias)
