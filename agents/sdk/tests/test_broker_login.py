"""As whom an agent logs in to the broker: as itself, unless the URL says otherwise."""

from __future__ import annotations

import contextlib
import json
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest
from flaky_server import Answer, problem
from pamqp import commands, frame
from stand_in import StandIn

from devart import AgentSDK
from devart.push import Push
from devart.rabbitmq import RabbitMq

Eventually = Callable[[Callable[[], bool]], None]

_ID = "0198c3f0-0000-7000-8000-00000000000a"
_KEY = "dva_k_s3cret"


class Doorkeeper:
    """A broker that asks who is there, notes the answer, and hangs up."""

    def __init__(self) -> None:
        self.logins: list[str] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        # Wakes the thread that waits for clients, which closing alone does not.
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                with client, contextlib.suppress(OSError):
                    self._ask(client)

    def _ask(self, client: socket.socket) -> None:
        client.settimeout(5)
        client.recv(8)
        start = commands.Connection.Start(
            server_properties={"product": "RabbitMQ"}, mechanisms="PLAIN", locales="en_US"
        )
        client.sendall(frame.marshal(start, 0))
        received = b""
        while not received.endswith(b"\xce"):
            received += client.recv(4096)
        _, _, answer = frame.unmarshal(received)
        assert isinstance(answer, commands.Connection.StartOk)
        self.logins.append(answer.response)


@pytest.fixture
def door() -> Iterator[Doorkeeper]:
    door = Doorkeeper()
    yield door
    door.close()


@contextlib.contextmanager
def agent(api: StandIn, url: str) -> Iterator[Push]:
    with AgentSDK(api.url, _KEY, url) as sdk:
        push = sdk._source(1, 0)
        assert isinstance(push, Push)
        push.open()
        try:
            yield push
        finally:
            push.close()


def _me() -> Answer:
    return Answer(200, json.dumps({"id": _ID, "role": "agent", "email": None}).encode())


def test_without_a_user_the_agent_logs_in_with_its_id_and_key(
    api: StandIn, door: Doorkeeper, eventually: Eventually
) -> None:
    # Asked once, however often it connects.
    api.script("me", _me())
    with agent(api, f"amqp://{door.address}/devart"):
        eventually(lambda: len(door.logins) > 1)
    assert set(door.logins) == {f"\0{_ID}\0{_KEY}"}
    assert len(api.asked("me")) == 1


def test_with_a_user_the_url_counts_and_nobody_is_asked(
    api: StandIn, door: Doorkeeper, eventually: Eventually
) -> None:
    with agent(api, f"amqp://user:pass%2Fword@{door.address}/"):
        eventually(lambda: bool(door.logins))
    assert door.logins[0] == "\0user\0pass/word"
    assert api.asked("me") == []


def test_an_api_that_is_away_counts_as_a_broker_that_is_away(
    api: StandIn, door: Doorkeeper, eventually: Eventually, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "devart")
    api.script("me", problem(503, "unavailable"), Answer(200, b'{"id": 7}'), _me())
    with agent(api, f"amqp://{door.address}"):
        eventually(lambda: bool(door.logins))
    assert door.logins[0] == f"\0{_ID}\0{_KEY}"
    assert "RabbitMQ cannot be reached" in caplog.text
    assert "s3cret" not in caplog.text


def test_an_api_that_asks_for_time_before_a_login_is_given_it(
    api: StandIn, door: Doorkeeper, eventually: Eventually
) -> None:
    api.script("me", problem(429, **{"Retry-After": "1"}), _me())
    started = time.monotonic()
    with agent(api, f"amqp://{door.address}"):
        eventually(lambda: bool(door.logins))
    assert time.monotonic() - started >= 1


def test_what_a_library_says_is_without_the_agents_key(
    api: StandIn, door: Doorkeeper, eventually: Eventually
) -> None:
    rabbitmq = RabbitMq(f"amqp://{door.address}", 1, lambda: (_ID, _KEY))
    rabbitmq.open()
    try:
        eventually(lambda: bool(door.logins))
    finally:
        rabbitmq.close()
    assert _KEY not in rabbitmq._without_secrets(f"no way with {_KEY} to amqp://x:{_KEY}@y")
