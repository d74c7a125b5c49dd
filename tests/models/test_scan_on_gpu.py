"""The CUDA backends against the float64 reference, on a GPU. `make test` skips them without one."""

import pytest
import torch

from models import ModelError, _scan
from models._scan import BACKENDS, resolve, selective_scan
from models._scan.check import (
    SCAN_ARGUMENTS,
    TOLERANCES,
    mixer_errors,
    relative_errors,
    scan_errors,
    scan_inputs,
)

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA device"),
]
CUDA_BACKENDS = [name for name, kind in BACKENDS.items() if kind == "cuda"]
SEPARATE = [name for name in CUDA_BACKENDS if name != "fused"]  # those with a scan of their own


def needs(backend):
    try:
        resolve(backend, "cuda")
    except ModelError as error:
        pytest.skip(str(error))


def assert_small(errors):
    assert max(errors.values()) <= TOLERANCES["cuda"], errors


def test_the_self_check_knows_every_cuda_backend():
    assert {row["backend"] for row in _scan.selfcheck("cuda")} == {*CUDA_BACKENDS, "reference"}


@pytest.mark.parametrize("length", [200, 2048])
@pytest.mark.parametrize("backend", SEPARATE)
def test_the_scan_agrees_with_the_reference(backend, length):
    needs(backend)
    assert_small(scan_errors(backend, torch.device("cuda"), length))


@pytest.mark.parametrize("length", [200, 2048])
@pytest.mark.parametrize("backend", CUDA_BACKENDS)
def test_the_layer_agrees_with_the_reference(backend, length):
    needs(backend)
    assert_small(mixer_errors(backend, torch.device("cuda"), length))


@pytest.mark.parametrize(
    ("batch", "length", "channels", "states"), [(1, 1, 1, 1), (3, 70, 40, 5), (2, 33, 11, 64)]
)
def test_triton_at_awkward_shapes_with_resets(batch, length, channels, states):
    needs("triton")
    inputs = [t.cuda() for t in scan_inputs(batch, length, channels, states)]
    reset = (torch.rand(batch, length, generator=torch.Generator().manual_seed(0)) < 0.2).cuda()
    assert_small(
        relative_errors(
            lambda *a: selective_scan(*a, reset, backend="triton"),
            lambda *a: selective_scan(*a, reset),
            SCAN_ARGUMENTS,
            inputs,
        )
    )


@pytest.mark.parametrize("step", [1e-6, 1e-3, 1.0, 30.0])
def test_triton_at_small_and_large_steps(step):
    needs("triton")
    inputs = [t.cuda() for t in scan_inputs(2, 70, 24, 16, step=step)]
    assert_small(
        relative_errors(
            lambda *a: selective_scan(*a, backend="triton"), selective_scan, SCAN_ARGUMENTS, inputs
        )
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_triton_gives_the_same_bits_every_time(dtype):
    needs("triton")
    inputs = [t.cuda().to(dtype).requires_grad_() for t in scan_inputs(16, 200, 128, 32)]

    def results():
        out = selective_scan(*inputs, backend="triton")
        return [out, *torch.autograd.grad(out.square().sum(), inputs)]

    first = results()
    for _ in range(5):
        assert all(torch.equal(a, b) for a, b in zip(first, results(), strict=True))


def test_triton_in_half_precision_is_rounded_only_at_the_ends():
    needs("triton")
    half = [t.cuda().bfloat16() for t in scan_inputs(4, 200, 128, 32)]
    got = selective_scan(*half, backend="triton")
    full = selective_scan(*(t.float() for t in half), backend="triton")
    assert got.dtype == torch.bfloat16
    assert (got.float() - full).abs().max() <= 2**-7 * full.abs().max()
