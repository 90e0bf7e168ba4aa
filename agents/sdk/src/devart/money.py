"""The client's calls that set money aside, settle it, give it back, or charge at once."""

from __future__ import annotations

import math
import uuid
from collections.abc import Callable, Mapping
from datetime import datetime
from decimal import Decimal
from functools import partial
from typing import Any, TypeVar, cast
from urllib.parse import quote

from devart import arguments
from devart.errors import BudgetRefused, DevartError, InvalidArgument
from devart.late_settlements import Cost, LateSettlements
from devart.models import Charge, Hold, Settlement, Task, TaskRecord, Units, parse_time
from devart.newer_api import NewerApi
from devart.spend import Spend
from devart.spend_entry import Entry
from devart.task_in_hand import NoTask, task_in_hand
from devart.transport import Patience
from devart.usd import estimated_usd, exact_usd

_T = TypeVar("_T")

# For whoever waits while the client closes.
_QUICK_PATIENCE = Patience(answer_seconds=5.0, retry_seconds=0.0)


class Money:
    """What an agent may do with money. A part of `Client`."""

    _newer_api: NewerApi
    _late_settlements: LateSettlements

    def spend(
        self,
        service_id: str | None = None,
        *,
        estimate: Decimal | int | str | float | None = None,
        units: Units | None = None,
        task: Task | NoTask | None = None,
        idempotency_key: str | None = None,
        ttl: float | None = None,
        ask: bool = True,
    ) -> Spend:
        """Set money aside for the length of a block in which it is spent.

        See `Spend` for the whole of it.

        Nothing is asked for before the block begins. A task that names a service and an estimate
        comes with its money set aside: for this service, a block without an estimate uses that, and
        one with an estimate takes its place. Either way the money is not set aside twice, and one
        block gets it. An estimate that is refused leaves it to the next block.

        Without any of these, what is set aside is what such calls of this service have cost, as the
        API knows it; entering is refused, with the code `no_estimate`, where it does not know it.

        Args:
            service_id: the service's UUID; None for the service of the task.
            estimate: US dollars to set aside. A float is rounded up to a millionth, as it is only
                an estimate.
            units: instead of an estimate, what is going to be used, at the service's prices.
            task: the task the money is for; None for the task in hand, where a handler is running,
                and `NO_TASK` for none.
            idempotency_key: names this spending, so that repeating it finds the same hold, as long
                as that is open: when it is settled or its time is up, another is made, since
                another call is about to go out. By default each block is one of its own; lost
                answers are asked for again in any case.
            ttl: seconds until the hold ends by itself, rounded up, at most 30 days; None for 10
                minutes. From then on what is held counts as spent, until the real cost is settled.
            ask: with True, a refused task waits for budget and people are asked. With False it
                stays with this agent, which may try a smaller amount.

        Raises:
            RuntimeError: no task is named, and this thread knows of none while this client
                consumes: the cost would be missing from its task.
            TypeError, ValueError: `estimate` is not a number.
            ValueError: both `estimate` and `units` are given; or no service is named. On entering:
                neither is given, and the API estimates nothing yet.
        """
        if estimate is not None and units is not None:
            raise ValueError("estimate or units must be given, not both")
        arguments.idempotency_key("idempotency_key", idempotency_key)
        if ttl is not None:
            arguments.seconds("ttl", ttl)
        paid_for = self._paid_for(task)
        service_id = service_id or (paid_for.service_id if paid_for else None)
        if service_id is None:
            raise ValueError("service_id must be given: there is no task that names one")
        if estimate is not None or units is not None:
            amount = estimated_usd("estimate", estimate)
            reserve = partial(self.reserve, service_id, amount, units=units, task=paid_for, ttl=ttl)
        elif paid_for is not None and paid_for.holds_money_for(service_id):
            return Spend(Entry(self, service_id, paid_for), self._in_thread)
        else:
            reserve = partial(self._reserve_as_usual, service_id, task=paid_for, ttl=ttl)
        entry = Entry(self, service_id, paid_for, reserve, key=idempotency_key, ask=ask)
        return Spend(entry, self._in_thread)

    def _reserve_as_usual(
        self,
        service_id: str,
        *,
        task: Task | None,
        idempotency_key: str | None,
        ttl: float | None,
        ask: bool,
    ) -> Hold:
        """Set aside what such calls usually cost, which the API knows."""
        try:
            return self.reserve(
                service_id, task=task, idempotency_key=idempotency_key, ttl=ttl, ask=ask
            )
        except InvalidArgument as refusal:
            if "estimate_usd" not in refusal.field_errors:
                raise
            raise ValueError(
                "estimate or units must be given: no task has money set aside for this service, "
                "and the API estimates nothing yet"
            ) from refusal

    def _paid_for(self, task: Task | NoTask | None) -> Task | None:
        if isinstance(task, NoTask):
            return None
        task = task or task_in_hand()
        if task is None and self._works():
            raise RuntimeError(
                "this client consumes, and this thread knows of no task: name it (task=task), "
                "start such threads with devart.TaskThreads or asyncio.to_thread, or say that the "
                "money is for none of them (task=devart.NO_TASK)"
            )
        return task

    def reserve(
        self,
        service_id: str,
        estimate_usd: Decimal | int | str | None = None,
        *,
        units: Units | None = None,
        task: Task | None = None,
        idempotency_key: str | None = None,
        ttl: float | None = None,
        ask: bool = True,
    ) -> Hold:
        """Set money aside, to be settled or released by hand. `spend` does both.

        The call counts as one that goes out: when the hold's time is up and nobody has settled or
        released it, what is held counts as spent.

        Args:
            service_id: the service's UUID.
            estimate_usd: US dollars, exact. A float is refused. Without it and `units`, what such
                calls have cost is set aside.
            units: instead of dollars, what is going to be used, at the service's prices.
            task: the task the money is for.
            idempotency_key: asking twice with one key holds once.
            ttl: seconds until the hold ends by itself, rounded up, at most 30 days; None for 10
                minutes.
            ask: as for `spend`.

        Raises:
            BudgetRefused: a limit that applies has no room, or a unit has no price. With
                `task_status` the task waits for budget, and is no longer this agent's.
            Forbidden, LeaseLost: the task is not, or no longer, this agent's.
            NotFound: there is no such service.
            TypeError, ValueError: `estimate_usd` is a float, or not a number.
        """
        body = {
            "service_id": arguments.identifier("service_id", service_id),
            "estimate_usd": exact_usd("estimate_usd", estimate_usd),
            "usage": None if units is None else dict(units),
            "task_id": task.id if task else None,
            "lease_token": task.lease_token if task else None,
            "idempotency_key": arguments.idempotency_key("idempotency_key", idempotency_key),
            "ttl_seconds": None if ttl is None else math.ceil(arguments.seconds("ttl", ttl)),
            "ask": ask,
        }
        # The key in the body remembers holds only. That of the request makes a lost refusal be
        # found again, too: asked anew, it would be another answer, since the task waits by then.
        headers = {"Idempotency-Key": str(uuid.uuid4())}
        try:
            path, read = "/api/tasks/dispatch", Hold.from_json
            return cast(Hold, self._call("POST", path, body, headers=headers, read=read))
        except BudgetRefused as refusal:
            refusal.service_id = service_id
            if task is not None and refusal.task_status is not None:
                task.reported = True
            raise

    def settle(
        self,
        hold_id: str,
        amount_usd: Decimal | int | str | None = None,
        *,
        usage: Units | None = None,
    ) -> Settlement:
        """Replace a hold by what was really spent, above the hold as well, and after its end.

        Settling again with the same cost changes nothing and is answered the same.

        Args:
            hold_id: from `reserve`, or a task's `hold_id`.
            amount_usd: US dollars, exact, with at most six decimals. A float is refused.
            usage: instead of dollars, what was used, at the prices that were in force when the hold
                was made.

        Raises:
            Conflict: it was settled with another cost.
            Forbidden, NotFound: another agent's hold, or none.
            InvalidArgument: a unit has no price.
            TypeError, ValueError: `amount_usd` is a float, or not a number.
            ValueError: not exactly one of `amount_usd` and `usage` is given.
        """
        return self._settle(hold_id, amount_usd, usage)

    def _settle(
        self,
        hold_id: str,
        amount_usd: Decimal | int | str | None,
        usage: Units | None,
        patience: Patience | None = None,
    ) -> Settlement:
        if (amount_usd is None) == (usage is None):
            raise ValueError("amount_usd or usage must be given, and only one of them")
        body = {
            "amount_usd": exact_usd("amount_usd", amount_usd),
            "usage": None if usage is None else dict(usage),
        }
        path, read = _charge_path(hold_id, "settle"), Settlement.from_json
        return cast(Settlement, self._call("POST", path, body, patience, read=read))

    def settle_later(self, hold_id: str, cost: Cost) -> None:
        """Settle a hold as soon as the API answers again, in the background.

        Until the client closes: then it is tried once more, and is an error in the log.
        """
        self._late_settlements.add(hold_id, cost)

    def _settle_late(self, hold_id: str, cost: Cost, quickly: bool) -> None:
        patience = _QUICK_PATIENCE if quickly else None
        self._settle(hold_id, cost[0], cost[1], patience)

    def release(self, hold_id: str) -> bool:
        """Give the money of a hold back.

        Return False when it was settled or released before, or has expired.

        Raises:
            Forbidden, NotFound: another agent's hold, or none.
        """
        return bool(self._call("POST", _charge_path(hold_id, "release"), {}, read=_released))

    def mark_dispatched(self, hold_id: str, task: Task | None = None) -> bool | None:
        """Say that the call which a task's hold is for goes out now. A `spend` block does so.

        From then on the end of the hold's time does not give the money back: without a settlement,
        what is held counts as spent.

        Args:
            hold_id: a task's `hold_id`.
            task: whose lease must be the current one; None for no such condition.

        Returns:
            True when it is so, or was already; False when the hold is over, and the call must not
            be made with it; None when the API does not know of this yet.

        Raises:
            Forbidden, NotFound: another agent's hold, or none.
            LeaseLost: the task is no longer this agent's.
        """
        body = {"lease_token": task.lease_token if task else None}
        try:
            path = _charge_path(hold_id, "dispatched")
            return bool(self._call("POST", path, body, read=_dispatched))
        except DevartError as refusal:
            if self._newer_api.lacks("mark_dispatched", refusal):
                return None
            raise

    def extend(
        self,
        hold_id: str,
        more_usd: Decimal | int | str | float | None = None,
        *,
        usage: Units | None = None,
        ttl: float | None = None,
    ) -> Hold | None:
        """Set more aside under an open hold, and let it last longer.

        Refused, it stays as it is.

        Args:
            hold_id: from `reserve`, or a task's `hold_id`.
            more_usd: US dollars, beside those that are held. A float is rounded up to a millionth.
            usage: instead of dollars, what more is going to be used, at the prices that were in
                force when the hold was made.
            ttl: for how many seconds from now it lasts at least, rounded up; None for 10 minutes.
                With only this it holds no more, and lasts longer.

        Returns:
            The hold as it is now; None when the API does not know of this yet: what is settled
            above the hold is charged all the same.

        Raises:
            BudgetRefused: there is no room for more; or the hold cannot be widened, with code
                `hold_over` or `reserve_anew`.
            Forbidden, NotFound: another agent's hold, or none.
            ValueError: nothing is given, or both `more_usd` and `usage`.
        """
        if more_usd is not None and usage is not None:
            raise ValueError("more_usd or usage must be given, not both")
        if more_usd is None and usage is None and ttl is None:
            raise ValueError("more_usd, usage or ttl must be given")
        body = {
            "more_usd": estimated_usd("more_usd", more_usd),
            "usage": None if usage is None else dict(usage),
            "ttl_seconds": None if ttl is None else math.ceil(arguments.seconds("ttl", ttl)),
        }
        # A lost answer is asked for again: it must not widen twice.
        headers = {"Idempotency-Key": str(uuid.uuid4())}
        try:
            path, read = _charge_path(hold_id, "extend"), Hold.from_json
            return cast(Hold, self._call("POST", path, body, headers=headers, read=read))
        except DevartError as refusal:
            if self._newer_api.lacks("extend", refusal):
                return None
            raise

    def defer(
        self,
        service_id: str,
        seconds: float | None = None,
        *,
        until: datetime | None = None,
        reason: str | None = None,
    ) -> datetime | None:
        """Have a service left alone for a while, by all agents: its provider asked for that.

        Until then no task of the service is handed out, and no money for it is set aside. It ends
        by itself. Within a block there is `Spend.defer_from`, which reads the provider's answer.

        Args:
            service_id: one that a task in hand is for, or of which this agent holds money.
            seconds: for how long from now, rounded up. An agent only makes it longer.
            until: instead of that, until when; a time with a zone.
            reason: why, for people.

        Returns:
            Until when; None when it ended, or the API does not know of this yet.

        Raises:
            Forbidden: this agent does not work with the service.
            InvalidArgument: for longer than devart is set up to.
            NotFound: there is no such service.
            TypeError, ValueError: not exactly one of `seconds` and `until` is given, or it is none.
        """
        if (seconds is None) == (until is None):
            raise ValueError("seconds or until must be given, and only one of them")
        body: dict[str, Any] = {} if reason is None else {"reason": reason}
        if seconds is not None:
            body["seconds"] = math.ceil(arguments.seconds("seconds", seconds))
        else:
            body["until"] = arguments.moment("until", until)
        service_id = arguments.identifier("service_id", service_id)
        path = f"/api/services/{quote(service_id, safe='')}/defer"
        try:
            read = _deferred_until
            return cast("datetime | None", self._call("POST", path, body, read=read))
        except DevartError as refusal:
            if self._newer_api.lacks("defer", refusal):
                return None
            raise

    def charge(
        self,
        service_id: str,
        amount_usd: Decimal | int | str,
        task: Task | None = None,
        idempotency_key: str | None = None,
    ) -> Charge:
        """Charge a service for something that this agent used.

        Args:
            service_id: the service's UUID.
            amount_usd: US dollars, exact, with at most six decimals. A float is refused: it is not
                exact.
            task: the task the money was spent for.
            idempotency_key: charging twice with one key charges once. By default each call has its
                own key, so that a lost answer can be retried; pass one to make your own repetitions
                safe as well.

        Raises:
            BudgetRefused: the budget does not admit the charge; `remaining_usd` says what it would
                admit.
            Forbidden: `task` is not, or no longer, this agent's.
            NotFound: there is no such service.
            TypeError, ValueError: `amount_usd` is a float, or not a number.
        """
        key = arguments.idempotency_key("idempotency_key", idempotency_key) or str(uuid.uuid4())
        body = {
            "amount_usd": exact_usd("amount_usd", amount_usd),
            "task_id": task.id if task else None,
            "idempotency_key": key,
        }
        service_id = arguments.identifier("service_id", service_id)
        path = f"/api/services/{quote(service_id, safe='')}/charges"
        try:
            return cast(Charge, self._call("POST", path, body, read=Charge.from_json))
        except BudgetRefused as refusal:
            refusal.service_id = service_id
            raise

    def task(self, task_id: str) -> TaskRecord:
        """Look at a task; see `Client.task`."""
        raise NotImplementedError

    def _works(self) -> bool:
        """Whether this client consumes, in this process."""
        raise NotImplementedError

    async def _in_thread(
        self, call: Callable[[], _T], if_cancelled: Callable[[_T], object] | None = None
    ) -> _T:
        raise NotImplementedError

    def _call(
        self,
        method: str,
        path: str,
        body: object,
        patience: Patience | None = None,
        headers: dict[str, str] | None = None,
        *,
        read: Callable[[Any], Any] = lambda answer: answer,
    ) -> Any:
        raise NotImplementedError


def _charge_path(hold_id: str, action: str) -> str:
    return f"/api/charges/{quote(arguments.identifier('hold_id', hold_id), safe='')}/{action}"


def _released(answer: Mapping[str, Any]) -> bool:
    return bool(answer["released"])


def _dispatched(answer: Mapping[str, Any]) -> bool:
    return bool(answer["dispatched"])


def _deferred_until(answer: Mapping[str, Any] | None) -> datetime | None:
    until = (answer or {}).get("deferred_until")
    return None if until is None else parse_time(until)
