"""The command line: bad input is one line and status 2, never a traceback."""

import json
import shlex
import shutil
import subprocess
import sys

import builders
import pytest

from seqbench import cli
from seqbench.cli import main
from seqbench.config.load import load, validate
from seqbench.core import records
from seqbench.core.jobs import MeasurementJob, Study, Training, TrainingJob
from seqbench.core.records import read_record


def test_a_job_that_is_no_json_is_one_line(capsys, tmp_path):
    code = main(["run", "--job", "{", "--dataset", str(tmp_path), "--out", str(tmp_path)])
    assert code == 2
    assert capsys.readouterr().err.startswith("error: --job: not JSON")


@pytest.mark.parametrize("change", [{"modell": "sasrec"}, {"training": {"max_step": 3}}])
def test_an_unknown_key_is_named_with_what_is_allowed(capsys, tmp_path, change):
    text = json.dumps({**json.loads(TrainingJob("d", "sasrec", "m", 5, 0).to_json()), **change})
    assert main(["run", "--job", text, "--dataset", "x", "--out", str(tmp_path)]) == 2
    message = capsys.readouterr().err
    assert "unknown key" in message and "allowed: " in message and message.count("\n") == 1


EXPERIMENT = json.loads(TrainingJob("d", "sasrec", "m", 5, 0).to_json())
MEASUREMENT = {
    "dataset": "d",
    "track": "m",
    "seq_len": 5,
    "models": [{"model": "sasrec", "hyperparameters": {}}],
}
JOBS = {
    "run": ["--dataset", "x", "--job"],
    "train": ["--dataset", "x", "--job"],
    "tune": ["--dataset", "x", "--study"],
    "measure": ["--dataset", "x", "--job"],
    "prepare": ["--name", "d", "--data-dir", "x", "--definition"],
    "grid": ["--config"],
}


def refused(capsys, *arguments):
    """The one line of a command that ends with status 2."""
    capsys.readouterr()
    assert main([str(argument) for argument in arguments]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ") and said.count("\n") == 1
    return said


@pytest.mark.parametrize("verb", JOBS)
@pytest.mark.parametrize("text", ["[]", "null", "3"])
def test_json_that_is_no_mapping_is_one_line(capsys, tmp_path, verb, text):
    said = refused(capsys, verb, "--out", tmp_path / "out", *JOBS[verb], text)
    assert f" = {text}: must be a mapping" in said
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("verb", "missing"),
    [
        ("run", "--job: dataset, model, track, seq_len, seed missing; "),
        ("tune", "--study: dataset, model, seq_len, rungs, space missing; "),
        ("measure", "--job: dataset, track, seq_len, models missing; "),
        ("grid", "config: datasets is missing; the configuration needs datasets, tracks, run"),
    ],
)
def test_an_empty_mapping_is_told_what_it_lacks(capsys, tmp_path, verb, missing):
    assert missing in refused(capsys, verb, "--out", tmp_path / "out", *JOBS[verb], "{}")
    assert not (tmp_path / "out").exists()


def test_a_measurement_on_data_needs_them(capsys, tmp_path):
    said = refused(capsys, "measure", "--out", tmp_path / "out", "--job", json.dumps(MEASUREMENT))  # fmt: skip
    assert (
        said == "error: --dataset is missing: the job is on d; name its folder, as results/data/d\n"
    )
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("verb", ["run", "tune", "measure"])
@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--threads", "0", "0: not a positive whole number"),
        ("--threads", "two", "two: not a positive whole number"),
        ("--time-limit", "-5", "-5: not a positive number"),
        ("--time-limit", "nan", "nan: not a positive number"),
    ],
)
def test_a_number_that_no_job_can_have_is_refused(capsys, tmp_path, verb, option, value, said):
    arguments = [verb, "--out", str(tmp_path / "out"), *JOBS[verb], "{}", f"{option}={value}"]
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert end.value.code == 2 and f"argument {option}: {said}\n" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"seq_len": "4"}, "seq_len = '4': must be of type int"),
        ({"seq_len": 4.0}, "seq_len = 4.0: must be of type int"),
        ({"seq_len": 1}, "seq_len: 1 is less than the minimum"),
        ({"seed": True}, "seed = True: must be of type int"),
        ({"seed": -1}, "seed: -1 is less than the minimum"),
        ({"hyperparameters": []}, "not as the workflow prints it"),
        ({"hyperparameters": {"dropout": float("nan")}}, "not JSON (Out of range"),
        ({"training": []}, "not as the workflow prints it"),
        ({"training": {"max_steps": "3"}}, "training.max_steps = '3': must be of type int"),
        ({"training": {"schedule": "cosine"}}, "training.schedule = 'cosine': allowed: constant, linear"),
        ({"training": {"warmup_steps": 9, "max_steps": 9}}, "training.warmup_steps = 9: must be below max_steps = 9; lower it"),
        ({"training": {"warmup_steps": -1}}, "training.warmup_steps = -1: must be at least 0"),
        ({"training": {"clip_norm": 0.0}}, "training.clip_norm = 0.0: must be greater than 0"),
        ({"training": {"learning_rate": None}}, "training.learning_rate = None: must be of type float"),
    ],
)  # fmt: skip
def test_a_value_that_no_record_could_hold_is_refused_before_training(
    capsys, tmp_path, change, said
):
    text = json.dumps({**EXPERIMENT, **change})
    for verb in ("run", "train"):
        assert said in refused(capsys, verb, "--out", tmp_path / "out", *JOBS[verb], text)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"seq_len": 1}, "seq_len: 1 is less than the minimum"),
        ({"budget_s": "1"}, "budget_s = '1': must be of type float or NoneType"),
        ({"models": [1]}, "not as the workflow prints it"),
    ],
)
def test_so_is_one_of_a_measurement(capsys, tmp_path, change, said):
    text = json.dumps({**MEASUREMENT, **change})
    assert said in refused(capsys, "measure", "--out", tmp_path / "out", *JOBS["measure"], text)


def test_so_is_one_of_a_study(capsys, tmp_path):
    study = {"dataset": "d", "model": "sasrec", "seq_len": 1, "rungs": [[2, 1.0]], "space": {}}
    arguments = ["tune", "--out", tmp_path / "out", *JOBS["tune"]]
    assert "seq_len: 1 is less" in refused(capsys, *arguments, json.dumps(study))
    assert "seed = 2.5" in refused(capsys, *arguments, json.dumps(study | {"seq_len": 5, "seed": 2.5}))  # fmt: skip


def test_jobs_as_the_workflow_prints_them_are_read():
    """Whole numbers for floats and a null that means none are what it may print."""
    experiment = TrainingJob("d", "sasrec", "m", 5, 0, (), Training(learning_rate=1))
    measurement = MeasurementJob("d", "m", 5, (("sasrec", (("d_model", 8),)),), budget_s=3)
    study = Study("d", "sasrec", 5, ((2, 1.0),), (("dropout", (("choices", (0.1, 0.2)),)),))
    for job in (experiment, measurement, MeasurementJob.from_json(json.dumps(MEASUREMENT)), study):
        assert records.read_job(type(job), job.to_json()) == job


def test_a_folder_that_cannot_be_made_is_said_before_the_work(capsys, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    for out in (tmp_path / "file", tmp_path / "file/below"):
        for verb, job in (("run", EXPERIMENT), ("train", EXPERIMENT), ("measure", MEASUREMENT)):
            said = refused(capsys, verb, "--out", out, *JOBS[verb], json.dumps(job))
            assert f"--out {out}: " in said and "name a folder" in said
    monkeypatch.setattr(cli.os, "access", lambda *_: False)  # root may write everywhere
    arguments = ["run", "--out", tmp_path / "shut", *JOBS["run"], json.dumps(EXPERIMENT)]
    assert f"--out {tmp_path / 'shut'}: not writable" in refused(capsys, *arguments)


def test_what_the_system_refuses_is_one_line(capsys, tmp_path):
    out = ["--results", tmp_path, "--out", tmp_path / "out"]
    assert f"{tmp_path}: Is a directory" in refused(capsys, "collect", "--grid", tmp_path, *out)
    (tmp_path / "file").touch()
    config = json.dumps(validate(load()))
    said = refused(capsys, "grid", "--config", config, "--out", tmp_path / "file/grid.json")
    assert f"{tmp_path / 'file'}" in said


@pytest.mark.parametrize("error", [OSError("no space left"), UnicodeDecodeError("utf-8", b"x", 0, 1, "bad")])  # fmt: skip
def test_what_the_system_refuses_a_worker_is_a_crash_of_which_there_is_a_record(
    tmp_path, monkeypatch, error
):
    from seqbench.training import worker

    def fail(*_):
        raise error

    monkeypatch.setattr(worker, "run", fail)
    with pytest.raises(type(error)):
        main(["train", "--out", str(tmp_path), *JOBS["train"], json.dumps(EXPERIMENT)])


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b'{"trainings": [], "datasets": []}', "has no list `measurements`"),
        (b"[]", "has no list `trainings`"),
        (b"\xff", "not JSON"),
    ],
)
def test_a_file_that_is_no_grid_is_one_line(capsys, tmp_path, content, said):
    grid = tmp_path / "grid.json"
    grid.write_bytes(content)
    for verb in (["collect", "--out", tmp_path / "out"], ["publish"]):
        line = refused(capsys, *verb, "--grid", grid, "--results", tmp_path)
        assert line.startswith(f"error: {grid}: ") and said in line


def test_a_configuration_file_that_is_no_text_is_one_line(capsys, tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_bytes(b"run: {seeds: [0]}  # \xe9")
    arguments = ["--results", tmp_path, "--tuned", tmp_path / "tuned.yaml", "--configfile", file]
    assert f"{file}: is no UTF-8" in refused(capsys, "accept-tuning", *arguments)


@pytest.mark.parametrize(
    ("content", "said"),
    [(None, "No such file"), (b"\xff", "is no UTF-8"), (b"no markers", "needs the lines")],
)
def test_a_readme_is_checked_before_anything_is_written(
    capsys, tmp_path, monkeypatch, content, said
):
    from seqbench.report import publish
    from seqbench.training import accept, archive

    def write(*_):
        raise AssertionError("written")

    for module, name in ((publish, "publish"), (accept, "accept"), (archive, "unpack")):
        monkeypatch.setattr(module, name, write)
    readme = tmp_path / "README.md"
    if content is not None:
        readme.write_bytes(content)
    options = ["--results", tmp_path, "--readme", readme]
    for verb in (
        ("publish", "--grid", "x"),
        ("accept-tuning", "--tuned", "x"),
        ("unpack", "--archive", "x"),
    ):
        line = refused(capsys, *verb, *options)
        assert str(readme) in line and said in line


def test_data_that_are_not_prepared_are_named(capsys, tmp_path):
    text = TrainingJob("d", "sasrec", "m", 5, 0).to_json()
    missing = str(tmp_path / "none")
    assert main(["train", "--job", text, "--dataset", missing, "--out", str(tmp_path)]) == 2
    assert f"{missing}/dataset.json" in capsys.readouterr().err


def test_damaged_data_are_prepared_with_force(capsys, tiny, tmp_path):
    """dataset.json is there, so Snakemake alone would find nothing to be done."""
    data = shutil.copytree(tiny, tmp_path / "data")
    (data / "items.npy").write_bytes(b"garbage")
    text = TrainingJob("tiny", "sasrec", "m", 5, 0).to_json()
    arguments = ["--job", text, "--dataset", str(data), "--out", str(tmp_path / "out")]
    assert main(["train", *arguments]) == 2
    assert f"with: snakemake --cores 1 --force {data}/dataset.json\n" in capsys.readouterr().err


@pytest.mark.slow
def test_a_backend_that_is_not_here_says_how_to_get_it(capsys, tiny, tmp_path):
    experiment = TrainingJob("tiny", "mamba4rec", "m", 5, 0, (("scan", "fused"),))
    arguments = ["--job", experiment.to_json(), "--dataset", str(tiny), "--out"]
    assert main(["run", *arguments, str(tmp_path / "out")]) == 2
    assert not (tmp_path / "out/record.json").exists()


def test_retry_removes_what_it_says(capsys, tmp_path, tiny):
    from seqbench.training import supervisor

    experiment = TrainingJob("tiny", "sasrec", "m", 5, 0)
    out = tmp_path / "runs/x"
    supervisor.record_failure(experiment, tiny, out, 1, supervisor.End("timeout", "too slow"))
    trial = tmp_path / "tune/x/trial-000"
    supervisor.record_failure(experiment, tiny, trial, 1, supervisor.End("timeout", "too slow"))
    (trial.parent / "study.json").touch()
    assert read_record(out)["status"] == "timeout"
    assert main(["retry", "--status", "oom", "--results", str(tmp_path)]) == 0
    assert (out / "record.json").exists() and (trial.parent / "study.json").exists()
    assert main(["retry", "--status", "timeout", "--results", str(tmp_path)]) == 0
    assert not (out / "record.json").exists()
    assert not (trial / "record.json").exists() and not (trial.parent / "study.json").exists()


def test_retrying_where_no_results_are_is_refused(capsys, tmp_path):
    for folder in (tmp_path / "nowhere", tmp_path):
        said = refused(capsys, "retry", "--status", "oom", "--results", folder)
        assert f"--results {folder}: has neither runs nor tune" in said


def test_damaged_samples_are_named_where_they_lie_before_anything_is_published(capsys, tmp_path):
    wanted = builders.grid([builders.training("toy", "sasrec")], [])
    path = builders.write_grid(tmp_path, wanted)
    folder = tmp_path / wanted["trainings"][0]["path"]
    (folder / "samples.npz").write_bytes(b"cut")
    said = refused(capsys, "publish", "--grid", path, "--results", tmp_path)
    assert f"{folder / 'samples.npz'}: " in said
    assert said.endswith(f"; delete {folder} and run the workflow again\n")
    assert not (tmp_path / "reference").exists()


@pytest.mark.slow
def test_a_file_that_is_published_is_named_where_it_lies(capsys, tmp_path):
    """And not in the copy of its folder that publishing changes, which is gone afterwards."""
    folder = "runs/toy/matched/sasrec/L50-s0"
    for seed in (0, 1):
        wanted = builders.grid([builders.training("toy", "sasrec", seed=seed)], [])
        path = builders.write_grid(tmp_path, wanted)
        published = tmp_path / "reference/test-machine" / folder
        if seed:
            (published / "samples.npz").write_bytes(b"cut")
            said = refused(capsys, "publish", "--grid", path, "--results", tmp_path)
            assert f"{published / 'samples.npz'}: " in said and ".publish" not in said
        else:
            assert main(["publish", "--grid", str(path), "--results", str(tmp_path)]) == 0


def test_a_damaged_record_stops_no_retry_of_the_others(capsys, tmp_path, tiny):
    from seqbench.training import supervisor

    experiment = TrainingJob("tiny", "sasrec", "m", 5, 0)
    trials = [tmp_path / f"tune/x/trial-{number:03d}" for number in range(3)]
    for folder in trials:
        supervisor.record_failure(experiment, tiny, folder, 1, supervisor.End("crashed", "a bug"))
    (trials[0].parent / "study.json").touch()
    (trials[1] / "record.json").write_text("{")
    capsys.readouterr()
    assert main(["retry", "--status", "crashed", "--results", str(tmp_path)]) == 1
    left = [path.relative_to(trials[0].parent).as_posix() for path in tmp_path.rglob("*.json")]
    assert left == ["trial-001/record.json"]
    said = capsys.readouterr().err
    assert f"{trials[1] / 'record.json'}: not JSON" in said and said.count("\n") == 4
    assert [f"removed {folder}" in said for folder in trials] == [True, False, True]


def test_a_study_goes_before_its_trials(monkeypatch, tmp_path, tiny):
    """Where deleting them is cut short, what is left of a study is none that looks complete."""
    from seqbench.core import records
    from seqbench.training import supervisor

    def cut_short(folder):
        raise KeyboardInterrupt

    trial = tmp_path / "tune/x/trial-000"
    supervisor.record_failure(
        TrainingJob("tiny", "sasrec", "m", 5, 0), tiny, trial, 1, supervisor.End("oom", "?")
    )
    (trial.parent / "study.json").touch()
    monkeypatch.setattr(records, "discard", cut_short)
    with pytest.raises(KeyboardInterrupt):
        main(["retry", "--status", "oom", "--results", str(tmp_path)])
    assert not (trial.parent / "study.json").exists()


def test_the_module_runs_and_lists_its_verbs():
    done = subprocess.run(
        [sys.executable, "-m", "seqbench", "--help"], capture_output=True, text=True, check=True
    )
    assert all(verb in done.stdout for verb in ("prepare", "run", "measure", "report", "publish"))


def test_the_command_that_made_a_record_is_printed(capsys, tmp_path):
    job = builders.training(model="sasrec")
    builders.write_training(tmp_path, job)
    builders.write_dataset(tmp_path)
    assert main(["command", str(tmp_path / job["path"])]) == 0
    words = shlex.split(capsys.readouterr().out)
    assert words[:4] == ["python", "-m", "seqbench", "run"]
    assert words[words.index("--out") + 1] == f"results/{job['path']}"
    assert "holds no record" in refused(capsys, "command", tmp_path)
