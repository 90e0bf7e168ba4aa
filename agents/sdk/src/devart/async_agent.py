"""The SDK for coroutines: the same calls, awaited, and handlers on the caller's event loop."""

from __future__ import annotations

import asyncio
import functools
import os
import signal
import threading
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from decimal import Decimal
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, TypeVar

from devart.agent import AgentSDK, environment
from devart.json_form import Hook
from devart.logs import get_logger
from devart.models import PayloadT, Task, Units
from devart.spend import Spend
from devart.task_in_hand import NoTask
from devart.threads import in_thread
from devart.worker import Worker

_log = get_logger("devart.async_agent")

_P = ParamSpec("_P")
_T = TypeVar("_T")
_AgentT = TypeVar("_AgentT", bound="AsyncAgentSDK")

# A long poll and each task in hand may need one at the same time.
_MAX_THREADS = 64


def _in_thread(
    method: Callable[Concatenate[AgentSDK, _P], _T],
) -> Callable[Concatenate[AsyncAgentSDK, _P], Coroutine[Any, Any, _T]]:
    """Make of a method that blocks one that is awaited."""

    @functools.wraps(method)
    async def call(self: AsyncAgentSDK, /, *args: _P.args, **kwargs: _P.kwargs) -> _T:
        return await self.in_thread(functools.partial(method, self.sdk, *args, **kwargs))

    return call


class AsyncAgentSDK:
    """An agent's connection to devart for programs with an event loop.

    ::

        async with AsyncAgentSDK("http://127.0.0.1:8080", "dva_...") as sdk:
            await sdk.start_consuming(handle, prefetch=10)

    Every call of `AgentSDK` is here under its name, and is awaited; `spend` is used with `async
    with`. Each runs in a thread of this object's own, so one that is cancelled goes on there to its
    end; the tasks that a cancelled `claim` or `start` brings go back. Takes what `AgentSDK` takes.

    Attributes:
        sdk: the blocking SDK behind it.
    """

    def __init__(
        self,
        api_url: str,
        api_key: str,
        rabbitmq_url: str | None = None,
        *,
        retry_seconds: float = 30.0,
        json_hook: Hook | None = None,
    ) -> None:
        self.sdk = AgentSDK(
            api_url, api_key, rabbitmq_url, retry_seconds=retry_seconds, json_hook=json_hook
        )
        self._threads: ThreadPoolExecutor | None = None
        self._process_id = os.getpid()

    @classmethod
    def from_env(cls: type[_AgentT]) -> _AgentT:
        """Make one from DEVART_API_URL, DEVART_API_KEY and, if it is there, RABBITMQ_URL.

        Raises:
            ValueError: one of the first two is not set, or a URL is none.
        """
        return cls(**environment())

    async def __aenter__(self: _AgentT) -> _AgentT:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections; as `AgentSDK.close`.

        Does not wait for calls that were cancelled and go on in their threads: the connections
        close behind the last of them, and behind what it gives back.
        """
        threads, self._threads = self._executor(), None
        await in_thread(self.sdk.close, threads=lambda: threads)
        # What is in hand or goes back may still need threads, and gets others.
        threads.shutdown(wait=False)

    def stop(self) -> bool:
        """Make `start_consuming` return when the tasks in hand are finished.

        Return whether there was something to stop. Does not wait, and is not awaited.
        """
        return self.sdk.stop()

    async def start_consuming(
        self,
        handler: Callable[[Task[PayloadT]], Any],
        prefetch: int = 1,
        max_tasks: int | None = None,
        *,
        wait_seconds: int = 5,
        heartbeat_seconds: float = 15.0,
        read_payload: Callable[[Any], PayloadT] | None = None,
        signals: bool = False,
    ) -> int:
        """Hand tasks to `handler` as they arrive, until told to stop.

        As `AgentSDK.start_consuming`, but async handlers run on the event loop of the caller, and
        share with it what belongs to a loop. A handler that blocks it blocks everything on it, but
        no heartbeat. Plain handlers run in threads.

        When the coroutine is cancelled, the tasks in hand are given back, without costing them a
        retry, and their async handlers are cancelled.

        Args:
            handler: as there.
            prefetch: as there.
            max_tasks: as there.
            wait_seconds: as there.
            heartbeat_seconds: as there.
            read_payload: as there.
            signals: whether SIGINT and SIGTERM stop this, as they stop the blocking one. Only in
                the main thread, and not where a server such as uvicorn listens to them.

        Returns:
            How many tasks were taken.

        Raises:
            RuntimeError: `signals` outside of the main thread; else, and all others, as there.
        """
        loop = asyncio.get_running_loop()
        if signals and threading.current_thread() is not threading.main_thread():
            # Found out later, it would leave a worker behind that never runs.
            raise RuntimeError(
                "signals=True works in the main thread only: leave it out, and call stop()"
            )
        worker = self.sdk._consumer_for(
            handler, prefetch, max_tasks, wait_seconds, heartbeat_seconds, read_payload, loop
        )
        with _signals_to(worker, loop) if signals else nullcontext():
            working = loop.run_in_executor(self._executor(), self.sdk._work, worker)
            try:
                taken = await asyncio.shield(working)
                if worker.left:
                    # `asyncio.run` waits at its end for the threads of `asyncio.to_thread`, and so
                    # for handlers that were given up: not for those of the executor before.
                    loop.set_default_executor(ThreadPoolExecutor())
                return taken
            except asyncio.CancelledError:
                worker.leave()
                await asyncio.wait([working])
                raise

    async def claim(self, max_tasks: int = 1, wait_seconds: int = 0) -> list[Task]:
        """Claim tasks; as `AgentSDK.claim`. Cancelled, it gives back what comes."""
        return await self.in_thread(
            functools.partial(self.sdk.claim, max_tasks, wait_seconds), self._give_all_back
        )

    async def start(self, task_id: str, key: str | None = None) -> Task | None:
        """Claim one task; as `AgentSDK.start`. Cancelled, it gives it back."""
        return await self.in_thread(
            functools.partial(self.sdk.start, task_id, key),
            lambda task: self._give_all_back([task] if task else []),
        )

    extend_lease = _in_thread(AgentSDK.extend_lease)
    give_back = _in_thread(AgentSDK.give_back)
    complete = _in_thread(AgentSDK.complete)
    update_task_status = _in_thread(AgentSDK.update_task_status)
    report_failure = _in_thread(AgentSDK.report_failure)
    create_task = _in_thread(AgentSDK.create_task)
    task = _in_thread(AgentSDK.task)
    heartbeat = _in_thread(AgentSDK.heartbeat)
    reserve = _in_thread(AgentSDK.reserve)
    settle = _in_thread(AgentSDK.settle)
    release = _in_thread(AgentSDK.release)
    mark_dispatched = _in_thread(AgentSDK.mark_dispatched)
    extend = _in_thread(AgentSDK.extend)
    defer = _in_thread(AgentSDK.defer)
    charge = _in_thread(AgentSDK.charge)

    def spend(
        self,
        service_id: str | None = None,
        *,
        estimate: Decimal | int | str | float | None = None,
        units: Units | None = None,
        task: Task | NoTask | None = None,
        idempotency_key: str | None = None,
        ttl: float | None = None,
        ask: bool = True,
    ) -> Spend:
        """Set money aside for the length of an `async with` block; as `AgentSDK.spend`."""
        spend = self.sdk.spend(
            service_id,
            estimate=estimate,
            units=units,
            task=task,
            idempotency_key=idempotency_key,
            ttl=ttl,
            ask=ask,
        )
        spend._in_thread = self.in_thread
        return spend

    async def in_thread(
        self, call: Callable[[], _T], if_cancelled: Callable[[_T], object] | None = None
    ) -> _T:
        """Await a function that blocks, in a thread that knows the task in hand.

        Args:
            call: what to call.
            if_cancelled: called with what it returned, in such a thread, when nobody waits for it
                any more.
        """
        return await in_thread(
            call, if_cancelled, threads=self._executor, meanwhile=self.sdk._transport.in_use
        )

    def _executor(self) -> ThreadPoolExecutor:
        if self._threads is None or self._process_id != os.getpid():
            self._threads = ThreadPoolExecutor(_MAX_THREADS, thread_name_prefix="devart-async")
            self._process_id = os.getpid()
        return self._threads

    def _give_all_back(self, tasks: list[Task]) -> None:
        for task in tasks:
            try:
                self.sdk.give_back(task)
            except Exception as error:  # the lease ends by itself
                _log.warning("could not give task %s back: %s", task.id, error)


@contextmanager
def _signals_to(worker: Worker, loop: asyncio.AbstractEventLoop) -> Iterator[None]:
    numbers = (signal.SIGINT, signal.SIGTERM)
    for number in numbers:
        loop.add_signal_handler(number, worker.interrupt, number)
    try:
        yield
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)
