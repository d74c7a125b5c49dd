"""The Triton scan: its values in Triton's interpreter, and what its kernels take of a GPU, without one."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from models._scan import triton_cuda
from models._scan.check import scan_inputs

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
pytest.importorskip("triton", reason="Triton is made for Linux only")


def test_everything_holds_in_tritons_interpreter():
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "--benchmark-disable",
    ]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")}
    environment |= {"TRITON_INTERPRET": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        [*command, "tests/models/interpreted_scan.py"],
        cwd=ROOT, env=environment, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout and "skipped" not in done.stdout


@pytest.fixture
def usage(tmp_path, monkeypatch):
    """models._scan.occupancy.usage with an empty cache of compiled kernels."""
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    from models._scan.occupancy import usage

    if not Path(usage.__globals__["triton"].knobs.nvidia.ptxas.path).exists():
        pytest.skip("this Triton has no ptxas, which compiles for NVIDIA's GPUs")
    return usage


@pytest.mark.parametrize("kernel", ["forward", "backward"])
def test_nothing_is_spilled_on_compute_capability_9(usage, kernel):
    for states in (16, 32):
        for variant in ({}, {"precision": "bf16"}, {"reset": True}):
            found = usage(kernel, states, **variant)
            assert found.stack_bytes == 0, (states, variant, found)
            assert found.registers <= 200 and found.shared_bytes <= 8192, (states, variant, found)


@pytest.mark.parametrize("kernel", ["forward", "backward"])
def test_one_channel_and_one_state_compile_too(usage, kernel):
    rows = ["u_row", "delta_row", "B_row", "C_row", "z_row"] + ["d_out_row"] * (
        kernel == "backward"
    )
    assert usage(kernel, 1, sizes=dict.fromkeys(["n_channels", *rows], 1)).stack_bytes == 0


class StandInDriver:
    """As much of Triton's driver as compiling for a launch asks for."""

    def get_current_device(self):
        return 0

    def get_current_stream(self, device):
        return 0

    def get_current_target(self):
        from triton.backends.compiler import GPUTarget

        return GPUTarget("cuda", 90, 32)


@pytest.fixture
def launches(usage, monkeypatch):
    """Kernels are compiled for what they are launched with, but not launched: their hashes, by name."""
    from triton.runtime import driver

    compiled = {"forward": set(), "backward": set()}

    def launch(kernel, tensors, sizes, shape):
        grid, options = (1, 1), {"num_warps": triton_cuda.WARPS}
        found = kernel.warmup(*tensors, *sizes, **shape, **options, grid=grid)
        compiled[kernel.__name__].add(found.hash)

    monkeypatch.setattr(triton_cuda, "_launch", launch)
    monkeypatch.setattr(driver, "_active", StandInDriver())
    return compiled


@pytest.mark.skipif(torch.cuda.is_available(), reason="test_scan_on_gpu.py launches them")
def test_what_is_launched_compiles_and_a_new_length_compiles_nothing(launches):
    for length in (16, 33, 1):
        forward_and_backward([t.float() for t in scan_inputs(2, length, 128, 32)])
    assert [len(hashes) for hashes in launches.values()] == [1, 1]
    reset = torch.zeros(1, 5, dtype=torch.bool)
    forward_and_backward([t.bfloat16() for t in scan_inputs(1, 5, 24, 5)], reset)
    assert [len(hashes) for hashes in launches.values()] == [2, 2]


def forward_and_backward(inputs, reset=None):
    inputs = [t.requires_grad_() for t in inputs]
    triton_cuda.selective_scan(*inputs, reset).sum().backward()
