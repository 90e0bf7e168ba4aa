"""Whatever ends a block, what may have gone out is in the ledger."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from queue import LifoQueue

import pytest
from admin import money
from flaky_server import problem
from ledger import Ledger

from devart import AsyncAgentSDK, Client, Conflict, InvalidArgument, Spend, Unavailable

Eventually = Callable[[Callable[[], bool]], None]


class CallFailedError(Exception):
    """What a model's client raises."""


@pytest.fixture
def client(ledger: Ledger) -> Iterator[Client]:
    with Client(ledger.url, "dva_key", retry_seconds=0.2) as client:
        yield client


def test_an_exception_is_no_word_on_what_was_spent(
    ledger: Ledger, client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(CallFailedError), client.spend("s", estimate="0.4"):
        raise CallFailedError
    assert ledger.money == money("0.4")
    assert "was settled at the end of its block" in caplog.text


def test_an_exception_in_a_coroutine_is_no_word_on_what_was_spent(ledger: Ledger) -> None:
    async def fail() -> None:
        async with (
            AsyncAgentSDK(ledger.url, "dva_key") as sdk,
            sdk.spend("s", estimate="0.4"),
        ):
            raise CallFailedError

    with pytest.raises(CallFailedError):
        asyncio.run(fail())
    assert ledger.money == money("0.4")


def test_a_call_that_was_refused_costs_nothing(ledger: Ledger, client: Client) -> None:
    def fail() -> None:
        with client.spend("s", estimate="0.4") as spend:
            assert spend.release()
            raise CallFailedError

    with pytest.raises(CallFailedError):
        fail()
    assert ledger.money == money("0")
    assert not ledger.asked("settle")


def test_nothing_was_spent_although_the_time_was_up(ledger: Ledger, client: Client) -> None:
    with client.spend("s", estimate="0.4") as spend:
        ledger.expire()
        assert ledger.spent == Decimal("0.4")
        assert spend.release()
    assert ledger.spent == 0


def test_a_release_is_taken_back_by_a_settlement(ledger: Ledger, client: Client) -> None:
    with client.spend("s", estimate="0.4") as spend:
        spend.release()
        assert spend.settle("0.1").late
    assert ledger.spent == Decimal("0.1")


def test_a_generator_that_nobody_reads_to_its_end_has_spent(ledger: Ledger, client: Client) -> None:
    def words() -> Iterator[str]:
        with client.spend("s", estimate="0.4") as spend:
            yield "one"
            yield "two"
            spend.settle("0.3")

    stream = words()
    assert next(stream) == "one"
    del stream
    assert ledger.money == money("0.4")


def test_an_async_generator_that_nobody_reads_to_its_end_has_spent(ledger: Ledger) -> None:
    async def read_one() -> None:
        async with AsyncAgentSDK(ledger.url, "dva_key") as sdk:

            async def words() -> AsyncIterator[str]:
                async with sdk.spend("s", estimate="0.4") as spend:
                    yield "one"
                    yield "two"
                    await spend.settle_async("0.3")

            stream = words()
            assert await anext(stream) == "one"
            await stream.aclose()  # type: ignore[attr-defined]

    asyncio.run(read_one())
    assert ledger.money == money("0.4")


def test_a_block_that_is_cancelled_has_spent(ledger: Ledger) -> None:
    async def cancel() -> None:
        async with AsyncAgentSDK(ledger.url, "dva_key") as sdk:
            inside = asyncio.Event()

            async def spend_for_long() -> None:
                async with sdk.spend("s", estimate="0.4"):
                    inside.set()
                    await asyncio.Event().wait()

            spending = asyncio.create_task(spend_for_long())
            await inside.wait()
            spending.cancel()
            with pytest.raises(asyncio.CancelledError):
                await spending

    asyncio.run(cancel())
    assert ledger.money == money("0.4")


@pytest.mark.parametrize("kind", [Client, AsyncAgentSDK])
def test_a_settlement_that_is_cancelled_books_what_it_told(
    ledger: Ledger, kind: type[Client | AsyncAgentSDK], eventually: Eventually
) -> None:
    """It is to be tried again when the end of the block comes."""
    ledger.script("settle", problem(503, **{"Retry-After": "1"}))

    async def cancel() -> None:
        sdk = kind(ledger.url, "dva_key")

        async def spend_some() -> None:
            async with sdk.spend("s", estimate="0.4") as spend:
                await spend.settle_async("0.1")

        spending = asyncio.create_task(spend_some())
        await asyncio.to_thread(eventually, lambda: bool(ledger.asked("settle")))
        spending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await spending
        closing = sdk.close()
        if closing is not None:
            await closing

    asyncio.run(asyncio.wait_for(cancel(), 15))
    eventually(lambda: ledger.held == 0)
    assert ledger.money == money("0.1")


def test_a_settlement_that_is_cancelled_before_it_has_a_thread_books_what_it_told(
    ledger: Ledger, client: Client
) -> None:
    """The end of the block gets the one thread before it."""
    taken, go_on = threading.Event(), threading.Event()
    threads = ThreadPoolExecutor(1)
    threads._work_queue = LifoQueue()  # type: ignore[assignment]

    def take_the_thread() -> None:
        taken.set()
        go_on.wait(10)

    async def cancel() -> None:
        loop = asyncio.get_running_loop()
        loop.set_default_executor(threads)

        async def spend_some() -> None:
            async with client.spend("s", estimate="0.4") as spend:
                loop.run_in_executor(None, take_the_thread)
                while not taken.is_set():
                    await asyncio.sleep(0.01)
                await spend.settle_async("0.1")

        spending = asyncio.create_task(spend_some())
        while not taken.is_set() or threads._work_queue.qsize() < 1:
            await asyncio.sleep(0.01)
        spending.cancel()
        while threads._work_queue.qsize() < 2:
            await asyncio.sleep(0.01)
        go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await spending

    asyncio.run(asyncio.wait_for(cancel(), 15))
    assert ledger.money == money("0.1")


def test_a_settlement_that_is_cancelled_before_it_begins_books_what_it_told(ledger: Ledger) -> None:
    async def cancel() -> None:
        async with (
            AsyncAgentSDK(ledger.url, "dva_key") as sdk,
            sdk.spend("s", estimate="0.4") as spend,
        ):
            asyncio.create_task(spend.settle_async("0.1")).cancel()

    asyncio.run(cancel())
    assert ledger.money == money("0.1")


def test_a_cost_that_nobody_can_reckon_is_what_was_held(ledger: Ledger, client: Client) -> None:
    with pytest.raises(InvalidArgument), client.spend("s", estimate="0.4") as spend:
        spend.settle(usage={"second": 3})
    assert ledger.spent == Decimal("0.4")


def test_a_cost_that_was_not_delivered_is_delivered_at_the_end(
    ledger: Ledger, client: Client
) -> None:
    ledger.script("settle", *[problem(503)] * 20)
    with client.spend("s", estimate="0.4") as spend:
        with pytest.raises(Unavailable):
            spend.settle(usage={"token": 50})
        ledger.unscript("settle")
    assert ledger.spent == Decimal("0.05")


def test_a_cost_beside_another_is_reported(
    ledger: Ledger, client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        caplog.at_level(logging.ERROR, "devart.spend"),
        client.spend("s", estimate="0.4") as spend,
    ):
        assert spend.hold_id is not None
        client.settle(spend.hold_id, "0.2")
        with pytest.raises(Conflict):
            spend.settle("0.3")
    assert "have it corrected" in caplog.text
    assert "0.3" in caplog.text


def test_a_late_settlement_replaces_what_was_presumed(ledger: Ledger, client: Client) -> None:
    with client.spend("s", estimate="0.4") as spend:
        ledger.expire()
        assert ledger.spent == Decimal("0.4")
        settlement = spend.settle("0.1")
    assert settlement.presumed
    assert ledger.spent == Decimal("0.1")


def test_an_agent_that_dies_in_its_block_has_spent(ledger: Ledger, client: Client) -> None:
    """Nothing runs at its end: the ledger is all that is left."""
    ledger.offer_with_money("0.4")
    [task] = client.claim()
    client.spend(task=task).__enter__()
    client.spend("s", estimate="0.5").__enter__()
    ledger.expire()
    assert ledger.spent == Decimal("0.9")


def test_two_ends_at_once_settle_once(ledger: Ledger, client: Client) -> None:
    ledger.settling.clear()

    def leave(spend: Spend) -> None:
        spend.__exit__(None, None, None)

    spend = client.spend("s", estimate="0.4").__enter__()
    settling = threading.Thread(target=spend.settle, args=("0.1",))
    settling.start()
    while not ledger.asked("settle"):
        settling.join(0.01)
    leaving = threading.Thread(target=leave, args=(spend,))
    leaving.start()
    ledger.settling.set()
    settling.join()
    leaving.join()
    assert ledger.spent == Decimal("0.1")
    assert [body["amount_usd"] for body in ledger.asked("settle")] == [Decimal("0.1")]


@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
def test_a_forked_child_that_leaves_the_block_settles_nothing(
    ledger: Ledger, client: Client
) -> None:
    with client.spend("s", estimate="0.4") as spend:
        child = os.fork()
        if child == 0:
            try:
                spend.__exit__(None, None, None)
            finally:
                os._exit(0)
        os.waitpid(child, 0)
        assert not ledger.asked("settle")
        spend.settle("0.1")
    assert ledger.money == money("0.1")


def test_a_cost_that_was_not_delivered_is_delivered_when_the_api_is_back(
    ledger: Ledger, client: Client, eventually: Eventually, caplog: pytest.LogCaptureFixture
) -> None:
    ledger.script("settle", *[problem(503)] * 10_000)
    with client.spend("s", estimate="0.4") as spend, pytest.raises(Unavailable):
        spend.settle("0.1")
    assert "is tried again" in caplog.text
    assert ledger.money == money("0", held="0.4")
    ledger.unscript("settle")
    eventually(lambda: ledger.money == money("0.1"))


def test_a_cost_that_was_not_delivered_is_tried_once_more_when_the_client_closes(
    ledger: Ledger,
) -> None:
    ledger.script("settle", *[problem(503, **{"Retry-After": "60"})] * 10_000)
    with Client(ledger.url, "dva_key", retry_seconds=0) as client:
        with client.spend("s", estimate="0.4") as spend, pytest.raises(Unavailable):
            spend.settle("0.1")
        ledger.unscript("settle")
    assert ledger.money == money("0.1")


def test_a_cost_that_is_never_delivered_is_told_to_people(
    ledger: Ledger, caplog: pytest.LogCaptureFixture
) -> None:
    ledger.script("settle", *[problem(503)] * 10_000)
    with (
        Client(ledger.url, "dva_key", retry_seconds=0) as client,
        client.spend("s", estimate="0.4") as spend,
        pytest.raises(Unavailable),
    ):
        spend.settle(usage={"token": 7})
    told = [one.message for one in caplog.records if "do it by hand" in one.message]
    assert len(told) == 1
    assert f"hold {spend.hold_id} was not settled" in told[0]
    assert "{'token': 7}" in told[0]
