"""The Triton scan: its values in Triton's interpreter, and what its kernels take of a GPU, without one."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

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


@pytest.mark.slow
@pytest.mark.parametrize("kernel", ["forward", "backward"])
def test_nothing_is_spilled_on_compute_capability_9(usage, kernel):
    for states in (16, 32):
        for variant in ({}, {"precision": "bf16"}, {"reset": True}):
            found = usage(kernel, states, **variant)
            assert found.stack_bytes == 0, (states, variant, found)
            assert found.registers <= 200 and found.shared_bytes <= 8192, (states, variant, found)


@pytest.mark.slow
@pytest.mark.parametrize("kernel", ["forward", "backward"])
def test_sizes_of_one_compile_too(usage, kernel):
    rows = ["u_row", "delta_row", "B_row", "C_row", "z_row"] + ["d_out_row"] * (
        kernel == "backward"
    )
    assert usage(kernel, 32, sizes={"length": 1}).stack_bytes == 0
    assert (
        usage(kernel, 1, sizes=dict.fromkeys(["length", "n_channels", *rows], 1)).stack_bytes == 0
    )
