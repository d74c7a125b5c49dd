"""Publish: copies without weights, tables from the copies alone, records of several sittings side by side."""

import json
import re
import shutil
from dataclasses import replace

import pandas as pd
import pytest
import yaml
from builders import (
    ENVIRONMENT,
    grid,
    measurement,
    training,
    write_dataset,
    write_grid,
    write_measurement,
    write_training,
)

from seqbench.core import store
from seqbench.core.errors import UserError
from seqbench.core.jobs import TrainingJob
from seqbench.report import publish

EFFECTIVENESS = "dataset,model,track,split,seen_items,ties,seq_len,n_seeds,budget,data_hash,metric,mean,std,ci_low,ci_high"
EFFICIENCY = "dataset,model,track,device,backend,precision,threads,seq_len,batch_size,phase,metric,median,iqr,n"


def plan(*models, seeds=(0, 1)):
    trainings = [training(model=m, seed=s) for m in models for s in seeds]
    return grid([training(model="popularity"), *trainings], [measurement(models=models)])


def published(results, wanted):
    return publish.publish(write_grid(results, wanted), results)


def test_copies_are_small_and_complete(tmp_path):
    wanted = plan("sasrec")
    path = write_grid(tmp_path, wanted)
    source = tmp_path / wanted["trainings"][1]["path"]
    (source / "weights.safetensors").write_bytes(b"large")
    folder = publish.publish(path, tmp_path)
    assert folder == tmp_path / "reference/test-machine"
    copy = folder / wanted["trainings"][1]["path"]
    assert sorted(file.name for file in copy.iterdir()) == ["record.json", "samples.npz"]
    for name in ("record.json", "samples.npz"):
        assert (copy / name).read_bytes() == (source / name).read_bytes()
    assert (folder / "data/toy/dataset.json").exists()


def test_tables_have_the_published_columns(tmp_path):
    folder = published(tmp_path, plan("sasrec"))
    assert (folder / "effectiveness.csv").read_text().splitlines()[0] == EFFECTIVENESS
    assert (folder / "efficiency.csv").read_text().splitlines()[0] == EFFICIENCY
    frame = pd.read_csv(folder / "efficiency.csv")
    step = frame[(frame.metric == "step_s") & (frame.phase == "train")]
    assert step[["n", "batch_size", "threads", "device"]].values.tolist() == [[30, 2048, 1, "cpu"]]
    assert frame["median"].notna().all() and "energy_j_per_step" not in set(frame.metric)


@pytest.mark.slow
def test_tables_are_made_again_from_the_copies_alone(tmp_path):
    folder = published(tmp_path, plan("sasrec", "mamba4rec"))
    before = {f.name: f.read_bytes() for f in folder.iterdir() if f.is_file()}
    alone = tmp_path / "elsewhere" / folder.name
    shutil.copytree(folder, alone)
    for name in before:
        (alone / name).unlink()
    publish.tables(alone)
    assert {f.name: f.read_bytes() for f in alone.iterdir() if f.is_file()} == before
    names = ("effectiveness", "efficiency", "protocols", "agreement", "contrasts")
    tables = {f"{name}.csv" for name in names}
    assert set(before) == {*tables, "README.md"}


@pytest.mark.slow
def test_records_of_several_sittings_accumulate(tmp_path):
    published(tmp_path, plan("sasrec"))
    folder = published(tmp_path, plan("mamba4rec"))
    frame = pd.read_csv(folder / "effectiveness.csv")
    assert set(frame.model) == {"popularity", "sasrec", "mamba4rec"}
    assert set(frame.n_seeds[frame.model == "sasrec"]) == {2}


@pytest.mark.slow
def test_the_same_job_is_replaced_and_another_is_not(tmp_path):
    wanted = plan("sasrec")
    folder = published(tmp_path, wanted)
    write_training(tmp_path, wanted["trainings"][1], values={"train_s": 1.5})
    publish.publish(tmp_path / "grid.json", tmp_path)
    copy = folder / wanted["trainings"][1]["path"] / "record.json"
    assert json.loads(copy.read_text())["values"]["train_s"] == 1.5
    wanted["trainings"][1]["training"]["max_steps"] = 5
    before = copy.read_bytes()
    with pytest.raises(
        UserError, match=r"published made with training.*delete the published record"
    ):
        published(tmp_path, wanted)
    assert copy.read_bytes() == before


def test_two_machines_are_refused(tmp_path):
    wanted = plan("sasrec", "mamba4rec", seeds=(0,))
    path = write_grid(tmp_path, wanted)
    other = {"machine": "f" * 12, "machine_name": "other-machine"}
    write_training(tmp_path, wanted["trainings"][2], environment=ENVIRONMENT | other)
    with pytest.raises(UserError, match=r"two machines .test-machine and other-machine"):
        publish.publish(path, tmp_path)
    assert not (tmp_path / "reference").exists()


@pytest.mark.parametrize("what", ["another machine of that name", "seeds that do not fit"])
def test_what_is_refused_changes_nothing_that_is_published(tmp_path, what):
    """The second host with such a GPU; settings of a model that changed between its seeds."""
    folder = published(tmp_path, plan("sasrec"))
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    wanted = plan("sasrec", "gru4rec", seeds=(5, 6))
    other = {"machine": "f" * 12} if what.startswith("another") else {}
    if not other:
        for entry in wanted["trainings"]:
            entry.get("training", {}).update(max_steps=5)
    path = write_grid(tmp_path, wanted)
    for entry in wanted["trainings"]:
        write_training(tmp_path, entry, environment=ENVIRONMENT | other)
    with pytest.raises(UserError, match=r"two machines named test-machine|differ in settings|published made with"):  # fmt: skip
        publish.publish(path, tmp_path)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    assert not list(tmp_path.glob(".publish-*"))


@pytest.mark.slow
def test_other_data_are_refused(tmp_path):
    published(tmp_path, plan("sasrec"))
    wanted = plan("mamba4rec")
    path = write_grid(tmp_path, wanted, data={"hash": "b" * 64})
    write_dataset(tmp_path, hash="b" * 64)
    with pytest.raises(UserError, match=r"dataset\.json.*made from other data"):
        publish.publish(path, tmp_path)


def test_the_page_of_a_machine_names_it_and_no_path(tmp_path):
    text = (published(tmp_path, plan("sasrec")) / "README.md").read_text()
    assert text.startswith("# Results on test-machine\n")
    assert "| test-machine | cpu |" in text
    assert str(tmp_path) not in text


@pytest.mark.slow
def test_readme_is_rewritten_between_its_markers_only(tmp_path):
    published(tmp_path, plan("sasrec"))
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{publish.BEGIN}\nstale\n{publish.END}\nafter\n")
    publish.together(tmp_path / "reference", readme)
    first = readme.read_text()
    assert first.startswith(f"before\n{publish.BEGIN}\n")
    assert first.endswith(f"{publish.END}\nafter\n")
    assert "stale" not in first
    assert "[test-machine](reference/test-machine/README.md)" in first
    assert "Few seeds" in first
    publish.together(tmp_path / "reference", readme)
    assert readme.read_text() == first


def gpu_machine(results):
    """A second machine with a GPU that measured another track."""
    gpu = {"device": "NVIDIA Test", "device_kind": "cuda", "machine": "1" * 12, "machine_name": "z-gpu"}  # fmt: skip
    folder = results / "reference" / "z-gpu"
    job = measurement(models=("mamba4rec", "sasrec"), track="paper")
    write_measurement(folder, job, environment=gpu)
    write_dataset(folder)
    publish.tables(folder)
    return folder, gpu


@pytest.mark.slow
def test_pages_put_gpus_first_and_the_answer_before_the_figures(tmp_path):
    published(tmp_path, plan("sasrec", "mamba4rec", seeds=(0, 1, 2)))
    gpu_machine(tmp_path)
    readme = tmp_path / "README.md"
    readme.write_text(f"{publish.BEGIN}{publish.END}")
    publish.together(tmp_path / "reference", readme)
    front, page = readme.read_text(), (tmp_path / "reference/README.md").read_text()
    for text in (front, page):
        assert text.index("z-gpu/README.md") < text.index("test-machine/README.md")
        assert text.index("Conditions where it ranks better") < text.index("forest-matched.svg")
        assert "What it holds for: quality was measured up to L = 50" in text
    names = re.findall(r"!\[[^]]+\]\(figures/([^)]+)\)", page)
    assert (
        re.findall(r"!\[[^]]+\]\(reference/figures/([^)]+)\)", front)
        == names[:1]
        == ["forest-matched.svg"]
    )
    drawn = tmp_path / "reference" / "figures"
    assert {f"{name.removesuffix('.svg')}{end}" for name in names for end in (".svg", ".csv")} == {file.name for file in drawn.iterdir()}  # fmt: skip


@pytest.mark.slow
def test_a_seed_from_another_machine_completes_a_place(tmp_path):
    published(tmp_path, plan("sasrec"))
    folder, gpu = gpu_machine(tmp_path)
    write_training(folder, training(model="sasrec", seed=2), environment=gpu)
    write_training(folder, training(model="sasrec", seed=0), environment=gpu)
    publish.tables(folder)
    publish.together(tmp_path / "reference")
    frame = pd.read_csv(tmp_path / "reference" / "effectiveness.csv")
    assert set(frame.n_seeds[frame.model == "sasrec"]) == {3}
    (origin,) = pd.read_csv(tmp_path / "reference" / "origins.csv").SASRec
    assert origin == "z-gpu (0, 2); test-machine (1)"
    assert len(pd.read_csv(tmp_path / "reference" / "repeats.csv")) == 1
    for name, seeds in (("test-machine", 2), ("z-gpu", 2)):  # a machine's own page has its own
        own = pd.read_csv(tmp_path / "reference" / name / "effectiveness.csv")
        assert set(own.n_seeds[own.model == "sasrec"]) == {seeds}


@pytest.mark.slow
def test_what_fits_no_others_is_left_out_and_said(tmp_path):
    published(tmp_path, plan("sasrec"))
    folder, gpu = gpu_machine(tmp_path)
    for entry in (training(model="gru4rec"), training(model="mamba4rec")):
        write_training(folder, entry, environment=gpu, data={"hash": "b" * 64})
    write_training(folder, training(seed=2, learning_rate=0.1), environment=gpu)
    publish.together(tmp_path / "reference")
    page = (tmp_path / "reference" / "README.md").read_text()
    assert "Left out for other data: records of z-gpu on toy." in page
    assert "Left out for other settings: records of z-gpu on toy." in page
    frame = pd.read_csv(tmp_path / "reference" / "effectiveness.csv")
    assert set(frame.model) == {"popularity", "sasrec"}


@pytest.mark.slow
def test_a_failed_training_is_told_by_all_pages(tmp_path):
    wanted = plan("sasrec")
    published(tmp_path, wanted)
    folder, gpu = gpu_machine(tmp_path)
    bad = training(model="mamba4rec")
    write_training(folder, bad, environment=gpu, status="diverged", reason="loss is NaN at step 3")
    readme = tmp_path / "README.md"
    readme.write_text(f"{publish.BEGIN}{publish.END}")
    publish.together(tmp_path / "reference", readme)
    page = (tmp_path / "reference" / "README.md").read_text()
    assert "1 job ended as diverged" in readme.read_text()
    assert "1 job ended as diverged" in page and "loss is NaN at step 3" in page


@pytest.mark.slow
def test_a_track_stands_with_equal_trainings_of_another(tmp_path, monkeypatch):
    own = training(model="gru4rec", track="tuned", learning_rate=0.002)
    published(tmp_path, grid([training(), training(model="mamba4rec"), own]))
    wanted = [TrainingJob.from_json(json.dumps({k: v for k, v in training(model=m).items() if k != "path"}))
              for m in ("sasrec", "mamba4rec")]  # fmt: skip
    monkeypatch.setattr(publish, "_chosen", lambda: [replace(w, track="tuned") for w in wanted])
    publish.together(tmp_path / "reference")
    frame = pd.read_csv(tmp_path / "reference" / "effectiveness.csv")
    assert set(frame.model[frame.track == "tuned"]) == {"gru4rec", "sasrec", "mamba4rec"}


def test_tuned_settings_that_fit_no_configuration_do_not_stop_publishing(tmp_path, monkeypatch):
    """The configuration lost a dataset, and one of its models was never tuned on another."""
    every = list(publish._chosen())
    tuned = yaml.safe_load((publish.CONFIG / "tuned.yaml").read_text())
    del tuned["selected_settings"]["tuned"]["amazon-video-games"]["gru4rec"]
    (tmp_path / "tuned.yaml").write_text(yaml.safe_dump(tuned))
    monkeypatch.setattr(publish, "CONFIG", tmp_path)
    config = publish.load.load()
    del config["datasets"]["amazon-beauty"]
    monkeypatch.setattr(publish.load, "load", lambda: config)
    gone = {(e.dataset, e.model) for e in every} - {(e.dataset, e.model) for e in publish._chosen()}
    beauty = {key for key in {(e.dataset, e.model) for e in every} if key[0] == "amazon-beauty"}
    assert len(beauty) == 7 and gone == beauty | {("amazon-video-games", "gru4rec")}

    def refuse():
        raise UserError("config: damaged")

    monkeypatch.setattr(publish.load, "load", refuse)
    assert list(publish._chosen()) == []


def test_readme_without_results_says_so_and_without_markers_is_refused(tmp_path):
    readme = tmp_path / "README.md"
    readme.write_text(f"{publish.BEGIN}{publish.END}")
    publish.together(tmp_path / "reference", readme)
    assert "No results are published yet." in readme.read_text()
    readme.write_text("nothing")
    with pytest.raises(UserError, match="needs the lines"):
        publish.together(tmp_path / "reference", readme)


def test_lengths_are_listed_in_the_order_of_numbers():
    paths = ["runs/full-length/t/measure/L1600-T8/a", "runs/full-length/t/measure/L200-T8/b"]
    assert sorted(paths, key=store._natural) == paths[::-1]
