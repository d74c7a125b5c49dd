"""Rate of a square matrix product on this machine, as one line of JSON: the arithmetic limit that steps are set against."""

from __future__ import annotations

import json
import statistics
import sys
import time

SIZE = 2048
REPEATS = 7


def main(threads: int) -> None:
    """Print median rates of fp32 products of two SIZE x SIZE matrices: per second, and per second of CPU time.

    They are the same with one thread on an idle core; the second one survives other work on it.
    """
    import torch

    torch.set_num_threads(threads)
    a, b = torch.randn(2, SIZE, SIZE)
    out = torch.empty(SIZE, SIZE)
    torch.mm(a, b, out=out)
    wall, cpu = [], []
    for _ in range(REPEATS):
        start, used = time.perf_counter(), time.process_time()
        torch.mm(a, b, out=out)
        wall.append(2 * SIZE**3 / (time.perf_counter() - start))
        cpu.append(2 * SIZE**3 / (time.process_time() - used))
    rates = {"flop_per_s": statistics.median(wall), "flop_per_cpu_s": statistics.median(cpu)}
    print(json.dumps({**rates, "samples": wall, "cpu_samples": cpu}))


if __name__ == "__main__":
    main(int(sys.argv[1]))
