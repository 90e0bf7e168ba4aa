"""SIGINT and SIGTERM as messages in a queue, and the end of a process that must not wait."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from queue import SimpleQueue
from types import FrameType
from typing import Any

from devart.logs import get_logger

_log = get_logger("devart.signals")

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


# For what the program does at its end: buffers, temporary files.
_GRACE_SECONDS = 2.0


@contextmanager
def forward_signals(inbox: SimpleQueue[Any]) -> Iterator[None]:
    """Put the signal into `inbox` instead of raising.

    Outside the main thread, where Python allows no handlers, do nothing. In a process that is
    forked meanwhile, signals have the effect that they had before.

    A signal handler runs between any two instructions of the main thread, so it must take no lock
    that this thread may hold: `SimpleQueue.put` is made for that, and the rest is done by whoever
    reads the queue.
    """
    if threading.current_thread() is not threading.main_thread():
        _log.info("signals are not listened to outside of the main thread: stop() ends the work")
        yield
        return
    process_id = os.getpid()

    def forward(number: int, _: FrameType | None) -> None:
        if os.getpid() == process_id:
            inbox.put(signal.Signals(number))
        else:
            signal.signal(number, before[signal.Signals(number)] or signal.SIG_DFL)
            os.kill(os.getpid(), number)

    before = {number: signal.getsignal(number) for number in _SIGNALS}
    for number in _SIGNALS:
        signal.signal(number, forward)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler or signal.SIG_DFL)


def end_with_main_thread(number: signal.Signals) -> None:
    """End the process soon after its main thread, whatever other threads are still at.

    Python waits for threads at its end, such as those of `asyncio.to_thread`: for as long as a
    handler takes that was given up. Then the exit status is that of the signal, 143 for SIGTERM.
    """

    def end() -> None:
        threading.main_thread().join()
        time.sleep(_GRACE_SECONDS)
        with suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(128 + number)

    threading.Thread(target=end, name="devart-end", daemon=True).start()
