"""Statistics: known answers, and coverage of the intervals by simulation."""

import time

import numpy as np
import pytest

from seqbench import stats


def test_spread_of_known_samples():
    result = stats.spread(np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]))
    assert result == stats.Spread(median=3.5, iqr=2.5, q25=2.25, q75=4.75, n=6)


def test_spread_keeps_nan_visible_and_refuses_no_samples():
    assert np.isnan(stats.spread(np.array([1.0, np.nan])).median)
    with pytest.raises(ValueError, match="no samples"):
        stats.spread(np.array([]))


def test_seed_means_of_known_tables():
    means = stats.seed_means([np.array([[1.0], [2.0]]), np.array([[3.0], [4.0]])])
    assert means.users.ravel().tolist() == [2.0, 3.0]
    assert means.mean[0] == 2.5
    assert means.std[0] == pytest.approx(np.sqrt(2))  # of 1.5 and 3.5
    assert means.seed_error[0] == pytest.approx(1.0)  # no interaction: all of it is the training's


def test_one_seed_has_no_spread():
    means = stats.seed_means([np.array([[1.0], [2.0]])])
    assert np.isnan(means.std[0])
    assert means.seed_error[0] == 0


def test_bootstrap_error_equals_the_textbook_error_of_a_mean():
    values = np.random.default_rng(3).exponential(size=(1000, 1))
    draws = stats.resampled_user_means(values, np.random.default_rng(0), 4000)
    assert draws.std() == pytest.approx(values.std() / np.sqrt(1000), rel=0.05)
    assert draws.mean() == pytest.approx(values.mean(), abs=0.005)


def test_resamples_do_not_depend_on_the_chunk(monkeypatch):
    values = np.random.default_rng(3).random((50, 2))
    whole = stats.resampled_user_means(values, np.random.default_rng(0), 30)
    monkeypatch.setattr(stats, "CHUNK_BYTES", 50 * 8 * 7)
    pieces = stats.resampled_user_means(values, np.random.default_rng(0), 30)
    np.testing.assert_allclose(whole, pieces)


def test_equal_models_differ_by_nothing_because_users_are_paired():
    one = stats.seed_means([np.random.default_rng(3).random((200, 1))])
    a, b = stats.resample([one, one])
    assert np.array_equal(a, b)
    assert a.std() > 0


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.02, 0.05, "better"),
        (0.005, 0.05, "inconclusive"),
        (-0.05, -0.02, "worse"),
        (-0.009, 0.009, "equivalent"),
        (-0.05, 0.05, "inconclusive"),
    ],
)
def test_verdict(low, high, expected):
    assert stats.verdict(low, high, 0.01) == expected


# --- coverage: 2,000 simulated comparisons side by side as columns, true mean 0 -----------------------------------------


def simulate(rng, n_seeds, seed_sd, interaction_sd, n_users=300, n=2000):
    """Scores of n_seeds trainings: an effect of the user, of the training, and of both together."""
    user = rng.normal(0, 1, (n_users, n))
    return [
        user + rng.normal(0, seed_sd, n) + rng.normal(0, interaction_sd, (n_users, n))
        for _ in range(n_seeds)
    ]


def width(draws):
    low, high = stats.interval(draws)
    return high - low


def covered(draws):
    low, high = stats.interval(draws)
    return np.mean((low <= 0) & (high >= 0))


@pytest.mark.parametrize("n_seeds", [1, 3, 5])
@pytest.mark.parametrize("seed_sd", [0.02, 0.2])  # the users' error is 1 / sqrt(300) = 0.058
def test_interval_of_a_mean_covers_the_truth(n_seeds, seed_sd):
    if n_seeds == 1:
        seed_sd = 0.0  # what one seed cannot know
    tables = simulate(np.random.default_rng(7), n_seeds, seed_sd, 0.7)
    assert covered(stats.resample([stats.seed_means(tables)])[0]) == pytest.approx(0.95, abs=0.02)


def test_interval_of_a_paired_difference_covers_the_truth_and_is_narrow():
    rng = np.random.default_rng(8)
    shared = rng.normal(0, 2, (300, 2000))
    models = [
        stats.seed_means([shared + table for table in simulate(rng, 3, 0.02, 0.7)])
        for _ in range(2)
    ]
    a, b = stats.resample(models)
    assert covered(a - b) == pytest.approx(0.95, abs=0.02)
    unpaired = a - b[np.random.default_rng(9).permutation(len(b))]
    assert np.median(width(a - b)) < 0.7 * np.median(width(unpaired))


def test_treating_seeds_as_new_users_would_be_too_sure():
    """The simulation can tell: the naive interval over all (user, seed) values fails it."""
    tables = simulate(np.random.default_rng(7), 5, 0.2, 0.3)
    values = np.concatenate(tables)
    error = values.std(axis=0) / np.sqrt(len(values))
    assert np.mean(np.abs(values.mean(axis=0)) <= 1.96 * error) < 0.7


def test_a_real_sized_bootstrap_takes_about_a_second():
    tables = [np.random.default_rng(s).random((6040, 12)) for s in range(5)]
    start = time.process_time()
    draws = stats.resample([stats.seed_means(tables)])[0]
    assert draws.shape == (2000, 12)
    assert time.process_time() - start < 3  # ample: 0.2 s where this was written
