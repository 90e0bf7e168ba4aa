"""Agents that consume in a thread of the test."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from devart import AgentSDK, Task
from devart.handler import Handler


class RecordingSDK(AgentSDK):
    """Remembers which tasks were `started` by message, `claimed` from the API or `refused`."""

    def __init__(self, api_url: str, api_key: str, rabbitmq_url: str | None) -> None:
        super().__init__(api_url, api_key, rabbitmq_url, retry_seconds=1.0)
        self.started: list[str] = []
        self.refused: list[str] = []
        self.claimed: list[str] = []

    def start(self, task_id: str, key: str | None = None) -> Task | None:
        task = super().start(task_id, key)
        (self.started if task else self.refused).append(task_id)
        return task

    def claim(self, max_tasks: int = 1, wait_seconds: int = 0) -> list[Task]:
        tasks = super().claim(max_tasks, wait_seconds)
        self.claimed += [task.id for task in tasks]
        return tasks


@contextmanager
def consuming(sdk: AgentSDK, handler: Handler, **options: Any) -> Iterator[None]:
    """Consume for the length of a `with` block, then stop as at the first signal."""
    options = {"wait_seconds": 1, "heartbeat_seconds": 0.5, **options}
    failures: list[BaseException] = []

    def run() -> None:
        try:
            sdk.start_consuming(handler, **options)
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        sdk.stop()
        thread.join(timeout=30)
    assert not thread.is_alive()
    assert not failures, failures
