"""Only devart passes verdicts: what stands before it and answers in its place is waited out."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from flaky_server import Answer, flaky_server, problem
from stand_in import StandIn, task_row

from devart import Client, InvalidArgument, ServerError, Task, Unavailable

pytestmark = pytest.mark.usefixtures("short_pauses")

_PAGE = b"<html>we will be back</html>"
_OF_OTHERS = [
    Answer(302, b"", {"Location": "http://127.0.0.1:9/login"}),
    Answer(401, _PAGE),
    Answer(403, _PAGE),
    Answer(404, _PAGE),
    Answer(409, _PAGE),
    Answer(520, _PAGE),
    Answer(200, _PAGE),
    Answer(200, b"", {"Content-Type": "text/plain"}),
    Answer(404, b'{"code":"x","message":"no route"}'),
    Answer(403, b'{"title":"no"}', {"Content-Type": "application/problem+json"}),
    Answer(403, b'["code"]', {"Content-Type": "application/problem+json"}),
]
# Devart's own, and no verdict on what was asked.
_PASSING = [problem(500, "internal"), problem(408, "timeout"), problem(425, "too_early")]
# What is no page, but JSON of somebody's.
_ODD = [
    Answer(200, b'{"status":"maintenance"}'),
    Answer(200, b'{"status":"DONE"'),
    Answer(200, b"null"),
    Answer(200, b"[]"),
    Answer(200, b"{}"),
    Answer(200, b'""'),
    Answer(204, b""),
]
_HOLD = {
    "hold_id": "h",
    "service_id": "s",
    "held_usd": 1,
    "expires_at": "2099-01-01T00:00:00Z",
}
_CLAIMED = Answer(200, json.dumps({"items": [task_row("t")]}).encode())


@pytest.mark.parametrize("page", _OF_OTHERS)
def test_what_a_proxy_answers_is_waited_out(page: Answer) -> None:
    with flaky_server(page, _CLAIMED) as (url, _), Client(url, "dva_key") as client:
        assert [task.id for task in client.claim()] == ["t"]


@pytest.mark.parametrize("page", _OF_OTHERS)
def test_what_a_proxy_answers_for_long_is_unavailability(page: Answer) -> None:
    with flaky_server(page) as (url, _), Client(url, "dva_key", retry_seconds=0) as client:
        with pytest.raises(Unavailable) as error:
            client.claim()
        assert (error.value.status, error.value.code) == (page.status, "not_devart")


@pytest.mark.parametrize("failure", [*_OF_OTHERS, *_PASSING, problem(507)])
def test_a_finished_result_outlasts_whatever_is_answered(api: StandIn, failure: Answer) -> None:
    token = api.offer()
    api.script("status", failure, failure, failure)
    with Client(api.url, "dva_key", retry_seconds=0) as client:
        assert client.run(lambda _: "precious", max_tasks=1) == 1
    assert [body["result"] for body in api.asked("status")] == ["precious"] * 4
    assert api.asked("report-failure") == []
    assert api.asked("status")[0]["lease_token"] == token


@pytest.mark.parametrize("failure", [*_OF_OTHERS, *_PASSING])
def test_an_agent_goes_on_after_whatever_is_answered_to_a_claim(
    api: StandIn, failure: Answer
) -> None:
    api.script("claim", failure)
    api.offer()
    with Client(api.url, "dva_key", retry_seconds=0) as client:
        assert client.run(lambda _: None, max_tasks=1) == 1


@pytest.mark.parametrize("failure", _OF_OTHERS)
def test_no_lease_is_lost_to_what_a_proxy_answers(
    api: StandIn, eventually: Callable[[Callable[[], bool]], None], failure: Answer
) -> None:
    token = api.offer()
    api.script("heartbeat", failure, failure)

    def handle(task: Task) -> bool:
        eventually(lambda: len(api.asked("heartbeat")) > 2)
        return task.lease_lost.is_set()

    with Client(api.url, "dva_key", retry_seconds=0) as client:
        client.run(handle, max_tasks=1, heartbeat_seconds=0.05)
    assert api.asked("status")[0] == {"status": "DONE", "lease_token": token, "result": False}


@pytest.mark.parametrize("odd", _ODD)
def test_a_finished_result_outlasts_json_of_others(api: StandIn, odd: Answer) -> None:
    api.offer()
    api.script("status", odd, odd)
    with Client(api.url, "dva_key") as client:
        assert client.run(lambda _: "precious", max_tasks=1) == 1
    assert [body["result"] for body in api.asked("status")] == ["precious"] * 3
    assert api.asked("report-failure") == []


@pytest.mark.parametrize("odd", _ODD)
def test_money_and_children_outlast_json_of_others(api: StandIn, odd: Answer) -> None:
    settled = {"charged_usd": 1, "overage_usd": 0, "late": False, "suspended": False}
    api.script("dispatch", odd, Answer(200, json.dumps(_HOLD).encode()))
    api.script("settle", odd, Answer(200, json.dumps(settled).encode()))
    api.script("charges", odd, Answer(200, b'{"charged_service_id":"s"}'))
    api.script("tasks", odd)
    with Client(api.url, "dva_key") as client:
        assert client.reserve("s", 1).hold_id == "h"
        assert client.settle("h", 1).charged_usd == 1
        assert client.charge("s", 1).charged_service_id == "s"
        assert client.create_task("T").title == "T"
    assert len(api.asked("charges")) == 2


def test_a_request_that_is_too_large_is_so_whoever_says_it() -> None:
    with (
        flaky_server(Answer(413, _PAGE)) as (url, server),
        Client(url, "dva_key") as client,
        pytest.raises(InvalidArgument),
    ):
        client.claim()
    assert len(server.bodies) == 1


def test_a_result_that_devart_refuses_fails_its_task_for_good(api: StandIn) -> None:
    api.offer()
    api.script("status", problem(422, "invalid_argument"))
    with Client(api.url, "dva_key") as client:
        client.run(lambda _: "too large", max_tasks=1)
    [failure] = api.asked("report-failure")
    assert failure["retryable"] is False
    assert "as the test wants it" in failure["error"]


def test_a_lease_that_devart_says_is_lost_is_lost(api: StandIn) -> None:
    api.lost.add(api.offer())
    with Client(api.url, "dva_key") as client:
        client.run(lambda _: "late", max_tasks=1)
    assert len(api.asked("status")) == 1
    assert api.asked("report-failure") == []


@pytest.mark.parametrize("retry_after", ["inf", "nan", "-5", "1e3", "Sat, 28 Nov 2026", "", "x"])
def test_a_pause_that_is_no_number_of_seconds_is_left_to_the_backoff(retry_after: str) -> None:
    odd = problem(503, **{"Retry-After": retry_after})
    with flaky_server(odd, _CLAIMED) as (url, _), Client(url, "dva_key") as client:
        assert len(client.claim()) == 1


@pytest.mark.parametrize("retry_after", ["9" * 12, "9" * 400])
def test_a_pause_beyond_all_patience_is_cut_to_it(retry_after: str) -> None:
    odd = problem(503, **{"Retry-After": retry_after})
    with (
        flaky_server(odd) as (url, server),
        Client(url, "dva_key", retry_seconds=0.3) as client,
        pytest.raises(Unavailable),
    ):
        client.claim()
    assert len(server.bodies) == 2


def test_one_long_pause_of_a_proxy_is_not_the_end(api: StandIn) -> None:
    api.script("charges", Answer(503, _PAGE, {"Retry-After": "60"}))
    api.script("charges", Answer(200, b'{"charged_service_id":"s"}'))
    with Client(api.url, "dva_key", retry_seconds=0.3) as client:
        assert client.charge("s", 1).charged_service_id == "s"


def test_nonsense_of_devarts_own_is_a_server_error() -> None:
    with (
        flaky_server(Answer(200, b"{")) as (url, _),
        Client(url, "dva_key", retry_seconds=0) as client,
        pytest.raises(ServerError),
    ):
        client.claim()
