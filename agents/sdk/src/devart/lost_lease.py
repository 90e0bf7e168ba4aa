"""The flag that a task's lease is lost."""

from __future__ import annotations

import threading
from collections.abc import Callable

from devart.logs import get_logger

_log = get_logger("devart.lost_lease")


class LostLease:
    """Set once, when the SDK learns that a task is no longer this agent's.

    As a `threading.Event`, but it can be copied and sent to another process. A copy in the same
    process is the same flag; one in another process says what was known when it was sent.
    """

    def __init__(self, lost: bool = False) -> None:
        self._event = threading.Event()
        self._lock = threading.Lock()
        self._callbacks: list[Callable[[], object]] = []
        if lost:
            self._event.set()

    def is_set(self) -> bool:
        """Whether the lease is lost."""
        return self._event.is_set()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the lease is lost, at most `timeout` seconds; return whether it is."""
        return self._event.wait(timeout)

    def set(self) -> None:
        """Note that the lease is lost, and call what waits for that."""
        with self._lock:
            self._event.set()
            callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            _call(callback)

    def on_loss(self, callback: Callable[[], object]) -> None:
        """Call `callback` once when the lease is lost, at once when it is already.

        On whatever thread learns of it, so it must not block. What it raises is logged.
        """
        with self._lock:
            if not self._event.is_set():
                self._callbacks.append(callback)
                return
        _call(callback)

    def __copy__(self) -> LostLease:
        return self

    def __deepcopy__(self, _: object) -> LostLease:
        return self

    def __reduce__(self) -> tuple[type[LostLease], tuple[bool]]:
        return LostLease, (self.is_set(),)


def _call(callback: Callable[[], object]) -> None:
    """Call what others gave: it must not keep anybody from hearing of this or another task."""
    try:
        callback()
    except BaseException:
        _log.exception("a callback for a lost lease raised")
