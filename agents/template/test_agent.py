"""The handler, called without a server.

And, when DEVART_TOKEN is set, the agent against a real one.
"""

from __future__ import annotations

import os
import time
from typing import Any

import agent
import httpx
import pytest

from devart import TaskFailed
from devart.testing import make_task


def test_words_are_counted() -> None:
    result = agent.handle(make_task({"text": "to be or not to be"}))
    assert result == {"words": 6, "most_common": ["to", "be", "or"]}


@pytest.mark.parametrize("payload", [{}, {"text": 7}])
def test_a_task_without_a_text_fails_for_good(payload: dict[str, Any]) -> None:
    with pytest.raises(TaskFailed) as failure:
        agent.handle(make_task(payload))
    assert not failure.value.retryable


@pytest.mark.skipif(
    "DEVART_TOKEN" not in os.environ, reason="DEVART_TOKEN is not set: see the README"
)
def test_the_agent_does_a_task_of_a_real_server(monkeypatch: pytest.MonkeyPatch) -> None:
    headers = {"Authorization": f"Bearer {os.environ['DEVART_TOKEN']}"}
    new = {
        "title": "Count",
        "payload": {"text": "one two two"},
        "required_capabilities": ["word-count"],
    }
    with httpx.Client(base_url=os.environ["DEVART_API_URL"], headers=headers) as api:
        task_id = api.post("/api/tasks", json=new).raise_for_status().json()["id"]
        monkeypatch.setenv("DEVART_MAX_TASKS", "1")
        give_up_at = time.monotonic() + 30
        while (task := api.get(f"/api/tasks/{task_id}").raise_for_status().json())[
            "status"
        ] != "DONE":
            # One that was made earlier may come first.
            assert time.monotonic() < give_up_at, f"the task is {task['status']}"
            assert agent.main() == 0
    assert task["result"] == {"words": 3, "most_common": ["two", "one"]}
