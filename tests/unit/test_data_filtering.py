"""k-core against a plain loop; order, its variants and tie statistics on examples by hand."""

import numpy as np
import pytest

from seqbench.core.errors import UserError
from seqbench.data import filtering
from seqbench.data.filtering import k_core


def k_core_one_by_one(pairs, k):
    """The slow twin: drop one offending user or item at a time."""
    pairs = list(enumerate(pairs))
    while True:
        for side in (0, 1):
            counts = {}
            for _, pair in pairs:
                counts[pair[side]] = counts.get(pair[side], 0) + 1
            weak = next((name for name, count in counts.items() if count < k), None)
            if weak is not None:
                pairs = [(row, pair) for row, pair in pairs if pair[side] != weak]
                break
        else:
            return [row for row, _ in pairs]


@pytest.mark.parametrize("k", [1, 2, 3, 5])
def test_k_core_equals_the_slow_twin(k):
    sizes = []
    for seed in range(25):
        rng = np.random.default_rng(seed)
        n = rng.integers(1, 120)
        users, items = rng.integers(0, 15, n), rng.integers(0, 12, n)
        found = k_core(users, items, k)
        pairs = list(zip(users.tolist(), items.tolist(), strict=True))
        assert found.tolist() == k_core_one_by_one(pairs, k)
        sizes.append((n, len(found)))
    if k == 3:  # the examples are neither all kept nor all dropped
        assert any(0 < kept < n for n, kept in sizes)


def test_k_core_needs_several_passes():
    # users 0 and 1 share items 0 and 1; behind item 2 hangs a chain that falls link by link
    users = np.array([0, 0, 1, 1, 1, 2, 2, 3])
    items = np.array([0, 1, 0, 1, 2, 2, 3, 3])
    assert k_core(users, items, 2).tolist() == [0, 1, 2, 3]
    assert k_core(users, items, 3).tolist() == []


USERS = np.array([1, 0, 1, 0, 1])
TIMES = np.array([5, 9, 3, 9, 5])


def test_base_order_is_stable():
    assert filtering.base_order(USERS, TIMES).tolist() == [1, 3, 2, 0, 4]
    assert filtering.base_order(USERS, None).tolist() == [1, 3, 0, 2, 4]


# users: [1 2 2 2], [5 5 5], [1 2 2], [7 7], [3]; two of three evaluated users end in a tie ...
OFFSETS = np.array([0, 4, 7, 10, 12, 13])
TIED = np.array([1, 2, 2, 2, 5, 5, 5, 1, 1, 2, 7, 7, 3])


def test_tie_statistics_by_hand():
    found = filtering.tie_statistics(OFFSETS, TIED)
    assert found == {
        "test_decided_by_tie": 2 / 3,  # the first two users; [1 1 2] ends without
        "boundary_tie": 1.0,  # the validation item of [1 1 2] ties with the event before it
        "events_tied": 10 / 13,  # 3 + 3 + 2 + 2 + 0
        "users_one_timestamp": 2 / 5,  # [5 5 5] and [7 7]; a single event is no tie
    }


def test_equal_times_of_neighbouring_users_are_no_ties():
    found = filtering.tie_statistics(np.array([0, 3, 6]), np.array([1, 2, 3, 3, 4, 5]))
    assert set(found.values()) == {0.0}


def test_seed_order_moves_tied_events_only():
    found = [filtering.permutation(OFFSETS, TIED, np.arange(13), f"seed:{k}") for k in range(20)]
    for permutation in found:
        assert np.array_equal(TIED[permutation], TIED)
        assert sorted(permutation[4:7]) == [4, 5, 6]
        assert permutation[[0, 9, 12]].tolist() == [0, 9, 12]
    assert len({tuple(p) for p in found}) > 10
    again = filtering.permutation(OFFSETS, TIED, np.arange(13), "seed:7")
    assert np.array_equal(again, found[7])


def test_float32_order_merges_times_and_falls_back_to_the_file():
    offsets, times = np.array([0, 3]), 978_300_760 + np.array([0, 3, 500])
    rows = np.array([9, 2, 1])  # in the file the second event came before the first
    assert filtering.permutation(offsets, times, rows, "float32").tolist() == [1, 0, 2]


@pytest.mark.parametrize("time", ["rank", "partial", "none"])
@pytest.mark.parametrize("variant", ["float32", "seed:1"])
def test_variants_need_real_times(time, variant):
    with pytest.raises(UserError, match=f"order: {variant} needs real times.*{time}"):
        filtering.check_order(variant, time)
    filtering.check_order(variant, "unix")
    filtering.check_order("file", time)


@pytest.mark.parametrize("variant", ["seed", "seed:", "seed:-1", "File", ""])
def test_unknown_variants(variant):
    with pytest.raises(UserError, match="allowed: file, float32, seed:<integer>"):
        filtering.check_order(variant, "unix")
