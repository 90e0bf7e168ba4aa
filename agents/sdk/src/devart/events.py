"""Waiting for an asyncio event with a timeout, and blocking where no event loop runs."""

from __future__ import annotations

import asyncio


async def wait_for_event(event: asyncio.Event, timeout_seconds: float) -> bool:
    """Wait, and return whether the event is set.

    Not `asyncio.wait_for`: before Python 3.12 that one forgets a cancellation which comes along
    with the event.
    """
    waiter = asyncio.ensure_future(event.wait())
    try:
        await asyncio.wait([waiter], timeout=timeout_seconds)
    finally:
        waiter.cancel()
    return event.is_set()


def refuse_in_event_loop() -> None:
    """Raise `RuntimeError` where an event loop runs, which a call that blocks would stop."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise RuntimeError(
        "this would block the event loop that runs in this thread: use AsyncAgentSDK, or "
        "`await asyncio.to_thread(...)`"
    )
