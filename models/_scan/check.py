"""Comparison of the scan backends with the float64 reference, in values and every gradient."""

from __future__ import annotations

import torch
from torch import Tensor

from models._errors import ModelError
from models._scan import BACKENDS, MixerParams, mamba_mixer, resolve, selective_scan

SCAN_ARGUMENTS = ("u", "delta", "A", "B", "C", "D", "z", "delta_bias")
TOLERANCES = {"cpu": 1e-5, "cuda": 1e-3}  # CUDA kernels use fast approximations of exp and log
BATCH, LENGTH, WIDTH, CHANNELS, STATES, TAPS = 3, 70, 64, 128, 32, 4


def compare_backends(device: torch.device | str) -> list[dict]:
    """One row per backend, seam and quantity: relative error (of the largest value), tolerance, ok.

    A backend made for this kind of device that cannot run is a row with ok false and the reason.
    """
    device = torch.device(device)
    rows = []
    for name, kind in BACKENDS.items():
        if kind not in (None, device.type):
            continue
        try:
            resolve(name, device)
        except ModelError as error:
            rows.append(_row(name, "import", None, device, reason=str(error)))
            continue
        for quantity, error in mixer_errors(name, device).items():
            rows.append(_row(name, f"mamba_mixer {quantity}", error, device))
        for quantity, error in scan_errors(name, device).items() if name != "fused" else ():
            rows.append(_row(name, f"selective_scan {quantity}", error, device))
    return rows


def scan_inputs(
    batch: int, length: int, channels: int, states: int, step: float = 0.05, seed: int = 0
) -> list[Tensor]:
    """Random float64 arguments of selective_scan that float32 holds exactly; step: typical step size."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator).double()

    rates = torch.arange(1, states + 1).double() * torch.exp(0.1 * normal(channels, states))
    bias = torch.tensor(step).double().expm1().log() + 0.5 * normal(channels)  # softplus^-1(step)
    u, delta, z = (normal(batch, length, channels) for _ in range(3))
    B, C = (normal(batch, length, states) for _ in range(2))
    inputs = (u, delta, -rates, B, C, normal(channels), z, bias)
    return [t.float().double() for t in inputs]


def relative_errors(function, reference, names: tuple, inputs: list[Tensor]) -> dict[str, float]:
    """Run both on float64 inputs, function in float32; the largest error over the largest value."""
    exact = [t.detach().clone().requires_grad_() for t in inputs]
    rounded = [t.detach().float().requires_grad_() for t in inputs]
    expected, got = reference(*exact), function(*rounded)
    generator = torch.Generator().manual_seed(1)
    d_out = torch.randn(expected.shape, generator=generator).to(expected)
    expected_gradients = torch.autograd.grad(expected, exact, d_out)
    gradients = torch.autograd.grad(got, rounded, d_out.float())
    pairs = zip(names, gradients, expected_gradients, strict=True)
    errors = {"values": _relative_error(got, expected)}
    return errors | {f"gradient of {name}": _relative_error(g, e) for name, g, e in pairs}


def _relative_error(got: Tensor, expected: Tensor) -> float:
    got, expected = got.detach(), expected.detach()
    error, scale = (got.double() - expected).abs().max(), expected.abs().max()
    return float(error / scale if scale else error)  # all zero: the error itself


def scan_errors(name: str, device: torch.device, length: int = LENGTH) -> dict[str, float]:
    """Relative errors of a backend's selective_scan, by quantity; E = 128, N = 32."""
    inputs = [t.to(device) for t in scan_inputs(BATCH, length, CHANNELS, STATES)]
    return relative_errors(
        lambda *a: selective_scan(*a, backend=name), selective_scan, SCAN_ARGUMENTS, inputs
    )


def mixer_errors(
    name: str,
    device: torch.device,
    length: int = LENGTH,
    width: int = WIDTH,
    states: int = STATES,
    taps: int = TAPS,
) -> dict[str, float]:
    """Relative errors of a backend's mamba_mixer, by quantity; E = 2D, R = D / 16."""
    channels, rank = 2 * width, -(-width // 16)
    generator = torch.Generator().manual_seed(2)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator).double()

    params = MixerParams(
        in_proj=normal(2 * channels, width) / width**0.5,
        conv_weight=normal(channels, 1, taps) / 2,
        conv_bias=normal(channels) / 2,
        x_proj=normal(rank + 2 * states, channels) / channels**0.5,
        dt_proj=normal(channels, rank) / rank**0.5,
        dt_bias=normal(channels) - 3,
        A_log=torch.arange(1, states + 1).double().log().repeat(channels, 1),
        D=normal(channels),
        out_proj=normal(width, channels) / channels**0.5,
    )
    inputs = [t.float().double().to(device) for t in (normal(BATCH, length, width), *params)]

    def mixer(backend: str):
        return lambda x, *weights: mamba_mixer(x, MixerParams(*weights), backend)

    return relative_errors(mixer(name), mixer("reference"), ("x", *MixerParams._fields), inputs)


def _row(
    backend: str, check: str, error: float | None, device: torch.device, reason: str | None = None
) -> dict:
    tolerance = TOLERANCES[device.type]
    ok = error is not None and error <= tolerance
    return {
        "backend": backend,
        "check": check,
        "relative_error": error,
        "tolerance": tolerance,
        "ok": ok,
        "reason": reason,
    }
