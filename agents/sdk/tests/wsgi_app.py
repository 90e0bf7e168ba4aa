"""The app that test_processes.py has gunicorn serve: creates a task at each request."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Any

from devart import AgentSDK

# Made once, before gunicorn forks.
_sdk = AgentSDK.from_env()
_sdk.heartbeat()


def app(_: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Answer with the process's id."""
    _sdk.create_task("T")
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(os.getpid()).encode()]
