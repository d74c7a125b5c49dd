"""Triton kernels of the selective scan; models/_scan/triton_cuda.py launches them.

One program owns CHANNELS channels of one window and walks its positions in order: the state of these
channels, a tile (CHANNELS, N_PADDED) of float32, stays in registers. No two programs write to one
address, so there are no atomic additions and results are the same bits every time. Loops over positions
load STAGES - 1 positions ahead, because with few windows nothing else hides the latency of memory.

Letters as in models/_scan/__init__.py. A row is one position of one window, counted over the whole batch
in 64 bits; ``*_row`` is the distance of two rows in elements.
"""

from __future__ import annotations

import math

import triton
import triton.language as tl

LOG2_E = tl.constexpr(math.log2(math.e))
LN_2 = tl.constexpr(math.log(2.0))


@triton.jit
def _sigmoid(x):
    return 1.0 / (1.0 + tl.exp(-x))


@triton.jit
def _softplus(x):
    """max(x, 0) + log(1 + q) with q = exp(-|x|), by log(1 + q) = 2 artanh(q / (2 + q)).

    A series, because the logarithm itself would lose small step sizes: 1 + 1e-6 has one digit of them.
    """
    q = tl.exp(-tl.abs(x))
    s = q / (2.0 + q)  # at most 1/3
    w = s * s
    p = w * (2.0 / 15) + 2.0 / 13
    p = p * w + 2.0 / 11
    p = p * w + 2.0 / 9
    p = p * w + 2.0 / 7
    p = p * w + 2.0 / 5
    p = p * w + 2.0 / 3
    p = p * w + 2.0
    return tl.maximum(x, 0.0) + s * p


@triton.jit
def _load(pointer, index, inside):
    """Values in float32, whatever is stored; 0 outside, which adds nothing to any sum here."""
    return tl.load(pointer + index, inside, 0.0).to(tl.float32)


@triton.jit
def _forget(state, reset, row):
    """The state (CHANNELS, N) that position ``row`` continues from: 0 where a sequence starts."""
    if reset is not None:
        state = tl.where(tl.load(reset + row) != 0, 0.0, state)
    return state


@triton.jit
def _advance(state, step, x, B, rate):
    """Equation 2a: h[t] = 2^(s rate) h[t-1] + x B, with rate = A log2(e) and x = s u; also the decay."""
    decay = tl.exp2(step[:, None] * rate)
    return decay * state + x[:, None] * B[None, :], decay


@triton.jit(do_not_specialize=["length"])  # or it would compile anew for some lengths
def forward(
    u, delta, A, B, C, D, z, bias, reset, out, kept,
    length, n_channels, u_row, delta_row, B_row, C_row, z_row,
    N: tl.constexpr, N_PADDED: tl.constexpr, CHANNELS: tl.constexpr, CHUNK: tl.constexpr,
    STAGES: tl.constexpr,
):  # fmt: skip
    """Write out (B, L, E) and, unless it is None, the state before every CHUNK-th position to kept.

    kept (B, ceil(L / CHUNK), E, N) float32; reset (B, L) uint8 or None.
    """
    window = tl.program_id(0).to(tl.int64)
    e = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    n = tl.arange(0, N_PADDED)
    in_e, in_n = e < n_channels, n < N
    tile, in_tile = e[:, None] * N + n[None, :], in_e[:, None] & in_n[None, :]
    rate = _load(A, tile, in_tile) * LOG2_E
    skip, shift = _load(D, e, in_e), _load(bias, e, in_e)
    state = tl.zeros((CHANNELS, N_PADDED), tl.float32)
    n_chunks = tl.cdiv(length, CHUNK)
    for chunk in range(n_chunks):
        if kept is not None:
            tl.store(kept + (window * n_chunks + chunk) * n_channels * N + tile, state, in_tile)
        end = tl.minimum((chunk + 1) * CHUNK, length)
        for t in tl.range(chunk * CHUNK, end, num_stages=STAGES):
            row = window * length + t
            u_t, z_t = _load(u, row * u_row + e, in_e), _load(z, row * z_row + e, in_e)
            B_t, C_t = _load(B, row * B_row + n, in_n), _load(C, row * C_row + n, in_n)
            step = _softplus(_load(delta, row * delta_row + e, in_e) + shift)
            state, _ = _advance(_forget(state, reset, row), step, step * u_t, B_t, rate)
            y = tl.sum(state * C_t[None, :], 1) + skip * u_t
            tl.store(out + row * n_channels + e, y * z_t * _sigmoid(z_t), in_e)


@triton.jit
def _replay(
    u, delta, B, reset, scratch, state, rate, shift, e, n, in_e, in_n, local,
    first_row, n_rows, u_row, delta_row, B_row, STAGES: tl.constexpr,
):  # fmt: skip
    """Repeat a chunk of the forward pass; scratch gets the state that each position continues from."""
    for j in tl.range(n_rows, num_stages=STAGES):
        row = first_row + j
        state = _forget(state, reset, row)
        tl.store(scratch + j * state.numel + local, state)
        step = _softplus(_load(delta, row * delta_row + e, in_e) + shift)
        x = step * _load(u, row * u_row + e, in_e)
        state, _ = _advance(state, step, x, _load(B, row * B_row + n, in_n), rate)


@triton.jit
def _gate_backward(d_out, y, z):
    """Gradients of y and z through out = y silu(z); silu'(z) = s (1 + z (1 - s)), s = sigmoid(z)."""
    s = _sigmoid(z)
    return d_out * z * s, d_out * y * s * (1.0 + z * (1.0 - s))


@triton.jit
def _state_backward(d_state, dy, old, new, decay, step, x, B, C, rate):
    """Through new = decay old + x B and y = C new, decay = exp(s A); d_state comes from the position behind.

    Returns the gradients of old and A (CHANNELS, N), of x and s (CHANNELS,), of B and C (N,).
    """
    d_state += dy[:, None] * C[None, :]
    dC, dB = tl.sum(new * dy[:, None], 0), tl.sum(d_state * x[:, None], 0)
    dx = tl.sum(d_state * B[None, :], 1)
    d_state *= decay
    d_exponent = d_state * old  # 0 behind a reset, where old is 0
    d_step = tl.sum(d_exponent * rate, 1) * LN_2  # rate = A log2(e)
    return d_state, d_exponent * step[:, None], dx, d_step, dB, dC


@triton.jit
def _chunk_backward(
    u, delta, B, C, z, reset, d_out, scratch, du, d_delta, dB, dC, dz,
    d_state, A_sum, D_sum, bias_sum, rate, skip, shift, e, n, in_e, in_n, local,
    first_row, n_rows, n_channels, u_row, delta_row, B_row, C_row, z_row, d_out_row,
    N: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    """Go back through a chunk whose states are in scratch; returns d_state before it, and the sums."""
    for rows_behind in tl.range(n_rows, num_stages=STAGES):
        j = n_rows - 1 - rows_behind
        row = first_row + j
        u_t, z_t = _load(u, row * u_row + e, in_e), _load(z, row * z_row + e, in_e)
        B_t, C_t = _load(B, row * B_row + n, in_n), _load(C, row * C_row + n, in_n)
        raw = _load(delta, row * delta_row + e, in_e) + shift
        step = _softplus(raw)
        old = tl.load(scratch + j * rate.numel + local)
        new, decay = _advance(old, step, step * u_t, B_t, rate)
        y = tl.sum(new * C_t[None, :], 1) + skip * u_t
        dy, dz_t = _gate_backward(_load(d_out, row * d_out_row + e, in_e), y, z_t)
        d_state, dA_t, dx, d_step, dB_t, dC_t = _state_backward(
            d_state, dy, old, new, decay, step, step * u_t, B_t, C_t, rate
        )
        d_raw = (dx * u_t + d_step) * _sigmoid(raw)  # the slope of softplus
        at = row * n_channels + e
        tl.store(dz + at, dz_t, in_e)
        tl.store(du + at, dx * step + dy * skip, in_e)
        tl.store(d_delta + at, d_raw, in_e)
        tl.store(dB + row * N + n, dB_t, in_n)
        tl.store(dC + row * N + n, dC_t, in_n)
        A_sum += dA_t
        D_sum += dy * u_t
        bias_sum += d_raw
        d_state = _forget(d_state, reset, row)
    return d_state, A_sum, D_sum, bias_sum


@triton.jit(do_not_specialize=["length"])
def backward(
    u, delta, A, B, C, D, z, bias, reset, kept, d_out, scratch,
    du, d_delta, dA, dB, dC, dD, dz, d_bias,
    length, n_channels, u_row, delta_row, B_row, C_row, z_row, d_out_row,
    N: tl.constexpr, N_PADDED: tl.constexpr, CHANNELS: tl.constexpr, CHUNK: tl.constexpr,
    STAGES: tl.constexpr,
):  # fmt: skip
    """Gradients from d_out (B, L, E), last position first, states recomputed a chunk at a time.

    du, d_delta, dz (B, L, E) are complete; dB, dC (E / CHANNELS, B, L, N), dA (B, E, N) and dD, d_bias
    (B, E) are parts to be summed over their first axis. scratch: CHUNK tiles for every program.
    """
    window, block = tl.program_id(0).to(tl.int64), tl.program_id(1).to(tl.int64)
    n_windows, n_blocks = tl.num_programs(0), tl.num_programs(1)
    e = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    n = tl.arange(0, N_PADDED)
    in_e, in_n = e < n_channels, n < N
    tile, in_tile = e[:, None] * N + n[None, :], in_e[:, None] & in_n[None, :]
    local = tl.arange(0, CHANNELS)[:, None] * N_PADDED + n[None, :]
    scratch += (window * n_blocks + block) * CHUNK * CHANNELS * N_PADDED
    dB += block * n_windows * length * N
    dC += block * n_windows * length * N
    rate = _load(A, tile, in_tile) * LOG2_E
    skip, shift = _load(D, e, in_e), _load(bias, e, in_e)
    d_state, A_sum = tl.zeros_like(rate), tl.zeros_like(rate)
    D_sum, bias_sum = tl.zeros_like(skip), tl.zeros_like(skip)
    n_chunks = tl.cdiv(length, CHUNK)
    for chunks_behind in range(n_chunks):
        chunk = n_chunks - 1 - chunks_behind
        first_row = window * length + chunk * CHUNK
        n_rows = tl.minimum(CHUNK, length - chunk * CHUNK)
        state = _load(kept, (window * n_chunks + chunk) * n_channels * N + tile, in_tile)
        _replay(
            u, delta, B, reset, scratch, state, rate, shift, e, n, in_e, in_n, local,
            first_row, n_rows, u_row, delta_row, B_row, STAGES,
        )  # fmt: skip
        tl.debug_barrier()  # every thread of the program has written its part of the scratch
        d_state, A_sum, D_sum, bias_sum = _chunk_backward(
            u, delta, B, C, z, reset, d_out, scratch, du, d_delta, dB, dC, dz,
            d_state, A_sum, D_sum, bias_sum, rate, skip, shift, e, n, in_e, in_n, local,
            first_row, n_rows, n_channels, u_row, delta_row, B_row, C_row, z_row, d_out_row,
            N, STAGES,
        )  # fmt: skip
        tl.debug_barrier()  # and has read it before the next chunk overwrites it
    tl.store(dA + window * n_channels * N + tile, A_sum, in_tile)
    tl.store(dD + window * n_channels + e, D_sum, in_e)
    tl.store(d_bias + window * n_channels + e, bias_sum, in_e)
