"""Threads that a handler starts spend for its task, or say that they cannot."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from admin import money
from ledger import Ledger

from devart import NO_TASK, AsyncAgentSDK, Client, Task, TaskThreads


@pytest.fixture
def client(ledger: Ledger) -> Iterator[Client]:
    with Client(ledger.url, "dva_key", retry_seconds=0.2) as client:
        yield client


def _paid_for(ledger: Ledger) -> list[str | None]:
    return [body["task_id"] for body in ledger.asked("dispatch")]


def _spending(client: Client, task: object = None) -> Callable[[object], None]:
    def spend(_: object = None) -> None:
        with client.spend("s", estimate="0.1", task=task) as spend:  # type: ignore[arg-type]
            spend.settle("0.1")

    return spend


def test_task_threads_spend_for_the_task_of_their_handler(ledger: Ledger, client: Client) -> None:
    token = ledger.offer()

    def handle(_: Task) -> None:
        with TaskThreads(2) as threads:
            list(threads.map(_spending(client), range(3)))
            threads.submit(_spending(client), None).result()

    client.run(handle, 1)
    assert _paid_for(ledger) == [token] * 4
    assert ledger.money == money("0.4")


def test_an_event_loop_runs_things_in_task_threads(ledger: Ledger, client: Client) -> None:
    token = ledger.offer()

    async def handle(_: Task) -> None:
        with TaskThreads(2) as threads:
            loop = asyncio.get_running_loop()
            await loop.run_in_executor(threads, _spending(client), None)

    client.run(handle, 1)
    assert _paid_for(ledger) == [token]


@pytest.mark.parametrize("kind", ["thread", "executor"])
def test_other_threads_say_that_they_cannot(ledger: Ledger, client: Client, kind: str) -> None:
    ledger.offer()
    errors: list[BaseException | None] = []

    def spend() -> None:
        try:
            _spending(client)(None)
        except RuntimeError as error:
            errors.append(error)

    def handle(_: Task) -> None:
        if kind == "executor":
            with ThreadPoolExecutor() as threads:
                threads.submit(spend).result()
        else:
            thread = threading.Thread(target=spend)
            thread.start()
            thread.join()

    client.run(handle, 1)
    assert "knows of no task" in str(errors)
    assert not _paid_for(ledger)


def test_other_threads_name_their_task_or_none(ledger: Ledger, client: Client) -> None:
    token = ledger.offer()

    def handle(task: Task) -> None:
        with ThreadPoolExecutor() as threads:
            threads.submit(_spending(client, task), None).result()
            threads.submit(_spending(client, NO_TASK), None).result()

    client.run(handle, 1)
    assert _paid_for(ledger) == [token, None]


def test_a_program_without_handlers_spends_for_no_task(ledger: Ledger, client: Client) -> None:
    _spending(client)(None)
    assert _paid_for(ledger) == [None]


def test_a_coroutine_beside_the_handlers_says_so_as_well(ledger: Ledger) -> None:
    async def work() -> None:
        async with AsyncAgentSDK(ledger.url, "dva_key") as sdk:
            consuming = asyncio.create_task(sdk.start_consuming(lambda _: None, wait_seconds=1))
            while not ledger.asked("claim"):
                await asyncio.sleep(0.01)
            with pytest.raises(RuntimeError, match="knows of no task"):
                sdk.spend("s", estimate="0.1")
            async with sdk.spend("s", estimate="0.1", task=NO_TASK) as spend:
                await spend.settle_async("0.1")
            sdk.stop()
            await consuming

    asyncio.run(asyncio.wait_for(work(), 20))
    assert _paid_for(ledger) == [None]
