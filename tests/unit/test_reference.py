"""The published results: every row has its records, every record its row, and the README says what its page says."""

import csv
from pathlib import Path

import pytest

from seqbench.code import ROOT

MACHINES = sorted((ROOT / "results" / "reference").glob("*/"))
ROW = ("dataset", "track", "model", "seq_len")


def rows(file: Path, *columns: str) -> set[tuple]:
    with file.open(encoding="utf-8") as lines:
        return {tuple(row[column] for column in columns) for row in csv.DictReader(lines)}


@pytest.mark.parametrize("folder", MACHINES, ids=lambda path: path.name)
def test_every_row_of_quality_has_records_and_every_record_a_row(folder):
    places = [path.parts[-5:-1] for path in (folder / "runs").glob("*/*/*/L*-s*/record.json")]
    assert rows(folder / "effectiveness.csv", *ROW) == {
        (dataset, track, model, name.partition("-")[0].removeprefix("L"))
        for dataset, track, model, name in places
    }


@pytest.mark.parametrize("folder", MACHINES, ids=lambda path: path.name)
def test_every_trial_of_the_table_of_tuning_is_a_record(folder):
    trials = {path.parts[-5:-1] for path in (folder / "tune").glob("*/*/L*/trial-*/record.json")}
    file = folder / "tuning.csv"
    said = rows(file, "dataset", "model", "seq_len", "trial") if file.exists() else set()
    assert trials == {(d, m, f"L{length}", f"trial-{int(n):03d}") for d, m, length, n in said}


def test_the_page_of_all_machines_holds_every_training_place():
    folder = ROOT / "results" / "reference"
    every = {row for machine in MACHINES for row in rows(machine / "effectiveness.csv", *ROW)}
    assert not every - rows(folder / "effectiveness.csv", *ROW)


def test_the_readme_says_what_the_page_of_all_machines_says():
    page = (ROOT / "results" / "reference" / "README.md").read_text(encoding="utf-8")
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    part = readme.partition("<!-- results:begin -->")[2].partition("<!-- results:end -->")[0]
    sentences = [line for line in part.splitlines() if line.startswith("- ")]
    assert len(sentences) > 10 and not set(sentences) - set(page.splitlines())
