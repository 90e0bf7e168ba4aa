"""An answer that comes in drips is none: nobody waits for it for longer than for any other."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator

import pytest

from devart import Client, Unavailable
from devart.client import _HEARTBEAT_PATIENCE
from devart.transport import Patience

_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 500\r\n\r\n"


def _drip(listener: socket.socket, at_once: bytes) -> None:
    connection, _ = listener.accept()
    with connection:
        connection.recv(65_536)
        try:
            connection.sendall(at_once)
            for byte in (_HEAD + b" " * 500)[len(at_once) :]:
                connection.sendall(bytes([byte]))
                time.sleep(0.05)
        except OSError:
            return


@pytest.fixture(params=[_HEAD, b""], ids=["body", "head"])
def dripping_url(request: pytest.FixtureRequest) -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=_drip, args=(listener, request.param), daemon=True).start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


def test_an_answer_that_drips_holds_no_thread(
    dripping_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert _HEARTBEAT_PATIENCE.retry_seconds == 0
    monkeypatch.setattr("devart.client._HEARTBEAT_PATIENCE", Patience(0.5, 0.0))
    began = time.monotonic()
    with Client(dripping_url, "dva_key") as client, pytest.raises(Unavailable) as error:
        client.heartbeat()
    assert error.value.code == "no_answer"
    assert time.monotonic() - began < 5
