"""What the Triton kernels take of a GPU, compiled ahead of time: no GPU is needed.

``python -m models._scan.occupancy`` prints it. Registers limit how many programs run at once on a
multiprocessor, and states that do not fit into them would be spilled to slow memory at every position.
Compiled as at run time for Mamba4Rec: addresses, channels and most rows are divisible by 16, which Triton
makes use of; rows of B and C, which are slices of R + 2N columns, are not.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from typing import NamedTuple

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from triton.runtime.jit import JITFunction

from models._scan import triton_kernels
from models._scan.triton_cuda import WARPS, program_shape

KERNELS = {"forward": triton_kernels.forward, "backward": triton_kernels.backward}
IN_INPUT_PRECISION = ("u", "delta", "B", "C", "z", "out", "d_out", "du", "d_delta", "dz")
NOT_BY_16 = ("length", "B_row", "C_row")
LINE = "{:9} {:>4} {:5} {:>9} {:>11} {:>14}"


class Usage(NamedTuple):
    """Resources of one compiled kernel."""

    registers: int  # per thread, of 255
    stack_bytes: int  # per thread; above 0 something was spilled
    shared_bytes: int  # per program


def usage(
    kernel: str,
    states: int,
    precision: str = "fp32",
    reset: bool = False,
    sizes: dict[str, int] | None = None,
    capability: int = 90,
) -> Usage:
    """Compile a kernel for N states.

    precision: of the tensors (fp32, bf16, fp16). sizes: sizes that are 1, for which Triton compiles a
    kernel of its own, by name. capability: 90 for compute capability 9.0.
    """
    source = _source(KERNELS[kernel], states, precision, reset, sizes or {})
    target = GPUTarget("cuda", capability, 32)
    compiled = triton.compile(source, target=target, options={"num_warps": WARPS})
    found = _resources(compiled.asm["cubin"])
    return Usage(found["REG"], found["STACK"], compiled.metadata.shared)


def _source(
    kernel: JITFunction, states: int, precision: str, reset: bool, sizes: dict[str, int]
) -> ASTSource:
    """The kernel with the types of its arguments, and the values of those fixed when it is compiled."""
    fixed = program_shape(states) | sizes | ({} if reset else {"reset": None})
    types = {name: _type(name, precision) for name in kernel.arg_names}
    types |= dict.fromkeys(fixed, "constexpr")
    position = {name: (i,) for i, name in enumerate(kernel.arg_names)}
    by_16 = [n for n, type_ in types.items() if type_ != "constexpr" and n not in NOT_BY_16]
    return ASTSource(
        kernel,
        signature=types,
        constexprs={position[name]: value for name, value in fixed.items()},
        attrs={position[name]: [["tt.divisibility", 16]] for name in by_16},
    )


def _type(name: str, precision: str) -> str:
    """The type of a kernel's argument in Triton's notation."""
    if name in ("length", "n_channels") or name.endswith("_row"):
        return "i32"
    if name == "reset":
        return "*u8"
    return f"*{precision}" if name in IN_INPUT_PRECISION else "*fp32"


def _resources(cubin: bytes) -> dict[str, int]:
    """REG, STACK and more of the one kernel in a compiled file, as NVIDIA's cuobjdump lists them."""
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        command = [triton.knobs.nvidia.cuobjdump.path, "-res-usage", file.name]
        listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return {key: int(value) for key, value in re.findall(r"([A-Z]+):(\d+)", listed)}


if __name__ == "__main__":
    print(LINE.format("kernel", "N", "type", "registers", "stack bytes", "shared bytes"))
    for kernel in KERNELS:
        for states in (16, 32, 64):
            for precision in ("fp32", "bf16"):
                print(LINE.format(kernel, states, precision, *usage(kernel, states, precision)))
