"""Money set aside for the length of a block: held before it, settled or given back after it."""

from __future__ import annotations

import os
import threading
from collections.abc import Coroutine
from datetime import datetime
from decimal import Decimal
from functools import partial
from typing import Any

from devart.errors import Conflict, DevartError, InvalidArgument, ServerError, Unavailable
from devart.logs import get_logger
from devart.models import Hold, Settlement, Units
from devart.retry_after import seconds_to_wait
from devart.spend_entry import Entry
from devart.text import one_line, text_of
from devart.threads import InThread
from devart.usd import exact_usd

_log = get_logger("devart.spend")

_Cost = tuple[Decimal | None, Units | None]

# What devart is set up to take unless people changed it.
_MAX_DEFER_SECONDS = 86_400.0


class Spend:
    """A block in which money is spent. Made by `Client.spend`.

    ::

        with client.spend(service_id, estimate="0.05") as spend:
            answer = call_the_model()
            used = {"input_token": answer.input_tokens, "output_token": answer.output_tokens}
            spend.settle(usage=used)

    - Entering sets the money aside, or raises `BudgetRefused`: then nothing was held, and the block
      does not run. From here on the call counts as one that goes out: should this program die, what
      is held counts as spent.
    - `settle` records what it really cost, more than was held as well. Call it as soon as that is
      known.
    - A block that ends without `settle` is settled at what was held, with a warning in the log,
      however it ends: by an exception, by being cancelled, or as a generator that nobody reads to
      its end. A call may have gone out and be billed, and nobody said that it was less. So is a
      block whose `settle` was refused.
    - `release` says that nothing was spent, such as by a call that the provider refused; so does a
      settlement of 0.
    - `extend` sets more aside, when work takes more than was thought.
    - `defer_from` has a provider left alone that asked for that.
    - Lost answers are asked for again; nothing is held or charged twice. What cannot be settled
      because the API is away for long is an error in the log with all that is needed to settle it
      by hand, and is tried again in the background until the client closes. Meanwhile the hold ends
      by itself, what it held counts as spent, and the late settlement replaces that.

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

    def __init__(self, entry: Entry, in_thread: InThread) -> None:
        self.service_id = entry.service_id
        self.delegated_from: str | None = None
        self.reason: str | None = None
        self.hold_id: str | None = None
        self.held_usd: Decimal | None = None
        self.remaining_usd: Decimal | None = None
        self._entry = entry
        self._money = entry.money
        self._task = entry.task
        self._in_thread = in_thread
        # One at a time: the end of a block and a settlement that was cancelled there may meet.
        self._ending = threading.Lock()
        self._ended = False
        self._cost: _Cost | None = None
        self._unspent = False
        self._process_id = 0

    def __enter__(self) -> Spend:
        if self.hold_id is not None:
            raise RuntimeError("a spend is one block: make another")
        hold_id, hold = self._entry.enter()
        if hold is not None:
            self._note(hold)
        self.hold_id = hold_id
        self._process_id = os.getpid()
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self._leave()

    async def __aenter__(self) -> Spend:
        # Cancelled, the thread goes on, and what it holds would be nobody's.
        return await self._in_thread(self.__enter__, lambda _: self._leave_unentered())

    async def __aexit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        await self._in_thread(self._leave)

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
            TypeError, ValueError: `amount` is a float, or not a number.
            ValueError: not exactly one of `amount` and `usage` is given.
        """
        hold_id = self._held_hold()
        return self._settle(hold_id, self._told(amount, usage))

    def settle_async(
        self, amount: Decimal | int | str | None = None, *, usage: Units | None = None
    ) -> Coroutine[Any, Any, Settlement]:
        """Do as `settle`, without blocking the event loop; to be awaited.

        The cost counts from the call on, whether the awaiting is cancelled or never begins.
        """
        hold_id = self._held_hold()
        cost = self._told(amount, usage)
        return self._in_thread(partial(self._settle, hold_id, cost))

    def release(self) -> bool:
        """Say that nothing was spent, and give the money back.

        Such as when the provider refused the call, or none was made. A cost that was told by
        `settle` counts all the same.

        Returns:
            Whether money was given back; False when it was settled or released before.

        Raises:
            RuntimeError: the block has not begun.
        """
        hold_id = self._held_hold()
        self._unspent = True
        with self._ending:
            given_back = self._given_back(hold_id)
            self._ended = True
        return given_back

    async def release_async(self) -> bool:
        """Do as `release`, without blocking the event loop."""
        self._held_hold()
        self._unspent = True
        return await self._in_thread(self.release)

    def extend(
        self,
        more_usd: Decimal | int | str | float | None = None,
        *,
        usage: Units | None = None,
        ttl: float | None = None,
    ) -> bool:
        """Set more aside, and let the hold last longer: for a stream, or for the next call.

        Args:
            more_usd: US dollars, beside those that are held. A float is rounded up to a millionth.
            usage: instead of dollars, what more is going to be used.
            ttl: for how many seconds from now it lasts at least; None for 10 minutes.

        Returns:
            Whether it was extended; False when the API does not know of this yet. What is settled
            above the hold is charged all the same.

        Raises:
            BudgetRefused: there is no room for more. The hold stays as it is; end the work here.
            RuntimeError: the block has not begun.
            ValueError: nothing is given, or both `more_usd` and `usage`.
        """
        hold = self._money.extend(self._held_hold(), more_usd, usage=usage, ttl=ttl)
        if hold is None:
            return False
        self.held_usd = hold.held_usd
        self.remaining_usd = hold.remaining_usd
        return True

    async def extend_async(
        self,
        more_usd: Decimal | int | str | float | None = None,
        *,
        usage: Units | None = None,
        ttl: float | None = None,
    ) -> bool:
        """Do as `extend`, without blocking the event loop."""
        return await self._in_thread(partial(self.extend, more_usd, usage=usage, ttl=ttl))

    def defer(
        self,
        seconds: float | None = None,
        *,
        until: datetime | None = None,
        reason: str | None = None,
    ) -> datetime | None:
        """Have the service that is billed left alone for a while, by all agents.

        See `Client.defer`.
        """
        return self._money.defer(self.service_id, seconds, until=until, reason=reason)

    async def defer_async(
        self,
        seconds: float | None = None,
        *,
        until: datetime | None = None,
        reason: str | None = None,
    ) -> datetime | None:
        """Do as `defer`, without blocking the event loop."""
        return await self._in_thread(partial(self.defer, seconds, until=until, reason=reason))

    def defer_from(self, refused: object, reason: str | None = None) -> bool:
        """Have the service left alone for as long as its provider asks for.

        ::

            except openai.RateLimitError as error:
                spend.defer_from(error)
                spend.release()
                raise

        Whatever goes wrong here is a line in the log: the provider's refusal is what counts.

        Args:
            refused: the provider's response, or the exception that its client raised: a status of
                429, 503 or 529, with Retry-After in seconds or as a date, or with retry-after-ms.
                httpx, requests, aiohttp, urllib, botocore and the SDKs of OpenAI and Anthropic
                give one.
            reason: why, for people; None for the provider's words.

        Returns:
            Whether the service is left alone; False when the provider did not ask for it as well.
        """
        seconds = seconds_to_wait(refused)
        if seconds is None:
            return False
        seconds = min(seconds, _MAX_DEFER_SECONDS)
        try:
            until = self.defer(seconds, reason=reason or _words_of(refused))
        except DevartError as error:
            _log.warning("service %s was not deferred: %s", self.service_id, error)
            return False
        return until is not None

    async def defer_from_async(self, refused: object, reason: str | None = None) -> bool:
        """Do as `defer_from`, without blocking the event loop."""
        return await self._in_thread(partial(self.defer_from, refused, reason))

    def _note(self, hold: Hold) -> None:
        self.service_id = hold.service_id
        self.delegated_from = hold.delegated_from
        self.reason = hold.reason
        self.held_usd = hold.held_usd
        self.remaining_usd = hold.remaining_usd

    def _held_hold(self) -> str:
        if self.hold_id is None:
            raise RuntimeError("nothing is set aside: settle within the block")
        return self.hold_id

    def _told(self, amount: Decimal | int | str | None, usage: Units | None) -> _Cost:
        """Note what was spent, so that the end of the block knows it whatever happens."""
        self._unspent = False
        if (amount is None) == (usage is None):
            raise ValueError("amount or usage must be given, and only one of them")
        cost = exact_usd("amount", amount), None if usage is None else dict(usage)
        if not self._ended:
            self._cost = cost
        return cost

    def _settle(self, hold_id: str, cost: _Cost) -> Settlement:
        with self._ending:
            settlement = self._money.settle(hold_id, cost[0], usage=cost[1])
            self._ended = True
        self.remaining_usd = settlement.remaining_usd
        return settlement

    def _leave_unentered(self) -> None:
        self._unspent = True
        self._leave()

    def _leave(self) -> None:
        # A child that was forked within the block leaves it as well, and knows nothing of the cost.
        if self.hold_id is None or self._process_id != os.getpid():
            return
        with self._ending:
            if self._ended:
                return
            if self._unspent and self._cost is None:
                self._give_back(self.hold_id)
            else:
                self._settle_at_last(self.hold_id)

    def _given_back(self, hold_id: str) -> bool:
        if self._money.release(hold_id):
            return True
        # Its time may be up, and what it held counts as spent by now.
        try:
            return self._money.settle(hold_id, 0).presumed
        except Conflict:
            return False

    def _give_back(self, hold_id: str) -> None:
        try:
            self._given_back(hold_id)
        except DevartError as error:
            _log.warning(
                "hold %s was not given back, although nothing was spent: release it by hand, or "
                "settle it at 0, or what it holds counts as spent: %s",
                hold_id,
                error,
            )

    def _settle_at_last(self, hold_id: str) -> None:
        cost = self._cost
        try:
            if cost is None or not self._settled_as_told(hold_id, cost):
                cost = (self._held(), None)
                self._money.settle(hold_id, cost[0])
        except Conflict as conflict:
            self._tell_of_conflict(hold_id, cost, conflict)
        except (DevartError, ValueError) as error:
            self._settle_later(hold_id, cost, error)
        else:
            _log.warning(
                "hold %s was settled at the end of its block, not in it: amount %s, usage %s",
                hold_id,
                *cost,
            )

    def _settle_later(self, hold_id: str, cost: _Cost | None, error: Exception) -> None:
        is_kept = cost not in (None, (None, None)) and isinstance(error, (Unavailable, ServerError))
        _log.error(
            "hold %s was not settled, %s (amount, usage: %s): %s",
            hold_id,
            "it is tried again until the client closes" if is_kept else "do it by hand",
            cost,
            error,
        )
        if is_kept and cost is not None:
            self._money.settle_later(hold_id, cost)

    def _settled_as_told(self, hold_id: str, cost: _Cost) -> bool:
        """Settle at what was told; False when that is no cost."""
        try:
            self._money.settle(hold_id, cost[0], usage=cost[1])
        except (InvalidArgument, TypeError, ValueError) as error:
            _log.warning("hold %s cannot be settled as it was told: %s", hold_id, error)
            return False
        return True

    def _tell_of_conflict(self, hold_id: str, cost: _Cost | None, conflict: Conflict) -> None:
        if self._cost is None:
            _log.info("hold %s is settled: %s", hold_id, conflict)
            return
        _log.error(
            "hold %s was settled at another cost than this block told, have it corrected (amount, "
            "usage: %s): %s",
            hold_id,
            cost,
            conflict,
        )

    def _held(self) -> Decimal | None:
        if self.held_usd is None and self._task is not None:
            self.held_usd = self._money.task(self._task.id).estimated_cost_usd
        return self.held_usd


def _words_of(refused: object) -> str:
    return one_line(f"asked for by its provider: {text_of(refused)}")
