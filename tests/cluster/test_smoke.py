"""The smallest comparison on a real Slurm without accounting, one of its jobs cancelled, held against the same on this machine."""

import pytest
from on_slurm import TINY, training
from slurm import until

pytestmark = pytest.mark.slow


def test_a_run_through_slurm_survives_a_cancelled_job_and_gives_what_this_machine_gives(
    cluster, workflow
):
    here, there = workflow(None, TINY, "here"), workflow(cluster, TINY, "there")
    there.hold(training())
    there.start()
    here.start()
    (job,) = cluster.running("rule_train")
    there.waits("train/tiny/matched/sasrec/L8-s0")
    cluster.ask("scancel", job["id"])
    until(lambda: len(cluster.jobs("rule_train")) == 2, "the cancelled job comes again")
    there.release()
    said = there.ends_well()
    assert "failed:" not in said, "a job that came again has not failed"
    here.ends_well()

    assert there.equals(here) == 3

    jobs = cluster.jobs()
    assert [(job["state"], job["gres"]) for job in jobs if "rule_train" in job["comment"]] == [
        ("CANCELLED", "gres:gpu:1"),
        ("COMPLETED", "gres:gpu:1"),
    ]
    assert len(jobs) == 4, f"two baselines share a job, prepare is none: {jobs}"
    (cheap,) = cluster.jobs("baseline")
    assert (cheap["gres"], cheap["memory"], cheap["limit"]) == ("N/A", "16000M", "40:00")
    settings = there.record(training())["environment"]["settings"]
    assert settings["CUDA_VISIBLE_DEVICES"] in ("0", "1"), "the one that Slurm gave"
    baseline = there.record(training(model="markov"))["environment"]["settings"]
    assert "CUDA_VISIBLE_DEVICES" not in baseline
