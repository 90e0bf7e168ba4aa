"""The run loop against the real API."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from typing import Any

import pytest
from admin import Admin, Agent

from devart import Client, Task, TaskFailed

Eventually = Callable[[Callable[[], bool]], None]


def test_a_plain_handlers_result_is_stored(admin: Admin, agent: Agent, client: Client) -> None:
    ids = [admin.create_task(agent, payload={"n": n}) for n in range(3)]

    assert client.run(lambda task: {"double": 2 * task.payload["n"]}, max_tasks=3) == 3

    assert [admin.task(task_id)["result"] for task_id in ids] == [
        {"double": 0},
        {"double": 2},
        {"double": 4},
    ]


def test_async_handlers_share_one_loop_and_run_together(
    admin: Admin, agent: Agent, client: Client
) -> None:
    ids = [admin.create_task(agent) for _ in range(2)]
    arrived: list[Task] = []
    loops = set()
    both = asyncio.Event()

    async def handle(task: Task) -> int:
        loops.add(asyncio.get_running_loop())
        arrived.append(task)
        if len(arrived) == 2:
            both.set()
        await asyncio.wait_for(both.wait(), 10)
        return len(arrived)

    client.run(handle, max_tasks=2, concurrency=2)

    assert [admin.task(task_id)["result"] for task_id in ids] == [2, 2]
    assert len(loops) == 1


def test_plain_handlers_run_together(admin: Admin, agent: Agent, client: Client) -> None:
    for _ in range(4):
        admin.create_task(agent)
    both = threading.Barrier(2, timeout=10)
    assert client.run(lambda _: both.wait(), max_tasks=4, concurrency=2) == 4


def test_a_handler_that_raises_fails_its_task_and_the_next_one_is_done(
    admin: Admin, agent: Agent, client: Client
) -> None:
    bad, good = (admin.create_task(agent, payload={"divisor": n}) for n in (0, 1))

    client.run(lambda task: 1 // task.payload["divisor"], max_tasks=2)

    failed = admin.task(bad)
    assert failed["status"] == "SCHEDULED"
    assert failed["last_error"].startswith("ZeroDivisionError")
    assert "Traceback" in failed["last_error"]
    assert len(failed["last_error"]) <= 4000
    assert admin.task(good)["status"] == "DONE"


def test_task_failed_says_whether_to_try_again(admin: Admin, agent: Agent, client: Client) -> None:
    task_id = admin.create_task(agent)

    def handle(_: Task) -> None:
        raise TaskFailed("no such repository", retryable=False)

    client.run(handle, max_tasks=1)

    row = admin.task(task_id)
    assert (row["status"], row["last_error"]) == ("FAILED", "no such repository")


@pytest.mark.parametrize("result", [object(), float("nan"), "nul \0 character"])
def test_a_result_that_cannot_be_stored_fails_the_task(
    admin: Admin, agent: Agent, client: Client, result: Any
) -> None:
    task_id = admin.create_task(agent)

    client.run(lambda _: result, max_tasks=1)

    row = admin.task(task_id)
    assert row["status"] == "FAILED"
    assert "not accepted" in row["last_error"]


def test_the_result_of_a_lost_task_is_dropped(
    admin: Admin,
    agent: Agent,
    client: Client,
    eventually: Eventually,
    caplog: pytest.LogCaptureFixture,
) -> None:
    task_id = admin.create_task(agent)

    def handle(task: Task) -> str:
        admin.cancel(task.id)
        eventually(task.lease_lost.is_set)
        return "too late"

    with caplog.at_level(logging.WARNING, logger="devart"):
        client.run(handle, max_tasks=1, heartbeat_seconds=0.5)

    row = admin.task(task_id)
    assert (row["status"], row["result"]) == ("CANCELLED", None)
    assert f"dropped the outcome of task {task_id}" in caplog.text


def test_stop_finishes_the_task_in_hand(admin: Admin, agent: Agent, client: Client) -> None:
    first, second = admin.create_task(agent), admin.create_task(agent)

    def handle(_: Task) -> str:
        client.stop()
        return "finished"

    assert client.run(handle) == 1

    assert admin.task(first)["result"] == "finished"
    assert admin.task(second)["status"] == "TODO"


def test_deactivating_the_agent_ends_run(admin: Admin, agent: Agent, client: Client) -> None:
    threading.Timer(0.5, admin.deactivate, [agent]).start()
    assert client.run(lambda _: None, wait_seconds=1, heartbeat_seconds=0.2) == 0


def test_a_client_runs_once_at_a_time(admin: Admin, agent: Agent, client: Client) -> None:
    admin.create_task(agent)
    refusals = []

    def handle(_: Task) -> None:
        with pytest.raises(RuntimeError) as refusal:
            client.run(handle)
        refusals.append(refusal)

    client.run(handle, max_tasks=1)
    assert refusals
