"""A whole Mamba layer in training, compiled for CPUs by numba: one kernel forwards and one backwards.

A span of positions passes from the first product to the last while it is in a core's cache. Kept are the
results of the first two products and what the scan keeps; the convolution is computed again. Windows are cut
into groups with gradients of their own for the weights, so results do not depend on the number of threads.

Letters as in models/_scan/__init__.py; P = R + 2N, in the order of ``numba_cpu.columns``.
"""

from __future__ import annotations

import numpy as np
import torch
from numba import njit
from torch import Tensor

from models import _kernels
from models._compiled import LOG2_E, ONE, ZERO, call
from models._scan import MixerParams
from models._scan.numba_cpu import (
    BLOCK,
    CHUNK,
    GROUP,
    ROWS,
    VECTORS,
    backward_block,
    columns,
    forward_block,
    projected_scan,
)
from models._simd import LANES, add_sums, fma, load, sigmoid, splat, store
from models._tiles import multiply, scratch

SPAN = 3 * CHUNK  # positions whose activations and gradients stay in the second cache
MOST_PARTS = 8  # of the windows, each with its own sums for the gradients of the weights
POSITIONS_OF_A_PART = 1024


def fits(p: MixerParams) -> bool:
    """Whether a layer fills whole registers and tiles."""
    (width, channels), states, rank = p.out_proj.shape, p.A_log.shape[1], p.dt_proj.shape[1]
    return not (width % _kernels.WHOLE or channels % BLOCK or states % GROUP or rank % GROUP)


class _Mixer(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, in_proj, taps, conv_bias, x_proj, dt_proj, dt_bias, A_log, D, out_proj):
        x, (windows, length, _) = x.contiguous(), x.shape
        channels, states = A_log.shape
        order, ctx.back = columns(dt_proj.shape[1], states)
        A = -torch.exp(A_log)
        in_proj, out_proj = in_proj.contiguous(), out_proj.contiguous()
        x_proj = x_proj.index_select(0, order)
        small = (taps[:, 0].T.contiguous(), conv_bias, dt_proj.T.contiguous(), dt_bias)
        rates = (A * float(LOG2_E)).T.contiguous()
        turned = (t.T.contiguous() for t in (in_proj, x_proj[: 2 * states], out_proj))
        wide = x.new_empty(windows, length, 2 * channels)
        u, y = (x.new_empty(windows, length, channels) for _ in range(2))
        projected = x.new_empty(windows, length, len(x_proj))
        kept = x.new_empty(windows, -(-length // CHUNK), states, channels)
        out = torch.empty_like(x)
        saved = (wide, u, projected, y, kept)
        steps = x_proj[2 * states :]
        call(_forward, windows, x, *turned, steps, *small, rates, D, *saved, out)
        ctx.save_for_backward(x, in_proj, x_proj, out_proj, *small, rates, D, A, *saved)
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, d_out):
        x, *weights, A, wide, u, projected, y, kept = ctx.saved_tensors
        parts = min(MOST_PARTS, 1 + x[..., 0].numel() // POSITIONS_OF_A_PART, max(1, len(x)))
        zeros = x.new_zeros(parts * sum(t.numel() for t in weights))
        apart = zeros.split([parts * t.numel() for t in weights])
        sums = [t.view(parts, *like.shape) for t, like in zip(apart, weights, strict=True)]
        d_x = torch.empty_like(x)
        saved = (wide, u, projected, y, kept)
        call(_backward, parts, parts, d_out.contiguous(), x, *weights, *saved, d_x, *sums)
        d_in, d_projection, d_out_proj, d_taps, d_bias, d_dt, d_dt_bias, dA, dD = (
            t.sum(0) for t in sums
        )
        d_x_proj = d_projection.index_select(0, ctx.back)
        return (
            d_x, d_in, d_taps.T[:, None], d_bias, d_x_proj, d_dt.T, d_dt_bias, dA.T * A, dD,
            d_out_proj,
        )  # fmt: skip


def mamba_mixer(x: Tensor, p: MixerParams) -> Tensor:
    """See models._scan.mamba_mixer; float32, of a layer that ``fits``."""
    return _Mixer.apply(x, *p)


def in_parts(x: Tensor, p: MixerParams) -> Tensor:
    """As ``mamba_mixer``, with products in half precision if asked for."""
    # two products, as copies of a product's halves would take longer
    u, z = (_kernels.linear(x, half) for half in p.in_proj.chunk(2))
    u = _kernels.conv_silu(u, p.conv_weight[:, 0], p.conv_bias)
    order, _ = columns(p.dt_proj.shape[1], p.A_log.shape[1])
    projected = _kernels.linear(u, p.x_proj.index_select(0, order))
    y = projected_scan(u, projected, p.dt_proj, p.rates(), p.D, z, p.dt_bias)
    return _kernels.linear(y, p.out_proj)


# Compiled from here on.


@njit(**VECTORS)
def _forward(
    first, last, x, in_proj, x_proj, out_proj, steps, taps, conv_bias, dt_proj, dt_bias, rates, D,
    wide, u, projected, y, kept, out,
):  # fmt: skip
    _, length, width = x.shape
    a, v, matrix, n_wide = x.reshape(-1), wide.reshape(-1), in_proj.reshape(-1), in_proj.shape[1]
    zeros = scratch(n_wide)
    zeros[:] = ZERO
    no_reset = np.zeros(length, np.bool_)
    for b in range(first, last):
        kept[b, 0] = ZERO
        for begin in range(0, length, SPAN):
            n, row = min(SPAN, length - begin), b * length + begin
            multiply(
                n, n_wide, width, a, row * width, width, 1, matrix, 0, n_wide,
                zeros, 0, 0, v, row * n_wide, n_wide,
            )  # fmt: skip
            behind_first_product(
                begin, n, wide[b], x_proj, out_proj, steps, taps, conv_bias, dt_proj, dt_bias,
                rates, D, no_reset, u[b], projected[b], y[b], kept[b], out[b],
            )  # fmt: skip


@njit(**VECTORS)
def behind_first_product(
    begin, n, wide, x_proj, out_proj, steps, taps, conv_bias, dt_proj, dt_bias, rates, D,
    no_reset, u, projected, y, kept, out,
):  # fmt: skip
    """The layer's n positions of a window from ``begin`` on, a multiple of CHUNK, given wide (L, 2E)."""
    channels, width = out_proj.shape
    n_narrow, n_columns = x_proj.shape[1], projected.shape[1]
    w, p, o = u.reshape(-1), projected.reshape(-1), out.reshape(-1)
    z, zeros = wide[:, channels:], scratch(max(n_narrow, width))
    zeros[:] = ZERO
    gated = scratch(SPAN * channels).reshape(SPAN, channels)
    work = scratch(CHUNK * 3 * BLOCK).reshape(CHUNK, 3, BLOCK)
    for t in range(begin, begin + n):
        for e in range(0, channels, LANES):
            c = _convolved(wide, t, taps, conv_bias, e)
            store(u, (t, e), c * sigmoid(c))
    multiply(
        n, n_narrow, channels, w, begin * channels, channels, 1, x_proj.reshape(-1), 0, n_narrow,
        zeros, 0, 0, p, begin * n_columns, n_columns,
    )  # fmt: skip
    _step_inputs(begin, n, u, steps, projected, n_narrow)
    for start in range(begin, begin + n, CHUNK):
        chunk, size = start // CHUNK, min(CHUNK, begin + n - start)
        for e in range(0, channels, BLOCK):
            forward_block(
                e, start, size, u, u, projected, dt_proj, rates, D, z, dt_bias,
                no_reset, y, gated, start - begin, kept[chunk : chunk + 2], work,
            )  # fmt: skip
    multiply(
        n, width, channels, gated.reshape(-1), 0, channels, 1, out_proj.reshape(-1), 0, width,
        zeros, 0, 0, o, begin * width, width,
    )  # fmt: skip


@njit(inline="always")
def _convolved(x, t, taps, bias, e):
    """The convolution at position t, 16 channels from e on; positions before 0 count as zero."""
    total = load(bias, (e,))
    first = t - len(taps) + 1
    for w in range(max(0, -first), len(taps)):
        total = fma(load(taps, (w, e)), load(x, (first + w, e)), total)
    return total


@njit(**VECTORS)
def _step_inputs(begin, n, u, steps, projected, column):
    """The columns of a projection that are no whole vector: dot products of u with rows of the weights."""
    for t in range(begin, begin + n):
        for r in range(0, len(steps), GROUP):
            s0, s1, s2, s3 = splat(ZERO), splat(ZERO), splat(ZERO), splat(ZERO)
            for e in range(0, steps.shape[1], LANES):
                u_t = load(u, (t, e))
                s0, s1 = fma(u_t, load(steps, (r, e)), s0), fma(u_t, load(steps, (r + 1, e)), s1)
                s2, s3 = (
                    fma(u_t, load(steps, (r + 2, e)), s2),
                    fma(u_t, load(steps, (r + 3, e)), s3),
                )
            for i in range(GROUP):
                projected[t, column + r + i] = ZERO
            add_sums(projected, (t, column + r), (s0, s1, s2, s3))


@njit(**VECTORS)
def _backward(
    first, last, parts, d_out, x, in_proj, x_proj, out_proj, taps, conv_bias, dt_proj, dt_bias,
    rates, D, wide, u, projected, y, kept,
    d_x, d_in, d_x_proj, d_out_proj, d_taps, d_conv_bias, d_dt_proj, d_dt_bias, dA, dD,
):  # fmt: skip
    n_windows, length, width = x.shape
    channels, n_columns, more = u.shape[2], projected.shape[2], len(taps) - 1
    n_wide = 2 * channels
    a, d_a, d_o, w = x.reshape(-1), d_x.reshape(-1), d_out.reshape(-1), u.reshape(-1)
    first_matrix, second_matrix, third_matrix = (
        in_proj.reshape(-1), x_proj.reshape(-1), out_proj.reshape(-1)
    )  # fmt: skip
    d_first, d_second, d_third = (
        d_in.reshape(-1), d_x_proj.reshape(-1), d_out_proj.reshape(-1)
    )  # fmt: skip
    zeros = scratch(n_wide)
    zeros[:] = ZERO
    gated = scratch(SPAN * channels)
    du = scratch(
        (SPAN + more) * channels
    )  # of what the scan reads, later of the convolution's sums
    d_projected, d_wide = scratch(SPAN * n_columns), scratch(SPAN * n_wide)
    gated_, du_ = gated.reshape(SPAN, channels), du.reshape(SPAN + more, channels)
    d_projected_, d_wide_ = d_projected.reshape(SPAN, n_columns), d_wide.reshape(SPAN, n_wide)
    dz = d_wide_[:, channels:]
    no_reset = np.zeros(length, np.bool_)
    work = scratch(CHUNK * ROWS * BLOCK).reshape(CHUNK, ROWS, BLOCK)
    ahead = scratch(rates.size).reshape(rates.shape)
    for part in range(first, last):
        for b in range(n_windows * part // parts, n_windows * (part + 1) // parts):
            z = wide[b, :, channels:]
            ahead[:] = ZERO
            du[:] = ZERO
            for begin in range((length - 1) // SPAN * SPAN, -1, -SPAN):
                n, row = min(SPAN, length - begin), b * length + begin
                for i in range(more):
                    du_[n + i] = du_[i]
                multiply(
                    n, channels, width, d_o, row * width, width, 1, third_matrix, 0, channels,
                    zeros, 0, 0, du, 0, channels,
                )  # fmt: skip
                d_projected[:] = ZERO
                for chunk in range((begin + n - 1) // CHUNK, begin // CHUNK - 1, -1):
                    start = chunk * CHUNK
                    size = min(CHUNK, begin + n - start)
                    for e in range(0, channels, BLOCK):
                        backward_block(
                            e, start, size, start - begin, u[b], u[b], projected[b], dt_proj, rates,
                            D, z, dt_bias, no_reset, y[b], kept[b, chunk],
                            du_, du_, du_, d_projected_, dz, gated_, d_dt_proj[part],
                            dA[part], dD[part], d_dt_bias[part], work, ahead,
                        )  # fmt: skip
                c = (d_third, part * width * channels, channels)
                multiply(width, channels, n, d_o, row * width, 1, width, gated, 0, channels, *c, *c)
                c = (d_second, part * n_columns * channels, channels)
                multiply(
                    n_columns, channels, n, d_projected, 0, 1, n_columns, w, row * channels, channels,
                    *c, *c,
                )  # fmt: skip
                c = (du, 0, channels)
                multiply(
                    n, channels, n_columns, d_projected, 0, n_columns, 1, second_matrix, 0, channels,
                    *c, *c,
                )  # fmt: skip
                _convolution_backward(
                    begin, n, wide[b], taps, conv_bias, du_, d_wide_, d_taps[part], d_conv_bias[part]
                )  # fmt: skip
                c = (d_first, part * n_wide * width, width)
                multiply(n_wide, width, n, d_wide, 0, 1, n_wide, a, row * width, width, *c, *c)
                multiply(
                    n, width, n_wide, d_wide, 0, n_wide, 1, first_matrix, 0, width,
                    zeros, 0, 0, d_a, row * width, width,
                )  # fmt: skip


@njit(**VECTORS)
def _convolution_backward(begin, n, x, taps, bias, d_sums, d_x, d_taps, d_bias):
    """Through silu of the convolution: d_sums (n + W - 1, E), those behind n being done, then d_x (n, E)."""
    more = len(taps) - 1
    for e in range(0, len(bias), LANES):
        total = load(d_bias, (e,))
        for j in range(n):
            c = _convolved(x, begin + j, taps, bias, e)
            s = sigmoid(c)  # silu'(c) = s (1 + c (1 - s))
            g = load(d_sums, (j, e)) * s * fma(c, splat(ONE) - s, splat(ONE))
            store(d_sums, (j, e), g)
            total = total + g
        store(d_bias, (e,), total)
        for w in range(len(taps)):
            total = load(d_taps, (w, e))
            for j in range(max(0, more - w - begin), n):
                total = fma(load(d_sums, (j, e)), load(x, (begin + j - more + w, e)), total)
            store(d_taps, (w, e), total)
        for j in range(n):
            total = splat(ZERO)
            for w in range(len(taps)):
                total = fma(load(taps, (w, e)), load(d_sums, (j + more - w, e)), total)
            store(d_x, (j, e), total)
