"""What goes wrong on clusters, on a real Slurm: which job is hit and when is decided by the test, which holds the job's folder."""

import pytest
from on_slurm import LOG, RECORD, TINY, training
from slurm import until

pytestmark = pytest.mark.slow


def but(**changes):
    """The smallest comparison with other blocks."""
    return {**TINY, **changes}


def trained(longer):
    """The training of the smallest comparison, with other keys."""
    tiny = TINY["datasets"]["tiny"]
    return but(datasets={"tiny": {**tiny, "training": {**tiny["training"], **longer}}})


def test_a_lost_node_costs_the_run_nothing(cluster, workflow):
    run = workflow(cluster, TINY)
    run.hold(training())
    run.start(target=RECORD)
    (job,) = cluster.running("rule_train")
    run.waits(LOG)
    cluster.lose(job["node"])
    try:
        until(
            lambda: cluster.jobs("rule_train")[0]["state"] == "PENDING", "Slurm takes the job back"
        )
        cluster.ask(
            "scontrol", "update", f"jobid={job['id']}", "starttime=now"
        )  # Slurm waits two minutes
        again = until(
            lambda: [j for j in cluster.jobs("rule_train") if j["state"] == "RUNNING" and j["node"] != job["node"]],
            "the job runs on the other node",
        )  # fmt: skip
        run.release()
        run.ends_well()
    finally:
        cluster.restore(job["node"])
    assert run.record(training())["status"] == "ok" and len(again) == 1


def test_a_killed_run_that_is_started_again_trains_nothing_twice(cluster, workflow):
    run = workflow(cluster, TINY)
    run.hold(training())
    run.start(target=RECORD)
    cluster.running("rule_train")
    run.waits(LOG)
    run.process.kill()
    run.process.wait()
    run.start("--slurm-keep-successful-logs", target=RECORD)
    cluster.running("rule_train", 2)
    jobs = run.folder / ".snakemake/slurm_logs/rule_train"

    def waiting():
        said = [file.read_text() for file in jobs.rglob("*.log")]
        return sum("waits for process" in text for text in said) == 2

    until(waiting, "both jobs wait for the folder")
    run.release()
    said = run.ends_well()
    assert "its lock is removed" in said
    until(
        lambda: {j["state"] for j in cluster.jobs("rule_train")} == {"COMPLETED"}, "both jobs end"
    )
    logs = [file.read_text() for file in jobs.rglob("*.log")]
    assert sum("was made while this waited" in text for text in logs) == 1
    assert run.record(training())["status"] == "ok"
    run.start("--dry-run", target=RECORD)
    assert "Nothing to be done" in run.ends_well()


def test_a_training_out_of_time_leaves_its_record(cluster, workflow):
    """Slurm gives two minutes, the training takes one: the pretended cluster itself lets a slow machine have more."""
    run = workflow(cluster, trained({"max_steps": 10_000_000, "eval_every": 10_000_000}))
    run.start("--set-resources", "train:gpu=1", "train:runtime=2", target=RECORD)
    (job,) = cluster.running("rule_train")
    assert job["limit"] == "2:00"
    run.ends_well()
    record = run.record(training())
    assert record["status"] == "timeout" and "time limit of 60 s" in record["reason"]


def test_a_gpu_that_was_asked_for_and_is_not_there_is_an_error(cluster, workflow):
    """Slurm gives one, and PyTorch finds none: nothing trains on the CPU without a word."""
    run = workflow(cluster, but(allow_cpu=False))
    run.start("--retries", "0", target=RECORD)
    status, said = run.end()
    assert status != 0 and not (run.folder / RECORD).exists()
    assert (
        "failed: training tiny matched sasrec L8-s0: the job asks for a GPU and this machine has none"
        in said
    )
    (job,) = cluster.jobs("rule_train")
    assert job["gres"].endswith("gpu:1") and job["state"] == "FAILED"


def test_two_trainings_on_one_node_have_a_gpu_each(cluster, workflow):
    run = workflow(cluster, but(run={**TINY["run"], "seeds": [0, 1]}))
    cluster.ask("scontrol", "update", "nodename=n2", "state=drain", "reason=test")
    try:
        for seed in (0, 1):
            run.hold(training(seed))
        run.start("--until", "train")
        both = cluster.running("rule_train", 2)
        for seed in (0, 1):
            run.waits(f"train/tiny/matched/sasrec/L8-s{seed}")
        run.release()
        run.ends_well()
    finally:
        cluster.ask("scontrol", "update", "nodename=n2", "state=resume")
    assert [job["node"] for job in both] == ["n1", "n1"]
    settings = [run.record(training(seed))["environment"]["settings"] for seed in (0, 1)]
    assert {s["CUDA_VISIBLE_DEVICES"] for s in settings} == {"0", "1"}
    assert {s["CUDA_DEVICE_ORDER"] for s in settings} == {"PCI_BUS_ID"}
