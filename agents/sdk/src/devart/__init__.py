"""devart: the Python SDK for agents.

A whole agent::

    from devart import AgentSDK, Task

    def handle(task: Task) -> dict[str, object]:
        return {"summary": f"did {task.title}"}

    with AgentSDK("http://127.0.0.1:8080", "dva_...", rabbitmq_url=None) as sdk:
        sdk.start_consuming(handle)
"""

from devart.agent import AgentSDK
from devart.async_agent import AsyncAgentSDK
from devart.client import Client
from devart.errors import (
    BudgetRefused,
    Conflict,
    DevartError,
    Forbidden,
    InvalidArgument,
    LeaseLost,
    NotFound,
    ServerError,
    TaskFailed,
    TaskStopped,
    Unauthorized,
    Unavailable,
)
from devart.handler import Handler
from devart.heartbeat import Heartbeat
from devart.json_form import json_form
from devart.lost_lease import LostLease
from devart.models import Charge, HeartbeatAnswer, Hold, Settlement, Task, TaskRecord, TaskState
from devart.spend import Spend
from devart.stops import Stop
from devart.task_in_hand import NO_TASK
from devart.task_threads import TaskThreads
from devart.version import VERSION as __version__
from devart.worker import Worker

__all__ = [
    "NO_TASK",
    "AgentSDK",
    "AsyncAgentSDK",
    "BudgetRefused",
    "Charge",
    "Client",
    "Conflict",
    "DevartError",
    "Forbidden",
    "Handler",
    "Heartbeat",
    "HeartbeatAnswer",
    "Hold",
    "InvalidArgument",
    "LeaseLost",
    "LostLease",
    "NotFound",
    "ServerError",
    "Settlement",
    "Spend",
    "Stop",
    "Task",
    "TaskFailed",
    "TaskRecord",
    "TaskState",
    "TaskStopped",
    "TaskThreads",
    "Unauthorized",
    "Unavailable",
    "Worker",
    "__version__",
    "json_form",
]
