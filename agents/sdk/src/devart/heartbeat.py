"""The background thread that says that this agent is alive, and keeps the leases of its tasks."""

from __future__ import annotations

import contextlib
import math
import os
import random
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timezone
from typing import Any

from devart import arguments
from devart.agent_api import TaskApi
from devart.errors import Conflict, DevartError, Forbidden, NotFound, Unauthorized
from devart.logs import get_logger
from devart.models import HeartbeatAnswer, Task
from devart.stops import Stop
from devart.version import VERSION

_log = get_logger("devart.heartbeat")

_TICK_SECONDS = 0.5
# A third leaves room for two failed attempts before a lease ends.
_BEATS_PER_LEASE = 3
# A clock that is wrong makes leases look short, or over; this bounds what that can cost.
_MIN_PAUSE_SECONDS = 1.0
_MIN_INTERVAL_SECONDS = 0.01
_MIN_LEASE_SECONDS = 60


class Heartbeat:
    """Sends heartbeats and extends the leases of held tasks until stopped.

    A heartbeat names the leases to extend: those of a crashed process that used the same key are
    left to run out, and one that could not be extended is noticed by the count. A lost lease sets
    `task.lease_lost`, and a stop that people put up makes `task.should_stop` true until it ends.
    Whatever fails here is logged, and the next heartbeat is sent.

    Args:
        client: the agent's client.
        interval_seconds: how often to send a heartbeat, at least; short leases make it more often.
        detail: what the agent says of itself; the SDK's version, host and process are added. Has a
            JSON form.
        on_stop: called once, on the heartbeat's thread, when the API asks the agent to stop or
            revokes its key.
        on_answer: called with each answer, on the heartbeat's thread.

    Raises:
        TypeError, ValueError: `interval_seconds` is no number of seconds, or `detail` has no JSON
            form.
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
        self._interval_seconds = arguments.seconds(
            "interval_seconds", interval_seconds, least=_MIN_INTERVAL_SECONDS
        )
        self._detail: dict[str, Any] = {
            "sdk": f"devart-python/{VERSION}",
            "host": socket.gethostname(),
            "pid": os.getpid(),
            **client.json_form(detail or {}, "detail"),
        }
        self._on_stop = on_stop or (lambda: None)
        self._on_answer = on_answer or (lambda _: None)
        self._pauses: dict[Task, float] = {}
        # Below a helper that holds its task, another may do so.
        self._holds: dict[Task, int] = {}
        self._lock = threading.Lock()
        self._told_of_held_interpreter = False
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
            earlier = [held for held in self._pauses if held.id == task.id and held is not task]
            self._holds[task] = self._holds.get(task, 0) + 1
            self._pauses[task] = max(left / _BEATS_PER_LEASE, _MIN_PAUSE_SECONDS)
        try:
            # Without the lock: this calls what others gave.
            for one in earlier:
                one.lease_lost.set()
            yield
        finally:
            with self._lock:
                self._holds[task] -= 1
                if self._holds[task] == 0:
                    del self._holds[task], self._pauses[task]

    def held(self) -> list[Task]:
        """Return the tasks whose leases are kept at the moment."""
        with self._lock:
            return list(self._pauses)

    def _pause(self) -> float:
        with self._lock:
            return min([self._interval_seconds, *self._pauses.values()])

    def _shortest_lease(self) -> float:
        with self._lock:
            return min(self._pauses.values(), default=math.inf) * _BEATS_PER_LEASE

    def _beat_until_stopped(self) -> None:
        while not self._ended.is_set():
            last = time.monotonic()
            try:
                self._beat()
            except BaseException:  # without heartbeats every task in hand would be lost
                _log.exception("a heartbeat failed, the next one follows")
            # Looked at again and again, since a task with a short lease may come meanwhile.
            while time.monotonic() < last + self._pause():
                if self._wait():
                    return

    def _wait(self) -> bool:
        """Wait a moment, and return whether this ended. Tells when it was a long one."""
        lease_seconds = self._shortest_lease()
        asleep_at = time.monotonic()
        if self._ended.wait(_TICK_SECONDS):
            return True
        held_seconds = time.monotonic() - asleep_at - _TICK_SECONDS
        if held_seconds > lease_seconds and not self._told_of_held_interpreter:
            self._told_of_held_interpreter = True
            _log.warning(
                "something held the Python interpreter for %.1f s, and a lease lasts %.1f s: no "
                "heartbeat could be sent, and tasks in hand may be lost. Work that lets no other "
                "thread run belongs into a process of its own. This is said once",
                held_seconds,
                lease_seconds,
            )
        return False

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
            self._note_stops(answer.stops)
            _call("on_answer", lambda: self._on_answer(answer))
            if answer.leases_extended < len(tasks):
                self._find_lost(tasks)
            if answer.stop:
                _log.info("the API asked this agent (%s) to stop", answer.status)
                self._ask_to_stop()

    def _note_stops(self, stops: tuple[Stop, ...]) -> None:
        """Tell the tasks in hand which of them people have stopped, and which may go on again."""
        for task in self.held():
            stop = next((stop for stop in stops if stop.is_for(task.id)), None)
            reason = None if stop is None else str(stop)
            if reason != task.stop_notice.reason:
                _log.info("task %s: %s", task.id, reason or "no longer stopped")
                task.stop_notice.reason = reason

    def _ask_to_stop(self) -> None:
        if not self.stop_requested.is_set():
            self.stop_requested.set()
            _call("on_stop", self._on_stop)

    def _find_lost(self, tasks: list[Task]) -> None:
        """Ask for each task by itself; one that was finished meanwhile has no lease to lose.

        Whatever gets no answer is asked again after the next heartbeat, which is not late for it:
        the leases of the other tasks hang on that.
        """
        pause = self._pause()
        give_up_at = time.monotonic() + pause / 2
        # An extension also shortens, and must not end a lease before the next heartbeats.
        seconds = min(max(_MIN_LEASE_SECONDS, math.ceil(_BEATS_PER_LEASE * pause)), 86_400)
        # In another order each time, so that no task is always the one for which no time was left.
        for task in random.sample(tasks, len(tasks)):
            if time.monotonic() > give_up_at:
                return
            try:
                self._client.extend_lease(task, seconds, retry_seconds=0)
            except (Conflict, Forbidden, NotFound) as error:
                if task in self.held() and not task.reported:
                    _log.warning(
                        "lost the lease of task %s (attempt %d): %s", task.id, task.attempt, error
                    )
                    task.lease_lost.set()
            except DevartError as error:
                _log.warning("could not extend the lease of task %s: %s", task.id, error)


def _call(name: str, callback: Callable[[], object]) -> None:
    """Call what others gave; what it raises is theirs, and must not end the heartbeats."""
    try:
        callback()
    except BaseException:
        _log.exception("%s raised", name)
