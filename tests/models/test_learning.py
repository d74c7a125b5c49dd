"""Every model learns what is there to learn, and nothing from noise."""

import math

import pytest
import torch
from tiny import CAUSAL, NAMES, TRAINED, batch_of, build, flat, train

import models

N_ITEMS, LENGTH = 20, 10
QUICK = {"steps": 100, "learning_rate": 0.01}  # every position is a target
PATIENT = {"steps": 400, "learning_rate": 0.003}  # the masked positions only


def effort(name):
    return PATIENT if name in TRAINED and name not in CAUSAL else QUICK


def chain(batch, order, seed):
    """Windows (B, LENGTH): with probability ``order`` the next item is the last one's successor,
    otherwise it is drawn from a long-tailed popularity, or evenly where there is no order."""
    generator = torch.Generator().manual_seed(seed)
    successor = torch.randperm(N_ITEMS, generator=torch.Generator().manual_seed(5))
    popularity = torch.arange(1, N_ITEMS + 1) ** (-1.0 if order else 0.0)
    drawn = torch.multinomial(popularity, batch * LENGTH, True, generator=generator)
    items = drawn.view(batch, LENGTH)
    follows = torch.rand(batch, LENGTH, generator=generator) < order
    for t in range(1, LENGTH):
        items[:, t] = torch.where(follows[:, t], successor[items[:, t - 1]], items[:, t])
    return items + 1


def hit_rate(model, order, at):
    """Share of 4,000 unseen windows whose last item is among the ``at`` best; ties count against it."""
    windows = chain(4000, order, seed=10**6)
    with torch.no_grad():
        scores = model.eval().scores(windows[:, :-1])[:, 1:]
    wanted = scores.gather(1, windows[:, -1:] - 1)
    return ((scores >= wanted).sum(1) <= at).float().mean().item()


def learned(name, order, steps, learning_rate=0.003):
    if name not in TRAINED:
        model = models.build(name, {}, N_ITEMS, LENGTH)
        model.fit(*flat(chain(2000, order, seed=0)))
        return model
    model = build(name, n_items=N_ITEMS, max_len=LENGTH, d_model=32)
    train(model, lambda step: chain(64, order, seed=step), steps, learning_rate)
    return model


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.slow) if effort(name) is PATIENT else name
        for name in NAMES
    ],
)
def test_a_markov_chain_is_learned(name):
    floor = {"popularity": 0.10, "itemknn": 0.10}.get(name, 0.6)
    rate = hit_rate(learned(name, order=0.7, **effort(name)), order=0.7, at=1)
    assert rate > floor, f"{name}: {rate:.3f}; guessing has {1 / N_ITEMS}, the chain itself 0.7"


@pytest.mark.parametrize("name", NAMES)
def test_noise_stays_noise(name):
    at = 5
    chance = at / N_ITEMS
    rate = hit_rate(learned(name, order=0.0, steps=100), order=0.0, at=at)
    assert rate < chance + 4 * math.sqrt(chance * (1 - chance) / 4000)


@pytest.mark.parametrize("name", TRAINED)
def test_one_batch_is_learned_by_heart(name):
    generator = torch.Generator().manual_seed(3)
    windows = torch.stack([torch.randperm(N_ITEMS, generator=generator)[:8] + 1 for _ in range(4)])
    model = build(name, n_items=N_ITEMS, max_len=8, d_model=32)
    losses = train(model, lambda step: windows, **effort(name))
    assert losses[0] > 0.8 * math.log(N_ITEMS)
    assert sum(losses[-10:]) / 10 < 0.1 * losses[0]
    assert model.loss(batch_of(windows)) < 0.2 * losses[0]
