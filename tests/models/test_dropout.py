"""Dropout of the compiled kernels: its masks, and that the fused kernels use them as their parts would."""

import math

import pytest
import torch
import torch.nn.functional as F
from tiny import normal
from torch import nn

from models import _kernels
from models._kernels import elementwise

CLOSE = {"rtol": 1e-5, "atol": 2e-6}


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_dropout_drops_the_share_and_keeps_the_mean(p):
    torch.manual_seed(1)
    kept = elementwise.dropout(torch.ones(400, 500), p)
    share = (kept == 0).float().mean().item()
    assert abs(share - p) < 5 * math.sqrt(p * (1 - p) / kept.numel())
    torch.testing.assert_close(kept[kept != 0], torch.full_like(kept[kept != 0], 1 / (1 - p)))


def test_dropped_elements_are_independent_of_each_other_and_of_other_masks():
    torch.manual_seed(2)
    first, second = (elementwise.dropout(torch.ones(512, 256), 0.5) - 1 for _ in range(2))
    pairs = {
        "neighbours": (first[:, 1:], first[:, :-1]),
        "rows": (first[1:], first[:-1]),
        "far": (first[256:], first[:256]),
        "masks": (first, second),
        "shifted masks": (first.flatten()[1:], second.flatten()[:-1]),
    }
    for name, (a, b) in pairs.items():
        assert abs((a * b).mean().item()) < 5 / math.sqrt(a.numel()), name
    rows = (first.mean(1) * math.sqrt(256)).var().item()
    assert abs(rows - 1) < 5 * math.sqrt(2 / 512), "shares of the rows vary as they should"


def test_the_mask_of_the_backward_pass_is_that_of_the_forward_pass():
    x = torch.ones(40, 30, requires_grad=True)
    out = _kernels.dropout(x, 0.4, True)
    torch.testing.assert_close(*torch.autograd.grad(out.sum(), x), out.detach())
    out = _kernels.gelu(x, 0.4, True)
    (gradient,) = torch.autograd.grad(out.sum(), x)
    assert torch.equal(gradient == 0, out == 0) and (out == 0).any()
    residual = torch.zeros_like(x)
    norm = nn.LayerNorm(30)
    out = _kernels.add_norm(x, residual, norm, 0.4, True).normed
    (gradient,) = torch.autograd.grad((out * normal(40, 30)).sum(), x)
    dropped = out < out.mean(1, keepdim=True)  # all kept elements are alike, and above the mean
    assert torch.equal(gradient == 0, dropped) and dropped.any()


def with_the_same_mask(kernel, twin, *inputs):
    """Values and gradients of a kernel with dropout, and of its twin around a plain dropout of the same mask."""
    found = []
    for function in (kernel, twin):
        torch.manual_seed(3)
        leaves = [t.clone().requires_grad_() for t in inputs]
        out = function(*leaves)
        found.append((out, *torch.autograd.grad(out, leaves, normal(*out.shape, seed=4))))
    return zip(*found, strict=True)


def test_add_norm_with_dropout_is_its_parts_with_the_same_mask():
    def kernel(x, residual, weight, bias):
        return sum(elementwise.add_norm(x, residual, weight, bias, 1e-12, 0.3))

    def twin(x, residual, weight, bias):
        total = elementwise.dropout(x, 0.3) + residual
        return F.layer_norm(total, (16,), weight, bias, 1e-12) + total

    inputs = normal(20, 16), normal(20, 16, seed=1), normal(16), normal(16, seed=1)
    for got, expected in with_the_same_mask(kernel, twin, *inputs):
        torch.testing.assert_close(got, expected, **CLOSE)


def test_gelu_with_dropout_is_its_parts_with_the_same_mask():
    parts = with_the_same_mask(
        lambda x: elementwise.gelu(x, 0.3),
        lambda x: elementwise.dropout(F.gelu(x), 0.3),
        normal(9, 33),
    )
    for got, expected in parts:
        torch.testing.assert_close(got, expected, **CLOSE)


@pytest.mark.parametrize("p", [0.0, 0.5])
def test_nothing_in_gives_nothing_out(p):
    x, norm = torch.empty(0, 3, 8, requires_grad=True), nn.LayerNorm(8)
    for out in (
        _kernels.dropout(x, p, True),
        _kernels.gelu(x, p, True),
        _kernels.add_norm(x, x, norm, p, True).normed,
    ):
        assert out.shape == x.shape
        out.sum().backward()


def test_no_dropout_outside_training():
    x = normal(4, 8)
    assert _kernels.dropout(x, 0.5, False) is x
    assert torch.equal(_kernels.gelu(x, 0.5, False), _kernels.gelu(x, 0.0, True))
