"""Stops that people have put up, as a task in hand hears of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Stop:
    """A stop in force, of which a heartbeat told.

    Attributes:
        scope: all, agent, service, run or task.
        reason: why, for people; None when nobody said.
        task_id: the task in hand that it stops; None for all of them.
    """

    scope: str
    reason: str | None = None
    task_id: str | None = None

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Stop:
        """Read one of a heartbeat's `stops`."""
        return cls(str(row["scope"]), row.get("reason"), row.get("task_id"))

    def is_for(self, task_id: str) -> bool:
        """Whether it stops this task."""
        return self.task_id is None or self.task_id == task_id

    def __str__(self) -> str:
        return self.reason or f"stopped ({self.scope})"


class StopNotice:
    """What a task knows of the stops in force.

    A copy of the task in the same process shares it; one in another process knows what was known
    when it was sent.
    """

    def __init__(self, reason: str | None = None) -> None:
        self.reason = reason
        """Why to stop; None when nothing asks for it."""

    def __copy__(self) -> StopNotice:
        return self

    def __deepcopy__(self, _: object) -> StopNotice:
        return self

    def __reduce__(self) -> tuple[type[StopNotice], tuple[str | None]]:
        return StopNotice, (self.reason,)
