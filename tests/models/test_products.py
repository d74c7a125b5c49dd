"""Half products against the same function in plain float32, kernel by kernel and model by model."""

import pytest
import torch
import torch.nn.functional as F
from tiny import MAX_LEN, TRAINED, batch_of, build, having, histories, normal

import models
from models import _kernels, _scan
from models._catalogue import catalogue_cross_entropy
from models._kernels import products

HALF = torch.bfloat16
ULP = 2.0**-8  # relative distance of two neighbouring bfloat16 numbers


def cut(x):
    """X with its last 16 bits rounded away, in float32."""
    return x.to(HALF).float()


class Twin(torch.autograd.Function):
    """The slow twin: rounded operands, products in float32, results rounded."""

    @staticmethod
    def forward(ctx, x, weight, bias):
        ctx.save_for_backward(x, weight)
        y = cut(x) @ cut(weight).T
        return cut(y if bias is None else y + cut(bias))

    @staticmethod
    def backward(ctx, d_out):
        x, weight = (cut(t) for t in ctx.saved_tensors)
        d, rows = cut(d_out).flatten(0, -2), x.flatten(0, -2)
        return cut(cut(d_out) @ weight), cut(d.T @ rows), d.sum(0)


def relative(a, b):
    """Distance of two lists of tensors, relative to the second."""
    a, b = (torch.cat([t.detach().flatten() for t in ts]) for ts in (a, b))
    return float((a - b).norm() / b.norm())


@pytest.mark.parametrize("shape", [(1, 1, 8), (3, 37, 64), (2, 128, 16), (5, 7)])
def test_linear_is_its_twin(shape):
    inputs = normal(*shape), normal(24, shape[-1], seed=1), normal(24, seed=2)
    d_out = normal(*shape[:-1], 24, seed=3)
    found = []
    for function in (products.linear, Twin.apply, F.linear):
        leaves = [t.clone().requires_grad_() for t in inputs]
        with models.half_products():
            y = function(*leaves)
        found.append([y, *torch.autograd.grad(y, leaves, d_out)])
    for got, wanted in zip(found[0], found[1], strict=True):
        assert got.dtype == torch.float32
        torch.testing.assert_close(
            got, wanted, rtol=2 * ULP, atol=ULP * float(wanted.detach().abs().max())
        )
    assert relative(*found[:2]) < 0.2 * relative(found[0], found[2]), "nearer to its twin"


def test_linear_outside_is_exact_and_the_switch_goes_back():
    x, weight = normal(3, 8), normal(5, 8, seed=1)
    assert products.half(x.device) is None
    with models.half_products():
        assert products.half(x.device) == HALF
        with models.half_products(False):
            assert torch.equal(_kernels.linear(x, weight), F.linear(x, weight))
        assert not torch.equal(products.linear(x, weight, None), F.linear(x, weight))
    assert torch.equal(_kernels.linear(x, weight), F.linear(x, weight))
    with torch.autocast("cpu", HALF):
        assert products.half(x.device) == HALF


def test_rows_are_padded_with_zeros_to_few_sizes():
    sizes = set()
    for size in range(1, 2049):
        rows = len(products.rounded(torch.ones(size, 1)))
        assert size <= rows <= max(size + 16, size * 17 / 16 + 1)
        sizes.add(rows)
    assert len([size for size in sizes if 1024 < size <= 2048]) == 16
    rows = products.rounded(torch.ones(33, 2))
    assert torch.equal(rows.sum(1), 2.0 * (torch.arange(len(rows)) < 33)) and rows.dtype == HALF


@pytest.mark.parametrize("p", [0.0, 0.3])
def test_elementwise_kernels_read_and_write_half_numbers(p):
    def run(x, backend):
        x = x.clone().requires_grad_()
        torch.manual_seed(0)
        with _kernels.using(backend):
            y = _kernels.gelu(x, p, True)
            z = sum(_kernels.add_norm(x, residual, norm, p, True))
        d_y, d_z = cut(normal(*y.shape, seed=5)).to(y.dtype), normal(*z.shape, seed=6)
        return y, z, *torch.autograd.grad(y, x, d_y), *torch.autograd.grad(z, x, d_z)

    residual, norm = normal(9, 32, seed=1), torch.nn.LayerNorm(32)
    half = normal(9, 32).to(HALF)
    got, wanted = run(half, "numba"), run(half.float(), "numba")
    assert [t.dtype for t in got] == [HALF, torch.float32, HALF, HALF]
    for a, b in zip(got, wanted, strict=True):
        torch.testing.assert_close(a.float(), b, rtol=ULP, atol=1e-3)
    assert torch.equal(got[1], wanted[1]), "what was rounded before is read exactly"


def test_rounding_is_to_nearest_even_and_keeps_what_is_no_number():
    ties = torch.tensor([0x3F808000, 0x3F818000, 0x3F807FFF], dtype=torch.int32).view(torch.float32)
    x = torch.cat([ties, normal(1000) * 1e3, torch.tensor([0.0, torch.inf, -torch.inf])])[None]
    leaf = torch.zeros_like(x).to(HALF).requires_grad_()
    with _kernels.using("numba"):
        y = _kernels.gelu(leaf, 0.0, True)
    (d,) = torch.autograd.grad(y, leaf, (2 * x).to(HALF))
    assert torch.equal(d, x.to(HALF))  # the slope of GELU at 0 is 1/2
    (d,) = torch.autograd.grad(
        _kernels.gelu(leaf, 0.0, True), leaf, torch.full_like(leaf, torch.nan)
    )
    assert torch.isnan(d).all()


@pytest.mark.parametrize("spread", [1.0, 30.0])
def test_the_loss_on_half_logits_is_its_twin(spread):
    hidden, table = spread * normal(300, 16), normal(61, 16, seed=1)
    targets = torch.randint(1, 61, (300,), generator=torch.Generator().manual_seed(2))
    found = []
    for backend, half in (("numba", True), ("torch", True), ("torch", False)):
        leaves = [hidden.clone().requires_grad_(), table.clone().requires_grad_()]
        with _kernels.using(backend), models.half_products(half):
            loss = catalogue_cross_entropy(*leaves, targets)
        found.append((loss, torch.autograd.grad(loss, leaves)))
        assert loss.dtype == torch.float32 and all(g.dtype == torch.float32 for g in found[-1][1])
    torch.testing.assert_close(found[0][0], found[1][0], rtol=1e-4, atol=1e-4)
    assert relative(found[0][1], found[1][1]) < 0.3 * relative(found[0][1], found[2][1]) < 0.01


@pytest.mark.parametrize("name", TRAINED)
def test_a_model_with_half_products(name):
    """Compiled kernels compute what plain ones do; both are near the exact model, and not it."""
    windows = histories(8, MAX_LEN + 1)
    model = build(name, **having(name, n_layers=2))
    losses, gradients = [], []
    for backend, half in (("numba", True), ("torch", True), ("torch", False)):
        with _kernels.using(backend), models.half_products(half):
            losses.append(model.loss(batch_of(windows)))
        gradients.append(torch.autograd.grad(losses[-1], list(model.parameters())))
    torch.testing.assert_close(losses[0], losses[1], rtol=1e-4, atol=0)
    torch.testing.assert_close(losses[0], losses[2], rtol=1e-3, atol=0)
    assert all(g.dtype == torch.float32 for g in gradients[0])
    assert relative(gradients[0], gradients[1]) < 0.004
    assert 0.001 < relative(gradients[0], gradients[2]) < 0.02


@pytest.mark.parametrize("name", TRAINED)
def test_attention_scan_and_recurrence_stay_whole(name, monkeypatch):
    seen = []

    def watch(owner, function):
        inner = getattr(owner, function)

        def watched(*inputs, **more):
            seen.extend(t.dtype for t in inputs if isinstance(t, torch.Tensor))
            return inner(*inputs, **more)

        monkeypatch.setattr(owner, function, watched)

    watch(F, "scaled_dot_product_attention")
    watch(_scan, "selective_scan")
    watch(_kernels, "conv_silu")
    watch(_kernels, "gru")
    with models.half_products():
        build(name).loss(batch_of(histories(8, MAX_LEN + 1)))
    kept = [dtype for dtype in seen if dtype.is_floating_point]
    assert kept and set(kept) == {torch.float32}


def test_padding_is_not_counted():
    with models.counting_flops():
        assert len(products.rounded(torch.ones(33, 2))) == 33


@pytest.mark.parametrize("name", TRAINED)
def test_scores_are_products_in_float32(name):
    model = build(name, **having(name, n_layers=2)).eval()
    with models.half_products():
        query = model.query(histories(4, MAX_LEN))
        scores = model.score(query)
    assert torch.equal(scores, query @ model.item_table().T)
    assert not torch.equal(query, model.query(histories(4, MAX_LEN))), "hidden layers are half"


@pytest.mark.parametrize("name", TRAINED)
def test_explicit_and_eager_models_take_half_products_too(name):
    windows = histories(8, MAX_LEN + 1)
    model = build(name, **having(name, attention="naive", gelu="unfused"))
    with _kernels.using("eager"):
        exact = model.loss(batch_of(windows))
        with models.half_products():
            half = model.loss(batch_of(windows))
    assert not torch.equal(half, exact)
    torch.testing.assert_close(half, exact, rtol=1e-2, atol=0)
