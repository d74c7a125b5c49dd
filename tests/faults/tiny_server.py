"""A dataset of 90 users in the form of MovieLens-100K, and a slow server of it on 127.0.0.1."""

import hashlib
import io
import random
import threading
import time
import zipfile
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PIECES, PAUSE_S = 60, 0.01


def archive():
    """The archive's bytes, the same every time."""
    rng, rows = random.Random(7), []
    for user in range(1, 91):
        last = rng.randrange(30)
        for turn in range(rng.randint(8, 24)):
            last = (last + 1) % 30 if rng.random() < 0.7 else rng.randrange(30)
            rows.append(
                f"{user}\t{last + 1}\t{rng.randint(1, 5)}\t{880000000 + 1000 * turn + user}\n"
            )
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as file:
        file.writestr(zipfile.ZipInfo("ml-100k/u.data"), "".join(rows))
    return content.getvalue()


@contextmanager
def serve(content):
    """(address, SHA-256) of a file that is sent in pieces with a pause between; a range is answered."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            start = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").rstrip("-"))
            whole = len(content)
            self.send_response(416 if start >= whole else 206 if start else 200)
            rest = content[start:]
            self.send_header(
                "Content-Range", f"bytes {f'{start}-{whole - 1}' if rest else '*'}/{whole}"
            )
            self.send_header("Content-Length", str(len(rest)))
            self.end_headers()
            size = whole // PIECES + 1
            with suppress(OSError):  # who asked was killed
                for at in range(0, len(rest), size):
                    self.wfile.write(rest[at : at + size])
                    self.wfile.flush()
                    time.sleep(PAUSE_S)

        def log_message(self, *_):
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http.daemon_threads = True
    threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    try:
        address = f"http://127.0.0.1:{http.server_port}/ml-100k.zip"
        yield address, hashlib.sha256(content).hexdigest()
    finally:
        http.shutdown()
        http.server_close()
