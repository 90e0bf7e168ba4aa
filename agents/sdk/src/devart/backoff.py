"""How long to wait before trying again."""

from __future__ import annotations

import random


def delay_seconds(attempt: int, *, base: float = 0.1, cap: float = 5.0) -> float:
    """Seconds to wait after the given failed attempt, the first being 0.

    Doubles with each attempt up to `cap`, and is drawn from the upper half of that: agents that
    failed together do not come back together, and none comes back at once.
    """
    ceiling = min(cap, base * 2.0 ** min(attempt, 32))
    return random.uniform(ceiling / 2, ceiling)
