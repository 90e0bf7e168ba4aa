"""What the parts of the SDK ask of a client, so that none of them needs the client itself."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any, Protocol

from devart.late_settlements import Cost
from devart.models import HeartbeatAnswer, Hold, Settlement, Task, TaskRecord, TaskState, Units


class TaskApi(Protocol):
    """Taking tasks, keeping their leases and reporting on them.

    `Client` has it, and says all about each method.
    """

    def claim(self, max_tasks: int = 1, wait_seconds: int = 0) -> list[Task]:
        """Claim tasks that the agent is able to do, the most urgent first."""

    def start(self, task_id: str, key: str | None = None) -> Task | None:
        """Claim one particular task; None when it is no longer to be had."""

    def extend_lease(
        self, task: Task, seconds: int = 60, *, retry_seconds: float | None = None
    ) -> TaskState:
        """Keep a task for `seconds` from now."""

    def give_back(self, task: Task) -> None:
        """Give a task back; another attempt follows, and costs no retry."""

    def json_form(self, value: object, name: str = "the value") -> Any:
        """Return what a result or payload is sent as."""

    def heartbeat(
        self, detail: Mapping[str, Any] | None = None, tasks: Iterable[Task] | None = None
    ) -> HeartbeatAnswer:
        """Say that the agent is alive, and extend leases."""

    def broker_login(self) -> tuple[str, str]:
        """Return the agent's id and its key."""

    def complete(self, task: Task, result: object = None) -> TaskState:
        """Finish a task."""

    def report_failure(
        self, task: Task, error: str, retryable: bool = True, retry_after: float | None = None
    ) -> TaskState:
        """Give a task up."""


class MoneyApi(Protocol):
    """What becomes of money that was set aside.

    `Client` has it, and says all about each method.
    """

    def settle(
        self,
        hold_id: str,
        amount_usd: Decimal | int | str | None = None,
        *,
        usage: Units | None = None,
    ) -> Settlement:
        """Replace a hold by what was really spent."""

    def settle_later(self, hold_id: str, cost: Cost) -> None:
        """Settle as soon as the API answers again."""

    def release(self, hold_id: str) -> bool:
        """Give the money of a hold back."""

    def mark_dispatched(self, hold_id: str, task: Task | None = None) -> bool | None:
        """Say that the call goes out now; None when the API does not know of that yet."""

    def extend(
        self,
        hold_id: str,
        more_usd: Decimal | int | str | float | None = None,
        *,
        usage: Units | None = None,
        ttl: float | None = None,
    ) -> Hold | None:
        """Set more aside under a hold; None when the API does not know of that yet."""

    def defer(
        self,
        service_id: str,
        seconds: float | None = None,
        *,
        until: datetime | None = None,
        reason: str | None = None,
    ) -> datetime | None:
        """Have a service left alone for a while."""

    def task(self, task_id: str) -> TaskRecord:
        """Look at a task."""
