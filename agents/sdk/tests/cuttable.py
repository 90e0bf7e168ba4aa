"""A TCP proxy whose connections can be cut, as when a network or a server goes away."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from urllib.parse import urlsplit


class Cuttable:
    """Passes connections on to the server of `url` until `cut`, and again after `heal`."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        assert parts.hostname is not None
        self._server = (parts.hostname, parts.port or (5672 if parts.scheme == "amqp" else 80))
        self._lock = threading.Lock()
        self._open: list[socket.socket] = []
        self._listener: socket.socket | None = None
        self._port = 0
        self.heal()
        login, at, _ = parts.netloc.rpartition("@")
        self.url = parts._replace(netloc=f"{login}{at}127.0.0.1:{self._port}").geturl()

    def cut(self) -> None:
        """End all connections and refuse new ones."""
        with self._lock:
            ended, self._open = self._open, []
            if self._listener is not None:
                ended.append(self._listener)
                self._listener = None
        for one in ended:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def heal(self) -> None:
        """Take connections, on the same port as ever."""
        listener = socket.create_server(("127.0.0.1", self._port))
        self._port = listener.getsockname()[1]
        with self._lock:
            self._listener = listener
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()

    def _accept(self, listener: socket.socket) -> None:
        with suppress(OSError):  # the listener is closed by a cut
            while True:
                client, _ = listener.accept()
                with suppress(OSError):  # the server is away
                    self._join(client, socket.create_connection(self._server))

    def _join(self, client: socket.socket, server: socket.socket) -> None:
        with self._lock:
            self._open += [client, server]
        for source, target in ((client, server), (server, client)):
            threading.Thread(target=_copy, args=(source, target), daemon=True).start()


def _copy(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    for one in (source, target):
        with suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)


@contextmanager
def cuttable(url: str) -> Iterator[Cuttable]:
    """Make a proxy to `url`'s server, healed at first."""
    proxy = Cuttable(url)
    try:
        yield proxy
    finally:
        proxy.cut()
