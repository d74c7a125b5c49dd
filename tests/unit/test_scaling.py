"""Fits, slopes and crossings with known answers."""

import numpy as np
import pytest

from seqbench.analysis import scaling

X = np.array([50, 100, 200, 512, 1024, 2048, 4096, 8192], dtype=float)


def samples(t, rng, noise=0.05, rounds=3, steps=10):
    """Points of a curve: a factor per round, shared by its steps, and one per step."""
    common = rng.normal(0, noise, (len(t), rounds, 1))
    own = rng.normal(0, noise, (len(t), rounds, steps))
    return {x: m * np.exp(c + o) for x, m, c, o in zip(X, t, common, own, strict=True)}


@pytest.mark.parametrize(
    ("a", "b", "c"), [(0.0, 2e-4, 1.0), (0.3, 1e-6, 1.5), (0.01, 1e-8, 2.0), (5.0, 1e-3, 1.2)]
)
def test_a_curve_without_noise_is_recovered(a, b, c):
    fit = scaling.fit_power(X, a + b * X**c)
    assert fit.c[0] == pytest.approx(c, abs=0.002)
    assert fit.a[0] == pytest.approx(a, rel=0.02, abs=1e-3 * b * X[0] ** c)
    assert fit.b[0] * fit.x_max ** -fit.c[0] == pytest.approx(b, rel=0.02)
    assert np.abs(fit.residuals).max() < 1e-2


def test_parameters_never_become_negative():
    """A straight line in the logarithms that falls, and one whose best offset would be below zero."""
    for t in (X**-0.5, np.maximum(X - 45, 1.0)):
        fit = scaling.fit_power(X, t)
        assert fit.a[0] >= 0 and fit.b[0] >= 0


def test_residuals_say_what_a_curve_cannot_follow():
    t = 1e-3 * X
    t[3] *= 1.5
    residuals = scaling.fit_power(X, t).residuals[0]
    assert np.abs(residuals).argmax() == 3 and residuals[3] < -0.2


def test_fewer_than_four_points_are_no_curve():
    with pytest.raises(ValueError, match="needs 4 points, got 3"):
        scaling.fit_power(X[:3], X[:3])


def test_the_slope_at_the_end_is_that_of_a_power():
    assert scaling.end_slope(X, np.stack([3 * X**1.7, 100 + 0 * X])) == pytest.approx([1.7, 0.0])


def test_intervals_of_the_exponent_cover_it():
    """Twenty rounds: with many the percentiles must come near 95 %; three rounds are known to be coarse."""
    truth, hits, trials = 1.3, 0, 60
    for trial in range(trials):
        rng = np.random.default_rng(trial)
        points = {"m": samples(0.05 + 1e-5 * X**truth, rng, noise=0.03, rounds=20, steps=2)}
        resampled = scaling.resampled_medians(points, seed=trial, n_resamples=200)["m"]
        low, high = scaling.interval(scaling.fit_power(X, resampled).c)
        hits += low <= truth <= high
    assert 0.85 * trials <= hits


def test_medians_of_resamples_lie_around_the_medians():
    rng = np.random.default_rng(0)
    curve = samples(1e-3 * X, rng)
    resampled = scaling.resampled_medians({"m": curve})["m"]
    assert resampled.shape == (scaling.RESAMPLES, len(X))
    own = scaling.Curve(curve, resampled).medians[0]
    assert (resampled.min(0) <= own).all() and (own <= resampled.max(0)).all()


def test_models_share_the_draw_of_rounds():
    """A round that was slow for both leaves their ratio alone."""
    slow = np.array([1.0, 1.0, 7.0])[:, None] * np.ones((3, 4))
    points = {"a": {1.0: slow, 2.0: slow}, "b": {1.0: 2 * slow, 2.0: 2 * slow}}
    resampled = scaling.resampled_medians(points)
    assert np.array_equal(2 * resampled["a"], resampled["b"])
    assert len(np.unique(resampled["a"])) > 1


def test_points_that_a_model_lacks_are_left_out_for_it_alone():
    points = {"a": {1.0: np.ones((3, 2)), 2.0: np.ones((3, 2))}, "b": {2.0: np.ones((2, 2))}}
    resampled = scaling.resampled_medians(points, n_resamples=5)
    assert resampled["a"].shape == (5, 2) and resampled["b"].shape == (5, 1)


def test_a_crossing_is_found_where_it_is():
    at = scaling.crossing(X, np.array([1e-3 * X]), np.array([1e-6 * X**2]))
    assert at == pytest.approx(1000.0)


def test_of_several_crossings_the_last_one_counts():
    first = np.ones((1, 8))
    second = np.array([[2.0, 0.5, 2.0, 2.0, 0.5, 0.5, 0.5, 0.5]])
    assert 512 < scaling.crossing(X, first, second)[0] < 1024


def test_curves_that_only_touch_or_never_meet_do_not_cross():
    one = np.ones((2, 8))
    other = np.array([[2, 2, 2, 1, 2, 2, 2, 2], [2] * 8], dtype=float)
    assert np.isnan(scaling.crossing(X, one, other)).all()


def test_a_crossing_beyond_the_points_comes_from_the_curves():
    slow, fast = scaling.fit_power(X, 1e-3 * X), scaling.fit_power(X, X**1.5 * 1e-3 / 20000**0.5)
    assert scaling.extrapolated_crossing(slow, fast)[0] == pytest.approx(20000, rel=0.02)
    far = scaling.fit_power(X, X**1.5 * 1e-3 / 1e5**0.5)
    assert np.isnan(scaling.extrapolated_crossing(slow, far)[0])


def test_a_crossing_on_a_point_is_found_there():
    x = np.array([1.0, 2.0, 4.0])
    assert scaling.crossing(x, np.array([[1.0, 2.0, 4.0]]), np.full((1, 3), 2.0)) == pytest.approx(
        2.0
    )
