"""Rate of a square matrix product on this machine, as one line of JSON: the arithmetic limit that steps are set against."""

from __future__ import annotations

import json
import statistics
import sys
import time

SIZE = 2048
REPEATS = 7


def main(threads: int) -> None:
    """Print the median rate in FLOP/s of fp32 products of two SIZE x SIZE matrices."""
    import torch

    torch.set_num_threads(threads)
    a, b = torch.randn(2, SIZE, SIZE)
    out = torch.empty(SIZE, SIZE)
    torch.mm(a, b, out=out)
    rates = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        torch.mm(a, b, out=out)
        rates.append(2 * SIZE**3 / (time.perf_counter() - start))
    print(json.dumps({"flop_per_s": statistics.median(rates), "samples": rates}))


if __name__ == "__main__":
    main(int(sys.argv[1]))
