"""What runs first: what the paper's claims need, also where a deadline ends the run."""

from pathlib import Path

from seqbench.config import order
from seqbench.config.grid import grid
from seqbench.config.load import MODELS, load

GPU = Path(__file__).parents[2] / "config" / "gpu.yaml"


def ordered(*files, **run):
    config = load(files)
    config["run"] |= run
    jobs = grid(config, MODELS)
    found = order.priorities(jobs)
    assert set(found) == {job.path for job in (*jobs.trainings, *jobs.measurements)}
    return jobs, sorted(found, key=lambda path: -found[path]), found


def test_cost_at_the_papers_workload_then_growth_then_the_rest():
    jobs, paths, found = ordered(GPU, datasets=["ml-1m"])
    own = [job.path for job in jobs.measurements if job.track == "paper" and job.curve is None]
    growth = [
        next(j.path for j in jobs.measurements if j.track == "matched" and j.curve == order.GROWTH and j.seq_len == n)
        for n in (200, 1024, 4096, 8192)
    ]  # fmt: skip
    assert own and set(paths[: len(own)]) == set(own)
    assert paths[len(own) : len(own) + 4] == growth
    left = [path for path in paths if "batch-size" in path or "catalogue" in path]
    assert left and {found[path] for path in left} == {0}


def test_trainings_come_between_seed_by_seed():
    jobs, paths, found = ordered()
    trainings = {job.path: job for job in jobs.trainings}
    first = [i for i, path in enumerate(paths) if found[path] >= order._MEASURING]
    last = [i for i, path in enumerate(paths) if found[path] == 0]
    places = [i for i, path in enumerate(paths) if path in trainings]
    assert max(first) < min(places) and max(places) < min(last)
    seeds = [trainings[path].seed for path in paths if path in trainings]
    assert seeds == sorted(seeds)


def test_no_hundred_trainings_outweigh_a_measurement_and_no_measurement_a_dataset():
    _, _, found = ordered(GPU, models=["sasrec"])
    assert 100 * order._TRAINING < order._MEASURING and max(found.values()) < order.PREPARING
