"""What happens when answers are late, lost or wrong."""

from __future__ import annotations

import json
import logging
import socket
import time

import pytest
from flaky_server import BROKEN_OFF, Answer, flaky_server, problem
from stand_in import StandIn

from devart import Client, Forbidden, ServerError, Unauthorized, Unavailable
from devart.backoff import pause_seconds
from devart.testing import make_task

pytestmark = pytest.mark.usefixtures("short_pauses")

_TASK = {
    "task_id": "0199f000-0000-7000-8000-000000000001",
    "title": "T",
    "priority": "LOW",
    "attempt": 1,
    "lease_token": "0199f000-0000-7000-8000-000000000002",
    "lease_expires_at": "2099-01-01T00:00:00Z",
}
_CLAIMED = Answer(200, json.dumps({"items": [_TASK]}).encode())
_CHARGED = Answer(
    200, b'{"success":true,"charged_service_id":"s","spent_usd":0.3,"remaining_usd":0.7}'
)
_DONE = Answer(200, b'{"status":"DONE","run_at":null}')


def _client(url: str, retry_seconds: float = 10.0) -> Client:
    return Client(url, "dva_key", retry_seconds=retry_seconds)


@pytest.mark.parametrize("failure", [Answer(500), Answer(502, b"<html>"), Answer(503), BROKEN_OFF])
def test_a_failing_claim_is_tried_again(failure: Answer) -> None:
    with flaky_server(failure, failure, _CLAIMED) as (url, server), _client(url) as client:
        [task] = client.claim()
    assert task.id == _TASK["task_id"]
    assert len(server.bodies) == 3


def test_a_lost_answer_to_a_charge_is_asked_for_again_with_the_same_key() -> None:
    with flaky_server(BROKEN_OFF, _CHARGED) as (url, server), _client(url) as client:
        client.charge("s", "0.3")
    first, second = (json.loads(body) for body in server.bodies)
    assert first["idempotency_key"]
    assert first == second


def test_every_charge_has_its_own_key() -> None:
    with flaky_server(_CHARGED) as (url, server), _client(url) as client:
        client.charge("s", 1)
        client.charge("s", 1)
    assert len({json.loads(body)["idempotency_key"] for body in server.bodies}) == 2


def test_a_failure_is_reported_with_a_key_of_its_lease() -> None:
    with (
        flaky_server(BROKEN_OFF, Answer(200, b'{"status":"FAILED"}')) as (url, server),
        _client(url) as client,
    ):
        client.report_failure(make_task(lease_token="l"), "no")
    assert [headers["Idempotency-Key"] for headers in server.headers] == ["failure-l"] * 2


@pytest.mark.parametrize(("status", "kind"), [(401, Unauthorized), (403, Forbidden)])
def test_a_refusal_is_not_tried_again(status: int, kind: type[Exception]) -> None:
    with (
        flaky_server(problem(status)) as (url, server),
        _client(url) as client,
        pytest.raises(kind),
    ):
        client.claim()
    assert len(server.bodies) == 1


def test_the_api_is_given_the_time_it_asks_for() -> None:
    with (
        flaky_server(problem(429, **{"Retry-After": "1"}), _CLAIMED) as (url, _),
        _client(url) as client,
    ):
        started = time.monotonic()
        client.claim()
    assert time.monotonic() - started >= 1


@pytest.mark.parametrize("action", ["claim", "status", "heartbeat"])
def test_an_agent_gives_the_api_the_time_it_asks_for_beyond_its_patience(
    api: StandIn, action: str
) -> None:
    busy = problem(429, **{"Retry-After": "1"})
    # Of heartbeats, one is the thread's, and one asks why the claim was refused.
    api.script(action, *[busy] * (2 if action == "heartbeat" else 1))
    if action == "heartbeat":
        api.script("claim", problem(403, "forbidden"))
    api.offer()
    with _client(api.url, retry_seconds=0) as client:
        started = time.monotonic()
        assert client.run(lambda _: None, max_tasks=1) == 1
    assert time.monotonic() - started >= 1


def test_nobody_is_made_to_wait_for_more_than_a_minute() -> None:
    error = Unavailable("busy")
    error.retry_after_seconds = 1e9
    assert pause_seconds(error, 1.5) == 61.5


def test_an_absent_api_is_unavailable_after_the_retries() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    started = time.monotonic()
    with (
        _client(f"http://127.0.0.1:{port}", retry_seconds=0.5) as client,
        pytest.raises(Unavailable) as error,
    ):
        client.claim()
    assert error.value.status is None
    assert error.value.code == "no_answer"
    assert time.monotonic() - started < 5


def test_an_absent_api_fails_a_heartbeat_at_once() -> None:
    started = time.monotonic()
    with _client("http://127.0.0.1:9") as client, pytest.raises(Unavailable):
        client.heartbeat()
    assert time.monotonic() - started < 5


@pytest.mark.parametrize("body", [b"[]", b"{", b'{"items":[{}]}', b'{"items":3}'])
def test_an_answer_that_makes_no_sense_is_a_server_error(body: bytes) -> None:
    with (
        flaky_server(Answer(200, body)) as (url, _),
        _client(url) as client,
        pytest.raises(ServerError),
    ):
        client.claim()


def test_the_key_is_in_no_message(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG), flaky_server(problem(503), problem(401)) as (url, _):
        with _client(url) as client, pytest.raises(Unauthorized) as error:
            client.claim()
        assert "dva_key" not in caplog.text + repr(client) + repr(error.value)


@pytest.mark.parametrize(
    ("url", "key"), [("localhost:8080", "dva_k"), ("", "dva_k"), ("http://localhost", " ")]
)
def test_a_client_needs_a_url_and_a_key(url: str, key: str) -> None:
    with pytest.raises(ValueError, match="must"):
        Client(url, key)


def test_a_result_is_kept_until_the_api_is_back() -> None:
    away = [problem(503)] * 3
    with (
        flaky_server(_CLAIMED, *away, _DONE) as (url, server),
        _client(url, retry_seconds=0) as client,
    ):
        client.run(lambda _: "precious", max_tasks=1)
    assert b"precious" in server.bodies[-1]
