"""Running a handler, plain or async, and telling in few words how it failed."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import threading
import time
import traceback
from collections.abc import Awaitable, Callable
from concurrent.futures import Future, wait
from typing import Any

from devart.logs import get_logger
from devart.lost_lease import LostLease
from devart.models import Task

_log = get_logger("devart.handler")

Handler = Callable[[Task[Any]], Any]
"""Takes a task and returns its result: anything with a JSON form, or None.

May be an `async` function.
"""

_Outcome = tuple[object, BaseException | None]

_TICK_SECONDS = 0.5
# Between two runs of one loop there may be a moment.
_MAX_STANDSTILL_SECONDS = 10.0
_MAX_FRAMES = 20
_MAX_ERROR_CHARACTERS = 4000


class HandlerRunner:
    """Calls a handler, from any number of threads.

    Async handlers all run on one event loop, so that they may share connections and locks: the
    given one, or else one in a thread of its own, which starts with the first of them. One whose
    task's lease is lost is cancelled.
    """

    def __init__(self, handler: Handler, loop: asyncio.AbstractEventLoop | None = None) -> None:
        self._handler = handler
        self._lock = threading.Lock()
        self._loop = loop
        self._loop_thread: threading.Thread | None = None
        self._ran_at = time.monotonic()
        self._closed = threading.Event()

    @property
    def abandoned(self) -> bool:
        """Whether the loop is closed, or, being the caller's, has stood still for ten seconds.

        Then no handler on it comes to an end, and nobody waits for the work. Asked now and then.
        """
        if self._loop is None or self._loop_thread is not None:
            return self._closed.is_set()
        if self._loop.is_running():
            self._ran_at = time.monotonic()
        still_seconds = time.monotonic() - self._ran_at
        return self._loop.is_closed() or still_seconds > _MAX_STANDSTILL_SECONDS

    def run(self, task: Task) -> object:
        """Call the handler and wait for its result. Raises what the handler raises."""
        result = self._handler(task)
        if not inspect.isawaitable(result):
            return result
        running = _begin(result, task.lease_lost, self._started_loop())
        # Whoever finds the loop abandoned gives the tasks back.
        while not wait([running], _TICK_SECONDS).done:
            if task.lease_lost.is_set() and self.abandoned:
                raise RuntimeError("the event loop ended before this handler")
        value, error = running.result()
        if error is not None:
            raise error
        return value

    def close(self) -> None:
        """Cancel the async handlers that still run, and end their loop."""
        with self._lock:
            if self._loop is None or self._loop_thread is None:
                return  # no async handler ran, or the loop is another's
            asyncio.run_coroutine_threadsafe(_cancel_others(), self._loop).add_done_callback(
                self._stop_loop
            )
        self._loop_thread.join(timeout=1.0)

    def _started_loop(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._loop_thread = threading.Thread(
                    target=_serve,
                    args=(self._loop, self._closed),
                    name="devart-async-handlers",
                    daemon=True,
                )
                self._loop_thread.start()
            return self._loop

    def _stop_loop(self, _: object) -> None:
        self._closed.set()
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._loop.stop)


def _serve(loop: asyncio.AbstractEventLoop, closed: threading.Event) -> None:
    """Run the loop until `closed`, whatever a handler does to end it, such as `sys.exit`."""
    asyncio.set_event_loop(loop)
    try:
        while not closed.is_set():
            try:
                loop.run_forever()
            except BaseException:  # of an asyncio task that a handler started
                _log.exception("something on the handlers' event loop tried to end it; it goes on")
    finally:
        loop.close()


def _begin(
    awaitable: Awaitable[object], lease_lost: LostLease, loop: asyncio.AbstractEventLoop
) -> Future[_Outcome]:
    """Begin to await a handler; on a loop that is closed, return what never ends."""
    outcome = _outcome(awaitable, lease_lost)
    try:
        return asyncio.run_coroutine_threadsafe(outcome, loop)
    except RuntimeError:
        outcome.close()
        if inspect.iscoroutine(awaitable):
            awaitable.close()
        return Future()


async def _outcome(awaitable: Awaitable[object], lease_lost: LostLease) -> _Outcome:
    """Await a handler and return what it returned and what it raised.

    Raised through the loop, SystemExit and KeyboardInterrupt would end it for all handlers.
    """
    loop, work = asyncio.get_running_loop(), asyncio.current_task()

    def cancel() -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(work.cancel)  # type: ignore[union-attr]

    lease_lost.on_loss(cancel)
    try:
        return await awaitable, None
    except BaseException as error:
        return None, error


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
