"""The SDK for coroutines."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

import pytest
from stand_in import StandIn

from devart import AsyncAgentSDK, LeaseLost, Task

_T = TypeVar("_T")


def _run(coroutine: Coroutine[Any, Any, _T]) -> _T:
    return asyncio.run(asyncio.wait_for(coroutine, 30))


async def _asked(api: StandIn, action: str) -> None:
    """Wait until the API is asked for something, for at most ten seconds."""
    give_up_at = time.monotonic() + 10
    while not api.asked(action):
        assert time.monotonic() < give_up_at, f"nobody asked for {action}"
        await asyncio.sleep(0.01)


def test_calls_are_awaited(api: StandIn) -> None:
    token = api.offer()

    async def work() -> None:
        async with AsyncAgentSDK(api.url, "dva_key") as sdk:
            [task] = await sdk.claim(wait_seconds=1)
            await sdk.extend_lease(task, 30)
            assert (await sdk.create_task("T", parent=task)).status == "TODO"
            assert (await sdk.complete(task, {1, 2})).status == "DONE"
            api.lost.add(token)
            with pytest.raises(LeaseLost):
                await sdk.give_back(task)

    _run(work())
    assert api.asked("status")[0]["result"] == [1, 2]


def test_calls_do_not_block_the_loop(api: StandIn) -> None:
    async def work() -> None:
        async with AsyncAgentSDK(api.url, "dva_key") as sdk:
            api.hold_claims.clear()
            api.offer()
            claiming = asyncio.create_task(sdk.claim())
            await _asked(api, "claim")
            await sdk.heartbeat()
            assert not claiming.done()
            api.hold_claims.set()
            assert len(await claiming) == 1

    _run(work())


def test_what_a_cancelled_claim_brings_goes_back(api: StandIn) -> None:
    token = api.offer()

    async def work() -> None:
        async with AsyncAgentSDK(api.url, "dva_key") as sdk:
            api.hold_claims.clear()
            claiming = asyncio.create_task(sdk.claim())
            await _asked(api, "claim")
            claiming.cancel()
            with pytest.raises(asyncio.CancelledError):
                await claiming
            api.hold_claims.set()
            await _asked(api, "release")

    _run(work())
    assert api.asked("release") == [{"lease_token": token}]


@dataclass
class Question:
    text: str


def test_handlers_run_on_the_callers_loop_and_may_have_typed_payloads(api: StandIn) -> None:
    api.offer(payload={"text": "why"})

    async def work() -> int:
        loop = asyncio.get_running_loop()
        sdk = AsyncAgentSDK(api.url, "dva_key")

        async def handle(task: Task[Question]) -> str:
            assert asyncio.get_running_loop() is loop
            await sdk.heartbeat()
            return task.payload.text.upper()

        async with sdk:
            return await sdk.start_consuming(
                handle, max_tasks=1, read_payload=lambda raw: Question(**raw)
            )

    assert _run(work()) == 1
    assert api.asked("status")[0]["result"] == "WHY"


def test_stop_finishes_what_is_in_hand(api: StandIn) -> None:
    api.offer()

    async def work() -> int:
        async with AsyncAgentSDK(api.url, "dva_key") as sdk:

            async def handle(_: Task) -> str:
                assert sdk.stop()
                await asyncio.sleep(0.1)
                return "finished"

            return await sdk.start_consuming(handle)

    assert _run(work()) == 1
    assert api.asked("status")[0]["result"] == "finished"


def test_cancelled_consuming_gives_its_tasks_back(api: StandIn) -> None:
    token = api.offer()
    ended: list[str] = []

    async def work() -> None:
        begun = asyncio.Event()

        async def handle(_: Task) -> None:
            begun.set()
            try:
                await asyncio.sleep(60)
            finally:
                ended.append("cancelled")

        async with AsyncAgentSDK(api.url, "dva_key") as sdk:
            consuming = asyncio.create_task(sdk.start_consuming(handle))
            await begun.wait()
            consuming.cancel()
            with pytest.raises(asyncio.CancelledError):
                await consuming

    _run(work())
    assert ended == ["cancelled"]
    assert api.asked("release") == [{"lease_token": token}]
    assert api.asked("report-failure") == []


def test_signals_outside_of_the_main_thread_are_refused_and_the_next_run_works(
    api: StandIn,
) -> None:
    async def work() -> int:
        async with AsyncAgentSDK(api.url, "dva_key") as sdk:
            with pytest.raises(RuntimeError, match="main thread"):
                await sdk.start_consuming(lambda _: None, signals=True)
            return await sdk.start_consuming(lambda _: None, max_tasks=1)

    api.offer()
    with ThreadPoolExecutor() as threads:
        assert threads.submit(_run, work()).result(30) == 1


def test_arguments_are_checked_before_anything_begins(api: StandIn) -> None:
    async def work() -> None:
        async with AsyncAgentSDK(api.url, "dva_key") as sdk:
            with pytest.raises(TypeError, match="prefetch"):
                await sdk.start_consuming(lambda _: None, prefetch=2.5)  # type: ignore[arg-type]
            assert not sdk.stop()

    _run(work())
    assert api.requests == []


def test_what_a_cancelled_claim_brings_goes_back_although_the_sdk_was_left(api: StandIn) -> None:
    token = api.offer()

    async def work() -> None:
        async with AsyncAgentSDK(api.url, "dva_key") as sdk:
            api.hold_claims.clear()
            claiming = asyncio.create_task(sdk.claim())
            await _asked(api, "claim")
            claiming.cancel()
        api.hold_claims.set()
        await _asked(api, "release")

    _run(work())
    assert api.asked("release") == [{"lease_token": token}]


def test_closed_twice_it_is_closed(api: StandIn) -> None:
    async def work() -> None:
        async with AsyncAgentSDK(api.url, "dva_key") as sdk:
            await sdk.close()
            with pytest.raises(RuntimeError, match="closed"):
                await sdk.claim()

    _run(work())
    assert api.requests == []


def test_what_is_in_hand_still_works_when_the_sdk_is_closed(api: StandIn) -> None:
    api.offer()

    async def work() -> int:
        sdk = AsyncAgentSDK(api.url, "dva_key")

        async def handle(task: Task) -> str:
            await sdk.close()
            await sdk.extend_lease(task)
            return "finished"

        return await sdk.start_consuming(handle)

    assert _run(work()) == 1
    assert api.asked("status")[0]["result"] == "finished"


@pytest.mark.parametrize("closed", [True, False])
def test_a_loop_that_ends_without_cancelling_gives_its_tasks_back(
    api: StandIn,
    eventually: Callable[[Callable[[], bool]], None],
    monkeypatch: pytest.MonkeyPatch,
    closed: bool,
) -> None:
    monkeypatch.setattr("devart.handler._MAX_STANDSTILL_SECONDS", 0.1)
    token = api.offer()
    loop = asyncio.new_event_loop()
    sdk = AsyncAgentSDK(api.url, "dva_key")

    async def handle(_: Task) -> None:
        loop.stop()
        await asyncio.Event().wait()

    consuming = loop.create_task(sdk.start_consuming(handle))
    loop.run_forever()
    if closed:
        loop.close()
    eventually(lambda: not sdk.stop())
    assert api.asked("release") == [{"lease_token": token}]
    assert api.asked("report-failure") == []
    assert not consuming.done()
    eventually(lambda: not any("devart-task" in it.name for it in threading.enumerate()))
    if not closed:
        assert loop.run_until_complete(consuming) == 1
        loop.close()
    sdk.sdk.close()
