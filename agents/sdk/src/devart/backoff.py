"""How long to wait before trying again."""

from __future__ import annotations

import random

from devart.errors import DevartError

# Longer than that nobody is told to wait who means well.
_MAX_ASKED_SECONDS = 60.0


def delay_seconds(attempt: int, *, base: float = 0.1, cap: float = 5.0) -> float:
    """Seconds to wait after the given failed attempt, the first being 0.

    Doubles with each attempt up to `cap`, and is drawn from the upper half of that: agents that
    failed together do not come back together, and none comes back at once.
    """
    ceiling = min(cap, base * 2.0 ** min(attempt, 32))
    return random.uniform(ceiling / 2, ceiling)


def pause_seconds(error: BaseException | None, delay: float) -> float:
    """Seconds to wait after a failure: `delay`, behind what the API asked for, at most a minute.

    Not only the longer of the two: who were all told the same would come back all at once.
    """
    asked = error.retry_after_seconds if isinstance(error, DevartError) else None
    return delay + min(asked or 0.0, _MAX_ASKED_SECONDS)
