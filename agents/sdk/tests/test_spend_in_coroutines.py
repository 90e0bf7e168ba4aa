"""Money held for the length of a block of a coroutine."""

from __future__ import annotations

import asyncio

import pytest
from admin import Admin, money

from devart import Client


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


def test_a_coroutine_that_raises_gives_the_money_back(
    admin: Admin, client: Client, service_id: str
) -> None:
    async def fail() -> None:
        async with client.spend(service_id, estimate="0.1"):
            raise CallFailedError

    with pytest.raises(CallFailedError):
        asyncio.run(fail())
    assert admin.money(service_id) == money("0")


@pytest.mark.parametrize("inside", [True, False])
def test_a_cancelled_coroutine_gives_the_money_back(
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
    assert admin.money(service_id) == money("0")
