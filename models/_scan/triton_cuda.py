"""The selective scan in Triton, for NVIDIA GPUs on which mamba-ssm cannot be installed; float32 inside.

Works on the layout (B, L, E) as it is, also on views such as halves of one wider tensor. Forward keeps
the state before every CHUNK-th position; backward replays a chunk from there into a scratch that stays
in the cache. Gradients of what several programs share are written in parts, which PyTorch adds up:
no atomic additions, so the same input gives the same bits (mamba-ssm's backward does not).
"""

from __future__ import annotations

import functools
import importlib.util
import os
import subprocess

import torch
from torch import Tensor

from models._errors import ModelError

CHUNK = 16  # positions between two kept states
CHANNELS = 16  # channels of one program
TILE_OF_A_WARP = 512  # states (channel, n) that 32 threads hold: 16 registers each, per tile
OLDEST_CAPABILITY = (7, 0)  # of the devices that PyTorch itself compiles Triton kernels for


def interpreted() -> bool:
    """Whether Triton's interpreter is on, which runs kernels on a CPU, slowly; for tests."""
    return os.environ.get("TRITON_INTERPRET") == "1"


@functools.cache
def why_not(kind: str) -> str | None:
    """Why the kernels cannot run on a kind of device, or None: the first missing piece in one line."""
    if kind == "cpu" and not interpreted():
        return "it runs on cuda and the model is on cpu"
    if importlib.util.find_spec("triton") is None:
        return "No module named 'triton'"
    return None if kind == "cpu" else _why_not_on_cuda()


def _why_not_on_cuda() -> str | None:
    if not torch.cuda.is_available():
        return "PyTorch sees no CUDA device"
    if interpreted():
        return "TRITON_INTERPRET=1 turns its kernels into Python"
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
    _launch(
        triton_kernels.forward,
        (u, delta, A, B, C, D, z, bias, reset, out, kept),
        (length, channels, *strides),
        states,
    )
    return out, kept


def _backward(u, delta, A, B, C, D, z, bias, reset, kept, d_out) -> tuple[Tensor, ...]:
    """Gradients of the first eight arguments, each in the precision of its argument."""
    from models._scan import triton_kernels

    (n_windows, length, channels), states = u.shape, A.shape[1]
    n_blocks = -(-channels // CHANNELS)
    (u, delta, B, C, z, d_out), strides = _rows(u, delta, B, C, z, d_out)
    du, d_delta, dz = (torch.empty(u.shape, dtype=t.dtype, device=u.device) for t in (u, delta, z))
    dB, dC = (A.new_empty(n_blocks, n_windows, length, states) for _ in "BC")
    dA = A.new_empty(n_windows, channels, states)
    dD, d_bias = A.new_empty(n_windows, channels), A.new_empty(n_windows, channels)
    scratch = A.new_empty(n_windows * n_blocks * CHUNK * CHANNELS * padded(states))
    _launch(
        triton_kernels.backward,
        (u, delta, A, B, C, D, z, bias, reset, kept, d_out, scratch)
        + (du, d_delta, dA, dB, dC, dD, dz, d_bias),
        (length, channels, *strides),
        states,
    )
    dB, dC = dB.sum(0).to(B.dtype), dC.sum(0).to(C.dtype)
    return du, d_delta, dA.sum(0), dB, dC, dD.sum(0), dz, d_bias.sum(0)


def _launch(kernel, tensors: tuple, sizes: tuple[int, ...], states: int) -> None:
    """Run a kernel with one program per window and block of channels, on the device of its tensors."""
    n_windows, _, channels = tensors[0].shape
    with torch.cuda.device_of(tensors[0]):
        kernel[n_windows, -(-channels // CHANNELS)](*tensors, *sizes, **shape_options(states))


def shape_options(states: int) -> dict[str, int]:
    """The compile-time arguments of both kernels for N states, and the warps of one program."""
    tile = CHANNELS * padded(states)
    return {
        "N": states,
        "N_PADDED": padded(states),
        "CHANNELS": CHANNELS,
        "CHUNK": CHUNK,
        "num_warps": max(1, tile // TILE_OF_A_WARP),
    }


def padded(states: int) -> int:
    """The power of two that Triton needs; the states added are masked."""
    return 1 << (states - 1).bit_length()


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
