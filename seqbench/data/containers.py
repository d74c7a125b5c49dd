"""The content of a file: unpacked in memory as its first bytes say, one member of an archive, never more than a limit.

Nothing is written to disk, so a path that climbs out, a link or a device in an archive does nothing.
"""

import bz2
import gzip
import io
import lzma
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from ..core.errors import UserError

LOCAL_LIMIT_BYTES = 8 * 2**30  # for files named by the user
READ_BYTES = 2**20
# A log of interactions packs to a tenth or so. What unpacks to far more is made to fill the memory.
MOST_EXPANSION, ALWAYS_ALLOWED_BYTES = 200, 256 * 2**20
DEEPEST = 3  # containers in each other, as clicks.csv.gz in a zip
MOST_MEMBERS = 100_000
HEAD_BYTES = 512
PARQUET = b"PAR1"
# First bytes of a text that says how it is written.
WIDE = {
    b"\xff\xfe\x00\x00": "utf-32",
    b"\x00\x00\xfe\xff": "utf-32",
    b"\xff\xfe": "utf-16",
    b"\xfe\xff": "utf-16",
}
# First bytes of what people name where text is meant, and what to do.
NOT_READ = {
    b"7z\xbc\xaf\x27\x1c": "a 7-Zip archive; unpack it",
    b"Rar!\x1a\x07": "a RAR archive; unpack it",
    b"\x1f\x9d": "packed by compress; unpack it",
    b"LZIP": "packed by lzip; unpack it",
    b"\xd0\xcf\x11\xe0": "an Excel workbook; save the sheet as CSV",
    b"\x89HDF\r\n": "HDF5; write the interactions as CSV or Parquet",
    b"SQLite format 3\x00": "a SQLite database; write the interactions as CSV or Parquet",
    b"\x93NUMPY": "a NumPy array; write the interactions as CSV or Parquet",
    b"\x80\x04\x95": "a pickle; write the interactions as CSV or Parquet",
    b"\x80\x05\x95": "a pickle; write the interactions as CSV or Parquet",
    b"ARROW1\x00": "Feather; write the interactions as CSV or Parquet",
    b"\xff\xff\xff\xff": "an Arrow stream; write the interactions as CSV or Parquet",
    b"ORC": "ORC; write the interactions as CSV or Parquet",
    b"%PDF": "a PDF; name the file of interactions",
}
# What programs add to an archive beside what was packed.
_LITTER = ("__MACOSX", ".DS_Store", "Thumbs.db", "desktop.ini")
_DAMAGE = (
    zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, lzma.LZMAError, tarfile.TarError, struct.error, ValueError,
    OverflowError, IndexError,
)  # fmt: skip


def read_content(path: Path, member: str | None, limit_bytes: int = LOCAL_LIMIT_BYTES) -> bytes:
    """Content of a file: plain, .gz, .bz2, .xz, .zst, .lz4, .zip or .tar, or those in each other; Parquet as it is.

    `member` is the pattern (`ratings.dat`, `*.inter`) of the one file wanted from an archive; None
    means that the archive must hold a single file.
    """
    try:
        most = max(MOST_EXPANSION * path.stat().st_size, ALWAYS_ALLOWED_BYTES)
        limit = min(limit_bytes, most)
        with path.open("rb") as file:
            content = _unpacked(path, file, member, limit)
            for _ in range(DEEPEST - 1):
                if content is None:
                    break
                inner = _unpacked(path, io.BytesIO(content), member, limit)
                if inner is None:
                    return _text(path, content)
                content = inner
            if content is None:
                return _text(path, _limited(path, file, limit))
        if _opener(content[:HEAD_BYTES]):
            raise UserError(f"{path} holds more than {DEEPEST} containers in each other; unpack it")
        return _text(path, content)
    except _DAMAGE as error:
        # RuntimeError and NotImplementedError: zipfile's word for encrypted or unknown compression
        raise UserError(_damaged(path, error)) from None
    except OSError as error:
        if error.errno is not None and error.filename is None:
            raise UserError(f"{path}: {error.strerror}; check the disk, or get it anew") from None
        if error.filename is not None:
            raise
        raise UserError(_damaged(path, error)) from None


def _damaged(path: Path, error: Exception) -> str:
    said = " ".join(str(error).split()) or type(error).__name__
    return f"{path} is damaged or not readable here ({said}); get it anew"


def is_packed(path: Path) -> bool:
    """Whether a file is anything but text as it lies there."""
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    return bool(_opener(head)) or head.startswith(PARQUET) or any(map(head.startswith, WIDE))


def _unpacked(path: Path, file: BinaryIO, member: str | None, limit: int) -> bytes | None:
    """What a container holds; None if the file is none. The file stands at its beginning then."""
    head = file.read(HEAD_BYTES)
    file.seek(0)
    opened = _opener(head)
    return opened(path, file, member, limit) if opened else None


def _opener(head: bytes) -> Callable[[Path, BinaryIO, str | None, int], bytes] | None:
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return _zip
    if head[257:262] == b"ustar":
        return _tar
    packed = {
        b"\x1f\x8b": lambda file: gzip.GzipFile(fileobj=file),
        b"\xfd7zXZ\x00": lambda file: _Streams(file, lzma.LZMADecompressor),
        b"\x28\xb5\x2f\xfd": lambda file: _by_arrow(file, "zstd"),
        b"\x04\x22\x4d\x18": lambda file: _by_arrow(file, "lz4"),
    }
    if head.startswith(b"BZh") and head[4:10] == b"1AY&SY":
        packed[b"BZh"] = lambda file: _Streams(file, bz2.BZ2Decompressor)
    for magic, stream in packed.items():
        if head.startswith(magic):
            return lambda path, file, member, limit: _limited(path, stream(file), limit)
    return None


class _Streams:
    """Streams of bz2 or xz behind each other. Python's own readers end in silence at one whose first bytes are damaged."""

    def __init__(self, file: BinaryIO, kind: Callable):
        self.file, self.kind, self.one = file, kind, kind()

    def read(self, n_bytes: int) -> bytes:
        """At least a byte and at most so many; none at the end of the last stream."""
        while True:
            feed = b""
            if self.one.eof:
                feed = (self.one.unused_data or self.file.read(n_bytes)).lstrip(b"\0")  # padding
                while not feed:
                    more = self.file.read(n_bytes)
                    if not more:
                        return b""
                    feed = more.lstrip(b"\0")
                self.one = self.kind()
            elif self.one.needs_input:
                feed = self.file.read(n_bytes)
                if not feed:
                    raise EOFError("ends too early")
            if out := self.one.decompress(feed, n_bytes):
                return out


def _by_arrow(file: BinaryIO, codec: str) -> BinaryIO:
    import pyarrow as pa

    return pa.CompressedInputStream(pa.PythonFile(file, "r"), codec)


def _zip(path: Path, file: BinaryIO, member: str | None, limit: int) -> bytes:
    with zipfile.ZipFile(file) as archive:
        files = [
            entry for entry in archive.infolist() if not entry.is_dir() and not _is_link(entry)
        ]
        if any(entry.filename == "[Content_Types].xml" for entry in files):
            raise UserError(
                f"{path} is an Excel workbook, which is not read; save the sheet as CSV"
            )
        entry = files[_wanted(path, [entry.filename for entry in files], member)]
        if entry.file_size > limit:
            raise UserError(_too_large(f"{path}: {entry.filename}", limit))
        with archive.open(entry) as stream:
            return _limited(path, stream, limit)


def _tar(path: Path, file: BinaryIO, member: str | None, limit: int) -> bytes:
    with tarfile.open(fileobj=file, mode="r:") as archive:
        files = [entry for entry in _members(archive) if entry.isreg()]
        entry = files[_wanted(path, [entry.name for entry in files], member)]
        if entry.size > limit:
            raise UserError(_too_large(f"{path}: {entry.name}", limit))
        return _limited(path, archive.extractfile(entry), limit)


def _is_link(entry: zipfile.ZipInfo) -> bool:
    return stat.S_ISLNK(entry.external_attr >> 16)


def _members(archive: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    """Entries of an archive; ValueError where one lies before another, which would never end."""
    before = -1
    for _ in range(MOST_MEMBERS):
        entry = archive.next()
        if entry is None:
            return
        if entry.offset <= before:
            raise ValueError("an entry of negative size")
        before = entry.offset
        yield entry
    raise ValueError(f"more than {MOST_MEMBERS:,} entries")


def _wanted(path: Path, names: list[str], member: str | None) -> int:
    """Place of the one name that a pattern means, among those that hold data."""
    data = [k for k, name in enumerate(names) if not _litter(name)]
    found = [k for k in data if member is None or PurePosixPath(names[k]).match(member)]
    if len(found) != 1:
        shown = ", ".join(names[k] for k in data[:8]) or "nothing"
        need = f"one file {member}" if member else "a single file"
        raise UserError(
            f"{path} must hold {need}, but {len(found)} match; it holds {shown}; unpack it and name the file"
        )
    return found[0]


def _litter(name: str) -> bool:
    parts = PurePosixPath(name).parts
    return not parts or parts[-1].startswith("._") or any(part in _LITTER for part in parts)


def _limited(path: Path, stream: BinaryIO, limit: int) -> bytes:
    content = io.BytesIO()
    while chunk := stream.read(READ_BYTES):
        content.write(chunk)
        if content.tell() > limit:
            raise UserError(_too_large(str(path), limit))
    return content.getvalue()  # its own buffer, not a copy


def _too_large(what: str, limit: int) -> str:
    return f"{what} unpacks to more than the allowed {limit:,} bytes; refused, unpack it yourself if you trust it"


def _text(path: Path, content: bytes) -> bytes:
    """UTF-8 of a text in UTF-16 or UTF-32 that says so; anything else as it is, or refused by its first bytes."""
    encoding = next((name for mark, name in WIDE.items() if content.startswith(mark)), None)
    if encoding:
        try:
            return content.decode(encoding).encode()
        except UnicodeError as error:
            raise UserError(
                f"{path} is no sound {encoding.upper()} ({error}); save it as UTF-8"
            ) from None
    if what := next((what for magic, what in NOT_READ.items() if content.startswith(magic)), None):
        what, _, remedy = what.partition("; ")
        raise UserError(f"{path} is {what}, which is not read; {remedy}")
    start = content[:HEAD_BYTES].lstrip().lower()
    if start.startswith((b"<!doctype", b"<html", b"<?xml")):
        raise UserError(f"{path} is a web page or XML, no table; get the file itself")
    if start.startswith((b'{"', b"[{", b"[[")):
        raise UserError(
            f"{path} is JSON, which is not read; write the interactions as CSV or Parquet"
        )
    if not content.startswith(PARQUET) and b"\x00" in content[:HEAD_BYTES]:
        raise UserError(
            f"{path} holds zero bytes: no text, or UTF-16 that does not say so; save it as UTF-8"
        )
    return content
