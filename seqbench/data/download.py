"""Downloading one file: resumed, retried, bounded in size, verified, and put in place at once."""

import fcntl
import hashlib
import http.client
import os
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from ..core.errors import UserError

DECIDES = "nothing"

CHUNK_BYTES = 2**16
RETRIED_STATUS = (408, 425, 429, 500, 502, 503, 504)


@dataclass(frozen=True)
class Policy:
    """How patient a download is."""

    attempts: int = 4  # per URL, without getting on
    backoff_s: float = 1.0  # before the second attempt; doubles after each
    stall_s: float = 30.0  # without a byte: the connection counts as dead


class Refused(Exception):
    """A URL did not yield the file; `sha256` and `kept` are set when it yielded another one."""

    def __init__(self, reason: str, sha256: str | None = None, kept: Path | None = None):
        super().__init__(reason)
        self.sha256, self.kept = sha256, kept


class _Retry(Exception):
    """A failure that another attempt may cure."""


def fetch(url: str, target: Path, max_bytes: int, sha256: str | None, policy: Policy) -> None:
    """Download `url` to `target`, going on from `<target>.part` if that lies there.

    Raises Refused when the URL fails for good. Two processes may ask for the same target: the
    second waits for the first and then finds the file.
    """
    part = target.with_name(target.name + ".part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with _locked(part) as file:
            if target.exists():  # another process was faster
                part.unlink(missing_ok=True)
                return
            resumed = _fetch_with_retries(url, file, max_bytes, policy)
            if resumed and sha256 and _digest(file) != sha256:  # the rest of an older version
                file.truncate(0)
                _fetch_with_retries(url, file, max_bytes, policy)
            _finish(file, part, target, sha256)
    except Refused:
        if part.exists() and not part.stat().st_size:
            part.unlink()
        raise
    except OSError as error:  # network errors never get here: they become _Retry or Refused
        where = error.filename or part
        raise UserError(f"cannot write {where}: {error.strerror or error}") from None


@contextmanager
def _locked(part: Path) -> Iterator[BinaryIO]:
    while True:
        file = part.open("a+b")
        fcntl.flock(file, fcntl.LOCK_EX)
        if part.exists() and os.fstat(file.fileno()).st_ino == part.stat().st_ino:
            break
        file.close()  # the holder before us moved it into place: look again
    with file:
        yield file


def _finish(file: BinaryIO, part: Path, target: Path, sha256: str | None) -> None:
    found = _digest(file)
    if sha256 and found != sha256:
        kept = target.with_name(target.name + ".unverified")
        os.replace(part, kept)
        reason = f"SHA-256 is {found}, expected {sha256} (kept as {kept.name})"
        raise Refused(reason, found, kept)
    file.flush()
    os.fsync(file.fileno())
    os.replace(part, target)


def _digest(file: BinaryIO) -> str:
    file.seek(0)
    return hashlib.file_digest(file, "sha256").hexdigest()


def _fetch_with_retries(url: str, file: BinaryIO, max_bytes: int, policy: Policy) -> bool:
    """Append to `file` until it is complete; returns whether it held something before."""
    start = have = file.seek(0, os.SEEK_END)
    failures = 0
    while True:
        try:
            _attempt(url, file, max_bytes, policy.stall_s)
            return start > 0
        except _Retry as problem:
            reason = str(problem)
        before, have = have, file.seek(0, os.SEEK_END)
        failures = 1 if have > before else failures + 1  # a connection that gets on may drop often
        if failures >= policy.attempts:
            raise Refused(f"{reason} ({failures} attempts)")
        wait_s = policy.backoff_s * 2 ** (failures - 1)
        print(f"{url}: {reason}; trying again in {wait_s:g} s", file=sys.stderr, flush=True)
        time.sleep(wait_s)


def _attempt(url: str, file: BinaryIO, max_bytes: int, stall_s: float) -> None:
    have = file.seek(0, os.SEEK_END)
    request = urllib.request.Request(url, headers={"User-Agent": "seqbench"})
    if have:
        request.add_header("Range", f"bytes={have}-")
    try:
        response = urllib.request.urlopen(request, timeout=stall_s)  # nosec B310 # the urls are ours
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416:  # nothing after what we have: complete already, or a stale part
            _check_complete(error, file, have)
            return
        raise (_Retry if error.code in RETRIED_STATUS else Refused)(f"HTTP {error.code}") from None
    except (OSError, http.client.HTTPException) as error:
        raise _Retry(_reason(error, stall_s)) from None
    with response:
        if response.status != 206:  # the whole file: it ignored the range
            have = 0
            file.truncate(0)
        elif not response.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
            file.truncate(0)
            raise _Retry("answered with another range; starting over")
        _copy(response, file, have, max_bytes, stall_s)


def _check_complete(error: urllib.error.HTTPError, file: BinaryIO, have: int) -> None:
    if error.headers.get("Content-Range") != f"bytes */{have}":
        file.truncate(0)
        raise _Retry("the partial file does not fit; starting over")


def _copy(
    response: http.client.HTTPResponse, file: BinaryIO, have: int, max_bytes: int, stall_s: float
) -> None:
    length = response.headers.get("Content-Length")
    total = have + int(length) if length else None
    if total and total > max_bytes:
        file.truncate(0)
        raise Refused(f"offers {total:,} bytes, more than the allowed {max_bytes:,}")
    progress = _Progress(response.url.rsplit("/", 1)[-1], total)
    try:
        while chunk := _read(response, stall_s):
            have += len(chunk)
            if have > max_bytes:
                file.truncate(0)
                raise Refused(f"sends more than the allowed {max_bytes:,} bytes")
            file.write(chunk)
            progress.show(have)
    finally:
        progress.close(have)
        file.flush()
    if total is not None and have < total:
        raise _Retry(f"connection closed after {have:,} of {total:,} bytes")


def _read(response: http.client.HTTPResponse, stall_s: float) -> bytes:
    try:
        return response.read1(CHUNK_BYTES)
    except (OSError, http.client.HTTPException) as error:
        raise _Retry(_reason(error, stall_s)) from None


def _reason(error: Exception, stall_s: float) -> str:
    cause = getattr(error, "reason", error)
    if isinstance(cause, TimeoutError):
        return f"no answer within {stall_s:g} s"
    return getattr(cause, "strerror", None) or str(cause) or type(cause).__name__


class _Progress:
    """A bar that redraws itself on a terminal; elsewhere a plain line every ten seconds."""

    def __init__(self, name: str, total_bytes: int | None):
        self.name, self.total_bytes = name, total_bytes
        self.terminal = sys.stderr.isatty()
        self.period_s = 0.2 if self.terminal else 10.0
        self.next_s = time.monotonic() + (0 if self.terminal else self.period_s)

    def show(self, have: int) -> None:
        if time.monotonic() >= self.next_s:
            self._print(have, end="" if self.terminal else "\n")
            self.next_s = time.monotonic() + self.period_s

    def close(self, have: int) -> None:
        self._print(have, end="\n")

    def _print(self, have: int, end: str) -> None:
        text = f"{self.name}: {have / 2**20:.1f} MiB"
        if self.total_bytes:
            share = have / self.total_bytes
            text += f" of {self.total_bytes / 2**20:.1f} MiB ({share:.0%})"
            if self.terminal:
                text += f" [{'#' * int(30 * share):<30}]"
        print(f"\r{text}" if self.terminal else text, end=end, file=sys.stderr, flush=True)
