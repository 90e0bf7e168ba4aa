"""The task that a handler works on, for whatever it calls."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from enum import Enum
from typing import Final

from devart.models import Task


class NoTask(Enum):
    """The type of `NO_TASK`."""

    NO_TASK = "no task"


NO_TASK: Final = NoTask.NO_TASK
"""Given to `spend` as its task: this is for none, although the agent is at work on some."""

_task_in_hand: ContextVar[Task | None] = ContextVar("devart_task_in_hand", default=None)


def task_in_hand() -> Task | None:
    """Return the task whose handler is running here, or None.

    Known in the handler itself, in the coroutines that it awaits, in asyncio tasks that it starts,
    under `asyncio.to_thread` and in `TaskThreads`; not in threads that it starts by other means.
    """
    return _task_in_hand.get()


@contextlib.contextmanager
def in_hand(task: Task) -> Iterator[None]:
    """Make `task` the one in hand for the length of a `with` block."""
    token = _task_in_hand.set(task)
    try:
        yield
    finally:
        _task_in_hand.reset(token)
