"""Canonical JSON of jobs: a new optional field changes nothing, a changed default changes what it must."""

import dataclasses

import pytest

from seqbench.core import jobs
from seqbench.core.jobs import BEFORE, MeasurementJob, Training, TrainingJob, filled

JOB = TrainingJob("toy", "sasrec", "matched", 50, 0)


@pytest.mark.parametrize("cls", [Training, MeasurementJob])
def test_every_optional_field_says_what_was_so_before_it(cls):
    optional = {f.name for f in dataclasses.fields(cls) if f.default is not dataclasses.MISSING}
    assert BEFORE[cls.__name__].keys() == optional


def test_the_precision_is_part_of_the_job():
    half = [dataclasses.replace(JOB, training=Training(precision="mixed")) for _ in range(2)]
    assert half[0].to_json() == half[1].to_json() != JOB.to_json()
    assert TrainingJob.from_json(half[0].to_json()) == half[0]
    measured = MeasurementJob("toy", "matched", 50, (("sasrec", ()),), precision="mixed")
    assert '"precision":"mixed"' in measured.to_json()


def test_a_new_optional_field_that_nobody_sets_is_not_written(monkeypatch):
    text = JOB.to_json()
    new = dataclasses.make_dataclass(
        "Training", [("extra", int, 7)], bases=(Training,), frozen=True
    )
    job = dataclasses.replace(JOB, training=new())
    assert job.to_json() == text
    assert '"extra":8' in dataclasses.replace(JOB, training=new(extra=8)).to_json()


def test_a_changed_default_is_written():
    new = dataclasses.make_dataclass(
        "Training", [("max_steps", int, 5)], bases=(Training,), frozen=True
    )
    assert '"max_steps":5' in dataclasses.replace(JOB, training=new()).to_json()


def test_an_older_record_means_what_was_so_before_the_field(monkeypatch):
    old = JOB.to_dict()
    del old["training"]["precision"]
    monkeypatch.setitem(jobs.BEFORE["Training"], "precision", "fp16")
    assert filled(old)["training"]["precision"] == "fp16"


def test_a_job_without_a_schedule_is_described_as_before_there_were_any():
    """Its canonical JSON and its folder are what published records were made from."""
    old = {"schedule": "constant", "warmup_steps": 0, "clip_norm": None, "step_counts": "targets"}
    plain = dataclasses.replace(JOB, training=dataclasses.replace(Training(), **old))
    assert plain.to_json() == '{"dataset":"toy","model":"sasrec","seed":0,"seq_len":50,"track":"matched"}'  # fmt: skip
    decayed = dataclasses.replace(JOB, training=Training(schedule="linear", warmup_steps=90))
    assert decayed.path == JOB.path
    said = '"training":{"schedule":"linear","step_counts":"predictions","warmup_steps":90}'
    assert said in decayed.to_json()
    assert TrainingJob.from_json(decayed.to_json()) == decayed
