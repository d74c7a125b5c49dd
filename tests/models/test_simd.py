"""Vectors inside compiled functions: accuracy of their functions against float64, sums across lanes."""

import numpy as np
import pytest
from numba import njit

from models import _simd
from models._simd import LANES, VECTORS, add_sums, at_least, at_most, fma, load, splat, store


@njit(**VECTORS)
def exp2(x, out):
    for i in range(0, len(x), LANES):
        store(out, (i,), _simd.exp2_below(load(x, (i,))))


@njit(**VECTORS)
def sigmoid(x, out):
    for i in range(0, len(x), LANES):
        store(out, (i,), _simd.sigmoid(load(x, (i,))))


@njit(**VECTORS)
def softplus(x, out):
    for i in range(0, len(x), LANES):
        store(out, (i,), _simd.softplus(load(x, (i,))))


@njit(**VECTORS)
def slope(x, out):
    for i in range(0, len(x), LANES):
        store(out, (i,), _simd.softplus_and_slope(load(x, (i,)))[1])


EXACT = {
    slope: lambda x: 1 / (1 + np.exp(-x)),
    exp2: np.exp2,
    sigmoid: lambda x: 1 / (1 + np.exp(-x)),
    softplus: lambda x: np.logaddexp(0, x),
}


@pytest.mark.parametrize(
    ("function", "low", "high"),
    [(exp2, -124, 126), (sigmoid, -80, 80), (softplus, -80, 80), (slope, -80, 80)],
)
def test_relative_error_is_a_few_units_in_the_last_place(function, low, high):
    x = np.linspace(low, high, 1000 * LANES, dtype=np.float32)
    out = np.empty_like(x)
    function(x, out)
    error = np.abs(out / EXACT[function](x.astype(np.float64)) - 1)
    rounding = 0 if function is exp2 else 2**-23 * np.abs(x)  # of the exponent x log2(e)
    assert np.all(error < 5e-7 + rounding)


def test_what_is_near_zero_keeps_its_digits():
    """A decay near one must not be off by the same rounding error at every position."""
    x, out = np.full(LANES, -1e-4, np.float32), np.empty(LANES, np.float32)
    exp2(x, out)
    assert np.all(np.abs(out - np.exp2(np.float64(x))) < 2**-24)


@pytest.mark.parametrize("function", EXACT)
def test_extremes_are_finite_and_nan_stays(function):
    x = np.array([-np.inf, -1e30, -200, 0, np.nan, -np.nan] + 10 * [1], np.float32)
    out = np.empty_like(x)
    function(x, out)
    assert np.isnan(out).tolist() == np.isnan(x).tolist()
    assert np.all(np.abs(out[:3]) < 1e-37)


@njit(**VECTORS)
def sums(x, out):
    add_sums(out, (0, 0), (load(x, (0, 0)),))
    add_sums(out, (1, 1), (load(x, (0, 0)), load(x, (1, 0)), load(x, (2, 0)), load(x, (3, 0))))


def test_sums_across_lanes_go_to_neighbouring_places():
    x = np.arange(4 * LANES, dtype=np.float32).reshape(4, LANES)
    out = np.ones((2, 6), np.float32)
    sums(x, out)
    expected = np.ones((2, 6))
    expected[0, 0] += x[0].sum()
    expected[1, 1:5] += x.sum(1)
    assert np.array_equal(out, expected)


@njit(**VECTORS)
def arithmetic(x, out):
    a, b = load(x, (0, 0)), load(x, (1, 0))
    store(out, (0, 0), (a + b) * a - b / a)
    store(out, (1, 0), at_most(splat(np.float32(3)), at_least(splat(np.float32(2)), fma(a, b, a))))


def test_operators_work_lane_by_lane():
    x = np.random.default_rng(0).uniform(1, 2, (2, LANES)).astype(np.float32)
    out = np.empty_like(x)
    arithmetic(x, out)
    a, b = x.astype(np.float64)
    np.testing.assert_allclose(out[0], (a + b) * a - b / a, rtol=1e-6)
    np.testing.assert_allclose(out[1], np.clip(a * b + a, 2, 3), rtol=1e-6)
