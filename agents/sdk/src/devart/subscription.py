"""The consumer of one queue, for as long as a connection lasts."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, cast

from aio_pika.exceptions import ChannelNotFoundEntity

from devart.backoff import delay_seconds
from devart.events import wait_for_event
from devart.logs import get_logger

if TYPE_CHECKING:
    from aio_pika.abc import (
        AbstractChannel,
        AbstractConnection,
        AbstractIncomingMessage,
        AbstractQueue,
    )
    from aiormq.channel import Channel

_log = get_logger("devart.rabbitmq")

_ANSWER_SECONDS = 10.0
_LOOK_SECONDS = 1.0
_MAX_PAUSE_SECONDS = 5.0


class Subscription:
    """Consumes one queue on a channel of its own, which it opens again whenever it was closed.

    Its own, because the broker closes a channel for what goes wrong with one queue: that it does
    not exist yet, or that a message was not acknowledged within 30 minutes. Everything here runs on
    the loop of the connection.

    Args:
        connection: an open connection.
        queue: the queue's name. It is never declared here.
        prefetch: how many messages may be unacknowledged at a time.
        on_message: called with each message.
        on_surplus: called with each message of `give_back` when it may go.
        on_change: called when `active` or `missing` changed.
    """

    def __init__(
        self,
        connection: AbstractConnection,
        queue: str,
        prefetch: int,
        on_message: Callable[[Subscription, AbstractIncomingMessage], None],
        on_surplus: Callable[[AbstractIncomingMessage], None],
        on_change: Callable[[], None],
    ) -> None:
        self.queue = queue
        self.active = False
        """Whether the queue is there and its messages come here, now or after a pause."""
        self.missing = False
        """Whether the queue was looked for, and is not there."""
        self._connection = connection
        self._prefetch = prefetch
        self._on_message = on_message
        self._on_surplus = on_surplus
        self._on_change = on_change
        self._surplus: list[AbstractIncomingMessage] = []
        self._consuming = False
        self._lost = False
        self._ended = False
        self._paused = False
        self._stirred = asyncio.Event()

    async def run(self) -> None:
        """Consume until `end`."""
        attempt = 0
        while not self._ended:
            try:
                await self._consume_until_lost()
                attempt = 0
            except ChannelNotFoundEntity:
                self._note_missing()
            except Exception as error:
                if not self._ended:
                    _log.warning(
                        "could not consume queue %s: %s", self.queue, error or type(error).__name__
                    )
            finally:
                self._set_active(False)
            await self._wait_until(
                lambda: self._ended, delay_seconds(attempt, cap=_MAX_PAUSE_SECONDS)
            )
            attempt += 1

    def end(self) -> None:
        """Make `run` return soon. The broker sends what was not acknowledged to others."""
        self._ended = True
        self._note_loss()

    def pause(self) -> None:
        """Ask for no more messages until `resume`. Those that are here already stay."""
        self._paused = True
        self._stirred.set()

    def resume(self) -> None:
        """Go on after a pause."""
        self._paused = False
        self._release_surplus()
        self._stirred.set()

    def give_back(self, message: AbstractIncomingMessage) -> None:
        """Pause, and let the message go when the pause has begun.

        Before, the broker might send it here again.
        """
        self._surplus.append(message)
        self.pause()
        if not self._consuming:
            self._release_surplus()

    def _release_surplus(self) -> None:
        surplus, self._surplus = self._surplus, []
        for message in surplus:
            self._on_surplus(message)

    async def _consume_until_lost(self) -> None:
        self._lost = self._ended
        channel = self._connection.channel(publisher_confirms=False)
        channel.close_callbacks.add(self._note_loss)
        await channel.initialize(timeout=_ANSWER_SECONDS)
        try:
            await channel.set_qos(prefetch_count=self._prefetch, timeout=_ANSWER_SECONDS)
            queue = await channel.get_queue(self.queue, ensure=False)
            while not self._lost:
                await self._wait_until(lambda: self._lost or not self._paused)
                if not self._lost:
                    await self._consume_until_paused(channel, queue)
        finally:
            with suppress(Exception):  # it may be gone already
                await channel.close()

    async def _consume_until_paused(self, channel: AbstractChannel, queue: AbstractQueue) -> None:
        self._consuming = True
        try:
            tag = await queue.consume(self._receive, timeout=_ANSWER_SECONDS)
            self._set_active(True)
            # The broker ends a consumer, and only that, when its queue is deleted; aio-pika 9 tells
            # nobody.
            consumers = cast("Channel", await channel.get_underlay_channel()).consumers
            await self._wait_until(lambda: self._lost or self._paused or tag not in consumers)
            if not self._lost and tag not in consumers:
                raise RuntimeError("the broker ended the consumer")
            if not self._lost:
                await queue.cancel(tag, timeout=_ANSWER_SECONDS)
        finally:
            self._consuming = False
            self._release_surplus()

    async def _wait_until(
        self, condition: Callable[[], bool], timeout_seconds: float = math.inf
    ) -> None:
        give_up_at = time.monotonic() + timeout_seconds
        while not condition() and (left := give_up_at - time.monotonic()) > 0:
            self._stirred.clear()
            # The conditions are looked at every second as well: not everything stirs.
            await wait_for_event(self._stirred, min(left, _LOOK_SECONDS))

    async def _receive(self, message: AbstractIncomingMessage) -> None:
        self._on_message(self, message)

    def _note_loss(self, *_: object) -> None:
        self._lost = True
        self._stirred.set()

    def _note_missing(self) -> None:
        # Usual: a queue is declared when the first task comes that needs it.
        if not self.missing:
            _log.info("queue %s does not exist yet, looking again from time to time", self.queue)
            self.missing = True
            self._on_change()

    def _set_active(self, active: bool) -> None:
        if active != self.active:
            _log.info("%s queue %s", "consuming" if active else "no longer consuming", self.queue)
            self.active = active
            self.missing = False
            self._on_change()
