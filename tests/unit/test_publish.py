"""Publish: copies without weights, tables from the copies alone, records of several sittings side by side."""

import json
import shutil

import pandas as pd
import pytest
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

from seqbench import collect, publish
from seqbench.errors import UserError

EFFECTIVENESS = "dataset,model,track,split,masking,ties,seq_len,n_seeds,budget,data_hash,metric,mean,std,ci_low,ci_high"
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
    energy = frame[frame.metric == "energy_j_per_step"]
    assert energy["median"].isna().all()
    assert len(energy) == 1


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


def test_records_of_several_sittings_accumulate(tmp_path):
    published(tmp_path, plan("sasrec"))
    folder = published(tmp_path, plan("mamba4rec"))
    frame = pd.read_csv(folder / "effectiveness.csv")
    assert set(frame.model) == {"popularity", "sasrec", "mamba4rec"}
    assert set(frame.n_seeds[frame.model == "sasrec"]) == {2}


def test_the_same_experiment_is_replaced_and_another_is_not(tmp_path):
    wanted = plan("sasrec")
    folder = published(tmp_path, wanted)
    write_training(tmp_path, wanted["trainings"][1], values={"train_s": 1.5})
    publish.publish(tmp_path / "grid.json", tmp_path)
    copy = folder / wanted["trainings"][1]["path"] / "record.json"
    assert json.loads(copy.read_text())["values"]["train_s"] == 1.5
    wanted["trainings"][1]["training"]["max_steps"] = 5
    before = copy.read_bytes()
    with pytest.raises(UserError, match=r"published with training.*delete the published record"):
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


def test_other_data_are_refused(tmp_path):
    published(tmp_path, plan("sasrec"))
    wanted = plan("mamba4rec")
    path = write_grid(tmp_path, wanted, data={"hash": "b" * 64})
    write_dataset(tmp_path, hash="b" * 64)
    with pytest.raises(UserError, match=r"dataset\.json.*made from other data"):
        publish.publish(path, tmp_path)


def test_readme_of_the_machine_holds_the_tables_and_commands(tmp_path):
    text = (published(tmp_path, plan("sasrec")) / "README.md").read_text()
    assert "Test quality on toy, track matched" in text
    assert "| SASRec | 2 |" in text
    assert "python -m seqbench run --experiment '" in text
    assert "/tmp" not in text


def test_readme_is_rewritten_between_its_markers_only(tmp_path):
    published(tmp_path, plan("sasrec"))
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{publish.BEGIN}\nstale\n{publish.END}\nafter\n")
    publish.together(tmp_path / "reference", readme)
    first = readme.read_text()
    assert first.startswith(f"before\n{publish.BEGIN}\n")
    assert first.endswith(f"{publish.END}\nafter\n")
    assert "stale" not in first
    assert "Measured on [test-machine](reference/test-machine/README.md)." in first
    assert "- **Few seeds.**" in first
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


def test_pages_put_gpus_first_and_hold_the_cost_of_tracks_that_were_not_trained(tmp_path):
    published(tmp_path, plan("sasrec"))
    gpu_machine(tmp_path)
    readme = tmp_path / "README.md"
    readme.write_text(f"{publish.BEGIN}{publish.END}")
    publish.together(tmp_path / "reference", readme)
    front, page = readme.read_text(), (tmp_path / "reference/README.md").read_text()
    order = "Measured on [z-gpu](reference/z-gpu/README.md) and [test-machine]"
    assert order in front and order.replace("reference/", "") in page
    assert "**z-gpu (NVIDIA Test), track paper, toy, L = 50" in front
    assert "Claims of the paper" in page and "Claims of the paper" not in front


def test_a_seed_from_another_machine_completes_a_place(tmp_path):
    published(tmp_path, plan("sasrec"))
    folder, gpu = gpu_machine(tmp_path)
    write_training(folder, training(model="sasrec", seed=2), environment=gpu)
    write_training(folder, training(model="sasrec", seed=0), environment=gpu)
    publish.tables(folder)
    publish.together(tmp_path / "reference")
    frame = pd.read_csv(tmp_path / "reference" / "effectiveness.csv")
    assert set(frame.n_seeds[frame.model == "sasrec"]) == {3}
    page = (tmp_path / "reference" / "README.md").read_text()
    assert "| toy, L = 50 | test-machine (0, 1); z-gpu (2) |" in page
    assert "1 training of z-gpu was repeated on test-machine." in page
    for name, seeds in (("test-machine", 2), ("z-gpu", 2)):  # a machine's own page has its own
        own = pd.read_csv(tmp_path / "reference" / name / "effectiveness.csv")
        assert set(own.n_seeds[own.model == "sasrec"]) == {seeds}


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
    assert sorted(paths, key=collect._natural) == paths[::-1]
