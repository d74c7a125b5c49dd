"""The generator's structure and its oracle, against slow and simulated twins."""

import dataclasses
import itertools

import numpy as np
import pytest

from seqbench.core.errors import UserError
from seqbench.data.synthetic import (
    CHUNK_USERS,
    GAINS,
    SyntheticConfig,
    config_from,
    generate,
    oracle_metrics,
    process_of,
)


def make(**fields):
    return config_from("demo", fields)


def true_distribution(process, history):
    """Dense conditional distribution (n_items,) of the event after `history` (ids from 1)."""
    p = np.zeros(len(process.popularity))
    has_copy = len(history) >= process.copy_lag
    w_copy, w_markov, w_noise = process.weights(bool(len(history)), has_copy)
    p += w_noise * process.popularity
    if len(history):
        for item, weight in zip(
            process.successors[history[-1] - 1], process.successor_weights, strict=True
        ):
            p[item] += w_markov * weight
    if has_copy:
        p[history[-process.copy_lag] - 1] += w_copy
    return p


def spans(items, offsets):
    return [items[a:b] for a, b in itertools.pairwise(offsets)]


CASES = {
    "mixed": {"n_items": 40, "copy_lag": 6, "successors": 4},
    "few items": {"n_items": 7, "copy_lag": 3, "successors": 3},
    "one item": {"n_items": 1, "copy_lag": 1, "successors": 2},
    "copies only": {"n_items": 30, "copy": 1.0, "markov": 0.0, "copy_lag": 7},
    "chain only": {"n_items": 30, "copy": 0.0, "markov": 1.0, "randomness": 0.0},
    "uniform noise": {"n_items": 60, "copy": 0.0, "markov": 0.0, "zipf": 0.0},
    "popularity noise": {"n_items": 60, "copy": 0.0, "markov": 0.0, "zipf": 1.5},
}


@pytest.mark.parametrize("case", CASES)
def test_oracle_equals_brute_force(case):
    config = make(n_users=60, mean_length=9, min_length=2, max_length=20, **CASES[case])
    process, items, offsets = generate(config)
    users = [span for span in spans(items, offsets) if len(span) >= 3]
    assert len(users) < 60  # some are too short to be evaluated
    expected = {"n_users": len(users)}
    for split, back in (("test", 1), ("valid", 2)):
        totals = dict.fromkeys(GAINS, 0.0)
        for span in users:
            p = true_distribution(process, span[: len(span) - back])
            assert p.sum() == pytest.approx(1)
            ranking = np.argsort(-p, kind="stable")
            for rank, item in enumerate(ranking[:10]):
                for metric, gain in GAINS.items():
                    totals[metric] += p[item] * gain[rank]
        expected[split] = {m: pytest.approx(v / len(users), abs=1e-12) for m, v in totals.items()}
    assert oracle_metrics(process, items, offsets) == expected


@pytest.mark.parametrize("lag", [3, 5, 8])
def test_generated_data_attain_what_the_oracle_expects(lag):
    config = make(n_users=20_000, n_items=200, mean_length=14, copy=0.25, copy_lag=lag, markov=0.35)
    process, items, offsets = generate(config)
    expected = oracle_metrics(process, items, offsets)
    for split, back in (("test", 1), ("valid", 2)):
        sums = {metric: [] for metric in GAINS}
        for span in spans(items, offsets)[:6000]:
            target = span[len(span) - back] - 1
            p = true_distribution(process, span[: len(span) - back])
            rank = np.flatnonzero(np.argsort(-p, kind="stable") == target)[0]
            for metric, gain in GAINS.items():
                sums[metric].append(gain[rank] if rank < 10 else 0.0)
        for metric, values in sums.items():
            error = np.std(values) / np.sqrt(len(values))
            assert abs(np.mean(values) - expected[split][metric]) < 4 * error


def test_pure_uniform_noise_gives_chance():
    config = make(n_users=500, n_items=250, copy=0, markov=0, zipf=0)
    oracle = oracle_metrics(*generate(config))
    assert oracle["test"]["hr@10"] == pytest.approx(10 / 250)
    assert oracle["valid"]["mrr@10"] == pytest.approx(sum(1 / r for r in range(1, 11)) / 250)


def test_certain_structure_is_fully_attainable():
    for fields in ({"copy": 1.0, "markov": 0.0}, {"copy": 0.0, "markov": 1.0, "randomness": 0.0}):
        config = make(n_users=200, min_length=12, copy_lag=8, **fields)
        oracle = oracle_metrics(*generate(config))
        assert oracle["test"] == pytest.approx({"hr@10": 1, "ndcg@10": 1, "mrr@10": 1})


def test_weights_of_what_does_not_exist_yet_go_to_the_rest():
    process = process_of(make(copy=0.2, markov=0.6))
    assert process.weights(True, True) == pytest.approx((0.2, 0.6, 0.2))
    assert process.weights(True, False) == pytest.approx((0.0, 0.75, 0.25))
    assert process.weights(False, False) == (0.0, 0.0, 1.0)
    only_copies = process_of(make(copy=1.0, markov=0.0))
    assert only_copies.weights(True, False) == (0.0, 0.0, 1.0)


def test_copies_lie_exactly_copy_lag_back():
    config = make(n_users=3000, n_items=5000, zipf=0, copy=0.6, markov=0.0, copy_lag=4)
    _, items, offsets = generate(config)
    equal = {lag: [] for lag in (3, 4, 5)}
    for span in spans(items, offsets):
        for lag, shares in equal.items():
            shares.append(span[lag:] == span[:-lag])
    share = {lag: np.concatenate(values).mean() for lag, values in equal.items()}
    assert share[4] == pytest.approx(0.6, abs=0.02)
    assert share[3] < 0.01 and share[5] < 0.01
    earliest = np.mean([span[4] == span[0] for span in spans(items, offsets)])
    assert earliest == pytest.approx(0.6, abs=0.03)


def test_transitions_follow_the_successor_weights():
    config = make(n_users=5000, copy=0.0, markov=1.0, randomness=0.3, successors=3, n_items=300)
    process, items, offsets = generate(config)
    first = np.ones(len(items), dtype=bool)
    first[offsets[:-1]] = False
    last, following = items[np.flatnonzero(first) - 1] - 1, items[first] - 1
    assert (process.successors[last] == following[:, None]).any(axis=1).all()
    distinct = process.successors[:, 0] != process.successors[:, 1]
    distinct &= process.successors[:, 0] != process.successors[:, 2]
    plain = distinct[last]
    share = np.mean(process.successors[last[plain], 0] == following[plain])
    assert share == pytest.approx(1 / (1 + 0.3 + 0.09), abs=0.01)


def test_popularity_has_a_long_tail():
    config = make(n_users=5000, n_items=1000, copy=0.0, markov=0.0, zipf=1.0)
    process, items, _ = generate(config)
    counts = np.bincount(items, minlength=1001)[1:]
    top = np.argsort(-process.popularity)[:3]
    harmonic = (1 / np.arange(1, 1001)).sum()
    assert counts[top] / len(items) == pytest.approx(1 / (np.arange(1, 4) * harmonic), rel=0.05)
    assert top.tolist() != [0, 1, 2]  # ids are shuffled


def test_lengths():
    config = make(n_users=20_000, mean_length=12, min_length=5, max_length=1000)
    _, items, offsets = generate(config)
    lengths = np.diff(offsets)
    assert lengths.min() == 5 and lengths.mean() == pytest.approx(12, rel=0.02)
    assert len(items) == offsets[-1]
    capped = np.diff(generate(dataclasses.replace(config, max_length=20))[2])
    assert capped.max() == 20
    fixed = np.diff(generate(make(n_users=50, mean_length=5, min_length=5))[2])
    assert set(fixed) == {5}


def test_same_seed_same_data_other_seed_other_data():
    first, again = generate(make(n_users=100)), generate(make(n_users=100))
    assert np.array_equal(first[1], again[1]) and np.array_equal(first[2], again[2])
    other = generate(make(n_users=100, seed=1))
    assert not np.array_equal(first[2], other[2])


def test_chunks_of_users_are_filled_alike():
    config = make(n_users=CHUNK_USERS + 5000, n_items=50, mean_length=6, copy_lag=3)
    _, items, offsets = generate(config)
    border = offsets[CHUNK_USERS]
    for part in (items[:border], items[border:]):
        assert part.min() == 1 and part.max() == 50
    tail = np.bincount(items[border:], minlength=51) / len(items[border:])
    head = np.bincount(items[:border], minlength=51) / border
    assert np.abs(tail - head).max() < 0.01


def test_chunks_differ():
    n = 2 * CHUNK_USERS
    _, items, _ = generate(make(n_users=n, mean_length=1, min_length=1, max_length=1))
    assert not np.array_equal(items[:CHUNK_USERS], items[CHUNK_USERS:])


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"n_user": 5}, "datasets.demo.synthetic.n_user is unknown; allowed: n_users, n_items"),
        ({"n_users": 0}, "n_users: 0 must be int, 1 to"),
        ({"n_users": 2.5}, "n_users: 2.5 must be int"),
        ({"n_users": True}, "n_users: True must be int"),
        ({"zipf": "steep"}, "zipf: 'steep' must be float"),
        ({"zipf": float("nan")}, "zipf: nan must be float"),
        ({"copy": 0.7, "markov": 0.4}, "copy + markov is 1.1, more than 1"),
        ({"mean_length": 3}, "min_length <= mean_length <= max_length does not hold"),
        ({"copy_lag": 0}, "copy_lag: 0 must be int, 1 to"),
        ({"seed": -1}, "seed: -1 must be int, 0 to"),
    ],
)
def test_bad_parameters_are_named(fields, message):
    with pytest.raises(UserError) as caught:
        config_from("demo", fields)
    assert message in str(caught.value)


def test_every_field_may_be_given():
    defaults = dataclasses.asdict(SyntheticConfig())
    assert config_from("demo", defaults) == SyntheticConfig()
