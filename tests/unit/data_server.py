"""A server on 127.0.0.1 that serves one file the way a script of behaviours says."""

import threading
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Server:
    """Serves `content`; request number n is treated as `script[n]` says, later ones normally.

    Behaviours: "ok", an int (HTTP status), "truncate" (half of what is due, then hangs up),
    "stall" (half, then silence), "no-range" (ignores Range), "other-range" (answers from 10), "no-length" (does not say how much),
    "endless" (zeros without end), "drip" (a byte now and then), "slow-head" (a head without end), "bytes" (a line that is no
    HTTP), "redirect" (to itself), a bad "Content-Length: ..." to send.
    """

    def __init__(self, content: bytes, script=()):
        self.content, self.script = content, list(script)
        self.requests = []  # (path, Range header or None)
        self.sent_bytes = 0
        self.release = threading.Event()


@contextmanager
def serve(content: bytes, *script):
    """(server state, base URL) while a server runs."""
    state = Server(content, script)
    http = ThreadingHTTPServer(("127.0.0.1", 0), _handler(state))
    http.daemon_threads = True
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield state, f"http://127.0.0.1:{http.server_port}"
    finally:
        state.release.set()
        http.shutdown()
        thread.join()
        http.server_close()


def _endless(handler, state):
    handler.send_response(200)
    handler.end_headers()
    with suppress(OSError):
        while not state.release.is_set():
            handler.wfile.write(bytes(1000))


def _drip(handler, state):
    handler.send_response(200)
    handler.end_headers()
    with suppress(OSError):
        while not state.release.wait(0.02):
            handler.wfile.write(b"x")
            handler.wfile.flush()


def _slow_head(handler, state):
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nX: ")
    with suppress(OSError):
        while not state.release.wait(0.02):
            handler.wfile.write(b"x")
            handler.wfile.flush()


def _bytes(handler, state):
    handler.wfile.write(b"\xff\x00 nothing of the kind\r\n\r\n")
    handler.close_connection = True


def _redirect(handler, state):
    handler.send_response(302)
    handler.send_header("Location", handler.path)
    handler.end_headers()


ODD = {
    "endless": _endless,
    "drip": _drip,
    "slow-head": _slow_head,
    "bytes": _bytes,
    "redirect": _redirect,
}


def _handler(state: Server):
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            behaviour = state.script[len(state.requests) :][:1] or ["ok"]
            state.requests.append((self.path, self.headers.get("Range")))
            self.answer(behaviour[0])

        def answer(self, behaviour):
            if isinstance(behaviour, int):
                self.send_error(behaviour)
                return
            if behaviour in ODD:
                ODD[behaviour](self, state)
                return
            ranged = self.headers.get("Range") if behaviour != "no-range" else None
            start = int(ranged.removeprefix("bytes=").rstrip("-")) if ranged else 0
            if behaviour == "other-range":
                start = 10
            if start >= len(state.content):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(state.content)}")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            body = state.content[start:]
            self.send_response(206 if ranged else 200)
            if ranged:
                size = len(state.content)
                self.send_header("Content-Range", f"bytes {start}-{size - 1}/{size}")
            if behaviour.startswith("Content-Length: "):
                self.send_header(*behaviour.split(": "))
            elif behaviour != "no-length":
                self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.send_body(body, behaviour)

        def send_body(self, body, behaviour):
            part = body[: len(body) // 2] if behaviour in ("truncate", "stall") else body
            self.wfile.write(part)
            self.wfile.flush()
            state.sent_bytes += len(part)
            if behaviour == "stall":
                state.release.wait(120)

        def log_message(self, *args):
            pass

    return Handler
