"""The SDK's front door: a client that can also listen to a message broker."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import Any, TypedDict, TypeVar

from devart import arguments
from devart.client import Client
from devart.events import refuse_in_event_loop
from devart.handler import Handler
from devart.json_form import Hook
from devart.models import PayloadT, Task
from devart.source import Pull, TaskSource
from devart.worker import Worker

_AgentT = TypeVar("_AgentT", bound="AgentSDK")


class AgentSDK(Client):
    """An agent's connection to devart, over RabbitMQ where a broker is given.

    Safe to use from several threads.

    Everything that `Client` does, and `start_consuming`. Use it as a context manager, or call
    `close`.

    Args:
        api_url: where the API listens, such as `http://127.0.0.1:8080`.
        api_key: the agent's key, as shown once when it was registered (`dva_...`).
        rabbitmq_url: the broker, `amqp://host:port/vhost` or `amqps://...`, where the agent logs in
            with its id and its key, unless the URL has a user and a password; None pulls from the
            API.
        retry_seconds: for how long a call goes on retrying when the API does not answer.
        json_hook: gives a JSON form to what has none of its own, in results and payloads; see
            `devart.json_form`.

    Raises:
        TypeError, ValueError: a URL has another scheme, a blank, no host or an unescaped password,
            or the key is no key.
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
        super().__init__(api_url, api_key, retry_seconds=retry_seconds, json_hook=json_hook)
        self._rabbitmq_url = None if rabbitmq_url is None else arguments.broker_url(rabbitmq_url)

    @classmethod
    def from_env(cls: type[_AgentT]) -> _AgentT:
        """Make one from DEVART_API_URL, DEVART_API_KEY and, if it is there, RABBITMQ_URL.

        Empty counts as not set.

        Raises:
            ValueError: one of the first two is not set, or a URL has another scheme.
        """
        return cls(**environment())

    def start_consuming(
        self,
        handler: Callable[[Task[PayloadT]], Any],
        prefetch: int = 1,
        max_tasks: int | None = None,
        *,
        wait_seconds: int = 5,
        heartbeat_seconds: float = 15.0,
        read_payload: Callable[[Any], PayloadT] | None = None,
    ) -> int:
        """Hand tasks to `handler` as they arrive, until told to stop.

        See `Worker` for the whole of it.

        With a broker, tasks come by message, from the queues that the API names for this agent;
        queues that do not exist yet are looked for again and again. While the broker is away, tasks
        are claimed, so that none waits for it. A message is acknowledged when the work on its task
        has ended, or when the API says that the task is no longer to be had. While the API is away,
        messages are kept and tried again.

        Args:
            handler: takes a `Task`, returns its result (anything with a JSON form, or None); plain
                or async.
            prefetch: how many tasks to work on at once. Plain handlers then run in several threads.
            max_tasks: stop after this many tasks; None goes on.
            wait_seconds: length of one long poll, 0 to 30; an agent that pulls takes up to this
                long to stop.
            heartbeat_seconds: how often to send a heartbeat, and to learn of new queues.
            read_payload: makes of a payload what the handler wants to have, such as a dataclass.
                What it refuses, by raising, fails its task for good.

        Returns:
            How many tasks were taken.

        Raises:
            Forbidden: the agent is deactivated and nobody asked it to stop.
            RuntimeError: this SDK is consuming already or is closed, or the thread runs an event
                loop, for which there is `AsyncAgentSDK`.
            TypeError, ValueError: `prefetch` or `max_tasks` is not a whole number of at least 1,
                `handler` is no function, or a number of seconds is none.
            Unauthorized: the key is not accepted.
        """
        refuse_in_event_loop()
        return self._work(
            self._consumer_for(
                handler, prefetch, max_tasks, wait_seconds, heartbeat_seconds, read_payload
            )
        )

    def _consumer_for(
        self,
        handler: Handler,
        prefetch: int,
        max_tasks: int | None,
        wait_seconds: int,
        heartbeat_seconds: float,
        read_payload: Callable[[Any], Any] | None,
        loop: asyncio.AbstractEventLoop | None = None,
    ) -> Worker:
        arguments.whole("prefetch", prefetch, 1)
        source = self._source(prefetch, wait_seconds)
        return self._worker_for(
            handler, source, max_tasks, prefetch, heartbeat_seconds, read_payload, loop
        )

    def _source(self, prefetch: int, wait_seconds: int) -> TaskSource:
        if self._rabbitmq_url is None:
            return Pull(self, wait_seconds)
        from devart.push import Push  # noqa: PLC0415 - aio-pika takes a while to import, and most tests need none

        return Push(self, self._rabbitmq_url, prefetch, wait_seconds)


class Environment(TypedDict):
    """Where to connect to, as the environment says."""

    api_url: str
    api_key: str
    rabbitmq_url: str | None


def environment() -> Environment:
    """Read the environment. Empty counts as not set."""
    return {
        "api_url": _required("DEVART_API_URL"),
        "api_key": _required("DEVART_API_KEY"),
        "rabbitmq_url": os.environ.get("RABBITMQ_URL") or None,
    }


def _required(name: str) -> str:
    value = os.environ.get(name)
    if not value:
        raise ValueError(f"{name} is not set")
    return value
