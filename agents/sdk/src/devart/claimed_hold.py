"""Who has the money that came with a task."""

from __future__ import annotations

import threading


class ClaimedHold:
    """Whether a block has taken over what a claim set aside, which one block may.

    A copy of the task in the same process shares it; one in another process knows what was known
    when it was sent.
    """

    def __init__(self, taken: bool = False) -> None:
        self._taken = taken
        self._lock = threading.Lock()

    @property
    def taken(self) -> bool:
        """Whether a block has it, or had it."""
        return self._taken

    def take(self) -> bool:
        """Take it over; False when another block was first."""
        with self._lock:
            was_free, self._taken = not self._taken, True
        return was_free

    def put_back(self) -> None:
        """Leave it to the next block, unused."""
        self._taken = False

    def __copy__(self) -> ClaimedHold:
        return self

    def __deepcopy__(self, _: object) -> ClaimedHold:
        return self

    def __reduce__(self) -> tuple[type[ClaimedHold], tuple[bool]]:
        return ClaimedHold, (self._taken,)
