"""The counting models on interactions that can be counted by hand."""

import pytest
import torch

import models

USERS = [[1, 2, 3], [2, 3, 2], [], [4], [1, 2]]


def fitted(name, users=USERS, n_items=5, **hyperparameters):
    model = models.build(name, hyperparameters, n_items, max_len=10)
    items = torch.tensor([item for user in users for item in user], dtype=torch.long)
    offsets = torch.tensor([0] + [len(user) for user in users]).cumsum(0)
    model.fit(items, offsets)
    return model


def test_popularity_counts_interactions():
    scores = fitted("popularity").scores(torch.tensor([[1, 0], [5, 3]]))
    assert scores.tolist() == [[0, 2, 4, 2, 1, 0]] * 2
    scores[0, 2] = -1  # the rows are the caller's own
    assert scores[1, 2] == 4


def test_markov_counts_what_followed_the_last_item_of_the_same_user():
    scores = fitted("markov").scores(torch.tensor([[3, 1, 0], [1, 3, 2], [4, 0, 0], [5, 0, 0]]))
    counts = [[0, 0, 2, 0, 0, 0], [0, 0, 0, 2, 0, 0], [0] * 6, [0] * 6]
    popularity = [0, 2, 4, 2, 1, 0]
    expected = torch.tensor(counts) + torch.tensor(popularity) / 5
    torch.testing.assert_close(scores, expected)


def test_markov_survives_users_without_transitions():
    for users in ([[]], [[], [1], []], [[2], [3]]):
        scores = fitted("markov", users).scores(torch.tensor([[1], [3]]))
        assert torch.isfinite(scores).all() and (scores < 1).all()


@pytest.mark.parametrize("shrinkage", [0.0, 10.0])
def test_itemknn_is_the_shrunk_cosine(monkeypatch, shrinkage):
    generator = torch.Generator().manual_seed(0)
    n_users, n_items = 40, 12
    owned = torch.rand(n_users, n_items + 1, generator=generator) < 0.3
    owned[:, 0] = False
    users = [row.nonzero()[:, 0].tolist() * 2 for row in owned]  # everything twice: must not matter
    both = owned.double().T @ owned.double()
    norms = both.diagonal().sqrt()
    cosine = both / (norms[:, None] * norms + shrinkage).clamp(min=1e-9)
    cosine.fill_diagonal_(0)
    monkeypatch.setattr(models.load("itemknn"), "BLOCK_BYTES", 1000)  # several blocks everywhere
    every = fitted("itemknn", users, n_items, k=n_items, shrinkage=shrinkage)
    history = torch.tensor([[3, 7, 3, 0], [5, 0, 0, 0]])
    expected = torch.stack([cosine[3] + cosine[7], cosine[5]]).float()
    torch.testing.assert_close(every.scores(history), expected, rtol=1e-5, atol=1e-6)
    best = fitted("itemknn", users, n_items, k=2, shrinkage=shrinkage).scores(history)[1]
    kept = cosine[5].topk(2)
    assert set(best.nonzero()[:, 0].tolist()) == set(kept.indices.tolist())
