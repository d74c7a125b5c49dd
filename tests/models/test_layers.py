"""The catalogue cross-entropy against PyTorch's own, in value and gradients."""

import pytest
import torch
import torch.nn.functional as F

from models import _layers
from models._layers import catalogue_cross_entropy, gather_positions, lengths_of


def inputs(n_targets=37, n_items=50, width=8, dtype=torch.float64, scale=1.0):
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(n_targets, width, generator=generator, dtype=dtype) * scale
    table = torch.randn(n_items + 1, width, generator=generator, dtype=dtype)
    targets = torch.randint(1, n_items + 1, (n_targets,), generator=generator)
    return hidden.requires_grad_(), table.requires_grad_(), targets


def plain(hidden, table, targets):
    return F.cross_entropy(hidden @ table[1:].T, targets - 1)


@pytest.mark.parametrize("rows", [1, 5, 37, 1000])
@pytest.mark.parametrize("scale", [1.0, 300.0])
def test_cross_entropy_equals_the_plain_one(monkeypatch, rows, scale):
    monkeypatch.setattr(_layers, "_rows_per_chunk", lambda n_items, device: rows)
    hidden, table, targets = inputs(scale=scale)
    loss = catalogue_cross_entropy(hidden, table, targets)
    expected = plain(hidden, table, targets)
    torch.testing.assert_close(loss, expected, rtol=1e-12, atol=1e-12)
    got = torch.autograd.grad(3 * loss, (hidden, table))
    torch.testing.assert_close(got, torch.autograd.grad(3 * expected, (hidden, table)))
    assert torch.all(got[1][0] == 0), "the padding row is no candidate"


def test_cross_entropy_gradient_is_the_derivative():
    hidden, table, targets = inputs(n_targets=6, n_items=7, width=3)
    assert torch.autograd.gradcheck(
        lambda h, e: catalogue_cross_entropy(h, e, targets), (hidden, table)
    )


def test_cross_entropy_in_half_precision_is_computed_in_float32():
    hidden, table, targets = inputs(dtype=torch.float32)
    rounded = hidden.detach().bfloat16().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        loss = catalogue_cross_entropy(rounded, table, targets)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, plain(rounded.float(), table, targets))
    loss.backward()
    assert rounded.grad.dtype == torch.bfloat16 and table.grad.dtype == torch.float32


def test_cross_entropy_without_gradients():
    hidden, table, targets = inputs()
    with torch.no_grad():
        loss = catalogue_cross_entropy(hidden, table, targets)
    assert not loss.requires_grad
    torch.testing.assert_close(loss, plain(hidden, table, targets).detach())


def test_lengths_and_gathering():
    items = torch.tensor([[3, 1, 0], [2, 2, 2], [0, 0, 0]])
    assert lengths_of(items).tolist() == [2, 3, 1]
    x = torch.arange(18.0).view(3, 3, 2)
    picked = gather_positions(x, torch.tensor([[2], [0], [1]]))
    assert picked.squeeze(1).tolist() == [[4, 5], [6, 7], [14, 15]]
