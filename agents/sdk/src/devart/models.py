"""What the API hands out: tasks and the answers to an agent's calls.

Each `from_json` takes a decoded answer and ignores members that it does not know, so that a newer
API keeps working; it raises `KeyError`, `TypeError` or `ValueError` on one that lacks what the SDK
relies on.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Generic

from devart.claimed_hold import ClaimedHold
from devart.lost_lease import LostLease
from devart.stops import Stop, StopNotice

if TYPE_CHECKING:
    from typing_extensions import TypeVar

    PayloadT = TypeVar("PayloadT", default=Any)
else:
    from typing import TypeVar

    PayloadT = TypeVar("PayloadT")

Units = Mapping[str, int | Decimal | float]
"""Quantities by the names of a service's units: `{"input_token": 1200, "output_token": 300}`."""


@dataclass(eq=False)
class Task(Generic[PayloadT]):
    """A task that this agent has claimed and holds a lease on.

    It may be copied, and sent to another process. `Task[PullRequest]` is one whose payload is a
    `PullRequest`: what `read_payload` made of the JSON.

    Attributes:
        id: the task's UUID.
        priority: CRITICAL, HIGH, MEDIUM or LOW.
        payload: the work's input, as JSON or as `read_payload` made it; JSON numbers with a
            fraction are `Decimal`.
        attempt: 1 at the first claim, one more at each later one.
        lease_token: proof of the claim; every report on the task presents it.
        lease_expires_at: when the lease ends unless it is extended, as of the claim or the last
            `extend_lease`. Heartbeats extend it further.
        service_id: the service the task's work is meant to be charged to, if one was named.
        hold_id: under which the task's estimated cost is set aside, if it has one; None once a
            `spend` took it over.
        traceparent: the W3C trace context that the task was created in, if its creator had one. The
            handler runs in a span below it when OpenTelemetry is installed (`devart[otel]`).
        reported: whether the outcome has been told, by the handler itself or by the run loop.
        lease_lost: set as soon as the SDK learns that the task is no longer this agent's. A handler
            that works for long looks at it (`task.lease_lost.is_set()`) and stops: its result would
            be refused. An async handler is cancelled.
        claimed_hold: whether a `spend` took over the money that came with the task.
        stop_notice: what heartbeats told of stops; asked by `should_stop`.
    """

    id: str
    title: str
    description: str | None
    priority: str
    payload: PayloadT
    attempt: int
    lease_token: str = field(repr=False)
    lease_expires_at: datetime
    service_id: str | None
    workflow_run_id: str | None
    traceparent: str | None = None
    hold_id: str | None = None
    reported: bool = field(default=False, repr=False)
    lease_lost: LostLease = field(default_factory=LostLease, repr=False)
    claimed_hold: ClaimedHold = field(default_factory=ClaimedHold, repr=False)
    stop_notice: StopNotice = field(default_factory=StopNotice, repr=False)

    @classmethod
    def from_json(cls: type[Task[Any]], row: Mapping[str, Any]) -> Task[Any]:
        """Read one row of a claim."""
        return cls(
            id=row["task_id"],
            title=row["title"],
            description=row.get("description"),
            priority=row["priority"],
            payload=row.get("payload"),
            attempt=int(row["attempt"]),
            lease_token=row["lease_token"],
            lease_expires_at=parse_time(row["lease_expires_at"]),
            service_id=row.get("service_id"),
            workflow_run_id=row.get("workflow_run_id"),
            traceparent=row.get("traceparent"),
            hold_id=row.get("hold_id"),
        )

    def holds_money_for(self, service_id: str) -> bool:
        """Whether money for this service came with the task, and no `spend` took it over yet."""
        return (
            self.hold_id is not None
            and self.service_id == service_id
            and not self.claimed_hold.taken
        )

    def take_hold(self, service_id: str) -> str | None:
        """Take over, for one block, the money that came with the task; None when there is none.

        Asked by several threads at once, one gets it.
        """
        if not self.holds_money_for(service_id) or not self.claimed_hold.take():
            return None
        hold_id, self.hold_id = self.hold_id, None
        return hold_id

    def put_hold_back(self, hold_id: str) -> None:
        """Leave the money that `take_hold` took to the next block."""
        self.hold_id = hold_id
        self.claimed_hold.put_back()

    @property
    def should_stop(self) -> bool:
        """Whether the handler had better stop: look at it between the parts of long work.

        True once the lease is lost, and while people have stopped this task, its run, its service,
        its agent or everything, as the last heartbeat told. A handler that stops because of it
        raises `TaskStopped`: what it has spent is settled at the end of its `spend` block, and the
        task goes back without using up a retry.
        """
        return self.stop_reason is not None

    @property
    def stop_reason(self) -> str | None:
        """Why the handler had better stop, for people; None when it may go on."""
        if self.lease_lost.is_set():
            return "the task is no longer this agent's"
        return self.stop_notice.reason


@dataclass(frozen=True)
class TaskRecord:
    """A task as it stands, for the agent that has or had it, and the one that created it.

    Attributes:
        id: the task's UUID.
        status: BLOCKED, AWAITING_APPROVAL, SCHEDULED, TODO, IN_PROGRESS, DONE, FAILED or CANCELLED.
        priority: CRITICAL, HIGH, MEDIUM or LOW.
        payload: the work's input.
        result: what came of it, once it is DONE.
        attempt: how often it was handed out.
        last_error: why the last attempt failed, if it did.
        run_at: when it is offered at the earliest, if that was set.
        service_id: the service that its work is meant to be charged to.
        estimated_cost_usd: US dollars set aside when it is handed out.
    """

    id: str
    title: str
    status: str
    priority: str
    parent_task_id: str | None
    payload: Any
    result: Any
    attempt: int
    last_error: str | None
    run_at: datetime | None
    service_id: str | None
    estimated_cost_usd: Decimal | None

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> TaskRecord:
        """Read a task's row."""
        return cls(
            id=row["id"],
            title=row["title"],
            status=row["status"],
            priority=row["priority"],
            parent_task_id=row.get("parent_task_id"),
            payload=row.get("payload"),
            result=row.get("result"),
            attempt=int(row["attempt"]),
            last_error=row.get("last_error"),
            run_at=_optional_time(row.get("run_at")),
            service_id=row.get("service_id"),
            estimated_cost_usd=_optional_money(row.get("estimated_cost_usd")),
        )


_STATUSES = frozenset(
    {
        "BLOCKED",
        "AWAITING_APPROVAL",
        "SCHEDULED",
        "TODO",
        "IN_PROGRESS",
        "DONE",
        "FAILED",
        "CANCELLED",
    }
)


@dataclass(frozen=True)
class TaskState:
    """Where a task stands after a report on it.

    Attributes:
        status: the task's new status, such as DONE, SCHEDULED or FAILED.
        run_at: when it will be offered again, if it waits for a retry.
        lease_expires_at: when this agent's lease ends, if it still holds one.
    """

    status: str
    run_at: datetime | None
    lease_expires_at: datetime | None

    @classmethod
    def from_json(cls, answer: Mapping[str, Any]) -> TaskState:
        """Read the answer to complete, report-failure or extend-lease.

        A status that no task has is somebody else's: many a page of a proxy's has one.
        """
        if answer["status"] not in _STATUSES:
            raise ValueError(f"a task has no status {str(answer['status'])[:40]!r}")
        return cls(
            status=answer["status"],
            run_at=_optional_time(answer.get("run_at")),
            lease_expires_at=_optional_time(answer.get("lease_expires_at")),
        )


@dataclass(frozen=True)
class Charge:
    """An admitted charge.

    Attributes:
        charged_service_id: the service that was billed; the substitute when `delegated`.
        delegated: whether a substitute stood in for the service that was asked for.
        suspended: whether this charge used up the budget and suspended the service.
        spent_usd: US dollars spent in the open window, this charge included.
        remaining_usd: US dollars left in it.
    """

    charged_service_id: str
    delegated: bool
    suspended: bool
    spent_usd: Decimal | None
    remaining_usd: Decimal | None

    @classmethod
    def from_json(cls, answer: Mapping[str, Any]) -> Charge:
        """Read the answer to a charge."""
        return cls(
            charged_service_id=answer["charged_service_id"],
            delegated=bool(answer.get("delegated")),
            suspended=bool(answer.get("suspended")),
            spent_usd=_optional_money(answer.get("spent_usd")),
            remaining_usd=_optional_money(answer.get("remaining_usd")),
        )


@dataclass(frozen=True)
class Hold:
    """Money that is set aside.

    Attributes:
        hold_id: to settle or release it.
        service_id: the service that is billed; a substitute when `delegated_from` is set.
        delegated_from: the service that was asked for, when a substitute is billed.
        reason: why a substitute is billed.
        held_usd: US dollars set aside.
        remaining_usd: US dollars left of the tightest limit that applies; None when nothing limits.
        max_affordable_units: what those buy; None without prices.
        expires_at: when the hold ends by itself.
    """

    hold_id: str
    service_id: str
    delegated_from: str | None
    reason: str | None
    held_usd: Decimal
    remaining_usd: Decimal | None
    max_affordable_units: dict[str, int | Decimal] | None
    expires_at: datetime

    @classmethod
    def from_json(cls, answer: Mapping[str, Any]) -> Hold:
        """Read the answer to a dispatch that was admitted."""
        units = answer.get("max_affordable_units")
        return cls(
            hold_id=answer["hold_id"],
            service_id=answer["service_id"],
            delegated_from=answer.get("delegated_from"),
            reason=answer.get("reason"),
            held_usd=Decimal(answer["held_usd"]),
            remaining_usd=_optional_money(answer.get("remaining_usd")),
            max_affordable_units=None if units is None else dict(units),
            expires_at=parse_time(answer["expires_at"]),
        )


@dataclass(frozen=True)
class Settlement:
    """What a settled hold has cost.

    Attributes:
        charged_usd: US dollars charged.
        overage_usd: the part of it beyond what was still held.
        late: whether the hold had expired or was released before.
        suspended: whether the service's budget is used up.
        remaining_usd: US dollars left of the service's budget; None without a hard limit.
        presumed: whether it came after the end of the hold, which counted as spent until then; this
            cost replaces that.
    """

    charged_usd: Decimal
    overage_usd: Decimal
    late: bool
    suspended: bool
    remaining_usd: Decimal | None
    presumed: bool = False

    @classmethod
    def from_json(cls, answer: Mapping[str, Any]) -> Settlement:
        """Read the answer to a settlement."""
        return cls(
            charged_usd=Decimal(answer["charged_usd"]),
            overage_usd=Decimal(answer["overage_usd"]),
            late=bool(answer["late"]),
            suspended=bool(answer["suspended"]),
            remaining_usd=_optional_money(answer.get("remaining_usd")),
            presumed=bool(answer.get("presumed")),
        )


@dataclass(frozen=True)
class HeartbeatAnswer:
    """What the API knows of the agent.

    Attributes:
        status: IDLE, BUSY, OFFLINE or DEACTIVATED.
        leases_extended: how many leases this heartbeat extended.
        active_task_count: how many tasks the agent holds.
        stop: whether an operator wants the agent to stop.
        queues: the RabbitMQ queues whose tasks this agent can do; `tasks.todo` alone from an API
            that names none.
        stops: the stops in force that concern this agent or its tasks.
    """

    status: str
    leases_extended: int
    active_task_count: int
    stop: bool
    queues: tuple[str, ...]
    stops: tuple[Stop, ...] = ()

    @classmethod
    def from_json(cls, answer: Mapping[str, Any]) -> HeartbeatAnswer:
        """Read the answer to a heartbeat."""
        return cls(
            status=answer["status"],
            leases_extended=int(answer["leases_extended"]),
            active_task_count=int(answer["active_task_count"]),
            stop=bool(answer["stop"]),
            queues=tuple(answer.get("queues") or ("tasks.todo",)),
            stops=tuple(Stop.from_json(stop) for stop in answer.get("stops") or ()),
        )


_TIME = re.compile(
    r"(?P<second>\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d)(?:\.(?P<fraction>\d+))?"
    r"(?P<zone>Z|[+-]\d\d(?::\d\d)?)"
)


def parse_time(text: str) -> datetime:
    """Read an RFC 3339 time.

    Python 3.10's `fromisoformat` takes neither Z nor five digits of a second.

    Raises:
        ValueError: the text is not a time with a zone.
    """
    match = _TIME.fullmatch(text)
    if match is None:
        raise ValueError(f"not a time with a zone: {text!r}")
    microseconds = (match["fraction"] or "").ljust(6, "0")[:6]
    zone = match["zone"].replace("Z", "+00:00")
    if len(zone) == len("+00"):
        zone += ":00"
    return datetime.fromisoformat(f"{match['second']}.{microseconds}{zone}")


def _optional_time(text: str | None) -> datetime | None:
    return None if text is None else parse_time(text)


def _optional_money(amount: int | str | Decimal | None) -> Decimal | None:
    return None if amount is None else Decimal(amount)
