"""The part `tune` of gpu-check on CPUs: studies beside trainings, what cuts or breaks one, and the way to their winners."""

import json
from dataclasses import replace

import pytest
from gpu_grid import SMALL, TRAINING, done_once, plan, resealed

from seqbench.config import load
from seqbench.core.errors import UserError
from seqbench.core.jobs import Study
from seqbench.report.publish import tables
from seqbench.training.accept import accept
from tools.gpu import command, training
from tools.gpu.bundle import pack, unpack


@pytest.fixture
def search(grid):
    """The grid with a study of two trials beside its trainings."""
    content = json.loads(grid.read_text())
    space = (("d_model", (("choices", (8, 16)),)),)
    study = Study(
        content["trainings"][0]["dataset"], "sasrec", 8, ((2, 1.0),), space, 0, SMALL, TRAINING
    )
    grid.write_text(json.dumps(content | {"studies": [json.loads(study.to_json())]}))
    return study


@pytest.mark.slow
def test_studies_and_trainings_side_by_side_until_their_winners_are_accepted(
    tmp_path, grid, search
):
    out, results = tmp_path / "check", tmp_path / "results"
    done_once(out, "tune quality", grid, 5)
    folder = unpack(next(out.glob("*.tar.gz")), results)
    assert len(list(folder.rglob("record.json"))) == 3, "trials are published when accepted"
    start = load.validate(config_of(search.dataset))
    said = accept(results, tmp_path / "tuned.yaml", start, tables)
    assert len(said) == 1 and said[0].startswith(f"{search.dataset} sasrec: d_model ")
    assert len(list((folder / search.path).rglob("record.json"))) == 2


def config_of(dataset):
    block = {"source": "synthetic", "seq_lens": [8], "synthetic": {"n_users": 20, "n_items": 20}}
    return {
        "datasets": {dataset: block},
        "tracks": {"matched": {}},
        "run": {"datasets": [dataset], "tracks": ["matched"], "models": ["sasrec"], "seeds": [0]},
        "tune": {"datasets": [dataset], "track": "matched", "rungs": [{"settings": 2, "share": 1}], "space": {"d_model": {"choices": [8, 16]}}},
    }  # fmt: skip


@pytest.mark.slow
def test_a_study_that_the_budget_cut_goes_on_with_its_trials(tmp_path, grid, search, monkeypatch):
    chosen = replace(plan(tmp_path / "out", grid), parts=("tune",))
    supervise, trained = training.supervise, []

    def one(job, *rest):
        trained.append(job)
        return supervise(job, *rest) if len(trained) == 1 else "timeout"

    monkeypatch.setattr(training, "supervise", one)
    assert training.search_all(chosen) == (1, 0)
    assert not training.is_searched(chosen, search) and len(trained) == 2
    monkeypatch.setattr(training, "supervise", lambda *a: trained.append(a[0]) or supervise(*a))
    assert training.search_all(chosen) == (0, 0)
    assert training.is_searched(chosen, search)
    assert len(trained) == 3 and trained[1] == trained[2], "the first trial was not made again"
    other = replace(search, rungs=((3, 1.0),))
    assert not training.is_searched(chosen, other)


def test_a_trial_without_a_record_ends_its_study_and_not_the_trainings(
    tmp_path, grid, search, monkeypatch
):
    ran = []

    def end(job, *_):
        ran.append(job.track)
        return "crashed" if job.track == "tune" else "ok"

    monkeypatch.setattr(training, "supervise", end)
    monkeypatch.setattr(training, "_not_its_own", lambda _: None)
    chosen = replace(plan(tmp_path / "out", grid), parts=("tune", "quality"))
    assert training.search_all(chosen) == (0, 1)
    assert sorted(ran) == ["matched"] * 3 + ["tune"]


@pytest.mark.slow
def test_a_trial_that_crashes_counts_as_failed(tmp_path, grid, search, monkeypatch):
    supervise = training.supervise

    def end(job, dataset, folder, *rest):
        status = supervise(job, dataset, folder, *rest)
        if folder.name == "trial-001":
            file = folder / "record.json"
            resealed(file, status="crashed")
            return "crashed"
        return status

    monkeypatch.setattr(training, "supervise", end)
    chosen = replace(plan(tmp_path / "out", grid), parts=("tune",))
    assert training.search_all(chosen) == (0, 0)
    content = json.loads((chosen.results / search.path / "study.json").read_text())
    assert [t["value"] is None for t in content["trials"]] == [False, True]


def test_a_study_that_breaks_leaves_the_trainings_alone(
    tmp_path, grid, search, monkeypatch, capsys
):
    ran = []
    monkeypatch.setattr(training, "_train", lambda _, job, *__: ran.append(job) or "ok")
    monkeypatch.setattr(training.search, "tune", lambda *_: 1 / 0)
    chosen = replace(plan(tmp_path / "out", grid), parts=("tune", "quality"))
    assert training.search_all(chosen) == (0, 1) and len(ran) == 3
    assert f"{search.path}: ZeroDivisionError" in capsys.readouterr().err


def test_without_a_study_left_nothing_is_begun(tmp_path, grid, search, monkeypatch):
    monkeypatch.setattr(training, "is_searched", lambda *_: True)
    monkeypatch.setattr(training, "_side_by_side", lambda *_: pytest.fail("something was begun"))
    chosen = replace(plan(tmp_path / "out", grid), parts=("tune", "quality"))
    assert training.search_all(chosen) == (0, 0)


@pytest.mark.slow
def test_a_study_that_is_published_of_this_machine_and_these_data_is_not_searched_again(
    tmp_path, grid, search
):
    """With its finals."""
    out, results = tmp_path / "check", tmp_path / "results"
    search = replace(search, rungs=((2, 1.0), (2, 1.0)), rerun_seeds=(9,))
    grid.write_text(json.dumps(json.loads(grid.read_text()) | {"studies": [json.loads(search.to_json())]}))  # fmt: skip
    command.gpu_check(out, "tune", 120, None, True, True, False, grid, 2)
    unpack(next(out.glob("*.tar.gz")), results)
    assert len(list((results / search.path).rglob("record.json"))) == 3, (
        "both trials propose the same settings"
    )
    accept(results, tmp_path / "tuned.yaml", load.validate(config_of(search.dataset)), tables)
    elsewhere = replace(plan(tmp_path / "new", grid), published=results / "reference")
    assert training.is_searched(elsewhere, search)
    assert not training.is_searched(replace(elsewhere, published=tmp_path / "none"), search)
    (machine,) = (results / "reference").iterdir()
    for number, seen in ((2, True), (1, False)):
        file = machine / search.trial_path(number) / "record.json"
        content = json.loads(file.read_text())
        elsewhere_made = {**content["environment"], "machine": "f" * 12}
        resealed(file, environment=elsewhere_made, status="ok" if seen else "oom")
        assert training.is_searched(elsewhere, search) is seen, (
            "what ended well may be another machine's"
        )
        resealed(file, environment=content["environment"], status="ok")
    facts = grid.parent / "data" / search.dataset / "dataset.json"
    facts.write_text(json.dumps(json.loads(facts.read_text()) | {"hash": "0" * 64}))
    assert not training.is_searched(elsewhere, search)


@pytest.fixture
def tuned(tmp_path, grid, search):
    """The folder of a check that searched, and the results folder that its archive was unpacked into."""
    out, results = tmp_path / "check", tmp_path / "results"
    command.gpu_check(out, "tune", 120, None, True, True, False, grid, 2)
    unpack(next(out.glob("*.tar.gz")), results)
    return out, results


@pytest.mark.slow
def test_unpacking_the_same_trials_again_changes_nothing(tuned):
    out, results = tuned
    before = {p: p.read_bytes() for p in results.rglob("*.json")}
    unpack(next(out.glob("*.tar.gz")), results)
    assert {p: p.read_bytes() for p in results.rglob("*.json")} == before


@pytest.mark.slow
def test_trials_of_another_machine_are_not_replaced(tuned, search):
    out, results = tuned
    file = results / search.trial_path(1) / "record.json"
    there = json.loads(file.read_text())["environment"] | {"machine": "f" * 12}
    resealed(file, environment=there)
    before = file.read_bytes()
    with pytest.raises(UserError, match="trial-001: another trial stands here"):
        unpack(next(out.glob("*.tar.gz")), results)
    assert file.read_bytes() == before


@pytest.mark.slow
def test_a_study_that_its_trials_contradict_is_refused(tuned, search, tmp_path):
    out, _ = tuned
    file = out / "results" / search.path / "study.json"
    content = json.loads(file.read_text())
    content["trials"][1]["value"] = 0.9
    file.write_text(json.dumps(content))
    pack(out, tmp_path / "bad.tar.gz")
    with pytest.raises(UserError, match="trial 1 is not the one that the study names"):
        unpack(tmp_path / "bad.tar.gz", tmp_path / "elsewhere")
    assert not (tmp_path / "elsewhere" / "tune").exists()


@pytest.mark.slow
def test_another_study_in_its_place_is_not_replaced(tmp_path, grid, search):
    out, results = tmp_path / "check", tmp_path / "results"
    command.gpu_check(out, "tune", 120, None, True, True, False, grid, 2)
    archive = next(out.glob("*.tar.gz"))
    unpack(archive, results)
    file = results / search.path / "study.json"
    content = json.loads(file.read_text())
    content["study"]["rungs"] = [[9, 1.0]]
    file.write_text(json.dumps(content))
    with pytest.raises(UserError, match="another study stands here"):
        unpack(archive, results)
