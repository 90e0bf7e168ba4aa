"""SIGINT and SIGTERM as messages in a queue."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from queue import SimpleQueue
from typing import Any

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def forward_signals(inbox: SimpleQueue[Any]) -> Iterator[None]:
    """Put the signal into `inbox` instead of raising.

    Outside the main thread, where Python allows no handlers, do nothing.

    A signal handler runs between any two instructions of the main thread, so it must take no lock
    that this thread may hold: `SimpleQueue.put` is made for that, and the rest is done by whoever
    reads the queue.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {
        number: signal.signal(number, lambda n, _: inbox.put(signal.Signals(n)))
        for number in _SIGNALS
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler or signal.SIG_DFL)
