"""The results of a check on another machine in one archive: packed there, unpacked into results/reference here.

Unpacking needs pandas, packing does not: collect and publish are imported where they are needed.
"""

from __future__ import annotations

import gzip
import io
import shutil
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from .errors import UserError
from .record import write_atomically

RESULTS, CHECKS = "results", "checks"  # records to publish, and what else was found
LIMIT_BYTES = 512 * 2**20  # of all members, unpacked
KEPT = ("record.json", "samples.npz", "dataset.json", "grid.json")


def pack(folder: Path, archive: Path) -> int:
    """Write records, samples, facts of datasets and checks below ``folder`` into a .tar.gz; its size in bytes.

    Equal content gives equal bytes. Weights stay behind.
    """
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for path in _to_pack(folder):
            content = path.read_bytes()
            member = tarfile.TarInfo(path.relative_to(folder).as_posix())
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    packed = gzip.compress(buffer.getvalue(), mtime=0)
    write_atomically(archive, packed)
    return len(packed)


def _to_pack(folder: Path) -> Iterator[Path]:
    for path in sorted((folder / RESULTS).rglob("*")):
        if path.name in KEPT:
            yield path
    yield from sorted(p for p in (folder / CHECKS).glob("*") if p.is_file())


def unpack(archive: Path, results: Path) -> Path:
    """Check an archive completely, then merge its records into ``results/reference/<machine>/``; that folder.

    A published record is replaced only by one of the same experiment. Tables are made again.

    Raises:
        UserError: not an archive of ``pack``, damaged, unsafe, or in conflict with what is published; nothing changed.
    """
    from . import collect, publish

    with tempfile.TemporaryDirectory() as name:
        staged = Path(name)
        _extract(archive, staged)
        entries = _entries(archive, staged / RESULTS)
        folder = results / "reference" / publish.machine_of(entries)
        for entry in entries:
            publish.check_replacement(entry, folder / entry.path)
        for facts in sorted((staged / RESULTS / "data").glob("*/dataset.json")):
            dataset = facts.parent.name
            publish.check_dataset(collect.read_dataset(staged / RESULTS, dataset), folder, dataset)
        shutil.copytree(staged / RESULTS, folder, dirs_exist_ok=True)
        if (staged / CHECKS).exists():
            shutil.copytree(staged / CHECKS, folder / "gpu-check", dirs_exist_ok=True)
    publish.tables(folder)
    return folder


def _extract(archive: Path, target: Path) -> None:
    total = 0
    try:
        with tarfile.open(archive, "r:gz") as tar:
            for member in tar:
                _check_member(archive, member)
                total += member.size
                if total > LIMIT_BYTES:
                    raise UserError(f"{archive}: unpacks to more than {LIMIT_BYTES:,} bytes")
                path = target / member.name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(tar.extractfile(member).read())
    except FileNotFoundError:
        raise UserError(
            f"{archive}: no such file; `make gpu-check` names the archive it wrote"
        ) from None
    except (tarfile.TarError, EOFError, OSError, gzip.BadGzipFile) as error:
        raise UserError(f"{archive}: damaged or not an archive of gpu-check ({error})") from None


def _check_member(archive: Path, member: tarfile.TarInfo) -> None:
    parts = PurePosixPath(member.name).parts
    if not member.isfile():
        raise UserError(f"{archive}: {member.name} is not a plain file; nothing was unpacked")
    if ".." in parts or member.name.startswith("/") or parts[0] not in (RESULTS, CHECKS):
        raise UserError(f"{archive}: {member.name} leads outside; nothing was unpacked")


def _entries(archive: Path, folder: Path) -> list:
    """Every record of the archive, checked against the schema, with its samples against their SHA-256."""
    from . import collect

    paths = sorted(p.parent.relative_to(folder).as_posix() for p in folder.rglob("record.json"))
    if not paths:
        raise UserError(f"{archive}: holds no records; run the part `cost` of gpu-check first")
    entries = []
    for path in paths:
        entry = collect.read_entry(folder, path)
        try:
            entry.samples()
        except UserError as error:
            raise UserError(f"{archive}: {path}: {str(error).rpartition(': ')[2]}") from None
        entries.append(entry)
    return entries
