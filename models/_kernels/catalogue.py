"""Softmax cross-entropy over the whole catalogue and its gradient, compiled for CPUs by numba.

CHUNK targets at a time: a panel of items after the other is multiplied, exponentiated and multiplied
again while it is in the first cache; the probabilities stay in the second until the table's gradient has
read them. Exponents are shifted by a bound on the logits instead of their maximum, which would need a
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
    p = hidden.new_empty(together, n_items, CHUNK)
    scaled = hidden.new_empty(together, CHUNK, width)
    given = (hidden, table, targets, np.float32(largest), np.float32(1 / n_targets))
    written = (gradient, losses, d_hidden, d_table, p, scaled)
    results = (losses, d_hidden, d_table) if gradient else (losses,)
    _cost.launched("_cross_entropy", hidden, table, targets, *results)  # for any number of threads
    if together == 1:
        spread(_every_chunk, 1, *given, *written)
    else:
        for begin in range(0, n_chunks, together):
            now = min(together, n_chunks - begin)
            spread(_probabilities, now, begin, *given, gradient, losses, d_hidden, p, scaled)
            if gradient:
                panels = -(-n_items // PANEL)
                spread(_table_gradient, panels, now, begin, n_targets, d_table, p, scaled)
    return losses.mean(), *((d_hidden, d_table) if gradient else (None, None))


# Compiled from here on.


@njit(**LOOPS)
def _every_chunk(
    first, last, hidden, table, targets, largest, share,
    gradient, losses, d_hidden, d_table, p, scaled,
):  # fmt: skip
    n_targets, panels = len(hidden), -(-p.shape[1] // PANEL)
    for begin in range(-(-n_targets // CHUNK)):
        _probabilities(
            0, 1, begin, hidden, table, targets, largest, share,
            gradient, losses, d_hidden, p, scaled,
        )  # fmt: skip
        if gradient:
            _table_gradient(0, panels, 1, begin, n_targets, d_table, p, scaled)


@njit(**LOOPS)
def _probabilities(
    first, last, begin, hidden, table, targets, largest, share,
    gradient, losses, d_hidden, p, scaled,
):  # fmt: skip
    """Losses and d_hidden of the chunks from ``begin`` on; p (., n, C): softmax minus one-hot, times its mass.

    scaled (., C, D): hidden times share / mass, what p is to be multiplied with.
    """
    width = hidden.shape[1]
    transposed, mass, shift = scratch(width * CHUNK), scratch(CHUNK), scratch(CHUNK)
    for chunk in range(first, last):
        begun = (begin + chunk) * CHUNK
        n = min(CHUNK, len(hidden) - begun)
        transposed[:] = ZERO
        shift[:] = ZERO
        for i in range(n):
            square = ZERO
            for e in range(width):
                square += hidden[begun + i, e] * hidden[begun + i, e]
                transposed[e * CHUNK + i] = hidden[begun + i, e]
            bound = np.float32(math.sqrt(square)) * largest
            if not bound <= SAFE:
                shift[i] = bound - SAFE
        h, g = hidden[begun : begun + n], d_hidden[begun : begun + n]
        _exponentials(transposed, table, gradient, shift, mass, g, p[chunk])
        safe = True
        for i in range(n):
            safe = safe and mass[i] >= LEAST  # false if it is NaN
        if not safe:
            _maxima(transposed, table, shift, p[chunk])
            _exponentials(transposed, table, gradient, shift, mass, g, p[chunk])
        for i in range(n):
            item = targets[begun + i]
            wanted = ZERO
            for e in range(width):
                wanted += h[i, e] * table[item, e]
            losses[begun + i] = shift[i] - wanted + np.float32(math.log(mass[i]))
            p[chunk, item - 1, i] -= mass[i]
            scale = share / mass[i]
            for e in range(width):
                scaled[chunk, i, e] = h[i, e] * scale
                g[i, e] = g[i, e] * scale - share * table[item, e]


@njit(**LOOPS)
def _exponentials(transposed, table, gradient, shift, mass, d_h, p):
    """P (n, C) = exp(logits - shift), mass (C,) its sums, d_h = p' table."""
    width, n = table.shape[1], len(p)
    e, out, d = table.reshape(-1), p.reshape(-1), d_h.reshape(-1)
    zeros = np.zeros(max(CHUNK, width), np.float32)
    factor = scratch(CHUNK)
    for c in range(CHUNK):
        factor[c] = shift[c] * LOG2_E
        mass[c] = ZERO
    d_h[:] = ZERO
    for i in range(0, n, PANEL):
        rows, place = min(PANEL, n - i), (i + 1) * width
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
    width, n = table.shape[1], len(p)
    zeros = np.zeros(CHUNK, np.float32)
    multiply(
        n, CHUNK, width, table.reshape(-1), width, width, 1, transposed, 0, CHUNK,
        zeros, 0, 0, p.reshape(-1), 0, CHUNK,
    )  # fmt: skip
    shift[:] = p[0]
    for j in range(1, n):
        for c in range(CHUNK):
            shift[c] = max(shift[c], p[j, c])


@njit(**LOOPS)
def _table_gradient(first, last, n_chunks, begin, n_targets, d_table, p, scaled):
    """D_table (1 + n, D) += p scaled, of the chunks from ``begin`` on."""
    width, n = d_table.shape[1], p.shape[1]
    a, b, d = p.reshape(-1), scaled.reshape(-1), d_table.reshape(-1)
    i, end = first * PANEL, min(last * PANEL, n)
    for chunk in range(n_chunks):
        depth = min(CHUNK, n_targets - (begin + chunk) * CHUNK)
        place = (i + 1) * width
        multiply(
            end - i, width, depth, a, (chunk * n + i) * CHUNK, CHUNK, 1,
            b, chunk * CHUNK * width, width, d, place, width, d, place, width,
        )  # fmt: skip
