"""The selective scan in Triton, for NVIDIA GPUs; float32 inside.

Works on the layout (B, L, E) as it is, also on views such as halves of one wider tensor. Forward keeps
the state before every CHUNK-th position; backward replays a chunk from there into a scratch that stays
in the cache. Gradients of what several programs share are written in parts, which PyTorch adds up:
no atomic additions, so the same input gives the same bits (mamba-ssm's backward does not).
"""

from __future__ import annotations

import importlib.util
import subprocess

import torch
from torch import Tensor

from models import _cost
from models._errors import ModelError

CHUNK = 16  # positions between two kept states
STAGES = 3  # of the software pipeline over positions: loads run two ahead
WARPS = 1  # per program, so that sums across it are shuffles and need no barrier
TILE, MOST_CHANNELS = 256, 32  # states and channels of a program: 8 registers a tile in each thread
OLDEST_CAPABILITY = (7, 0)  # of the devices that PyTorch itself compiles Triton kernels for


def why_not(kind: str) -> str | None:
    """Why the kernels cannot run on a kind of device, or None: the first missing piece in one line."""
    if importlib.util.find_spec("triton") is None:
        return "No module named 'triton'"
    if kind == "cpu":  # in Triton's interpreter, which needs nothing more
        return None
    if not torch.cuda.is_available():
        return "PyTorch sees no CUDA device"
    if torch.cuda.get_device_capability() < OLDEST_CAPABILITY:
        return "the GPU is older than compute capability {}.{}".format(*OLDEST_CAPABILITY)
    try:
        from triton.runtime import driver

        driver.active.get_current_target()  # compiles Triton's launcher: needs a C compiler
    except (
        ImportError,
        RuntimeError,
        AssertionError,
        OSError,
        subprocess.SubprocessError,
    ) as error:
        return f"{type(error).__name__}: {error}".splitlines()[0]
    return None


def selective_scan(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor,
    z: Tensor,
    delta_bias: Tensor,
    reset: Tensor | None = None,
) -> Tensor:
    """See models._scan.selective_scan; half precision is computed in float32, float64 is refused."""
    if u.dtype == torch.float64:
        raise ModelError("scan backend 'triton' computes in float32; use 'reference' for float64")
    A, D, delta_bias = (t.float().contiguous() for t in (A, D, delta_bias))
    if reset is not None:
        reset = reset.contiguous().view(torch.uint8)
    arguments = (u, delta, A, B, C, D, z, delta_bias)
    if torch.is_grad_enabled() and any(t.requires_grad for t in arguments):
        return _SelectiveScan.apply(*arguments, reset)
    return _forward(*arguments, reset, keep=False)[0]


class _SelectiveScan(torch.autograd.Function):
    @staticmethod
    def forward(ctx, *inputs):
        out, kept = _forward(*inputs, keep=True)
        ctx.save_for_backward(*inputs, kept)
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, d_out):
        return *_backward(*ctx.saved_tensors, d_out), None


def _forward(u, delta, A, B, C, D, z, bias, reset, keep: bool) -> tuple[Tensor, Tensor | None]:
    """The output and, if asked for, the states (B, ceil(L / CHUNK), E, N) before the chunks."""
    from models._scan import triton_kernels

    (n_windows, length, channels), states = u.shape, A.shape[1]
    (u, delta, B, C, z), strides = _rows(u, delta, B, C, z)
    out = torch.empty(u.shape, dtype=u.dtype, device=u.device)
    kept = A.new_empty(n_windows, -(-length // CHUNK), channels, states) if keep else None
    tensors = (u, delta, A, B, C, D, z, bias, reset, out, kept)
    sizes = (length, channels, *strides)
    _launch(triton_kernels.forward, tensors, sizes, program_shape(states))
    return out, kept


def _backward(u, delta, A, B, C, D, z, bias, reset, kept, d_out) -> tuple[Tensor, ...]:
    """Gradients of the first eight arguments, each in the precision of its argument."""
    from models._scan import triton_kernels

    (n_windows, length, channels), shape = u.shape, program_shape(A.shape[1])
    n_blocks = -(-channels // shape["CHANNELS"])
    (u, delta, B, C, z, d_out), strides = _rows(u, delta, B, C, z, d_out)
    du, d_delta, dz = (torch.empty(u.shape, dtype=t.dtype, device=u.device) for t in (u, delta, z))
    dA, dD, d_bias = (t.new_empty(n_windows, *t.shape) for t in (A, D, bias))
    dB, dC = (A.new_empty(n_blocks, n_windows, length, shape["N"]) for _ in "BC")
    scratch = A.new_empty(n_windows, n_blocks, shape["CHUNK"], shape["CHANNELS"], shape["N_PADDED"])
    inputs = (u, delta, A, B, C, D, z, bias, reset, kept, d_out, scratch)
    gradients = (du, d_delta, dA, dB, dC, dD, dz, d_bias)
    sizes = (length, channels, *strides)
    _launch(triton_kernels.backward, (*inputs, *gradients), sizes, shape)
    dB, dC = dB.sum(0).to(B.dtype), dC.sum(0).to(C.dtype)
    return du, d_delta, dA.sum(0), dB, dC, dD.sum(0), dz, d_bias.sum(0)


def _launch(kernel, tensors: tuple, sizes: tuple[int, ...], shape: dict[str, int]) -> None:
    """Run a kernel with one program per window and block of channels, on the device of its tensors."""
    n_windows, _, channels = tensors[0].shape
    _cost.launched(getattr(kernel, "__name__", "scan"), *(t for t in tensors if t is not None))
    with torch.cuda.device_of(tensors[0]):
        n_blocks = -(-channels // shape["CHANNELS"])
        kernel[n_windows, n_blocks](*tensors, *sizes, **shape, num_warps=WARPS)


def program_shape(states: int) -> dict[str, int]:
    """What both kernels are compiled for; N is padded to the power of two that Triton needs, and masked."""
    n_padded = 1 << (states - 1).bit_length()
    channels = min(MOST_CHANNELS, max(1, TILE // n_padded))
    return {
        "N": states,
        "N_PADDED": n_padded,
        "CHANNELS": channels,
        "CHUNK": CHUNK,
        "STAGES": STAGES,
    }


def _rows(*tensors: Tensor) -> tuple[list[Tensor], list[int]]:
    """Tensors (B, L, X) whose rows are equally far apart, and these distances; copies only if need be."""
    found = []
    for t in tensors:
        _, length, width = t.shape
        if t.stride(2) == 1 and t.stride(0) == length * t.stride(1):
            found.append((t, t.stride(1)))
        else:
            found.append((t.contiguous(), width))
    return [t for t, _ in found], [row for _, row in found]
