"""The client's calls that set money aside, settle it, give it back, or charge at once."""

from __future__ import annotations

import math
import uuid
from collections.abc import Callable, Mapping
from decimal import ROUND_UP, Decimal
from functools import partial
from typing import Any, TypeVar
from urllib.parse import quote

from devart import arguments
from devart.answers import read_answer
from devart.errors import BudgetRefused
from devart.models import Charge, Hold, Settlement, Task, TaskRecord, Units
from devart.spend import Spend
from devart.task_in_hand import task_in_hand

_T = TypeVar("_T")

_MILLIONTH = Decimal("0.000001")


class Money:
    """What an agent may do with money. A part of `Client`."""

    def spend(
        self,
        service_id: str | None = None,
        *,
        estimate: Decimal | int | str | float | None = None,
        units: Units | None = None,
        task: Task | None = None,
        idempotency_key: str | None = None,
        ttl: float | None = None,
        ask: bool = True,
    ) -> Spend:
        """Set money aside for the length of a block in which it is spent.

        See `Spend` for the whole of it.

        Nothing is asked for before the block begins. A task that names a service and an estimate
        comes with its money set aside: for this service, a block without an estimate uses that, and
        one with an estimate takes its place. Either way the money is not set aside twice.

        Args:
            service_id: the service's UUID; None for the service of the task.
            estimate: US dollars to set aside. A float is rounded up to a millionth, as it is only
                an estimate.
            units: instead of an estimate, what is going to be used, at the service's prices.
            task: the task the money is for; None for the task in hand, where a handler is running.
            idempotency_key: names this spending, so that repeating it finds the same hold. By
                default each block is one of its own; lost answers are asked for again in any case.
            ttl: seconds until the hold ends by itself, rounded up, at most 30 days; None for 10
                minutes. A call that takes longer needs more, or its money is free for others
                meanwhile (it is settled all the same).
            ask: with True, a refused task waits for budget and people are asked. With False it
                stays with this agent, which may try a smaller amount.

        Raises:
            TypeError, decimal.InvalidOperation: `estimate` is not a number.
            ValueError: both `estimate` and `units` are given; or neither, and no task has money set
                aside for this service; or no service is named.
        """
        if estimate is not None and units is not None:
            raise ValueError("estimate or units must be given, not both")
        arguments.idempotency_key("idempotency_key", idempotency_key)
        if ttl is not None:
            arguments.seconds("ttl", ttl)
        task = task or task_in_hand()
        service_id = service_id or (task.service_id if task else None)
        if service_id is None:
            raise ValueError("service_id must be given: there is no task that names one")
        if estimate is None and units is None:
            if task is None or not task.holds_money_for(service_id):
                raise ValueError(
                    "estimate or units must be given: no task has money set aside for this service"
                )
            return Spend(self, service_id, task, None, self._in_thread)
        reserve = partial(
            self.reserve,
            service_id,
            _estimate(estimate),
            units=units,
            task=task,
            idempotency_key=idempotency_key,
            ttl=ttl,
            ask=ask,
        )
        return Spend(self, service_id, task, reserve, self._in_thread)

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

        Args:
            service_id: the service's UUID.
            estimate_usd: US dollars, exact. A float is refused.
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
            TypeError, decimal.InvalidOperation: `estimate_usd` is a float, or not a number.
        """
        body = {
            "service_id": service_id,
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
            return read_answer(
                Hold.from_json, self._call("POST", "/api/tasks/dispatch", body, headers=headers)
            )
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
            TypeError, decimal.InvalidOperation: `amount_usd` is a float, or not a number.
            ValueError: not exactly one of `amount_usd` and `usage` is given.
        """
        if (amount_usd is None) == (usage is None):
            raise ValueError("amount_usd or usage must be given, and only one of them")
        body = {
            "amount_usd": exact_usd("amount_usd", amount_usd),
            "usage": None if usage is None else dict(usage),
        }
        return read_answer(
            Settlement.from_json, self._call("POST", _charge_path(hold_id, "settle"), body)
        )

    def release(self, hold_id: str) -> bool:
        """Give the money of a hold back.

        Return False when it was settled or released before, or has expired.

        Raises:
            Forbidden, NotFound: another agent's hold, or none.
        """
        return read_answer(_released, self._call("POST", _charge_path(hold_id, "release"), {}))

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
            TypeError, decimal.InvalidOperation: `amount_usd` is a float, or not a number.
        """
        key = arguments.idempotency_key("idempotency_key", idempotency_key) or str(uuid.uuid4())
        body = {
            "amount_usd": exact_usd("amount_usd", amount_usd),
            "task_id": task.id if task else None,
            "idempotency_key": key,
        }
        path = f"/api/services/{quote(service_id, safe='')}/charges"
        try:
            return read_answer(Charge.from_json, self._call("POST", path, body))
        except BudgetRefused as refusal:
            refusal.service_id = service_id
            raise

    def task(self, task_id: str) -> TaskRecord:
        """Look at a task; see `Client.task`."""
        raise NotImplementedError

    async def _in_thread(
        self, call: Callable[[], _T], if_cancelled: Callable[[_T], object] | None = None
    ) -> _T:
        raise NotImplementedError

    def _call(
        self, method: str, path: str, body: object, *, headers: dict[str, str] | None = None
    ) -> Any:
        raise NotImplementedError


def _charge_path(hold_id: str, action: str) -> str:
    return f"/api/charges/{quote(hold_id, safe='')}/{action}"


def _released(answer: Mapping[str, Any]) -> bool:
    return bool(answer["released"])


def exact_usd(name: str, amount: Decimal | int | str | None) -> Decimal | None:
    """Return an amount of money as it is sent; None for none.

    Raises `TypeError` for a float, naming the argument.
    """
    if isinstance(amount, float):
        raise TypeError(f"{name} must be a Decimal, an int or a str: a float is not exact")
    return None if amount is None else Decimal(amount)


def _estimate(amount: Decimal | int | str | float | None) -> Decimal | None:
    if isinstance(amount, float):
        # By way of its shortest text, so that 0.1 is not a bit more than 0.1.
        return Decimal(str(amount)).quantize(_MILLIONTH, ROUND_UP)
    return None if amount is None else Decimal(amount)
