"""A grid as the workflow leaves it, small enough for a test, and what the parts of gpu-check do with it on CPUs."""

import json
import shutil
import time

from seqbench.core import records
from seqbench.core.jobs import Training, TrainingJob
from tools.gpu import command
from tools.gpu.plan import Plan

TRAINING = Training(max_steps=20, eval_every=10, targets_per_step=64)
SMALL = (("d_model", 16),)


def write_grid_of_three(folder, dataset):
    """Write grid.json with three trainings, the prepared dataset beside it, and return its path."""
    name = json.loads((dataset / "dataset.json").read_text())["name"]
    shutil.copytree(dataset, folder / "data" / name)
    jobs = [TrainingJob(name, "sasrec", "matched", 8, seed, SMALL, TRAINING) for seed in (0, 1)]
    jobs.append(TrainingJob(name, "popularity", "matched", 8, 0))
    listed = [{**job.to_dict(), "path": job.path} for job in jobs]
    (folder / "grid.json").write_text(json.dumps({"trainings": listed}))
    return folder / "grid.json"


def plan_with(out, **changes):
    """A plan of nothing but what ``changes`` say."""
    return Plan(
        **{"out": out, "parts": (), "data": None, "deadline": time.monotonic() + 3600} | changes
    )


def plan(out, grid, seconds=3600.0, share=2):
    return Plan(out, ("quality",), None, time.monotonic() + seconds, grid=grid, share=share)


def done_once(out, parts, grid, n_records):
    """Run the parts twice: the first run leaves so many records, the second makes none of them again."""

    def run():
        return command.gpu_check(out, parts, 3600, None, True, True, False, grid, 2)

    assert run() == command.DONE
    made = {p: p.stat().st_mtime_ns for p in out.rglob("record.json")}
    assert len(made) == n_records
    assert run() == command.DONE
    assert {p: p.stat().st_mtime_ns for p in made} == made


def resealed(file, **values):
    """A record with other values, as if it had been written so."""
    file.write_bytes(records.sealed(json.loads(file.read_text()) | values))
