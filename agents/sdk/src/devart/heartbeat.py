"""The background thread that says that this agent is alive, and keeps the leases of its tasks."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timezone
from typing import Any

from devart.agent_api import TaskApi
from devart.errors import Conflict, DevartError, Forbidden, NotFound, Unauthorized
from devart.models import HeartbeatAnswer, Task
from devart.version import VERSION

_log = logging.getLogger("devart.heartbeat")

_TICK_SECONDS = 0.5
# A third leaves room for two failed attempts before a lease ends.
_BEATS_PER_LEASE = 3
# A clock that is wrong makes leases look short, or over; this bounds what that can cost.
_MIN_PAUSE_SECONDS = 1.0


class Heartbeat:
    """Sends heartbeats and extends the leases of held tasks until stopped.

    A heartbeat names the leases to extend: those of a crashed process that used the same key are
    left to run out, and one that could not be extended is noticed by the count. A lost lease sets
    `task.lease_lost`.

    Args:
        client: the agent's client.
        interval_seconds: how often to send a heartbeat, at least; short leases make it more often.
        detail: what the agent says of itself; the SDK's version, host and process are added.
        on_stop: called once, on the heartbeat's thread, when the API asks the agent to stop or
            revokes its key.
        on_answer: called with each answer, on the heartbeat's thread.
    """

    def __init__(
        self,
        client: TaskApi,
        *,
        interval_seconds: float = 15.0,
        detail: Mapping[str, Any] | None = None,
        on_stop: Callable[[], None] | None = None,
        on_answer: Callable[[HeartbeatAnswer], None] | None = None,
    ) -> None:
        self._client = client
        self._interval_seconds = interval_seconds
        self._detail = {
            "sdk": f"devart-python/{VERSION}",
            "host": socket.gethostname(),
            "pid": os.getpid(),
            **(detail or {}),
        }
        self._on_stop = on_stop or (lambda: None)
        self._on_answer = on_answer or (lambda _: None)
        self._pauses: dict[Task, float] = {}
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._thread = threading.Thread(
            target=self._beat_until_stopped, name="devart-heartbeat", daemon=True
        )
        self.stop_requested = threading.Event()
        """Set when the API asks the agent to stop."""
        self.refused: Unauthorized | None = None
        """Why the API no longer accepts the agent's key, if so."""

    def __enter__(self) -> Heartbeat:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start the thread; the first heartbeat goes out at once."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread. Waits a second for a heartbeat that is under way, no longer."""
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join(timeout=1.0)

    @contextlib.contextmanager
    def hold(self, task: Task) -> Iterator[None]:
        """Keep the task's lease for the length of a `with` block.

        An earlier attempt at the same task that is still held has lost its lease, or there would be
        no new one.
        """
        left = (task.lease_expires_at - datetime.now(timezone.utc)).total_seconds()
        with self._lock:
            for earlier in [held for held in self._pauses if held.id == task.id]:
                earlier.lease_lost.set()
            self._pauses[task] = max(left / _BEATS_PER_LEASE, _MIN_PAUSE_SECONDS)
        try:
            yield
        finally:
            with self._lock:
                del self._pauses[task]

    def held(self) -> list[Task]:
        """Return the tasks whose leases are kept at the moment."""
        with self._lock:
            return list(self._pauses)

    def _pause(self) -> float:
        with self._lock:
            return min([self._interval_seconds, *self._pauses.values()])

    def _beat_until_stopped(self) -> None:
        while not self._ended.is_set():
            last = time.monotonic()
            self._beat()
            # Looked at again and again, since a task with a short lease may come meanwhile.
            while time.monotonic() < last + self._pause():
                if self._ended.wait(_TICK_SECONDS):
                    return

    def _beat(self) -> None:
        tasks = [task for task in self.held() if not (task.lease_lost.is_set() or task.reported)]
        try:
            answer = self._client.heartbeat(self._detail, tasks)
        except Unauthorized as error:
            _log.error("the API no longer accepts this agent's key: %s", error)
            self.refused = error
            self._ask_to_stop()
        except DevartError as error:
            _log.warning("heartbeat failed: %s", error)
        else:
            self._on_answer(answer)
            if answer.leases_extended < len(tasks):
                self._find_lost(tasks)
            if answer.stop:
                _log.info("the API asked this agent (%s) to stop", answer.status)
                self._ask_to_stop()

    def _ask_to_stop(self) -> None:
        if not self.stop_requested.is_set():
            self.stop_requested.set()
            self._on_stop()

    def _find_lost(self, tasks: list[Task]) -> None:
        """Ask for each task by itself; one that was finished meanwhile has no lease to lose."""
        for task in tasks:
            try:
                self._client.extend_lease(task)
            except (Conflict, Forbidden, NotFound) as error:
                if task in self.held() and not task.reported:
                    _log.warning(
                        "lost the lease of task %s (attempt %d): %s", task.id, task.attempt, error
                    )
                    task.lease_lost.set()
            except DevartError as error:
                _log.warning("could not extend the lease of task %s: %s", task.id, error)
