"""Measuring: fresh interleaved processes, raw times, null with a reason, and a failure stays its model's own."""

import threading
import time
from dataclasses import replace

import numpy as np
import pytest
import small_ceilings_child

from seqbench.cli import main
from seqbench.core.jobs import FULL_LENGTH, MeasurementJob
from seqbench.core.records import read_record, read_samples
from seqbench.measuring import phases, session

SMALL = (("d_model", 16),)
JOB = MeasurementJob(
    "tiny", "matched", 12, (("sasrec", SMALL), ("gru4rec", SMALL)), targets_per_step=128, eval_batch=20,
    rounds=2, steps=3, warmup=1,
)  # fmt: skip


@pytest.fixture(autouse=True)
def small_ceilings(monkeypatch):
    """Every measurement begins with what the machine does at best: here in no time."""
    monkeypatch.setattr(session, "_child", small_ceilings_child.run)


def test_models_take_turns_in_rotating_order():
    turns = [list(session._turn(JOB, round_, session.PHASES)) for round_ in range(2)]
    assert [[name for name, phase in turn if phase == "train"] for turn in turns] == [
        ["sasrec", "gru4rec"], ["gru4rec", "sasrec"],
    ]  # fmt: skip
    assert [len(turn) for turn in turns] == [2 * len(session.PHASES)] * 2


def test_a_part_of_a_job_can_be_asked_for(tmp_path, monkeypatch):
    monkeypatch.setattr(session, "LEAST_S", 100.0)
    job = MeasurementJob(
        FULL_LENGTH, "matched", 16, (("sasrec", SMALL),), targets_per_step=64, eval_batch=8,
        rounds=3, steps=2, warmup=1, n_items=30,
    )  # fmt: skip
    ask = session.Ask(phases=("train",), until=0.0)  # a time that has passed: the first round only
    assert session.measure(job, None, tmp_path, 1, 1200.0, ask) == {"sasrec": "ok"}
    record = read_record(tmp_path / "sasrec")
    samples = read_samples(tmp_path / "sasrec", record)
    assert samples["train/step_s"].shape == (1, 2)
    assert not any(key.startswith("inference/") for key in samples)
    assert "inference" in record["values"]["missing"][session.NOT_ASKED]
    assert set(record["values"]["counts"]) == {"train", "inference"}  # need no clock


# What the other processes of a session send back.
OTHERS = {"measure_ceilings": {"product_flop_per_s": 1.0}, "count_phases": {"train": {"flops": 1}}}


@pytest.mark.parametrize(("late", "rounds"), [(1, None), (3, 1), (4, 1), (5, 2)])
def test_a_round_that_the_time_cuts_is_not_kept(tmp_path, monkeypatch, late, rounds):
    """Two processes a round; late: the one in which the time ends."""
    job = MeasurementJob(
        FULL_LENGTH, "matched", 16, (("sasrec", SMALL), ("gru4rec", SMALL)), rounds=3, n_items=30
    )
    clock, asked = [0.0], []

    def process(_, __, function, arguments, ___):
        if function != "measure_phase":
            return OTHERS[function]
        asked.append(arguments[1])
        if len(asked) == late:
            clock[0] = 100.0
            return session.End("timeout", "killed")
        part = {"train/step_s": np.ones(2)}
        return {"samples": part, "missing": {}, "facts": {}, "sampler": {}}

    monkeypatch.setattr(session, "_in_fresh_process", process)
    monkeypatch.setattr(session.time, "monotonic", lambda: clock[0])
    ends = session.measure(job, None, tmp_path, 1, 9.0, session.Ask(("train",), until=50.0))
    assert len(asked) == late
    if rounds is None:
        assert ends == {} and not list(tmp_path.rglob("record.json"))
        return
    for name in ("sasrec", "gru4rec"):
        record = read_record(tmp_path / name)
        assert record["status"] == "ok"
        assert read_samples(tmp_path / name, record)["train/step_s"].shape == (rounds, 2)


def test_fewer_rounds_do_not_replace_more(tmp_path, monkeypatch):
    """Unless what they measured is something else."""
    job = MeasurementJob(FULL_LENGTH, "matched", 16, (("sasrec", SMALL),), rounds=3, n_items=30)
    value = [1.0]

    def process(_, __, function, *___):
        part = {"train/step_s": np.full(2, value[0]), "inference/batch_s": np.full(2, value[0])}
        kept = {"samples": part, "missing": {}, "facts": {}, "sampler": {}}
        return kept if function == "measure_phase" else OTHERS[function]

    def again(asked, until):
        value[0] += 1
        session.measure(asked, None, tmp_path, 1, 9.0, session.Ask(until=until))
        return read_samples(tmp_path / "sasrec", read_record(tmp_path / "sasrec"))["train/step_s"]

    monkeypatch.setattr(session, "_in_fresh_process", process)
    assert again(job, float("inf")).tolist() == [[2.0, 2.0]] * 3
    assert again(job, 0.0).tolist() == [[2.0, 2.0]] * 3, "one round"
    assert again(job, float("inf")).tolist() == [[4.0, 4.0]] * 3, "as many"
    assert again(replace(job, eval_batch=9), 0.0).tolist() == [[5.0, 5.0]], "another job"


def test_the_time_limit_of_the_command_is_the_jobs(tmp_path, monkeypatch):
    """Every process takes half of it, so it ends in the second model's turn: its record says so, the first one's is kept."""
    job = MeasurementJob(
        FULL_LENGTH, "matched", 16, (("sasrec", SMALL), ("gru4rec", SMALL)), rounds=3, n_items=30
    )
    clock, spent = [0.0], []

    def process(_, __, function, ___, limit_s):
        if function != "measure_phase":
            return OTHERS[function]
        spent.append(min(50.0, limit_s))
        clock[0] += spent[-1]
        if limit_s < 50.0:
            return session.End("timeout", "killed")
        return {"samples": {"train/step_s": np.ones(2)}, "missing": {}, "facts": {}, "sampler": {}}

    monkeypatch.setattr(session, "_in_fresh_process", process)
    monkeypatch.setattr(session.time, "monotonic", lambda: clock[0])
    arguments = ["--job", job.to_json(), "--out", str(tmp_path), "--time-limit", "120"]
    assert main(["measure", *arguments]) == 0
    assert spent == [50.0, 50.0, 20.0]
    kept, cut = (read_record(tmp_path / name) for name in ("sasrec", "gru4rec"))
    assert kept["status"] == "ok" and cut["status"] == "timeout"
    assert "time of its job" in cut["reason"] and set(cut["values"]["failed"]) == {
        "train",
        "inference",
    }


@pytest.mark.parametrize(
    ("kind", "reserved", "failed", "at_once"),
    [("cuda", 2**30, False, 2), ("cuda", 2**35, False, 1), ("cuda", 2**30, True, 1), ("cpu", 0, False, 1)],
)  # fmt: skip
def test_counting_shares_a_gpu_only_where_it_is_known_to_fit(
    monkeypatch, kind, reserved, failed, at_once
):
    found = {name: session.Found() for name in ("sasrec", "gru4rec")}
    part = {"samples": {"train/peak_reserved_bytes": reserved}}
    for model in found.values():
        model.add("train", part)
    if failed:
        found["sasrec"].add("inference", session.End("oom"))
    monkeypatch.setattr(session, "device_kind", lambda: kind)
    both, most, now = threading.Barrier(2), [0], [0]

    def count(name):
        now[0] += 1
        most[0] = max(most[0], now[0])
        if at_once == 2:
            both.wait(120)  # would not pass one after the other
        now[0] -= 1
        return {"flops": len(name)}

    session._count(JOB, found, count)
    assert most[0] == at_once
    assert {name: model.counts for name, model in found.items()} == {
        "sasrec": {"flops": 6}, "gru4rec": {"flops": 7},
    }  # fmt: skip


def test_what_one_round_measured_is_not_missing():
    part = {"samples": {"train/energy_j_per_step": 1.0}, "missing": {}, "sampler": {}}
    later = {"samples": {}, "missing": {"train/energy_j_per_step": "not asked"}, "sampler": {}}
    found = session.Found()
    found.add("train", part)
    found.add("train", later)
    values = session._values(found, session.End("crashed"), session.ALL)
    assert set().union(*values["missing"].values()) == {"counts", "ceilings"}


def test_counts_of_one_phase_survive_the_others_failure():
    found = session.Found(counts={"train": session.End("oom", "much"), "inference": {"flops": 1}})  # fmt: skip
    values = session._values(found, {}, session.ALL)
    assert values["counts"] == {"inference": {"flops": 1}}
    assert values["missing"] == {"oom: much": ["train/counts"]}


def test_a_phase_that_cannot_be_counted_leaves_the_other_one(tiny, monkeypatch):
    def no_memory(*_):
        raise MemoryError

    monkeypatch.setattr(phases, "_count_training", no_memory)
    counts = phases.count_phases(JOB, "sasrec", tiny, 1)
    assert counts["train"].status == "oom" and counts["inference"]["flops"] > 0


def test_a_measurement_writes_one_record_per_model(tiny, tmp_path):
    assert session.measure(JOB, tiny, tmp_path, 1, 1200.0) == {"sasrec": "ok", "gru4rec": "ok"}
    record = read_record(tmp_path / "sasrec")
    samples = read_samples(tmp_path / "sasrec", record)
    assert record["kind"] == "measure" and record["job"]["model"] == "sasrec"
    assert samples["train/step_s"].shape == samples["inference/batch_s"].shape == (2, 3)
    assert (samples["train/step_s"] > samples["train/data_wait_s"]).all()
    parts = sum(samples[f"inference/{part}"] for part in ("encode_s", "score_s", "topk_s"))
    assert (parts <= samples["inference/batch_s"]).all()
    assert (np.abs(samples["train/targets"] - 128) <= 12).all()
    assert (samples["train/peak_rss_bytes"] > 50e6).all()
    assert "train/peak_allocated_bytes" in record["values"]["missing"]["no NVIDIA device"]
    assert record["values"]["steps_per_epoch"] > 1
    other = read_samples(tmp_path / "gru4rec", read_record(tmp_path / "gru4rec"))
    assert np.array_equal(samples["train/targets"], other["train/targets"])  # the same batches


def test_full_length_batches_need_no_dataset(tmp_path):
    job = MeasurementJob(
        FULL_LENGTH, "matched", 16, (("sasrec", SMALL),), targets_per_step=64, eval_batch=8,
        rounds=1, steps=2, warmup=1, n_items=30,
    )  # fmt: skip
    session.measure(job, None, tmp_path, 1, 1200.0)
    record = read_record(tmp_path / "sasrec")
    assert record["data"]["hash"] is None and record["job"]["n_items"] == 30
    assert record["values"]["steps_per_epoch"] is None
    assert record["load"]["own_jobs_beside"] == {"start": 0, "end": 0}
    assert record["load"]["waited_s"] == 0
    assert (read_samples(tmp_path / "sasrec", record)["train/targets"] == 64).all()


def test_a_model_that_fails_gets_a_status_and_the_others_are_measured(tiny, tmp_path):
    models = (("sasrec", (("d_model", 15), ("n_heads", 2))), ("gru4rec", SMALL))
    job = MeasurementJob("tiny", "matched", 12, models, 128, 20, rounds=1, steps=1, warmup=0)
    found = session.measure(job, tiny, tmp_path, 1, 1200.0)
    assert found == {"sasrec": "crashed", "gru4rec": "ok"}
    assert read_record(tmp_path / "sasrec")["reason"]


@pytest.mark.parametrize(
    ("code", "limit_s", "status"), [("kill", 600.0, "oom"), ("hang", 0.5, "timeout")]
)
def test_a_killed_or_hanging_process_is_a_status(
    tiny, tmp_path, monkeypatch, code, limit_s, status
):
    monkeypatch.setattr(session, "_child", {"kill": _kill_self, "hang": _hang}[code])
    job = MeasurementJob("tiny", "matched", 12, (("sasrec", SMALL),), rounds=1)
    assert session.measure(job, tiny, tmp_path, 1, limit_s) == {"sasrec": status}


def _kill_self(*_):
    import os
    import signal

    os.kill(os.getpid(), signal.SIGKILL)


def _hang(*_):

    time.sleep(600)


def test_a_record_holds_counts_and_ceilings_beside_the_times(tiny, tmp_path):
    session.measure(JOB, tiny, tmp_path, 1, 1200.0)
    one, other = (read_record(tmp_path / name)["values"] for name in ("sasrec", "gru4rec"))
    assert one["ceilings"] == other["ceilings"] and one["ceilings"]["product_flop_per_s"] > 0
    for phase in session.PHASES:
        assert one["counts"][phase]["flops"] > 0
    train = one["counts"]["train"]
    samples = read_samples(tmp_path / "sasrec", read_record(tmp_path / "sasrec"))
    assert abs(train["targets"] - 128) <= 12 <= train["saved_bytes"]
    assert np.array_equal(samples["train/tokens"], samples["train/targets"])
    assert one["sampler"] == {phase: [{"samples": 0}] * 2 for phase in session.PHASES}
    assert one["failed"] == {}


def _too_much_while_training(answers, visible, function, *arguments):
    """Training asks for more memory than there is; everything else goes as it should."""
    from seqbench.measuring import phases

    def exhaust(*_):
        import torch

        torch.empty(2**60, dtype=torch.uint8)

    phases._training = exhaust
    answers.put(getattr(phases, function)(*arguments))


def test_out_of_memory_in_training_keeps_inference_and_the_size_asked_for(
    tiny, tmp_path, monkeypatch
):
    monkeypatch.setattr(session, "_child", _too_much_while_training)
    job = MeasurementJob(
        "tiny", "matched", 12, (("sasrec", SMALL),), 128, 20, rounds=2, steps=2, warmup=1
    )
    assert session.measure(job, tiny, tmp_path, 1, 1200.0) == {"sasrec": "oom"}
    record = read_record(tmp_path / "sasrec")
    failed = record["values"]["failed"]
    assert set(failed) == {"train"} and failed["train"]["requested_bytes"] == 2**60
    assert record["reason"] == failed["train"]["reason"] and "allocate" in record["reason"]
    samples = read_samples(tmp_path / "sasrec", record)
    assert samples["inference/batch_s"].shape == (2, 2)
    assert not [key for key in samples if key.startswith("train/")]


def test_rounds_that_the_budget_ended_early_are_cut_to_the_shortest():
    parts = [{"samples": {"a": np.arange(n), "b": np.array(1.0)}} for n in (4, 2, 3)]
    found = dict(session._stacked(parts))
    assert found["a"].tolist() == [[0, 1]] * 3 and found["b"].tolist() == [1.0] * 3


def _report_visible(answers, visible, function, *arguments):
    """Say which GPU this process would see."""
    import os

    os.environ.update(visible)
    answers.put({"visible": os.environ.get("CUDA_VISIBLE_DEVICES")})


def test_each_job_sees_the_gpu_it_was_lent_and_leaves_the_environment_as_it_was(
    monkeypatch, tmp_path
):
    """Two jobs of one process, on a machine whose first GPU is taken the second time."""
    import contextlib
    import os

    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(session, "_child", _report_visible)
    seen = []
    monkeypatch.setattr(
        session.Found, "add", lambda self, phase, result: seen.append(result["visible"])
    )
    monkeypatch.setattr(
        session, "_write", lambda *_: seen.append(os.environ["CUDA_VISIBLE_DEVICES"])
    )
    job = MeasurementJob("tiny", "matched", 12, (("sasrec", SMALL),), rounds=1)
    before = dict(os.environ)
    for lent in ("0", "1"):
        lease = contextlib.nullcontext({"CUDA_VISIBLE_DEVICES": lent})
        monkeypatch.setattr(session, "lease", lambda _, lease=lease: lease)
        session.measure(job, None, tmp_path, 1, 60.0)
        assert dict(os.environ) == before
    assert seen == ["0", "0", "0", "1", "1", "1"]  # two phases and the record of each job


def test_a_reading_that_failed_in_the_first_round_keeps_those_of_the_others():
    parts = [
        {"samples": {"a": np.array(1.0)}},
        {"samples": {"a": np.array(2.0), "b": np.array(3.0)}},
    ]
    found = dict(session._stacked(parts))
    assert found["a"].tolist() == [1.0, 2.0] and found["b"].tolist() == [3.0]
