"""Publish: copies without weights, tables from the copies alone, records of several sittings side by side."""

import html
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

from seqbench.config import shipped
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
    assert {"effectiveness.csv", "efficiency.csv", "README.md"} <= set(before)


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


def test_baselines_beside_trainings_on_a_gpu_are_of_the_same_machine(tmp_path):
    """They run without it, so their environment says CPU."""
    wanted = plan("sasrec", seeds=(0,))
    path = write_grid(tmp_path, wanted)
    node = {"machine": "f" * 12, "machine_name": "nvidia-test"}
    for job in wanted["trainings"]:
        if job["model"] == "sasrec":
            write_training(tmp_path, job, environment=ENVIRONMENT | node)
    for job in wanted["measurements"]:
        write_measurement(tmp_path, job, environment=ENVIRONMENT | node)
    publish.publish(path, tmp_path)
    assert [folder.name for folder in (tmp_path / "reference").iterdir() if folder.is_dir()] == ["nvidia-test"]  # fmt: skip


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


def test_the_page_of_a_machine_says_what_ran_and_names_no_path(tmp_path):
    text = (published(tmp_path, plan("sasrec")) / "README.md").read_text()
    assert text.startswith("# Results on test-machine\n")
    assert "| train | matched | 3 | toy |" in text and "| measure | matched | 1 | toy |" in text
    assert str(tmp_path) not in text and len(text) < 4000


def with_readme(results, text=""):
    readme = results / "README.md"
    readme.write_text(f"before\n{publish.BEGIN}\n{text}\n{publish.END}\nafter\n")
    publish.together(results / "reference", readme)
    return readme.read_text()


@pytest.mark.slow
def test_readme_is_rewritten_between_its_markers_only(tmp_path):
    published(tmp_path, plan("sasrec"))
    first = with_readme(tmp_path, "stale")
    assert first.startswith(f"before\n{publish.BEGIN}\n")
    assert first.endswith(f"{publish.END}\nafter\n")
    assert "stale" not in first
    publish.together(tmp_path / "reference", tmp_path / "README.md")
    assert (tmp_path / "README.md").read_text() == first


@pytest.mark.slow
def test_the_readmes_part_and_the_page_say_the_same_and_links_lead_somewhere(tmp_path):
    published(tmp_path, plan("sasrec", "mamba4rec", seeds=(0, 1, 2)))
    gpu_machine(tmp_path)
    text = with_readme(tmp_path)
    page = (tmp_path / "docs/report/index.html").read_text()
    said = re.findall(r"^(?:\d\. |- \*\*[^*]+\*\* )([^(\n]+?)[ .]*(?:\(|$)", text, flags=re.M)
    assert len(said) >= 4
    assert all(sentence.rstrip(".") in html.unescape(page) for sentence in said)
    links = re.findall(r"\]\(([^)]+)\)", text)
    assert len(links) >= 4 and all((tmp_path / link).exists() for link in links)
    for name in ("leaderboard", "answers", "comparisons", "warnings", "origins"):
        assert len(pd.read_csv(tmp_path / "reference" / f"{name}.csv"))


def test_a_scatter_of_an_earlier_run_does_not_stay(tmp_path, monkeypatch):
    published(tmp_path, plan("sasrec"))
    monkeypatch.setattr(publish, "drawn", lambda _: [])
    folder = tmp_path / publish.PAGE
    folder.mkdir(parents=True)
    for kind in ("svg", "csv"):
        (folder / f"scatter.{kind}").write_text("old")
    assert "scatter" not in with_readme(tmp_path)
    assert [file.name for file in folder.iterdir()] == ["index.html"]


@pytest.mark.slow
def test_the_page_of_the_readme_is_one_file_without_links_to_others(tmp_path):
    published(tmp_path, plan("sasrec", "mamba4rec"))
    with_readme(tmp_path)
    page = (tmp_path / "docs/report/index.html").read_text()
    assert set(re.findall(r'href="([^"#]*)', page)) <= {""} and not re.search(r'\ssrc="', page)


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
def test_a_seed_from_another_machine_completes_a_place(tmp_path):
    published(tmp_path, plan("sasrec"))
    folder, gpu = gpu_machine(tmp_path)
    write_training(folder, training(model="sasrec", seed=2), environment=gpu)
    write_training(folder, training(model="sasrec", seed=0), environment=gpu)
    publish.tables(folder)
    publish.together(tmp_path / "reference")
    frame = pd.read_csv(tmp_path / "reference" / "effectiveness.csv")
    assert set(frame.n_seeds[frame.model == "sasrec"]) == {3}
    origins = pd.read_csv(tmp_path / "reference" / "origins.csv", dtype=str)
    origins = origins[origins.model == "sasrec"].set_index("machine_name").seeds
    assert dict(origins) == {"z-gpu": "0 2", "test-machine": "1"}
    repeats = pd.read_csv(tmp_path / "reference" / "repeats.csv")
    assert set(repeats.seed) == {0} and set(repeats.model) == {"sasrec"}
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
    page = publish.page(tmp_path / "reference", tmp_path / "out").read_text()
    assert "Records of z-gpu on toy: other data." in page
    assert "Records of z-gpu on toy: other settings." in page
    frame = pd.read_csv(tmp_path / "reference" / "effectiveness.csv")
    assert set(frame.model) == {"popularity", "sasrec"}


@pytest.mark.slow
def test_a_failed_training_is_told_by_its_machine_the_table_of_warnings_and_the_page(tmp_path):
    published(tmp_path, plan("sasrec"))
    folder, gpu = gpu_machine(tmp_path)
    bad = training(model="mamba4rec")
    write_training(folder, bad, environment=gpu, status="diverged", reason="loss is NaN at step 3")
    publish.tables(folder)
    publish.together(tmp_path / "reference")
    warnings = pd.read_csv(tmp_path / "reference" / "warnings.csv")
    (row,) = warnings[warnings.code == "failed"].to_dict("records")
    assert (row["model"], row["level"]) == ("mamba4rec", "bad")
    assert "| diverged | loss is NaN at step 3 |" in (folder / "README.md").read_text()
    assert "loss is NaN at step 3" in publish.page(tmp_path / "reference", tmp_path / "out").read_text()  # fmt: skip


@pytest.mark.slow
def test_a_track_stands_with_equal_trainings_of_another(tmp_path, monkeypatch):
    own = training(model="gru4rec", track="tuned", learning_rate=0.002)
    published(tmp_path, grid([training(), training(model="mamba4rec"), own]))
    wanted = [TrainingJob.from_json(json.dumps({k: v for k, v in training(model=m).items() if k != "path"}))
              for m in ("sasrec", "mamba4rec")]  # fmt: skip
    monkeypatch.setattr(shipped, "chosen", lambda: [replace(w, track="tuned") for w in wanted])
    publish.together(tmp_path / "reference")
    frame = pd.read_csv(tmp_path / "reference" / "effectiveness.csv")
    assert set(frame.model[frame.track == "tuned"]) == {"gru4rec", "sasrec", "mamba4rec"}


def test_the_shipped_configuration_says_what_is_wanted_now():
    """Of a track that it runs too: a machine with more trainings of an earlier recipe does not come first."""
    seeds = {
        e.seed
        for e in shipped.chosen()
        if (e.track, e.dataset, e.seq_len) == ("matched", "ml-1m", 200)
    }
    assert seeds == {0, 1, 2, 3, 4}


def test_tuned_settings_that_fit_no_configuration_do_not_stop_publishing(tmp_path, monkeypatch):
    """The configuration lost a dataset, and one of its models was never tuned on another."""

    def tuned_jobs():
        return {(e.dataset, e.model) for e in shipped.chosen() if e.track == "tuned"}

    every = tuned_jobs()
    tuned = yaml.safe_load((shipped.CONFIG / "tuned.yaml").read_text())
    for by_model in tuned["selected_settings"]["tuned"]["amazon-video-games"].values():
        del by_model["gru4rec"]
    (tmp_path / "tuned.yaml").write_text(yaml.safe_dump(tuned))
    monkeypatch.setattr(shipped, "CONFIG", tmp_path)
    config = shipped.load.load()
    del config["datasets"]["amazon-beauty"]
    config["run"]["datasets"].remove("amazon-beauty")
    monkeypatch.setattr(shipped.load, "load", lambda: config)
    gone = every - tuned_jobs()
    beauty = {key for key in every if key[0] == "amazon-beauty"}
    assert len(beauty) == 7 and gone == beauty | {("amazon-video-games", "gru4rec")}

    def refuse():
        raise UserError("config: damaged")

    monkeypatch.setattr(shipped.load, "load", refuse)
    assert list(shipped.chosen()) == []


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
