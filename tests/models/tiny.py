"""Small models, histories and data for the tests of this folder."""

import dataclasses
import math

import torch

import models

N_ITEMS, MAX_LEN = 30, 12
NAMES = models.available()
TRAINED = [name for name in NAMES if getattr(models.load(name), "trainable", True)]
CAUSAL = [name for name in TRAINED if getattr(models.load(name), "causal", True)]


def having(name, **hyperparameters):
    """Of these hyper-parameters those that a model's Config declares."""
    declared = {field.name for field in dataclasses.fields(models.load(name).Config)}
    return {key: value for key, value in hyperparameters.items() if key in declared}


def build(name, n_items=N_ITEMS, max_len=MAX_LEN, **hyperparameters):
    """A small model without dropout, the same one every time; counting models come fitted."""
    torch.manual_seed(0)
    if name in TRAINED:
        return models.build(
            name, {"d_model": 16, "dropout": 0.0} | hyperparameters, n_items, max_len
        )
    model = models.build(name, hyperparameters, n_items, max_len)
    users = histories(20, max_len, n_items=n_items, seed=1)
    model.fit(*flat(users))
    return model


def normal(*shape, seed=0):
    """Standard normal numbers of a shape, the same ones every time."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def histories(batch, length, n_items=N_ITEMS, seed=0):
    """Random right-padded items (B, L); the first row is full, the last holds one item."""
    generator = torch.Generator().manual_seed(seed)
    items = torch.randint(1, n_items + 1, (batch, length), generator=generator)
    lengths = torch.randint(1, length + 1, (batch,), generator=generator)
    lengths[0], lengths[-1] = length, 1
    return items * (torch.arange(length) < lengths[:, None])


def flat(items):
    """Right-padded rows as the flat items and offsets that counting models are fitted on."""
    lengths = (items != 0).sum(1)
    return items[items != 0], torch.cat([torch.zeros(1, dtype=torch.long), lengths.cumsum(0)])


def batch_of(windows, seed=0):
    """A batch in which everything but the first item of a window is a target."""
    return models.Batch(
        windows=windows,
        lengths=(windows != 0).sum(1),
        target_mask=windows[:, 1:] != 0,
        generator=torch.Generator().manual_seed(seed),
    )


def train(model, draw_windows, steps, learning_rate=3e-3):
    """Adam on fresh windows; the loss of every step."""
    optimizer = torch.optim.Adam(model.parameters(), learning_rate)
    losses = []
    for step in range(steps):
        loss = model.loss(batch_of(draw_windows(step), seed=step))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        assert math.isfinite(losses[-1])
    return losses
