"""Windows keep every target once; batches are gathered as index arithmetic says."""

import sys

import numpy as np
import pytest
import torch
from scipy import stats

import models
from seqbench.config.model_files import MODELS, available_models, is_trainable
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

TRAINED = [name for name in available_models(MODELS) if is_trainable(MODELS / f"{name}.py")]


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


@pytest.mark.parametrize("stride", [1, 3, 5, 7, 20])
def test_windows_may_overlap_and_no_target_is_lost(stride):
    """With fresh targets only each is one exactly once, with at least seq_len - stride items before it or all there are."""
    offsets = offsets_of([1, 2, 3, 4, 9, 10, 11, 60, 123])
    split = leave_one_out(offsets)
    expected = np.concatenate([np.arange(a + 1, e) for a, e in zip(offsets[:-1], split.ends, strict=True)])  # fmt: skip
    own = training_windows(split, 7, stride, fresh_only=True)
    every = training_windows(split, 7, stride)
    assert np.array_equal(own.start, every.start) and every.length.max() <= 8
    ends = own.start + own.length
    count = own.targets_of(slice(None))
    fresh = np.concatenate([np.arange(e - n, e) for e, n in zip(ends, count, strict=True)])
    assert sorted(fresh) == sorted(expected)
    before = np.concatenate([np.arange(e - n, e) - s for e, n, s in zip(ends, count, own.start, strict=True)])  # fmt: skip
    user = np.searchsorted(offsets, fresh, side="right") - 1
    assert (before >= np.minimum(fresh - offsets[user], 7 - min(stride, 7) + 1)).all()
    assert every.targets >= own.targets == len(expected)
    plain = training_windows(split, 7)
    if stride >= 7:
        assert np.array_equal(plain.start, own.start) and own.fresh is None


def test_only_a_model_that_masks_leaves_out_what_windows_share():
    split = leave_one_out(offsets_of([60]))
    items = np.arange(1, 61)
    for name, shared in (("sasrec", True), ("bert4rec", False)):
        model = models.build(name, {"d_model": 8}, 60, 10)
        windows = windows_for("all-positions", split, 10, model, 5)
        batch = Gatherer(items, windows, torch.device("cpu")).batch(
            np.arange(len(windows.start)), torch.Generator()
        )
        assert batch.n_targets == int(batch.target_mask.sum()) == windows.targets
        targets = batch.windows[:, 1:][batch.target_mask]
        assert (len(targets) > len(targets.unique())) == shared
        assert sorted(targets.unique().tolist()) == list(range(2, 59))


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


@pytest.mark.parametrize("bucket_by_length", [True, False])
@pytest.mark.parametrize("name", TRAINED)
def test_a_step_has_as_many_terms_of_the_loss_for_every_model(name, bucket_by_length, monkeypatch):
    """Terms are counted where the loss is taken, and are what a model says to expect."""
    rng, terms = np.random.default_rng(0), []
    split = leave_one_out(offsets_of(list(rng.integers(3, 90, 600))))
    items = rng.integers(1, 41, int(split.offsets[-1]))
    torch.manual_seed(0)
    model = models.build(name, {"d_model": 8}, 40, 20)
    windows = windows_for("all-positions", split, 20, model)
    for module in (models._sequence, sys.modules[type(model).__module__]):
        monkeypatch.setattr(
            module, "catalogue_cross_entropy", lambda hidden, *_: terms.append(len(hidden)), raising=False
        )  # fmt: skip
    gatherer = Gatherer(items, windows, torch.device("cpu"))
    epoch = epoch_batches(windows, 256, rng, bucket_by_length)
    for batch in gatherer.batches(epoch, torch.Generator().manual_seed(0)):
        model.loss(batch)
    assert np.mean(terms[:-1]) == pytest.approx(256, rel=0.05)
    assert sum(terms) == pytest.approx(windows.predictions_of(slice(None)).sum(), rel=0.04)
    by_targets = epoch_batches(windows, 256, rng, bucket_by_length, "targets")
    assert len(by_targets) == pytest.approx(windows.targets / 256, rel=0.05)


@pytest.mark.parametrize(("last_only", "near"), [(0.0, 0.01), (1.0, 0.0)])
def test_masks_of_recbole_are_as_many_as_expected(last_only, near):
    lengths = np.random.default_rng(0).integers(2, 22, 4000)
    options = {"d_model": 8, "masking": "recbole", "last_only": last_only}
    model = models.build("bert4rec", options, 40, 20)
    history = torch.from_numpy((np.arange(20) < lengths[:, None] - 1).astype(np.int64))
    masked = model._draw_mask_as_recbole(history, torch.Generator().manual_seed(0))
    at = masked.int().argsort(dim=1, stable=True)[:, -model.most_masks :]
    found = int((masked.gather(1, at) & (at > 0)).sum())
    expected = model.predictions(lengths - 1, np.ones_like(lengths)).sum()
    assert found == pytest.approx(expected, rel=near)


def test_masks_of_recbole_are_those_of_a_binomial_count_that_is_cut():
    model = models.build("bert4rec", {"d_model": 8, "masking": "recbole", "last_only": 0.0}, 40, 50)
    able, counts = np.arange(50), np.arange(51)
    chances = stats.binom.pmf(counts[:, None], able, 0.2)
    expected = (np.minimum(counts, 10)[:, None] * chances).sum(0)
    found = model.predictions(able + 1, np.ones_like(able))
    assert found == pytest.approx(expected) and found[-1] < 0.95 * 9.8


@pytest.mark.parametrize("options", [{}, {"masking": "recbole"}])
@pytest.mark.parametrize("name", ["bert4rec", "sasrec"])
def test_positions_are_those_that_pass_through_the_first_layer(name, options, monkeypatch):
    options = options if name == "bert4rec" else {}
    model, read = models.build(name, {"d_model": 8, **options}, 40, 20), []
    rng, split = np.random.default_rng(0), leave_one_out(offsets_of([30, 9, 4]))
    items = rng.integers(1, 41, int(split.offsets[-1]))
    windows = windows_for("prefix" if options else "all-positions", split, 20, model)
    embed = model.item_embedding.forward
    monkeypatch.setattr(model.item_embedding, "forward", lambda x: read.append(int((x != 0).sum())) or embed(x))  # fmt: skip
    gatherer, generator = Gatherer(items, windows, torch.device("cpu")), torch.Generator().manual_seed(0)  # fmt: skip
    for k in range(len(windows.start)):  # alone, or padding of shorter windows would be read too
        model.loss(gatherer.batch(np.array([k]), generator))
    assert read == windows.positions_of(slice(None)).tolist()


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
