"""The program that test_signals.py starts.

API_URL API_KEY plain|async|to_thread|async_sdk [RABBITMQ_URL].
"""

from __future__ import annotations

import asyncio
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


_HANDLERS = {"async": work_async, "to_thread": work_in_thread}


async def _consume(api_url: str, api_key: str) -> int:
    async with AsyncAgentSDK(api_url, api_key) as sdk:
        return await sdk.start_consuming(work_in_thread, wait_seconds=2, signals=True)


def main(api_url: str, api_key: str, kind: str, rabbitmq_url: str | None = None) -> None:
    """Run until a signal comes."""
    if kind == "async_sdk":
        taken = asyncio.run(_consume(api_url, api_key))
    else:
        with AgentSDK(api_url, api_key, rabbitmq_url) as sdk:
            taken = sdk.start_consuming(_HANDLERS.get(kind, work), wait_seconds=2)
    _say(f"stopped after {taken}")


if __name__ == "__main__":
    main(*sys.argv[1:])
