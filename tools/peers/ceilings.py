"""What one process of this machine does at best, as one line of JSON: the rates that steps are set against."""

from __future__ import annotations

import json
import sys
import time


def main(threads: int, *precisions: str) -> None:
    """Print precision -> rates per second of CPU time, which other work on the same core does not move."""
    import torch

    from seqbench.hardware.peak_throughput import ceilings

    torch.set_num_threads(threads)
    where = torch.device("cpu")
    print(json.dumps({p: ceilings(where, p, clock=time.process_time) for p in precisions}))


if __name__ == "__main__":
    main(int(sys.argv[1]), *sys.argv[2:])
