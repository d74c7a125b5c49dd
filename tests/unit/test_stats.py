"""Statistics: known answers, and coverage of the intervals by simulation."""

import time

import numpy as np
import pytest

from seqbench.analysis import resampling, significance
from seqbench.core import metrics


def test_spread_of_known_samples():
    result = metrics.spread(np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]))
    assert result == metrics.Spread(median=3.5, iqr=2.5, q25=2.25, q75=4.75, n=6)


def test_spread_keeps_nan_visible_and_refuses_no_samples():
    assert np.isnan(metrics.spread(np.array([1.0, np.nan])).median)
    with pytest.raises(ValueError, match="no samples"):
        metrics.spread(np.array([]))


def test_seed_means_of_known_tables():
    means = resampling.seed_means([np.array([[1.0], [2.0]]), np.array([[3.0], [4.0]])])
    assert means.users.ravel().tolist() == [2.0, 3.0]
    assert means.mean[0] == 2.5
    assert means.std[0] == pytest.approx(np.sqrt(2))  # of 1.5 and 3.5
    assert means.seed_error[0] == pytest.approx(1.0)  # no interaction: all of it is the training's


def test_what_users_and_trainings_do_together_is_not_the_trainings():
    """Residuals of users and seeds -1, 0, 1 and 1, 0, -1: 4 / ((2 - 1) (3 - 1) 3) is the users' part of the seeds' variance, 0."""
    means = resampling.seed_means(
        [np.array([[1.0], [2.0], [6.0]]), np.array([[3.0], [2.0], [4.0]])]
    )
    assert means.std[0] == 0
    assert means.seed_variance[0] == pytest.approx((0 - 4 / 6) / 2)
    assert means.seed_error[0] == 0


def test_two_seeds_are_as_unsure_as_one_degree_of_freedom():
    means = resampling.seed_means([np.array([[1.0], [2.0]]), np.array([[3.0], [4.0]])])
    noise = resampling.seed_noise(means, np.random.default_rng(0), 40000) / means.seed_error
    assert np.quantile(noise, 0.75) == pytest.approx(1.0, abs=0.03)  # of Cauchy's distribution
    one = resampling.seed_means([np.array([[1.0], [2.0]])])
    assert not resampling.seed_noise(one, np.random.default_rng(0), 10).any()


def test_one_seed_has_no_spread():
    means = resampling.seed_means([np.array([[1.0], [2.0]])])
    assert np.isnan(means.std[0])
    assert means.seed_error[0] == 0


def test_bootstrap_error_equals_the_textbook_error_of_a_mean():
    values = np.random.default_rng(3).exponential(size=(1000, 1))
    draws, _ = resampling.resampled_user_means(values, 0, 4000)
    assert draws.std() == pytest.approx(values.std() / np.sqrt(1000), rel=0.05)
    assert draws.mean() == pytest.approx(values.mean(), abs=0.005)


def drawn_apart(users, n_resamples):
    """Means (R, K) of users (U, K) as a loop over resamples makes them, and the generator after it."""
    rng, n_users = np.random.default_rng(0), len(users)
    rows = (rng.integers(0, n_users, n_users, dtype=np.int32) for _ in range(n_resamples))
    return np.stack([users[drawn].mean(axis=0) for drawn in rows]), rng


@pytest.mark.parametrize(
    ("chunk", "tile", "kept"), [(51, 1, True), (7 * 51, 4, True), (2**18, 64, True), (51, 4, False)]
)
def test_shared_draws_are_those_that_each_table_would_draw_for_itself(
    monkeypatch, chunk, tile, kept
):
    """Two conditions with the same number of users, one after the other, users without a hit among them."""
    monkeypatch.setattr(resampling, "CHUNK", chunk)
    monkeypatch.setattr(resampling, "TILE", tile)
    if not kept:  # as of a million users
        monkeypatch.setattr(resampling, "MOST_KEPT", 51 * 30 - 1)
    resampling.user_draws.cache_clear()
    rng = np.random.default_rng(3)
    conditions = [
        [resampling.seed_means([rng.random((51, 2)) * (rng.random((51, 1)) < 0.3) for _ in range(3)]) for _ in range(2)]
        for _ in range(2)
    ]  # fmt: skip
    for models in conditions:
        for at, draws in enumerate(resampling.resample(models, n_resamples=30)):
            users, after = drawn_apart(models[at].users, 30)
            noise = [resampling.seed_noise(model, after, 30) for model in models]
            np.testing.assert_allclose(draws.users, users, rtol=1e-12)
            np.testing.assert_allclose(draws.means, users + noise[at], rtol=1e-12)
    assert resampling.user_draws.cache_info().misses == int(kept)


def test_equal_models_differ_by_nothing_because_users_are_paired():
    one = resampling.seed_means([np.random.default_rng(3).random((200, 1))])
    a, b = resampling.resample([one, one])
    assert np.array_equal(a.means, b.means) and a.means.std() > 0
    found = significance.difference(a, b)
    assert (found.low.tolist(), found.high.tolist()) == ([0.0], [0.0])


def test_equal_users_differ_by_nothing_in_whatever_tables_they_stand():
    """Two conditions whose other model differs: the sums over users are rounded apart, the users are not."""
    rng = np.random.default_rng(3)
    sizes = ((1, 0.2), (40, 0.05), (40, 0.9))  # columns, share of users with a hit
    one, *others = (
        resampling.seed_means([rng.random((2000, k)) * (rng.random((2000, 1)) < share)])
        for k, share in sizes
    )
    a, b = (resampling.resample([one, other])[0] for other in others)
    assert [end.tolist() for end in ends_of(a, b)] == [[0.0], [0.0]]


def test_users_without_any_hit_have_means_of_zero():
    (none,) = resampling.resample([resampling.seed_means([np.zeros((20, 2))])], n_resamples=5)
    assert none.users.shape == (5, 2) and not none.users.any()


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.02, 0.05, "better"),
        (0.005, 0.05, "inconclusive"),
        (-0.05, -0.02, "worse"),
        (-0.009, 0.009, "equivalent"),
        (-0.05, 0.05, "inconclusive"),
        (0.01, 0.05, "inconclusive"),  # the margin itself is not beyond it
        (-0.05, -0.01, "inconclusive"),
        (-0.01, 0.01, "equivalent"),
    ],
)
def test_verdict(low, high, expected):
    assert resampling.verdict(low, high, 0.01) == expected


# --- coverage: 2,000 simulated comparisons side by side as columns, true mean 0 -----------------------------------------


def simulate(rng, n_seeds, seed_sd, interaction_sd, n_users=300, n=2000):
    """Scores of n_seeds trainings: an effect of the user, of the training, and of both together."""
    user = rng.normal(0, 1, (n_users, n))
    return [
        user + rng.normal(0, seed_sd, n) + rng.normal(0, interaction_sd, (n_users, n))
        for _ in range(n_seeds)
    ]


def ends_of(a, b, *columns):
    found = significance.difference(a, b, *columns)
    return found.low, found.high


def width(draws):
    low, high = resampling.interval(draws)
    return high - low


def share_covered(low, high):
    return np.mean((low <= 0) & (high >= 0))


@pytest.mark.parametrize("n_seeds", [1, 3, 5])
@pytest.mark.parametrize("seed_sd", [0.02, 0.2])  # the users' error is 1 / sqrt(300) = 0.058
def test_interval_of_a_mean_covers_the_truth(n_seeds, seed_sd):
    if n_seeds == 1:
        seed_sd = 0.0  # what one seed cannot know
    tables = simulate(np.random.default_rng(7), n_seeds, seed_sd, 0.7)
    draws = resampling.resample([resampling.seed_means(tables)])[0].means
    assert share_covered(*resampling.interval(draws)) == pytest.approx(0.95, abs=0.02)


@pytest.mark.parametrize(
    ("n_seeds", "seed_sd"),
    [(1, 0.0), (3, 0.0), (3, 0.02), (3, 0.2), (5, 0.0), (5, 0.02), (5, 0.2)],
)
def test_interval_of_a_paired_difference_covers_the_truth_and_is_narrow(n_seeds, seed_sd):
    rng = np.random.default_rng(8)
    shared = rng.normal(0, 2, (300, 2000))
    models = [
        resampling.seed_means([shared + table for table in simulate(rng, n_seeds, seed_sd, 0.7)])
        for _ in range(2)
    ]
    a, b = resampling.resample(models)
    low, high = ends_of(a, b)
    assert share_covered(low, high) == pytest.approx(0.95, abs=0.02)
    if seed_sd < 0.2:  # else the trainings decide, which are not paired
        unpaired = width(a.means - b.means[np.random.default_rng(9).permutation(len(b.means))])
        assert np.median(high - low) < 0.7 * np.median(unpaired)


@pytest.mark.parametrize("n_seeds", [1, 3, 5])
@pytest.mark.parametrize("seed_sd", [0.0, 0.008])
def test_interval_of_a_difference_covers_the_truth_for_values_like_ndcg(n_seeds, seed_sd):
    """Most users miss, the others take ten values; models are equally good but for the luck of their trainings."""
    rng = np.random.default_rng(1)
    gains = 1 / np.log2(np.arange(2, 12))
    chance = rng.beta(0.5, 3, (600, 1000))

    def trained():
        hit = rng.random(chance.shape) < chance + rng.normal(0, seed_sd, chance.shape[1])
        return np.where(hit, gains[rng.integers(0, 10, chance.shape)], 0.0)

    models = [resampling.seed_means([trained() for _ in range(n_seeds)]) for _ in range(2)]
    covered = share_covered(*ends_of(*resampling.resample(models, n_resamples=800)))
    if n_seeds == 1 and seed_sd:
        assert covered < 0.94, "one seed cannot know the luck of the training"
    else:
        assert covered == pytest.approx(0.95, abs=0.02)


def test_a_draw_of_t_for_each_model_would_be_too_unsure():
    """The simulation can tell: adding both models' draws covers far more than is meant."""
    rng = np.random.default_rng(8)
    shared = rng.normal(0, 2, (300, 2000))
    models = [
        resampling.seed_means([shared + table for table in simulate(rng, 3, 0.2, 0.7)])
        for _ in range(2)
    ]
    a, b = resampling.resample(models)
    assert share_covered(*resampling.interval(a.means - b.means)) > 0.975


def test_users_who_are_all_alike_leave_the_trainings_part():
    """Three and three trainings by hand: variances 1/3 each of the means, four degrees of freedom, t = 2.776."""
    models = [
        resampling.seed_means([np.full((10, 1), v) for v in values])
        for values in ((0, 1, 2), (5, 6, 7))
    ]
    low, high = ends_of(*resampling.resample(models))
    half = 2.7764 * np.sqrt(2 / 3)
    assert (low[0], high[0]) == pytest.approx((-5 - half, -5 + half), abs=1e-3)


def test_a_p_value_beyond_the_margin_is_that_of_t():
    """The same trainings: 5 apart, standard error of the difference sqrt(2/3), four degrees of freedom."""
    a, b = resampling.resample([
        resampling.seed_means([np.full((10, 1), v) for v in values]) for values in ((0, 1, 2), (5, 6, 7))
    ])  # fmt: skip
    for margin, p in ((0.0, 0.0036), (1.0, 0.0080), (6.0, 1.0)):
        assert significance.difference(a, b).p_beyond(margin) == pytest.approx(p, abs=1e-4)
    same, other = resampling.resample(
        [resampling.seed_means([np.full((10, 1), v)]) for v in (1.0, 3.0)]
    )
    assert [significance.difference(same, other).p_beyond(m) for m in (1.0, 2.0)] == [0, 1]


def test_a_p_value_falls_below_a_twentieth_where_the_interval_leaves_the_margin():
    rng = np.random.default_rng(3)
    shared = rng.normal(0, 1, (200, 300))
    models = [
        resampling.seed_means([shared + shift + rng.normal(0, 0.1, 300) + rng.normal(0, 0.5, shared.shape) for _ in range(3)])
        for shift in (0.0, np.linspace(0, 1, 300))
    ]  # fmt: skip
    a, b = resampling.resample(models, n_resamples=500)
    low, high = ends_of(a, b)
    beyond = [resampling.verdict(*ends, 0.1) in ("better", "worse") for ends in zip(low, high, strict=True)]  # fmt: skip
    assert (significance.difference(a, b).p_beyond(0.1) < 0.05).tolist() == beyond
    assert 50 < sum(beyond) < 250


def test_one_column_of_a_difference_is_that_of_all():
    rng = np.random.default_rng(0)
    models = [resampling.seed_means([rng.random((50, 4)) for _ in range(3)]) for _ in range(2)]
    a, b = resampling.resample(models)
    low, high = ends_of(a, b)
    for k in range(4):
        assert ends_of(a, b, k) == (low[[k]], high[[k]])


def test_treating_seeds_as_new_users_would_be_too_sure():
    """The simulation can tell: the naive interval over all (user, seed) values fails it."""
    tables = simulate(np.random.default_rng(7), 5, 0.2, 0.3)
    values = np.concatenate(tables)
    error = values.std(axis=0) / np.sqrt(len(values))
    assert np.mean(np.abs(values.mean(axis=0)) <= 1.96 * error) < 0.7


def test_a_real_sized_bootstrap_takes_about_a_second():
    tables = [np.random.default_rng(s).random((6040, 12)) for s in range(5)]
    start = time.process_time()
    draws = resampling.resample([resampling.seed_means(tables)])[0].means
    assert draws.shape == (2000, 12)
    assert time.process_time() - start < 3  # ample: 0.2 s where this was written
