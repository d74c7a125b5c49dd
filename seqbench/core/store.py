"""Folders of records: one loaded record, those that a grid names or a folder holds, and copies from one folder to another."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from . import provenance, records
from .checksums import sha256_of
from .disk import write_atomically
from .errors import Damaged, UserError
from .jobs import MeasurementJob, filled
from .ownership import is_owned, owned
from .processes import side_by_side

DECIDES = "nothing"
AGAIN = "run `make report` (or `snakemake --cores 8 report`)"
STAGED, MOVED = ".publish-", ".moved"  # beside the published records, while they change
CONDITION = ("dataset", "track", "seq_len")


def condition(job: Mapping[str, Any]) -> tuple[str, str, int]:
    """Dataset, track and length of a job."""
    return tuple(job[key] for key in CONDITION)


@dataclass(frozen=True)
class Entry:
    """One record of the grid and where it lies: `path` below the folder `root`, as in the grid. What is read is kept."""

    path: str
    root: Path
    record: dict[str, Any]

    @cached_property
    def job(self) -> dict[str, Any]:
        """The resolved description of the job."""
        return filled(self.record["job"])

    @property
    def values(self) -> dict[str, Any]:
        """What the job found, apart from its samples."""
        return self.record["values"]

    @property
    def ok(self) -> bool:
        """Whether the job came to its end."""
        return self.record["status"] == "ok"

    @property
    def training(self) -> bool:
        """Whether it was a training and not a measurement."""
        return self.record["kind"] == "train"

    @property
    def trained(self) -> bool:
        """Whether there was anything to train: not so of baselines, nor of measurements."""
        return bool(self.values.get("steps"))

    @property
    def condition(self) -> tuple[str, str, int]:
        """Dataset, track and length: what stands in one comparison."""
        return condition(self.job)

    @property
    def machine(self) -> str:
        """Name of the machine that made it."""
        return self.record["environment"]["machine_name"]

    @property
    def environment(self) -> dict[str, Any]:
        """Where it was made; a device that the driver did not name goes by the machine's name."""
        facts = self.record["environment"]
        return {**facts, "device": facts["device"] or facts["machine_name"]}

    @property
    def badge(self) -> str | None:
        """What keeps it out of comparisons with those of the present code: ``older code``, or None."""
        now = _code_now(self.training, self.job["model"])
        known = now and provenance.same(self.record["identity"]["code"], now)
        return None if known else "older code"

    @property
    def command(self) -> str:
        """The command line that makes it again, from the root of the checkout."""
        job = dict(self.job)
        verb, out = "run", f"results/{self.path}"
        if not self.training:
            verb, out = "measure", f"results/{Path(self.path).parent}"
            del job["model"], job["hyperparameters"]  # of one of its models
        text = json.dumps(job, sort_keys=True, separators=(",", ":")).replace("'", r"'\''")
        real = self.record["data"]["hash"] is not None
        dataset = f" --dataset results/data/{job['dataset']}" if real else ""
        threads = f" --threads {self.record['environment']['threads']}"
        return f"python -m seqbench {verb} --job '{text}'{dataset} --out {out}{threads}"

    def samples(self) -> Mapping[str, np.ndarray]:
        """Raw samples, after their SHA-256 was compared with the record's."""
        return self._samples

    @cached_property
    def _samples(self) -> Mapping[str, np.ndarray]:
        return records.read_samples(self.root / self.path, self.record)

    @cached_property
    def results(self) -> Path:
        """The results folder that the record lies in, with the facts of its dataset."""
        parts = Path(self.path).parts
        below = next(i for i, part in enumerate(parts) if part in ("runs", "tune"))
        return self.root.joinpath(*parts[:below])

    @cached_property
    def dataset(self) -> dict[str, Any]:
        """Facts of its dataset; empty for synthetic full-length batches."""
        known = self.record["data"]["hash"] is not None
        return read_dataset(self.results, self.record["data"]["name"]) if known else {}

    def users(self) -> dict[str, np.ndarray]:
        """What breakdowns of quality group the users with a test target by, arrays (U,)."""
        file = self.results / "data" / self.record["data"]["name"] / "users.npz"
        try:
            content = file.read_bytes()
            known = self.dataset.get("files", {}).get(file.name)
            if known and hashlib.sha256(content).hexdigest() != known:
                raise ValueError("SHA-256 differs")
            return records.unpacked(content)
        except Exception as error:  # a damaged archive raises whatever its bytes happen to be
            raise UserError(f"{file}: cannot be read ({error}); {AGAIN}") from None


@cache
def _code_now(training: bool, model: str) -> str | None:
    """Identity of the present code; None for a model that is not there any more."""
    if not (provenance.ROOT / "models" / f"{model}.py").is_file():
        return None
    return provenance.training(model) if training else provenance.measuring(model)


def check(grid: Mapping[str, Any], results: Path, processes: int = 1) -> dict[str, dict[str, Any]]:
    """Compare every file that a grid's tables are made from, and the weights beside them, with its SHA-256.

    processes: records that are read at a time.

    Returns:
        The records that are there, by path.

    Raises:
        Damaged: some differ; all of them are named.
    """
    paths = [job["path"] for job in grid["trainings"]]
    paths += [path for job in grid["measurements"] for path in job["records"]]
    looked = side_by_side(_checked, [results / path for path in paths], processes)
    looked = dict(zip(paths, looked, strict=True))
    found = [own for own in looked.values() if isinstance(own, tuple)]
    if found:
        raise Damaged("; ".join(said for said, _ in found), *(f for _, own in found for f in own))
    for name in grid["datasets"]:
        _check_data(results / "data" / name, read_dataset(results, name))
    return {path: own for path, own in looked.items() if own}


def _checked(folder: Path) -> dict[str, Any] | tuple[str, tuple[Path, ...]] | None:
    """The record of a folder, or what is damaged there with its files; None: no record, which is told by `load`."""
    try:
        if not (folder / "record.json").exists():
            return None
        record = records.read_record(folder)
        records.check_files(folder, record)
    except Damaged as error:
        return str(error), error.files
    return record


def _check_data(folder: Path, facts: Mapping[str, Any]) -> None:
    """Data are no ``Damaged``: with a new dataset.json the workflow would train all of it again."""
    for name, known in facts.get("files", {}).items():
        if not (folder / name).exists() or sha256_of(folder / name) != known:
            raise UserError(
                f"{folder / name}: damaged or lost (SHA-256 differs); prepare it with: snakemake --cores 1 {folder}/dataset.json"
            )


def load(
    grid: dict[str, Any], results: Path, known: Mapping[str, dict[str, Any]] = MappingProxyType({})
) -> list[Entry]:
    """The records of a grid, in its order, their settings compared with the grid's; those not known are read."""
    entries = []
    for wanted in grid["trainings"]:
        job = {key: value for key, value in wanted.items() if key != "path"}
        entries.append(_asked_for(results, wanted["path"], job, known))
    for wanted in grid["measurements"]:
        described = {key: value for key, value in wanted.items() if key != "records"}
        measured = MeasurementJob.from_json(json.dumps(described))
        for path, (model, _) in zip(wanted["records"], measured.models, strict=True):
            entries.append(_asked_for(results, path, measured.for_model(model), known))
    return entries


def _asked_for(
    results: Path, path: str, job: dict[str, Any], known: Mapping[str, dict[str, Any]]
) -> Entry:
    entry = Entry(path, results, known[path]) if path in known else read_entry(results, path)
    why = records.difference(entry.record, job)
    if why:
        raise UserError(f"{results / path}: {why}: delete it and {AGAIN}")
    return entry


def read_entry(results: Path, path: str) -> Entry:
    """Read one record; one that is missing is named together with the command that makes it."""
    file = results / path / "record.json"
    if not file.exists():
        raise UserError(f"{file}: the grid names this record but it is not there: {AGAIN}")
    return Entry(path, results, records.read_record(results / path))


def published(folder: Path) -> list[Entry]:
    """All records of a published folder, by path, lengths in the order of numbers.

    Raises:
        UserError: a record is damaged, or lies in the folder of another job.
    """
    found = (path.parent for path in (folder / "runs").rglob("record.json"))
    paths = sorted(found, key=lambda path: _natural(str(path)))
    return [_in_place(read_entry(folder, str(path.relative_to(folder)))) for path in paths]


def _in_place(entry: Entry) -> Entry:
    """The entry, if its job is the one that its folder names."""
    job = entry.job
    own = [job["dataset"], job["track"], job["model"], f"L{job['seq_len']}-s{job.get('seed')}"]
    if not entry.training:
        size = f"L{job['seq_len']}-T{job['targets_per_step']}"
        size = f"{job['curve']}-{size}-V{job['n_items']}" if job["curve"] else size
        own[2:] = ["measure", size, job["model"]]
    if (path := "/".join(["runs", *own])) != entry.path:
        raise UserError(
            f"{entry.root / entry.path}/record.json: its job belongs into {path}; move the folder there, or delete it"
        )
    return entry


def _natural(text: str) -> list[str | int]:
    """Sorting key that reads digits as numbers: L200 comes before L1600."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", text)]


def read_grid(path: Path) -> dict[str, Any]:
    """Return what `grid` wrote.

    Raises:
        UserError: no such file, or one without what a grid has.
    """
    command = "run `snakemake --cores 1 --until grid -- report`, which makes it"
    grid = read_json(Path(path), command)
    for key in ("trainings", "measurements", "datasets"):
        if not (isinstance(grid, dict) and isinstance(grid.get(key), list)):
            raise UserError(f"{path}: has no list `{key}`: delete it and {command}")
    if "focal_model" not in grid.get("report", {}):
        raise UserError(f"{path}: has no `report.focal_model`: delete it and {command}")
    return grid


def read_json(path: Path, command: str) -> Any:
    """What a JSON file holds; command: the remedy for one that is missing or damaged."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: not there: {command}") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not JSON ({error}): delete it and {command}") from None


def read_dataset(results: Path, name: str) -> dict[str, Any]:
    """Facts of a prepared dataset.

    Raises:
        UserError: not there, not JSON, or no facts of a dataset.
    """
    file = results / "data" / name / "dataset.json"
    return _facts(file, file.stat().st_mtime_ns if file.exists() else None)


@cache
def _facts(file: Path, _: int | None) -> dict[str, Any]:
    facts = read_json(file, AGAIN)
    if not isinstance(facts, dict) or not {"name", "hash", "split"} <= facts.keys():
        raise UserError(f"{file}: no facts of a dataset: delete it and {AGAIN}")
    if records.is_changed(facts):
        raise UserError(
            f"{file}: damaged (its SHA-256 differs); prepare it with: snakemake --cores 1 {file}"
        )
    return facts


def by_condition(entries: Iterable[Entry]) -> Iterator[list[Entry]]:
    """The entries of one condition after those of another, conditions sorted."""
    key = attrgetter("condition")
    return (list(own) for _, own in groupby(sorted(entries, key=key), key))


def of_one_code(entries: list[Entry]) -> list[Entry]:
    """Records that may be compared: where a condition or a measurement session has records of the present code, those
    of older code leave it. All of them keep their row in `experiments`, where the badge says which they are.
    """

    def together(entry: Entry) -> tuple:
        if not entry.training:
            return (str(Path(entry.path).parent),)
        return entry.record["environment"]["machine"], *entry.condition

    # A baseline's code seldom changes: it fits the trainings beside it, older or not.
    trained = (entry for entry in entries if not entry.training or entry.trained)
    renewed = {together(entry) for entry in trained if not entry.badge}
    return [e for e in entries if not e.badge or together(e) not in renewed]


def check_datasets(entries: list[Entry], datasets: dict[str, Any]) -> None:
    """Refuse records that were made from other data than the dataset's facts describe."""
    for entry in entries:
        facts, data = datasets.get(entry.job["dataset"]), entry.record["data"]
        if facts and data["hash"] and data["hash"] != facts["hash"]:
            raise UserError(
                f"{entry.path}: made from other data than data/{data['name']} now holds;"
                " delete the record and run the workflow again"
            )


@contextmanager
def publishing(reference: Path) -> Iterator[None]:
    """Own the folder of published records; what a killed publication moved away is put back, its copies are removed."""
    try:
        with owned(reference):
            for left in reference.parent.glob(f"{STAGED}*"):
                _put_back(left, reference)
                shutil.rmtree(left, ignore_errors=True)
            yield
    finally:  # what was made for nothing
        with suppress(OSError):
            reference.rmdir()
            reference.parent.rmdir()


def recover(reference: Path) -> None:
    """Put back, before records are read, what a killed publication moved away."""
    if any(reference.parent.glob(f"{STAGED}*/{MOVED}/*")) and not is_owned(reference):
        with publishing(reference):
            pass


@contextmanager
def staged(folder: Path) -> Iterator[Path]:
    """A copy of a machine's folder to change. It takes the folder's place at the end, unless something was refused."""
    above = folder.parent.parent
    above.mkdir(parents=True, exist_ok=True)
    left = Path(tempfile.mkdtemp(dir=above, prefix=STAGED))
    new, moved = left / folder.name, left / MOVED / folder.name
    try:
        if folder.exists():
            shutil.copytree(folder, new)
        new.mkdir(exist_ok=True)
        moved.parent.mkdir()
        yield new
        folder.parent.mkdir(exist_ok=True)
        if folder.exists():
            folder.rename(moved)
        new.rename(folder)
    finally:  # interrupted in here, the next publication does it
        _put_back(left, folder.parent)
        shutil.rmtree(left)


def _put_back(left: Path, reference: Path) -> None:
    """Whatever was moved away for a copy that did not take its place."""
    for moved in (left / MOVED).glob("*"):
        if not (reference / moved.name).exists():
            moved.rename(reference / moved.name)


def machine_of(entries: list[Entry]) -> str:
    """Name of the one machine that made all records.

    On a machine with a GPU baselines run without it, as another machine would: theirs counts only where nothing else is.
    """
    if not entries:
        raise UserError("nothing to publish: the grid has no records")
    entries = [e for e in entries if e.trained or not (e.training and e.ok)] or entries
    first = entries[0].record["environment"]
    for entry in entries[1:]:
        other = entry.record["environment"]
        if first["machine_name"] == other["machine_name"] and first["machine"] != other["machine"]:
            raise UserError(
                f"{entries[0].path} and {entry.path} come from two machines named {first['machine_name']} ({first['machine']} and"
                f" {other['machine']}: another processor or memory); only one of them can be published under that name"
            )
        if first["machine"] != other["machine"]:
            raise UserError(
                f"{entries[0].path} and {entry.path} come from two machines ({first['machine_name']} and"
                f" {other['machine_name']}): publish them from grids of their own"
            )
    return first["machine_name"]


def check_replacement(entry: Entry, target: Path) -> None:
    """Refuse to put a record in the place of a published one of another job."""
    if not (target / "record.json").exists():
        return
    why = records.difference(records.read_record(target), entry.job)
    if why:
        raise UserError(
            f"{target}: published {why}; delete the published record to replace it by another job"
        )


def check_dataset(facts: dict[str, Any], folder: Path, name: str) -> None:
    """Refuse records that were made from other data than those published under the same name."""
    published = folder / "data" / name / "dataset.json"
    if published.exists() and read_dataset(folder, name)["hash"] != facts["hash"]:
        raise UserError(
            f"{published}: records published here were made from other data (hashes differ);"
            " delete them to publish on the new data"
        )


def copy_record(source: Path, target: Path) -> None:
    """Copy a record, samples first; weights stay behind."""
    copy_files(source, target, ("samples.npz", "record.json"))


def copy_files(source: Path, target: Path, names: tuple[str, ...]) -> None:
    """Copy files of a folder, each written whole, in this order."""
    target.mkdir(parents=True, exist_ok=True)
    for name in names:
        write_atomically(target / name, (source / name).read_bytes())
