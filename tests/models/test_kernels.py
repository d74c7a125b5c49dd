"""Every compiled kernel against its twin in PyTorch: values, gradients, threads, and whole models."""

import math
import shutil

import pytest
import torch
import torch.nn.functional as F
from tiny import MAX_LEN, TRAINED, batch_of, build, having, histories, normal
from torch import nn

from models import ModelError, _kernels
from models._batch import Places
from models._catalogue import catalogue_cross_entropy
from models._kernels import catalogue
from models._layers import AttentionBlock

CLOSE = {"rtol": 1e-5, "atol": 2e-6}


def agree(function, *inputs, allow_unused=False, **close):
    """Values and gradients of a compiled kernel in float32 and of its twin in float64."""
    exact = [t.double().requires_grad_() for t in inputs]
    rounded = [t.clone().requires_grad_() for t in inputs]
    with _kernels.using("torch"):
        expected = function(*exact)
    with _kernels.using("numba"):
        got = function(*rounded)
    d_out = normal(*expected.shape, seed=9)
    unused = {"allow_unused": allow_unused, "materialize_grads": allow_unused}
    gradients = torch.autograd.grad(got, rounded, d_out, **unused)
    wanted = torch.autograd.grad(expected, exact, d_out.double(), **unused)
    for a, b in zip((got, *gradients), (expected, *wanted), strict=True):
        assert a.dtype == torch.float32
        torch.testing.assert_close(a.double(), b, **(CLOSE | close))


def add_norm(x, residual, weight, bias):
    norm = nn.LayerNorm(x.shape[-1], eps=1e-12)
    del norm.weight, norm.bias  # to put in what the gradient is asked of
    norm.weight, norm.bias = weight, bias
    return _kernels.add_norm(x, residual, norm, 0.0, True)


def both(summed, share=0.3):
    """Something that depends on a sum and on the norm of it."""
    return summed.normed + share * summed.total


@pytest.mark.parametrize("shape", [(1, 16), (3, 37, 64), (2, 5, 7)])
def test_add_norm(shape):
    inputs = normal(*shape), normal(*shape, seed=1), normal(shape[-1]), normal(shape[-1])
    for of_sum in (lambda s: s.normed, lambda s: s.total, both):
        agree(lambda *given, read=of_sum: read(add_norm(*given)), *inputs, allow_unused=True)
    alone = 30 * normal(*shape), *normal(2, shape[-1])
    agree(lambda x, w, b: both(add_norm(x, None, w, b)), *alone, rtol=1e-4, atol=2e-5)


def test_gelu_even_where_it_is_flat():
    agree(lambda x: _kernels.gelu(x, 0.0, True), normal(5, 40) * 3)
    agree(lambda x: _kernels.gelu(x, 0.0, True), torch.linspace(-30, 30, 401)[None])


@pytest.mark.parametrize("norm_first", [False, True])
@pytest.mark.parametrize("n_rows", [1, 7, 2100])
def test_feed_forward(n_rows, norm_first):
    sizes = [(1, n_rows, 16), (48, 16), (48,), (16, 48), (16,), (16,), (16,), (1, n_rows, 16)]

    def run(x, *weights):
        *weights, residual = weights
        layers = [nn.Linear(16, 48), nn.Linear(48, 16), nn.LayerNorm(16, eps=1e-12)]
        for layer, weight, bias in zip(layers, weights[::2], weights[1::2], strict=True):
            del layer.weight, layer.bias  # to put in what the gradient is asked of
            layer.weight, layer.bias = weight, bias
        if norm_first:
            return both(_kernels.feed_forward(x, residual, *layers, 0.0, 0.0, True))
        return _kernels.feed_forward(x, None, *layers, 0.0, 0.0, True).normed + 0 * residual

    agree(run, *(normal(*size, seed=s) for s, size in enumerate(sizes)), rtol=1e-4, atol=2e-4)


@pytest.mark.parametrize("norm_first", [False, True])
def test_dropout_of_a_fused_network_is_that_of_its_parts(norm_first):
    layers = [nn.Linear(16, 32), nn.Linear(32, 16), nn.LayerNorm(16)]
    x, weights = normal(130, 16), [p for layer in layers for p in layer.parameters()]

    residual = normal(130, 16, seed=2) if norm_first else None

    def in_parts(x, added, inner, outer, norm, inner_p, p, training):
        hidden = outer(_kernels.gelu(inner(x), inner_p, training))
        return _kernels.add_norm(hidden, x if added is None else added, norm, p, training)

    results = []
    for run in (in_parts, _kernels.feed_forward):
        torch.manual_seed(3)
        leaf = x.clone().requires_grad_()
        out = both(run(leaf, residual, *layers, 0.3, 0.2, True))
        results.append((out, *torch.autograd.grad(out, [leaf, *weights], normal(130, 16, seed=1))))
    for expected, got in zip(*results, strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-4, atol=2e-5)


@pytest.fixture
def keep_threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture
def compiled_attention(monkeypatch):
    """Rows of any length go to the compiled kernel."""
    monkeypatch.setattr(_kernels, "SHORT_ROW", 0)


@pytest.mark.usefixtures("compiled_attention")
@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("length", [1, 9, 64, 65, 150])
def test_attention(causal, length):
    inputs = [normal(3, 2, length, 8, seed=s) for s in range(3)]
    agree(lambda q, k, v: _kernels.attention(q, k, v, None, causal), *inputs)


@pytest.mark.usefixtures("compiled_attention")
@pytest.mark.parametrize("n_queries", [1, 3, 70])
def test_attention_to_real_positions_only(n_queries):
    lengths = torch.tensor([1, 70, 33])
    q, k, v = normal(3, 2, n_queries, 8), *(normal(3, 2, 70, 8, seed=s) for s in (1, 2))
    agree(lambda q, k, v: _kernels.attention(q, k, v, lengths, False), q, k, v)
    before = _kernels.attention(q, k, v, lengths, False)
    k[0, :, 1:], v[0, :, 1:] = 1e4, 1e4  # what is hidden may hold anything
    torch.testing.assert_close(_kernels.attention(q, k, v, lengths, False), before, rtol=0, atol=0)


@pytest.mark.usefixtures("compiled_attention")
def test_attention_to_real_positions_before_the_query():
    lengths = torch.tensor([5, 20])
    inputs = [normal(2, 1, 20, 8, seed=s) for s in range(3)]
    agree(lambda q, k, v: _kernels.attention(q, k, v, lengths, True), *inputs)


@pytest.mark.usefixtures("compiled_attention")
@pytest.mark.parametrize("causal", [True, False])
def test_attention_to_nothing_is_zero(causal):
    inputs = [normal(2, 1, 20, 8, seed=s) for s in range(3)]
    agree(lambda q, k, v: _kernels.attention(q, k, v, torch.tensor([0, 20]), causal), *inputs)


@pytest.mark.usefixtures("compiled_attention")
def test_attention_survives_large_scores():
    inputs = [normal(1, 2, 20, 8, seed=s) * 30 for s in range(3)]
    attend = lambda q, k, v: _kernels.attention(q, k, v, None, True)  # noqa: E731
    agree(attend, *inputs, rtol=1e-3, atol=1e-3)


@pytest.mark.usefixtures("compiled_attention")
def test_attention_does_not_lose_what_is_not_finite():
    q, k, v = (normal(2, 1, 20, 8, seed=s) for s in range(3))
    k[0, 0, 3, 2] = math.nan
    finite = torch.isfinite(_kernels.attention(q, k, v, None, True)).all(-1)
    assert finite[1].all() and finite[0, 0, :3].all() and not finite[0, 0, 3:].any()


def test_attention_memory_does_not_grow_with_the_square_of_the_length():
    length = 300
    q, k, v = (normal(1, 1, length, 4, seed=s).requires_grad_() for s in range(3))
    sizes = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: sizes.append(t.numel()) or t, id):
        _kernels.attention(q, k, v, None, True)
    assert sizes and max(sizes) <= 4 * (length + 16)


@pytest.mark.parametrize("norm_first", [False, True])
@pytest.mark.parametrize("of_some", [True, False])
@pytest.mark.parametrize(
    ("length", "width", "heads", "causal"),
    [(1, 16, 1, False), (37, 32, 2, True), (37, 64, 2, False), (130, 32, 1, False)],
)
def test_attention_block(length, width, heads, causal, of_some, norm_first):
    """Windows in one kernel; where only some positions ask, a window may have none that does."""
    drawn = torch.rand(9, length, generator=torch.Generator().manual_seed(3)) < 0.3
    drawn[1], drawn[:, 0], drawn[4] = True, True, length == 1
    at = Places.where(drawn) if of_some and not causal else None
    lengths = None if causal else torch.arange(9) * length // 9 + 1
    block = AttentionBlock(width, heads, 2 * width, 0.0, norm_first=norm_first)
    names, inputs = zip(*block.named_parameters(), strict=True)
    inputs = [0.3 * normal(*t.shape, seed=s) for s, t in enumerate(inputs)]
    used = _kernels.fuses_attention(normal(9, length, width), width // heads)
    assert used, "or the twin would be compared with itself"

    def run(x, total, *parameters):
        given = dict(zip(names, parameters, strict=True))
        state = _kernels.Sum(x, total if norm_first else x)
        found = torch.func.functional_call(block, given, (state, lengths, causal, at))
        return both(found) if norm_first else found.normed + 0 * total.sum()

    states = (normal(9, length, width, seed=s) for s in (50, 51))
    agree(run, *states, *inputs, rtol=1e-4, atol=1e-4 if norm_first else 2e-5)


def test_dropout_and_threads_of_the_attention_block(keep_threads):
    """The mask that is drawn again backwards is the one of the forward pass, on any number of threads."""
    block, x = AttentionBlock(32, 2, 32, 0.5), normal(40, 70, 32).requires_grad_()
    results = []
    for threads in (1, 3):
        torch.set_num_threads(threads)
        torch.manual_seed(4)
        attended = _kernels.attention_block(
            x, None, None, None, False, 2, (*block.attention.layers, block.norm), 0.5, True
        ).normed
        gradient = torch.autograd.grad(attended, x, normal(*x.shape, seed=1))
        results.append((attended, *gradient))
    for one, three in zip(*results, strict=True):
        assert torch.equal(one, three)
    torch.manual_seed(4)
    parts = (*block.attention.layers, block.norm)
    with torch.no_grad():
        same = _kernels.attention_block(x, None, None, None, False, 2, parts, 0.5, True).normed
        plain = _kernels.attention_block(x, None, None, None, False, 2, parts, 0.5, False).normed
    assert torch.equal(same, results[0][0]) and not torch.allclose(same, plain)


@pytest.mark.parametrize("shape", [(1, 16, 16), (6, 64, 80), (97, 16, 112), (2, 101, 32, 48)])
def test_linear(shape):
    *rows, inputs, outputs = shape
    sizes = [(*rows, inputs), (outputs, inputs), (outputs,)]
    agree(_kernels.linear, *(normal(*size, seed=s) for s, size in enumerate(sizes)), atol=2e-5)
    agree(
        lambda x, w: _kernels.linear(x, w.T),
        normal(*rows, inputs),
        normal(inputs, outputs),
        atol=2e-5,
    )


@pytest.mark.parametrize("trained", [0, 1, 2])
def test_one_part_of_a_linear_layer_is_trained_alone(trained):
    parts = [normal(5, 16), normal(32, 16, seed=1), normal(64, seed=2)[::2]]
    rest = [part.double() for part in parts]
    got = _kernels.linear(*(p.requires_grad_(i == trained) for i, p in enumerate(parts)))
    wanted = F.linear(*(p.requires_grad_(i == trained) for i, p in enumerate(rest)))
    pairs = zip((got, wanted), (parts, rest), strict=True)
    (a,), (b,) = (torch.autograd.grad(out.square().sum(), p[trained]) for out, p in pairs)
    torch.testing.assert_close(a.double(), b, rtol=1e-5, atol=1e-4)


def test_a_linear_layer_is_compiled_only_where_registers_are_filled():
    for width, name in ((16, "_LinearBackward"), (15, "AddmmBackward0")):
        out = _kernels.linear(normal(2, 16), normal(width, 16).requires_grad_(), normal(width))
        assert out.grad_fn.name() == name


@pytest.mark.parametrize(
    ("n", "m", "depth"), [(1, 1, 1), (6, 64, 3), (13, 117, 9), (17, 16, 40), (12, 32, 5), (3, 7, 0)]
)
def test_a_product_of_any_size_and_order(n, m, depth):
    from models._tiles import multiply

    a, b, c = (normal(*size).numpy() for size in ((depth, n), (depth, m), (n, m)))
    exact = c.astype(float) + a.T.astype(float) @ b.astype(float)
    got = c.copy()
    flat = got.reshape(-1)
    multiply(n, m, depth, a.reshape(-1), 0, 1, n, b.reshape(-1), 0, m, flat, 0, m, flat, 0, m)
    torch.testing.assert_close(got, exact.astype("float32"), rtol=1e-5, atol=1e-5)
    start, rows = normal(m).numpy(), a.T.copy().reshape(-1)
    multiply(n, m, depth, rows, 0, depth, 1, b.reshape(-1), 0, m, start, 0, 0, flat, 0, m)
    again = start + a.T.astype(float) @ b.astype(float)
    torch.testing.assert_close(got, again.astype("float32"), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize(
    ("n_targets", "n_items", "size"), [(1, 5, 1), (64, 96, 1), (150, 101, 1), (70, 50, 40)]
)
def test_cross_entropy_over_the_catalogue(n_targets, n_items, size, threads, keep_threads):
    torch.set_num_threads(threads)
    hidden, table = normal(n_targets, 16) * size, normal(1 + n_items, 16, seed=1)
    targets = torch.arange(n_targets) % n_items + 1
    agree(lambda h, t: catalogue_cross_entropy(h, t, targets)[None], hidden, table, rtol=2e-5)


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("size", [1, 40])
def test_a_catalogue_that_is_not_kept_at_once(size, threads, keep_threads, monkeypatch):
    torch.set_num_threads(threads)
    hidden, table = normal(150, 16) * size, normal(1 + 250, 16, seed=1)
    targets = torch.arange(150) * 7 % 250 + 1
    whole = catalogue.cross_entropy(hidden, table, targets, True)
    monkeypatch.setattr(catalogue, "KEPT", catalogue.PANEL)
    for got, expected in zip(
        catalogue.cross_entropy(hidden, table, targets, True), whole, strict=True
    ):
        torch.testing.assert_close(got, expected, rtol=1e-6, atol=1e-8)


def test_memory_of_the_loss_does_not_grow_with_a_large_catalogue():
    sizes = [sum(map(math.prod, catalogue.workspace(n, 64, 1))) for n in (3416, 10**5, 10**6)]
    assert sizes[0] < sizes[1] == sizes[2] < 2**21


def test_a_bound_far_above_every_logit_costs_no_accuracy():
    hidden, table = torch.zeros(3, 16), normal(41, 16)
    hidden[:, 0], table[:, 0] = 100.0, torch.linspace(-9, -8, 41)
    table[7], table[7, 1] = 0.0, 9.0  # logits near -800, but 0 for one item, and a bound of 900
    for others in (slice(1, 41), slice(8, 41)):
        t = torch.cat([table[:1], table[others]])
        agree(
            lambda h, t: catalogue_cross_entropy(h, t, torch.tensor([2, 30, 9]))[None],
            hidden,
            t,
            rtol=1e-4,
        )


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("n_layers", "length", "units"), [(1, 1, 16), (1, 30, 16), (2, 7, 32)])
def test_gru(bias, n_layers, length, units):
    torch.manual_seed(0)
    layer = nn.GRU(6, units, n_layers, bias=bias, batch_first=True)
    names = [name for name, _ in layer.named_parameters()]

    def run(x, *weights):
        own = nn.GRU(6, units, n_layers, bias=bias, batch_first=True).to(x.dtype)
        parameters = dict(zip(names, weights, strict=True))
        if x.dtype == torch.float64:
            return torch.func.functional_call(own, parameters, (x,))[0]
        stand_in = type("Layer", (), {"hidden_size": units})()
        per_layer = 4 if bias else 2
        stand_in.all_weights = [
            list(weights[i : i + per_layer]) for i in range(0, len(weights), per_layer)
        ]
        return _kernels.gru(stand_in, x)

    agree(run, normal(4, length, 6), *(p.detach() * 3 for p in layer.parameters()), atol=1e-5)


@pytest.mark.parametrize("taps", [1, 2, 4])
@pytest.mark.parametrize("length", [1, 3, 20])
def test_conv_silu(taps, length):
    agree(_kernels.conv_silu, normal(2, length, 5) * 3, normal(5, taps), normal(5))


@pytest.mark.parametrize("backend", ["numba", "torch"])
def test_the_convolution_is_causal_and_that_of_pytorch(backend):
    x, weight, bias = normal(2, 11, 6), normal(6, 4), normal(6)
    padded = F.pad(x.transpose(1, 2), (3, 0))
    expected = F.silu(F.conv1d(padded, weight[:, None], bias, groups=6)).transpose(1, 2)
    with _kernels.using(backend):
        for length in (2, 11):
            got = _kernels.conv_silu(x[:, :length], weight, bias)
            torch.testing.assert_close(got, expected[:, :length])


@pytest.mark.parametrize("backend", ["numba", "torch"])
def test_rows_of_the_cross_entropy_and_their_gradient(backend):
    logits, targets = (normal(6, 101) * 40).requires_grad_(), torch.tensor([0, 100, 7, 7, 50, 1])
    expected = F.cross_entropy(logits, targets, reduction="none")
    (gradient,) = torch.autograd.grad(expected.sum(), logits)
    with _kernels.using(backend):
        left, losses, scale = logits.detach().clone(), torch.empty(6), torch.empty(6, 1)
        _kernels.cross_entropy_rows(left, targets, losses, scale)
    torch.testing.assert_close(losses, expected.detach(), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(left * scale, gradient, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("bad", [math.nan, -math.nan, math.inf])
def test_what_is_not_finite_does_not_get_lost(bad):
    logits = normal(3, 50)
    logits[1, 20] = bad
    losses, scale = torch.empty(3), torch.empty(3, 1)
    _kernels.cross_entropy_rows(logits, torch.tensor([1, 2, 3]), losses, scale)
    assert torch.isfinite(losses).tolist() == [True, False, True]
    x = normal(4, 16)
    x[2, 3] = bad
    assert not torch.isfinite(_kernels.gelu(x, 0.0, True)[2]).all()
    normed = _kernels.add_norm(x, None, nn.LayerNorm(16), 0.0, True).normed
    assert not torch.isfinite(normed[2]).any()


@pytest.mark.parametrize("name", TRAINED)
@pytest.mark.parametrize("backend", ["torch", "eager"])
@pytest.mark.parametrize("norm_first", [False, True])
def test_a_model_is_the_same_with_every_backend(name, backend, norm_first, compiled_attention):
    options = having(name, n_layers=2, norm_first=norm_first)
    windows = histories(8, MAX_LEN + 1)
    results = []
    for kernels in (backend, "numba"):
        with _kernels.using(kernels):
            model = build(name, **options)
            assert model.backend_report()["kernels"]["used"] == kernels
            loss = model.loss(batch_of(windows))
            gradients = torch.autograd.grad(loss, list(model.parameters()))
            results.append((model.scores(windows[:, 1:]), loss, *gradients))
    for expected, got in zip(*results, strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-4, atol=2e-6)


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("g++"), reason="torch.compile needs a C++ compiler on a CPU")
def test_functions_fused_by_torch_compile_are_the_same():
    x, residual, norm = normal(3, 7, 16), normal(3, 7, 16, seed=1), nn.LayerNorm(16)
    targets = torch.tensor([0, 3, 15])

    def everything():
        left, losses, scale = x[0, :3].clone(), torch.empty(3), torch.empty(3, 1)
        _kernels.cross_entropy_rows(left, targets, losses, scale)
        leaf = x.clone().requires_grad_()
        found = [
            *_kernels.add_norm(leaf, residual, norm, 0.0, True),
            _kernels.gelu(leaf, 0.0, True),
            _kernels.conv_silu(leaf, normal(16, 4), normal(16)),
        ]
        (gradient,) = torch.autograd.grad(sum(f.sin().sum() for f in found), leaf)
        return [*found, gradient, left * scale, losses]

    results = []
    for backend in ("torch", "inductor"):
        with _kernels.using(backend):
            assert _kernels.resolve("cpu").used == backend
            results.append(everything())
    for expected, got in zip(*results, strict=True):
        torch.testing.assert_close(got, expected, **CLOSE)


@pytest.mark.parametrize("name", TRAINED)
def test_threads_change_nothing(name, compiled_attention, keep_threads):
    results = []
    for threads in (1, 3):
        torch.set_num_threads(threads)
        model = build(name, **having(name, n_layers=2), dropout=0.3)
        torch.manual_seed(5)
        loss = model.loss(batch_of(histories(9, MAX_LEN + 1)))
        results.append((loss, *torch.autograd.grad(loss, list(model.parameters()))))
    for one, three in zip(*results, strict=True):  # PyTorch's own products may round differently
        torch.testing.assert_close(one, three, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("name", TRAINED)
def test_no_windows_have_no_scores(name):
    model = build(name).eval()
    with _kernels.using("numba"), torch.inference_mode():
        assert not len(model.scores(torch.zeros(0, MAX_LEN, dtype=torch.long)))


def test_a_share_next_to_one_drops_all():
    assert not _kernels.dropout(normal(3, 16), 1 - 1e-12, True).any()


def test_double_precision_takes_the_twin():
    x = normal(3, 8).double()
    assert torch.equal(_kernels.gelu(x, 0.0, True), F.gelu(x))


def test_the_choice_is_checked_and_reported(monkeypatch):
    with pytest.raises(
        ModelError, match="'fast' are unknown; allowed: auto, numba, torch, inductor, eager"
    ):
        _kernels.use("fast")
    assert _kernels.resolve("cpu") == ("auto", "numba", False, None)
    assert _kernels.resolve("cuda") == ("auto", "torch", False, None)
    with _kernels.using("numba"):
        choice = _kernels.resolve("cuda")
        assert (choice.used, choice.fallback) == ("torch", True) and "CPUs" in choice.reason
    monkeypatch.setattr(_kernels, "_installed", lambda: False)
    choice = _kernels.resolve("cpu")
    assert (choice.used, choice.fallback) == ("torch", True) and "numba" in choice.reason
    with pytest.raises(ModelError, match="pip install numba"):
        _kernels.use("numba")
    assert torch.equal(_kernels.gelu(normal(3), 0.0, True), F.gelu(normal(3)))
