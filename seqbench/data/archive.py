"""Reading one file out of a container without ever unpacking to disk.

Only the member that is needed is read, into memory and up to a limit, so that neither a path in an
archive (`../x`) nor a decompression bomb can do harm.
"""

import gzip
import zipfile
import zlib
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from seqbench.errors import UserError

LOCAL_LIMIT_BYTES = 8 * 2**30  # for files named by the user
CHUNK_BYTES = 2**20


def read_content(path: Path, member: str | None, limit_bytes: int = LOCAL_LIMIT_BYTES) -> bytes:
    """Content of a plain, .gz or .zip file, as found by its first bytes.

    `member` is the pattern (`ratings.dat`, `*.inter`) of the one file wanted from a zip; None
    means that the zip must hold a single file.
    """
    try:
        with path.open("rb") as file:
            magic = file.read(4)
            file.seek(0)
            if magic == b"PK\x03\x04":
                return _read_zip(path, file, member, limit_bytes)
            if magic[:2] == b"\x1f\x8b":
                return _read_limited(path, gzip.GzipFile(fileobj=file), limit_bytes)
            return _read_limited(path, file, limit_bytes)
    except (zipfile.BadZipFile, zlib.error, gzip.BadGzipFile, EOFError, RuntimeError) as error:
        # RuntimeError and NotImplementedError: zipfile's word for encrypted or unknown compression
        raise UserError(f"{path} is damaged or not readable here ({error}); get it anew") from None


def _read_zip(path: Path, file: BinaryIO, member: str | None, limit_bytes: int) -> bytes:
    with zipfile.ZipFile(file) as archive:
        files = [entry for entry in archive.infolist() if not entry.is_dir()]
        wanted = [e for e in files if member is None or PurePosixPath(e.filename).match(member)]
        if len(wanted) != 1:
            shown = ", ".join(entry.filename for entry in files[:8]) or "nothing"
            need = f"one file {member}" if member else "a single file"
            raise UserError(f"{path} must hold {need}, but {len(wanted)} match; it holds {shown}")
        if wanted[0].file_size > limit_bytes:
            raise UserError(_too_large(f"{path}: {wanted[0].filename}", limit_bytes))
        with archive.open(wanted[0]) as stream:
            return _read_limited(path, stream, limit_bytes)


def _read_limited(path: Path, stream: BinaryIO, limit_bytes: int) -> bytes:
    content = bytearray()
    while chunk := stream.read(CHUNK_BYTES):
        content += chunk
        if len(content) > limit_bytes:
            raise UserError(_too_large(str(path), limit_bytes))
    return bytes(content)


def _too_large(what: str, limit_bytes: int) -> str:
    return f"{what} unpacks to more than the allowed {limit_bytes:,} bytes; refused"
