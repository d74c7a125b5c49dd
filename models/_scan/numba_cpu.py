"""The selective scan compiled for CPUs by numba: float32, parallel over the batch.

Loops run over the channels innermost, so that states, decays and gradients are contiguous vectors and
nothing is summed across a vector in the forward pass. Forward keeps the state before every 16th
position; backward replays 16 positions from there, which fit into the cache of a core. Every window
writes its own gradients of the shared parameters and PyTorch adds them up, so results do not depend on
the number of threads. Letters as in models/_scan/__init__.py; rates (N, E) is A transposed, for base 2.
"""

from __future__ import annotations

import numpy as np
import torch
from numba import njit
from torch import Tensor

from models._compiled import LN_2, LOG2_E, LOOPS, ONE, ZERO, call, exp2, sigmoid, softplus
from models._errors import ModelError

CHUNK = 16  # positions between two kept states


class _SelectiveScan(torch.autograd.Function):
    @staticmethod
    def forward(ctx, u, delta, A, B, C, D, z, delta_bias, reset):
        rates = (A * float(LOG2_E)).T.contiguous()
        n_windows, length, _ = u.shape
        y, out = torch.empty_like(u), torch.empty_like(u)
        kept = u.new_empty(n_windows, -(-length // CHUNK), *rates.shape)
        inputs = (u, delta, rates, B, C, D, z, delta_bias, reset)
        call(_forward, n_windows, *inputs, y, out, kept)
        ctx.save_for_backward(*inputs, y, kept)
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, d_out):
        u, _, rates, B, C, *_ = ctx.saved_tensors
        n_windows, _, channels = u.shape
        du, d_delta, dz = torch.empty_like(u), torch.empty_like(u), torch.empty_like(u)
        dB, dC = torch.empty_like(B), torch.empty_like(C)
        dA = u.new_zeros(n_windows, *rates.shape)
        dD, d_bias = u.new_zeros(n_windows, channels), u.new_zeros(n_windows, channels)
        gradients = (du, d_delta, dA, dB, dC, dD, dz, d_bias)
        call(_backward, n_windows, *ctx.saved_tensors, d_out.contiguous(), *gradients)
        return du, d_delta, dA.sum(0).T, dB, dC, dD.sum(0), dz, d_bias.sum(0), None


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
    if u.dtype == torch.float64:
        raise ModelError("scan backend 'numba' computes in float32; use 'reference' for float64")
    if reset is None:
        reset = u.new_zeros(u.shape[:2], dtype=torch.bool)
    inputs = [t.float().contiguous() for t in (u, delta, A, B, C, D, z, delta_bias)]
    return _SelectiveScan.apply(*inputs, reset.contiguous()).to(u.dtype)


# Compiled from here on.


@njit(**LOOPS)
def _forward(first, last, u, delta, rates, B, C, D, z, bias, reset, y, out, kept):
    for b in range(first, last):
        _forward_window(
            u[b], delta[b], rates, B[b], C[b], D, z[b], bias, reset[b], y[b], out[b], kept[b]
        )


@njit(**LOOPS)
def _forward_window(u, delta, rates, B, C, D, z, bias, reset, y, out, kept):
    state = np.zeros_like(rates)  # (N, E)
    step, x = np.empty_like(D), np.empty_like(D)  # (E,)
    for t in range(len(u)):
        if reset[t]:
            state[:] = ZERO
        if t % CHUNK == 0:
            kept[t // CHUNK] = state
        _discretise(u[t], delta[t], bias, step, x)
        u_t, y_t, z_t, out_t = u[t], y[t], z[t], out[t]
        for e in range(len(step)):
            y_t[e] = D[e] * u_t[e]
        for n in range(len(rates)):
            rate, h, b, c = rates[n], state[n], B[t, n], C[t, n]
            for e in range(len(step)):
                h_new = exp2(step[e] * rate[e]) * h[e] + x[e] * b
                h[e] = h_new
                y_t[e] += h_new * c
        for e in range(len(step)):
            out_t[e] = y_t[e] * z_t[e] * sigmoid(z_t[e])


@njit(inline="always")
def _discretise(u, delta, bias, step, x):
    """Step sizes (E,) = softplus(delta + bias) and inputs (E,) = step * u of one position."""
    for e in range(len(step)):
        step[e] = softplus(delta[e] + bias[e])
        x[e] = step[e] * u[e]


@njit(**LOOPS)
def _backward(
    first, last, u, delta, rates, B, C, D, z, bias, reset, y, kept,
    d_out, du, d_delta, dA, dB, dC, dD, dz, d_bias,
):  # fmt: skip
    for b in range(first, last):
        _backward_window(
            u[b], delta[b], rates, B[b], C[b], D, z[b], bias, reset[b], y[b], kept[b],
            d_out[b], du[b], d_delta[b], dA[b], dB[b], dC[b], dD[b], dz[b], d_bias[b],
        )  # fmt: skip


@njit(**LOOPS)
def _backward_window(
    u, delta, rates, B, C, D, z, bias, reset, y, kept,
    d_out, du, d_delta, dA, dB, dC, dD, dz, d_bias,
):  # fmt: skip
    n_states, channels = rates.shape
    states = np.empty((CHUNK + 1, n_states, channels), np.float32)  # [j]: before position j
    decays = np.empty((CHUNK, n_states, channels), np.float32)
    steps, xs = np.empty((CHUNK, channels), np.float32), np.empty((CHUNK, channels), np.float32)
    d_state = np.zeros_like(rates)
    dy, dx, d_step = np.empty_like(D), np.empty_like(D), np.empty_like(D)
    for chunk in range(len(kept) - 1, -1, -1):
        start = chunk * CHUNK
        stop = min(start + CHUNK, len(u))
        states[0] = kept[chunk]
        for t in range(start, stop):
            j = t - start
            _discretise(u[t], delta[t], bias, steps[j], xs[j])
            if reset[t]:
                _restart(xs[j], B[t], states[j + 1], decays[j])
            else:
                _replay(rates, steps[j], xs[j], B[t], states[j], states[j + 1], decays[j])
        for t in range(stop - 1, start - 1, -1):
            j = t - start
            _gate_backward(d_out[t], y[t], z[t], dz[t], dy)
            _state_backward(
                rates, steps[j], xs[j], B[t], C[t], states[j], states[j + 1], decays[j],
                dy, d_state, dx, d_step, dA, dB[t], dC[t],
            )  # fmt: skip
            _input_backward(
                u[t], delta[t], steps[j], D, bias, dy, dx, d_step, du[t], d_delta[t], dD, d_bias
            )


@njit(inline="always")
def _replay(rates, step, x, B, state, new_state, decay):
    """Repeat one position of the forward pass and keep its decays."""
    for n in range(len(rates)):
        rate, h, h_new, a, b = rates[n], state[n], new_state[n], decay[n], B[n]
        for e in range(len(step)):
            factor = exp2(step[e] * rate[e])
            a[e] = factor
            h_new[e] = factor * h[e] + x[e] * b


@njit(inline="always")
def _restart(x, B, new_state, decay):
    """A position that forgets: as if its decays were zero, so no gradient passes it either."""
    for n in range(len(B)):
        h_new, a, b = new_state[n], decay[n], B[n]
        for e in range(len(x)):
            a[e] = ZERO
            h_new[e] = x[e] * b


@njit(inline="always")
def _gate_backward(d_out, y, z, dz, dy):
    """Through out = y silu(z), with silu'(z) = s (1 + z (1 - s)) and s = sigmoid(z)."""
    for e in range(len(z)):
        s = sigmoid(z[e])
        dy[e] = d_out[e] * z[e] * s
        dz[e] = d_out[e] * y[e] * s * (ONE + z[e] * (ONE - s))


@njit(inline="always")
def _state_backward(
    rates, step, x, B, C, state, new_state, decay, dy, d_state, dx, d_step, dA, dB, dC
):
    """Through h = exp(s A) h' + x B and y = C h; d_state goes from h to h'."""
    dx[:] = ZERO
    d_step[:] = ZERO
    for n in range(len(rates)):
        rate, h, h_new, a, g, da = rates[n], state[n], new_state[n], decay[n], d_state[n], dA[n]
        b, c, sum_b, sum_c = B[n], C[n], ZERO, ZERO
        for e in range(len(step)):
            g_new = g[e] + dy[e] * c
            sum_c += dy[e] * h_new[e]
            sum_b += g_new * x[e]
            dx[e] += g_new * b
            g_old = g_new * a[e]
            g[e] = g_old
            d_exponent = g_old * h[e]
            da[e] += d_exponent * step[e]
            d_step[e] += d_exponent * rate[e]
        dB[n], dC[n] = sum_b, sum_c


@njit(inline="always")
def _input_backward(u, delta, step, D, bias, dy, dx, d_step, du, d_delta, dD, d_bias):
    """Through x = s u, the skip D u and s = softplus(delta + bias), whose slope is a sigmoid."""
    for e in range(len(u)):
        du[e] = dx[e] * step[e] + dy[e] * D[e]
        dD[e] += dy[e] * u[e]
    for e in range(len(u)):  # a loop of its own: with this many arrays in one, scalar code results
        d_step_e = dx[e] * u[e] + d_step[e] * LN_2  # the rates carry a factor log2(e)
        d_delta[e] = d_step_e * sigmoid(delta[e] + bias[e])
    for e in range(len(u)):
        d_bias[e] += d_delta[e]
