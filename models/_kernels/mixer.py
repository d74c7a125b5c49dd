"""A whole Mamba layer where nothing is trained, compiled for CPUs by numba.

A window passes from the first product to the last while it is in a core's cache: what training keeps is
overwritten by the next one. Letters as in models/_scan/__init__.py.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from numba import njit
from torch import Tensor

from models._compiled import LOG2_E, ZERO, call
from models._resting import once
from models._scan import MixerParams
from models._scan.numba_cpu import CHUNK, _raw_step, columns
from models._scan.numba_mixer import SPAN, _convolved, _step_inputs, behind_first_product
from models._simd import (
    LANES,
    VECTORS,
    add_sums,
    at_least,
    exp2_below,
    fma,
    load,
    prefetch,
    sigmoid,
    softplus,
    splat,
    store,
)
from models._tiles import multiply, scratch

TOGETHER = 4  # states
AHEAD = 4  # positions: what an item's row is asked for before it is read, as it lies beyond the second cache
LOOK = 8  # positions between two looks at what is forgotten
FORGOTTEN = np.float32(-40)  # base-2 logarithm of a decay: 65,536 times below what float32 resolves


def mixer(x: Tensor, p: MixerParams, items: Tensor | None) -> Tensor:
    """As models._scan.mamba_mixer, of a layer that ``numba_mixer.fits``.

    x (B, L, D), or (V, D) for all of items (B, L), whose first product is computed once -> (B, L, D).
    """
    rank, states, width = p.dt_proj.shape[1], p.A_log.shape[1], x.shape[-1]
    if items is None:
        x, items = x.contiguous(), torch.empty(0, 0, dtype=torch.int64)
        out = torch.empty_like(x)
    else:
        x, out = once(p.in_proj, lambda: F.linear(x, p.in_proj)), x.new_empty(*items.shape, width)
    x_proj = p.x_proj.index_select(0, columns(rank, states)[0])
    matrices = (t.T.contiguous() for t in (p.in_proj, x_proj[: 2 * states], p.out_proj))
    call(_mixer, len(out), x, items, *matrices, x_proj[2 * states :], *_small(p), p.D, out)
    return out


def last(x: Tensor, p: MixerParams, lengths: Tensor) -> Tensor:
    """``mixer`` at the last of lengths (B,) positions only: (B, L, D) -> (B, D).

    Position t adds to the last state the product of its input and exp(A times the sum of later steps). So
    positions are taken from the last one backwards, and what lies before is left out where all of a few
    states of some channels have decays below 2^-40. C, the gate and the last product are formed there alone.
    """
    x, (channels, states), rank = x.contiguous(), p.A_log.shape, p.dt_proj.shape[1]
    out = x.new_empty(len(x), channels)
    u_last = torch.empty_like(out)
    steps, B, C = p.x_proj.split([rank, states, states])
    matrices = (t.T.contiguous() for t in (p.in_proj[:channels], B, C))
    call(_last, len(x), x, *matrices, steps.contiguous(), *_small(p), lengths, u_last, out)
    gate = F.linear(x[torch.arange(len(x)), lengths - 1], p.in_proj[channels:])
    return F.linear((out + p.D * u_last) * F.silu(gate), p.out_proj)


def _small(p: MixerParams) -> tuple[Tensor, ...]:
    """Taps, both biases, the projection to the step sizes and the rates, A for base 2, as rows of channels."""
    rates = (p.rates() * float(LOG2_E)).T.contiguous()
    turned = p.conv_weight[:, 0].T.contiguous(), p.dt_proj.T.contiguous()
    return turned[0], p.conv_bias, turned[1], p.dt_bias, rates


# Compiled from here on.


@njit(**VECTORS)
def _mixer(
    first, last, x, index, in_proj, x_proj, out_proj, steps, taps, conv_bias, dt_proj, dt_bias, rates,
    D, out,
):  # fmt: skip
    length, channels, width = out.shape[1], len(out_proj), out.shape[2]
    wide, n_wide, a = scratch(length * 2 * channels), 2 * channels, x.reshape(-1)
    narrow, chunks = x_proj.shape[1] + len(steps), -(-length // CHUNK)
    wide_, zeros = wide.reshape(length, n_wide), np.zeros(n_wide, np.float32)
    u = scratch(length * channels).reshape(length, channels)
    y = scratch(length * channels).reshape(length, channels)
    projected = scratch(length * narrow).reshape(length, narrow)
    kept = scratch(chunks * rates.size).reshape(chunks, *rates.shape)
    no_reset = np.zeros(length, np.bool_)
    for b in range(first, last):
        kept[0] = ZERO
        for begin in range(0, length, SPAN):
            n, place = min(SPAN, length - begin), (b * length + begin) * width
            if len(index):
                for t in range(begin, begin + n):
                    item, later = index[b, t], index[b, min(t + AHEAD, length - 1)]
                    for e in range(0, n_wide, LANES):
                        prefetch(x, (later, e))
                        store(wide_, (t, e), load(x, (item, e)))
            else:
                multiply(
                    n, n_wide, width, a, place, width, 1, in_proj.reshape(-1), 0, n_wide,
                    zeros, 0, 0, wide, begin * n_wide, n_wide,
                )  # fmt: skip
            behind_first_product(
                begin, n, wide_, x_proj, out_proj, steps, taps, conv_bias, dt_proj, dt_bias,
                rates, D, no_reset, u, projected, y, kept, out[b],
            )  # fmt: skip


@njit(**VECTORS)
def _last(
    first, last, x, in_proj, B_proj, C_proj, steps, taps, conv_bias, dt_proj, dt_bias, rates,
    lengths, u_last, out,
):  # fmt: skip
    _, length, width = x.shape
    states, channels = rates.shape
    narrow = states + len(steps)
    wide, u = scratch(length * channels), scratch(length * channels)
    weights, C = scratch(length * narrow), scratch(states)
    wide_, u_ = wide.reshape(length, channels), u.reshape(length, channels)
    weights_ = weights.reshape(length, narrow)
    zeros = np.zeros(max(channels, states), np.float32)
    memory = scratch(2 * LOOK * LANES).reshape(2, LOOK, LANES)
    for b in range(first, last):
        n = lengths[b]
        multiply(
            n, channels, width, x.reshape(-1), b * length * width, width, 1,
            in_proj.reshape(-1), 0, channels, zeros, 0, 0, wide, 0, channels,
        )  # fmt: skip
        for t in range(n):
            for e in range(0, channels, LANES):
                c = _convolved(wide_, t, taps, conv_bias, e)
                store(u_, (t, e), c * sigmoid(c))
        multiply(
            n, states, channels, u, 0, channels, 1, B_proj.reshape(-1), 0, states,
            zeros, 0, 0, weights, 0, narrow,
        )  # fmt: skip
        _step_inputs(0, n, u_, steps, weights_, states)
        u_last[b] = u_[n - 1]
        multiply(
            1, states, channels, u, (n - 1) * channels, channels, 1, C_proj.reshape(-1), 0, states,
            zeros, 0, 0, C, 0, states,
        )  # fmt: skip
        for t in range(n):
            for i in range(states):
                weights_[t, i] *= C[i]
        for e in range(0, channels, LANES):
            _last_of_channels(e, n, u_, weights_, dt_proj, dt_bias, rates, memory, out[b])


@njit(**VECTORS)
def _last_of_channels(e, stop, u, weights, dt_proj, dt_bias, rates, memory, out):
    """What the first ``stop`` positions left of 16 channels; weights: B C of every state, then step inputs."""
    states, (later, x) = len(rates), memory
    total, y = splat(ZERO), splat(ZERO)
    alive, above = np.ones(states // TOGETHER, np.bool_), np.empty(1, np.float32)
    while stop > 0 and alive.any():
        begin = max(0, stop - LOOK)
        for t in range(stop - 1, begin - 1, -1):
            step = softplus(_raw_step(weights, weights, states, dt_proj, dt_bias, t, e))
            store(later, (t - begin, 0), total)
            store(x, (t - begin, 0), step * load(u, (t, e)))
            total = total + step
        for group in range(len(alive)):
            if alive[group]:
                n = TOGETHER * group
                rate_0, rate_1 = load(rates, (n, e)), load(rates, (n + 1, e))
                rate_2, rate_3 = load(rates, (n + 2, e)), load(rates, (n + 3, e))
                for t in range(begin, stop):
                    s, w = load(later, (t - begin, 0)), weights[t]
                    left = splat(w[n]) * exp2_below(s * rate_0)
                    left = fma(splat(w[n + 1]), exp2_below(s * rate_1), left)
                    left = fma(splat(w[n + 2]), exp2_below(s * rate_2), left)
                    left = fma(splat(w[n + 3]), exp2_below(s * rate_3), left)
                    y = fma(load(x, (t - begin, 0)), left, y)
                alive[group] = _remembers(rates, n, e, total, above)
        stop = begin
    store(out, (e,), y)


@njit(inline="always")
def _remembers(rates, n, e, steps, total):
    """Whether one of a few states of 16 channels still counts after these steps, or is no number."""
    above = splat(ZERO)
    for i in range(n, n + TOGETHER):
        above = above + at_least(splat(ZERO), fma(load(rates, (i, e)), steps, splat(-FORGOTTEN)))
    total[0] = ZERO
    add_sums(total, (0,), (above,))
    return not total[0] <= ZERO
