"""The connection to RabbitMQ.

A thread with an event loop keeps it up, and puts what arrives into an inbox.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import TYPE_CHECKING

import aio_pika
from yarl import URL

from devart.backoff import delay_seconds, pause_seconds
from devart.events import wait_for_event
from devart.invitations import Inbox, Invitation
from devart.logs import get_logger
from devart.subscription import Subscription

if TYPE_CHECKING:
    from aio_pika.abc import AbstractConnection, AbstractIncomingMessage

_log = get_logger("devart.rabbitmq")

_CONNECT_SECONDS = 10.0
# A connection that was cut in silence is noticed after about three of these.
_HEARTBEAT_SECONDS = 10
_MAX_PAUSE_SECONDS = 15.0
_CLOSE_SECONDS = 5.0
# How long a message may wait here for a free hand while another agent might have one.
_SURPLUS_SECONDS = 1.0


class RabbitMq:
    """Consumes queues for as long as it is open, through every loss of the connection.

    A message that nobody takes out of the inbox within a second goes back to its queue, and the
    queue is left alone until somebody waits at the inbox again: a busy agent keeps no work from
    idle ones. Methods may be called from any thread.

    Args:
        url: the broker, `amqp://` or `amqps://`.
        prefetch: how many messages of one queue may be here at a time.
        login: gives the user and the password for a URL without a user. Called in another thread,
            before each connection; what it raises counts as a broker that cannot be reached.
    """

    def __init__(
        self, url: str, prefetch: int, login: Callable[[], tuple[str, str]] | None = None
    ) -> None:
        self._url = URL(url)
        if "heartbeat" not in self._url.query:
            self._url = self._url.update_query(heartbeat=_HEARTBEAT_SECONDS)
        self._login = login if self._url.user is None else None
        self._secrets = {url, *_secrets_of(self._url)}
        self.inbox = Inbox(on_hungry=self.resume)
        """Where invitations go."""
        self._prefetch = prefetch
        self._queues: tuple[str, ...] = ()
        self._subscriptions: dict[Subscription, asyncio.Task[None]] = {}
        # Only to keep them from being collected.
        self._ending: set[asyncio.Task[None]] = set()
        self._replies: set[asyncio.Task[None]] = set()
        self._stopped = False
        self._lost = False
        self._consumed = False
        self._consuming = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stirred = asyncio.Event()
        self._connecting: asyncio.Future[AbstractConnection] | None = None
        self._refusal: Exception | None = None
        self._closing = False
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="devart-rabbitmq", daemon=True)
        self.tried = threading.Event()
        """Set when it is known whether messages come, for the time being."""

    @property
    def consuming(self) -> bool:
        """Whether messages of at least one queue come."""
        return self._consuming.is_set()

    def open(self) -> None:
        """Start connecting, and go on until `close`."""
        self._thread.start()
        self._ready.wait()

    def subscribe(self, queues: Iterable[str]) -> None:
        """Consume these queues and no others.

        One that does not exist is looked for again and again.
        """
        wanted = tuple(queues)
        if wanted != self._queues:
            self._queues = wanted
            self._call(self._stirred.set)

    def resume(self) -> None:
        """Somebody waits at the inbox: consume the queues that were left alone."""
        self._call(self._resume)

    def acknowledge(self, message: AbstractIncomingMessage) -> None:
        """Tell the broker that a message has had its use."""
        self._call(self._reply, message, True)

    def stop(self) -> None:
        """Consume no more, and return what waits. Messages in hand can still be acknowledged."""
        self._call(self._stop)

    def close(self) -> None:
        """End the connection. The broker gives what was not acknowledged to others."""
        self._call(self._end)
        self._thread.join(timeout=2 * _CLOSE_SECONDS)

    def _call(self, callback: Callable[..., object], *args: object) -> None:
        if self._loop is not None:
            with suppress(RuntimeError):  # the loop has ended
                self._loop.call_soon_threadsafe(callback, *args)

    def _run(self) -> None:
        try:
            asyncio.run(self._keep_up())
        except Exception:
            _log.exception("gave RabbitMQ up")
        finally:
            self._ready.set()
            self.tried.set()

    async def _keep_up(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._ready.set()
        attempt = 0
        while not self._closing:
            connection = await self._connect()
            if connection is not None:
                attempt = 0 if await self._serve(connection) else attempt
                await self._leave(connection)
            self.tried.set()
            delay = delay_seconds(attempt, base=0.5, cap=_MAX_PAUSE_SECONDS)
            await self._pause(pause_seconds(self._refusal, delay))
            attempt += 1

    async def _pause(self, seconds: float) -> None:
        end_at = time.monotonic() + seconds
        while not self._closing and (left := end_at - time.monotonic()) > 0:
            self._stirred.clear()
            await wait_for_event(self._stirred, left)

    async def _connect(self) -> AbstractConnection | None:
        connecting = asyncio.ensure_future(self._open())
        self._connecting = connecting
        self._refusal = None
        try:
            return await connecting
        except asyncio.CancelledError:  # by `close`
            pass
        except Exception as error:
            # Refused, unknown host, wrong password, bad certificate: each may be mended.
            self._refusal = error
            _log.warning(
                "RabbitMQ cannot be reached, trying again: %s",
                self._without_secrets(str(error) or type(error).__name__),
            )
        return None

    async def _open(self) -> AbstractConnection:
        connection = aio_pika.Connection(await self._address())
        try:
            await connection.connect(timeout=_CONNECT_SECONDS)
        except BaseException:
            # Otherwise the garbage collector would try, with a warning, wherever it runs.
            await connection.close()
            raise
        return connection

    async def _address(self) -> URL:
        """Return the broker's URL with a user and a password."""
        if self._login is None:
            return self._url
        user, password = await asyncio.to_thread(self._login)
        url = self._url.with_user(user).with_password(password)
        self._secrets.update(_secrets_of(url))
        return url

    def _without_secrets(self, text: str) -> str:
        """Return what a library says of the connection, which may quote the URL."""
        # What contains another one goes first.
        for secret in sorted(self._secrets, key=len, reverse=True):
            text = text.replace(secret, "***")
        return text

    async def _serve(self, connection: AbstractConnection) -> bool:
        """Consume until the connection is lost; return whether any queue was consumed."""
        self._lost = self._consumed = False
        connection.close_callbacks.add(self._note_loss)
        while not (self._lost or self._closing):
            self._stirred.clear()
            self._adjust_subscriptions(connection)
            await self._stirred.wait()
        if self._lost:
            _log.warning("lost the connection to RabbitMQ")
        return self._consumed

    async def _leave(self, connection: AbstractConnection) -> None:
        if self._replies:
            await asyncio.wait(self._replies, timeout=_CLOSE_SECONDS)
        for subscription in self._subscriptions:
            subscription.end()
        if self._subscriptions:
            await asyncio.wait(self._subscriptions.values(), timeout=_CLOSE_SECONDS)
        self._subscriptions.clear()
        self._note_change()
        with suppress(Exception):  # it is lost already, most of the time
            await asyncio.wait_for(connection.close(), _CLOSE_SECONDS)

    def _adjust_subscriptions(self, connection: AbstractConnection) -> None:
        for subscription in [one for one in self._subscriptions if one.queue not in self._queues]:
            subscription.end()
            self._ending.add(work := self._subscriptions.pop(subscription))
            work.add_done_callback(self._ending.discard)
        have = {subscription.queue for subscription in self._subscriptions}
        for queue in [name for name in self._queues if name not in have]:
            subscription = Subscription(
                connection, queue, self._prefetch, self._receive, self._return, self._note_change
            )
            if self._stopped:
                subscription.pause()
            self._subscriptions[subscription] = asyncio.create_task(subscription.run())

    def _note_loss(self, *_: object) -> None:
        self._lost = True
        self._stirred.set()

    def _note_change(self) -> None:
        if any(subscription.active for subscription in self._subscriptions):
            self._consumed = True
            self._consuming.set()
        elif self._consuming.is_set():
            self._consuming.clear()
            self.inbox.disturb()
        if self.consuming or (
            self._subscriptions and all(one.missing for one in self._subscriptions)
        ):
            self.tried.set()

    def _receive(self, subscription: Subscription, message: AbstractIncomingMessage) -> None:
        try:
            invitation = Invitation.from_message(message)
        except ValueError as error:
            _log.error(
                "dropped message %s of queue %s: %s", message.message_id, subscription.queue, error
            )
            self._reply(message, True)
            return
        replaced = self.inbox.put(invitation)
        if replaced is not None:
            self._reply(replaced, True)
        elif self._stopped:
            self._return_surplus(subscription, invitation)
        else:
            asyncio.get_running_loop().call_later(
                _SURPLUS_SECONDS, self._return_surplus, subscription, invitation
            )

    def _return_surplus(self, subscription: Subscription, invitation: Invitation) -> None:
        message = self.inbox.withdraw(invitation)
        if message is not None:
            subscription.give_back(message)

    def _resume(self) -> None:
        if not self._stopped:
            for subscription in self._subscriptions:
                subscription.resume()

    def _stop(self) -> None:
        self._stopped = True
        for subscription in self._subscriptions:
            subscription.pause()
        for message in self.inbox.withdraw_all():
            self._reply(message, False)

    def _end(self) -> None:
        self._closing = True
        self._stirred.set()
        if self._connecting is not None:
            self._connecting.cancel()

    def _return(self, message: AbstractIncomingMessage) -> None:
        self._reply(message, False)

    def _reply(self, message: AbstractIncomingMessage, used: bool) -> None:
        """Acknowledge a message that was used, return one that was not."""
        reply = asyncio.get_running_loop().create_task(_reply(message, used))
        self._replies.add(reply)
        reply.add_done_callback(self._replies.discard)


async def _reply(message: AbstractIncomingMessage, used: bool) -> None:
    try:
        await asyncio.wait_for(
            message.ack() if used else message.reject(requeue=True), _CLOSE_SECONDS
        )
    except Exception as error:
        # The channel is gone: the broker has the message back, and sends it again.
        _log.info("no reply to message %s: %s", message.message_id, error or type(error).__name__)


def _secrets_of(url: URL) -> set[str]:
    """Return the texts in which the password of a URL may be shown."""
    return {text for text in (str(url), url.raw_password, url.password) if text}
