"""Windows keep every target once; batches are gathered as index arithmetic says."""

import numpy as np
import pytest
import torch

from seqbench.data.split import leave_one_out
from seqbench.training.batches import (
    Gatherer,
    epoch_batches,
    full_length_batch,
    gather_spans,
    prefix_windows,
    training_windows,
    windows_for,
)


def offsets_of(lengths: list[int]) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)


@pytest.mark.parametrize("seq_len", [2, 3, 7, 50])
def test_every_training_item_but_a_users_first_is_a_target_exactly_once(seq_len):
    lengths = [1, 2, 3, 4, 5, 9, 10, 11, 60, 123]
    offsets = offsets_of(lengths)
    split = leave_one_out(offsets)
    windows = training_windows(split, seq_len)
    targets = np.concatenate(
        [np.arange(s + 1, s + n) for s, n in zip(windows.start, windows.length, strict=True)]
    )
    expected = np.concatenate(
        [np.arange(a + 1, e) for a, e in zip(offsets[:-1], split.ends, strict=True)]
    )
    assert sorted(targets) == sorted(expected)
    assert windows.targets == len(expected)
    assert windows.length.max() <= seq_len + 1 and windows.length.min() >= 2


def test_held_out_items_are_never_in_a_window():
    offsets = offsets_of([5, 8])
    windows = training_windows(leave_one_out(offsets), 3)
    covered = {
        i for s, n in zip(windows.start, windows.length, strict=True) for i in range(s, s + n)
    }
    assert covered.isdisjoint({3, 4, 11, 12})


@pytest.mark.parametrize("bucket_by_length", [True, False])
def test_an_epoch_holds_every_window_once_in_batches_of_about_the_asked_size(bucket_by_length):
    rng = np.random.default_rng(0)
    windows = training_windows(leave_one_out(offsets_of(list(rng.integers(3, 90, 400)))), 20)
    batches = epoch_batches(windows, 256, np.random.default_rng(1), bucket_by_length)
    assert sorted(np.concatenate(batches)) == list(range(len(windows.start)))
    sizes = [int((windows.length[b] - 1).sum()) for b in batches]
    assert all(abs(size - 256) <= 20 for size in sorted(sizes)[1:])
    again = epoch_batches(windows, 256, np.random.default_rng(1), bucket_by_length)
    other = epoch_batches(windows, 256, np.random.default_rng(2), bucket_by_length)
    assert all(np.array_equal(a, b) for a, b in zip(batches, again, strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(batches, other, strict=False))


def batches_at_once(windows, targets_per_step, rng, bucket_by_length):
    """The slow twin: all windows sorted by pool and length at once."""
    order = rng.permutation(len(windows.start))
    targets = windows.targets_of(order)
    if bucket_by_length:
        pool = (np.cumsum(targets) - targets) // (64 * targets_per_step)
        rising = np.where(pool % 2 == 0, windows.length[order], -windows.length[order])
        order = order[np.lexsort((rising, pool))]
        targets = windows.targets_of(order)
    cuts = np.flatnonzero(np.diff((np.cumsum(targets) - targets) // targets_per_step)) + 1
    batches = np.split(order, cuts)
    return [batches[i] for i in rng.permutation(len(batches))] if bucket_by_length else batches


@pytest.mark.parametrize("bucket_by_length", [True, False])
@pytest.mark.parametrize("targets_per_step", [1, 7, 64, 10**6])
@pytest.mark.parametrize("objective", ["all-positions", "prefix"])
def test_batches_of_pools_equal_those_of_all_windows(objective, targets_per_step, bucket_by_length):
    lengths = np.random.default_rng(0).integers(3, 90, 300)
    windows = windows_for(objective, leave_one_out(offsets_of(list(lengths))), 20)
    asked = (windows, targets_per_step)
    found, expected = (
        plan(*asked, np.random.default_rng(1), bucket_by_length)
        for plan in (epoch_batches, batches_at_once)
    )
    assert all(np.array_equal(a, b) for a, b in zip(found, expected, strict=True))


def test_bucketing_saves_padding():
    rng = np.random.default_rng(0)
    windows = training_windows(leave_one_out(offsets_of(list(rng.geometric(0.05, 3000) + 3))), 50)

    def padded(bucket_by_length: bool) -> int:
        batches = epoch_batches(windows, 512, np.random.default_rng(1), bucket_by_length)
        return sum(len(b) * (windows.length[b].max() - 1) for b in batches)

    assert padded(True) < 1.2 * windows.targets < padded(False)


def test_a_batch_is_right_padded_and_marks_its_targets():
    items = np.array([5, 6, 7, 8, 1, 2, 3, 4, 9, 9], dtype=np.int32)  # users of 4 and 6 items
    offsets = np.array([0, 4, 10])
    windows = training_windows(leave_one_out(offsets), 4)  # [0, 2) and [4, 8)
    gatherer = Gatherer(items, windows, torch.device("cpu"))
    batch = gatherer.batch(np.array([0, 1]), torch.Generator())
    assert batch.windows.tolist() == [[5, 6, 0, 0], [1, 2, 3, 4]]
    assert batch.target_mask.tolist() == [[True, False, False], [True, True, True]]
    assert batch.n_targets == 4 and batch.target_places().tolist() == [0, 3, 4, 5]
    batch.n_targets = None  # not known to the host: counted
    assert batch.target_places().tolist() == [0, 3, 4, 5]
    assert batch.lengths.tolist() == [2, 4]


def test_spans_at_the_end_of_the_items_are_padded_not_wrapped():
    items = torch.tensor([1, 2, 3], dtype=torch.int32)
    spans = gather_spans(items, torch.tensor([0, 2]), torch.tensor([3, 1]))
    assert spans.tolist() == [[1, 2, 3], [3, 0, 0]]


def test_full_length_batches_have_no_padding():
    batch = full_length_batch(9, 4, 6, torch.Generator().manual_seed(0), torch.device("cpu"))
    assert batch.windows.shape == (4, 7)
    assert batch.windows.min() >= 1 and batch.windows.max() <= 9
    assert batch.target_mask.all() and batch.target_mask.shape == (4, 6)


@pytest.mark.parametrize("seq_len", [1, 2, 3, 7, 50])
def test_one_epoch_of_prefixes_has_the_targets_of_the_windows_each_with_its_full_history(seq_len):
    offsets = offsets_of([1, 2, 3, 4, 5, 9, 10, 11, 60, 123])
    split = leave_one_out(offsets)
    prefixes, windows = prefix_windows(split, seq_len), training_windows(split, max(seq_len, 2))
    targets = prefixes.start + prefixes.length - 1
    expected = [np.arange(s + 1, s + n) for s, n in zip(windows.start, windows.length, strict=True)]
    assert targets.tolist() == sorted(np.concatenate(expected))
    assert prefixes.targets == len(targets) == windows.targets
    first = np.repeat(offsets[:-1], np.diff(offsets))[targets]
    assert np.array_equal(prefixes.start, np.maximum(first, targets - seq_len))


def test_prefixes_take_no_more_than_two_places_per_target():
    split = leave_one_out(offsets_of([500] * 200))
    prefixes = prefix_windows(split, 200)
    items = np.zeros(100_000, dtype=np.int32)
    assert prefixes.start.nbytes + prefixes.length.nbytes <= 2 * items.nbytes


def test_a_batch_of_prefixes_marks_their_last_items_only():
    items = np.array([5, 6, 7, 8, 1, 2, 3, 4, 9, 9], dtype=np.int32)
    windows = windows_for("prefix", leave_one_out(np.array([0, 4, 10])), 2)
    batch = Gatherer(items, windows, torch.device("cpu")).batch(np.arange(4), torch.Generator())
    assert batch.windows.tolist() == [[5, 6, 0], [1, 2, 0], [1, 2, 3], [2, 3, 4]]
    assert batch.target_mask.tolist() == [
        [True, False],
        [True, False],
        [False, True],
        [False, True],
    ]
    assert batch.n_targets == 4 and batch.target_places().tolist() == [0, 2, 5, 7]


@pytest.mark.parametrize("bucket_by_length", [True, False])
def test_batches_of_prefixes_hold_as_many_windows_as_targets(bucket_by_length):
    windows = prefix_windows(leave_one_out(offsets_of([3, 50, 20, 9, 80] * 20)), 30)
    batches = epoch_batches(windows, 64, np.random.default_rng(0), bucket_by_length)
    assert sorted(np.concatenate(batches)) == list(range(windows.targets))
    assert sorted(len(b) for b in batches)[1:] == [64] * (len(batches) - 1)
    padded = sum(len(b) * windows.length[b].max() for b in batches)
    assert bool(padded < 1.15 * windows.length.sum()) is bucket_by_length


def test_full_length_prefixes_have_one_target_each():
    generator = torch.Generator().manual_seed(0)
    batch = full_length_batch(9, 4, 6, generator, torch.device("cpu"), last_only=True)
    assert batch.n_targets == 4 and batch.target_places().tolist() == [5, 11, 17, 23]
