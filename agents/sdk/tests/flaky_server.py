"""A real HTTP server that answers as it is told, for failures that a sound API never shows."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass(frozen=True)
class Answer:
    """What to answer one request with; status None breaks the connection off instead."""

    status: int | None
    body: bytes = b"{}"
    headers: dict[str, str] = field(default_factory=dict)

    def all_headers(self) -> dict[str, str]:
        """Those given, behind what devart would say of such a body."""
        kind = "text/html" if self.body.startswith(b"<") else "application/json"
        return {"Content-Type": kind, **self.headers, "Content-Length": str(len(self.body))}


def problem(status: int, code: str = "some_code", **headers: str) -> Answer:
    """A refusal as devart answers it."""
    body = json.dumps({"status": status, "code": code, "detail": "as the test wants it"}).encode()
    return Answer(status, body, {"Content-Type": "application/problem+json", **headers})


BROKEN_OFF = Answer(None)

_HEARTBEAT = Answer(
    200, b'{"status":"BUSY","leases_extended":1,"active_task_count":1,"stop":false}'
)


class FlakyServer:
    """Gives the answers in their order, the last one over and over, and keeps what was asked.

    Heartbeats, which come at any moment from their own thread, are answered well and not counted.
    """

    def __init__(self, answers: list[Answer]) -> None:
        self._answers = answers
        self.bodies: list[bytes] = []
        self.headers: list[dict[str, str]] = []

    def serve(self, request: BaseHTTPRequestHandler) -> None:
        answer = self._answer(request)
        if answer.status is None:
            request.connection.shutdown(socket.SHUT_RDWR)
            return
        request.send_response(answer.status)
        for name, value in answer.all_headers().items():
            request.send_header(name, value)
        request.end_headers()
        request.wfile.write(answer.body)

    def _answer(self, request: BaseHTTPRequestHandler) -> Answer:
        body = request.rfile.read(int(request.headers.get("Content-Length", 0)))
        if request.path == "/api/agents/heartbeat":
            return _HEARTBEAT
        self.bodies.append(body)
        self.headers.append(dict(request.headers.items()))
        return self._answers[min(len(self.bodies), len(self._answers)) - 1]


@contextmanager
def flaky_server(*answers: Answer) -> Iterator[tuple[str, FlakyServer]]:
    """Serve on a free port; yield the URL and the server."""
    flaky = FlakyServer(list(answers))

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        # Else the body waits until the client has acknowledged the headers, after 40 ms.
        disable_nagle_algorithm = True

        def do_POST(self) -> None:
            flaky.serve(self)

        def do_PUT(self) -> None:
            flaky.serve(self)

        def log_message(self, *_: object) -> None:
            """Keep quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", flaky
    finally:
        server.shutdown()
        server.server_close()
