"""Money set aside for the length of a block: held before it, settled or given back after it."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from functools import partial

from devart.agent_api import MoneyApi
from devart.errors import Conflict, DevartError, ServerError, Unavailable
from devart.logs import get_logger
from devart.models import Hold, Settlement, Task, Units
from devart.threads import InThread

_log = get_logger("devart.spend")

_Cost = tuple[Decimal | int | str | None, Units | None]


class Spend:
    """A block in which money is spent. Made by `Client.spend`.

    ::

        with client.spend(service_id, estimate="0.05") as spend:
            answer = call_the_model()
            used = {"input_token": answer.input_tokens, "output_token": answer.output_tokens}
            spend.settle(usage=used)

    - Entering sets the money aside, or raises `BudgetRefused`: then nothing was held, and the block
      does not run.
    - `settle` records what it really cost, more than was held as well. Call it as soon as that is
      known.
    - An exception that leaves the block before `settle` gives the money back.
    - A block that ends well without `settle` is settled at what was held, with a warning in the
      log: it has spent something, and nobody said that it was less. So is a block whose `settle`
      failed: to give the money back would be untrue. A call that turned out to cost nothing is
      settled at 0.
    - Lost answers are asked for again; nothing is held or charged twice. What cannot be settled
      because the API is away for long is an error in the log with all that is needed to settle it
      by hand: the hold ends by itself, and a late settlement still counts.

    In a coroutine use `async with` and `await spend.settle_async(...)`, which do not block the
    event loop. Each runs to its end in a thread, also when the coroutine is cancelled meanwhile;
    what was set aside for one that was cancelled before its block is given back there.

    Attributes:
        service_id: the service that was asked for; within the block the one that is billed, a
            substitute maybe.
        delegated_from: the service that was asked for, when a substitute is billed.
        reason: why a substitute is billed.
        hold_id: the hold; None before the block.
        held_usd: US dollars set aside; None before the block, and for money that came with the
            task.
        remaining_usd: US dollars left of the tightest limit; None when nothing limits or before it
            is known.
    """

    def __init__(
        self,
        money: MoneyApi,
        service_id: str,
        task: Task | None,
        reserve: Callable[[], Hold] | None,
        in_thread: InThread,
    ) -> None:
        self.service_id = service_id
        self.delegated_from: str | None = None
        self.reason: str | None = None
        self.hold_id: str | None = None
        self.held_usd: Decimal | None = None
        self.remaining_usd: Decimal | None = None
        self._money = money
        self._task = task
        self._reserve = reserve
        self._in_thread = in_thread
        self._tried = False
        self._settled = False
        self._undelivered: _Cost | None = None

    def __enter__(self) -> Spend:
        if self.hold_id is not None:
            raise RuntimeError("a spend is one block: make another")
        from_task = self._take_from_task()
        if self._reserve is None:
            self.hold_id = from_task
            return self
        if from_task is not None:
            self._money.release(from_task)
        self._note(self._reserve())
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self._leave(error)

    async def __aenter__(self) -> Spend:
        # Cancelled, the thread goes on, and what it holds would be nobody's.
        return await self._in_thread(
            self.__enter__, lambda _: self._leave(RuntimeError("cancelled before its block"))
        )

    async def __aexit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        await self._in_thread(partial(self._leave, error))

    def settle(
        self, amount: Decimal | int | str | None = None, *, usage: Units | None = None
    ) -> Settlement:
        """Record what was spent: the truth, above what was held as well.

        Settling again with the same cost changes nothing and is answered the same.

        Args:
            amount: US dollars, exact, with at most six decimals. A float is refused.
            usage: instead of dollars, what was used, at the prices that were in force when the
                block began.

        Raises:
            Conflict: it was settled with another cost.
            InvalidArgument: a unit has no price, or an amount is negative.
            RuntimeError: the block has not begun.
            TypeError, decimal.InvalidOperation: `amount` is a float, or not a number.
            ValueError: not exactly one of `amount` and `usage` is given.
        """
        if self.hold_id is None:
            raise RuntimeError("nothing is set aside: settle within the block")
        # Whoever calls this has spent something, even if it fails.
        self._tried = True
        try:
            settlement = self._money.settle(self.hold_id, amount, usage=usage)
        except (Unavailable, ServerError):
            self._undelivered = (amount, usage)
            raise
        self._settled = True
        self.remaining_usd = settlement.remaining_usd
        return settlement

    async def settle_async(
        self, amount: Decimal | int | str | None = None, *, usage: Units | None = None
    ) -> Settlement:
        """Do as `settle`, without blocking the event loop."""
        return await self._in_thread(partial(self.settle, amount, usage=usage))

    def _take_from_task(self) -> str | None:
        """Take over what the claim of the task has set aside for this service."""
        if self._task is None or not self._task.holds_money_for(self.service_id):
            return None
        hold_id, self._task.hold_id = self._task.hold_id, None
        return hold_id

    def _note(self, hold: Hold) -> None:
        self.hold_id = hold.hold_id
        self.service_id = hold.service_id
        self.delegated_from = hold.delegated_from
        self.reason = hold.reason
        self.held_usd = hold.held_usd
        self.remaining_usd = hold.remaining_usd

    def _leave(self, error: BaseException | None) -> None:
        if self.hold_id is None or self._settled:
            return
        if error is not None and not self._tried:
            self._give_back(self.hold_id)
        else:
            self._settle_at_last(self.hold_id)

    def _give_back(self, hold_id: str) -> None:
        try:
            self._money.release(hold_id)
        except DevartError as error:
            _log.warning("hold %s was not given back and ends by itself: %s", hold_id, error)

    def _settle_at_last(self, hold_id: str) -> None:
        cost: _Cost | None = None
        try:
            cost = self._undelivered or (self._held(), None)
            self._money.settle(hold_id, cost[0], usage=cost[1])
        except Conflict as conflict:
            _log.info("hold %s is settled: %s", hold_id, conflict)
        except DevartError as error:
            _log.error(
                "hold %s was not settled, do it by hand (amount, usage: %s): %s",
                hold_id,
                cost,
                error,
            )
        else:
            _log.warning(
                "hold %s was settled at the end of its block, not in it: amount %s, usage %s",
                hold_id,
                *cost,
            )

    def _held(self) -> Decimal | None:
        if self.held_usd is None and self._task is not None:
            self.held_usd = self._money.task(self._task.id).estimated_cost_usd
        return self.held_usd
