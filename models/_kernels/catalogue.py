"""Softmax cross-entropy over the whole catalogue and its gradient, compiled for CPUs by numba.

CHUNK targets at a time: a panel of items after the other is multiplied, exponentiated and multiplied
again while it is in the first cache; the probabilities stay in the second until the table's gradient has
read them. Of a large catalogue a block of items is kept at a time, and its exponentials are formed again
once their sums are known. Exponents are shifted by a bound on the logits instead of their maximum, which would need a
pass of its own; where that leaves too little of a sum, the maximum is found after all.

Letters: T targets, n items, D width, C targets of a chunk.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numba import njit
from torch import Tensor

from models import _cost
from models._compiled import LOG2_E, LOOPS, ZERO, exp2, spread
from models._tiles import multiply, scratch

CHUNK = 64  # targets: the probabilities of 4,000 items fit into 1 MiB
PANEL = 96  # items
KEPT = 256 * PANEL  # items whose probabilities are kept at once: 6 MiB for each thread
SAFE = np.float32(64)  # exponentials up to exp(64) can be added up a million times
LEAST = np.float32(1e-20)  # of a sum: what exp2 rounds up to 2**-126 is lost in it


def cross_entropy(
    hidden: Tensor, table: Tensor, targets: Tensor, gradient: bool
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """See models._kernels.cross_entropy."""
    n_targets, width = hidden.shape
    n_items, n_chunks = len(table) - 1, -(-n_targets // CHUNK)
    hidden, table = hidden.detach().contiguous(), table.detach().contiguous()
    largest = float(torch.linalg.vector_norm(table[1:], dim=1).amax())
    losses = hidden.new_empty(n_targets)
    d_hidden, d_table = torch.empty_like(hidden), torch.zeros_like(table)
    together = min(torch.get_num_threads(), n_chunks)  # chunks, one for each thread
    p, scaled, sums = (hidden.new_empty(s) for s in workspace(n_items, width, together))
    given = (hidden, table, targets, np.float32(largest), np.float32(1 / n_targets))
    results = (losses, d_hidden, d_table) if gradient else (losses,)
    _cost.launched("_cross_entropy", hidden, table, targets, *results)  # for any number of threads
    if together == 1:
        written = (gradient, losses, d_hidden, d_table, p, scaled, sums)
        spread(_every_chunk, 1, *given, *written)
        n_chunks = 0
    for begin in range(0, n_chunks, together):
        now = min(together, n_chunks - begin)
        spread(_probabilities, now, begin, *given, gradient, losses, d_hidden, p, scaled, sums)
        for item in range(0, n_items if gradient else 0, p.shape[1]):
            if n_items > p.shape[1]:
                spread(_again, now, begin, item, hidden, table, targets, p, sums)
            panels = -(-min(p.shape[1], n_items - item) // PANEL)
            spread(_table_gradient, panels, now, begin, item, n_targets, d_table, p, scaled)
    return losses.mean(), *((d_hidden, d_table) if gradient else (None, None))


def workspace(n_items: int, width: int, together: int) -> tuple[tuple[int, ...], ...]:
    """Shapes of what is kept of chunks computed together: probabilities, scaled hidden states, shifts and sums."""
    return (
        (together, min(n_items, KEPT), CHUNK),
        (together, CHUNK, width),
        (together, 2, CHUNK),
    )


# Compiled from here on.


@njit(**LOOPS)
def _every_chunk(
    first, last, hidden, table, targets, largest, share,
    gradient, losses, d_hidden, d_table, p, scaled, sums,
):  # fmt: skip
    n_targets, n, kept = len(hidden), len(table) - 1, p.shape[1]
    for begin in range(-(-n_targets // CHUNK)):
        _probabilities(
            0, 1, begin, hidden, table, targets, largest, share,
            gradient, losses, d_hidden, p, scaled, sums,
        )  # fmt: skip
        for item in range(0, n if gradient else 0, kept):
            if n > kept:
                _again(0, 1, begin, item, hidden, table, targets, p, sums)
            panels = -(-min(kept, n - item) // PANEL)
            _table_gradient(0, panels, 1, begin, item, n_targets, d_table, p, scaled)


@njit(**LOOPS)
def _probabilities(
    first, last, begin, hidden, table, targets, largest, share,
    gradient, losses, d_hidden, p, scaled, sums,
):  # fmt: skip
    """Losses and d_hidden of the chunks from ``begin`` on; p (., n, C): softmax minus one-hot, times its mass.

    scaled (., C, D): hidden times share / mass, what p is to be multiplied with. sums (., 2, C): the shifts
    of exponents and the masses. Where p holds less than n items, ``_again`` fills it.
    """
    width = hidden.shape[1]
    transposed = scratch(width * CHUNK)
    for chunk in range(first, last):
        begun = (begin + chunk) * CHUNK
        n = min(CHUNK, len(hidden) - begun)
        shift, mass = sums[chunk, 0], sums[chunk, 1]
        _transposed(hidden, begun, n, transposed)
        shift[:] = ZERO
        for i in range(n):
            square = ZERO
            for e in range(width):
                square += hidden[begun + i, e] * hidden[begun + i, e]
            bound = np.float32(math.sqrt(square)) * largest
            if not bound <= SAFE:
                shift[i] = bound - SAFE
        h, g = hidden[begun : begun + n], d_hidden[begun : begun + n]
        _sums(transposed, table, gradient, shift, mass, g, p[chunk])
        safe = True
        for i in range(n):
            safe = safe and mass[i] >= LEAST  # false if it is NaN
        if not safe:
            _maxima(transposed, table, shift, p[chunk])
            _sums(transposed, table, gradient, shift, mass, g, p[chunk])
        for i in range(n):
            item = targets[begun + i]
            wanted = ZERO
            for e in range(width):
                wanted += h[i, e] * table[item, e]
            losses[begun + i] = shift[i] - wanted + np.float32(math.log(mass[i]))
            if p.shape[1] == len(table) - 1:
                p[chunk, item - 1, i] -= mass[i]
            scale = share / mass[i]
            for e in range(width):
                scaled[chunk, i, e] = h[i, e] * scale
                g[i, e] = g[i, e] * scale - share * table[item, e]


@njit(**LOOPS)
def _again(first, last, begin, item, hidden, table, targets, p, sums):
    """P of the items from 1 + ``item`` on, as ``_probabilities`` would leave it."""
    transposed, mass = scratch(hidden.shape[1] * CHUNK), scratch(CHUNK)
    for chunk in range(first, last):
        begun = (begin + chunk) * CHUNK
        n = min(CHUNK, len(hidden) - begun)
        kept = min(p.shape[1], len(table) - 1 - item)
        _transposed(hidden, begun, n, transposed)
        block = p[chunk, :kept]
        _exponentials(transposed, table, item, item < 0, sums[chunk, 0], mass, hidden[:0], block)
        for i in range(n):
            place = targets[begun + i] - 1 - item
            if 0 <= place < kept:
                block[place, i] -= sums[chunk, 1, i]


@njit(**LOOPS)
def _transposed(hidden, begun, n, out):
    """Out (D, C) = n rows of hidden from ``begun`` on, transposed; 0 behind them."""
    out[:] = ZERO
    for i in range(n):
        for e in range(hidden.shape[1]):
            out[e * CHUNK + i] = hidden[begun + i, e]


@njit(**LOOPS)
def _sums(transposed, table, gradient, shift, mass, d_h, p):
    """Mass (C,) = sums of exp(logits - shift) over all items, d_h = those times the table; p: of the last ones."""
    n, kept = len(table) - 1, len(p)
    mass[:] = ZERO
    d_h[:] = ZERO
    for item in range(0, n, kept):
        block = p[: min(kept, n - item)]
        _exponentials(transposed, table, item, gradient, shift, mass, d_h, block)


@njit(**LOOPS)
def _exponentials(transposed, table, item, gradient, shift, mass, d_h, p):
    """P (n, C) = exp(logits - shift) of n items from 1 + ``item`` on, mass (C,) += its sums, d_h += p' table."""
    width, n = table.shape[1], len(p)
    e, out, d = table.reshape(-1), p.reshape(-1), d_h.reshape(-1)
    zeros = np.zeros(max(CHUNK, width), np.float32)
    factor = scratch(CHUNK)
    for c in range(CHUNK):
        factor[c] = shift[c] * LOG2_E
    for i in range(0, n, PANEL):
        rows, place = min(PANEL, n - i), (item + i + 1) * width
        multiply(
            rows, CHUNK, width, e, place, width, 1, transposed, 0, CHUNK,
            zeros, 0, 0, out, i * CHUNK, CHUNK,
        )  # fmt: skip
        for j in range(i, i + rows):
            row = p[j]
            for c in range(CHUNK):
                power = exp2(row[c] * LOG2_E - factor[c])
                row[c] = power
                mass[c] += power
        if gradient:
            multiply(
                len(d_h), width, rows, out, i * CHUNK, 1, CHUNK, e, place, width,
                d, 0, width, d, 0, width,
            )  # fmt: skip


@njit(**LOOPS)
def _maxima(transposed, table, shift, p):
    """Shift (C,) = the largest logits."""
    width, n, kept = table.shape[1], len(table) - 1, len(p)
    zeros = np.zeros(CHUNK, np.float32)
    shift[:] = -np.inf
    for item in range(0, n, kept):
        rows = min(kept, n - item)
        multiply(
            rows, CHUNK, width, table.reshape(-1), (item + 1) * width, width, 1,
            transposed, 0, CHUNK, zeros, 0, 0, p.reshape(-1), 0, CHUNK,
        )  # fmt: skip
        for j in range(rows):
            for c in range(CHUNK):
                shift[c] = max(shift[c], p[j, c])


@njit(**LOOPS)
def _table_gradient(first, last, n_chunks, begin, item, n_targets, d_table, p, scaled):
    """D_table (1 + n, D) += p scaled, of the chunks from ``begin`` and the items from 1 + ``item`` on."""
    width, n = d_table.shape[1], p.shape[1]
    a, b, d = p.reshape(-1), scaled.reshape(-1), d_table.reshape(-1)
    i, end = first * PANEL, min(last * PANEL, n, len(d_table) - 1 - item)
    for chunk in range(n_chunks):
        depth = min(CHUNK, n_targets - (begin + chunk) * CHUNK)
        place = (item + i + 1) * width
        multiply(
            end - i, width, depth, a, (chunk * n + i) * CHUNK, CHUNK, 1,
            b, chunk * CHUNK * width, width, d, place, width, d, place, width,
        )  # fmt: skip
