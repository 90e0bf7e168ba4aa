"""The client: one method for each thing that an agent may ask of the API."""

from __future__ import annotations

import math
import uuid
from collections.abc import Iterable, Mapping
from datetime import datetime
from decimal import Decimal
from types import TracebackType
from typing import Any, TypeVar
from urllib.parse import quote

from devart.answers import read_answer
from devart.errors import Conflict
from devart.handler import Handler
from devart.models import HeartbeatAnswer, Task, TaskRecord, TaskState
from devart.money import Money, exact_usd
from devart.source import Pull, TaskSource
from devart.tracing import traceparent_for_child
from devart.transport import Patience, Transport
from devart.worker import Worker

_ClientT = TypeVar("_ClientT", bound="Client")

# A heartbeat that is late is worth less than the next one, so it is not repeated.
_HEARTBEAT_PATIENCE = Patience(answer_seconds=10.0, retry_seconds=0.0)


class Client(Money):
    """An agent's connection to devart. Safe to use from several threads.

    Every method raises `Unauthorized` when the key is not accepted, `InvalidArgument` when the API
    refuses an argument and `Unavailable` when there was no answer within `retry_seconds`; further
    errors are listed with each method. Lost answers are retried with growing pauses where a
    repetition does no harm, which is all calls.

    Args:
        api_url: where the API listens, such as `http://127.0.0.1:8080`.
        api_key: the agent's key, as shown once when it was registered (`dva_...`).
        retry_seconds: for how long a call goes on retrying when the API does not answer.

    Raises:
        ValueError: the URL is not an http(s) URL, or the key is empty.
    """

    def __init__(self, api_url: str, api_key: str, *, retry_seconds: float = 30.0) -> None:
        if not api_url.startswith(("http://", "https://")):
            raise ValueError(f"api_url must begin with http:// or https://, not {api_url!r}")
        if not api_key.strip():
            raise ValueError("api_key must not be empty")
        self._transport = Transport(api_url, api_key.strip())
        self._patience = Patience(retry_seconds=retry_seconds)
        self._worker: Worker | None = None

    def __enter__(self: _ClientT) -> _ClientT:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections. Leases held by hand are not given back; they run out."""
        self._transport.close()

    def claim(self, max_tasks: int = 1, wait_seconds: int = 0) -> list[Task]:
        """Claim tasks that the agent is able to do, the most urgent first.

        Args:
            max_tasks: how many at most, 1 to 100.
            wait_seconds: how long the API holds the call open when there is nothing to do, 0 to 30.

        Returns:
            The tasks, each with a lease; empty when there was nothing to do. Should the answer get
            lost on the way, it is asked for again, and the same tasks come with the same leases.

        Raises:
            Forbidden: the agent is deactivated.
        """
        patience = Patience(
            wait_seconds + self._patience.answer_seconds, self._patience.retry_seconds
        )
        body = {"max_tasks": max_tasks, "wait_seconds": wait_seconds}
        answer = self._call("POST", "/api/tasks/claim", body, patience, _key())
        return [] if answer is None else read_answer(_tasks, answer)

    def start(self, task_id: str, key: str | None = None) -> Task | None:
        """Claim one particular task, such as one that was announced by a message.

        Should the answer get lost on the way, it is asked for again, and the task comes with the
        same lease.

        Args:
            task_id: the task's UUID.
            key: names this attempt to get it, so that a further call finds the lease of one that
                failed. By default each call is an attempt of its own.

        Returns:
            The task, or None when it is no longer to be had, or not for this agent.

        Raises:
            Forbidden: the agent is deactivated.
        """
        path = f"/api/tasks/{quote(task_id, safe='')}/start"
        try:
            return read_answer(Task.from_json, self._call("POST", path, {}, headers=_key(key)))
        except Conflict:
            return None

    def extend_lease(self, task: Task, seconds: int = 60) -> TaskState:
        """Keep a task for `seconds` from now, and note the new end in `task.lease_expires_at`.

        Raises:
            LeaseLost: the task is no longer this agent's.
        """
        body = {"lease_token": task.lease_token, "seconds": seconds}
        state = self._report(task, "POST", "extend-lease", body)
        if state.lease_expires_at is not None:
            task.lease_expires_at = state.lease_expires_at
        return state

    def complete(self, task: Task, result: object = None) -> TaskState:
        """Finish a task.

        Args:
            task: a task from `claim` or `start`.
            result: anything that has a JSON form, with `Decimal` for exact numbers.

        Raises:
            LeaseLost: the task is no longer this agent's; the result was not stored.
            TypeError, ValueError: `result` has no JSON form.
        """
        return self.update_task_status(task, "DONE", result=result)

    def update_task_status(
        self, task: Task, status: str, *, result: object = None, error: str | None = None
    ) -> TaskState:
        """End a task: as DONE, or as FAILED for good.

        For a failure that may pass there is `report_failure`.

        A handler may do this by itself; what it returns or raises afterwards is then not reported
        any more.

        Args:
            task: a task from `claim` or `start`.
            status: DONE or FAILED.
            result: with DONE, anything that has a JSON form, with `Decimal` for exact numbers.
            error: with FAILED, what went wrong, for people.

        Raises:
            LeaseLost: the task is no longer this agent's; nothing was stored.
            InvalidArgument: another status, or a result with FAILED, or an error with DONE.
            TypeError, ValueError: `result` has no JSON form.
        """
        body: dict[str, Any] = {"status": status, "lease_token": task.lease_token}
        if result is not None:
            body["result"] = result
        if error is not None:
            body["error"] = error
        # Ending twice is refused but for DONE; the key makes a repetition find the first answer.
        headers = None if status == "DONE" else {"Idempotency-Key": f"status-{task.lease_token}"}
        return self._report_end(task, "PUT", "status", body, headers)

    def report_failure(
        self, task: Task, error: str, retryable: bool = True, retry_after: float | None = None
    ) -> TaskState:
        """Give a task up.

        Args:
            task: a task from `claim` or `start`.
            error: what went wrong, for people.
            retryable: whether another attempt may succeed; False sends the task to FAILED.
            retry_after: seconds until the next attempt at the earliest, rounded up; the server's
                backoff may be longer.

        Returns:
            The task's new state: SCHEDULED with `run_at`, or FAILED when no attempt is left.

        Raises:
            LeaseLost: the task is no longer this agent's.
        """
        body = {
            "lease_token": task.lease_token,
            "error": error,
            "retryable": retryable,
            "retry_after_seconds": None if retry_after is None else math.ceil(retry_after),
        }
        # A failure ends the lease, so a repetition would be refused; the key makes it find the
        # first answer.
        return self._report_end(
            task, "POST", "report-failure", body, {"Idempotency-Key": f"failure-{task.lease_token}"}
        )

    def create_task(  # noqa: PLR0913 - as many as a task has fields
        self,
        title: str,
        *,
        parent: Task | None = None,
        description: str | None = None,
        priority: str | None = None,
        payload: object = None,
        required_capabilities: Iterable[str] = (),
        depends_on: Iterable[str] = (),
        run_at: datetime | None = None,
        max_retries: int = 3,
        service_id: str | None = None,
        estimated_cost_usd: Decimal | int | str | None = None,
        key: str | None = None,
    ) -> TaskRecord:
        """Create a task. An agent may create children of a task that it is working on.

        The trace context goes along: the current span's where OpenTelemetry is installed, else the
        parent's.

        Args:
            title: 1 to 500 characters.
            parent: the task in hand.
            description: for people, at most 64 KiB.
            priority: CRITICAL, HIGH, MEDIUM or LOW; None takes the parent's.
            payload: what the agent needs to know, a JSON form of at most 256 KiB.
            required_capabilities: only agents with all of these may take it.
            depends_on: ids of tasks that must be DONE first.
            run_at: not before this time, which has a zone.
            max_retries: how many more attempts after the first, 0 to 100.
            service_id: the service that the work is meant to be charged to.
            estimated_cost_usd: with a service, US dollars to set aside when the task is handed out;
                until they are there it waits. A float is refused.
            key: names this task among the parent's children: creating it again, in a later attempt
                at the parent, finds the first one, provided that all else is the same. None creates
                another each time.

        Raises:
            Forbidden: the parent is not, or no longer, this agent's, or there is none.
            Conflict: the key was used for another task.
            TypeError, ValueError: `payload` has no JSON form.
        """
        body = {
            "title": title,
            "parent_task_id": parent.id if parent else None,
            "description": description,
            "priority": priority,
            "payload": {} if payload is None else payload,
            "required_capabilities": list(required_capabilities),
            "depends_on": list(depends_on),
            "run_at": run_at.isoformat() if run_at else None,
            "max_retries": max_retries,
            "service_id": service_id,
            "estimated_cost_usd": exact_usd("estimated_cost_usd", estimated_cost_usd),
        }
        # A lost answer is asked for again, so there is a key in any case.
        headers = _key(f"child-{parent.id if parent else None}-{key}" if key else None)
        if traceparent := traceparent_for_child(parent):
            headers["traceparent"] = traceparent
        return read_answer(
            TaskRecord.from_json, self._call("POST", "/api/tasks", body, headers=headers)
        )

    def task(self, task_id: str) -> TaskRecord:
        """Look at a task that this agent has, had or created, such as to read a child's result.

        Raises:
            NotFound: there is no such task, or none that this agent may see.
        """
        return read_answer(
            TaskRecord.from_json, self._call("GET", f"/api/tasks/{quote(task_id, safe='')}", None)
        )

    def heartbeat(
        self, detail: Mapping[str, Any] | None = None, tasks: Iterable[Task] | None = None
    ) -> HeartbeatAnswer:
        """Say that the agent is alive, and extend leases. Not retried: send the next one instead.

        Args:
            detail: what the agent says of itself, shown to people; has a JSON form.
            tasks: those whose leases to extend; None extends all of the agent's, even those that a
                crashed process with the same key left behind.
        """
        body = dict(detail or {})
        if tasks is not None:
            body["lease_tokens"] = [task.lease_token for task in tasks]
        answer = self._call("PUT", "/api/agents/heartbeat", {"detail": body}, _HEARTBEAT_PATIENCE)
        return read_answer(HeartbeatAnswer.from_json, answer)

    def run(
        self,
        handler: Handler,
        max_tasks: int | None = None,
        concurrency: int = 1,
        *,
        wait_seconds: int = 5,
        heartbeat_seconds: float = 15.0,
    ) -> int:
        """Claim tasks and hand each to `handler` until told to stop.

        See `Worker` for the whole of it.

        Args:
            handler: takes a `Task`, returns its result (anything with a JSON form, or None); plain
                or async.
            max_tasks: stop after this many tasks; None goes on.
            concurrency: how many tasks to work on at once. Plain handlers then run in several
                threads.
            wait_seconds: length of one long poll, 0 to 30; an idle agent takes up to this long to
                stop.
            heartbeat_seconds: how often to send a heartbeat.

        Returns:
            How many tasks were taken.

        Raises:
            Forbidden: the agent is deactivated and nobody asked it to stop.
            RuntimeError: this client is running already.
        """
        return self._work(
            handler, Pull(self, wait_seconds), max_tasks, concurrency, heartbeat_seconds
        )

    def stop(self) -> None:
        """Make `run` return when the tasks in hand are finished.

        Without a running `run`, does nothing.
        """
        worker = self._worker
        if worker is not None:
            worker.stop()

    def _work(
        self,
        handler: Handler,
        source: TaskSource,
        max_tasks: int | None,
        concurrency: int,
        heartbeat_seconds: float,
    ) -> int:
        if self._worker is not None:
            raise RuntimeError("this client is running already")
        self._worker = Worker(
            self,
            handler,
            source,
            max_tasks=max_tasks,
            concurrency=concurrency,
            heartbeat_seconds=heartbeat_seconds,
        )
        try:
            return self._worker.run()
        finally:
            self._worker = None

    def _report_end(
        self,
        task: Task,
        method: str,
        action: str,
        body: dict[str, Any],
        headers: dict[str, str] | None,
    ) -> TaskState:
        state = self._report(task, method, action, body, headers)
        task.reported = True
        return state

    def _report(
        self,
        task: Task,
        method: str,
        action: str,
        body: dict[str, Any],
        headers: dict[str, str] | None = None,
    ) -> TaskState:
        answer = self._call(method, f"/api/tasks/{task.id}/{action}", body, headers=headers)
        return read_answer(TaskState.from_json, answer)

    def _call(
        self,
        method: str,
        path: str,
        body: object,
        patience: Patience | None = None,
        headers: dict[str, str] | None = None,
    ) -> Any:
        return self._transport.request(
            method, path, body, patience or self._patience, headers or {}
        )


def _tasks(answer: Mapping[str, Any]) -> list[Task]:
    return [Task.from_json(row) for row in answer["items"]]


def _key(key: str | None = None) -> dict[str, str]:
    return {"Idempotency-Key": key or str(uuid.uuid4())}
