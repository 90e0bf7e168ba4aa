"""Stopping, closing and starting where one would not expect it."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from flaky_server import problem
from stand_in import StandIn

from devart import Client, Task
from devart.worker import Worker

_PROGRAM = Path(__file__).with_name("slow_agent.py")
Eventually = Callable[[Callable[[], bool]], None]


@pytest.fixture
def client(api: StandIn) -> Iterator[Client]:
    with Client(api.url, "dva_key", retry_seconds=0.2) as client:
        yield client


def _run_in_thread(client: Client, handler: Callable[[Task], object]) -> threading.Thread:
    thread = threading.Thread(target=client.run, args=(handler,), kwargs={"wait_seconds": 1})
    thread.start()
    return thread


def test_of_two_runs_that_begin_at_once_one_is_refused(
    api: StandIn, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = threading.Barrier(2, timeout=10)

    class MeetingWorker(Worker):
        def __init__(self, *values: Any, **options: Any) -> None:
            super().__init__(*values, **options)
            both.wait()

    monkeypatch.setattr("devart.client.Worker", MeetingWorker)
    api.offer()
    with ThreadPoolExecutor() as threads:
        runs = [threads.submit(client.run, lambda _: None, 1) for _ in range(2)]
        failures = [run.exception(15) for run in runs]
    assert failures.count(None) == 1
    assert "running already" in str(failures)


def test_what_a_late_claim_brings_goes_back_and_is_not_begun(
    api: StandIn, client: Client, eventually: Eventually
) -> None:
    begun: list[Task] = []
    api.hold_claims.clear()
    token = api.offer()
    thread = _run_in_thread(client, begun.append)
    eventually(lambda: bool(api.asked("claim")))
    assert client.stop()
    api.hold_claims.set()
    thread.join(15)
    assert not thread.is_alive()
    assert begun == []
    assert api.asked("release") == [{"lease_token": token}]
    assert api.asked("report-failure") == []


@pytest.mark.parametrize("kind", ["plain", "async", "to_thread", "async_sdk"])
def test_a_second_signal_ends_the_process_whatever_its_threads_are_at(
    api: StandIn, kind: str
) -> None:
    token = api.offer(payload={"seconds": 60})
    command = [sys.executable, str(_PROGRAM), api.url, "dva_key", kind]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"working\n"
        # Two of one kind might become one. Which of two kinds comes first is the system's choice.
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGTERM)
        status = process.wait(15)
    finally:
        process.kill()
        process.communicate()
    assert status in ({0} if kind in {"plain", "async"} else {130, 143})
    assert api.asked("release") == [{"lease_token": token}]
    assert api.asked("status") == api.asked("report-failure") == []


def test_a_lost_answer_to_a_release_is_asked_for_again_with_the_same_key(
    api: StandIn, client: Client
) -> None:
    token = api.offer()
    api.script("release", problem(503))
    client.run(client.give_back, max_tasks=1)
    keys = [it.headers["Idempotency-Key"] for it in api.requests if it.action == "release"]
    assert keys == [f"release-{token}"] * 2


def test_stop_before_a_run_says_that_it_did_nothing(api: StandIn, client: Client) -> None:
    assert client.stop() is False
    api.offer()
    assert client.run(lambda _: None, max_tasks=1) == 1
    assert client.stop() is False


def test_close_while_working_finishes_what_is_in_hand(
    api: StandIn, client: Client, eventually: Eventually
) -> None:
    api.offer()
    go_on = threading.Event()
    begun = threading.Event()

    def handle(_: Task) -> str:
        begun.set()
        go_on.wait(10)
        return "finished"

    thread = _run_in_thread(client, handle)
    assert begun.wait(10)
    client.close()
    go_on.set()
    thread.join(15)
    assert not thread.is_alive()
    assert [body["result"] for body in api.asked("status")] == ["finished"]
    with pytest.raises(RuntimeError, match="closed"):
        client.run(handle)
    with pytest.raises(RuntimeError, match="closed"):
        client.heartbeat()


def test_a_run_that_would_block_an_event_loop_says_what_to_use(client: Client) -> None:
    async def start() -> None:
        client.run(lambda _: None)

    with pytest.raises(RuntimeError, match="AsyncAgentSDK"):
        asyncio.run(start())


def test_a_run_beside_an_event_loop_works(api: StandIn, client: Client) -> None:
    api.offer()

    async def start() -> int:
        return await asyncio.to_thread(client.run, lambda _: None, 1)

    assert asyncio.run(start()) == 1


def test_a_handler_may_give_its_task_back(api: StandIn, client: Client) -> None:
    token = api.offer()
    client.run(client.give_back, max_tasks=1)
    assert api.asked("release") == [{"lease_token": token}]
    assert api.asked("status") == api.asked("report-failure") == []
