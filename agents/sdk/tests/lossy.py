"""A proxy before the real API that loses requests, or the answers to them."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx

_NOT_PASSED_ON = {"host", "connection", "content-length", "transfer-encoding"}


class Lossy:
    """Breaks the connection off in place of the first `times` answers to certain requests.

    Those are the ones whose path ends in `path_end`. The API has done what it was asked by then, or
    was never asked when requests get lost.
    """

    def __init__(self, api_url: str, path_end: str, times: int, *, requests: bool) -> None:
        self._api = httpx.Client(base_url=api_url, timeout=60)
        self._path_end = path_end
        self._left = times
        self._requests = requests
        self._lock = threading.Lock()
        self.lost: list[bytes] = []
        """The answers that nobody got."""

    def serve(self, request: BaseHTTPRequestHandler) -> None:
        body = request.rfile.read(int(request.headers.get("Content-Length", 0)))
        loses = self._loses(request.path)
        if loses and self._requests:
            request.connection.shutdown(socket.SHUT_RDWR)
            return
        headers = {
            name: value
            for name, value in request.headers.items()
            if name.lower() not in _NOT_PASSED_ON
        }
        answer = self._api.request(request.command, request.path, content=body, headers=headers)
        if loses:
            self.lost.append(answer.content)
            request.connection.shutdown(socket.SHUT_RDWR)
            return
        request.send_response(answer.status_code)
        for name, value in answer.headers.items():
            if name.lower() not in _NOT_PASSED_ON:
                request.send_header(name, value)
        request.send_header("Content-Length", str(len(answer.content)))
        request.end_headers()
        request.wfile.write(answer.content)

    def close(self) -> None:
        self._api.close()

    def _loses(self, path: str) -> bool:
        with self._lock:
            if self._left == 0 or not path.endswith(self._path_end):
                return False
            self._left -= 1
            return True


@contextmanager
def losing_answers(
    api_url: str, path_end: str, times: int = 1, *, requests: bool = False
) -> Iterator[tuple[str, Lossy]]:
    """Serve on a free port; yield the URL and the proxy."""
    lossy = Lossy(api_url, path_end, times, requests=requests)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        # Else the body waits until the client has acknowledged the headers, after 40 ms.
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            lossy.serve(self)

        def do_POST(self) -> None:
            lossy.serve(self)

        def do_PUT(self) -> None:
            lossy.serve(self)

        def log_message(self, *_: object) -> None:
            """Keep quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", lossy
    finally:
        server.shutdown()
        server.server_close()
        lossy.close()
