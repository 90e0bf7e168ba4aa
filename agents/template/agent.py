"""A devart agent. Change `handle`; the rest gets it running."""

from __future__ import annotations

import logging
import os
import sys
from collections import Counter
from typing import Any

from devart import AgentSDK, DevartError, Task, TaskFailed

_log = logging.getLogger("agent")


def handle(task: Task) -> dict[str, Any]:
    """Do the work of one task, and return its result: anything with a JSON form.

    This one counts words. A call to a model belongs here. What it raises fails the task, which is
    tried again later; `TaskFailed(..., retryable=False)` says that this would be pointless. An
    `async def` does as well.
    """
    text = task.payload.get("text")
    if not isinstance(text, str):
        raise TaskFailed("payload.text must be a string", retryable=False)
    words = text.lower().split()
    return {"words": len(words), "most_common": [word for word, _ in Counter(words).most_common(3)]}


def main() -> int:
    """Work until Ctrl-C or SIGTERM; return the exit status."""
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    # devart's own log says all of it.
    for library in ("httpx", "aiormq", "aio_pika"):
        logging.getLogger(library).setLevel(logging.CRITICAL)
    prefetch = int(os.environ.get("DEVART_PREFETCH") or 1)
    max_tasks = int(os.environ.get("DEVART_MAX_TASKS") or 0) or None
    try:
        with AgentSDK.from_env() as sdk:
            taken = sdk.start_consuming(handle, prefetch, max_tasks)
    except (DevartError, ValueError) as error:
        _log.error("the agent cannot work: %s", error)
        return 1
    _log.info("stopped after %d task(s)", taken)
    return 0


if __name__ == "__main__":
    sys.exit(main())
