"""Functions that block, awaited: each runs to its end in a thread, whoever waits for it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor
from contextlib import AbstractContextManager, ExitStack, nullcontext
from contextvars import copy_context
from typing import Any, Generic, Protocol, TypeVar

from devart.logs import get_logger

_log = get_logger("devart.threads")

_T = TypeVar("_T")
_R = TypeVar("_R")


class InThread(Protocol):
    """Awaits a function that blocks; `in_thread` and `AsyncAgentSDK.in_thread` are of this kind."""

    def __call__(
        self, call: Callable[[], _T], if_cancelled: Callable[[_T], object] | None = None
    ) -> Coroutine[Any, Any, _T]:
        """Await `call`; see `in_thread`."""


async def in_thread(
    call: Callable[[], _T],
    if_cancelled: Callable[[_T], object] | None = None,
    *,
    threads: Callable[[], Executor | None] = lambda: None,
    meanwhile: Callable[[], AbstractContextManager[object]] = nullcontext,
) -> _T:
    """Await a function that blocks, in a thread that knows the task in hand.

    Args:
        call: what to call. It is called, and finished, also when the coroutine is cancelled.
        if_cancelled: called with what it returned, in a thread, when nobody waits for it any more.
        threads: returns whose threads to use; None for those of the event loop.
        meanwhile: makes what is held from now on until all of that is over.
    """
    awaited = _Awaited(call, if_cancelled)

    def begin(work: Callable[[], _R]) -> asyncio.Future[_R]:
        held = ExitStack()
        held.enter_context(meanwhile())
        context = copy_context()

        def run() -> _R:
            with held:
                return context.run(work)

        try:
            return asyncio.get_running_loop().run_in_executor(threads(), run)
        except BaseException:  # it will never run
            held.close()
            raise

    with meanwhile():
        # Only what is shielded is not taken out of a queue for threads.
        working = asyncio.shield(begin(awaited.run))
        try:
            return await working
        except asyncio.CancelledError:
            if awaited.give_up():
                begin(awaited.undo)
            raise


class _Awaited(Generic[_T]):
    """A call, and whether somebody waits for it."""

    def __init__(self, call: Callable[[], _T], if_cancelled: Callable[[_T], object] | None) -> None:
        self._call = call
        self._if_cancelled = if_cancelled
        self._lock = threading.Lock()
        self._given_up = False
        self._results: list[_T] = []

    def run(self) -> _T:
        """Call, and undo it when nobody waits any more."""
        try:
            result = self._call()
        except BaseException as error:
            if self._given_up:
                _log.warning("a call that nobody waits for any more failed: %s", error)
            raise
        with self._lock:
            self._results.append(result)
            unwanted = self._given_up
        if unwanted:
            self.undo()
        return result

    def give_up(self) -> bool:
        """Note that nobody waits any more; return whether the caller has to see to `undo`."""
        with self._lock:
            self._given_up = True
            return bool(self._results) and self._if_cancelled is not None

    def undo(self) -> None:
        """Tell what came of the call to whoever undoes it."""
        if self._if_cancelled is None:
            return
        try:
            self._if_cancelled(self._results[0])
        except Exception:  # nobody else would hear of it
            _log.exception("what a cancelled call did could not be undone")
