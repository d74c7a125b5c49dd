"""What the verbs print: aligned columns, every number of the tables, and bad input in one line."""

import json
import os
import subprocess
import sys

import boards
import pandas as pd
import pytest
from builders import SEEDS, grid, training, write_grid, write_training

from seqbench.analysis import collect
from seqbench.cli import main
from seqbench.core import records
from seqbench.core.errors import UserError
from seqbench.report import answer
from seqbench.report.tables import Cell, Column, Table
from seqbench.terminal import show
from seqbench.terminal.compare import COSTS, QUALITY, Compared
from seqbench.terminal.plan import COLUMNS


def test_columns_are_aligned_numbers_to_the_right_and_the_best_is_marked():
    table = Table(
        "t", "Caption", [Column("Model", number=False), Column("Value")],
        [[Cell("a", mark="best"), Cell("1.5", "[1, 2]")], [Cell("long name"), Cell("−10", mark="best")]], ["Note"],
    )  # fmt: skip
    assert show.text(table).splitlines() == [
        "Caption",
        "",
        "Model           Value",
        "---------  ----------",
        "a *        1.5 [1, 2]",
        "long name       −10 *",
        "",
        "Note",
    ]


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    folder = tmp_path_factory.mktemp("results")
    wanted = grid([training(model=m, seed=s) for m in ("sasrec", "mamba4rec") for s in SEEDS])
    collect.collect(write_grid(folder, wanted), folder, folder / "tables")
    return folder


def lines_of(text):
    return [line.split() for line in text.splitlines()]


@pytest.mark.parametrize("tables_there", [True, False])
def test_the_leaderboard_is_that_of_the_table(results, tmp_path, capsys, tables_there):
    """Of the tables if they are there, else of the records."""
    folder = results
    if not tables_there:
        folder = tmp_path
        for model in ("sasrec", "mamba4rec"):
            for seed in SEEDS:
                write_training(folder, training(model=model, seed=seed))
    assert main(["results", "--records", str(folder), "--seen", "excluded"]) == 0
    shown = lines_of(capsys.readouterr().out)
    frame = collect.read(results / "tables").frames["leaderboard"]
    best = frame[frame.seen_items == "excluded"].sort_values("ndcg", ascending=False)
    models = [line[0] for line in shown if line and line[0] in ("Mamba4Rec", "SASRec")]
    assert models == [{"mamba4rec": "Mamba4Rec", "sasrec": "SASRec"}[m] for m in best.model]
    first = next(line for line in shown if line and line[0] == models[0])
    assert float(first[1]) == pytest.approx(best.ndcg.iloc[0], abs=0.0006)


@pytest.mark.parametrize(("option", "value"), [("dataset", "ml-1m"), ("length", "200"), ("track", "paper"), ("machine", "gpu")])  # fmt: skip
def test_what_was_not_measured_is_named_with_what_there_is(results, capsys, option, value):
    assert main(["results", "--records", str(results), f"--{option}", value]) == 2
    said = capsys.readouterr().err
    there = {"dataset": "toy", "length": "50", "track": "matched", "machine": show.DASH}[option]
    assert said == f"error: --{option} {value}: no results with it; there are {there}\n"


def test_what_was_left_out_is_said(results, capsys):
    tables = collect.read(results / "tables")
    tables.settings["left_out"] = [("gpu", "toy", "other data")]
    assert "gpu on toy: other data" in show.results(tables, {})


@pytest.mark.parametrize("change", [{"dataset": "ml-1m"}, {"track": "paper"}, {"model": "gru4rec"}, {"seq_len": 9}, {"seed": 5}])  # fmt: skip
def test_a_record_in_the_folder_of_another_job_is_named(tmp_path, capsys, change):
    entry = training()
    write_training(tmp_path, entry)
    file = tmp_path / entry["path"] / "record.json"
    record = json.loads(file.read_text())
    record["job"] |= change
    file.write_bytes(records.sealed(record))
    assert main(["results", "--records", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"error: {file}: ") and said.count("\n") == 1
    assert f"{next(iter(change.values()))}" in said


def test_a_reference_without_records_is_refused(tmp_path, capsys):
    for folder in (tmp_path / "no", tmp_path):
        assert main(["plan", "--reference", str(folder), "--results", str(tmp_path)]) == 2
        said = capsys.readouterr().err
        assert said.startswith(f"error: --reference {folder}: ") and said.count("\n") == 1


def test_a_folder_without_results_is_refused(tmp_path, capsys):
    assert main(["results", "--records", str(tmp_path / "no")]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_no_leaderboard_is_said():
    with pytest.raises(UserError, match="no leaderboard"):
        show.results(boards.tables(), {})


def test_where_all_trainings_failed_it_is_said_how_to_retry():
    content = boards.tables()
    content.frames["experiments"] = pd.DataFrame({"kind": ["train"] * 2, "status": ["oom"] * 2})
    with pytest.raises(UserError, match=r"2 trainings failed .* retry --status oom"):
        show.results(content, {})


@pytest.mark.parametrize("marked", [(), ("ndcg_best",), ("epoch_s_best",)])
def test_a_star_is_explained_where_one_stands(marked):
    board = [boards.board_row(**dict.fromkeys(marked, True)), boards.board_row("sasrec")]
    text = show.results(boards.tables(board, [boards.answer_row()]), {})
    assert (answer.literals()["marks"] in text) == ("*" in text) == bool(marked)


def test_cost_of_baselines_alone_is_on_no_machine():
    for machine in (boards.MISSING, "test-machine"):
        *_, last = show.results(boards.tables([boards.baseline(machine_name=machine)]), {}).splitlines()  # fmt: skip
        assert last == "Cost was not measured."


def test_what_to_take_stands_below_the_leaderboard():
    board = [boards.board_row(advised=True), boards.board_row("sasrec")]
    text = show.results(boards.tables(board, advice=[boards.advice_row("best")]), {})
    assert "Mamba4Rec take" in text and "What to take: Mamba4Rec (1.44 s per 1,000 users)" in text


def test_a_comparison_has_a_line_per_row_and_counts_the_rest():
    about = {"track": "matched", "dataset": "toy", "seq_len": 50, "model": "sasrec"}
    quality = about | {
        "seen_items": "kept", "metric": "ndcg@10", "n_seeds_a": 3, "n_seeds_b": 2, "mean_a": 0.1, "mean_b": 0.12,
        "difference": 0.02, "ci_low": 0.01, "ci_high": 0.03, "margin": 0.001, "verdict": "inconclusive", "why": "few_seeds",
    }  # fmt: skip
    cost = about | {
        "curve": None, "sequences": 8, "phase": "train", "metric": "step_s", "machine_a": "m", "machine_b": "n", "median_a": 0.1,
        "median_b": 0.2, "ratio": 2.0, "ratio_low": 1.9, "ratio_high": 2.1, "verdict": "dearer",
    }  # fmt: skip
    frames = pd.DataFrame([quality], columns=[*QUALITY]), pd.DataFrame([cost], columns=[*COSTS])
    shown = lines_of(show.comparison(Compared(*frames, 4, 0), ("one", "two")))
    values = [" ".join(line) for line in shown]
    assert "Toy, L = 50 matched SASRec kept 3, 2 0.100 0.120 +0.020 [0.010, 0.030] ? inconclusive (few seeds)" in values  # fmt: skip
    assert "Toy, L = 50 matched SASRec Training step 100 ms 200 ms 2.00 [1.90, 2.10] ▼ dearer" in values  # fmt: skip
    assert values[-1] == "Only in one: 4"


def planned(kind, **changes):
    row = {"dataset": "toy", "track": "matched", "kind": kind, "jobs": 5, "done": 1, "unknown": 0, "hours_low": 1.0, "hours_high": 2.0,
           "disk_bytes": 2**20, "disk_unknown": 0, "machines": "m"}  # fmt: skip
    return row | changes


def test_a_plan_tells_hours_what_is_unknown_and_disk():
    rows = [planned("training", unknown=2), planned("measurement", jobs=3, done=0), planned("data", track=None, disk_bytes=0, disk_unknown=1)]  # fmt: skip
    *_, trainings, measurements, disk = show.planned(pd.DataFrame(rows, columns=[*COLUMNS]), "cpu").splitlines()  # fmt: skip
    assert trainings == "Trainings: 4 to do, 1.0 to 2.0 core-hours, 2 jobs that no record informs"
    assert measurements == "Measurements: 3 to do, 1.0 to 2.0 hours alone"
    assert disk == "Disk: 2.00 MiB, 1 job of unknown size"


def test_a_plan_of_unknown_jobs_claims_no_hours():
    rows = pd.DataFrame([planned("training", jobs=2, done=0, unknown=2, hours_low=0.0, hours_high=0.0)], columns=[*COLUMNS])  # fmt: skip
    assert "Trainings: 2 to do, 2 jobs that no record informs" in show.planned(rows, "cuda")


def test_the_plan_of_the_project_runs(capsys, tmp_path):
    write_training(tmp_path / "here", training())
    command = ["plan", "config/demo.yaml", "--results", str(tmp_path), "--reference", str(tmp_path)]
    assert main([*command, "--device", "cpu", "--cores", "2"]) == 0
    assert "Trainings: " in capsys.readouterr().out


@pytest.mark.parametrize(("arguments", "words"), [(["no.yaml"], "no.yaml: No such file"), (["README.md"], "README.md, line 3: is no YAML")])  # fmt: skip
def test_a_plan_of_no_configuration_is_refused(capsys, arguments, words):
    assert main(["plan", *arguments]) == 2
    said = capsys.readouterr().err
    assert words in said and said.count("\n") == 1


def test_a_reader_that_stops_reading_ends_a_verb_quietly(results):
    command = [sys.executable, "-m", "seqbench", "results", "--records", str(results)]
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, text=True)
    os.close(write)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_folder_above_one_results_folder_is_told_what_to_name(capsys, tmp_path):
    write_training(tmp_path / "here", training())
    assert main(["compare", str(tmp_path), str(tmp_path)]) == 2
    assert capsys.readouterr().err.endswith(f"did you mean {tmp_path / 'here'}?\n")


def test_folders_that_cannot_be_compared_are_refused(capsys, tmp_path):
    assert main(["compare", str(tmp_path), str(tmp_path / "no")]) == 2
    assert capsys.readouterr().err.count("\n") == 1
