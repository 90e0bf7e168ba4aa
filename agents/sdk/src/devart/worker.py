"""The run loop: takes tasks, hands each to the handler, reports what came of it."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from functools import partial
from queue import SimpleQueue

from devart.agent_api import TaskApi
from devart.backoff import delay_seconds
from devart.errors import (
    BudgetRefused,
    Conflict,
    Forbidden,
    NotFound,
    ServerError,
    TaskFailed,
    Unavailable,
)
from devart.handler import Handler, HandlerRunner, describe_error
from devart.heartbeat import Heartbeat
from devart.models import Task, TaskState
from devart.signals import forward_signals
from devart.source import TaskSource
from devart.task_in_hand import in_hand
from devart.tracing import span

_log = logging.getLogger("devart.worker")

_DRAINED = object()
_MAX_CLAIM = 100

_Report = Callable[[], TaskState]


class Worker:
    """Works on tasks until it is told to stop. Made by `Client.run` and `AgentSDK.start_consuming`.

    - One thread takes tasks from the source, one sends heartbeats, one runs each task in hand; the
      caller's thread waits for signals.
    - A handler that raises fails its task, with a bounded traceback, and the worker goes on.
      `TaskFailed` says more than other exceptions do: whether and when to try again.
    - A result that cannot be delivered because the API is away is kept and tried again for as long
      as it takes; the lease decides whether it still counts.
    - A task whose lease is lost has `lease_lost` set, and its result is dropped with a line in the
      log.
    - The first SIGINT or SIGTERM, `stop()`, or a stop in a heartbeat's answer: no more tasks are
      taken, and those in hand are finished. The second signal gives them back as retryable failures
      and returns; async handlers are cancelled, plain ones cannot be and end with the process. A
      third has its usual effect.
    """

    def __init__(
        self,
        client: TaskApi,
        handler: Handler,
        source: TaskSource,
        *,
        max_tasks: int | None,
        concurrency: int,
        heartbeat_seconds: float,
    ) -> None:
        if concurrency < 1 or (max_tasks is not None and max_tasks < 1):
            raise ValueError("concurrency and max_tasks must be at least 1")
        self._client = client
        self._runner = HandlerRunner(handler)
        self._source = source
        self._heartbeat = Heartbeat(
            client, interval_seconds=heartbeat_seconds, on_stop=self.stop, on_answer=source.notice
        )
        self._max_tasks = max_tasks
        self._concurrency = concurrency
        self._slots = threading.Semaphore(concurrency)
        self._inbox: SimpleQueue[object] = SimpleQueue()
        self._stopping = threading.Event()
        self._leaving = threading.Event()
        self._taken = 0
        self._failure: BaseException | None = None

    def run(self) -> int:
        """Work until stopped, and return how many tasks were taken.

        Raises what made taking them impossible.
        """
        self._source.open()
        try:
            self._work_until_finished()
        finally:
            self._source.close()
            self._runner.close()
        # The heartbeat may have met a bad key before the claim did.
        if (failure := self._failure or self._heartbeat.refused) is not None:
            raise failure
        return self._taken

    def _work_until_finished(self) -> None:
        taker = threading.Thread(target=self._take_until_stopped, name="devart-take", daemon=True)
        with self._heartbeat:
            with forward_signals(self._inbox):
                taker.start()
                finished = self._wait_until_finished()
            if not finished:
                self._give_all_back()

    def stop(self) -> None:
        """Take no more; `run` returns when the tasks in hand are finished."""
        self._stopping.set()
        self._source.stop()

    def _wait_until_finished(self) -> bool:
        """Wait for the end of the work, or for the second signal: then return False."""
        if self._inbox.get() is _DRAINED:
            return True
        _log.info(
            "stopping: %d task(s) in hand; a second signal gives them back",
            len(self._heartbeat.held()),
        )
        self.stop()
        return self._inbox.get() is _DRAINED

    def _give_all_back(self) -> None:
        self._leaving.set()
        tasks = self._heartbeat.held()
        for task in tasks:
            task.lease_lost.set()
        for task in tasks:
            self._give_back(task)

    def _give_back(self, task: Task) -> None:
        try:
            self._client.report_failure(
                task, "given back: the agent was stopped", retryable=True, retry_after=0
            )
        except Exception as error:  # nothing is lost: the lease ends by itself
            _log.warning("could not give task %s back, its lease will run out: %s", task.id, error)
        else:
            _log.info("gave task %s back", task.id)
        self._source.settle(task)

    def _take_until_stopped(self) -> None:
        try:
            while room := self._take_slots():
                self._fill(room)
        except BaseException as error:  # raised by run, in the caller's thread
            self._failure = error
        finally:
            for _ in range(self._concurrency):
                self._slots.acquire()
            self._inbox.put(_DRAINED)

    def _fill(self, room: int) -> None:
        """Take tasks for `room` slots that were taken, and free those that no task came for."""
        begun = 0
        try:
            for task in self._take(room):
                self._begin(task)
                begun += 1
        finally:
            self._release_slots(room - begun)

    def _take_slots(self) -> int:
        """Wait for a free slot and take all that are free; 0 when there is nothing more to do."""
        wanted = min(self._concurrency, _MAX_CLAIM)
        if self._max_tasks is not None:
            wanted = min(wanted, self._max_tasks - self._taken)
        if wanted == 0:
            return 0
        self._slots.acquire()
        taken = 1
        while taken < wanted and self._slots.acquire(blocking=False):
            taken += 1
        if self._stopping.is_set():
            self._release_slots(taken)
            return 0
        return taken

    def _release_slots(self, count: int) -> None:
        for _ in range(count):
            self._slots.release()

    def _take(self, room: int) -> list[Task]:
        try:
            return self._source.take(room)
        except (Unavailable, ServerError) as error:
            _log.warning("could not take a task, trying again: %s", error)
            self._stopping.wait(delay_seconds(4))
            return []
        except Forbidden:
            # Deactivated: the heartbeat says whether an operator wants this, or something is wrong.
            if not self._client.heartbeat().stop:
                raise
            _log.info("this agent was deactivated")
            self.stop()
            return []

    def _begin(self, task: Task) -> None:
        self._taken += 1
        if self._leaving.is_set():
            self._give_back(task)
            self._release_slots(1)
            return
        _log.info(
            "task %s taken: %s (%s, attempt %d)", task.id, task.title, task.priority, task.attempt
        )
        threading.Thread(
            target=self._work, args=(task,), name=f"devart-task-{task.id}", daemon=True
        ).start()

    def _work(self, task: Task) -> None:
        try:
            with self._heartbeat.hold(task):
                self._deliver_or_fail(task, self._handle(task))
        except Exception:
            _log.exception("could not report on task %s, its lease will run out", task.id)
        finally:
            self._source.settle(task)
            self._release_slots(1)

    def _handle(self, task: Task) -> _Report:
        """Run the handler, and return how to report its outcome."""
        try:
            with span(task), in_hand(task):
                result = self._runner.run(task)
        except TaskFailed as failure:
            _log.warning("task %s failed: %s", task.id, failure)
            return partial(
                self._client.report_failure,
                task,
                str(failure),
                failure.retryable,
                failure.retry_after,
            )
        except BudgetRefused as refusal:
            # Says all that there is to say; a task that waits for budget is reported.
            _log.warning("no money for task %s: %s", task.id, refusal)
            return partial(self._client.report_failure, task, str(refusal))
        except BaseException as error:  # whatever a handler raises is its task's failure
            _log.warning("the handler of task %s raised", task.id, exc_info=error)
            return partial(self._client.report_failure, task, describe_error(error))
        return partial(self._client.complete, task, result)

    def _deliver_or_fail(self, task: Task, report: _Report) -> None:
        try:
            self._deliver(task, report)
        except Exception as error:  # the result has no JSON form, or the API refused it for good
            _log.warning("the report on task %s was not accepted: %s", task.id, error)
            refusal = f"the agent's report was not accepted: {error}"
            self._deliver(
                task, partial(self._client.report_failure, task, refusal, retryable=False)
            )

    def _deliver(self, task: Task, report: _Report) -> None:
        """Report until the API has heard it, or the task is no longer ours."""
        if task.reported:
            _log.info("task %s was reported on, or waits for budget", task.id)
            return
        attempt = 0
        while not task.lease_lost.is_set():
            try:
                state = report()
            except Unavailable as error:
                _log.warning("could not report on task %s, trying again: %s", task.id, error)
                time.sleep(delay_seconds(attempt))
                attempt += 1
            except (Conflict, Forbidden, NotFound) as error:
                _log.info("the API refused the report on task %s: %s", task.id, error)
                task.lease_lost.set()
            else:
                _log.info("task %s is %s", task.id, state.status)
                return
        _log.warning(
            "dropped the outcome of task %s, attempt %d: it is no longer ours",
            task.id,
            task.attempt,
        )
