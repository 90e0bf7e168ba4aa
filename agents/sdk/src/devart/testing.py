"""For the tests of agents: tasks without a server."""

from __future__ import annotations

import uuid
from datetime import datetime, timedelta, timezone
from typing import Any

from devart.models import Task


def make_task(payload: Any = None, *, title: str = "A task", **fields: Any) -> Task:
    """Make a task as a handler would get it at the first attempt.

    Args:
        payload: the work's input; `{}` when left out.
        title: what it is called.
        fields: any other attributes of `Task`, such as `attempt` or `service_id`.

    Raises:
        TypeError: a field that `Task` does not have.
    """
    defaults: dict[str, Any] = {
        "id": str(uuid.uuid4()),
        "description": None,
        "priority": "MEDIUM",
        "attempt": 1,
        "lease_token": str(uuid.uuid4()),
        "lease_expires_at": datetime.now(timezone.utc) + timedelta(minutes=1),
        "service_id": None,
        "workflow_run_id": None,
    }
    return Task(title=title, payload={} if payload is None else payload, **{**defaults, **fields})
