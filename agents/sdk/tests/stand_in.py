"""A real HTTP server in place of the API, for what a sound API does not do when it is asked to."""

from __future__ import annotations

import json
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, TypeVar

from flaky_server import Answer, problem

from devart import exact_json


@dataclass(frozen=True)
class Request:
    """What was asked."""

    action: str
    path: str
    headers: dict[str, str]
    body: Any


class StandIn:
    """Hands out the tasks of `offer`, and answers all else as devart does when all is well.

    `script(action, *answers)` puts answers before that, one for each request; the action is the
    last part of the path. Leases in `lost` are lost,
    and heartbeats tell of `stops`.
    """

    def __init__(self) -> None:
        self.url = ""
        self.requests: list[Request] = []
        self.lost: set[str] = set()
        self.stops: list[dict[str, Any]] = []
        self.hold_claims = threading.Event()
        self.hold_claims.set()
        self._offered: list[bytes] = []
        self._scripted: dict[str, list[Answer]] = {}
        self._lock = threading.Lock()

    def offer(self, **fields: Any) -> str:
        """Offer a task; return its lease token, which is its id as well."""
        token = str(fields.get("task_id") or uuid.uuid4())
        self.offer_text(json.dumps({**task_row(token), **fields}))
        return token

    def offer_text(self, row: str) -> None:
        """Offer a row as it is written."""
        with self._lock:
            self._offered.append(row.encode())

    def script(self, action: str, *answers: Answer) -> None:
        with self._lock:
            self._scripted.setdefault(action, []).extend(answers)

    def unscript(self, action: str) -> None:
        """Forget the answers that were put before."""
        with self._lock:
            self._scripted.pop(action, None)

    def asked(self, action: str) -> list[Any]:
        """Return the bodies of the requests for an action, in their order."""
        return [request.body for request in self.requests if request.action == action]

    def answer(self, request: Request) -> Answer:
        with self._lock:
            self.requests.append(request)
            scripted = self._scripted.get(request.action)
            if scripted:
                return scripted.pop(0)
        return self._well(request)

    def _well(self, request: Request) -> Answer:
        if request.action == "claim":
            return self._claim(request.body["max_tasks"])
        if request.action == "heartbeat":
            tokens = request.body["detail"].get("lease_tokens", [])
            return _json(
                status="BUSY",
                leases_extended=len([token for token in tokens if token not in self.lost]),
                active_task_count=len(tokens),
                stop=False,
                stops=self.stops,
            )
        if isinstance(request.body, dict) and request.body.get("lease_token") in self.lost:
            return problem(409, "lease_lost")
        return _json(**_STANDINGS.get(request.action, _new_task()))

    def _claim(self, most: int) -> Answer:
        give_up_at = time.monotonic() + 0.1
        while time.monotonic() < give_up_at and not self._offered:
            time.sleep(0.01)
        with self._lock:
            rows, self._offered = self._offered[:most], self._offered[most:]
        self.hold_claims.wait(10)
        return Answer(200, b'{"items":[' + b",".join(rows) + b"]}") if rows else Answer(204, b"")


_STANDINGS: dict[str, dict[str, Any]] = {
    "extend-lease": {"status": "IN_PROGRESS", "lease_expires_at": "2099-01-01T00:00:00Z"},
    "release": {"status": "TODO", "run_at": None},
    "report-failure": {"status": "SCHEDULED"},
    "status": {"status": "DONE"},
}


def _new_task() -> dict[str, Any]:
    row = {"id": str(uuid.uuid4()), "title": "T", "status": "TODO", "priority": "LOW"}
    return {**row, "attempt": 0}


def task_row(token: str) -> dict[str, Any]:
    return {
        "task_id": token,
        "title": "T",
        "priority": "LOW",
        "attempt": 1,
        "lease_token": token,
        "lease_expires_at": "2099-01-01T00:00:00Z",
        "payload": {},
    }


def _json(**members: Any) -> Answer:
    return Answer(200, json.dumps(members).encode())


StandInT = TypeVar("StandInT", bound=StandIn)


@contextmanager
def stand_in(api: StandInT) -> Iterator[StandInT]:
    """Serve on a free port."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        # Else the body waits until the client has acknowledged the headers, after 40 ms.
        disable_nagle_algorithm = True

        def _serve(self) -> None:
            content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            body = exact_json.decode(content) if content else None
            action = self.path.split("?")[0].rsplit("/", 1)[-1]
            answer = api.answer(Request(action, self.path, dict(self.headers.items()), body))
            self.send_response(answer.status or 500)
            for name, value in answer.all_headers().items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(answer.body)

        do_GET = do_POST = do_PUT = _serve

        def log_message(self, *_: object) -> None:
            """Keep quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    api.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield api
    finally:
        api.hold_claims.set()
        server.shutdown()
        server.server_close()
