"""The run loop: takes tasks, hands each to the handler, reports what came of it."""

from __future__ import annotations

import asyncio
import signal
import threading
import time
from collections.abc import Callable
from datetime import datetime, timezone
from queue import Empty, SimpleQueue
from typing import Any

from devart import arguments
from devart.agent_api import TaskApi
from devart.backoff import delay_seconds, pause_seconds
from devart.errors import (
    BudgetRefused,
    Conflict,
    Forbidden,
    NotFound,
    ServerError,
    TaskFailed,
    TaskStopped,
    Unauthorized,
    Unavailable,
)
from devart.handler import Handler, HandlerRunner, describe_error
from devart.heartbeat import Heartbeat
from devart.json_form import marked
from devart.logs import get_logger
from devart.models import Task
from devart.outcome import Outcome
from devart.signals import end_with_main_thread, forward_signals
from devart.source import TaskSource
from devart.task_in_hand import in_hand
from devart.text import text_of
from devart.tracing import span

_log = get_logger("devart.worker")

_DRAINED = object()
_LEAVE = object()
_LEAVING_SECONDS = 10.0
_TICK_SECONDS = 0.5
_MAX_DELIVERY_PAUSE_SECONDS = 15.0
_MAX_CLAIM = 100


class Worker:
    """Works on tasks until it is told to stop. Made by `Client.run` and `AgentSDK.start_consuming`.

    - One thread takes tasks from the source, one sends heartbeats, one runs each task in hand; the
      caller's thread waits for signals.
    - A handler that raises fails its task, with a bounded traceback, and the worker goes on.
      `TaskFailed` says more than other exceptions do: whether and when to try again. A result
      without a JSON form fails its task for good.
    - A handler that raises `TaskStopped`, or is refused money because people have stopped the work
      or the task's service is deferred, has its task given back, without costing it a retry.
    - A result that cannot be delivered because the API is away, or fails, is kept and tried again
      for as long as it takes; the lease decides whether it still counts.
    - A task whose lease is lost has `lease_lost` set, its async handler is cancelled, and its
      result is dropped with a line in the log.
    - The first SIGINT or SIGTERM, `stop()`, or a stop in a heartbeat's answer: no more tasks are
      begun, and those in hand are finished. What a claim brings that was under way is given back.
      The second signal gives all back, without costing them a retry, and returns; async handlers
      are cancelled, plain ones cannot be, and the process does not wait for them at its end. A
      third has its usual effect.
    """

    def __init__(  # noqa: PLR0913 - made in one place
        self,
        client: TaskApi,
        handler: Handler,
        source: TaskSource,
        *,
        max_tasks: int | None,
        concurrency: int,
        heartbeat_seconds: float,
        read_payload: Callable[[Any], Any] | None = None,
        loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        arguments.function("handler", handler)
        if read_payload is not None:
            arguments.function("read_payload", read_payload)
        arguments.whole("concurrency", concurrency, 1)
        if max_tasks is not None:
            arguments.whole("max_tasks", max_tasks, 1)
        arguments.seconds("heartbeat_seconds", heartbeat_seconds)
        self._client = client
        self._runner = HandlerRunner(handler, loop)
        self._read_payload = read_payload
        self._source = source
        self._heartbeat = Heartbeat(
            client, interval_seconds=heartbeat_seconds, on_stop=self.stop, on_answer=source.notice
        )
        self._max_tasks = max_tasks
        self._concurrency = concurrency
        self._slots = threading.Semaphore(concurrency)
        self._inbox: SimpleQueue[object] = SimpleQueue()
        # Reentrant: a handler of another signal may call `stop` in the midst of `stop`.
        self._starting = threading.RLock()
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
                asked_by = self._wait_until_finished()
            if asked_by is not None:
                self._give_all_back()
        if isinstance(asked_by, signal.Signals):
            end_with_main_thread(asked_by)

    def stop(self) -> None:
        """Begin no more; `run` returns when the tasks in hand are finished."""
        with self._starting:
            self._stopping.set()
        self._source.stop()

    def interrupt(self, number: object) -> None:
        """Do as at a signal: the first stops, the second gives the tasks in hand back."""
        self._inbox.put(number)

    def leave(self) -> None:
        """Give the tasks in hand back, and make `run` return."""
        self.interrupt(_LEAVE)
        self.interrupt(_LEAVE)

    @property
    def left(self) -> bool:
        """Whether the tasks in hand were given back, whatever their handlers are still at."""
        return self._leaving.is_set()

    def _wait_until_finished(self) -> object | None:
        """Wait for the end of the work: return None, or what asked a second time to stop."""
        if self._next_message() is _DRAINED:
            return None
        _log.info(
            "stopping: %d task(s) in hand; a second signal gives them back",
            len(self._heartbeat.held()),
        )
        self.stop()
        second = self._next_message()
        return None if second is _DRAINED else second

    def _next_message(self) -> object:
        """Wait for a message, and look up now and then.

        The system may give a signal to any thread. Python runs its handler in the main thread, and
        does not wake that up for it. Nor does anybody tell of an event loop that has ended.
        """
        while True:
            try:
                return self._inbox.get(timeout=_TICK_SECONDS)
            except Empty:
                if self._runner.abandoned:
                    _log.warning("the event loop of this agent ended without it")
                    return _LEAVE

    def _give_all_back(self) -> None:
        self._leaving.set()
        # A heartbeat that is under way would keep the leases that end here.
        self._heartbeat.stop()
        tasks = self._heartbeat.held()
        for task in tasks:
            task.lease_lost.set()
        # All at once: an API that is away must not be waited for once for each task.
        returning = [
            threading.Thread(target=self._give_back, args=(task,), daemon=True) for task in tasks
        ]
        for thread in returning:
            thread.start()
        give_up_at = time.monotonic() + _LEAVING_SECONDS
        for thread in returning:
            thread.join(max(give_up_at - time.monotonic(), 0))

    def _give_back(self, task: Task) -> None:
        try:
            if task.reported:
                return
            self._client.give_back(task)
        except Exception as error:  # nothing is lost: the lease ends by itself
            _log.warning("could not give task %s back, its lease will run out: %s", task.id, error)
        else:
            _log.info("gave task %s back", task.id)
        finally:
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
                begun += self._begin(task)
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
            self._stopping.wait(pause_seconds(error, delay_seconds(4)))
            return []
        except Forbidden:
            if not self._is_told_to_stop():
                raise
            return []

    def _is_told_to_stop(self) -> bool:
        """Ask whether an operator wants this agent to stop; False when something is wrong.

        While the question gets no answer, nothing is decided.
        """
        try:
            wanted = self._client.heartbeat().stop
        except (Unavailable, ServerError) as error:
            _log.warning("refused, and it is not known why, trying again: %s", error)
            self._stopping.wait(pause_seconds(error, delay_seconds(4)))
            return True
        if wanted:
            _log.info("this agent was deactivated")
            self.stop()
        return wanted

    def _begin(self, task: Task) -> bool:
        """Begin to work on a task, or give it back; return whether it has a slot now."""
        thread = threading.Thread(
            target=self._work, args=(task,), name=f"devart-task-{task.id}", daemon=True
        )
        with self._starting:
            if not self._stopping.is_set() and _started(thread):
                self._taken += 1
                _log.info(
                    "task %s taken: %s (%s, attempt %d)",
                    task.id,
                    task.title,
                    task.priority,
                    task.attempt,
                )
                return True
        self._give_back(task)
        # The next one would come at once, and have no thread either.
        self._stopping.wait(delay_seconds(4))
        return False

    def _work(self, task: Task) -> None:
        try:
            with self._heartbeat.hold(task):
                outcome = None if self._leaving.is_set() else self._handle(task)
                if outcome is not None:
                    self._deliver_or_fail(task, outcome)
                elif not task.lease_lost.is_set():
                    self._give_back(task)
        except BaseException:  # in the thread of this task nobody else would hear of it
            _log.exception("could not report on task %s, its lease will run out", task.id)
        finally:
            try:
                self._source.settle(task)
            finally:
                self._release_slots(1)

    def _handle(self, task: Task) -> Outcome | None:
        """Run the handler, and return what came of it; None when the task goes back as it was."""
        try:
            with span(task), in_hand(task):
                self._prepare(task)
                result = self._runner.run(task)
                return Outcome(None if task.reported else self._result_form(result))
        except TaskFailed as failure:
            _log.warning("task %s failed: %s", task.id, failure)
            return Outcome(None, text_of(failure), failure.retryable, failure.retry_after)
        except TaskStopped:
            self._put_off(task, task.stop_reason or "its handler said so")
            return None
        except BudgetRefused as refusal:
            if _passes(refusal, task):
                self._put_off(task, str(refusal))
                return None
            # Says all that there is to say; a task that waits for budget is reported.
            _log.warning("no money for task %s: %s", task.id, refusal)
            return Outcome(error=str(refusal), retry_after=_seconds_until(refusal.deferred_until))
        except BaseException as error:  # whatever a handler raises is its task's failure
            if task.lease_lost.is_set():
                _log.info("the handler of task %s ended, whose lease is lost", task.id)
            else:
                _log.warning("the handler of task %s raised", task.id, exc_info=error)
            return Outcome(error=describe_error(error))

    def _put_off(self, task: Task, reason: str) -> None:
        """Leave a task that may not go on for a while to be given back."""
        _log.info("task %s goes back for a while: %s", task.id, reason)
        # Where the stop does not keep it from being handed out, it would come again at once.
        self._stopping.wait(delay_seconds(4))

    def _prepare(self, task: Task) -> None:
        if self._read_payload is None:
            return
        try:
            task.payload = self._read_payload(task.payload)
        except Exception as error:
            raise TaskFailed(
                f"the payload was not understood: {type(error).__name__}: {text_of(error)}",
                retryable=False,
            ) from error

    def _result_form(self, result: object) -> Any:
        try:
            return marked(self._client.json_form(result, "result"))
        except Exception as error:  # of the hook, or of the result itself
            kind = "" if isinstance(error, (TypeError, ValueError)) else f"{type(error).__name__}: "
            raise TaskFailed(
                f"the handler's result was not accepted: {kind}{text_of(error)}", retryable=False
            ) from error

    def _deliver_or_fail(self, task: Task, outcome: Outcome) -> None:
        try:
            self._deliver(task, outcome)
        except Unauthorized:
            raise
        except Exception as error:  # the API refused it for good
            _log.warning("the report on task %s was not accepted: %s", task.id, error)
            self._deliver(task, outcome.refused(error))

    def _deliver(self, task: Task, outcome: Outcome) -> None:
        """Report until the API has heard it, or the task is no longer ours."""
        if task.reported:
            _log.info("task %s was reported on, or waits for budget", task.id)
            return
        attempt = 0
        while not task.lease_lost.is_set():
            try:
                state = outcome.report(self._client, task)
            except (Unavailable, ServerError) as error:
                _log.warning("could not report on task %s, trying again: %s", task.id, error)
                delay = delay_seconds(attempt, cap=_MAX_DELIVERY_PAUSE_SECONDS)
                task.lease_lost.wait(pause_seconds(error, delay))
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


def _passes(refusal: BudgetRefused, task: Task) -> bool:
    """Whether the task, given back, is handed out again when it may spend again."""
    if task.reported:
        return False
    return refusal.stopped or (refusal.deferred and refusal.service_id == task.service_id)


def _seconds_until(moment: datetime | None) -> float | None:
    if moment is None:
        return None
    seconds = (moment - datetime.now(timezone.utc)).total_seconds()
    return min(max(seconds, 0.0), float(arguments.MAX_RETRY_AFTER_SECONDS))


def _started(thread: threading.Thread) -> bool:
    try:
        thread.start()
    except RuntimeError as error:  # the system has no more threads for us
        _log.error("could not begin to work on a task: %s", error)
        return False
    return True
