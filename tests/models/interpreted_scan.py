"""The Triton scan in Triton's interpreter, on a CPU: run by test_scan_triton.py in a process of its own.

The interpreter must be on before Triton is imported, and everything that is imported afterwards sees it.
By hand: ``TRITON_INTERPRET=1 python -m pytest tests/models/interpreted_scan.py``. It takes about 25 ms for
a position of a program, so shapes are small; a program has 256 / N channels, so E = 11 are two at N = 32.
"""

import pytest
import torch
from tiny import batch_of, build, histories

from models import ModelError, _scan
from models._scan import resolve, selective_scan, triton_cuda
from models._scan.check import SCAN_ARGUMENTS, relative_errors, scan_inputs

TOLERANCE = 5e-6  # large exponents are the worst: exp(-x) has an error of about x roundings


def assert_agrees(inputs, reset=None):
    errors = relative_errors(
        lambda *a: selective_scan(*a, reset, backend="triton"),
        lambda *a: selective_scan(*a, reset),
        SCAN_ARGUMENTS,
        inputs,
    )
    print(f"largest relative error {max(errors.values()):.1e}")  # pytest -rP shows it
    assert max(errors.values()) <= TOLERANCE, errors


def gradients(inputs, reset=None):
    inputs = [t.detach().requires_grad_() for t in inputs]
    out = selective_scan(*inputs, reset, backend="triton")
    return [out, *torch.autograd.grad(out.square().sum(), inputs)]


@pytest.mark.parametrize(
    ("batch", "length", "channels", "states"),
    [
        (1, 1, 1, 1),
        (2, 18, 5, 5),  # N padded to 8
        (1, 5, 33, 8),  # a second program with one channel
        (1, 16, 20, 16),  # exactly one chunk
        (1, 33, 11, 32),
        (1, 2, 3, 64),
        (1, 2, 2, 300),  # a program has one channel
    ],
)
def test_float32_agrees_with_the_float64_reference(batch, length, channels, states):
    assert_agrees(scan_inputs(batch, length, channels, states))


@pytest.mark.parametrize("step", [1e-6, 1e-3, 1.0, 30.0])  # 30: exp(-240), the state is forgotten
def test_small_and_large_steps(step):
    assert_agrees(scan_inputs(1, 17, 4, 8, step=step))


@pytest.mark.parametrize("share", [0.2, 1.0])
def test_reset_positions(share):
    reset = torch.rand(2, 20, generator=torch.Generator().manual_seed(0)) < share
    reset[0, [0, 15, 16, 17, 19]] = True  # around the border of the chunks, first and last
    assert_agrees(scan_inputs(2, 20, 4, 8), reset)


def test_packed_sequences_equal_separate_ones():
    inputs = [t.float() for t in scan_inputs(1, 12, 4, 8)]
    reset = torch.zeros(1, 12, dtype=torch.bool)
    reset[0, 7] = True
    packed = selective_scan(*inputs, reset, backend="triton")
    for part in (slice(0, 7), slice(7, 12)):
        cut = [t[:, part] if t.dim() == 3 else t for t in inputs]
        assert torch.equal(packed[:, part], selective_scan(*cut, backend="triton"))


def test_the_same_input_gives_the_same_bits():
    inputs = [t.float() for t in scan_inputs(2, 3, 11, 32)]
    first, second = gradients(inputs), gradients(inputs)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_rounded_only_at_the_ends(dtype):
    inputs = [t.to(dtype) for t in scan_inputs(2, 9, 4, 8)]
    got = gradients(inputs)
    assert [t.dtype for t in got] == [dtype] * 9
    for half, full in zip(got, gradients([t.float() for t in inputs]), strict=True):
        error = (half.float() - full).abs().max() / full.abs().max()
        assert error <= 2 * torch.finfo(dtype).eps


def test_views_are_read_where_they_are():
    inputs = [t.float() for t in scan_inputs(2, 9, 8, 4)]
    expected = gradients(inputs)
    views = [*inputs]
    views[0], views[6] = torch.cat([inputs[0], inputs[6]], dim=-1).chunk(2, dim=-1)
    views[4] = inputs[4].transpose(1, 2).contiguous().transpose(1, 2)  # no rows: must be copied
    assert all(torch.equal(a, b) for a, b in zip(gradients(views), expected, strict=True))
    (read, _), strides = triton_cuda._rows(views[0], views[4])
    assert read.data_ptr() == views[0].data_ptr() and strides == [16, 4]


@pytest.mark.parametrize("poisoned", range(8))
def test_not_a_number_is_not_swallowed(poisoned):
    inputs = [t.float() for t in scan_inputs(1, 3, 4, 4)]
    inputs[poisoned].view(-1)[0] = float("nan")
    assert selective_scan(*inputs, backend="triton").isnan().any()


def test_without_gradients_no_states_are_kept():
    inputs = [t.float() for t in scan_inputs(1, 3, 4, 4)]
    assert triton_cuda._forward(*inputs, None, keep=False)[1] is None
    trained = [t.clone().requires_grad_() for t in inputs]
    with torch.no_grad():
        out = selective_scan(*trained, backend="triton")
    assert not out.requires_grad
    assert torch.equal(out, selective_scan(*trained, backend="triton"))


def test_mamba4rec_trains_on_it():
    batch = batch_of(histories(2, 6))
    losses = {}
    for scan in ("triton", "reference"):
        model = build("mamba4rec", scan=scan, d_state=8)
        losses[scan] = model.loss(batch)
        losses[scan].backward()
        losses[scan, "A_log"] = model.blocks[0].mamba.A_log.grad
    torch.testing.assert_close(losses["triton"], losses["reference"])
    torch.testing.assert_close(losses["triton", "A_log"], losses["reference", "A_log"])


def test_it_may_be_asked_for_on_a_cpu_here_but_is_never_chosen():
    assert resolve("triton", "cpu").used == "triton"
    assert resolve("auto", "cpu").used != "triton"
    _scan.require("triton")
    with pytest.raises(ModelError, match="it runs on cpu and the model is on cuda"):
        resolve("triton", "cuda")
    assert resolve("auto", "cuda").used != "triton"


def test_float64_is_refused():
    with pytest.raises(ModelError, match="use 'reference' for float64"):
        selective_scan(*scan_inputs(1, 2, 2, 2), backend="triton")
