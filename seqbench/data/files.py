"""Finding a source's file: a declared local copy, then data_dir, then the network."""

from dataclasses import dataclass
from pathlib import Path

from ..config.sources import SOURCES, Origin, Source
from ..core.checksums import sha256_of
from ..core.errors import UserError
from .containers import LOCAL_LIMIT_BYTES
from .download import Policy, Refused, fetch

PATIENT = Policy()


@dataclass(frozen=True)
class Located:
    """A file that lies here, verified as far as its checksum is known."""

    path: Path
    sha256: str
    url: str | None
    format: str
    max_bytes: int
    substitute_file: str | None = None  # what differs from the publisher's file


def locate(name: str, definition: dict, data_dir: Path, policy: Policy = PATIENT) -> Located:
    """The file of one dataset block; UserError when it cannot be had or has another checksum."""
    if local := definition.get("local"):
        return _local(name, definition["source"], local)
    source = SOURCES[definition["source"]]
    for origin in source.origins:
        if (data_dir / origin.file).is_file():
            return _verified(name, origin, data_dir / origin.file, url=None)
    return _download(name, source, data_dir, policy)


def _local(name: str, source: str, local: dict) -> Located:
    key, path = f"datasets.{name}.local", Path(local["path"])
    if not path.is_file():
        raise UserError(f"{key}.path: {path} is not a file (seen from {Path.cwd().name}/)")
    found, declared = sha256_of(path), local.get("sha256")
    if declared and declared.lower() != found:
        raise UserError(
            f"{key}.sha256: {path} has SHA-256 {found}, declared is {declared}; get the right "
            "file, or declare the checksum found if this file is meant"
        )
    if source in SOURCES:
        if not declared:
            raise UserError(f"{key}.sha256 is missing; a stand-in is pinned ({path} has {found})")
        format_name = local.get("format", SOURCES[source].origins[0].format)
        differs = local.get("differs_from_original", "not said (local.differs_from_original)")
    else:
        format_name, differs = local.get("format", "delimited"), local.get("differs_from_original")
    return Located(path, found, None, format_name, LOCAL_LIMIT_BYTES, differs)


def _verified(name: str, origin: Origin, path: Path, url: str | None) -> Located:
    found = sha256_of(path)
    if origin.sha256 and found != origin.sha256:
        raise UserError(_mismatch(name, origin, path, found))
    return Located(path, found, url, origin.format, origin.max_bytes)


def _mismatch(name: str, origin: Origin, path: Path, found: str) -> str:
    known = "" if origin.sure else " (a checksum that only one registry publishes)"
    return (
        f"{path} has SHA-256 {found}, expected {origin.sha256}{known}; delete it to download it "
        f"again, or, if you trust this file, accept it with datasets.{name}.local: "
        f"{{path: {path}, sha256: {found}, differs_from_original: ...}}"
    )


def _download(name: str, source: Source, data_dir: Path, policy: Policy) -> Located:
    failures = []
    for origin in source.origins:
        target = data_dir / origin.file
        try:
            fetch(origin.url, target, origin.max_bytes, origin.sha256, policy)
        except Refused as refused:
            failures.append(f"{origin.url}: {refused}")
            if refused.sha256 and not origin.sure:  # report, let the user decide
                kept = refused.kept
                raise UserError(_mismatch(name, origin, kept, refused.sha256)) from None
            continue
        return _verified(name, origin, target, url=origin.url)
    first = source.origins[0]
    raise UserError(
        f"dataset {name}: cannot get {first.file} ({'; '.join(failures)}). Put a copy at "
        f"{data_dir / first.file}, or name your own under datasets.{name}.local; "
        "`make demo` needs no download"
    )
