"""The SDK's front door: a client that can also listen to a message broker."""

from __future__ import annotations

import os
from typing import TypeVar

from devart.client import Client
from devart.handler import Handler
from devart.source import Pull, TaskSource

_AgentT = TypeVar("_AgentT", bound="AgentSDK")


class AgentSDK(Client):
    """An agent's connection to devart, over RabbitMQ where a broker is given.

    Safe to use from several threads.

    Everything that `Client` does, and `start_consuming`. Use it as a context manager, or call
    `close`.

    Args:
        api_url: where the API listens, such as `http://127.0.0.1:8080`.
        api_key: the agent's key, as shown once when it was registered (`dva_...`).
        rabbitmq_url: the broker, `amqp://user:password@host:port/vhost` or `amqps://...`; None
            pulls from the API.
        retry_seconds: for how long a call goes on retrying when the API does not answer.

    Raises:
        ValueError: a URL has another scheme, or the key is empty.
    """

    def __init__(
        self,
        api_url: str,
        api_key: str,
        rabbitmq_url: str | None = None,
        *,
        retry_seconds: float = 30.0,
    ) -> None:
        if rabbitmq_url is not None and not rabbitmq_url.startswith(("amqp://", "amqps://")):
            # It is not shown: it has a password.
            raise ValueError("rabbitmq_url must begin with amqp:// or amqps://")
        super().__init__(api_url, api_key, retry_seconds=retry_seconds)
        self._rabbitmq_url = rabbitmq_url

    @classmethod
    def from_env(cls: type[_AgentT]) -> _AgentT:
        """Make one from DEVART_API_URL, DEVART_API_KEY and, if it is there, RABBITMQ_URL.

        Empty counts as not set.

        Raises:
            ValueError: one of the first two is not set, or a URL has another scheme.
        """
        return cls(
            _required("DEVART_API_URL"),
            _required("DEVART_API_KEY"),
            os.environ.get("RABBITMQ_URL") or None,
        )

    def start_consuming(
        self,
        handler: Handler,
        prefetch: int = 1,
        max_tasks: int | None = None,
        *,
        wait_seconds: int = 5,
        heartbeat_seconds: float = 15.0,
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

        Returns:
            How many tasks were taken.

        Raises:
            Forbidden: the agent is deactivated and nobody asked it to stop.
            RuntimeError: this SDK is consuming already.
            Unauthorized: the key is not accepted.
            ValueError: `prefetch` or `max_tasks` is less than 1.
        """
        source = self._source(prefetch, wait_seconds)
        return self._work(handler, source, max_tasks, prefetch, heartbeat_seconds)

    def _source(self, prefetch: int, wait_seconds: int) -> TaskSource:
        if self._rabbitmq_url is None:
            return Pull(self, wait_seconds)
        from devart.push import Push  # noqa: PLC0415 - aio-pika takes a while to import, and most tests need none

        return Push(self, self._rabbitmq_url, prefetch, wait_seconds)


def _required(name: str) -> str:
    value = os.environ.get(name)
    if not value:
        raise ValueError(f"{name} is not set")
    return value
