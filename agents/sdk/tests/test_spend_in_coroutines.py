"""Money held for the length of a block of a coroutine."""

from __future__ import annotations

import asyncio
import json
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from admin import Admin, money
from flaky_server import Answer
from stand_in import StandIn

from devart import AsyncAgentSDK, Client


class CallFailedError(Exception):
    """What a model's client raises."""


def test_a_coroutine_spends_without_blocking_its_loop(
    admin: Admin, client: Client, service_id: str
) -> None:
    async def spend_one(estimate: str) -> None:
        async with client.spend(service_id, estimate=estimate) as spend:
            await spend.settle_async(usage={"input_token": 10})

    async def both() -> None:
        await asyncio.gather(spend_one("0.1"), spend_one("0.2"))

    asyncio.run(both())
    assert admin.money(service_id) == money("0.0002")


def test_a_coroutine_that_raises_has_spent_what_was_held(
    admin: Admin, client: Client, service_id: str
) -> None:
    async def fail() -> None:
        async with client.spend(service_id, estimate="0.1"):
            raise CallFailedError

    with pytest.raises(CallFailedError):
        asyncio.run(fail())
    assert admin.money(service_id) == money("0.1")


@pytest.mark.parametrize("inside", [True, False])
def test_a_coroutine_that_is_cancelled_has_spent_if_it_was_in_its_block(
    admin: Admin, client: Client, service_id: str, inside: bool
) -> None:
    entered = asyncio.Event()

    async def spend_for_long() -> None:
        async with client.spend(service_id, estimate="0.1"):
            entered.set()
            await asyncio.sleep(60)

    async def cancel() -> None:
        spending = asyncio.create_task(spend_for_long())
        # One step of the loop: the request is under way, no more.
        await (entered.wait() if inside else asyncio.sleep(0))
        spending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await spending

    asyncio.run(cancel())
    assert entered.is_set() == inside
    assert admin.money(service_id) == money("0.1" if inside else "0")


@pytest.mark.parametrize("kind", [Client, AsyncAgentSDK])
def test_a_cost_is_settled_although_it_is_cancelled_while_all_threads_are_taken(
    api: StandIn, kind: type[Client | AsyncAgentSDK]
) -> None:
    hold = {"hold_id": "h", "service_id": "s", "held_usd": 1, "expires_at": "2099-01-01T00:00:00Z"}
    api.script("dispatch", Answer(200, json.dumps(hold).encode()))
    settled = {"charged_usd": 1, "overage_usd": 0, "late": False, "suspended": False}
    api.script("settle", Answer(200, json.dumps(settled).encode()))
    go_on = threading.Event()

    async def work() -> None:
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
        sdk = kind(api.url, "dva_key")
        inside, leave = asyncio.Event(), asyncio.Event()

        async def spend_all() -> None:
            async with sdk.spend("s", estimate=1):
                inside.set()
                await leave.wait()

        spending = asyncio.create_task(spend_all())
        await inside.wait()
        taken = asyncio.get_running_loop().run_in_executor(None, go_on.wait, 10)
        leave.set()
        # Steps of the loop: it waits for a thread then.
        for _ in range(5):
            await asyncio.sleep(0)
        spending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await spending
        if isinstance(sdk, Client):
            sdk.close()
        else:
            await sdk.close()
            while not api.asked("settle"):
                await asyncio.sleep(0.01)
        go_on.set()
        await taken

    asyncio.run(asyncio.wait_for(work(), 15))
    assert [body["amount_usd"] for body in api.asked("settle")] == [1]
