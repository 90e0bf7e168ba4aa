"""The program that test_signals.py starts.

API_URL API_KEY plain|async|to_thread|async_sdk|stubborn|child|atexit [RABBITMQ_URL].
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import multiprocessing
import sys
import time

from devart import AgentSDK, AsyncAgentSDK, Task


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def work(task: Task) -> None:
    """Work for as long as the task says, without looking left or right."""
    _say("working")
    time.sleep(task.payload["seconds"])


async def work_async(task: Task) -> None:
    """Do the same without holding a thread."""
    _say("working")
    await asyncio.sleep(task.payload["seconds"])


async def work_in_thread(task: Task) -> None:
    """Do the same in a thread that Python waits for at its end."""
    _say("working")
    await asyncio.to_thread(time.sleep, task.payload["seconds"])


async def work_stubbornly(task: Task) -> None:
    """Do the same, and do not let oneself be cancelled."""
    _say("working")
    while True:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(task.payload["seconds"])


def work_in_child(task: Task) -> None:
    """Do the same in another process, for which Python waits at its end."""
    child = multiprocessing.get_context("spawn").Process(
        target=time.sleep, args=(task.payload["seconds"],)
    )
    child.start()
    _say("working")
    child.join()


def work_and_leave_more(task: Task) -> None:
    """Do the same, and leave something to do for the end."""
    atexit.register(time.sleep, task.payload["seconds"])
    work(task)


_HANDLERS = {
    "async": work_async,
    "to_thread": work_in_thread,
    "child": work_in_child,
    "atexit": work_and_leave_more,
}
_ASYNC_HANDLERS = {"async_sdk": work_in_thread, "stubborn": work_stubbornly}


async def _consume(api_url: str, api_key: str, kind: str) -> None:
    async with AsyncAgentSDK(api_url, api_key) as sdk:
        taken = await sdk.start_consuming(_ASYNC_HANDLERS[kind], wait_seconds=2, signals=True)
    _say(f"stopped after {taken}")


def main(api_url: str, api_key: str, kind: str, rabbitmq_url: str | None = None) -> None:
    """Run until a signal comes."""
    if kind in _ASYNC_HANDLERS:
        asyncio.run(_consume(api_url, api_key, kind))
        return
    with AgentSDK(api_url, api_key, rabbitmq_url) as sdk:
        taken = sdk.start_consuming(_HANDLERS.get(kind, work), wait_seconds=2)
    _say(f"stopped after {taken}")


if __name__ == "__main__":
    main(*sys.argv[1:])
