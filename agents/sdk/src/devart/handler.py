"""Running a handler, plain or async, and telling in few words how it failed."""

from __future__ import annotations

import asyncio
import inspect
import threading
import traceback
from collections.abc import Awaitable, Callable
from typing import Any

from devart.models import Task

Handler = Callable[[Task], Any]
"""Takes a task and returns its result: anything with a JSON form, or None.

May be an `async` function.
"""

_MAX_FRAMES = 20
_MAX_ERROR_CHARACTERS = 4000


class HandlerRunner:
    """Calls a handler, from any number of threads.

    Async handlers all run on one event loop, in a thread of its own, so that they may share
    connections and locks. The loop starts with the first of them.
    """

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._loop_thread: threading.Thread | None = None

    def run(self, task: Task) -> object:
        """Call the handler and wait for its result. Raises what the handler raises."""
        result = self._handler(task)
        if inspect.isawaitable(result):
            return asyncio.run_coroutine_threadsafe(_awaited(result), self._started_loop()).result()
        return result

    def close(self) -> None:
        """Cancel the async handlers that still run, and end their loop."""
        with self._lock:
            if self._loop is None or self._loop_thread is None:
                return
            asyncio.run_coroutine_threadsafe(_cancel_others(), self._loop).add_done_callback(
                self._stop_loop
            )
        self._loop_thread.join(timeout=1.0)

    def _started_loop(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._loop_thread = threading.Thread(
                    target=_serve, args=(self._loop,), name="devart-async-handlers", daemon=True
                )
                self._loop_thread.start()
            return self._loop

    def _stop_loop(self, _: object) -> None:
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._loop.stop)


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
    finally:
        loop.close()


async def _awaited(result: Awaitable[object]) -> object:
    return await result


async def _cancel_others() -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for other in others:
        other.cancel()
    await asyncio.gather(*others, return_exceptions=True)


def describe_error(error: BaseException) -> str:
    """Return the error in one line and its traceback, in at most 4,000 characters.

    The innermost frames are kept.
    """
    headline = "".join(traceback.format_exception_only(type(error), error)).strip()
    trace = "".join(
        traceback.format_exception(type(error), error, error.__traceback__, limit=-_MAX_FRAMES)
    )
    headline = headline[: _MAX_ERROR_CHARACTERS // 4]
    room = _MAX_ERROR_CHARACTERS - len(headline) - len("\n\n...")
    return f"{headline}\n\n{trace if len(trace) <= room else '...' + trace[-room:]}"
