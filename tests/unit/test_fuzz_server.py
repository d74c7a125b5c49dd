"""Whatever a server sends: the file is there as it was published, or the download is refused in one line. No other error, ever."""

import gzip
import hashlib
import random
import socket
import tempfile
import threading
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from fuzzing import drawing
from hypothesis import given
from hypothesis import strategies as st

from seqbench.core.errors import UserError
from seqbench.data.download import Policy, Refused, fetch

pytestmark = pytest.mark.slow
CONTENT = random.Random(1).randbytes(3000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
LIMIT = 10_000
POLICY = Policy(attempts=2, backoff_s=0.0, stall_s=0.5, slow_s=2.0)
FIRST = ["HTTP/1.1 200 OK", "HTTP/1.0 200 OK", "HTTP/1.1 206 Partial Content", "HTTP/1.1 204 No Content", "HTTP/1.1 301 Moved", "HTTP/1.1 302 Found", "HTTP/1.1 416 Range", "HTTP/1.1 503 Busy", "HTTP/1.1 999 Odd", "HTTP/9 200", "200", "", "\x00\x01", "HTTP/1.1 100 Continue"]  # fmt: skip
HEADERS = [
    "Content-Length: 3000", "Content-Length: 2999", "Content-Length: 3001", "Content-Length: -1", "Content-Length: 1e3", "Content-Length: 99999999999999999999",
    "Content-Length: 0", "Content-Length:", "Transfer-Encoding: chunked", "Transfer-Encoding: chunked, chunked", "Content-Encoding: gzip",
    "Content-Range: bytes 0-2999/3000", "Content-Range: bytes 1000-2999/3000", "Content-Range: bytes */3000", "Content-Range: words",
    "Location: /again", "Location: file:///etc/hostname", "Location: http://127.0.0.1:1/", "Location: \x7f", "Location:", "no colon", ": ",
    "X: " + "y" * 70_000, "Connection: keep-alive", "Retry-After: nan",
]  # fmt: skip
CHUNKED = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (CONTENT[:1700], CONTENT[1700:], b""))  # fmt: skip
BODIES = [CONTENT, CONTENT[:1000], CONTENT[1000:], CONTENT + b"more", bytes(3000), b"", CHUNKED, CHUNKED[:900], b"zz\r\n", b"-5\r\n", b"ffffffffffffffff\r\n", gzip.compress(CONTENT), bytes(20_000), b"<html>not found</html>"]  # fmt: skip


@st.composite
def answers(draw):
    head = [draw(st.sampled_from(FIRST)), *draw(st.lists(st.sampled_from(HEADERS), max_size=3))]
    end = draw(st.sampled_from(["\r\n", "\r\n", "\r\n", "\n", "\r"]))
    text = end.join(head) + draw(st.sampled_from([end * 2, end * 2, end * 2, end, ""]))
    return text.encode("latin-1") + draw(st.sampled_from(BODIES))


@contextmanager
def serving(sent):
    """The address of a server whose n-th connection gets the n-th of these bytes, and is hung up then."""
    server = socket.create_server(("127.0.0.1", 0))

    def serve():
        with suppress(OSError):
            for content in [*sent, *[b""] * 99]:
                connection, _ = server.accept()
                with connection, suppress(OSError):
                    connection.settimeout(5)
                    connection.recv(65_536)
                    connection.sendall(content)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.getsockname()[1]}/x.zip"
    finally:
        server.shutdown(socket.SHUT_RDWR)
        server.close()
        thread.join(10)


@drawing(150)
@given(sent=st.lists(answers(), min_size=1, max_size=3), part=st.sampled_from([None, CONTENT[:1000], bytes(1000), CONTENT, CONTENT + b"x"]), known=st.booleans())  # fmt: skip
def test_whatever_a_server_sends(sent, part, known):
    with tempfile.TemporaryDirectory() as folder, serving(sent) as url:
        target = Path(folder) / "x.zip"
        if part is not None:
            target.with_name("x.zip.part").write_bytes(part)
        try:
            fetch(url, target, LIMIT, SHA256 if known else None, POLICY)
        except (Refused, UserError) as error:
            assert "\n" not in str(error) and len(str(error)) > 5
            assert not target.exists()
        else:
            found = target.read_bytes()
            assert len(found) <= LIMIT and (not known or found == CONTENT)
            assert b"root" not in found  # of a file of this machine that a server names
