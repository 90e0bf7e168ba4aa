"""The client: one method for each thing that an agent may ask of the API."""

from __future__ import annotations

import asyncio
import math
import os
import uuid
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from decimal import Decimal
from types import TracebackType
from typing import Any, NoReturn, TypeVar, cast
from urllib.parse import quote

from devart import arguments
from devart.answers import read_answer
from devart.errors import Conflict, DevartError, ServerError
from devart.events import refuse_in_event_loop
from devart.handler import Handler
from devart.json_form import Hook, json_form, marked
from devart.late_settlements import LateSettlements
from devart.logs import get_logger
from devart.models import HeartbeatAnswer, PayloadT, Task, TaskRecord, TaskState
from devart.money import Money
from devart.newer_api import NewerApi
from devart.source import Pull, TaskSource
from devart.text import storable
from devart.threads import in_thread
from devart.tracing import traceparent_for_child
from devart.transport import Patience, Transport
from devart.usd import exact_usd
from devart.worker import Worker

_log = get_logger("devart.client")

_T = TypeVar("_T")
_ClientT = TypeVar("_ClientT", bound="Client")

# A heartbeat that is late is worth less than the next one, so it is not repeated.
_HEARTBEAT_PATIENCE = Patience(answer_seconds=10.0, retry_seconds=0.0)
# Whoever gives a task back is about to leave, and the lease ends by itself.
_LEAVING_PATIENCE = Patience(answer_seconds=5.0, retry_seconds=5.0)
# Whoever connects to a broker tries again by itself.
_LOGIN_PATIENCE = Patience(answer_seconds=5.0, retry_seconds=0.0)
_MAX_ERROR_CHARACTERS = 10_000
_MAX_TIMEOUT_SECONDS = 2_592_000


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
        json_hook: gives a JSON form to what has none of its own, in results and payloads; see
            `devart.json_form`.

    Raises:
        TypeError, ValueError: the URL is not an http(s) URL, the key is empty or has characters
            that no key has, or `retry_seconds` is no number of seconds.
    """

    def __init__(
        self,
        api_url: str,
        api_key: str,
        *,
        retry_seconds: float = 30.0,
        json_hook: Hook | None = None,
    ) -> None:
        if json_hook is not None:
            arguments.function("json_hook", json_hook)
        self._json_hook = json_hook
        self._transport = Transport(
            arguments.api_url(api_url), arguments.api_key(api_key), json_hook
        )
        self._patience = Patience(retry_seconds=arguments.seconds("retry_seconds", retry_seconds))
        self._newer_api = NewerApi()
        self._late_settlements = LateSettlements(self._settle_late)
        self._agent_id: str | None = None
        # By process: what ran before a fork runs in the other one.
        self._workers: dict[int, Worker] = {}
        self._closing = False

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "a client is not sent to other processes: it has a key and connections. Make one "
            "there, with AgentSDK.from_env() for example"
        )

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
        """Close the connections. Leases held by hand are not given back; they run out.

        While `run` is at work, in another thread or in a handler, this tells it to stop, and the
        connections close when the tasks in hand are finished. So they do behind calls that are
        under way in other threads. From then on every call raises `RuntimeError`.
        """
        self._closing = True
        if (worker := self._running_worker()) is not None:
            worker.stop()
        else:
            self._close_connections()

    def _close_connections(self) -> None:
        self._late_settlements.close()
        self._transport.close()

    def claim(self, max_tasks: int = 1, wait_seconds: int = 0) -> list[Task]:
        """Claim tasks that the agent is able to do, the most urgent first.

        Args:
            max_tasks: how many at most, 1 to 100.
            wait_seconds: how long the API holds the call open when there is nothing to do, 0 to 30.

        Returns:
            The tasks, each with a lease; empty when there was nothing to do. Should the answer get
            lost on the way, it is asked for again, and the same tasks come with the same leases.

        A task that this SDK cannot read is failed with the reason; the others are returned.

        Raises:
            Forbidden: the agent is deactivated.
            ServerError: an answer, or every task in it, could not be read.
            TypeError, ValueError: an argument is not such a number.
        """
        arguments.whole("max_tasks", max_tasks, 1, 100)
        arguments.whole("wait_seconds", wait_seconds, 0, 30)
        patience = Patience(
            # Each may have a large payload, and the line may be slow.
            wait_seconds + self._patience.answer_seconds + max_tasks,
            self._patience.retry_seconds,
        )
        body = {"max_tasks": max_tasks, "wait_seconds": wait_seconds}
        return self._readable(
            self._call("POST", "/api/tasks/claim", body, patience, _key(), read=_rows)
        )

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
        path = f"/api/tasks/{quote(arguments.identifier('task_id', task_id), safe='')}/start"
        try:
            answer = self._call("POST", path, {}, headers=_key("key", key), read=_row)
        except Conflict:
            return None
        return self._readable([answer])[0]

    def _readable(self, rows: list[Any]) -> list[Task]:
        """Read tasks; one that cannot be read is set aside, so that it harms no other."""
        tasks: list[Task] = []
        failure: ServerError | None = None
        for row in rows:
            try:
                tasks.append(read_answer(Task.from_json, row))
            except ServerError as error:
                self._set_aside(row, error)
                failure = error
        if failure is not None and not tasks:
            raise failure
        return tasks

    def _set_aside(self, row: Any, error: ServerError) -> None:
        members = row if isinstance(row, Mapping) else {}
        task_id, lease_token = members.get("task_id"), members.get("lease_token")
        _log.error("task %s cannot be read: %s", str(task_id), error)
        if not (isinstance(task_id, str) and isinstance(lease_token, str)):
            return
        body = {
            "lease_token": lease_token,
            "error": _error_text(f"this agent's SDK cannot read the task: {error.detail}"),
            "retryable": False,
        }
        path = f"/api/tasks/{quote(task_id, safe='')}/report-failure"
        headers = {"Idempotency-Key": f"failure-{quote(lease_token, safe='')}"}
        try:
            self._call("POST", path, body, _LEAVING_PATIENCE, headers)
        except DevartError as refusal:  # its lease will run out
            _log.error("task %s could not be set aside: %s", task_id, refusal)

    def extend_lease(
        self, task: Task, seconds: int = 60, *, retry_seconds: float | None = None
    ) -> TaskState:
        """Keep a task for `seconds` from now, and note the new end in `task.lease_expires_at`.

        Args:
            task: a task from `claim` or `start`.
            seconds: 1 to 86,400.
            retry_seconds: for how long to go on when the API does not answer; None for as long as
                this client always does.

        Raises:
            LeaseLost: the task is no longer this agent's.
            TypeError, ValueError: `seconds` is not such a number.
        """
        patience = self._patience
        if retry_seconds is not None:
            patience = Patience(10.0, arguments.seconds("retry_seconds", retry_seconds))
        body = {
            "lease_token": _token(task),
            "seconds": arguments.whole("seconds", seconds, 1, 86_400),
        }
        state = self._report(task, "POST", "extend-lease", body, patience=patience)
        if state.lease_expires_at is not None:
            task.lease_expires_at = state.lease_expires_at
        return state

    def give_back(self, task: Task) -> None:
        """Give a task back without a word on it: it is to be had again, and that costs no retry.

        Raises:
            LeaseLost: the task is no longer this agent's.
        """
        # Given back it is nobody's, so a repetition would be refused; the key makes it find the
        # first answer.
        headers = {"Idempotency-Key": f"release-{_token(task)}"}
        body = {"lease_token": task.lease_token}
        self._report(task, "POST", "release", body, headers, _LEAVING_PATIENCE)
        task.reported = True

    def json_form(self, value: object, name: str = "the value") -> Any:
        """Return what a result or payload is sent as.

        See `devart.json_form`.

        Raises:
            TypeError, ValueError: a part of it has no JSON form; the text says which.
        """
        return json_form(value, name, self._json_hook)

    def complete(self, task: Task, result: object = None) -> TaskState:
        """Finish a task.

        Args:
            task: a task from `claim` or `start`.
            result: anything that has a JSON form (`devart.json_form`), `Decimal` for exact numbers.

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
            error: with FAILED, what went wrong, for people; as for `report_failure`.

        Raises:
            LeaseLost: the task is no longer this agent's; nothing was stored.
            InvalidArgument: another status, or a result with FAILED, or an error with DONE.
            TypeError, ValueError: `result` has no JSON form.
        """
        body: dict[str, Any] = {
            "status": arguments.text("status", status),
            "lease_token": _token(task),
        }
        if result is not None:
            body["result"] = marked(self.json_form(result, "result"))
        if error is not None:
            body["error"] = _error_text(error)
        # Ending twice is refused but for DONE; the key makes a repetition find the first answer.
        headers = None if status == "DONE" else {"Idempotency-Key": f"status-{task.lease_token}"}
        return self._report_end(task, "PUT", "status", body, headers)

    def report_failure(
        self, task: Task, error: str, retryable: bool = True, retry_after: float | None = None
    ) -> TaskState:
        """Give a task up.

        Args:
            task: a task from `claim` or `start`.
            error: what went wrong, for people. What cannot be stored is escaped visibly (NUL,
                halves of surrogates), and 10,000 characters are kept.
            retryable: whether another attempt may succeed; False sends the task to FAILED.
            retry_after: seconds until the next attempt at the earliest, 0 to a year, rounded up;
                the server's backoff may be longer.

        Returns:
            The task's new state: SCHEDULED with `run_at`, or FAILED when no attempt is left.

        Raises:
            LeaseLost: the task is no longer this agent's.
            TypeError, ValueError: `retry_after` is no such number of seconds, or `retryable` is
                neither True nor False.
        """
        pause = arguments.retry_after(retry_after)
        body = {
            "lease_token": _token(task),
            "error": _error_text(error),
            "retryable": arguments.flag("retryable", retryable),
            "retry_after_seconds": None if pause is None else math.ceil(pause),
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
        timeout_seconds: int | None = None,
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
            timeout_seconds: how long an attempt may run, whatever its heartbeats say: 1 to
                2,592,000, which are 30 days. None for no limit.
            key: names this task among the parent's children: creating it again, in a later attempt
                at the parent, by whichever agent, finds the first one, provided that all else is
                the same. None creates another each time. At most 150 printable ASCII characters.

        Raises:
            Forbidden: the parent is not, or no longer, this agent's, or there is none.
            Conflict: the key was used for another task.
            TypeError, ValueError: `payload` has no JSON form, `required_capabilities` or
                `depends_on` is one text and not a list, `max_retries` or `timeout_seconds` is no
                such number, `run_at` has no zone, or `key` is not such a text.
        """
        if parent is not None:
            _token(parent, "parent")
        body = {
            "title": arguments.text("title", title),
            "parent_task_id": parent.id if parent else None,
            "description": description and arguments.text("description", description),
            "priority": None if priority is None else arguments.text("priority", priority),
            "payload": {} if payload is None else marked(self.json_form(payload, "payload")),
            "required_capabilities": arguments.names(
                "required_capabilities", required_capabilities
            ),
            "depends_on": arguments.names("depends_on", depends_on),
            "run_at": arguments.moment("run_at", run_at),
            "max_retries": arguments.whole("max_retries", max_retries, 0, 100),
            "service_id": service_id and arguments.identifier("service_id", service_id),
            "estimated_cost_usd": exact_usd("estimated_cost_usd", estimated_cost_usd),
        }
        if timeout_seconds is not None:
            body["timeout_seconds"] = arguments.whole(
                "timeout_seconds", timeout_seconds, 1, _MAX_TIMEOUT_SECONDS
            )
        # A lost answer is asked for again, so there is a key in any case.
        arguments.idempotency_key("key", key)
        name = None if key is None else f"child-{parent.id if parent else None}-{key}"
        headers = _key("key, behind the parent's id,", name)
        if traceparent := traceparent_for_child(parent):
            headers["traceparent"] = traceparent
        read = TaskRecord.from_json
        return cast(TaskRecord, self._call("POST", "/api/tasks", body, headers=headers, read=read))

    def task(self, task_id: str) -> TaskRecord:
        """Look at a task that this agent has, had or created, such as to read a child's result.

        Raises:
            NotFound: there is no such task, or none that this agent may see.
        """
        path = f"/api/tasks/{quote(arguments.identifier('task_id', task_id), safe='')}"
        return cast(TaskRecord, self._call("GET", path, None, read=TaskRecord.from_json))

    def heartbeat(
        self, detail: Mapping[str, Any] | None = None, tasks: Iterable[Task] | None = None
    ) -> HeartbeatAnswer:
        """Say that the agent is alive, and extend leases. Not retried: send the next one instead.

        Args:
            detail: what the agent says of itself, shown to people; has a JSON form. A member
                `lease_tokens` is devart's own, and left out.
            tasks: those whose leases to extend; None extends all of the agent's, even those that a
                crashed process with the same key left behind.
        """
        body = dict(detail or {})
        body.pop("lease_tokens", None)
        if tasks is not None:
            body["lease_tokens"] = [_token(task, "each of tasks") for task in tasks]
        answer = self._call("PUT", "/api/agents/heartbeat", {"detail": body}, _HEARTBEAT_PATIENCE)
        return read_answer(HeartbeatAnswer.from_json, answer)

    def broker_login(self) -> tuple[str, str]:
        """Return what an agent logs in to RabbitMQ with: its id and its key.

        `AgentSDK` does it for a broker's URL without a user; this is for other consumers. The API
        is asked once, with no repetition: whoever connects to a broker tries again by itself.

        Raises:
            Forbidden: the agent is deactivated.
            Unauthorized: the key is not accepted.
            Unavailable: the API did not answer at once.
            ServerError: its answer could not be read.
        """
        if self._agent_id is None:
            answer = self._call("GET", "/api/me", None, _LOGIN_PATIENCE)
            self._agent_id = read_answer(_id, answer)
        return self._agent_id, self._transport.api_key

    def run(
        self,
        handler: Callable[[Task[PayloadT]], Any],
        max_tasks: int | None = None,
        concurrency: int = 1,
        *,
        wait_seconds: int = 5,
        heartbeat_seconds: float = 15.0,
        read_payload: Callable[[Any], PayloadT] | None = None,
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
            read_payload: makes of a payload what the handler wants to have, such as a dataclass.
                What it refuses, by raising, fails its task for good.

        Returns:
            How many tasks were taken.

        Raises:
            Forbidden: the agent is deactivated and nobody asked it to stop.
            RuntimeError: this client is running already or is closed, or the thread runs an event
                loop.
            TypeError, ValueError: an argument is not what it must be.
        """
        refuse_in_event_loop()
        source = Pull(self, wait_seconds)
        return self._work(
            self._worker_for(
                handler, source, max_tasks, concurrency, heartbeat_seconds, read_payload
            )
        )

    def stop(self) -> bool:
        """Make `run` return when the tasks in hand are finished.

        Return whether there was a run to stop: before one this does nothing, and is not remembered.
        """
        worker = self._running_worker()
        if worker is None:
            _log.info("stop() found nothing to stop: this client is not running")
            return False
        worker.stop()
        return True

    def _running_worker(self) -> Worker | None:
        return self._workers.get(os.getpid())

    def _worker_for(
        self,
        handler: Handler,
        source: TaskSource,
        max_tasks: int | None,
        concurrency: int,
        heartbeat_seconds: float,
        read_payload: Callable[[Any], Any] | None,
        loop: asyncio.AbstractEventLoop | None = None,
    ) -> Worker:
        """Make the worker that `stop` stops from now on; `_work` it next."""
        worker = Worker(
            self,
            handler,
            source,
            max_tasks=max_tasks,
            concurrency=concurrency,
            heartbeat_seconds=heartbeat_seconds,
            read_payload=read_payload,
            loop=loop,
        )
        # Looked for and noted in one: two threads may come at the same time.
        if self._workers.setdefault(os.getpid(), worker) is not worker:
            raise RuntimeError("this client is running already")
        if self._closing:
            self._workers.pop(os.getpid(), None)
            raise RuntimeError("this client is closed")
        return worker

    def _work(self, worker: Worker) -> int:
        try:
            return worker.run()
        finally:
            self._workers.pop(os.getpid(), None)
            if self._closing:
                self._close_connections()

    def _works(self) -> bool:
        return self._running_worker() is not None

    async def _in_thread(
        self, call: Callable[[], _T], if_cancelled: Callable[[_T], object] | None = None
    ) -> _T:
        return await in_thread(call, if_cancelled, meanwhile=self._transport.in_use)

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
        patience: Patience | None = None,
    ) -> TaskState:
        path = f"/api/tasks/{task.id}/{action}"
        read = TaskState.from_json
        return cast(TaskState, self._call(method, path, body, patience, headers, read=read))

    def _call(
        self,
        method: str,
        path: str,
        body: object,
        patience: Patience | None = None,
        headers: dict[str, str] | None = None,
        *,
        read: Callable[[Any], Any] = lambda answer: answer,
    ) -> Any:
        return self._transport.request(
            method, path, body, patience or self._patience, headers or {}, read
        )


def _rows(answer: Mapping[str, Any] | None) -> list[Any]:
    return [] if answer is None else [*answer["items"]]


def _row(answer: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a task that was started, readable or not: its lease says that it was."""
    return answer if answer["lease_token"] else {}


def _id(answer: Mapping[str, Any]) -> str:
    if not isinstance(found := answer["id"], str):
        raise TypeError("the id is not a text")
    return found


def _key(name: str = "key", key: str | None = None) -> dict[str, str]:
    return {"Idempotency-Key": arguments.idempotency_key(name, key) or str(uuid.uuid4())}


def _token(task: Task, name: str = "task") -> str:
    """Return a task's lease token; what is no task is refused."""
    if not isinstance(task, Task):
        raise TypeError(f"{name} must be a Task, as claim returns it, not a {type(task).__name__}")
    return task.lease_token


def _error_text(error: str) -> str:
    return storable(str(error))[:_MAX_ERROR_CHARACTERS]
