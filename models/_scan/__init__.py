"""The selective state space layer of Mamba (arXiv 2312.00752) with interchangeable backends.

Two seams: ``mamba_mixer`` is the whole layer of figure 3, ``selective_scan`` the recurrence inside it.

    backend     device  what runs
    fused       CUDA    mamba-ssm's one function for the whole layer (needs causal-conv1d too)
    triton      CUDA    our scan in Triton, deterministic; the rest is PyTorch, as in the next one
    mamba_ssm   CUDA    mamba-ssm's selective scan, 2.2 to 3.4 times slower than triton (docs/experiments.md)
    numba       CPU     the whole layer as one compiled kernel, parallel over the batch, hand-written backward
    reference   any     plain PyTorch, any precision; the oracle, and slow

"auto" takes the first that can run. For tests, TRITON_INTERPRET=1 in the environment moves ``triton`` to
the CPU, into Triton's interpreter; "auto" never chooses that.

Letters: B batch, L positions, D model width, E = expand * D channels, N state size per channel,
R rank of the step size, W width of the convolution.
"""

from __future__ import annotations

import functools
import os
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from models import _cost, _kernels, _numba
from models._errors import ModelError
from models._scan import reference

BACKENDS = {
    "fused": "cuda",
    "triton": "cuda",
    "mamba_ssm": "cuda",
    "numba": "cpu",
    "reference": None,
}
HOW_TO_GET = {
    "fused": "it needs an NVIDIA GPU, mamba-ssm and causal-conv1d: `make setup CUDA=1`",
    "mamba_ssm": "it needs an NVIDIA GPU and mamba-ssm: `make setup CUDA=1`",
    "triton": "it needs an NVIDIA GPU, a C compiler and the package triton of PyTorch's CUDA builds",
    "numba": "it needs a CPU and the package numba: `pip install numba`",
}


class MixerParams(NamedTuple):
    """Weights of one layer, in the shapes that mamba-ssm keeps them in."""

    in_proj: Tensor  # (2E, D)
    conv_weight: Tensor  # (E, 1, W)
    conv_bias: Tensor  # (E,)
    x_proj: Tensor  # (R + 2N, E)
    dt_proj: Tensor  # (E, R)
    dt_bias: Tensor  # (E,)
    A_log: Tensor  # (E, N)
    D: Tensor  # (E,)
    out_proj: Tensor  # (D, E)

    def rates(self) -> Tensor:
        """A (E, N) = -exp(A_log), in float32 at least."""
        return -torch.exp(self.A_log.float() if self.A_log.dtype.itemsize < 4 else self.A_log)


@dataclass(frozen=True)
class ScanChoice:
    """Which backend was asked for and which one runs.

    fallback: "auto" did not get its first choice, and ``reason`` names everything it lacked. A backend
    may be fast all the same (``triton``), but its times are not those of mamba-ssm's kernels.
    """

    requested: str
    used: str
    fallback: bool
    reason: str | None


def require(requested: str) -> None:
    """Refuse an unknown or uninstalled backend before a model is built for it."""
    resolve(requested, _home(requested) or "cpu")


def resolve(requested: str, device: torch.device | str) -> ScanChoice:
    """Choose the backend for a device; one asked for by name and not there is a ModelError."""
    return _resolve(requested, torch.device(device).type)


@functools.cache
def _resolve(requested: str, kind: str) -> ScanChoice:
    if requested == "auto":
        return _resolve_auto(kind)
    if requested not in BACKENDS:
        allowed = ", ".join(["auto", *BACKENDS])
        raise ModelError(f"scan backend {requested!r} is unknown; allowed: {allowed}")
    reason = _why_not(requested, kind)
    if reason is not None:
        raise ModelError(
            f"scan backend {requested!r} cannot run: {reason}; {HOW_TO_GET[requested]}"
        )
    return ScanChoice(requested, requested, False, None)


def _resolve_auto(kind: str) -> ScanChoice:
    fast = [name for name, on in BACKENDS.items() if on == kind]
    reasons = []
    for name in fast:
        reason = _why_not(name, kind)
        if reason is None:
            return ScanChoice("auto", name, bool(reasons), "; ".join(reasons) or None)
        reasons.append(f"{name}: {reason}")
    reason = "; ".join(reasons) or f"no fast backend for {kind}"
    return ScanChoice("auto", "reference", True, reason)


def _why_not(name: str, kind: str) -> str | None:
    """Why a backend cannot run on a kind of device, or None when it can."""
    home = _home(name)
    if home not in (None, kind):
        return f"it runs on {home} and the model is on {kind}"
    if name == "numba":
        return _numba.why_not()
    if name in ("fused", "mamba_ssm"):
        from models._scan import cuda

        return cuda.why_not(name)
    if name == "triton":
        from models._scan import triton_cuda

        return triton_cuda.why_not(kind)
    return None


def _home(name: str) -> str | None:
    """The kind of device that a backend runs on; None: any, or the backend is unknown."""
    if name == "triton" and os.environ.get("TRITON_INTERPRET") == "1":
        return "cpu"
    return BACKENDS.get(name)


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
    backend: str = "reference",
) -> Tensor:
    """Discretise and run the state space model of every channel, add the skip, apply the gate.

    u, delta, z (B, L, E); A (E, N), negative; B, C (B, L, N); D, delta_bias (E,) -> (B, L, E).
    With s = softplus(delta + delta_bias), and the state h (B, E, N) starting at 0:

        h[t] = exp(s[t] A) h[t-1] + s[t] u[t] B[t]         (equations 2a and 4; algorithm 2)
        out[t] = (C[t] h[t] + D u[t]) silu(z[t])           (equation 2b; section 3.4)

    As in mamba-ssm, B is discretised as s B (Euler) and not by the exact hold of equation 4.
    reset (B, L) bool: h[t-1] counts as 0 where true, so that several users may share one row
    (backends ``triton``, ``numba`` and ``reference``). ``triton`` and ``numba`` compute in float32,
    ``reference`` in the precision of its input.
    """
    arguments = (u, delta, A, B, C, D, z, delta_bias)
    if _cost.is_counting():
        return _cost.scan(u, A, delta, B, C, D, z, delta_bias)
    if backend == "reference":
        return reference.selective_scan(*arguments, reset)
    if backend == "numba":
        from models._scan import numba_cpu

        return numba_cpu.selective_scan(*arguments, reset)
    if backend == "mamba_ssm":
        from models._scan import cuda

        return cuda.selective_scan(*arguments, reset)
    if backend == "triton":
        from models._scan import triton_cuda

        return triton_cuda.selective_scan(*arguments, reset)
    raise ModelError(f"scan backend {backend!r} has no separate selective scan")


def mamba_mixer(x: Tensor, params: MixerParams, backend: str) -> Tensor:
    """Mix positions causally with one Mamba layer: x (B, L, D) -> (B, L, D); a backend of resolve()."""
    if backend == "fused" and not _cost.is_counting():
        from models._scan import cuda

        return cuda.mamba_mixer(x, params)
    p = params
    if backend == "numba" and not _cost.is_counting():
        from models._scan import numba_mixer

        if numba_mixer.fits(p):
            if _kernels.infers(x):
                from models._kernels import mixer

                return mixer.mixer(x, p, None)
            trains = _kernels.trains_whole(x)
            return (numba_mixer.mamba_mixer if trains else numba_mixer.in_parts)(x, p)
    u, z = _kernels.linear(x, p.in_proj).chunk(2, dim=-1)  # (B, L, E) each
    u = _kernels.conv_silu(u, p.conv_weight[:, 0], p.conv_bias)
    states = p.A_log.shape[1]
    step, B, C = _kernels.linear(u, p.x_proj).split([p.dt_proj.shape[1], states, states], dim=-1)
    delta = _kernels.linear(step, p.dt_proj)  # (B, L, E); its bias is added inside the scan
    y = selective_scan(u, delta, p.rates(), B, C, p.D, z, p.dt_bias, backend=backend)
    return _kernels.linear(y, p.out_proj)


def mamba_mixer_of_items(table: Tensor, items: Tensor, params: MixerParams) -> Tensor:
    """``mamba_mixer`` of rows of table (V, D), where nothing is trained: items (B, L) -> (B, L, D).

    Compiled by numba; what the first product makes of an item is computed once.
    """
    from models._kernels import mixer
    from models._scan import numba_mixer

    if not numba_mixer.fits(params):
        return mamba_mixer(F.embedding(items, table), params, "numba")
    return mixer.mixer(table, params, items)


def mamba_mixer_last(x: Tensor, params: MixerParams, lengths: Tensor) -> Tensor:
    """``mamba_mixer`` at the last of lengths (B,) positions, where nothing is trained: (B, L, D) -> (B, D).

    Compiled by numba.
    """
    from models._kernels import mixer
    from models._scan import numba_mixer

    if not numba_mixer.fits(params):
        return mamba_mixer(x, params, "numba")[torch.arange(len(x)), lengths - 1]
    return mixer.last(x, params, lengths)


def selfcheck(device: torch.device | str) -> list[dict]:
    """Compare every backend that a device can run with the float64 reference: rows with ``ok``.

    Keys: backend, check, relative_error, tolerance, ok, reason (of a backend that cannot run).
    """
    from models._scan.check import compare_backends

    return compare_backends(device)
