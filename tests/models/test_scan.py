"""The selective scan: the reference against its definition, every backend against the reference."""

import importlib.util

import pytest
import torch
import torch.nn.functional as F

from models import ModelError, _scan
from models._scan import (
    MixerParams,
    check,
    cuda,
    mamba_mixer,
    numba_cpu,
    numba_mixer,
    resolve,
    selective_scan,
)
from models._scan.check import SCAN_ARGUMENTS, relative_errors, scan_inputs

CPU_BACKENDS = ["reference", "numba"]


def definition(u, delta, A, B, C, D, z, delta_bias, reset=None):
    """Equations of the docstring, one number of the output at a time."""
    out = torch.zeros_like(u)
    step = F.softplus(delta + delta_bias)
    for b in range(u.shape[0]):
        for e in range(u.shape[2]):
            h = torch.zeros_like(A[e])
            for t in range(u.shape[1]):
                before = 0 * h if reset is not None and reset[b, t] else h
                h = torch.exp(step[b, t, e] * A[e]) * before + step[b, t, e] * u[b, t, e] * B[b, t]
                y = (C[b, t] * h).sum() + D[e] * u[b, t, e]
                out[b, t, e] = y * F.silu(z[b, t, e])
    return out


@pytest.mark.parametrize("length", [1, 2, 7, 10])
def test_the_reference_is_the_definition(length):
    inputs = scan_inputs(2, length, 3, 4)
    torch.testing.assert_close(selective_scan(*inputs), definition(*inputs))
    reset = torch.rand(2, length, generator=torch.Generator().manual_seed(0)) < 0.3
    torch.testing.assert_close(selective_scan(*inputs, reset), definition(*inputs, reset))


def test_the_gradient_of_the_reference_is_the_derivative():
    inputs = [t.requires_grad_() for t in scan_inputs(2, 5, 2, 3)]
    reset = torch.tensor([[0, 0, 1, 0, 0], [1, 0, 0, 1, 0]]).bool()
    assert torch.autograd.gradcheck(lambda *a: selective_scan(*a, reset), inputs)


@pytest.mark.parametrize("backend", CPU_BACKENDS)
@pytest.mark.parametrize("length", [1, 2, 7, 33, 200])
@pytest.mark.parametrize("states", [8, 16, 32])
def test_float32_agrees_with_the_float64_reference(backend, length, states):
    assert_agrees(backend, scan_inputs(2, length, 24, states))


@pytest.mark.parametrize("backend", CPU_BACKENDS)
@pytest.mark.parametrize("step", [1e-6, 1e-3, 1.0, 30.0])  # 30: exp(-1000), the state is forgotten
def test_small_and_large_steps(backend, step):
    assert_agrees(backend, scan_inputs(2, 70, 24, 16, step=step))


@pytest.mark.parametrize("backend", CPU_BACKENDS)
@pytest.mark.parametrize("share", [0.1, 1.0])
def test_reset_positions(backend, share):
    reset = torch.rand(2, 70, generator=torch.Generator().manual_seed(0)) < share
    reset[0, [0, 31, 32, 33, 64, 69]] = True  # around the borders of the chunks, first and last
    assert_agrees(backend, scan_inputs(2, 70, 24, 16), reset)


def test_more_windows_than_groups_of_gradients():
    assert_agrees("numba", scan_inputs(19, 3, 64, 4))


@pytest.mark.parametrize("channels", [32, 64])
@pytest.mark.parametrize("rank", [4, 8])
def test_the_projection_to_the_step_sizes_inside_the_scan(rank, channels):
    u, _, A, B, C, D, z, bias = scan_inputs(3, 40, channels, 8)
    generator = torch.Generator().manual_seed(3)
    steps = torch.randn(3, 40, rank, generator=generator).double()
    weight = torch.randn(channels, rank, generator=generator).double() / rank**0.5

    def outside(u, steps, weight, A, B, C, D, z, bias):
        return selective_scan(u, F.linear(steps, weight), A, B, C, D, z, bias)

    def inside(u, steps, weight, A, B, C, D, z, bias):
        projected = torch.cat([steps, B, C], dim=-1)[..., numba_cpu.columns(rank, 8)[0]]
        return numba_cpu.projected_scan(u, projected, weight, A, D, z, bias)

    names = ("u", "steps", "weight", "A", "B", "C", "D", "z", "delta_bias")
    inputs = [t.float().double() for t in (u, steps, weight, A, B, C, D, z, bias)]
    errors = relative_errors(inside, outside, names, inputs)
    assert max(errors.values()) <= 1e-5, errors


@pytest.mark.parametrize("size", [{}, {"states": 16, "taps": 1}, {"width": 16}, {"width": 128}])
@pytest.mark.parametrize("length", [1, 2, 95, 97, 200])  # a span holds 96 positions
def test_a_whole_layer_agrees_with_the_float64_reference(length, size, monkeypatch):
    """Width 64, and 128 whose step sizes have eight inputs, fill tiles; width 16 has one input and does not."""
    run = []
    whole = numba_mixer.mamba_mixer
    monkeypatch.setattr(numba_mixer, "mamba_mixer", lambda *a: run.append(1) or whole(*a))
    errors = check.mixer_errors("numba", torch.device("cpu"), length, **size)
    assert max(errors.values()) <= 1e-5, errors
    assert bool(run) == (size.get("width") != 16)


def assert_agrees(backend, inputs, reset=None):
    errors = relative_errors(
        lambda *a: selective_scan(*a, reset, backend=backend),
        lambda *a: selective_scan(*a, reset),
        SCAN_ARGUMENTS,
        inputs,
    )
    assert max(errors.values()) <= 1e-5, errors


@pytest.mark.parametrize("backend", CPU_BACKENDS)
def test_packed_sequences_equal_separate_ones(backend):
    inputs = [t.float() for t in scan_inputs(1, 50, 24, 16)]
    reset = torch.zeros(1, 50, dtype=torch.bool)
    reset[0, 20] = True
    packed = selective_scan(*inputs, reset, backend=backend)
    for part in (slice(0, 20), slice(20, 50)):
        cut = [t[:, part] if t.dim() == 3 else t for t in inputs]
        alone = selective_scan(*cut, backend=backend)
        torch.testing.assert_close(packed[:, part], alone)


def test_views_and_half_precision_are_accepted():
    inputs = [t.float() for t in scan_inputs(2, 9, 8, 4)]
    expected = selective_scan(*inputs, backend="numba")
    wide = torch.cat([inputs[0], inputs[6]], dim=-1)  # u and z as halves of one tensor
    views = [*inputs]
    views[0], views[6] = wide.chunk(2, dim=-1)
    assert torch.equal(selective_scan(*views, backend="numba"), expected)
    half = [t.bfloat16() for t in inputs]
    got = selective_scan(*half, backend="numba")
    assert got.dtype == torch.bfloat16
    torch.testing.assert_close(
        got.float(), selective_scan(*(t.float() for t in half)), rtol=1e-2, atol=1e-2
    )


@pytest.mark.parametrize("backend", CPU_BACKENDS)
@pytest.mark.parametrize("poisoned", range(8))
def test_not_a_number_is_not_swallowed(backend, poisoned):
    inputs = [t.float() for t in scan_inputs(1, 5, 4, 4)]
    inputs[poisoned].view(-1)[0] = float("nan")
    assert selective_scan(*inputs, backend=backend).isnan().any()


def test_the_number_of_threads_changes_nothing():
    inputs = [t.float().requires_grad_() for t in scan_inputs(5, 40, 24, 16)]
    results = []
    try:
        for n_threads in (1, 2, 4):
            torch.set_num_threads(n_threads)
            y = selective_scan(*inputs, backend="numba")
            results.append([y, *torch.autograd.grad(y.square().sum(), inputs)])
    finally:
        torch.set_num_threads(1)
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


def test_the_reference_keeps_few_states():
    kept = []

    def remember(tensor):
        kept.append(tensor.shape)
        return tensor

    inputs = [t.requires_grad_() for t in scan_inputs(1, 400, 8, 16)]
    with torch.autograd.graph.saved_tensors_hooks(remember, lambda t: t):
        selective_scan(*inputs)
    assert kept.count((1, 8, 16)) <= 21, "one state per segment of sqrt(400) positions"


def test_the_self_check_passes_here_and_would_notice_an_error(monkeypatch):
    rows = _scan.selfcheck("cpu")
    assert {row["backend"] for row in rows} == set(CPU_BACKENDS)
    assert all(row["ok"] for row in rows), [row for row in rows if not row["ok"]]
    right = check.mamba_mixer

    def slightly_wrong(x, params, backend):
        return right(x, params, backend) * (1.0001 if backend == "numba" else 1.0)

    monkeypatch.setattr(check, "mamba_mixer", slightly_wrong)
    wrong = {row["backend"] for row in _scan.selfcheck("cpu") if not row["ok"]}
    assert wrong == {"numba"}


# Choosing a backend


@pytest.fixture
def fresh_choice():
    _scan._resolve.cache_clear()
    yield
    _scan._resolve.cache_clear()


def test_the_fast_backend_is_chosen_on_a_cpu():
    choice = resolve("auto", torch.device("cpu"))
    assert (choice.used, choice.fallback, choice.reason) == ("numba", False, None)


def test_without_numba_the_reference_is_a_recorded_fallback(monkeypatch, fresh_choice):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    choice = resolve("auto", "cpu")
    assert (choice.requested, choice.used, choice.fallback) == ("auto", "reference", True)
    assert "numba" in choice.reason
    with pytest.raises(ModelError, match=r"'numba' cannot run: .*pip install numba"):
        resolve("numba", "cpu")
    assert not resolve("reference", "cpu").fallback, "asked for by name is no fallback"


@pytest.mark.parametrize(
    ("absent", "used"),
    [
        ((), "fused"),
        (("fused",), "triton"),  # though mamba-ssm's scan is there: it is slower
        (("fused", "mamba_ssm"), "triton"),
        (("fused", "triton"), "mamba_ssm"),
        (("fused", "triton", "mamba_ssm"), "reference"),
    ],
)
def test_on_cuda_the_faster_scan_runs_and_says_what_is_missing(
    monkeypatch, fresh_choice, absent, used
):
    monkeypatch.setattr(_scan, "_why_not", lambda name, _: "gone" if name in absent else None)
    choice = resolve("auto", "cuda")
    assert (choice.used, choice.fallback) == (used, bool(absent))
    order = ["fused", "triton", "mamba_ssm", "reference"]
    missing = [f"{name}: gone" for name in order[: order.index(used)]]
    assert (choice.reason or "") == "; ".join(missing)


def test_without_triton_its_backend_is_an_error_that_helps(monkeypatch, fresh_choice):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(
        ModelError, match=r"'triton' cannot run: No module named 'triton'; it needs"
    ):
        _scan.require("triton")


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device")
def test_triton_needs_a_device(fresh_choice):
    pytest.importorskip("triton")
    with pytest.raises(
        ModelError, match=r"'triton' cannot run: PyTorch sees no CUDA device; it needs"
    ):
        _scan.require("triton")
    with pytest.raises(ModelError, match="it runs on cuda and the model is on cpu"):
        resolve("triton", "cpu")


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device")
def test_without_kernels_cuda_falls_back_with_the_reason():
    choice = resolve("auto", "cuda")
    assert (choice.used, choice.fallback) == ("reference", True)
    assert "no CUDA device" in choice.reason


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device")
@pytest.mark.parametrize("backend", ["fused", "mamba_ssm"])
def test_absent_kernels_asked_for_by_name_are_an_error_that_helps(backend):
    with pytest.raises(ModelError, match=rf"'{backend}' cannot run: .*make setup CUDA=1") as error:
        _scan.require(backend)
    assert "\n" not in str(error.value)


def test_a_backend_for_another_device_is_refused():
    with pytest.raises(ModelError, match="it runs on cpu and the model is on cuda"):
        resolve("numba", "cuda")
    with pytest.raises(ModelError, match="it runs on cuda and the model is on cpu"):
        resolve("fused", "cpu")


def test_unknown_backends_are_refused():
    with pytest.raises(
        ModelError, match="'cudnn' is unknown; allowed: auto, fused, triton, mamba_ssm"
    ):
        _scan.require("cudnn")


def test_numba_refuses_float64():
    with pytest.raises(ModelError, match="use 'reference' for float64"):
        selective_scan(*scan_inputs(1, 2, 2, 2), backend="numba")


# The bridges to the CUDA kernels: their layout, with stand-ins for the kernels; test_scan_on_gpu.py has them


class KernelStandIn:
    """The two functions of mamba-ssm that are used, in its layout (B, E, L), made of the reference."""

    @staticmethod
    def selective_scan_fn(u, delta, A, B, C, D=None, z=None, delta_bias=None, delta_softplus=False):
        assert delta_softplus and A.dtype == D.dtype == delta_bias.dtype == torch.float32
        assert all(t.stride(-1) == 1 for t in (u, delta, B, C, z))
        u, delta, B, C, z = (t.transpose(1, 2) for t in (u, delta, B, C, z))
        return selective_scan(u, delta, A, B, C, D, z, delta_bias).transpose(1, 2)

    @staticmethod
    def mamba_inner_fn(
        xz, conv1d_weight, conv1d_bias, x_proj_weight, delta_proj_weight, out_proj_weight,
        out_proj_bias, A, B=None, C=None, D=None, delta_bias=None, delta_softplus=True,
    ):  # fmt: skip
        assert out_proj_bias is None and B is None and C is None and xz.stride(-1) == 1
        x, z = xz.chunk(2, dim=1)
        length, rank, states = xz.shape[2], delta_proj_weight.shape[1], A.shape[1]
        padded = F.pad(x, (conv1d_weight.shape[2] - 1, 0))
        u = F.silu(F.conv1d(padded, conv1d_weight, conv1d_bias, groups=len(conv1d_bias)))
        projected = torch.einsum("re,bel->brl", x_proj_weight, u)
        step, B, C = projected.split([rank, states, states], dim=1)
        delta = torch.einsum("er,brl->bel", delta_proj_weight, step).contiguous()
        y = KernelStandIn.selective_scan_fn(
            u, delta, A, B.contiguous(), C.contiguous(), D, z.contiguous(), delta_bias, True
        )
        assert y.shape[2] == length
        return torch.einsum("de,bel->bld", out_proj_weight, y)


def test_the_bridges_speak_the_layout_of_the_kernels(monkeypatch):
    monkeypatch.setattr(cuda, "_interface", lambda: KernelStandIn)
    inputs = [t.float() for t in scan_inputs(2, 9, 8, 4)]
    expected = selective_scan(*inputs)
    torch.testing.assert_close(selective_scan(*inputs, backend="mamba_ssm"), expected)
    torch.manual_seed(0)
    shapes = [(16, 6), (8, 1, 4), (8,), (2 + 2 * 4, 8), (8, 2), (8,), (8, 4), (8,), (6, 8)]
    params = MixerParams(*(torch.randn(shape) for shape in shapes))
    x = torch.randn(2, 9, 6)
    expected = mamba_mixer(x, params, "reference")
    for backend in ("fused", "mamba_ssm", "numba"):
        torch.testing.assert_close(mamba_mixer(x, params, backend), expected, rtol=1e-4, atol=1e-4)


def test_the_cuda_scan_refuses_resets():
    with pytest.raises(ModelError, match="cannot reset states"):
        cuda.selective_scan(*scan_inputs(1, 2, 2, 2), reset=torch.ones(1, 2, dtype=torch.bool))
