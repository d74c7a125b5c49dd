"""In which order the jobs of a grid run, as Snakemake's priorities: what the paper's claims need first.

1. Cost at the paper's workload: its own track on the datasets, the longest histories first.
2. Growth with the length: as many points of the curve as a fit needs, in ``matched``; then the datasets in the other
   tracks, and the curve's points in those.
3. Quality: the first seed of everything, then the second.
4. What is left of cost.

A run that a deadline ends has done the first part of this list. Snakemake maximises the sum of the priorities of what
it starts, and a measurement runs alone: so one of the first two outweighs as many trainings as a machine takes.
"""

from __future__ import annotations

from ..core.jobs import MeasurementJob
from .grid import Grid

PAPER, MATCHED = "paper", "matched"  # tracks
GROWTH, LENGTHS = "length-at-constant-batch", (200, 1024, 4096, 8192)
PREPARING = 1_000_000  # a download that fails is said before hours of measuring
_MEASURING, _STEP = 20_000, 100
_TRAINING = 100  # at most; of at most 100 trainings at once


def priorities(grid: Grid) -> dict[str, int]:
    """Priority by the job's folder below the results folder; of what is left of cost 0."""
    found = {job.path: 0 for job in grid.measurements}
    first = sorted(filter(_is_claimed, grid.measurements), key=_rank)
    found |= {job.path: _MEASURING + _STEP * (len(first) - i) for i, job in enumerate(first)}
    seeds = list(dict.fromkeys(job.seed for job in grid.trainings))
    trainings = sorted(grid.trainings, key=lambda job: seeds.index(job.seed))
    n = max(len(trainings), 1)
    found |= {job.path: 1 + (_TRAINING - 1) * (n - i) // n for i, job in enumerate(trainings)}
    return found


def _is_claimed(job: MeasurementJob) -> bool:
    return job.curve is None or (job.curve == GROWTH and job.seq_len in LENGTHS)


def _rank(job: MeasurementJob) -> tuple:
    if job.curve is None:
        return 0 if job.track == PAPER else 2, -job.seq_len
    return 1 if job.track == MATCHED else 3, LENGTHS.index(job.seq_len)
