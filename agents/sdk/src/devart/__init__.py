"""devart: the Python SDK for agents.

A whole agent::

    from devart import Client, Task

    def handle(task: Task) -> dict[str, object]:
        return {"summary": f"did {task.title}"}

    with Client("http://127.0.0.1:8080", "dva_...") as client:
        client.run(handle)
"""

from devart.client import Client
from devart.errors import (
    BudgetExceeded,
    Conflict,
    DevartError,
    Forbidden,
    InvalidArgument,
    LeaseLost,
    NotFound,
    ServerError,
    TaskFailed,
    Unauthorized,
    Unavailable,
)
from devart.handler import Handler
from devart.heartbeat import Heartbeat
from devart.models import Charge, HeartbeatAnswer, Task, TaskState
from devart.version import VERSION as __version__
from devart.worker import Worker

__all__ = [
    "BudgetExceeded",
    "Charge",
    "Client",
    "Conflict",
    "DevartError",
    "Forbidden",
    "Handler",
    "Heartbeat",
    "HeartbeatAnswer",
    "InvalidArgument",
    "LeaseLost",
    "NotFound",
    "ServerError",
    "Task",
    "TaskFailed",
    "TaskState",
    "Unauthorized",
    "Unavailable",
    "Worker",
    "__version__",
]
