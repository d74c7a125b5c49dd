"""A deadline: what begins behind it, what it stops, how that goes on, and what a run says of it."""

import logging
import os
import subprocess
import sys
import threading
import time
import types

import numpy as np
import pytest
import torch

from seqbench import cli
from seqbench.core import deadline, failures
from seqbench.core.errors import MachineError, UserError
from seqbench.core.jobs import MeasurementJob, Training, TrainingJob
from seqbench.core.records import read_record
from seqbench.data import open_dataset
from seqbench.hardware import leases
from seqbench.measuring import session
from seqbench.training import loop, supervisor

FAR = 3600.0
WATCH = supervisor.watch
LONGER = Training(max_steps=40, eval_every=20, targets_per_step=64)


@pytest.fixture(autouse=True)
def none_yet(monkeypatch):
    for name in (deadline.ASKED, deadline.COMES):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(deadline.COMES, "")  # so that what a test sets is taken back


def set_to(monkeypatch, seconds, given=FAR):
    monkeypatch.setenv(deadline.COMES, f"{time.time() + seconds} {given:g}")


def test_the_variable_of_users_wins_over_the_configuration(monkeypatch):
    deadline.announce(None)
    assert deadline.given() is None and deadline.left_s() == float("inf")
    deadline.announce(500)
    assert deadline.given() == 500 and 0 < deadline.left_s() < 501
    monkeypatch.setenv(deadline.ASKED, "900")
    deadline.announce(500)
    assert deadline.given() == 900
    for text in ("soon", "-1", "nan", "inf"):
        monkeypatch.setenv(deadline.ASKED, text)
        with pytest.raises(UserError, match=f"{deadline.ASKED} = '{text}': not a positive"):
            deadline.announce(None)


def test_a_wait_ends_at_the_deadline(monkeypatch):
    with deadline.waiting("x"):
        pass
    set_to(monkeypatch, 0.05)
    with pytest.raises(deadline.Over, match="x waited until then"), deadline.waiting("x"):
        threading.Event().wait(600)
    set_to(monkeypatch, -1)
    with pytest.raises(deadline.Over, match="a job that needs a GPU does not begin"):
        deadline.check("a job that needs a GPU")


def test_a_job_that_waits_for_the_machine_gives_up(monkeypatch, tmp_path):
    monkeypatch.setenv(leases.FOLDER, str(tmp_path))
    code = (
        "import time; from seqbench.hardware import leases\n"
        "with leases.machine_lease('exclusive'): print('holds', flush=True); time.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as holder:
        holder.stdout.readline()
        set_to(monkeypatch, 0.2)
        with pytest.raises(deadline.Over), leases.machine_lease("shared"):
            pytest.fail("two had it")
        holder.kill()
    monkeypatch.setenv(deadline.COMES, "")
    with leases.machine_lease("exclusive"):
        pass


def test_a_training_that_the_deadline_stops_goes_on_as_if_it_had_not(monkeypatch, tmp_path, small):
    job = TrainingJob("small", "sasrec", "matched", 8, 0, (("d_model", 8),), LONGER)
    dataset, cpu = open_dataset(small), torch.device("cpu")

    def trainer(folder):
        folder.mkdir(exist_ok=True)
        return loop.Trainer(job, dataset, folder, cpu)

    values, samples, weights = trainer(tmp_path / "whole").run()
    stops, out = 0, tmp_path / "cut"
    while True:
        left = iter([FAR, 0.0])  # the second epoch of each call is the last
        monkeypatch.setattr(deadline, "left_s", lambda left=left: next(left))
        try:
            again, samples_again, weights_again = trainer(out).run()
            break
        except deadline.Over as error:
            assert str(error).startswith(deadline.WORDS) and list(out.glob("resume-*.pt"))
            stops += 1
    assert stops and again["resumed_from"] and again["steps"] == values["steps"]
    assert all(torch.equal(weights[name], weights_again[name]) for name in weights)
    assert all(np.array_equal(samples[name], samples_again[name]) for name in samples)


def test_a_worker_far_from_the_end_of_its_epoch_is_ended_without_a_record(
    monkeypatch, tmp_path, small, job
):
    set_to(monkeypatch, 0.1 - deadline.GRACE_S)
    monkeypatch.setattr(deadline, "check", lambda _: None)  # it began before
    code = [sys.executable, "-c", "import time; time.sleep(600)"]
    monkeypatch.setattr(supervisor, "watch", lambda _, env, limit: WATCH(code, env, limit))
    with pytest.raises(deadline.Over, match=job.path):
        supervisor.supervise(job, small, tmp_path / "out", 1, FAR)
    assert not (tmp_path / "out/record.json").exists()


def test_a_time_limit_before_the_deadline_is_a_timeout_as_ever(monkeypatch, tmp_path, small, job):
    set_to(monkeypatch, FAR)
    code = [sys.executable, "-c", "import time; time.sleep(600)"]
    monkeypatch.setattr(supervisor, "watch", lambda _, env, limit: WATCH(code, env, limit))
    assert supervisor.supervise(job, small, tmp_path / "out", 1, 0.1) == "timeout"
    assert read_record(tmp_path / "out")["deadline_s"] == FAR


def test_behind_the_deadline_a_command_begins_nothing(monkeypatch, tmp_path, small, job, capsys):
    set_to(monkeypatch, -1)
    arguments = ["run", "--job", job.to_json(), "--dataset", str(small), "--out", str(tmp_path)]
    assert cli.main(arguments) == MachineError.status
    said = capsys.readouterr().err
    assert said == f"error: {deadline.WORDS}: {job.path} does not begin; the same command goes on\n"
    assert not list(tmp_path.glob("*.json"))


@pytest.mark.parametrize(("limit_s", "cut_first"), [(60.0, True), (2 * FAR, False)])
def test_a_measurement_knows_which_end_comes_first(
    monkeypatch, tmp_path, small, limit_s, cut_first, capsys
):
    """One that its time limit cuts leaves a record; one that the deadline cuts in its first round leaves none."""
    set_to(monkeypatch, FAR)
    asked = []

    def measure(*arguments):
        asked.append(arguments[-1])
        return {} if not cut_first else {"sasrec": "ok"}

    monkeypatch.setattr(session, "measure", measure)
    job = MeasurementJob("small", "matched", 8, (("sasrec", ()),))
    arguments = ["measure", "--job", job.to_json(), "--dataset", str(small), "--out", str(tmp_path)]
    status = cli.main([*arguments, "--time-limit", str(limit_s)])
    assert asked[0].cut_first is cut_first
    assert asked[0].until <= time.monotonic() + min(limit_s, FAR)
    assert status == (0 if cut_first else deadline.STATUS)
    assert (deadline.WORDS in capsys.readouterr().err) is not cut_first


@pytest.fixture
def logged(monkeypatch, tmp_path):
    """Snakemake's logger as the workflow sets it up, and what reaches its handlers."""
    set_to(monkeypatch, FAR)
    monkeypatch.setattr(threading.Timer, "start", lambda _: None)
    logger, said = logging.Logger("snakemake-like"), []
    handler = logging.Handler()
    handler.emit = lambda record: said.append(record.getMessage())
    logger.addHandler(handler)
    kept = failures.watch(logger, tmp_path)
    deadline.end_scheduling(logger)
    return logger, said, kept


def test_what_the_deadline_stopped_is_no_failure_and_what_failed_is(logged, tmp_path):
    logger, said, kept = logged
    texts = {"stopped": f"error: {deadline.Over('x')}", "failed": "error: disk full; make room"}
    for name, text in texts.items():
        log = tmp_path / f"{name}.log"
        log.write_text(f"{text}\nerror: the worker could not go on here (see above)\n")
        event = types.SimpleNamespace(value=failures.EVENT)
        about = {"event": event, "rule_name": "train", "jobid": name, "output": [], "log": [log]}
        logger.error(name, extra=about)
    logger.error(f"RuleException: Command 'x' returned non-zero exit status {deadline.STATUS}.")
    logger.error("RuleException: Command 'x' returned non-zero exit status 1.")
    assert said == ["failed", "RuleException: Command 'x' returned non-zero exit status 1."]
    assert list(kept.jobs) == ["failed"]
    kept.jobs.clear()


@pytest.mark.parametrize(("left", "failed", "status"), [(-1, False, 75), (-1, True, None), (9, False, None)])  # fmt: skip
def test_the_status_of_a_run_is_the_deadlines_if_nothing_failed(
    monkeypatch, left, failed, status, capsys
):
    set_to(monkeypatch, left, given=60)
    if status is None:
        deadline.leave(failed)
    else:
        with pytest.raises(SystemExit) as ended:
            deadline.leave(failed)
        assert ended.value.code == status == deadline.STATUS
    said = capsys.readouterr().err
    assert said.startswith("deadline: 60 s are over") if left < 0 else not said


def test_snakemake_is_not_asked_before_it_listens(monkeypatch):
    """Without a handler the signal would kill it, and leave its lock."""
    handlers, sent = iter([deadline.signal.SIG_DFL, deadline.signal.SIG_DFL, print]), []
    monkeypatch.setattr(deadline, "_LOOK_EVERY_S", 0)
    monkeypatch.setattr(deadline.signal, "getsignal", lambda _: next(handlers))
    monkeypatch.setattr(os, "kill", lambda *a: sent.append(a))
    deadline._terminate()
    assert sent == [(os.getpid(), deadline.signal.SIGTERM)] and next(handlers, None) is None
