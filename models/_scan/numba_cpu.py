"""The selective scan compiled for CPUs by numba: float32, parallel over the batch.

A tile is two states of 32 channels in four vectors (models/_simd.py). A chunk of positions is read into
a core's first cache once for 32 channels; there each tile runs through it with its states in registers.
Forward keeps the states before every chunk. Backward repeats a chunk tile by tile, keeps its states and
decays in that cache and runs back at once. The projection to the step sizes is done on the way, so
neither it nor its gradient is ever stored. Windows are cut into UNITS groups with gradients of their own
for the shared parameters, so results do not depend on the number of threads.

Letters as in models/_scan/__init__.py; P = R + 2N; rates (N, E) is A transposed, for base 2.
"""

from __future__ import annotations

import functools

import numpy as np
import torch
import torch.nn.functional as F
from numba import njit
from torch import Tensor

from models._compiled import LN_2, LOG2_E, ONE, ZERO, call
from models._errors import ModelError
from models._simd import (
    LANES,
    VECTORS,
    add_sums,
    exp2_below,
    fma,
    load,
    prefetch,
    sigmoid,
    softplus,
    softplus_and_slope,
    splat,
    store,
)
from models._tiles import scratch

CHUNK = 32  # positions between two kept states; shorter ones pay more for the ends of loops
BLOCK = 2 * LANES  # channels of a tile
GROUP = 4  # states are padded to a multiple of it, and the inputs of the step size come in fours
UNITS = 16
# Rows of 32 channels that a position has while tiles run through its chunk:
STEP, X, Y = range(3)  # forward
STEP, X, DY, DX, D_STEP, SLOPE, STATE, DECAY = 0, 1, 2, 3, 4, 5, 6, 8  # backward; two tiles
ROWS = 10


class _SelectiveScan(torch.autograd.Function):
    @staticmethod
    def forward(ctx, u, delta, projected, step_weight, A, D, z, step_bias, reset):
        n_windows, length, _ = u.shape
        weight, rates = step_weight.T.contiguous(), (A * float(LOG2_E)).T.contiguous()
        y, out = torch.empty_like(u), torch.empty_like(u)
        kept = u.new_empty(n_windows, -(-length // CHUNK), *rates.shape)
        inputs = (u, delta, projected, weight, rates, D, z, step_bias, reset)
        call(_forward, n_windows, *inputs, y, out, kept)
        ctx.save_for_backward(*inputs, y, kept)
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, d_out):
        u, delta, projected, weight, rates, *_ = ctx.saved_tensors
        du, d_delta, dz, d_projected = map(torch.empty_like, (u, delta, u, projected))
        units = min(UNITS, len(u))
        shared = (weight.shape, rates.shape, u.shape[2:], u.shape[2:])
        sums = [u.new_zeros(units, *shape) for shape in shared]
        gradients = (du, d_delta, d_projected, dz, *sums)
        call(_backward, units, units, *ctx.saved_tensors, d_out.contiguous(), *gradients)
        d_weight, dA, dD, d_bias = (part.sum(0) for part in sums)
        return du, d_delta, d_projected, d_weight.T, dA.T, dD, dz, d_bias, None


def selective_scan(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor,
    z: Tensor,
    delta_bias: Tensor,
    reset: Tensor | None = None,
) -> Tensor:
    """See models._scan.selective_scan; half precision is computed in float32, float64 is refused."""
    channels, states = A.shape
    more = (0, -channels % BLOCK)  # of channels that do nothing
    u_, delta_, z_, D_, bias_ = (F.pad(t, more) for t in (u, delta, z, D, delta_bias))
    A_ = F.pad(A, (0, -states % 2, *more))
    twos = (F.pad(t, (0, -states % 2)).unflatten(-1, (-1, 2)) for t in (B, C))
    projected = torch.cat([*twos], dim=-1).flatten(-2)
    return _run(u_, delta_, projected, A_[:, :0], A_, D_, z_, bias_, reset)[..., :channels]


def projected_scan(
    u: Tensor, projected: Tensor, step_weight: Tensor, A: Tensor, D: Tensor, z: Tensor, bias: Tensor
) -> Tensor:
    """``selective_scan`` of a layer whose sizes fill tiles: projected (B, L, P) in the order of ``columns``.

    delta = its last R columns times step_weight (E, R).
    """
    return _run(u, u.new_empty(0, 0, 0), projected, step_weight, A, D, z, bias, None)


@functools.cache
def columns(rank: int, states: int) -> tuple[Tensor, Tensor]:
    """Where the kernels' columns of a projection stand in mamba-ssm's, and the reverse: (P,) each.

    B of two states and C of both, the next two states .., the inputs of the step size. mamba-ssm has those first,
    then all of B, then all of C.
    """
    fours = [n + i for n in range(0, states, 2) for i in (0, 1, states, states + 1)]
    with torch.inference_mode(
        False
    ):  # one that is made in it could not be saved for a backward pass
        order = torch.tensor([rank + i for i in fours] + list(range(rank)))
        return order, order.argsort()


def _run(
    u: Tensor,
    delta: Tensor,
    projected: Tensor,
    step_weight: Tensor,
    A: Tensor,
    D: Tensor,
    z: Tensor,
    step_bias: Tensor,
    reset: Tensor | None,
) -> Tensor:
    """Delta (B, L, E) is read where step_weight (E, R) has no columns; E and N fill tiles."""
    if u.dtype == torch.float64:
        raise ModelError("scan backend 'numba' computes in float32; use 'reference' for float64")
    if reset is None:
        reset = u.new_zeros(u.shape[:2], dtype=torch.bool)
    tensors = (u, delta, projected, step_weight, A, D, z, step_bias)
    inputs = [t.float().contiguous() for t in tensors]
    return _SelectiveScan.apply(*inputs, reset.contiguous()).to(u.dtype)


# Compiled from here on. A tile is a tuple of vectors: the first state of both halves, the second of both.


@njit(inline="always")
def _load(array, n, e):
    return (
        load(array, (n, e)),
        load(array, (n, e + LANES)),
        load(array, (n + 1, e)),
        load(array, (n + 1, e + LANES)),
    )


@njit(inline="always")
def _store(array, n, e, tile):
    store(array, (n, e), tile[0])
    store(array, (n, e + LANES), tile[1])
    store(array, (n + 1, e), tile[2])
    store(array, (n + 1, e + LANES), tile[3])


@njit(inline="always")
def _pair(work, j, row):
    return load(work, (j, row, 0)), load(work, (j, row, LANES))


@njit(inline="always")
def _decay(step, rate):
    s, t = step
    return (
        exp2_below(s * rate[0]),
        exp2_below(t * rate[1]),
        exp2_below(s * rate[2]),
        exp2_below(t * rate[3]),
    )


@njit(inline="always")
def _advance(decay, h, x, b0, b1):
    """h = decay h + x b."""
    v, w = x
    return (
        fma(decay[0], h[0], v * b0),
        fma(decay[1], h[1], w * b0),
        fma(decay[2], h[2], v * b1),
        fma(decay[3], h[3], w * b1),
    )


@njit(inline="always")
def _B_and_C(projected, n, t):
    four = projected[t]
    i = 2 * n
    return splat(four[i]), splat(four[i + 1]), splat(four[i + 2]), splat(four[i + 3])


@njit(inline="always")
def _raw_step(delta, projected, column, weight, bias, t, e):
    """What softplus is taken of, for 16 channels."""
    total = load(bias, (e,))
    if len(weight) == 0:
        return total + load(delta, (t, e))
    for r in range(len(weight)):
        total = fma(splat(projected[t, column + r]), load(weight, (r, e)), total)
    return total


@njit(**VECTORS)
def _forward(first, last, u, delta, projected, weight, rates, D, z, bias, reset, y, out, kept):
    length, channels = u.shape[1], u.shape[2]
    work = scratch(CHUNK * 3 * BLOCK).reshape(CHUNK, 3, BLOCK)
    for b in range(first, last):
        given = delta[b] if len(weight) == 0 else u[b]
        kept[b, 0] = ZERO
        for chunk in range(kept.shape[1]):
            start = chunk * CHUNK
            size = min(CHUNK, length - start)
            for e in range(0, channels, BLOCK):
                forward_block(
                    e, start, size, u[b], given, projected[b], weight, rates, D, z[b], bias,
                    reset[b], y[b], out[b], start, kept[b, chunk : chunk + 2], work,
                )  # fmt: skip


@njit(**VECTORS)
def forward_block(
    e, start, size, u, delta, projected, weight, rates, D, z, bias, reset, y, out, place, kept, work,
):  # fmt: skip
    """A chunk of positions from ``start`` on, for 32 channels; those of out begin at ``place``.

    kept: the states before it and, unless it is the last, behind.
    """
    for j in range(size):
        t = start + j
        for k in range(0, BLOCK, LANES):
            step = softplus(_raw_step(delta, projected, 2 * len(rates), weight, bias, t, e + k))
            u_t = load(u, (t, e + k))
            store(work, (j, STEP, k), step)
            store(work, (j, X, k), step * u_t)
            store(work, (j, Y, k), load(D, (e + k,)) * u_t)
    for n in range(0, len(rates), 2):
        rate, h = _load(rates, n, e), _load(kept[0], n, e)
        for j in range(size):
            b0, b1, c0, c1 = _B_and_C(projected, n, start + j)
            if reset[start + j]:
                h = splat(ZERO), splat(ZERO), splat(ZERO), splat(ZERO)
            decay = _decay(_pair(work, j, STEP), rate)
            h = _advance(decay, h, _pair(work, j, X), b0, b1)
            store(work, (j, Y, 0), fma(h[2], c1, fma(h[0], c0, load(work, (j, Y, 0)))))
            store(work, (j, Y, LANES), fma(h[3], c1, fma(h[1], c0, load(work, (j, Y, LANES)))))
        if len(kept) > 1:
            _store(kept[1], n, e, h)
    for j in range(size):
        t = start + j
        for k in range(0, BLOCK, LANES):
            z_t, y_t = load(z, (t, e + k)), load(work, (j, Y, k))
            store(y, (t, e + k), y_t)
            store(out, (place + j, e + k), y_t * z_t * sigmoid(z_t))


@njit(**VECTORS)
def _backward(
    first, last, units, u, delta, projected, weight, rates, D, z, bias, reset, y, kept,
    d_out, du, d_delta, d_projected, dz, d_weight, dA, dD, d_bias,
):  # fmt: skip
    n_windows, length, channels = u.shape
    rank, n_states = len(weight), len(rates)
    work = scratch(CHUNK * ROWS * BLOCK).reshape(CHUNK, ROWS, BLOCK)
    ahead = scratch(n_states * channels).reshape(n_states, channels)  # gradient of the states
    no_gated = np.empty((0, 0), np.float32)
    for unit in range(first, last):
        for b in range(n_windows * unit // units, n_windows * (unit + 1) // units):
            given = delta[b] if rank == 0 else u[b]
            d_given = d_delta[b] if rank == 0 else du[b]
            ahead[:] = ZERO
            for chunk in range(kept.shape[1] - 1, -1, -1):
                start = chunk * CHUNK
                size = min(CHUNK, length - start)
                d_projected[b, start : start + size] = ZERO
                for e in range(0, channels, BLOCK):
                    backward_block(
                        e, start, size, start, u[b], given, projected[b], weight, rates, D, z[b],
                        bias, reset[b], y[b], kept[b, chunk], d_out[b], du[b], d_given,
                        d_projected[b], dz[b], no_gated, d_weight[unit], dA[unit], dD[unit],
                        d_bias[unit], work, ahead,
                    )  # fmt: skip


@njit(**VECTORS)
def backward_block(
    e, start, size, place, u, delta, projected, weight, rates, D, z, bias, reset, y, kept,
    d_out, du, d_delta, d_projected, dz, gated, d_weight, dA, dD, d_bias, work, ahead,
):  # fmt: skip
    """A chunk of positions from ``start`` on, for 32 channels; gradients of positions begin at ``place``.

    d_out may be du. gated, if it has rows: becomes what the forward pass gave out.
    """
    for j in range(size):
        t = start + j
        for k in range(0, BLOCK, LANES):
            i, before = (t, e + k), (max(0, t - CHUNK), e + k)  # the chunk that comes next
            prefetch(u, before)
            prefetch(z, before)
            prefetch(y, before)
            raw = _raw_step(delta, projected, 2 * len(rates), weight, bias, t, e + k)
            step, slope = softplus_and_slope(raw)
            store(work, (j, STEP, k), step)
            store(work, (j, SLOPE, k), slope)
            store(work, (j, X, k), step * load(u, i))
            z_t = load(z, i)
            s = sigmoid(z_t)
            g, y_t = load(d_out, (place + j, e + k)) * s, load(y, i)
            store(work, (j, DY, k), g * z_t)
            if len(gated):
                store(gated, (place + j, e + k), y_t * z_t * s)
            # silu'(z) = s (1 + z (1 - s))
            store(dz, (place + j, e + k), g * y_t * fma(z_t, splat(ONE) - s, splat(ONE)))
            store(work, (j, DX, k), splat(ZERO))
            store(work, (j, D_STEP, k), splat(ZERO))
    for n in range(0, len(rates), 2):
        _backward_tile(
            n, e, start, size, place, projected, rates, reset, kept, d_projected, dA, work, ahead
        )
    for k in range(0, BLOCK, LANES):
        i = (e + k,)
        skip, sum_skip, sum_bias = load(D, i), load(dD, i), load(d_bias, i)
        for j in range(size):
            t = start + j
            dx, dy, u_t = load(work, (j, DX, k)), load(work, (j, DY, k)), load(u, (t, e + k))
            # rates are for base 2
            d_step = fma(load(work, (j, D_STEP, k)), splat(LN_2), dx * u_t)
            g = d_step * load(work, (j, SLOPE, k))
            store(du, (place + j, e + k), fma(dx, load(work, (j, STEP, k)), dy * skip))
            store(work, (j, D_STEP, k), g)
            sum_skip = fma(dy, u_t, sum_skip)
            sum_bias = sum_bias + g
        store(dD, i, sum_skip)
        store(d_bias, i, sum_bias)
    if len(weight) == 0:
        for j in range(size):
            store(d_delta, (place + j, e), load(work, (j, D_STEP, 0)))
            store(d_delta, (place + j, e + LANES), load(work, (j, D_STEP, LANES)))
    for r in range(0, len(weight), GROUP):
        _weights_backward(
            r, 2 * len(rates) + r, e, start, size, place, projected, weight, d_projected, d_weight, work
        )  # fmt: skip


@njit(inline="always")
def _backward_tile(
    n, e, start, size, place, projected, rates, reset, kept, d_projected, dA, work, ahead
):
    """Through h = exp(s A) h' + x B and y = C h, positions start.. of one tile."""
    rate, h = _load(rates, n, e), _load(kept, n, e)
    following = min(n + 2, len(rates) - 2)
    for i in range(following, following + 2):
        prefetch(kept, (i, e))
        prefetch(kept, (i, e + LANES))
    for j in range(size):
        _store(work[j], STATE, 0, h)
        b0, b1, _, _ = _B_and_C(projected, n, start + j)
        if reset[start + j]:
            h = splat(ZERO), splat(ZERO), splat(ZERO), splat(ZERO)
        decay = _decay(_pair(work, j, STEP), rate)
        _store(work[j], DECAY, 0, decay)
        h = _advance(decay, h, _pair(work, j, X), b0, b1)
    g, d_rate = _load(ahead, n, e), _load(dA, n, e)
    for j in range(size - 1, -1, -1):
        (s0, s1), (x0, x1), (dy0, dy1) = _pair(work, j, STEP), _pair(work, j, X), _pair(work, j, DY)
        b0, b1, c0, c1 = _B_and_C(projected, n, start + j)
        g = (fma(dy0, c0, g[0]), fma(dy1, c0, g[1]), fma(dy0, c1, g[2]), fma(dy1, c1, g[3]))
        of_B = fma(g[0], x0, g[1] * x1), fma(g[2], x0, g[3] * x1)
        of_C = fma(dy0, h[0], dy1 * h[1]), fma(dy0, h[2], dy1 * h[3])
        add_sums(d_projected, (place + j, 2 * n), (of_B[0], of_B[1], of_C[0], of_C[1]))
        store(work, (j, DX, 0), fma(g[2], b1, fma(g[0], b0, load(work, (j, DX, 0)))))
        store(work, (j, DX, LANES), fma(g[3], b1, fma(g[1], b0, load(work, (j, DX, LANES)))))
        h = _load(work[j], STATE, 0)
        a = _load(work[j], DECAY, 0)
        g = g[0] * a[0], g[1] * a[1], g[2] * a[2], g[3] * a[3]
        if reset[start + j]:  # nothing came from before, so nothing goes there
            g = splat(ZERO), splat(ZERO), splat(ZERO), splat(ZERO)
        d = g[0] * h[0], g[1] * h[1], g[2] * h[2], g[3] * h[3]
        d_rate = (
            fma(d[0], s0, d_rate[0]),
            fma(d[1], s1, d_rate[1]),
            fma(d[2], s0, d_rate[2]),
            fma(d[3], s1, d_rate[3]),
        )
        store(
            work, (j, D_STEP, 0), fma(d[2], rate[2], fma(d[0], rate[0], load(work, (j, D_STEP, 0))))
        )
        store(
            work,
            (j, D_STEP, LANES),
            fma(d[3], rate[3], fma(d[1], rate[1], load(work, (j, D_STEP, LANES)))),
        )
    _store(ahead, n, e, g)
    _store(dA, n, e, d_rate)


@njit(inline="always")
def _weights_backward(
    r, column, e, start, size, place, projected, weight, d_projected, d_weight, work
):
    """Through the projection to the step sizes: four of its inputs, 32 channels."""
    w, w_ = _load(weight, r, e), _load(weight, r + 2, e)
    dw, dw_ = _load(d_weight, r, e), _load(d_weight, r + 2, e)
    for j in range(size):
        g0, g1 = _pair(work, j, D_STEP)
        p = projected[start + j]
        p0, p1 = splat(p[column]), splat(p[column + 1])
        p2, p3 = splat(p[column + 2]), splat(p[column + 3])
        dw = fma(g0, p0, dw[0]), fma(g1, p0, dw[1]), fma(g0, p1, dw[2]), fma(g1, p1, dw[3])
        dw_ = fma(g0, p2, dw_[0]), fma(g1, p2, dw_[1]), fma(g0, p3, dw_[2]), fma(g1, p3, dw_[3])
        of_p = fma(g0, w[0], g1 * w[1]), fma(g0, w[2], g1 * w[3])
        of_q = fma(g0, w_[0], g1 * w_[1]), fma(g0, w_[2], g1 * w_[3])
        add_sums(d_projected, (place + j, column), (of_p[0], of_p[1], of_q[0], of_q[1]))
    _store(d_weight, r, e, dw)
    _store(d_weight, r + 2, e, dw_)
