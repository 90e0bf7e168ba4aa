"""How a block comes by its money: a hold of its own, or the one that came with the task."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

from devart.agent_api import MoneyApi
from devart.errors import BudgetRefused, Conflict, DevartError
from devart.logs import get_logger
from devart.models import Hold, Task

_log = get_logger("devart.spend")


class Entry:
    """The way into one `spend` block. Made by `Client.spend`.

    Nothing is given away before what takes its place is there, and no block runs without money.

    Args:
        money: the client.
        service_id: the service that is asked for.
        task: the task the money is for.
        reserve: sets money aside for this block; None to use what came with the task.
        key: names the spending.
        ask: whether a task that is refused waits for budget.
    """

    def __init__(
        self,
        money: MoneyApi,
        service_id: str,
        task: Task | None,
        reserve: Callable[..., Hold] | None = None,
        *,
        key: str | None = None,
        ask: bool = True,
    ) -> None:
        self.money = money
        self.service_id = service_id
        self.task = task
        self._reserve_money = reserve
        self._key = key
        self._ask = ask
        self._claimed_is_over = False

    def enter(self) -> tuple[str, Hold | None]:
        """Return the hold of this block, and what is known of it unless it came with the task.

        Raises:
            BudgetRefused: nothing is held for the block, and what came with the task still is.
            RuntimeError: another block has what came with the task.
        """
        claimed = None if self.task is None else self.task.take_hold(self.service_id)
        if claimed is None:
            if self._reserve_money is None:
                raise RuntimeError(
                    "another block has the money that came with the task: give an estimate"
                )
            return _known(self._reserve(ask=self._ask))
        try:
            return self._enter_with(claimed)
        except BaseException:
            if self.task is not None and not self._claimed_is_over:
                self.task.put_hold_back(claimed)
            raise

    def _enter_with(self, claimed: str) -> tuple[str, Hold | None]:
        if self._reserve_money is None:
            return self._dispatched(claimed), None
        try:
            hold = self._reserve(ask=False)
        except BudgetRefused as refusal:
            return self._widened(claimed, refusal)
        return self._instead_of(claimed, hold)

    def _reserve(self, *, ask: bool) -> Hold:
        """Set money aside. A key that was used answers with its hold, which may be over by now."""
        assert self._reserve_money is not None
        hold = self._reserve_money(idempotency_key=self._key, ask=ask)
        if self._key is None or self.money.mark_dispatched(hold.hold_id) is not False:
            return hold
        _log.info("hold %s of this key is over: another is made", hold.hold_id)
        return self._reserve_money(idempotency_key=None, ask=ask)

    def _dispatched(self, claimed: str) -> str:
        if self.money.mark_dispatched(claimed, self.task) is False:
            self._claimed_is_over = True
            raise Conflict(
                "the money that came with the task is no longer set aside: give an estimate",
                code="hold_over",
            )
        return claimed

    def _instead_of(self, claimed: str, hold: Hold) -> tuple[str, Hold]:
        self._claimed_is_over = True
        try:
            self.money.release(claimed)
        except DevartError as error:  # no call went out with it, so its end gives it back
            _log.warning("hold %s was not given back and ends by itself: %s", claimed, error)
        return _known(hold)

    def _widened(self, claimed: str, refusal: BudgetRefused) -> tuple[str, Hold | None]:
        """Use what came with the task, widened where that is needed: beside it there is no room."""
        own, needed = self._own_usd(), refusal.needed_usd
        if own is None or needed is None:
            return self._asked_for(claimed, refusal)
        if needed <= own:
            return self._dispatched(claimed), None
        try:
            hold = self.money.extend(claimed, needed - own)
        except BudgetRefused as last:
            return self._asked_for(claimed, last)
        if hold is not None:
            self._dispatched(claimed)
            return _known(hold)
        if refusal.remaining_usd is not None and refusal.remaining_usd + own >= needed:
            # By an API that cannot widen: together they suffice.
            self._claimed_is_over = True
            self.money.release(claimed)
            return _known(self._reserve(ask=self._ask))
        return self._asked_for(claimed, refusal)

    def _own_usd(self) -> Decimal | None:
        try:
            return None if self.task is None else self.money.task(self.task.id).estimated_cost_usd
        except DevartError as error:
            _log.info("it is not known what came with the task: %s", error)
            return None

    def _asked_for(self, claimed: str, refusal: BudgetRefused) -> tuple[str, Hold]:
        """Ask people, if that is wanted; there may be room again by now."""
        if not self._ask:
            raise refusal
        return self._instead_of(claimed, self._reserve(ask=True))


def _known(hold: Hold) -> tuple[str, Hold]:
    return hold.hold_id, hold
