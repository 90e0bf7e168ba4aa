"""SIGINT and SIGTERM as messages in a queue, and the end of a process that must not wait."""

from __future__ import annotations

import atexit
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
# How long threads may take to end by themselves.
_GRACE_SECONDS = 2.0
_TICK_SECONDS = 0.1
_FLUSH_SECONDS = 1.0


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
    """End the process soon after its program, whatever other threads and processes are still at.

    Python waits for threads at its end, such as those of `asyncio.to_thread`, for child processes
    of `multiprocessing` and for what others have registered; `asyncio.run` waits for coroutines
    that do not let themselves be cancelled. When such a wait lasts, the exit status is that of the
    signal, 143 for SIGTERM.
    """
    # What is registered last is called first, so this comes before what others wait in.
    ending = threading.Event()
    atexit.register(ending.set)

    def end() -> None:
        waits_since: float | None = None
        while waits_since is None or time.monotonic() - waits_since < _GRACE_SECONDS:
            time.sleep(_TICK_SECONDS)
            if not (ending.is_set() or _waits_for_others()):
                waits_since = None
            elif waits_since is None:
                waits_since = time.monotonic()
        # A stream may be held by a thread that is stuck, or be a pipe that nobody reads.
        flushing = threading.Thread(target=_flush, daemon=True)
        with suppress(RuntimeError):  # there may be no more threads
            flushing.start()
            flushing.join(timeout=_FLUSH_SECONDS)
        os._exit(128 + number)

    threading.Thread(target=end, name="devart-end", daemon=True).start()


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):
            stream.flush()


# In which the main thread waits for others when its work is done.
_WAITS = frozenset(
    {
        ("threading", "_shutdown"),
        ("multiprocessing.util", "_exit_function"),
        ("asyncio.runners", "_cancel_all_tasks"),
    }
)


def _waits_for_others() -> bool:
    """Whether the program has ended, and its main thread waits for what does not end.

    Until that is over the main thread counts as alive, so joining it would wait for as long. A
    child of `multiprocessing` gets there below the frames of its parent.
    """
    frame = sys._current_frames().get(threading.main_thread().ident or 0)
    while frame is not None:
        if (frame.f_globals.get("__name__"), frame.f_code.co_name) in _WAITS:
            return True
        frame = frame.f_back
    return False
