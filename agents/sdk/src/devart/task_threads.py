"""Threads that know for which task they work."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from typing import ParamSpec, TypeVar

_P = ParamSpec("_P")
_T = TypeVar("_T")


class TaskThreads(ThreadPoolExecutor):
    """A `ThreadPoolExecutor` whose work is done for the task of the handler that submits it.

    ::

        with TaskThreads(4) as threads:
            list(threads.map(read_page, pages))

    `spend` in such a thread is for that task, as under `asyncio.to_thread`; one executor may serve
    many tasks. Works with `loop.run_in_executor` as well.
    """

    def submit(self, fn: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> Future[_T]:
        """Do as a `ThreadPoolExecutor`, in a copy of the caller's context."""
        return super().submit(copy_context().run, partial(fn, *args, **kwargs))
