"""The command line: bad input is one line and status 2, never a traceback."""

import json
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


def test_a_damaged_record_stops_no_retry_of_the_others(capsys, tmp_path, tiny):
    from seqbench import run

    experiment = Experiment("tiny", "sasrec", "m", 5, 0)
    trials = [tmp_path / f"tune/x/trial-{number:03d}" for number in range(3)]
    for folder in trials:
        run.record_failure(experiment, tiny, folder, 1, run.End("crashed", "a bug"))
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
    from seqbench import record, run

    def cut_short(folder):
        raise KeyboardInterrupt

    trial = tmp_path / "tune/x/trial-000"
    run.record_failure(Experiment("tiny", "sasrec", "m", 5, 0), tiny, trial, 1, run.End("oom", "?"))
    (trial.parent / "study.json").touch()
    monkeypatch.setattr(record, "discard", cut_short)
    with pytest.raises(KeyboardInterrupt):
        main(["retry", "--status", "oom", "--results", str(tmp_path)])
    assert not (trial.parent / "study.json").exists()


def test_the_module_runs_and_lists_its_verbs():
    done = subprocess.run(
        [sys.executable, "-m", "seqbench", "--help"], capture_output=True, text=True, check=True
    )
    assert all(verb in done.stdout for verb in ("prepare", "run", "measure", "report", "publish"))
