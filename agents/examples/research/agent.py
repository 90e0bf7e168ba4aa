"""A devart agent that answers questions from given texts, with sources.

Start it as the README says.
"""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path
from typing import Any

from report import write_report
from search import best_passages
from sources import SourceError, load_sources

from devart import AgentSDK, DevartError, Task, TaskFailed

_log = logging.getLogger("research")

_PASSAGES = 5


class Researcher:
    """Answers the question of a task from the texts that it brings along or points to.

    Args:
        library: the folder below which a task may name a folder to read; None allows none.
    """

    def __init__(self, library: Path | None) -> None:
        self._library = library

    def handle(self, task: Task) -> dict[str, Any]:
        """Read, search, write. A task whose payload makes no sense is not tried again."""
        payload = task.payload if isinstance(task.payload, dict) else {}
        question = payload.get("question")
        if not isinstance(question, str) or not question.strip():
            raise TaskFailed("payload.question must be a text", retryable=False)
        try:
            sources = load_sources(payload, self._library)
        except SourceError as error:
            raise TaskFailed(str(error), retryable=False) from error
        passages = best_passages(question, sources, _PASSAGES)
        _log.info(
            "%d of %d sources say something",
            len({passage.source for passage in passages}),
            len(sources),
        )
        return write_report(question, passages, read=len(sources))


def main() -> int:
    """Work until Ctrl-C or SIGTERM; return the exit status."""
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    # devart's own log says all of it.
    for library in ("httpx", "aiormq", "aio_pika"):
        logging.getLogger(library).setLevel(logging.CRITICAL)
    folder = os.environ.get("RESEARCH_LIBRARY") or Path(__file__).with_name("library")
    try:
        with AgentSDK.from_env() as sdk:
            sdk.start_consuming(Researcher(Path(folder)).handle)
    except (DevartError, ValueError) as error:
        _log.error("the agent cannot work: %s", error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
