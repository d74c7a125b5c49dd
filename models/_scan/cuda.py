"""Bridges to the CUDA kernels of mamba-ssm 2.x and causal-conv1d; imported only when asked for.

The kernels expect (B, E, L), the project works in (B, L, E): the transpositions are done here, where
mamba-ssm's own module does the first one for free inside the product with in_proj.
"""

from __future__ import annotations

import functools
import importlib.util
import sys
from types import ModuleType

import torch
from torch import Tensor

from models import _cost
from models._errors import ModelError


@functools.cache
def _interface() -> ModuleType:
    """mamba_ssm.ops.selective_scan_interface without mamba_ssm/__init__.py.

    The package's __init__ imports language models and, through them, transformers and tilelang, which
    the kernels do not need: an empty package of the same name and folder stands in for it.
    """
    if "mamba_ssm" not in sys.modules:
        spec = importlib.util.find_spec("mamba_ssm")
        if spec is None:
            raise ModuleNotFoundError("No module named 'mamba_ssm'", name="mamba_ssm")
        package = ModuleType("mamba_ssm")
        package.__path__ = list(spec.submodule_search_locations)
        package.__spec__ = spec
        sys.modules["mamba_ssm"] = package
    return importlib.import_module("mamba_ssm.ops.selective_scan_interface")


@functools.cache
def why_not(name: str) -> str | None:
    """Why the kernels of a backend cannot run, or None: the first missing piece in one line."""
    if not torch.cuda.is_available():
        return "PyTorch sees no CUDA device"
    try:
        interface = _interface()
        if name == "fused":
            importlib.import_module("causal_conv1d_cuda")
    except (
        ImportError,
        AttributeError,
        RuntimeError,
    ) as error:  # missing, or built for another torch
        return f"{type(error).__name__}: {error}".splitlines()[0]
    needed = "mamba_inner_fn" if name == "fused" else "selective_scan_fn"
    return None if hasattr(interface, needed) else f"this mamba_ssm has no {needed}"


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
    """See models._scan.selective_scan; A, D and delta_bias are taken to float32, as the kernel demands.

    The others are taken to the precision of z: under autocast they come in several.
    """
    if reset is not None:
        raise ModelError("scan backend 'mamba_ssm' cannot reset states; use 'reference'")
    u, delta, B, C = (t.to(z.dtype) for t in (u, delta, B, C))
    u, delta, B, C, z = (_channels_first(t) for t in (u, delta, B, C, z))
    A, D, delta_bias = A.float(), D.float(), delta_bias.float()
    y = _interface().selective_scan_fn(
        u, delta, A, B, C, D, z=z, delta_bias=delta_bias, delta_softplus=True
    )
    return _cost.opaque("selective_scan_fn", y, u, delta, A, B, C, D, z).transpose(1, 2)


def mamba_mixer(x: Tensor, params) -> Tensor:
    """See models._scan.mamba_mixer; everything behind in_proj is one autograd function of mamba-ssm."""
    p = params
    batch, length, width = x.shape
    weight = p.in_proj.to(x.dtype)
    xz = (weight @ x.reshape(-1, width).T).view(-1, batch, length).transpose(0, 1)  # (B, 2E, L)
    xz = xz.contiguous()
    y = _interface().mamba_inner_fn(
        xz, p.conv_weight, p.conv_bias, p.x_proj, p.dt_proj, p.out_proj,
        None,  # bias of out_proj
        -torch.exp(p.A_log.float()), D=p.D.float(), delta_bias=p.dt_bias.float(), delta_softplus=True,
    )  # fmt: skip
    # Between input and output it holds a convolution's result and a step per channel: read them as xz.
    return _cost.opaque("mamba_inner_fn", y, xz, xz, *params[1:])


def _channels_first(x: Tensor) -> Tensor:
    """(B, L, E) -> (B, E, L) with positions contiguous."""
    return x.transpose(1, 2).contiguous()
