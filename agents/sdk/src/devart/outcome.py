"""What came of a task, and how it is told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from devart.agent_api import TaskApi
from devart.models import Task, TaskState
from devart.text import text_of


@dataclass(frozen=True)
class Outcome:
    """The end of one attempt at a task.

    Attributes:
        result: what the handler returned.
        error: why the attempt failed; None when it did not.
        retryable: whether another attempt may succeed.
        retry_after: seconds until then, at least.
    """

    result: Any = None
    error: str | None = None
    retryable: bool = True
    retry_after: float | None = None

    def report(self, client: TaskApi, task: Task) -> TaskState:
        """Tell the API."""
        if self.error is None:
            return client.complete(task, self.result)
        return client.report_failure(task, self.error, self.retryable, self.retry_after)

    def refused(self, error: Exception) -> Outcome:
        """Return what to tell instead of what the API, or the SDK, did not take.

        A result that is refused would be refused again, after all the work. A failure stays what it
        was, with all that was said of it but the times.
        """
        refusal = f"the agent's report was not accepted: {text_of(error)}"
        if self.error is None:
            return Outcome(error=refusal, retryable=False)
        return Outcome(error=f"{self.error}\n\n{refusal}", retryable=self.retryable is not False)
