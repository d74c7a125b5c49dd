"""The tables that are made from tables exist for every kind of grid, with the columns that they always have."""

import pytest
from builders import curves_of, grid, measurement, training, write_grid, write_training

from seqbench import cli
from seqbench.analysis import answers, collect
from seqbench.core.display import TABLES

PAIR = ("mamba4rec", "sasrec")
POINTS = [m for m in curves_of() if m["curve"] == "length-at-constant-batch"]


def failing(results, plan):
    for entry in plan["trainings"]:
        write_training(results, entry, status="diverged", reason="loss is NaN")


@pytest.mark.parametrize(
    ("trainings", "measurements", "change"),
    [
        ([training(model=m) for m in PAIR], [], None),
        ([training(model="popularity")], [], None),
        ([training(model=m) for m in PAIR], [], failing),
        ([], [measurement(models=PAIR)], None),
        ([], POINTS, None),
    ],
    ids=["trained", "baseline", "failed", "measured", "curve"],
)
def test_every_kind_of_grid_has_every_table(tmp_path, trainings, measurements, change):
    plan = grid(trainings, measurements)
    plan["datasets"] = ["toy"]
    path = write_grid(tmp_path, plan)
    if change:
        change(tmp_path, plan)
    collect.collect(path, tmp_path, tmp_path / "tables")
    frames = collect.read(tmp_path / "tables").frames
    for name in ("answers", "advice", "costs", "leaderboard", "time_to_quality", "warnings"):
        assert list(frames[name].columns) == TABLES[name]
    assert list(frames["answers"].place) == list(answers.VARIANTS)


@pytest.mark.parametrize(("change", "code"), [(None, 0), (failing, 1)])
def test_check_fails_on_what_must_not_stand_in_a_comparison(tmp_path, capsys, change, code):
    plan = grid([training(model=m, seed=s) for m in PAIR for s in range(3)])
    path = write_grid(tmp_path, plan)
    if change:
        change(tmp_path, plan)
    collect.collect(path, tmp_path, tmp_path / "tables")
    assert cli.main(["check", "--tables", str(tmp_path / "tables")]) == code
    lines = capsys.readouterr().err.splitlines()
    assert sum(line.startswith("failed: ") for line in lines) == code * 6
    assert all("loss is NaN" in line for line in lines if line.startswith("failed: "))
