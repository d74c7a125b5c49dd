"""A whole Mamba layer where nothing is trained, compiled for CPUs by numba.

A window passes from the first product to the last while it is in a core's cache, and no state is kept.
Letters as in models/_scan/__init__.py; rates (N, E) is A transposed, for base 2.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from torch import Tensor

from models._compiled import LOG2_E, LOOPS, ZERO, call, exp2, sigmoid, softplus


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
