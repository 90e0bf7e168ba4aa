"""Tasks that arrive by message, and by claims for as long as no messages come."""

from __future__ import annotations

import time
import uuid

from devart.agent_api import TaskApi
from devart.errors import InvalidArgument, NotFound
from devart.invitations import Invitation
from devart.logs import get_logger
from devart.models import HeartbeatAnswer, Task
from devart.rabbitmq import RabbitMq
from devart.source import Pull

_log = get_logger("devart.push")

_FIRST_TRY_SECONDS = 2.0
_SWEEP_SECONDS = 30.0


class Push:
    """Starts the tasks to which messages invite.

    A message is a hint and the API decides: when it refuses to start the task, the message is
    acknowledged and forgotten. While the broker is away, tasks are claimed. A claim twice a minute,
    when there is room, finds what no message told of, such as the first task of a queue that is not
    there yet.

    Args:
        client: the agent's client.
        rabbitmq_url: the broker, `amqp://` or `amqps://`; without a user the agent logs in as
            itself.
        prefetch: how many tasks are worked on at once.
        wait_seconds: length of one long poll while the broker is away, 0 to 30.
    """

    def __init__(
        self, client: TaskApi, rabbitmq_url: str, prefetch: int, wait_seconds: int
    ) -> None:
        self._client = client
        self._broker = RabbitMq(rabbitmq_url, prefetch, client.broker_login)
        self._inbox = self._broker.inbox
        self._away = Pull(client, wait_seconds)
        self._sweep = Pull(client, 0)
        self._next_sweep_at = 0.0
        # A message whose start got no answer is started again under the same key, also when it went
        # back to its queue and came again meanwhile.
        self._starts = uuid.uuid4()
        self._accepted: dict[Task, Invitation] = {}

    def open(self) -> None:
        """Start connecting to the broker."""
        self._next_sweep_at = time.monotonic() + _SWEEP_SECONDS
        self._broker.open()

    def take(self, room: int) -> list[Task]:
        """Wait for an invitation and accept it; claim instead while the broker is away."""
        if not self._broker.tried.wait(_FIRST_TRY_SECONDS):
            self._broker.tried.set()
        if not self._broker.consuming:
            return self._away.take(room)
        if (left := self._next_sweep_at - time.monotonic()) <= 0:
            return self._look_around(room)
        invitation = self._inbox.take(left)
        return [] if invitation is None else self._accept(invitation)

    def settle(self, task: Task) -> None:
        """Acknowledge the message that invited to the task, if one did."""
        invitation = self._accepted.pop(task, None)
        if invitation is not None:
            self._forget(invitation)

    def notice(self, answer: HeartbeatAnswer) -> None:
        """Consume the queues that this agent can serve."""
        self._broker.subscribe(answer.queues)

    def stop(self) -> None:
        """Return the messages that wait, and ask for no more."""
        self._broker.stop()
        self._inbox.disturb()

    def close(self) -> None:
        """End the connection to the broker."""
        self._broker.close()

    def _look_around(self, room: int) -> list[Task]:
        tasks = self._sweep.take(room)
        # Where one was overlooked there may be more.
        self._next_sweep_at = time.monotonic() + (0 if tasks else _SWEEP_SECONDS)
        return tasks

    def _accept(self, invitation: Invitation) -> list[Task]:
        try:
            task = self._client.start(
                invitation.task_id, str(uuid.uuid5(self._starts, invitation.key))
            )
        except (InvalidArgument, NotFound) as error:
            _log.error("message %s invites to no task: %s", invitation.key, error)
            self._forget(invitation)
            return []
        except BaseException:
            # Whoever called decides whether to try again; the message must not be lost.
            self._inbox.put_back(invitation)
            raise
        if task is None:
            _log.info("task %s is no longer to be had", invitation.task_id)
            self._forget(invitation)
            return []
        task.traceparent = task.traceparent or invitation.traceparent
        self._accepted[task] = invitation
        return [task]

    def _forget(self, invitation: Invitation) -> None:
        self._broker.acknowledge(self._inbox.finish(invitation))
