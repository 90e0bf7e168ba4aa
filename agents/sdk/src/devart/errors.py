"""What can go wrong between an agent and the API, as one family of exceptions.

The API answers errors as RFC 9457 `application/problem+json` with a stable `code`. Catch the class
that you can act upon, or `DevartError` for all of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

from devart import arguments
from devart.models import parse_time


class DevartError(Exception):
    """Any failure of a call to devart.

    Attributes:
        status: the HTTP status, or None when no answer arrived.
        code: the API's stable name for the problem, such as `lease_lost`.
        detail: a sentence for people.
        extra: every further member of the problem document.
        retry_after_seconds: how long the API asked to wait before the next try, if it did.
    """

    retry_after_seconds: float | None = None

    def __init__(
        self,
        detail: str,
        *,
        status: int | None = None,
        code: str = "error",
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.status = status
        self.code = code
        self.extra: Mapping[str, Any] = extra or {}

    def __str__(self) -> str:
        answered = f"{self.status} {self.code}" if self.status else self.code
        return f"{self.detail} ({answered})"


class Unauthorized(DevartError):
    """401: the API key is unknown, expired or revoked."""


class Forbidden(DevartError):
    """403: the agent may not do this: it was deactivated, or the task is another agent's."""


class NotFound(DevartError):
    """404: there is no such task or service, or none that this agent may see."""


class Conflict(DevartError):
    """409: the thing is not in a state that allows this."""


class LeaseLost(Conflict):
    """409: the task is no longer this agent's.

    Its lease ran out, or it was cancelled. Stop working on it.
    """


class BudgetRefused(DevartError):
    """402: the money is not there, or nobody knows what a unit costs. Nothing was held or charged.

    Also when people have stopped the work (`stopped`), and while the service is `deferred`.

    Attributes:
        service_id: the service that was asked for.
    """

    service_id: str | None = None

    @property
    def reason(self) -> str | None:
        """Why it was refused, for people.

        For programs `code`: budget_exceeded, price_unknown, no_estimate or too_much_held; of an
        extension also hold_over and reserve_anew (there is nothing to extend: begin another block).
        """
        return self.extra.get("reason")

    @property
    def stopped(self) -> bool:
        """Whether people have stopped or paused what the money is for, until they resume it."""
        return self._is_for("stopped", "paused")

    @property
    def deferred(self) -> bool:
        """Whether the service is left alone for a while, because its provider asked for that."""
        return self._is_for("service_deferred")

    @property
    def deferred_until(self) -> datetime | None:
        """When the service is used again, if it is `deferred` and the API said so."""
        text = self.extra.get("deferred_until")
        try:
            return parse_time(text) if isinstance(text, str) else None
        except ValueError:
            return None

    def _is_for(self, *words: str) -> bool:
        return self.code in words or str(self.reason or "").startswith(words)

    @property
    def remaining_usd(self) -> Decimal | None:
        """US dollars left of the limit that refused, None when the API did not say."""
        return _money(self.extra.get("remaining_usd"))

    @property
    def needed_usd(self) -> Decimal | None:
        """US dollars that it would have taken, None when the API did not say."""
        return _money(self.extra.get("needed_usd"))

    @property
    def max_affordable_units(self) -> dict[str, int | Decimal] | None:
        """What `remaining_usd` buys: of the mix that was asked for, or else of each unit alone.

        None without prices.
        """
        units = self.extra.get("max_affordable_units")
        return None if units is None else dict(units)

    @property
    def scope(self) -> str | None:
        """Whose limit refused: service, agent, task, run or user; None when the API did not say."""
        return self.extra.get("scope")

    @property
    def task_status(self) -> str | None:
        """AWAITING_APPROVAL when the task waits for budget now, and is no longer this agent's."""
        return self.extra.get("task_status")

    @property
    def approval_id(self) -> str | None:
        """The approval with which people decide about the task that waits."""
        return self.extra.get("approval_id")


class InvalidArgument(DevartError):
    """400, 413, 414, 422 or 431: the API refused what was sent. Sending it again will not help."""

    @property
    def field_errors(self) -> dict[str, str]:
        """What is wrong, by the name of the field; empty when the API named none."""
        field = self.extra.get("field")
        return {str(field): self.detail} if field else {}


class Unavailable(DevartError):
    """No answer, 408, 425, 429, 502, 503, 504, or a page of a proxy's; still so after every retry.

    The call may or may not have taken effect.
    """


class ServerError(DevartError):
    """The API failed (another 5xx), or gave an answer that this SDK does not understand."""


class TaskFailed(Exception):
    """Raise this in a handler to fail its task with a plain message instead of a traceback.

    The message always gets through: a `retry_after` that is no number of seconds is left to the
    server, and a `retryable` that is neither True nor False is taken as True, each with a word
    about it behind the message.

    Args:
        message: what went wrong; stored as the task's `last_error`.
        retryable: False sends the task to FAILED at once.
        retry_after: seconds until the next attempt at the earliest, 0 to a year; the server's
            backoff may be longer.
    """

    # Also of a class of somebody's that leaves `__init__` out.
    retryable: bool = True
    retry_after: float | None = None

    def __init__(
        self, message: str, *, retryable: bool = True, retry_after: float | None = None
    ) -> None:
        try:
            self.retryable = arguments.flag("retryable", retryable)
        except TypeError as error:
            message = f"{message} ({error}; taken as True)"
        try:
            self.retry_after = arguments.retry_after(retry_after)
        except (TypeError, ValueError) as error:
            message = f"{message} ({error}; left to the server)"
        super().__init__(message)


class TaskStopped(Exception):
    """Raise this in a handler that stops because `task.should_stop` says so.

    The task goes back as it was, which costs it no retry, and is handed out again when people
    resume it.
    """


_CLASS_BY_STATUS: dict[int, type[DevartError]] = {
    400: InvalidArgument,
    401: Unauthorized,
    402: BudgetRefused,
    403: Forbidden,
    404: NotFound,
    408: Unavailable,
    409: Conflict,
    413: InvalidArgument,
    414: InvalidArgument,
    422: InvalidArgument,
    425: Unavailable,
    429: Unavailable,
    431: InvalidArgument,
    502: Unavailable,
    503: Unavailable,
    504: Unavailable,
}


def error_from_problem(status: int, problem: object) -> DevartError:
    """Turn an error answer into its exception; `problem` is the decoded body, whatever it was."""
    members = dict(problem) if isinstance(problem, Mapping) else {}
    for member in ("type", "status"):
        members.pop(member, None)
    code = str(members.pop("code", "error"))
    title = members.pop("title", None)
    detail = str(members.pop("detail", None) or title or f"the API answered {status}")
    return _class_for(status, code)(detail, status=status, code=code, extra=members)


def _class_for(status: int, code: str) -> type[DevartError]:
    if code == "lease_lost":
        return LeaseLost
    return _CLASS_BY_STATUS.get(status, ServerError if status >= 500 else DevartError)


def _money(amount: int | str | Decimal | None) -> Decimal | None:
    return None if amount is None else Decimal(amount)
