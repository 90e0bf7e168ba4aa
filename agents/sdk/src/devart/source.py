"""Where a worker's tasks come from: the API, asked again and again, or a message broker."""

from __future__ import annotations

from typing import Protocol

from devart import arguments
from devart.agent_api import TaskApi
from devart.models import HeartbeatAnswer, Task


class TaskSource(Protocol):
    """Hands out tasks that the agent holds a lease on.

    `take` is called from one thread, the rest from any.
    """

    def open(self) -> None:
        """Get ready; called once, before everything else."""

    def take(self, room: int) -> list[Task]:
        """Wait a while for tasks, and return at most `room`, or none.

        Raises:
            DevartError: what kept it from taking any.
        """

    def settle(self, task: Task) -> None:
        """Note that the agent is through with the task, whatever came of it.

        A second time does nothing.
        """

    def notice(self, answer: HeartbeatAnswer) -> None:
        """Read what a heartbeat's answer says of where tasks are."""

    def stop(self) -> None:
        """Look for no more tasks, soon: those in hand are still worked on.

        A second time does nothing.
        """

    def close(self) -> None:
        """Let go of everything; called once, after everything else."""


class Pull:
    """Claims tasks by long poll.

    Args:
        client: the agent's client.
        wait_seconds: length of one long poll, 0 to 30.
    """

    def __init__(self, client: TaskApi, wait_seconds: int) -> None:
        self._client = client
        self._wait_seconds = arguments.whole("wait_seconds", wait_seconds, 0, 30)

    def open(self) -> None:
        """Nothing to get ready."""

    def take(self, room: int) -> list[Task]:
        """Claim up to `room` tasks."""
        return self._client.claim(room, self._wait_seconds)

    def settle(self, task: Task) -> None:
        """Nothing to note: the API knows."""

    def notice(self, answer: HeartbeatAnswer) -> None:
        """Nothing to read: a claim looks everywhere."""

    def stop(self) -> None:
        """Nothing to hurry: the worker asks no more, and a poll that is under way ends soon."""

    def close(self) -> None:
        """Nothing to let go of."""
