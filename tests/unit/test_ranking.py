"""Ranks are full, conservative, and the same whatever the batching."""

import itertools

import numpy as np
import pytest
import torch

from seqbench.data.split import leave_one_out
from seqbench.training import ranking
from seqbench.training.ranking import Diverged, Evaluator, rank_target, summary


class Fixed(torch.nn.Module):
    """Scores every item by a function of the history."""

    def __init__(self, score):
        super().__init__()
        self.score = score

    def scores(self, items):
        return self.score(items)


def test_rank_counts_better_and_equal_items_against_the_target():
    scores = torch.tensor([[-torch.inf, 3.0, 2.0, 2.0, 1.0]])
    found = rank_target(scores.clone(), torch.tensor([2]), torch.tensor([[1, 0]]))
    rank, ties = found["kept"]
    assert (rank.item(), ties.item()) == (3, 1)  # item 1 is better, item 3 equal
    rank, ties = found["excluded"]
    assert (rank.item(), ties.item()) == (2, 1)  # item 1 was seen


def test_a_target_that_was_seen_before_stays_in_the_ranking():
    scores = torch.tensor([[-torch.inf, 3.0, 2.0, 1.0]])
    found = rank_target(scores, torch.tensor([2]), torch.tensor([[2, 1]]))
    assert found["kept"][0].item() == 2
    assert found["excluded"][0].item() == 1


def brute_force(items, offsets, score, seq_len, split):
    """Ranks by sorting one user at a time: kept, then excluded."""
    result = []
    for u in leave_one_out(offsets).users[split]:
        place = offsets[u + 1] - (1 if split == "test" else 2)
        history, target = items[offsets[u] : place], items[place]
        scores = score(torch.from_numpy(history[-seq_len:].astype(np.int64))[None])[0].numpy()
        pair = []
        for masked in (set(), set(history.tolist()) - {int(target)}):
            rivals = [i for i in range(1, len(scores)) if i != target and i not in masked]
            pair.append(1 + sum(scores[i] >= scores[target] for i in rivals))
        result.append(pair)
    return np.array(result)


@pytest.mark.parametrize("split", ["valid", "test"])
@pytest.mark.parametrize("batch", [1, 3, 100])
def test_ranks_agree_with_brute_force(split, batch):
    rng = np.random.default_rng(0)
    lengths = rng.integers(1, 15, 30)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    items = rng.integers(1, 13, offsets[-1]).astype(np.int32)
    table = torch.from_numpy(rng.integers(0, 6, (14, 13)).astype(np.float32))

    def score(inputs):  # depends on the last item and on how many items were given
        last = inputs.gather(1, (inputs != 0).sum(1, keepdim=True) - 1).squeeze(1)
        return table[last] + ((inputs != 0).sum(1, keepdim=True) % 3)

    evaluator = Evaluator(items, leave_one_out(offsets), 5, batch, torch.device("cpu"))
    found = evaluator.ranks(Fixed(score), split)
    expected = brute_force(items, offsets, score, 5, split)
    assert np.array_equal(found["kept"].rank, expected[:, 0])
    assert np.array_equal(found["excluded"].rank, expected[:, 1])


def test_the_padding_row_is_never_ranked_and_equal_scores_give_the_last_rank():
    items = np.array([1, 2, 3], dtype=np.int32)
    evaluator = Evaluator(items, leave_one_out(np.array([0, 3])), 5, 4, torch.device("cpu"))
    found = evaluator.ranks(Fixed(lambda x: torch.zeros(len(x), 11)), "test")
    assert found["kept"].rank.tolist() == [10] and found["kept"].ties.tolist() == [9]
    assert found["excluded"].rank.tolist() == [8] and found["excluded"].ties.tolist() == [7]


def test_nan_is_an_error_not_a_rank():
    evaluator = Evaluator(
        np.array([1, 2, 3], dtype=np.int32),
        leave_one_out(np.array([0, 3])),
        5,
        4,
        torch.device("cpu"),
    )
    with pytest.raises(Diverged, match="NaN"):
        evaluator.ranks(Fixed(lambda x: torch.full((len(x), 4), torch.nan)), "test")


def test_users_with_fewer_than_three_items_are_not_evaluated():
    split = leave_one_out(np.array([0, 2, 5, 6, 10]))
    assert split.users["test"].tolist() == split.users["valid"].tolist() == [1, 3]


def test_summary_averages_over_users():
    evaluator = Evaluator(
        np.array([1, 2, 3, 1, 2, 4], dtype=np.int32),
        leave_one_out(np.array([0, 3, 6])),
        5,
        4,
        torch.device("cpu"),
    )
    scores = torch.tensor([0.0, 5.0, 4.0, 3.0, 2.0])
    found = summary(evaluator.ranks(Fixed(lambda x: scores.expand(len(x), 5).clone()), "test"))
    assert found["kept"]["mrr@10"] == pytest.approx((1 / 3 + 1 / 4) / 2)
    assert found["excluded"]["mrr@10"] == pytest.approx((1 + 1 / 2) / 2)


def test_batches_hold_users_and_positions_within_their_bounds():
    lengths = np.sort(np.random.default_rng(0).integers(1, 90, 500))
    cuts = ranking._cuts(lengths, 32, 1000)
    spans = list(itertools.pairwise(cuts))
    assert (cuts[0], cuts[-1]) == (0, 500) and all(low < high for low, high in spans)
    assert all(high - low <= 32 for low, high in spans)
    assert all((high - low) * lengths[high - 1] <= 1000 for low, high in spans)
    assert ranking._cuts(np.array([5000, 6000]), 32, 1000) == [0, 1, 2], "one user always fits"
    assert ranking._cuts(lengths, 200, None) == [0, 200, 400, 500]
