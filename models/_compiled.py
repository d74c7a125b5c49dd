"""What the kernels compiled by numba share: functions that vectorise, random bits, threads.

All in float32; what is kept as bfloat16 is read by ``number`` and written by ``put``. ``exp2`` and its
relatives are polynomials and bit operations because a call into the C library would keep a loop scalar.
Where compiled code is kept: _cache.py.
"""

from __future__ import annotations

import functools
import math
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np
import torch
from numba import njit, types
from numba.core import event
from numba.extending import overload
from torch import Tensor

from models import _cache, _cost

LOG2_E = np.float32(math.log2(math.e))
LN_2 = np.float32(math.log(2.0))
ZERO, HALF, ONE, TWO = np.float32(0), np.float32(0.5), np.float32(1), np.float32(2)
MIN_EXPONENT, MAX_EXPONENT = np.float32(-126), np.float32(126)  # of normal float32 numbers
LOWEST = np.int32(np.iinfo(np.int32).min)
MANTISSA_AND_EXPONENT = np.int32(np.iinfo(np.int32).max)
LOWEST_16 = np.int16(np.iinfo(np.int16).min)
MANTISSA_AND_EXPONENT_16 = np.int16(np.iinfo(np.int16).max)

COMPILING = event.TimingListener()
event.register("numba:compile", COMPILING)

_cache.share()

LOOPS = {
    "fastmath": {"contract", "reassoc", "nsz"},
    "error_model": "numpy",  # no test for division by zero, which would keep loops scalar
    "boundscheck": False,
    "nogil": True,
    "cache": True,
}


def call(kernel, n_units: int, *tensors: Tensor | float) -> None:
    """Run ``kernel(first, last, *arrays)`` over ``n_units`` on as many threads as PyTorch would use.

    Each unit must write places of its own, so that results do not depend on the number of threads.
    """
    _cost.launched(kernel.__name__, *tensors)
    spread(kernel, n_units, *tensors)


def spread(kernel, n_units: int, *tensors: Tensor | float) -> None:
    """``call`` of a part of what was reported as launched."""
    arrays = [_array(t) if isinstance(t, Tensor) else t for t in tensors]
    n_threads = min(torch.get_num_threads(), n_units)
    if n_threads <= 1:
        kernel(0, n_units, *arrays)
        return
    borders = [n_units * i // n_threads for i in range(n_threads + 1)]
    jobs = [_threads(n_threads).submit(kernel, *span, *arrays) for span in pairwise(borders)]
    for job in jobs:
        job.result()


def _array(tensor: Tensor) -> np.ndarray:
    """The tensor's memory; numpy has no bfloat16 and sees its bits."""
    tensor = tensor.detach() if tensor.requires_grad else tensor
    return (tensor.view(torch.uint16) if tensor.dtype == torch.bfloat16 else tensor).numpy()


@functools.cache
def _threads(n_threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(n_threads, thread_name_prefix="models-kernel")


def _power_of_two_polynomial() -> list[np.float32]:
    """Coefficients of a polynomial for 2**r on [-1/2, 1/2], relative error below 5e-9."""
    series = np.polynomial.Chebyshev.interpolate(np.exp2, 6, domain=[-0.5, 0.5])
    return [np.float32(c) for c in series.convert(kind=np.polynomial.Polynomial).coef]


P0, P1, P2, P3, P4, P5, P6 = _power_of_two_polynomial()


def number(element):
    """An element of an array of float32, or of one of bfloat16 bits, as float32: compiled code only."""
    raise NotImplementedError


def largest(row, n):
    """Maximum of row[:n] as float32, NaN if one is there with its sign bit clear.

    Compared as integers in the order of the floats: LLVM does not vectorise a float maximum that
    must mind NaN.
    """
    raise NotImplementedError


def put(row, e, value):
    """Write row[e] = value (float32), rounded to nearest, ties to even, if the row holds bfloat16 bits."""
    raise NotImplementedError


# Compiled from here on. What is overloaded, and a function that passes a row on to it, is left to LLVM to
# inline: numba's own inlining counts references to the row in the loop, which keeps it scalar.


@overload(number)
def _number(element):
    if isinstance(element, types.Integer):
        return lambda element: np.uint32(np.uint32(element) << np.uint32(16)).view(np.float32)
    return lambda element: element


@overload(put)
def _put(row, e, value):
    if isinstance(row.dtype, types.Integer):
        return _put_rounded

    def put_as_it_is(row, e, value):
        row[e] = value

    return put_as_it_is


def _put_rounded(row, e, value):
    bits = np.float32(value).view(np.uint32)
    odd = np.uint32(np.uint32(bits >> np.uint32(16)) & np.uint32(1))
    row[e] = np.uint16(np.uint32(bits + np.uint32(0x7FFF) + odd) >> np.uint32(16))


@njit(inline="always")
def exp2(v):
    """Two to the power v: the polynomial for the fraction, the exponent bits for the integer part."""
    v = MIN_EXPONENT if v < MIN_EXPONENT else v
    v = MAX_EXPONENT if v > MAX_EXPONENT else v  # written so that NaN stays NaN
    whole = np.rint(v)
    r = v - whole
    p = ((((((P6 * r + P5) * r + P4) * r + P3) * r + P2) * r + P1) * r) + P0
    bits = np.int32((np.int32(whole) + np.int32(127)) << np.int32(23))
    return p * bits.view(np.float32)


@njit(inline="always")
def sigmoid(x):
    """1 / (1 + exp(-x))."""
    return ONE / (ONE + exp2(-LOG2_E * x))


@njit(inline="always")
def softplus(x):
    """max(x, 0) + log(1 + q) with q = exp(-|x|), by log(1 + q) = 2 artanh(q / (2 + q))."""
    q = exp2(-LOG2_E * abs(x))
    s = q / (TWO + q)  # at most 1/3
    w = s * s
    p = np.float32(2 / 15)
    p = p * w + np.float32(2 / 13)
    p = p * w + np.float32(2 / 11)
    p = p * w + np.float32(2 / 9)
    p = p * w + np.float32(2 / 7)
    p = p * w + np.float32(2 / 5)
    p = p * w + np.float32(2 / 3)
    p = p * w + TWO
    return max(x, ZERO) + s * p


@njit(inline="always")
def normal_cdf(x):
    """Phi(x) and exp(-x*x/2): Abramowitz and Stegun 7.1.26, absolute error below 2e-7."""
    t = abs(x) * np.float32(math.sqrt(0.5))
    density = exp2(-t * t * LOG2_E)
    k = ONE / (ONE + np.float32(0.3275911) * t)
    p = np.float32(1.061405429) * k - np.float32(1.453152027)
    p = p * k + np.float32(1.421413741)
    p = p * k - np.float32(0.284496736)
    p = (p * k + np.float32(0.254829592)) * k
    tail = HALF * p * density
    return (ONE - tail if x >= ZERO else tail), density


@njit(inline="always")
def _ordered(bits):
    """Float bits as an integer that sorts like the float; its own inverse."""
    return np.int32(bits ^ ((bits >> np.int32(31)) & MANTISSA_AND_EXPONENT))


@njit(inline="always")
def _ordered_16(bits):
    """``_ordered`` for bfloat16."""
    return np.int16(bits ^ np.int16(np.int16(bits >> np.int16(15)) & MANTISSA_AND_EXPONENT_16))


@overload(largest)
def _largest(row, n):
    return _largest_half if isinstance(row.dtype, types.Integer) else _largest_float


def _largest_float(row, n):
    bits = row.view(np.int32)
    top = LOWEST
    for j in range(n):
        top = max(top, _ordered(bits[j]))
    return np.int32(_ordered(top)).view(np.float32)


def _largest_half(row, n):
    bits = row.view(np.int16)
    top = LOWEST_16
    for j in range(n):
        top = max(top, _ordered_16(bits[j]))
    return number(np.uint16(_ordered_16(top)))


@njit(inline="always")
def random_bits(index, seed_0, seed_1):
    """32 random bits for an element, from its index and two seeds: multiply and shift, as in lowbias32.

    A counter instead of a state, so that any element can be drawn again in the backward pass, in
    any order and on any thread.
    """
    x = np.uint32(np.uint32(index) + seed_0)
    x = np.uint32(x ^ (x >> np.uint32(16)))
    x = np.uint32(x * np.uint32(0x7FEB352D))
    x = np.uint32(x ^ (x >> np.uint32(15)) ^ seed_1)
    x = np.uint32(x * np.uint32(0x846CA68B))
    return np.uint32(x ^ (x >> np.uint32(16)))
