"""The catalogue cross-entropy against PyTorch's own, in value and gradients."""

import pytest
import torch
import torch.nn.functional as F
from tiny import MAX_LEN, build, histories, normal
from torch import nn

import models
from models import ModelError, _catalogue, _kernels
from models._batch import gather_positions, lengths_of
from models._catalogue import catalogue_cross_entropy


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
    monkeypatch.setattr(_catalogue, "_rows_per_chunk", lambda *_: rows)
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


def test_cross_entropy_under_autocast_rounds_the_operands_of_products_only(monkeypatch):
    monkeypatch.setattr(_catalogue, "_rows_per_chunk", lambda *_: 5)
    hidden, table, targets = inputs(dtype=torch.float32)
    rounded = hidden.detach().bfloat16().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        loss = catalogue_cross_entropy(rounded, table, targets)
    assert loss.dtype == torch.float32
    expected = plain(hidden, table, targets)
    torch.testing.assert_close(loss, expected, rtol=3e-3, atol=0)
    got = torch.autograd.grad(loss, (rounded, table))
    assert [g.dtype for g in got] == [torch.bfloat16, torch.float32]
    for a, b in zip(got, torch.autograd.grad(expected, (hidden, table)), strict=True):
        assert (a.float() - b).norm() < 0.01 * b.norm()


def test_cross_entropy_of_half_numbers_without_autocast_is_computed_in_float32():
    hidden, table, targets = inputs(dtype=torch.float32)
    rounded = hidden.detach().bfloat16()
    loss = catalogue_cross_entropy(rounded, table, targets)
    torch.testing.assert_close(loss, plain(rounded.float(), table, targets))


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


def test_targets_outside_the_catalogue_are_refused():
    hidden, table, targets = inputs()
    for wrong in (0, len(table)):
        targets[3] = wrong
        with pytest.raises(ModelError, match=r"items 1\.\.50"):
            catalogue_cross_entropy(hidden, table, targets)


@pytest.mark.parametrize("backend", ["numba", "torch"])
@pytest.mark.parametrize("name", ["sasrec", "bert4rec"])
def test_with_the_norm_first_blocks_are_pytorchs_encoder_with_the_norm_first(name, backend):
    """The norm on the embedding is in front of the first attention; that behind the last sum is the encoder's own."""
    model = build(name, d_model=32, d_inner=48, n_layers=2, norm_first=True).eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.1 * normal(*weight.shape, seed=weight.numel()))
    norms = [model.norm, *(n for block in model.blocks for n in (block.norm, block.ffn.norm))]
    items = histories(5, MAX_LEN)
    causal, real = getattr(models.load(name), "causal", True), items != 0
    mask = torch.full((MAX_LEN, MAX_LEN), -torch.inf).triu(1) if causal else None
    x = model.item_embedding(items) + model.position_embedding.weight[:MAX_LEN]
    for block, before, behind in zip(model.blocks, norms[::2], norms[1::2], strict=False):
        layer = nn.TransformerEncoderLayer(
            32, 2, 48, 0.0, "gelu", 1e-12, batch_first=True, norm_first=True
        )
        attention = block.attention
        layer.self_attn.in_proj_weight.data = torch.cat(
            [attention.query.weight, attention.key_value.weight]
        )
        layer.self_attn.in_proj_bias.data = torch.cat(
            [attention.query.bias, attention.key_value.bias]
        )
        layer.self_attn.out_proj, layer.norm1, layer.norm2 = attention.out, before, behind
        layer.linear1, layer.linear2 = block.ffn.inner, block.ffn.outer
        x = layer(x, mask, None if causal else ~real)
    expected = norms[-1](x)
    with _kernels.using(backend):
        found = model.hidden(items)
    expected = expected if name == "sasrec" else model._head(expected)
    torch.testing.assert_close(found[real], expected[real], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("layers", [1, 2])
def test_mamba_with_the_norm_first_adds_up_what_no_norm_has_seen(layers):
    model = build("mamba4rec", d_model=16, n_layers=layers, norm_first=True)
    items = histories(5, MAX_LEN)
    x = model.item_embedding(items)
    normed = model.norm(x)
    for block in model.blocks:
        mixed = block.mamba(normed)
        x = x + mixed if layers > 1 else mixed
        x = x + block.ffn.outer(F.gelu(block.ffn.inner(block.norm(x))))
        normed = block.ffn.norm(x)
    torch.testing.assert_close(model.hidden(items), normed, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["sasrec", "bert4rec", "mamba4rec"])
def test_the_place_of_the_norm_changes_no_weight_but_what_is_computed(name):
    behind, first = (build(name, n_layers=2, norm_first=where) for where in (False, True))
    for (key, a), (other, b) in zip(
        *(m.state_dict().items() for m in (behind, first)), strict=True
    ):
        assert key == other and torch.equal(a, b)
    items = histories(5, MAX_LEN)
    assert not torch.allclose(behind.scores(items), first.scores(items))
