"""What is known of the users, and the probe of order: models whose answer to it can be told in advance."""

import numpy as np
import torch

from seqbench.data import open_dataset
from seqbench.data.store import Dataset, user_facts
from seqbench.training import ranking
from seqbench.training.ranking import Evaluator, shuffled

ITEMS = np.array([1, 2, 3, 4, 2, 2, 5, 1, 3], dtype=np.int32)
OFFSETS = np.array([0, 4, 7, 9])  # the third user has two items: nothing to evaluate


def dataset(times=None):
    return Dataset("d", ITEMS, OFFSETS, np.arange(9), times, {"n_items": 5, "n_users": 3})


def facts(data):
    arrays = {"items": data.items, "offsets": data.offsets, "times": data.times}
    return user_facts(arrays, data.split, data.n_items)


def test_users_are_described_by_their_history_and_their_target():
    found = facts(dataset())
    assert found["history_length"].tolist() == [3, 2]
    # Training parts: 1 2 of the first user, 2 of the second, 1 3 of the third; targets 4 and 5.
    assert found["target_popularity"].tolist() == [0, 0]
    assert "tied" not in found
    again = Dataset(
        "d",
        np.array([1, 2, 3, 2, 4, 4, 2], dtype=np.int32),
        np.array([0, 4, 7]),
        np.arange(7),
        None,
        {"n_items": 5},
    )
    assert facts(again)["target_popularity"].tolist() == [1, 1]


def test_a_target_that_shares_its_time_is_marked():
    times = np.array([1, 2, 3, 3, 5, 6, 7, 8, 9])
    assert facts(dataset(times))["tied"].tolist() == [1, 0]


def test_shuffling_keeps_the_items_of_every_row_and_its_padding():
    items = torch.tensor([[1, 2, 3, 4, 5, 6, 7, 8], [9, 8, 7, 0, 0, 0, 0, 0]])
    out = shuffled(items, torch.Generator().manual_seed(0))
    assert torch.equal(out.sort(1).values, items.sort(1).values)
    assert torch.equal(out == 0, items == 0) and not torch.equal(out, items)
    assert torch.equal(out, shuffled(items, torch.Generator().manual_seed(0)))


class Last(torch.nn.Module):
    """Scores by the last item alone, or by which items are there at all."""

    def __init__(self, ordered):
        super().__init__()
        self.ordered = ordered

    def scores(self, items):
        scores = torch.zeros(len(items), 41)
        if self.ordered:
            last = items.gather(1, (items != 0).sum(1, keepdim=True) - 1)
            return scores.scatter(1, last % 40 + 1, 1.0)
        return scores.scatter_add(1, items, torch.ones_like(items, dtype=torch.float))


def test_a_model_that_ignores_order_keeps_its_ranks_and_one_that_uses_it_does_not(tiny):
    data = open_dataset(tiny)
    evaluator = Evaluator(data.items, data.split, 10, 16, torch.device("cpu"))
    for ordered in (True, False):
        found = ranking.samples(evaluator, Last(ordered))
        same = np.array_equal(found["test/rank"], found["test-shuffled/rank"])
        assert same is not ordered
