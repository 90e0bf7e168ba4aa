"""Handlers that are asked to stop, by people."""

from __future__ import annotations

import copy
import pickle
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from ledger import Ledger, problem_of
from stand_in import StandIn

from devart import Client, Heartbeat, Stop, Task, TaskStopped
from devart.testing import make_task

Eventually = Callable[[Callable[[], bool]], None]


@pytest.fixture
def client(ledger: Ledger) -> Iterator[Client]:
    with Client(ledger.url, "dva_key", retry_seconds=0.2) as client:
        yield client


def _stop(scope: str, reason: str | None, task_id: str | None) -> dict[str, Any]:
    return {"scope": scope, "reason": reason, "task_id": task_id}


def _claimed(api: StandIn, client: Client) -> Task:
    api.offer()
    [task] = client.claim()
    return task


def test_a_task_hears_of_a_stop_and_of_its_end(
    ledger: Ledger, client: Client, eventually: Eventually
) -> None:
    task, other = _claimed(ledger, client), _claimed(ledger, client)
    with (
        Heartbeat(client, interval_seconds=0.02) as heartbeat,
        heartbeat.hold(task),
        heartbeat.hold(other),
    ):
        assert not task.should_stop
        ledger.stops = [_stop("run", "it goes wrong", task.id)]
        eventually(lambda: task.should_stop)
        assert task.stop_reason == "it goes wrong"
        assert not other.should_stop
        ledger.stops = [_stop("all", None, None)]
        eventually(lambda: other.should_stop)
        eventually(lambda: task.stop_reason == "stopped (all)")
        ledger.stops = []
        eventually(lambda: not task.should_stop and not other.should_stop)
        assert task.stop_reason is None


def test_an_answer_lists_the_stops(ledger: Ledger, client: Client) -> None:
    ledger.stops = [_stop("agent", "why", None), _stop("task", None, "t")]
    assert client.heartbeat().stops == (Stop("agent", "why"), Stop("task", None, "t"))


def test_a_task_that_is_lost_should_stop() -> None:
    task = make_task()
    assert not task.should_stop
    task.lease_lost.set()
    assert task.should_stop
    assert task.stop_reason == "the task is no longer this agent's"


def test_copies_hear_of_it() -> None:
    task = make_task()
    copied = copy.copy(task)
    task.stop_notice.reason = "why"
    assert copied.stop_reason == "why"
    assert copy.deepcopy(task).should_stop
    assert pickle.loads(pickle.dumps(task)).stop_reason == "why"


@pytest.mark.parametrize("kind", ["plain", "async"])
def test_a_handler_that_stops_gives_its_task_back_and_has_spent(
    ledger: Ledger, client: Client, kind: str
) -> None:
    """What was dispatched settles, and the next attempt is no retry."""
    token = ledger.offer()

    def work(task: Task) -> None:
        with client.spend("s", estimate="0.4") as spend:
            ledger.stops = [_stop("all", "somebody pulled the plug", None)]
            while not task.should_stop:
                threading.Event().wait(0.01)
            spend.settle("0.1")
        raise TaskStopped

    async def work_async(task: Task) -> None:
        work(task)

    client.run(work if kind == "plain" else work_async, 1, heartbeat_seconds=0.02)
    assert [body["lease_token"] for body in ledger.asked("release")] == [token]
    assert not ledger.asked("report-failure")
    assert not ledger.asked("status")
    assert [str(body["amount_usd"]) for body in ledger.asked("settle")] == ["0.1"]


@pytest.mark.parametrize("code", ["stopped", "paused", "service_deferred"])
def test_a_task_whose_money_is_stopped_goes_back(ledger: Ledger, client: Client, code: str) -> None:
    ledger.offer(service_id="s")
    ledger.script("dispatch", problem_of(402, code, reason="because"))

    def handle(_: Task) -> None:
        with client.spend("s", estimate="0.4"):
            pytest.fail("the block ran without money")

    client.run(handle, 1)
    assert len(ledger.asked("release")) == 1
    assert not ledger.asked("report-failure")


def test_a_task_that_another_deferred_service_refuses_comes_later(
    ledger: Ledger, client: Client
) -> None:
    ledger.offer()
    until = "2099-01-01T00:00:00Z"
    ledger.script("dispatch", problem_of(402, "service_deferred", deferred_until=until))

    def handle(_: Task) -> None:
        with client.spend("s", estimate="0.4"):
            pytest.fail("the block ran without money")

    client.run(handle, 1)
    [failure] = ledger.asked("report-failure")
    assert failure["retryable"]
    assert failure["retry_after_seconds"] == 31_536_000


def test_a_task_that_waits_for_budget_is_left_alone(ledger: Ledger, client: Client) -> None:
    ledger.offer()
    waits = {"task_status": "AWAITING_APPROVAL", "reason": "stopped at the limit"}
    ledger.script("dispatch", problem_of(402, "budget_exceeded", **waits))

    def handle(_: Task) -> None:
        with client.spend("s", estimate="0.4"):
            pytest.fail("the block ran without money")

    client.run(handle, 1)
    assert not ledger.asked("release")
    assert not ledger.asked("report-failure")
