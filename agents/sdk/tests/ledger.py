"""A real HTTP server in place of the API that keeps a ledger of one service, as devart does.

For what a database is not needed for: which calls the SDK makes, in which order, and what the
ledger says after all of them. The gate itself is tested against the real one.
"""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from admin import Money
from flaky_server import Answer, problem
from stand_in import Request, StandIn

from devart import exact_json

_NEW_ACTIONS = frozenset({"dispatched", "extend", "defer"})
_PRICE_USD = Decimal("0.001")


@dataclass
class LedgerHold:
    """One hold of the ledger."""

    amount: Decimal
    dispatched: bool
    status: str = "HELD"
    presumed: bool = False
    cost: Decimal = Decimal(0)


class Ledger(StandIn):
    """Keeps the money of service "s": 1 USD, and 0.001 USD for a "token".

    `usual` is what its calls usually cost. With `older` it lacks what came with presumed spend, as
    an API before a rolling upgrade does.
    """

    def __init__(self) -> None:
        super().__init__()
        self.limit = Decimal(1)
        self.older = False
        self.usual: Decimal | None = None
        self.holds: dict[str, LedgerHold] = {}
        self.estimates: dict[str, Decimal] = {}
        self.deferred: list[dict[str, Any]] = []
        self.settling = threading.Event()
        self.settling.set()
        self._keys: dict[str, str] = {}
        self._money_lock = threading.Lock()

    @property
    def spent(self) -> Decimal:
        """US dollars spent."""
        return sum((hold.cost for hold in self.holds.values()), Decimal(0))

    @property
    def held(self) -> Decimal:
        """US dollars set aside."""
        open_holds = [hold.amount for hold in self.holds.values() if hold.status == "HELD"]
        return sum(open_holds, Decimal(0))

    @property
    def money(self) -> Money:
        """Both, as the tests against the real API have them."""
        return Money(self.spent, self.held)

    def offer_with_money(self, estimate: str, **fields: Any) -> str:
        """Offer a task that comes with money of service "s"; return its id."""
        hold_id = str(uuid.uuid4())
        self.holds[hold_id] = LedgerHold(Decimal(estimate), dispatched=False)
        token = self.offer(service_id="s", hold_id=hold_id, **fields)
        self.estimates[token] = Decimal(estimate)
        return token

    def expire(self) -> None:
        """End the time of all holds: what was dispatched counts as spent."""
        for hold in [hold for hold in self.holds.values() if hold.status == "HELD"]:
            hold.status = "ENDED"
            if hold.dispatched:
                hold.presumed, hold.cost = True, hold.amount

    def _well(self, request: Request) -> Answer:
        if self.older and request.action in _NEW_ACTIONS:
            body = {"code": "not_found", "detail": "there is nothing at this path; see /api/docs"}
            return Answer(
                404, json.dumps(body).encode(), {"Content-Type": "application/problem+json"}
            )
        if request.action in self.estimates:
            return _json(_task_row(request.action, self.estimates[request.action]))
        answers: dict[str, Callable[[Request], Answer]] = {
            "dispatch": self._dispatch,
            "dispatched": self._mark,
            "extend": self._extend,
            "settle": self._settle,
            "defer": self._defer,
        }
        if request.action == "release" and "/charges/" in request.path:
            return self._release(request)
        if request.action not in answers:
            return super()._well(request)
        if request.action == "settle":
            self.settling.wait(10)
        if set((request.body or {}).get("usage") or ()) - {"token"}:
            return problem(422, "invalid_argument")
        with self._money_lock:
            return answers[request.action](request)

    def _dispatch(self, request: Request) -> Answer:
        key = request.body["idempotency_key"]
        if key is not None and key in self._keys:
            return self._hold_row(self._keys[key])
        if request.body["estimate_usd"] is None and request.body["usage"] is None:
            if self.older:
                return problem_of(422, "invalid_argument", field="estimate_usd")
            if self.usual is None:
                return problem_of(402, "no_estimate", reason="nobody knows what it costs")
            request.body["estimate_usd"] = self.usual
        needed = _cost(request.body["estimate_usd"], request.body["usage"])
        if needed > self._room():
            return self._refusal(needed)
        hold_id = str(uuid.uuid4())
        self.holds[hold_id] = LedgerHold(needed, dispatched=True)
        if key is not None:
            self._keys[key] = hold_id
        return self._hold_row(hold_id)

    def _mark(self, request: Request) -> Answer:
        hold = self._hold_of(request)
        hold.dispatched = hold.dispatched or hold.status == "HELD"
        return _json({"dispatched": hold.status == "HELD"})

    def _extend(self, request: Request) -> Answer:
        hold = self._hold_of(request)
        more = _cost(request.body["more_usd"], request.body["usage"])
        if hold.status != "HELD":
            return problem_of(402, "hold_over", reason="the hold is over: reserve anew")
        if more > self._room():
            return self._refusal(more)
        hold.amount += more
        return self._hold_row(request.path.split("/")[-2])

    def _settle(self, request: Request) -> Answer:
        hold = self._hold_of(request)
        cost = _cost(request.body["amount_usd"], request.body["usage"])
        if hold.status == "SETTLED" and hold.cost != cost:
            return problem(409, "conflict")
        presumed, late = hold.presumed, hold.status == "ENDED"
        hold.status, hold.cost, hold.presumed = "SETTLED", cost, False
        return _json(
            {
                "charged_usd": cost,
                "overage_usd": max(cost - hold.amount, Decimal(0)),
                "late": late,
                "presumed": presumed,
                "suspended": False,
                "remaining_usd": self._room(),
            }
        )

    def _release(self, request: Request) -> Answer:
        hold = self._hold_of(request)
        released = hold.status == "HELD"
        if released:
            hold.status = "ENDED"
        return _json({"released": released})

    def _defer(self, request: Request) -> Answer:
        self.deferred.append({"path": request.path, **request.body})
        return _json({"deferred_until": "2099-01-01T00:00:00Z"})

    def _room(self) -> Decimal:
        return self.limit - self.spent - self.held

    def _hold_of(self, request: Request) -> LedgerHold:
        return self.holds[request.path.split("/")[-2]]

    def _hold_row(self, hold_id: str) -> Answer:
        return _json(
            {
                "hold_id": hold_id,
                "service_id": "s",
                "held_usd": self.holds[hold_id].amount,
                "remaining_usd": self._room(),
                "expires_at": "2099-01-01T00:00:00Z",
            }
        )

    def _refusal(self, needed: Decimal) -> Answer:
        return problem_of(
            402, "budget_exceeded", needed_usd=str(needed), remaining_usd=str(self._room())
        )


def problem_of(status: int, code: str, **members: Any) -> Answer:
    """A refusal as devart answers it, with more members."""
    body = json.dumps({"status": status, "code": code, "detail": code, **members}).encode()
    return Answer(status, body, {"Content-Type": "application/problem+json"})


def _cost(amount: Any, usage: dict[str, Any] | None) -> Decimal:
    if usage is not None:
        return _PRICE_USD * int(usage["token"])
    return Decimal(0 if amount is None else amount)


def _json(answer: dict[str, Any]) -> Answer:
    return Answer(200, exact_json.encode(answer))


def _task_row(task_id: str, estimate: Decimal) -> dict[str, Any]:
    row = {"id": task_id, "title": "T", "status": "IN_PROGRESS", "priority": "LOW", "attempt": 1}
    return {**row, "estimated_cost_usd": estimate}
