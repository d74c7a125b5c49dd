"""How a cost grows: the curve t = a + b x^c through measured points, and where two curves cross.

Letters: P points x (a length, a batch size, a catalogue size), R rounds (fresh processes), S samples of a round, B resamples.

Medians of points are resampled in two steps: rounds with replacement, then samples within each. Rounds are drawn once for
all models of a curve, because round r of every model ran at about the same time: what slows the machine down for a while
slows them all down, and a difference between models need not carry it. Three rounds have ten different resamples, so an
interval from them is coarse; it does not hold what changes from day to day.

The exponent c of a curve with a free offset a is sharp only if the points reach far beyond the offset; the slope at the
long end, which assumes no curve, says what the growth has become there; where it lies above c the curve does not fit.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np

from .resampling import TAIL

RESAMPLES = 1000
FEWEST_POINTS = 4  # three parameters, and one point that can disagree
LOWEST, HIGHEST = 0.1, 4.0  # exponents
STEPS = (0.2, 0.02, 0.002)  # of the search for the exponent, each around the best of the one before
END_POINTS = 3  # of the long end, for its slope; two are the fewest that have one
NEAR = 4.0  # times one point's x, within which the next must lie for a crossing between them to be read off
BEYOND = 4.0  # times the largest x, up to which a crossing is extrapolated


@dataclass(frozen=True)
class Fit:
    """Parameters (B,) of a curve a + b (x / x_max)^c, a >= 0, b >= 0, and relative residuals (B, P)."""

    a: np.ndarray
    b: np.ndarray
    c: np.ndarray
    residuals: np.ndarray
    x_max: float

    def at(self, x: np.ndarray) -> np.ndarray:
        """Values (B, len(x)) of the curves."""
        power = (np.asarray(x) / self.x_max) ** self.c[:, None]
        return self.a[:, None] + self.b[:, None] * power


def fit_power(x: np.ndarray, t: np.ndarray) -> Fit:
    """Least squares on relative errors for every row of t (B, P), positive, over the points x (P,).

    For a given c the best a and b solve a linear problem; c is searched on ever finer grids. Rows that are all equal are fitted once.

    Raises:
        ValueError: fewer than FEWEST_POINTS different x.
    """
    x, t = np.asarray(x, dtype=float), np.atleast_2d(np.asarray(t, dtype=float))
    if len(set(x)) < FEWEST_POINTS:
        raise ValueError(f"a curve with an offset needs {FEWEST_POINTS} points, got {len(set(x))}")
    n_rows = len(t)
    t = t[:1] if (t == t[0]).all() else t  # of what is counted
    grids, own = np.arange(LOWEST, HIGHEST + 1e-9, STEPS[0])[None], np.zeros(len(t), dtype=int)
    a, b, c = _best(x, t, grids, own)
    for wide, step in pairwise(STEPS):
        middles, own = np.unique(c, return_inverse=True)
        grids = middles[:, None] + np.arange(-wide, wide + 1e-9, step)
        a, b, c = _best(x, t, np.clip(grids, LOWEST, HIGHEST), own)
    fit = Fit(a, b, c, np.zeros_like(t), float(x.max()))
    found = (np.resize(v, (n_rows, *v.shape[1:])) for v in (a, b, c, fit.at(x) / t - 1))
    return Fit(*found, fit.x_max)


def _best(x: np.ndarray, t: np.ndarray, grids: np.ndarray, own: np.ndarray) -> tuple[np.ndarray, ...]:  # fmt: skip
    """a, b and the best exponent for each row, from the one of the grids (G, K) that is its own (B,)."""
    powers = (x / x.max())[:, None, None] ** grids
    p = 1 / t.T[:, :, None]
    q = p * powers[:, own]  # (P, B, K)
    pp, pq, qq = (p * p).sum(0), (p * q).sum(0), (q * q).sum(0)
    p1, q1 = p.sum(0), q.sum(0)
    determinant = np.maximum(pp * qq - pq * pq, 1e-300)
    a, b = (qq * p1 - pq * q1) / determinant, (pp * q1 - pq * p1) / determinant
    a, b = np.where(b < 0, p1 / pp, a), np.maximum(b, 0)
    a, b = np.maximum(a, 0), np.where(a < 0, q1 / qq, b)
    loss = ((a * p + b * q - 1) ** 2).sum(0)
    rows, best = np.arange(len(t)), loss.argmin(1)
    return a[rows, best], b[rows, best], grids[own, best]


@dataclass(frozen=True)
class Curve:
    """What a model costs: samples (R, S) or (R,) by x, and their resampled medians (B, P) by rising x."""

    samples: Mapping[float, np.ndarray]
    resampled: np.ndarray

    @cached_property
    def x(self) -> np.ndarray:
        """Points (P,), rising."""
        return np.array(sorted(self.samples), dtype=float)

    @cached_property
    def medians(self) -> np.ndarray:
        """Medians (1, P) of the points themselves."""
        return np.array([[np.median(self.samples[x]) for x in self.x]])

    @cached_property
    def fits(self) -> tuple[Fit, Fit]:
        """Fit of the medians, and fits of the resampled ones."""
        return fit_power(self.x, self.medians), fit_power(self.x, self.resampled)

    def at(self, points: Collection[float]) -> Curve:
        """The part at some of its points."""
        if len(points) == len(self.samples):
            return self
        part = {x: self.samples[x] for x in points}
        return Curve(part, self.resampled[:, np.isin(self.x, list(points))])


def end_slope(x: np.ndarray, t: np.ndarray) -> np.ndarray:
    """Slope (B,) of log t against log x over the last END_POINTS points, or both of two: t (B, P), x (P,) rising."""
    lx, lt = np.log(x[-END_POINTS:]), np.log(t[:, -END_POINTS:])
    lx = lx - lx.mean()
    return (lt * lx).sum(1) / (lx * lx).sum()


def resampled_medians(points: Mapping[str, Mapping[float, np.ndarray]], seed: int = 0, n_resamples: int = RESAMPLES) -> dict[str, np.ndarray]:  # fmt: skip
    """Medians (B, P) by model of resampled points; points: model -> x -> samples (R, S) or (R,).

    All models share the draw of rounds at an x if they have equally many.
    """
    rng = np.random.default_rng(seed)
    columns: dict[str, list[np.ndarray]] = {model: [] for model in points}
    for x in sorted({x for curve in points.values() for x in curve}):
        draws: dict[int, np.ndarray] = {}
        for model, curve in points.items():
            if x not in curve:
                continue
            samples = np.asarray(curve[x], dtype=float).reshape(len(curve[x]), -1)
            rounds, steps = samples.shape
            if rounds not in draws:
                draws[rounds] = rng.integers(0, rounds, (n_resamples, rounds))
            inner = rng.integers(0, steps, (n_resamples, rounds, steps))
            chosen = samples[draws[rounds][:, :, None], inner].reshape(n_resamples, -1)
            columns[model].append(np.median(chosen, axis=1))
    return {model: np.stack(values, axis=1) for model, values in columns.items()}


def crossing(x: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Where two measured curves (B, P) cross for the last time: (B,), NaN where they do not.

    Between neighbouring points both are straight in the logarithms; no curve is assumed. Beyond the last
    crossing the order of the two holds up to the largest x.
    """
    lx, d = np.log(x), np.log(first) - np.log(second)
    side = np.sign(d)
    # Where they are equal, they are still on the side they come from.
    for k in range(1, d.shape[1]):
        side[:, k] = np.where(side[:, k] == 0, side[:, k - 1], side[:, k])
    changes = side[:, :-1] * side[:, 1:] < 0
    last = d.shape[1] - 2 - changes[:, ::-1].argmax(1)
    rows = np.arange(len(d))
    before, after = d[rows, last], d[rows, last + 1]
    gap = np.where(changes.any(1), before - after, np.nan)
    return np.exp(lx[last] + (lx[last + 1] - lx[last]) * before / gap)


def around(x: np.ndarray, at: float) -> tuple[float, float]:
    """The neighbours among the points x (P,), rising, between which ``at`` lies."""
    k = int(np.clip(np.searchsorted(x, at), 1, len(x) - 1))
    return float(x[k - 1]), float(x[k])


def extrapolated_crossing(first: Fit, second: Fit) -> np.ndarray:
    """Where two fitted curves cross beyond the largest x, up to BEYOND times it: (B,), NaN where they do not."""
    x = first.x_max * np.geomspace(1, BEYOND, 65)
    return crossing(x, first.at(x), second.at(x))


def interval(resamples: np.ndarray) -> tuple[float, float]:
    """Central 95 % of resamples (B,), NaN left out."""
    low, high = np.nanquantile(resamples, [TAIL, 1 - TAIL])
    return float(low), float(high)
