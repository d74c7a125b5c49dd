"""A whole Mamba layer where nothing is trained, compiled for CPUs by numba.

A window passes from the first product to the last while it is in a core's cache, and no state is kept.
Letters as in models/_scan/__init__.py; rates (N, E) is A transposed, for base 2.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from numba import njit
from torch import Tensor

from models._compiled import LOG2_E, LOOPS, ZERO, call, exp2, sigmoid, softplus

TOGETHER = 4  # states, so that sums are read and written less often
SPAN = 8  # positions between two looks at what is forgotten
FORGOTTEN = np.float32(-40)  # base-2 logarithm of a decay: 65,536 times below what float32 resolves


def mixer(
    x: Tensor, in_proj: Tensor, conv_weight: Tensor, conv_bias: Tensor, x_proj: Tensor,
    dt_proj: Tensor, dt_bias: Tensor, A: Tensor, D: Tensor, out_proj: Tensor,
) -> Tensor:  # fmt: skip
    """As models._scan.mamba_mixer: x (B, L, D) -> (B, L, D); conv_weight (E, W), A (E, N)."""
    x = x.contiguous()
    out = x.new_empty(x.shape)
    rates = (A * float(LOG2_E)).T.contiguous()
    weights = (
        in_proj,
        conv_weight.T.contiguous(),
        conv_bias,
        x_proj,
        dt_proj.T.contiguous(),
        dt_bias,
    )
    call(_mixer, len(x), x, *weights, rates, D, out_proj, out)
    return out


def last(
    x: Tensor, in_proj: Tensor, conv_weight: Tensor, conv_bias: Tensor, x_proj: Tensor,
    dt_proj: Tensor, dt_bias: Tensor, A: Tensor, D: Tensor, out_proj: Tensor, lengths: Tensor,
) -> Tensor:  # fmt: skip
    """``mixer`` at the last of lengths (B,) positions only: (B, L, D) -> (B, D).

    Position t adds to the last state the product of its input and exp(A times the sum of later steps). So
    positions are taken from the last one backwards, and where all channels of a few states have decays
    below 2^-40 what lies before is left out. C, the gate and the last product are formed there alone.
    """
    x = x.contiguous()
    channels, n_states = A.shape
    rates = F.pad(A * float(LOG2_E), (0, -n_states % TOGETHER)).T.contiguous()
    out = x.new_zeros(len(x), channels)
    u_last = torch.empty_like(out)
    weights = (conv_weight.T.contiguous(), conv_bias, x_proj, dt_proj.T.contiguous(), dt_bias)
    call(_last, len(x), x, in_proj[:channels], *weights, rates, n_states, lengths, u_last, out)
    gate = F.linear(x[torch.arange(len(x)), lengths - 1], in_proj[channels:])
    return F.linear((out + D * u_last) * F.silu(gate), out_proj)


# Compiled from here on. Functions that are not inlined would become scalar code if they were.


@njit(**LOOPS)
def _mixer(
    first, last, x, in_proj, taps, conv_bias, x_proj, dt_proj, dt_bias, rates, skip, out_proj, out
):
    length = x.shape[1]
    n_states, channels = rates.shape
    rank = len(dt_proj)
    wide = np.empty((length, 2 * channels), np.float32)
    u, step = np.empty((length, channels), np.float32), np.empty((length, channels), np.float32)
    given, y = np.empty_like(u), np.empty_like(u)
    step_B_C = np.empty((length, rank + 2 * n_states), np.float32)
    state = np.empty(channels, np.float32)
    for b in range(first, last):
        np.dot(x[b], in_proj.T, wide)
        for t in range(length):
            _convolve(wide, t, taps, conv_bias, u[t])
        np.dot(u, x_proj.T, step_B_C)
        for t in range(length):
            _discretise(u[t], step_B_C[t], dt_proj, dt_bias, step[t], given[t])
            _skip(u[t], skip, y[t])
        for n in range(n_states):
            state[:] = ZERO
            B, C = step_B_C[:, rank + n], step_B_C[:, rank + n_states + n]
            for t in range(length):
                _advance(rates[n], step[t], given[t], B[t], C[t], state, y[t])
        for t in range(length):
            _gate(wide[t, channels:], y[t])
        np.dot(y, out_proj.T, out[b])


@njit(**LOOPS)
def _convolve(wide, t, taps, bias, u):
    """U (E,) = silu of the convolution at position t of the first E columns of ``wide``."""
    for e in range(len(u)):
        u[e] = bias[e]
    for w in range(max(0, len(taps) - 1 - t), len(taps)):
        row, tap = wide[t - len(taps) + 1 + w], taps[w]
        for e in range(len(u)):
            u[e] += tap[e] * row[e]
    for e in range(len(u)):
        u[e] *= sigmoid(u[e])


@njit(**LOOPS)
def _discretise(u, step_B_C, dt_proj, dt_bias, step, given):
    """Step sizes (E,) of a position, and ``given`` (E,) = step * u."""
    for e in range(len(u)):
        given[e] = dt_bias[e]
    for r in range(len(dt_proj)):
        weight, column = step_B_C[r], dt_proj[r]
        for e in range(len(u)):
            given[e] += weight * column[e]
    for e in range(len(u)):
        step[e] = softplus(given[e])
    for e in range(len(u)):
        given[e] = step[e] * u[e]


@njit(inline="always")
def _skip(u, skip, y):
    for e in range(len(u)):
        y[e] = skip[e] * u[e]


@njit(inline="always")
def _advance(rate, step, given, b, c, state, y):
    """One position of one state of every channel."""
    for e in range(len(y)):
        h = exp2(step[e] * rate[e]) * state[e] + given[e] * b
        state[e] = h
        y[e] += h * c


@njit(**LOOPS)
def _gate(z, y):
    for e in range(len(y)):
        y[e] *= z[e] * sigmoid(z[e])


@njit(**LOOPS)
def _last(
    first, last, x, in_proj, taps, conv_bias, x_proj, dt_proj, dt_bias, rates, n_states, lengths,
    u_last, out,
):  # fmt: skip
    length = x.shape[1]
    rank, channels = dt_proj.shape
    split = rank + n_states
    wide, u = np.empty((length, channels), np.float32), np.empty((length, channels), np.float32)
    step_B = np.empty((length, split), np.float32)
    given = np.empty((SPAN, channels), np.float32)
    later = np.empty((SPAN, channels), np.float32)  # sums of the steps behind each position
    weights = np.zeros((SPAN, len(rates)), np.float32)
    total = np.empty(channels, np.float32)
    alive = np.empty(len(rates) // TOGETHER, np.bool_)
    for b in range(first, last):
        stop = lengths[b]
        np.dot(x[b, :stop], in_proj.T, wide[:stop])
        for t in range(stop):
            _convolve(wide, t, taps, conv_bias, u[t])
        np.dot(u[:stop], x_proj[:split].T, step_B[:stop])
        C = np.dot(x_proj[split:], u[stop - 1])
        u_last[b] = u[stop - 1]
        total[:] = ZERO
        alive[:] = True
        while stop > 0 and _remember(alive, rates, n_states, total):
            begin = max(0, stop - SPAN)
            for t in range(stop - 1, begin - 1, -1):
                j = t - begin
                _step_back(u[t], step_B[t], dt_proj, dt_bias, total, later[j], given[j])
                for n in range(n_states):
                    weights[j, n] = C[n] * step_B[t, rank + n]
            for group in range(len(alive)):
                if alive[group]:
                    for j in range(stop - begin):
                        _add_states(rates, weights[j], TOGETHER * group, later[j], given[j], out[b])
            stop = begin


@njit(inline="always")
def _remember(alive, rates, n_states, total):
    """Whether any state still counts after steps ``total`` (E,); alive: which of them do, by groups."""
    any_alive = False
    for group in range(len(alive)):
        if alive[group]:
            begin, end = TOGETHER * group, min(TOGETHER * (group + 1), n_states)
            forgotten = np.int32(0)
            for n in range(begin, end):
                rate = rates[n]
                for e in range(len(total)):
                    forgotten += np.int32(rate[e] * total[e] <= FORGOTTEN)  # never if it is NaN
            alive[group] = forgotten < (end - begin) * len(total)
            any_alive |= alive[group]
    return any_alive


@njit(**LOOPS)  # inlined it would become scalar code
def _step_back(u, step, dt_proj, dt_bias, total, later, x):
    """Inputs x (E,) of a position, the steps behind it, and ``total`` with its own step."""
    for e in range(len(u)):
        x[e] = dt_bias[e]
    for r in range(len(dt_proj)):
        weight, column = step[r], dt_proj[r]
        for e in range(len(u)):
            x[e] += weight * column[e]
    for e in range(len(u)):
        x[e] = softplus(x[e])
    for e in range(len(u)):
        later[e] = total[e]
        total[e] += x[e]
        x[e] *= u[e]


@njit(inline="always")
def _add_states(rates, weights, n, later, x, y):
    """Add to y (E,) what x (E,) left in TOGETHER states from n on."""
    rate_0, rate_1, rate_2, rate_3 = rates[n], rates[n + 1], rates[n + 2], rates[n + 3]
    w_0, w_1, w_2, w_3 = weights[n], weights[n + 1], weights[n + 2], weights[n + 3]
    for e in range(len(y)):
        steps = later[e]
        left = w_0 * exp2(steps * rate_0[e]) + w_1 * exp2(steps * rate_1[e])
        left += w_2 * exp2(steps * rate_2[e]) + w_3 * exp2(steps * rate_3[e])
        y[e] += x[e] * left
