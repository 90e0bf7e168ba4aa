"""No failure of one task, callback or thread harms another."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
from flaky_server import problem
from stand_in import StandIn, task_row

from devart import Client, Heartbeat, Task, TaskFailed
from devart.testing import make_task

Eventually = Callable[[Callable[[], bool]], None]

_DIGITS = "7" * 6000


@pytest.fixture
def client(api: StandIn) -> Iterator[Client]:
    with Client(api.url, "dva_key", retry_seconds=0.2) as client:
        yield client


def _done(api: StandIn) -> set[str]:
    return {body["lease_token"] for body in api.asked("status")}


def test_an_integer_of_6000_digits_is_read_exactly_and_harms_nobody(
    api: StandIn, client: Client
) -> None:
    api.offer_text(json.dumps(task_row("huge")).replace("{}", f'{{"n":{_DIGITS}}}'))
    api.offer_text(json.dumps(task_row("innocent")))
    payloads: dict[str, Any] = {}

    def handle(task: Task) -> Any:
        payloads[task.id] = task.payload
        return task.payload

    client.run(handle, max_tasks=2, concurrency=2)

    assert payloads["huge"] == {"n": Decimal(_DIGITS)}
    assert _done(api) == {"huge", "innocent"}


@pytest.mark.parametrize(
    "damage", [{"lease_expires_at": "tomorrow"}, {"attempt": None}, {"title": None, "attempt": "x"}]
)
def test_a_task_that_cannot_be_read_is_set_aside(
    api: StandIn, client: Client, damage: dict[str, Any]
) -> None:
    api.offer(task_id="odd", **damage)
    api.offer(task_id="innocent")
    assert client.run(lambda _: None, max_tasks=1, concurrency=1) == 1
    assert _done(api) == {"innocent"}
    [failure] = api.asked("report-failure")
    assert (failure["lease_token"], failure["retryable"]) == ("odd", False)
    assert "cannot read the task" in failure["error"]


@pytest.mark.parametrize("row", ["{}", "3", "null", '"x"', "[]"])
def test_what_is_no_task_at_all_harms_nobody(api: StandIn, client: Client, row: str) -> None:
    api.offer_text(row)
    api.offer(task_id="innocent")
    assert [task.id for task in client.claim(max_tasks=2)] == ["innocent"]


async def _exit(_: Task) -> None:
    sys.exit(3)


async def _interrupt(_: Task) -> None:
    raise KeyboardInterrupt


async def _cancel(_: Task) -> None:
    raise asyncio.CancelledError


async def _exit_beside(_: Task) -> None:
    async def leave() -> None:
        sys.exit(4)

    asyncio.create_task(leave())  # noqa: RUF006 - nobody asks for it
    await asyncio.sleep(0.1)
    raise RuntimeError("went on")


async def _stop_loop(_: Task) -> None:
    asyncio.get_running_loop().stop()
    await asyncio.sleep(0.1)
    raise RuntimeError("went on")


async def _raise_bare(_: Task) -> None:
    raise BaseException("bare")


def _exit_plainly(_: Task) -> None:
    sys.exit(3)


def _recurse(task: Task) -> None:
    _recurse(task)


class _Bare(TaskFailed):
    def __init__(self) -> None:
        Exception.__init__(self, "bare")


def _fail_without_init(_: Task) -> None:
    raise _Bare


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize(
    "harm",
    [
        _exit,
        _interrupt,
        _cancel,
        _exit_beside,
        _stop_loop,
        _raise_bare,
        _exit_plainly,
        _recurse,
        _fail_without_init,
    ],
)
def test_a_handler_that_wants_to_end_it_all_fails_its_task_only(
    api: StandIn, client: Client, harm: Callable[[Task], Any]
) -> None:
    api.offer(task_id="harm")
    both = threading.Barrier(2, timeout=10)

    async def innocent(_: Task) -> str:
        await asyncio.to_thread(both.wait)
        await asyncio.sleep(0.3)
        return "well"

    def handle(task: Task) -> Any:
        if task.id == "harm":
            both.wait()
            return harm(task)
        return innocent(task)

    api.offer(task_id="innocent")
    assert client.run(handle, max_tasks=2, concurrency=2) == 2
    assert _done(api) == {"innocent"}
    [failure] = api.asked("report-failure")
    assert (failure["lease_token"], failure["retryable"]) == ("harm", True)


def test_callbacks_that_raise_end_no_heartbeats(
    api: StandIn, client: Client, eventually: Eventually
) -> None:
    def leave(*_: object) -> None:
        sys.exit(3)

    with Heartbeat(client, interval_seconds=0.05, on_answer=leave, on_stop=leave):
        eventually(lambda: len(api.asked("heartbeat")) > 3)


def test_a_callback_for_a_lost_lease_that_raises_harms_nobody(
    api: StandIn, client: Client, eventually: Eventually
) -> None:
    def leave() -> None:
        assert heartbeat.held()
        sys.exit(3)

    lost = [make_task(lease_token=token) for token in ("lost", "lost too")]
    again = make_task(id=lost[0].id)
    heartbeat = Heartbeat(client, interval_seconds=0.05)
    api.lost.update(task.lease_token for task in lost)
    with ExitStack() as held:
        for task in lost:
            task.lease_lost.on_loss(leave)
            held.enter_context(heartbeat.hold(task))
        held.enter_context(heartbeat.hold(again))
        assert lost[0].lease_lost.is_set()
        held.enter_context(heartbeat)
        eventually(lost[1].lease_lost.is_set)
        seen = len(api.asked("heartbeat"))
        eventually(lambda: len(api.asked("heartbeat")) > seen + 2)
    assert not again.lease_lost.is_set()


def test_looking_for_a_lost_lease_leaves_the_others_as_long_as_heartbeats_need(
    api: StandIn, client: Client, eventually: Eventually
) -> None:
    expires_at = datetime.now(timezone.utc) + timedelta(hours=1)
    api.lost.add("lost")
    lost = make_task(lease_token="lost", lease_expires_at=expires_at)
    innocent = make_task(lease_expires_at=expires_at)
    heartbeat = Heartbeat(client, interval_seconds=300)
    with heartbeat.hold(lost), heartbeat.hold(innocent), heartbeat:
        eventually(lambda: len(api.asked("extend-lease")) == 2)
    assert {body["seconds"] for body in api.asked("extend-lease")} == {900}


def test_a_detail_without_a_json_form_is_refused_where_it_is_given(client: Client) -> None:
    with pytest.raises(TypeError, match=r"detail\.model\.name"):
        Heartbeat(client, detail={"model": {"name": object()}})


def test_one_lost_lease_whose_extension_gets_no_answer_delays_no_heartbeat(
    api: StandIn, client: Client, eventually: Eventually
) -> None:
    lost = make_task(lease_token="lost")
    innocents = [make_task() for _ in range(3)]
    api.lost.add("lost")
    api.script("extend-lease", *[problem(503)] * 12)
    heartbeat = Heartbeat(client, interval_seconds=0.1)
    with ExitStack() as held:
        for task in (lost, *innocents):
            held.enter_context(heartbeat.hold(task))
        held.enter_context(heartbeat)
        eventually(lost.lease_lost.is_set)
    # No heartbeat asks for more than the four, so there were some while nothing was answered.
    assert len(api.asked("extend-lease")) > 12
    assert len(api.asked("heartbeat")) > 3
    assert not any(task.lease_lost.is_set() for task in innocents)


@pytest.mark.parametrize(
    "retry_after", [float("inf"), float("nan"), -5, "30", 1e12, True, 10**400, Decimal("NaN")]
)
def test_a_failure_with_an_odd_retry_after_stays_retryable_and_keeps_its_message(
    api: StandIn, client: Client, retry_after: Any
) -> None:
    api.offer()

    def handle(_: Task) -> None:
        raise TaskFailed("the network was away", retry_after=retry_after)

    client.run(handle, max_tasks=1)
    [failure] = api.asked("report-failure")
    assert failure["retryable"] is True
    assert failure["retry_after_seconds"] is None
    assert failure["error"].startswith("the network was away (retry_after must be")


@pytest.mark.parametrize(
    ("said", "stored"), [("a\0b", "a\\x00b"), ("a\ud800b", "a\\ud800b"), ("\udfff\U0001f600", None)]
)
def test_an_error_text_is_made_storable_visibly(
    api: StandIn, client: Client, said: str, stored: str | None
) -> None:
    api.offer()

    def handle(_: Task) -> None:
        raise TaskFailed(said)

    client.run(handle, max_tasks=1)
    [failure] = api.asked("report-failure")
    assert failure["error"] == (stored or "\\udfff\U0001f600")
    assert failure["retryable"] is True


def test_an_endless_error_text_is_cut(api: StandIn, client: Client) -> None:
    client.report_failure(make_task(), "x" * 1_000_000)
    assert len(api.asked("report-failure")[0]["error"]) == 10_000


class _Unspeakable(Exception):
    def __str__(self) -> str:
        raise ValueError("unspeakable")


def test_an_error_that_cannot_be_shown_is_reported_all_the_same(
    api: StandIn, client: Client
) -> None:
    api.offer()

    def handle(_: Task) -> None:
        raise _Unspeakable

    client.run(handle, max_tasks=1)
    assert "_Unspeakable" in api.asked("report-failure")[0]["error"]


@pytest.mark.parametrize(
    ("result", "reason"),
    [
        ({"rows": [1, object()]}, r"result.rows[1]"),
        ({"text": "a\0b"}, r"result.text has the character \x00"),
        (["\ud800"], r"result[0] has the character \ud800"),
        (float("nan"), "nan"),
        (b"bytes", "base64"),
    ],
)
def test_a_result_that_cannot_be_stored_is_refused_with_its_place(
    api: StandIn, client: Client, result: Any, reason: str
) -> None:
    api.offer()
    client.run(lambda _: result, max_tasks=1)
    [failure] = api.asked("report-failure")
    assert reason in failure["error"]
    assert failure["retryable"] is False
    assert api.asked("status") == []


def test_a_failure_report_that_is_refused_stays_retryable(api: StandIn, client: Client) -> None:
    api.offer()
    api.script("report-failure", problem(422, "invalid_argument"))

    def handle(_: Task) -> None:
        raise TaskFailed("away", retry_after=60)

    client.run(handle, max_tasks=1)
    first, second = api.asked("report-failure")
    assert first["retryable"] is second["retryable"] is True
    assert second["error"].startswith("away\n")
    assert second["retry_after_seconds"] is None


def test_a_payload_that_is_not_understood_fails_its_task_only(api: StandIn, client: Client) -> None:
    api.offer(task_id="odd", payload={"n": "x"})
    api.offer(task_id="well", payload={"n": 3})
    client.run(lambda task: task.payload, max_tasks=2, read_payload=lambda raw: int(raw["n"]))
    assert [body["result"] for body in api.asked("status")] == [3]
    [failure] = api.asked("report-failure")
    assert (failure["lease_token"], failure["retryable"]) == ("odd", False)


@pytest.mark.parametrize("retryable", ["no", None, 0])
def test_a_failure_with_an_odd_retryable_keeps_its_message(
    api: StandIn, client: Client, retryable: Any
) -> None:
    class OfSomebodys(TaskFailed):
        def __init__(self, message: str) -> None:
            Exception.__init__(self, message)
            self.retryable = retryable

    errors = [TaskFailed("away", retryable=retryable), OfSomebodys("away")]

    def handle(_: Task) -> None:
        raise errors.pop()

    api.offer()
    api.offer()
    client.run(handle, max_tasks=2)
    assert [body["retryable"] for body in api.asked("report-failure")] == [True, True]
    for body in api.asked("report-failure"):
        assert body["error"].startswith("away")
        assert "retryable must be True or False" in body["error"]
    with pytest.raises(TypeError, match="retryable must be True or False"):
        client.report_failure(make_task(), "no", retryable=retryable)


@pytest.mark.parametrize("error", [ZeroDivisionError("odd"), KeyError("odd"), RuntimeError("odd")])
def test_a_hook_that_raises_anything_fails_its_task_for_good(
    api: StandIn, error: Exception
) -> None:
    def hook(_: object) -> object:
        raise error

    api.offer()
    with Client(api.url, "dva_key", json_hook=hook) as client:
        client.run(lambda _: object(), max_tasks=1)
    [failure] = api.asked("report-failure")
    assert failure["retryable"] is False
    assert type(error).__name__ in failure["error"]


def test_a_task_may_be_held_twice(client: Client) -> None:
    task = make_task()
    heartbeat = Heartbeat(client)
    with heartbeat.hold(task):
        with heartbeat.hold(task):
            assert not task.lease_lost.is_set()
        assert heartbeat.held() == [task]
    assert heartbeat.held() == []
    assert not task.lease_lost.is_set()


def test_a_log_that_raises_harms_no_task(api: StandIn, client: Client) -> None:
    class Broken(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            raise RuntimeError(record.msg)

    broken, logger = Broken(), logging.getLogger("devart")
    level = logger.level
    logger.addHandler(broken)
    logger.setLevel(logging.DEBUG)
    try:
        tokens = {api.offer(), api.offer()}
        assert client.run(lambda _: 1, max_tasks=2) == 2
    finally:
        logger.removeHandler(broken)
        logger.setLevel(level)
    assert _done(api) == tokens
