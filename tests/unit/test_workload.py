"""What a measured epoch holds, and what the allocator is told."""

import numpy as np
import pytest

from seqbench.core.jobs import MeasurementJob
from seqbench.data import open_dataset
from seqbench.hardware import worker_env
from seqbench.measuring import workload
from seqbench.training.batches import epoch_batches, windows_for


@pytest.mark.parametrize("targets_per_step", [1, 3, 5, 128])
def test_the_steps_of_an_epoch_are_its_batches(tiny, targets_per_step):
    """Also where one window holds more targets than a step asks for."""
    data = open_dataset(tiny)
    job = MeasurementJob(
        "tiny", "matched", 12, (("sasrec", ()),), targets_per_step=targets_per_step
    )
    windows = windows_for(job.objective, data.split, job.seq_len)
    rng = np.random.default_rng(1)
    made = len(epoch_batches(windows, targets_per_step, rng, job.bucket_by_length))
    assert workload.steps_per_epoch(job, data) == pytest.approx(made, rel=0.02, abs=1)


@pytest.mark.parametrize(
    ("libc", "threshold"),
    [
        (("glibc", "2.28"), 2**25),
        (("glibc", "2.34"), 2**25),
        (("glibc", "2.35"), 2**34),
        (("glibc", "2.41"), 2**34),
        (("", ""), 2**34),
    ],
)
def test_a_threshold_that_the_c_library_takes(libc, threshold):
    """Old ones ignore what is above half of HEAP_MAX_SIZE, 32 MiB."""
    assert int(worker_env.allocator(libc)["MALLOC_MMAP_THRESHOLD_"]) == threshold
