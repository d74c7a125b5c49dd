"""The published results: every row has its records, every record its row, and pages are what the records give."""

import csv
import re
import shlex
from pathlib import Path

import pytest

from seqbench.core.jobs import MeasurementJob, TrainingJob
from seqbench.core.provenance import ROOT
from seqbench.core.store import published
from seqbench.report import publish

MACHINES = sorted(p.parent for p in (ROOT / "results" / "reference").glob("*/README.md"))
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


@pytest.mark.parametrize("folder", MACHINES, ids=lambda path: path.name)
def test_every_command_names_its_job(folder):
    """As a shell splits it; its job's folder is where the command writes."""
    entries = published(folder)
    assert len(entries) > 10
    for entry in entries:
        words = shlex.split(entry.command)
        given = dict(zip(words[4::2], words[5::2], strict=True))
        kind = TrainingJob if words[3] == "run" else MeasurementJob
        job = kind.from_json(given["--job"])
        assert given["--out"] == f"results/{job.path}"


def summary(folder: Path) -> dict[tuple, tuple[str, str, str]]:
    """Number of seeds, mean and interval by row and kind."""
    keys = (*ROW, "seen_items", "ties", "metric")
    numbers = ("n_seeds", "mean", "ci_low", "ci_high")
    with (folder / "effectiveness.csv").open(encoding="utf-8") as lines:
        return {tuple(row[k] for k in keys): tuple(row[n] for n in numbers) for row in csv.DictReader(lines)}  # fmt: skip


def test_the_page_of_all_machines_has_every_row_with_at_least_its_seeds():
    every = summary(ROOT / "results" / "reference")
    for machine in MACHINES:
        for key, (seeds, *_) in summary(machine).items():
            assert int(every[key][0]) >= int(seeds), (machine.name, key)


def test_what_one_machine_alone_made_is_the_same_on_the_page_of_all():
    every = summary(ROOT / "results" / "reference")
    owners: dict[tuple, list[tuple]] = {}
    for machine in MACHINES:
        for key, found in summary(machine).items():
            owners.setdefault(key, []).append(found)
    alone = {key: found[0] for key, found in owners.items() if len(found) == 1}
    assert len(alone) > 500
    # An interval's users are drawn together with all models of a condition, its own part of seeds after them.
    assert all(every[key][:2] == found[:2] for key, found in alone.items())


def part() -> str:
    """What is generated of the README."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    return text.partition("<!-- results:begin -->")[2].partition("<!-- results:end -->")[0]


@pytest.mark.slow
def test_what_is_committed_is_what_the_records_give(tmp_path):
    """The page, the README's part, the scatter and the tables of all machines, byte for byte."""
    readme, reference = tmp_path / "README.md", tmp_path / "results" / "reference"
    readme.write_text("<!-- results:begin --><!-- results:end -->", encoding="utf-8")
    reference.mkdir(parents=True)
    for machine in MACHINES:
        (reference / machine.name).symlink_to(machine)
    publish.together(reference, readme)
    made = [*reference.glob("*.csv"), *(tmp_path / "docs" / "report").iterdir()]
    assert len(made) > 10
    for file in made:
        assert file.read_bytes() == (ROOT / file.relative_to(tmp_path)).read_bytes(), file.name
    assert part() in readme.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("file", "most"),
    [
        *((m / "README.md", 4_000) for m in MACHINES),
        (ROOT / "docs/report/index.html", 2_000_000),
        (ROOT / "docs/report/scatter.svg", 50_000),
        (ROOT / "README.md", 15_000),
    ],
    ids=lambda value: str(value),
)
def test_pages_are_short(file, most):
    assert file.stat().st_size <= most


def test_the_readmes_part_is_short():
    assert 1_000 < len(part().encode()) <= 4_000


def test_links_of_the_readme_lead_somewhere():
    links = [link for link in re.findall(r"\]\(([^)]+)\)", part()) if "://" not in link]
    assert len(links) >= 4 and all((ROOT / link).exists() for link in links)


def test_the_published_folder_is_small():
    files = (path for path in (ROOT / "results/reference").rglob("*") if path.is_file())
    assert sum(path.stat().st_size for path in files) < 16_000_000
