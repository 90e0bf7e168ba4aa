"""Invitations to tasks, as they arrive by message, and the box in which they wait."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from devart import exact_json

if TYPE_CHECKING:
    from aio_pika.abc import AbstractIncomingMessage

_ID = re.compile("[0-9A-Za-z-]{1,64}")
_RANKS = {"CRITICAL": 4, "HIGH": 3, "MEDIUM": 2, "LOW": 1}


@dataclass(eq=False)
class Invitation:
    """A message that offers one attempt at a task; the API decides whether it still stands.

    Attributes:
        key: the same for every copy of the message.
        task_id: the task's UUID.
        rank: 4 for CRITICAL down to 1 for LOW.
        traceparent: the trace context that the message carried, if any.
        message: what has to be acknowledged at the end; the latest copy, since the broker sends a
            message again when the connection was lost.
    """

    key: str
    task_id: str
    rank: int
    traceparent: str | None
    message: AbstractIncomingMessage

    @classmethod
    def from_message(cls, message: AbstractIncomingMessage) -> Invitation:
        """Read a message.

        Raises:
            ValueError: the message is not an invitation to a task.
        """
        try:
            body = exact_json.decode(message.body)
        except ValueError:
            raise ValueError("its body is not JSON") from None
        if not isinstance(body, dict) or not isinstance(task_id := body.get("task_id"), str):
            raise ValueError("its body has no task_id")
        if not _ID.fullmatch(task_id):
            # In a path it would ask for something else, and its message would come for ever.
            raise ValueError("its body has a task_id that is no id")
        traceparent = message.headers.get("traceparent")
        return cls(
            key=message.message_id or f"{task_id}:{body.get('attempt')!a}",
            task_id=task_id,
            rank=_RANKS.get(str(body.get("priority")), _RANKS["MEDIUM"]),
            traceparent=traceparent if isinstance(traceparent, str) else None,
            message=message,
        )


class Inbox:
    """Invitations that wait to be taken, and those being worked on.

    Safe to use from several threads.

    Args:
        on_hungry: called when somebody begins to wait because there is no invitation.
    """

    def __init__(self, on_hungry: Callable[[], None]) -> None:
        self._on_hungry = on_hungry
        self._changed = threading.Condition()
        self._known: dict[str, Invitation] = {}
        self._waiting: list[Invitation] = []
        self._disturbed = False

    def put(self, invitation: Invitation) -> AbstractIncomingMessage | None:
        """Let an invitation wait.

        When it is a further copy of one that waits or is worked on, only the message changes hands,
        and the message that it replaces is returned: it has no more use.
        """
        with self._changed:
            known = self._known.get(invitation.key)
            if known is not None:
                replaced, known.message = known.message, invitation.message
                return replaced
            self._known[invitation.key] = invitation
            self._waiting.append(invitation)
            self._changed.notify_all()
            return None

    def take(self, timeout_seconds: float) -> Invitation | None:
        """Take the most urgent invitation, the oldest of several.

        None when there was none, or on `disturb`.
        """
        with self._changed:
            if not self._waiting and not self._disturbed:
                self._on_hungry()
                self._changed.wait_for(lambda: self._waiting or self._disturbed, timeout_seconds)
            self._disturbed = False
            if not self._waiting:
                return None
            invitation = max(self._waiting, key=lambda waiting: waiting.rank)
            self._waiting.remove(invitation)
            return invitation

    def put_back(self, invitation: Invitation) -> None:
        """Let an invitation wait again that was taken, before all others of its rank."""
        with self._changed:
            self._waiting.insert(0, invitation)

    def finish(self, invitation: Invitation) -> AbstractIncomingMessage:
        """Forget an invitation that was taken; return the message to acknowledge."""
        with self._changed:
            del self._known[invitation.key]
            return invitation.message

    def withdraw(self, invitation: Invitation) -> AbstractIncomingMessage | None:
        """Forget an invitation if it still waits, and return its message.

        None when it was taken.
        """
        with self._changed:
            if invitation not in self._waiting:
                return None
            self._waiting.remove(invitation)
            return self._known.pop(invitation.key).message

    def withdraw_all(self) -> list[AbstractIncomingMessage]:
        """Forget all that wait, and return their messages."""
        with self._changed:
            withdrawn = [self._known.pop(invitation.key).message for invitation in self._waiting]
            self._waiting.clear()
            return withdrawn

    def disturb(self) -> None:
        """Make the current `take`, or else the next one, return without waiting."""
        with self._changed:
            self._disturbed = True
            self._changed.notify_all()
