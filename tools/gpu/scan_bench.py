"""Times of the selective scan and of the whole layer around it by backend, forward and backward, at the paper's size.

A scan alone may be fast and its layer slow: each backend wants its own layout, and mamba-ssm's `fused` keeps less and
computes it again. As a command it takes the machine alone and one GPU, if there is one, and fails where a backend differs
from the reference.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from models._errors import ModelError
from models._scan import BACKENDS, MixerParams, mamba_mixer, resolve, selective_scan
from models._scan import selfcheck as compare
from seqbench.core import provenance
from seqbench.core.metrics import spread
from seqbench.core.records import write_atomically
from seqbench.hardware import device
from seqbench.hardware.device import Stopwatch, reset_peaks
from seqbench.hardware.environment import environment
from seqbench.hardware.leases import EXCLUSIVE, lease, variables

PAPER = {"batch": 2048, "length": 200, "channels": 128}
STATES = (16, 32)
EXPAND, RANK, TAPS = (
    2,
    4,
    4,
)  # of the layer: channels over width, rank of the step size, taps of the convolution
REPEATS, WARMUP = 20, 3


def check_and_time(where: torch.device, size: dict[str, int] | None = None) -> dict[str, Any]:
    """``check``: rows of every backend against the float64 reference; ``times``: of the scans; ``layers``: of whole layers.

    A row of times: backend, states, forward_s and backward_s (medians) with their interquartile ranges, n; of layers also
    peak_bytes, the most that the GPU had allocated (None on a CPU).
    """
    size = size or PAPER
    names = [n for n, kind in BACKENDS.items() if kind == where.type]
    scans = [_scan(n, where, states, size) for n in names if n != "fused" for states in STATES]
    layers = [_layer(n, where, states, size) for n in names for states in STATES]
    return {"check": compare(where), "size": size, "times": scans, "layers": layers}


def _scan(name: str, where: torch.device, states: int, size: dict[str, int]) -> dict[str, Any]:
    row = {"backend": name, "states": states}
    try:
        resolve(name, where)
    except ModelError as error:
        return {**row, "reason": str(error)}
    inputs = _inputs(where, states, **size)
    return {**row, **_time(lambda *given: selective_scan(*given, backend=name), inputs, where)}


def _layer(name: str, where: torch.device, states: int, size: dict[str, int]) -> dict[str, Any]:
    row = {"backend": name, "states": states}
    try:
        resolve(name, where)
    except ModelError as error:
        return {**row, "reason": str(error)}
    inputs = _weights(where, states, **size)
    reset_peaks(where)
    found = _time(lambda x, *given: mamba_mixer(x, MixerParams(*given), name), inputs, where)
    peak = torch.cuda.max_memory_allocated(where) if where.type == "cuda" else None
    return {**row, **found, "peak_bytes": peak}


def _time(
    run: Callable[..., torch.Tensor], inputs: list[torch.Tensor], where: torch.device
) -> dict[str, Any]:
    """Medians of forward and backward, of all gradients."""
    forward, backward = Stopwatch(where), Stopwatch(where)
    for _ in range(WARMUP + REPEATS):
        with forward.time():
            out = run(*inputs)
        with backward.time():
            torch.autograd.grad(out, inputs, torch.ones_like(out))
    found = {}
    for key, clock in (("forward_s", forward), ("backward_s", backward)):
        result = spread(clock.seconds[WARMUP:])
        found |= {key: result.median, f"{key[:-2]}_iqr_s": result.iqr}
    return {**found, "n": REPEATS, "reason": None}


def _inputs(where: torch.device, states: int, batch: int, length: int, channels: int) -> list:
    generator = torch.Generator(where).manual_seed(0)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, device=where)

    rows = (batch, length)
    u, delta, z = (normal(*rows, channels) for _ in range(3))
    B, C = (normal(*rows, states) for _ in range(2))
    A = -torch.arange(1.0, states + 1, device=where).repeat(channels, 1)
    inputs = (u, delta, A, B, C, normal(channels), z, normal(channels) - 3)
    return [t.requires_grad_() for t in inputs]


def _weights(where: torch.device, states: int, batch: int, length: int, channels: int) -> list:
    """Input (B, L, D) and weights of a layer, of the size of trained ones."""
    generator = torch.Generator(where).manual_seed(0)
    width = channels // EXPAND

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, device=where) / shape[-1] ** 0.5

    weights = MixerParams(
        in_proj=normal(2 * channels, width),
        conv_weight=normal(channels, 1, TAPS),
        conv_bias=normal(channels),
        x_proj=normal(RANK + 2 * states, channels),
        dt_proj=normal(channels, RANK),
        dt_bias=normal(channels) - 3,
        A_log=torch.arange(1.0, states + 1, device=where).log().repeat(channels, 1),
        D=torch.ones(channels, device=where),
        out_proj=normal(width, channels),
    )
    return [t.requires_grad_() for t in (normal(batch, length, width), *weights)]


def main(argv: Sequence[str] | None = None) -> int:
    """Write what ``check_and_time`` finds, with its machine and code; 1 where a backend differs or none of a GPU runs."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--out", type=Path, default=Path("results/checks/scan.json"))
    for name, value in PAPER.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    a = parser.parse_args(argv)
    with lease(EXCLUSIVE) as leased, variables(leased):
        where = device.pick()
        found = check_and_time(where, {name: getattr(a, name) for name in PAPER})
        code = provenance.meaning(
            provenance.ROOT,
            ("models/_scan/check.py", "tools/gpu/scan_bench.py"),
            provenance.NUMBERS,
        )
        about = {"code": code, "environment": environment(where.type, torch.get_num_threads())}
    write_atomically(a.out, (json.dumps({**about, **found}, indent=1) + "\n").encode())
    wrong = [row for row in found["check"] if not row["ok"] and row["reason"] is None]
    timed = [row for row in found["times"] if row["reason"] is None]
    print(f"{a.out}: {len(timed)} backends timed, {len(wrong)} differ", file=sys.stderr)
    return int(bool(wrong) or (where.type == "cuda" and not timed))


if __name__ == "__main__":
    sys.exit(main())
