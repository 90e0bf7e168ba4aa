"""What the tests do at the broker in place of the bridge: declare, publish, count."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import aio_pika
from aio_pika.abc import AbstractChannel

_T = TypeVar("_T")

_PRIORITIES = {"CRITICAL": 4, "HIGH": 3, "MEDIUM": 2, "LOW": 1}


class Broker:
    """A RabbitMQ that no bridge works on, with the names and forms that the bridge uses."""

    def __init__(self, url: str) -> None:
        self.url = url

    def declare(self, lane: str = "todo") -> None:
        async def work(channel: AbstractChannel) -> None:
            exchange = await channel.declare_exchange("devart.tasks", "direct", durable=True)
            queue = await channel.declare_queue(
                f"tasks.{lane}", durable=True, arguments={"x-max-priority": 4}
            )
            await queue.bind(exchange, lane)

        self._run(work)

    def delete(self, lane: str = "todo") -> None:
        async def work(channel: AbstractChannel) -> None:
            await channel.queue_delete(f"tasks.{lane}")

        self._run(work)

    def invite(
        self,
        task_id: str,
        *,
        lane: str = "todo",
        attempt: int = 1,
        priority: str = "MEDIUM",
        headers: dict[str, Any] | None = None,
    ) -> None:
        """Publish an invitation as the bridge does."""
        body = {"task_id": task_id, "attempt": attempt, "title": "T", "priority": priority}
        self.publish(
            aio_pika.Message(
                json.dumps(body).encode(),
                content_type="application/json",
                delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
                message_id=f"{task_id}:{attempt}",
                priority=_PRIORITIES[priority],
                headers=headers,
            ),
            lane,
        )

    def publish(self, message: aio_pika.Message, lane: str = "todo") -> None:
        async def work(channel: AbstractChannel) -> None:
            exchange = await channel.get_exchange("devart.tasks")
            await exchange.publish(message, lane, mandatory=True)

        self._run(work)

    def waiting(self, lane: str = "todo") -> int:
        """Count the messages that are with no consumer."""

        async def work(channel: AbstractChannel) -> int:
            queue = await channel.declare_queue(f"tasks.{lane}", passive=True)
            return queue.declaration_result.message_count or 0

        return self._run(work)

    def consumers(self, lane: str = "todo") -> int:
        async def work(channel: AbstractChannel) -> int:
            queue = await channel.declare_queue(f"tasks.{lane}", passive=True)
            return queue.declaration_result.consumer_count or 0

        return self._run(work)

    def _run(self, work: Callable[[AbstractChannel], Awaitable[_T]]) -> _T:
        async def run() -> _T:
            async with (
                await aio_pika.connect(self.url) as connection,
                connection.channel() as channel,
            ):
                return await work(channel)

        return asyncio.run(run())
