"""Shipped configurations and published records: each record is asked for by one of them, each of them can be run."""

import json
from functools import cache

import pytest

from seqbench.config import load
from seqbench.config.grid import grid, studies
from seqbench.config.load import MODELS, ROOT
from seqbench.core import store
from seqbench.core.jobs import Study, filled

DATA = {"claims", "published_values"}  # no configurations: what the report holds results against
SHIPPED = sorted({p.stem for p in (ROOT / "config").glob("*.yaml")} - DATA)
REFERENCE = ROOT / "results" / "reference"


def plain(value):
    """As JSON reads it back: lists for tuples."""
    return json.loads(json.dumps(value))


@cache
def shipped(name):
    return load.load([] if name == "config" else [ROOT / "config" / f"{name}.yaml"])


@cache
def asked():
    """Folder below runs/ -> what every shipped configuration that names it asks for."""
    found = {}
    for name in SHIPPED:
        jobs = grid(shipped(name), MODELS)
        for job in jobs.trainings:
            found.setdefault(job.path, []).append(plain(job.to_dict()))
        for job in jobs.measurements:
            for model, _ in job.models:
                found.setdefault(f"{job.path}/{model}", []).append(plain(job.for_model(model)))
    return found


def records(kind):
    """(machine, folder below it, job) of the published records of ``runs`` or ``tune``."""
    for file in sorted(REFERENCE.glob(f"*/{kind}/**/record.json")):
        folder = file.parent.relative_to(REFERENCE)
        job = json.loads(file.read_text())["job"]
        yield folder.parts[0], "/".join(folder.parts[1:]), filled(job)


def test_at_most_nine_configurations_are_shipped():
    assert len(SHIPPED) <= 9


def is_current(machine, folder):
    """Whether present code made a record; older ones stay until they are made again, by what was asked for then."""
    entry = store.read_entry(REFERENCE / machine, folder)
    return entry.badge is None


def test_every_published_record_is_asked_for_by_a_shipped_configuration():
    found = list(records("runs"))
    assert found
    unasked = [
        f"{m}/{folder}" for m, folder, job in found
        if folder not in asked() or (is_current(m, folder) and job not in asked()[folder])
    ]  # fmt: skip
    assert unasked == []


def test_every_published_trial_belongs_to_a_study_that_a_shipped_configuration_asks_for():
    """The study is the job: settings of a trial after the first are drawn in it."""
    wanted = {}
    for name in SHIPPED:
        for study in studies(shipped(name), MODELS):
            wanted.setdefault(study.path, []).append(study)
    summaries = {}
    for file in sorted(REFERENCE.glob("*/tune/*/*/*/study.json")):
        content = json.loads(file.read_text())
        study = Study.from_json(json.dumps(content["study"]))
        made = next(file.parent.glob("trial-*/record.json")).parent.name
        current = is_current(file.parts[-6], f"{study.path}/{made}")
        assert study in wanted[study.path] if current else wanted[study.path], file
        summaries[file.parts[-6], study.path] = study, {t["number"]: t for t in content["trials"]}
    trials = 0
    for machine, folder, job in records("tune"):
        path, _, number = folder.rpartition("/trial-")
        study, by_number = summaries[machine, path]
        trial = by_number[int(number)]
        assert (
            plain(study.training_job(trial["chosen"], job["seed"], trial["share"]).to_dict()) == job
        ), folder
        assert job["seed"] in (study.seed, *study.rerun_seeds), folder
        trials += 1
    assert trials


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_configuration_plans_alone(name):
    jobs = grid(shipped(name), MODELS)
    assert jobs.trainings or jobs.measurements
    assert jobs.datasets()


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_configuration_says_how_it_is_run(name):
    """Its first lines are comments and hold the command that runs it as shipped."""
    text = (ROOT / "config" / f"{name}.yaml").read_text()
    head = text[: text.index("\n\n")].splitlines()
    assert all(line.startswith("#") for line in head)
    own = "" if name == "config" else f" --configfile config/{name}.yaml"
    assert any(line.startswith("#   snakemake") and line.endswith(f"report{own}") for line in head)


def test_only_the_papers_batch_of_inference_changes_what_another_configuration_measures():
    """A measurement's folder holds neither the batch of inference nor the number of steps."""
    changed = {
        tuple(sorted({job["steps"] for job in jobs}))
        for folder, jobs in asked().items()
        if "/measure/" in folder and any(job != jobs[0] for job in jobs)
    }
    assert changed == {(10, 20)}  # gpu.yaml beside config.yaml or paper.yaml


def test_no_shipped_configuration_changes_what_another_one_trains():
    """A training's folder holds no budget: under other settings it would replace the record of a finished report."""
    for folder, jobs in asked().items():
        if "/measure/" not in folder:
            assert jobs.count(jobs[0]) == len(jobs), folder


def test_the_ablation_turns_off_what_is_only_fast_one_switch_a_step():
    """SASRec of `matched` step by step: the models and sizes stay, the kernels, the batches and the precision change."""
    jobs = {job.track: job.to_dict() for job in grid(shipped("ablation"), MODELS).measurements}
    switches = ("kernels", "bucket_by_length", "precision")
    own = [track for track in jobs if track.startswith("matched")]
    assert own == shipped("ablation")["report"]["ablation"][-len(own) :]
    alike = {
        json.dumps({k: v for k, v in jobs[t].items() if k not in {"track", *switches}}, default=str)
        for t in own
    }
    assert len(alike) == 1
    assert [tuple(jobs[track][key] for key in switches) for track in own] == [
        ("eager", False, "fp32"),
        ("eager", True, "fp32"),
        ("torch", True, "fp32"),
        ("auto", True, "mixed"),
        ("auto", True, "fp32"),
    ]
