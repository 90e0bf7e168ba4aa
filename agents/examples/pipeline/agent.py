"""A devart agent whose tasks create tasks: a pipeline. Start it as the README says."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable
from typing import Any

from steps import count_words, join_counts, normalize

from devart import AgentSDK, DevartError, Task, TaskFailed, TaskRecord, TaskStopped

_log = logging.getLogger("pipeline")

_CAPABILITY = "pipeline"


class Pipeline:
    """Counts the words of many texts, each step of each text a task of its own.

        plan ──┬─► normalize ──► count ──┐
               ├─► normalize ──► count ──┼──► join
               └─► normalize ──► count ──┘

    `plan` creates all others as its children. None sets a priority, so all have the plan's. A step
    finds the results of those that it depends on by the ids in its payload.

    Args:
        sdk: the agent's connection.
    """

    def __init__(self, sdk: AgentSDK) -> None:
        self._sdk = sdk
        self._steps: dict[str, Callable[[Task], dict[str, Any]]] = {
            "plan": self._plan,
            "normalize": self._normalize,
            "count": self._count,
            "join": self._join,
        }

    def handle(self, task: Task) -> dict[str, Any]:
        """Do the step that the payload names; a task without one is a plan."""
        step = task.payload.get("step", "plan")
        if step not in self._steps:
            raise TaskFailed(f"payload.step names no step: {step}", retryable=False)
        return self._steps[step](task)

    def _plan(self, task: Task) -> dict[str, Any]:
        texts = task.payload.get("texts")
        if (
            not isinstance(texts, dict)
            or not texts
            or not all(isinstance(text, str) for text in texts.values())
        ):
            raise TaskFailed("payload.texts must be an object of texts by name", retryable=False)
        counts = []
        for number, (name, text) in enumerate(texts.items(), start=1):
            if task.should_stop:
                raise TaskStopped(task.stop_reason)
            clean = self._create(task, "normalize", number, {"name": name, "text": text}, after=[])
            counts.append(self._create(task, "count", number, {"name": name}, after=[clean]))
        final = self._create(task, "join", 0, {}, after=counts)
        return {"texts": len(texts), "final_task_id": final.id}

    def _create(
        self,
        plan: Task,
        step: str,
        number: int,
        payload: dict[str, Any],
        *,
        after: list[TaskRecord],
    ) -> TaskRecord:
        inputs = [record.id for record in after]
        return self._sdk.create_task(
            f"{step} {payload.get('name', 'all')}",
            parent=plan,
            payload={**payload, "step": step, "inputs": inputs},
            required_capabilities=[_CAPABILITY],
            depends_on=inputs,
            # A plan that is tried again finds what its earlier attempt created.
            key=f"{step}-{number}",
        )

    def _normalize(self, task: Task) -> dict[str, Any]:
        return {"text": normalize(task.payload["text"])}

    def _count(self, task: Task) -> dict[str, Any]:
        [clean] = self._inputs(task)
        return {"name": task.payload["name"], "counts": count_words(clean["text"])}

    def _join(self, task: Task) -> dict[str, Any]:
        return join_counts(self._inputs(task))

    def _inputs(self, task: Task) -> list[dict[str, Any]]:
        """Read the results of the tasks that this one depends on.

        They are DONE, or it would not have begun.
        """
        return [self._sdk.task(task_id).result for task_id in task.payload["inputs"]]


def main() -> int:
    """Work until Ctrl-C or SIGTERM; return the exit status."""
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    # devart's own log says all of it.
    for library in ("httpx", "aiormq", "aio_pika"):
        logging.getLogger(library).setLevel(logging.CRITICAL)
    try:
        with AgentSDK.from_env() as sdk:
            sdk.start_consuming(
                Pipeline(sdk).handle, prefetch=int(os.environ.get("DEVART_PREFETCH") or 4)
            )
    except (DevartError, ValueError) as error:
        _log.error("the agent cannot work: %s", error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
