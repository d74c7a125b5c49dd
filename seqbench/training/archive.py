"""The records of another machine in one archive: packed there, unpacked into results/reference here.

Packed are records with their samples, studies, the facts of datasets and what lies in ``checks``. Weights stay behind.
"""

from __future__ import annotations

import gzip
import io
import json
import re
import shutil
import sys
import tarfile
import tempfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..core import jobs, provenance, store
from ..core.checksums import sha256_of
from ..core.errors import UserError
from ..core.jobs import MeasurementJob, TrainingJob, build
from ..core.records import matches, read_record, sealed, write_atomically
from ..core.store import Entry
from .search import SUMMARY, validation

DECIDES = "nothing"

FOLDERS, CHECKS = ("runs", jobs.TUNE_TRACK, "data"), "checks"  # below the results folder
LIMIT_BYTES = 512 * 2**20  # of all members, unpacked
USERS = "users.npz"
KEPT = ("record.json", "samples.npz", "dataset.json", USERS, SUMMARY)
# What `pack` writes, and nothing else comes out: no part of a path starts with a dot.
PART = r"[\w-][\w.-]*"
MEMBER = re.compile(
    rf"({'|'.join(FOLDERS)})/({PART}/)+({'|'.join(map(re.escape, KEPT))})|{CHECKS}/{PART}", re.ASCII
)
MACHINE = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")  # as environment.py makes it; becomes a folder
NOTHING = "nothing was unpacked"


def pack(results: Path, archive: Path) -> int:
    """Write records, samples, studies, facts of datasets and checks of a results folder into a .tar.gz; its size in bytes.

    Equal content gives equal bytes.

    Raises:
        UserError: no records, a damaged one, or records of several machines.
    """
    store.machine_of(_entries(results, results))
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for path in _to_pack(results):
            content = path.read_bytes()
            member = tarfile.TarInfo(path.relative_to(results).as_posix())
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    packed = gzip.compress(buffer.getvalue(), mtime=0)
    write_atomically(archive, packed)
    return len(packed)


def _to_pack(results: Path) -> Iterator[Path]:
    for folder in FOLDERS:
        yield from sorted(p for p in (results / folder).rglob("*") if p.name in KEPT)
    # What was being written when a run was stopped begins with a dot.
    yield from sorted(p for p in (results / CHECKS).glob("[!.]*") if p.is_file())


def unpack(archive: Path, results: Path, tables: Callable[[Path], None]) -> Path:
    """Check an archive completely, then merge its records into ``results/reference/<machine>/``; that folder.

    A published record is replaced only by one of the same job. Studies and their trials go to ``results/tune``, where
    tuning on this machine would have left them. The caller owns the published folder. tables: makes those of a machine's folder, in a copy: what does not fit
    shows before anything is changed.

    Raises:
        UserError: not an archive of ``pack``, damaged, unsafe, or in conflict with what is there; nothing changed.
    """
    with tempfile.TemporaryDirectory() as name:
        staged = Path(name) / "archive"
        _extract(archive, staged)
        try:
            entries = _entries(staged, archive)
            machine = _machine(archive, entries)
            folder = results / "reference" / machine
            _name_revision(staged, entries)
            searched = _set_apart_studies(staged, results)
            _check_fit(staged, entries, folder)
            with store.staged(folder) as new:
                shutil.copytree(staged, new, dirs_exist_ok=True)
                if (new / "runs").exists():
                    tables(new)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            # JSON that anybody may have written: text that is none, a fact that is missing or of another type.
            what = f"{type(error).__name__}: {str(error)[:100]}"
            raise UserError(
                f"{archive}: holds facts that make no tables ({what}); {NOTHING}"
            ) from None
        if searched is not None:
            _move_studies(searched, results / jobs.TUNE_TRACK)
            print(
                f"studies: in {results / jobs.TUNE_TRACK}; `make accept-tuning` takes their winners",
                file=sys.stderr,
            )
    return folder


def _set_apart_studies(staged: Path, results: Path) -> Path | None:
    """Move studies out of what is merged with published records, and return their folder.

    Raises:
        UserError: a study that its trials contradict, or another one or other trials where they would go.
    """
    brought, apart = staged / jobs.TUNE_TRACK, staged.parent / jobs.TUNE_TRACK
    if not brought.exists():
        return None
    for file in sorted(brought.rglob(SUMMARY)):
        path = f"{jobs.TUNE_TRACK}/{file.parent.relative_to(brought).as_posix()}"
        _check_study(json.loads(file.read_text(encoding="utf-8")), path, staged)
        kept = results / path / SUMMARY
        if kept.exists() and _study(kept) != _study(file):
            raise UserError(f"{kept}: another study stands here; move it away, {NOTHING}")
    for file in sorted(brought.rglob("record.json")):
        kept = results / jobs.TUNE_TRACK / file.parent.relative_to(brought)
        if (kept / "record.json").exists() and _made(read_record(kept)) != _made(
            read_record(file.parent)
        ):
            raise UserError(f"{kept}: another trial stands here; move its study away, {NOTHING}")
    return brought.rename(apart)


def _move_studies(brought: Path, tune: Path) -> None:
    """Write studies to where tuning leaves them, each file whole or not there: of a trial its record last, of all the summaries.

    Interrupted in here, they stand there as a search that was interrupted, and the same archive completes them.
    """
    last = ("record.json", SUMMARY)
    files = [path for path in sorted(brought.rglob("*")) if path.is_file()]
    for path in sorted(files, key=lambda path: last.index(path.name) if path.name in last else -1):
        write_atomically(tune / path.relative_to(brought), path.read_bytes())


def _study(file: Path) -> dict[str, Any]:
    return json.loads(file.read_text(encoding="utf-8"))["study"]


def _made(record: Mapping[str, Any]) -> tuple:
    """What two records of the same trial have in common."""
    return (
        record["job"],
        record["identity"]["code"],
        record["data"]["hash"],
        record["environment"]["machine"],
    )


def _check_study(content: Mapping[str, Any], path: str, folder: Path) -> None:
    """Refuse a summary that is not that of the trials beside it."""
    described = jobs.Study.from_json(json.dumps(content["study"]))
    if described.path != path:
        raise UserError(f"{path}: is the study of {described.path}; {NOTHING}")
    for trial in content["trials"]:
        record = read_record(folder / described.trial_path(trial["number"]))
        asked = described.training_job(trial["chosen"], trial.get("seed"), trial["share"]).to_dict()
        if not matches(record, asked) or validation(record) != trial["value"]:
            raise UserError(
                f"{path}: trial {trial['number']} is not the one that the study names; {NOTHING}"
            )


def _extract(archive: Path, target: Path) -> None:
    """Decompress all of it first, because the checksum of a gzip file stands at its end."""
    try:
        with gzip.open(archive) as file:
            content = file.read(LIMIT_BYTES + 1)
        if len(content) > LIMIT_BYTES:
            raise UserError(f"{archive}: unpacks to more than {LIMIT_BYTES:,} bytes")
        with tarfile.open(fileobj=io.BytesIO(content), mode="r:") as tar:
            for member in tar:
                _check_member(archive, member)
                path = target / member.name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(tar.extractfile(member).read())
    except FileNotFoundError:
        raise UserError(
            f"{archive}: no such file; name what `python -m seqbench pack` wrote"
        ) from None
    except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
        raise UserError(f"{archive}: damaged or not an archive of `pack` ({error})") from None


def _check_member(archive: Path, member: tarfile.TarInfo) -> None:
    if not member.isreg() or member.issparse():  # a sparse file may be far larger than the archive
        raise UserError(f"{archive}: {member.name} is not a plain file; {NOTHING}")
    if not MEMBER.fullmatch(member.name):
        raise UserError(
            f"{archive}: {member.name} leads outside or is nothing that `pack` packs; {NOTHING}"
        )


def _entries(folder: Path, said: Path) -> list[Entry]:
    """Every record below a folder, checked against the schema, its SHA-256, its place and that of its samples."""
    found = (p for part in FOLDERS for p in (folder / part).rglob("record.json"))
    paths = sorted(p.parent.relative_to(folder).as_posix() for p in found)
    if not paths:
        raise UserError(
            f"{said}: holds no records; run `snakemake --until train baseline measure` first"
        )
    entries = []
    for path in paths:
        try:
            entry = Entry(path, folder, read_record(folder / path))
            entry.samples()
        except UserError as error:
            if folder == said:
                raise
            what = str(error).replace(f"{folder}/{path}/", "").partition("; delete ")[0]
            raise UserError(f"{said}: {path}: {what}; {NOTHING}") from None
        if path != _place(entry.job, path):
            raise UserError(
                f"{said}: {path}: is the record of {_place(entry.job, path)}; {NOTHING}"
            )
        entries.append(entry)
    return entries


def _place(job: Mapping[str, Any], found: str) -> str:
    """Folder of a record below the results folder, from its job; that of a trial says its number itself."""
    if job.get("track") == jobs.TUNE_TRACK:
        keys = (job[key] for key in ("dataset", "model", "seq_len"))
        return "{}/{}/{}/L{}/{}".format(jobs.TUNE_TRACK, *keys, Path(found).name)
    if "training" in job:
        return TrainingJob.from_json(json.dumps(job)).path
    shared = {k: v for k, v in job.items() if k not in ("model", "hyperparameters")}
    return f"{build(MeasurementJob, shared).path}/{job['model']}"


def _name_revision(folder: Path, entries: list) -> None:
    """Give records of unnamed code the revision that is checked out here, where its code means the same.

    A machine without the repository's history sees a copied checkout as one with local changes, or as none at all.
    """
    here: dict[tuple[str, str], dict[str, Any]] = {}
    for entry in entries:
        kind, model = entry.record["kind"], entry.job["model"]
        if (kind, model) not in here:
            code_of = provenance.training if kind == "train" else provenance.measuring
            with suppress(FileNotFoundError):  # a model that this checkout does not have
                here[kind, model] = provenance.provenance(code_of(model))
        known, said = here.get((kind, model), {}), entry.record["identity"]
        same = said["code"] == known.get("code") and known.get("dirty") is False
        if said["dirty"] is not False and same:
            path = folder / entry.path / "record.json"
            record = json.loads(path.read_text(encoding="utf-8")) | {"identity": known}
            write_atomically(path, sealed(record))


def _machine(archive: Path, entries: list[Entry]) -> str:
    name = store.machine_of(entries)
    if not MACHINE.fullmatch(name):
        raise UserError(f"{archive}: machine_name {name!r} cannot be a folder; {NOTHING}")
    return name


def _check_fit(staged: Path, entries: list[Entry], folder: Path) -> None:
    """Refuse what would take the place of another job or of other data in the published folder."""
    for entry in entries:
        if entry.job.get("track") != jobs.TUNE_TRACK:  # trials go elsewhere
            store.check_replacement(entry, folder / entry.path)
    for facts in sorted((staged / "data").glob("*/dataset.json")):
        name = facts.parent.name
        try:
            brought = store.read_dataset(staged, name)
        except UserError:  # it names a folder that is gone afterwards
            raise ValueError(f"data/{name}/dataset.json: no facts of a dataset") from None
        store.check_dataset(brought, folder, name)
        users, known = facts.parent / USERS, brought.get("files", {}).get(USERS)
        if known and users.exists() and sha256_of(users) != known:
            raise ValueError(f"data/{name}/{USERS}: SHA-256 differs")
