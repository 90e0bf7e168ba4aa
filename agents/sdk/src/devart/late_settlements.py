"""Costs that could not be told at the end of their block, told when the API answers again."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from decimal import Decimal

from devart.backoff import delay_seconds, pause_seconds
from devart.errors import DevartError, ServerError, Unavailable
from devart.logs import get_logger
from devart.models import Units

_log = get_logger("devart.spend")

Cost = tuple[Decimal | int | None, Units | None]
"""US dollars or usage."""

_MAX_PAUSE_SECONDS = 15.0


class LateSettlements:
    """Keeps costs until they are settled, or the client closes; those are told to people then.

    Args:
        settle: settles a hold at a cost; the last argument says whether somebody waits for it, so
            that it must be quick.
    """

    def __init__(self, settle: Callable[[str, Cost, bool], object]) -> None:
        self._settle = settle
        self._lock = threading.Lock()
        self._waiting: dict[str, Cost] = {}
        self._thread: threading.Thread | None = None
        self._process_id = os.getpid()
        self._closed = threading.Event()

    def add(self, hold_id: str, cost: Cost) -> None:
        """Settle this hold as soon as the API answers."""
        with self._lock:
            if self._process_id != os.getpid():  # what waits is the parent's
                self._waiting, self._thread, self._process_id = {}, None, os.getpid()
            self._waiting[hold_id] = cost
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._deliver_all, name="devart-late-settlements", daemon=True
                )
                self._thread.start()

    def close(self) -> None:
        """Try once more, and tell people of what is left."""
        self._closed.set()
        if self._process_id != os.getpid():
            return
        for hold_id, cost in self._those_that_wait():
            if (error := self._deliver(hold_id, cost, quickly=True)) is not None:
                _tell_people(hold_id, cost, error)

    def _deliver_all(self) -> None:
        attempt = 0
        while waiting := self._those_that_wait():
            errors = [self._deliver(hold_id, cost) for hold_id, cost in waiting]
            if (error := next((error for error in errors if error), None)) is None:
                continue
            pause = pause_seconds(error, delay_seconds(attempt, cap=_MAX_PAUSE_SECONDS))
            if self._closed.wait(pause):
                return
            attempt += 1

    def _those_that_wait(self) -> list[tuple[str, Cost]]:
        with self._lock:
            if not self._waiting:
                self._thread = None
            return list(self._waiting.items())

    def _deliver(self, hold_id: str, cost: Cost, *, quickly: bool = False) -> DevartError | None:
        """Settle, or return why it has to be tried again."""
        try:
            self._settle(hold_id, cost, quickly)
        except (Unavailable, ServerError) as error:
            return error
        except Exception as error:  # settled otherwise, forbidden, closed: for people
            _tell_people(hold_id, cost, error)
        else:
            _log.warning("hold %s was settled late: amount %s, usage %s", hold_id, *cost)
        with self._lock:
            self._waiting.pop(hold_id, None)
        return None


def _tell_people(hold_id: str, cost: Cost, error: Exception) -> None:
    _log.error(
        "hold %s was not settled, do it by hand (amount, usage: %s): %s", hold_id, cost, error
    )
