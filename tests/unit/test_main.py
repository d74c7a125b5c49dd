"""The command line: bad input is one line and status 2, never a traceback."""

import json
import shutil
import subprocess
import sys

import pytest

from seqbench.__main__ import main
from seqbench.experiment import Experiment
from seqbench.record import read_record


def test_an_experiment_that_is_no_json_is_one_line(capsys, tmp_path):
    code = main(["run", "--experiment", "{", "--dataset", str(tmp_path), "--out", str(tmp_path)])
    assert code == 2
    assert capsys.readouterr().err.startswith("error: experiment: not JSON")


@pytest.mark.parametrize("change", [{"modell": "sasrec"}, {"training": {"max_step": 3}}])
def test_an_unknown_key_is_named_with_what_is_allowed(capsys, tmp_path, change):
    text = json.dumps({**json.loads(Experiment("d", "sasrec", "m", 5, 0).to_json()), **change})
    assert main(["run", "--experiment", text, "--dataset", "x", "--out", str(tmp_path)]) == 2
    message = capsys.readouterr().err
    assert "unknown key" in message and "allowed: " in message and message.count("\n") == 1


def test_data_that_are_not_prepared_are_named(capsys, tmp_path):
    text = Experiment("d", "sasrec", "m", 5, 0).to_json()
    missing = str(tmp_path / "none")
    assert main(["train", "--experiment", text, "--dataset", missing, "--out", str(tmp_path)]) == 2
    assert f"{missing}/dataset.json" in capsys.readouterr().err


def test_damaged_data_are_prepared_with_force(capsys, tiny, tmp_path):
    """dataset.json is there, so Snakemake alone would find nothing to be done."""
    data = shutil.copytree(tiny, tmp_path / "data")
    (data / "items.npy").write_bytes(b"garbage")
    text = Experiment("tiny", "sasrec", "m", 5, 0).to_json()
    arguments = ["--experiment", text, "--dataset", str(data), "--out", str(tmp_path / "out")]
    assert main(["train", *arguments]) == 2
    assert f"with: snakemake --cores 1 --force {data}/dataset.json\n" in capsys.readouterr().err


def test_a_backend_that_is_not_here_says_how_to_get_it(capsys, tiny, tmp_path):
    experiment = Experiment("tiny", "mamba4rec", "m", 5, 0, (("scan", "fused"),))
    arguments = ["--experiment", experiment.to_json(), "--dataset", str(tiny), "--out"]
    assert main(["run", *arguments, str(tmp_path / "out")]) == 2
    assert not (tmp_path / "out/record.json").exists()


def test_retry_removes_what_it_says(capsys, tmp_path, tiny):
    from seqbench import run

    experiment = Experiment("tiny", "sasrec", "m", 5, 0)
    out = tmp_path / "runs/x"
    run.record_failure(experiment, tiny, out, 1, run.End("timeout", "too slow"))
    trial = tmp_path / "tune/x/trial-000"
    run.record_failure(experiment, tiny, trial, 1, run.End("timeout", "too slow"))
    (trial.parent / "study.json").touch()
    assert read_record(out)["status"] == "timeout"
    assert main(["retry", "--status", "oom", "--results", str(tmp_path)]) == 0
    assert (out / "record.json").exists() and (trial.parent / "study.json").exists()
    assert main(["retry", "--status", "timeout", "--results", str(tmp_path)]) == 0
    assert not (out / "record.json").exists()
    assert not (trial / "record.json").exists() and not (trial.parent / "study.json").exists()


def test_the_module_runs_and_lists_its_verbs():
    done = subprocess.run(
        [sys.executable, "-m", "seqbench", "--help"], capture_output=True, text=True, check=True
    )
    assert all(verb in done.stdout for verb in ("prepare", "run", "measure", "report", "publish"))
