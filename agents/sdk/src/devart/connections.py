"""The HTTP connections of one process, kept open for as long as somebody needs them."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import httpx


class Connections:
    """Connections that close behind the last call that is under way.

    Those that a process inherits by a fork are its parent's: theirs to close, and two must not
    speak on one of them.
    """

    def __init__(self, make: Callable[[], httpx.Client]) -> None:
        self.http = make()
        self._process_id = os.getpid()
        self._lock = threading.Lock()
        self._users = 0
        self._closing = False

    @property
    def inherited(self) -> bool:
        """Whether they are the parent's."""
        return self._process_id != os.getpid()

    @contextmanager
    def in_use(self) -> Iterator[httpx.Client]:
        """Keep them open for the length of a block, which may end in another thread.

        Raises `RuntimeError` when they are closed.
        """
        with self._lock:
            if self._closing and self._users == 0:
                raise RuntimeError("this client is closed")
            self._users += 1
        try:
            yield self.http
        finally:
            self._end_use()

    def close(self) -> None:
        """Close them, or have them closed behind the last use."""
        if self.inherited:
            return
        with self._lock:
            self._closing = True
            unused = self._users == 0
        if unused:
            self.http.close()

    def _end_use(self) -> None:
        # In a child the lock may be held for ever, by a thread that was not forked.
        if self.inherited:
            return
        with self._lock:
            self._users -= 1
            unused = self._closing and self._users == 0
        if unused:
            self.http.close()
