"""The steps by themselves, and the pipeline through the real API.

The latter when DEVART_API_URL and DEVART_ADMIN_TOKEN are set.
"""

from __future__ import annotations

import os
import threading
import time
import uuid
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from agent import Pipeline
from steps import count_words, join_counts, normalize

from devart import AgentSDK, Task, TaskFailed, TaskStopped
from devart.testing import make_task


def test_texts_are_normalized() -> None:
    assert normalize("Tyger, TYGER -\n burning!") == "tyger tyger burning"


def test_words_are_counted_and_joined() -> None:
    parts = [
        {"name": "a", "counts": count_words("x y x")},
        {"name": "b", "counts": count_words("y")},
    ]
    assert join_counts(parts) == {
        "words": 4,
        "words_by_text": {"a": 3, "b": 1},
        "most_common": {"x": 2, "y": 2},
    }


@pytest.mark.parametrize(
    "payload", [{}, {"texts": {}}, {"texts": ["a"]}, {"texts": {"a": 1}}, {"step": "dance"}]
)
def test_a_payload_that_makes_no_sense_fails_for_good(payload: dict[str, Any]) -> None:
    with AgentSDK("http://127.0.0.1:9", "dva_unused") as sdk, pytest.raises(TaskFailed) as failure:
        Pipeline(sdk).handle(make_task(payload))
    assert not failure.value.retryable


def test_a_plan_that_people_have_stopped_creates_nothing_more() -> None:
    task = make_task({"texts": {"a": "x", "b": "y"}})
    task.stop_notice.reason = "enough"
    with AgentSDK("http://127.0.0.1:9", "dva_unused") as sdk, pytest.raises(TaskStopped):
        Pipeline(sdk).handle(task)


@pytest.fixture
def api() -> Iterator[httpx.Client]:
    """The management side of the API."""
    url, token = os.environ.get("DEVART_API_URL"), os.environ.get("DEVART_ADMIN_TOKEN")
    if not url or not token:
        pytest.skip("DEVART_API_URL and DEVART_ADMIN_TOKEN are not set")
    with httpx.Client(base_url=url, headers={"Authorization": f"Bearer {token}"}) as api:
        yield api


@pytest.fixture
def sdk(api: httpx.Client) -> Iterator[AgentSDK]:
    new = {"name": f"pipeline-test-{uuid.uuid4()}", "capabilities": ["pipeline"]}
    key = api.post("/api/agents/register", json=new).raise_for_status().json()["api_key"]
    with AgentSDK(
        os.environ["DEVART_API_URL"], key, os.environ.get("DEVART_TEST_RABBITMQ_URL") or None
    ) as sdk:
        yield sdk


def _create_plan(api: httpx.Client) -> str:
    plan = {
        "title": "Count",
        "priority": "HIGH",
        "required_capabilities": ["pipeline"],
        "payload": {"texts": {"a": "One, two", "b": "two!"}},
    }
    task_id: str = api.post("/api/tasks", json=plan).raise_for_status().json()["id"]
    return task_id


def _wait_until_done(api: httpx.Client, task_id: str) -> dict[str, Any]:
    give_up_at = time.monotonic() + 40
    while (task := api.get(f"/api/tasks/{task_id}").raise_for_status().json())["status"] != "DONE":
        assert time.monotonic() < give_up_at, (
            f"{task['title']} is {task['status']}: {task['last_error']}"
        )
        time.sleep(0.1)
    return dict(task)


def test_the_joined_result_is_made_of_all_texts_at_the_plans_priority(
    api: httpx.Client, sdk: AgentSDK
) -> None:
    plan_id = _create_plan(api)
    agent = threading.Thread(
        target=sdk.start_consuming,
        args=(Pipeline(sdk).handle, 4),
        kwargs={"wait_seconds": 1, "heartbeat_seconds": 1.0},
    )
    agent.start()
    try:
        plan = _wait_until_done(api, plan_id)
        final = _wait_until_done(api, plan["result"]["final_task_id"])
    finally:
        sdk.stop()
        agent.join()
    assert final["result"] == {
        "words": 3,
        "words_by_text": {"a": 2, "b": 1},
        "most_common": {"two": 2, "one": 1},
    }
    assert (final["priority"], final["parent_task_id"]) == ("HIGH", plan_id)


def test_a_plan_that_is_made_again_creates_nothing_twice(api: httpx.Client, sdk: AgentSDK) -> None:
    plan_id = _create_plan(api)
    task = _claimed(sdk, plan_id)
    first, second = (Pipeline(sdk).handle(task) for _ in range(2))
    assert first == second
    for child in api.get("/api/tasks?limit=5").raise_for_status().json()["items"]:
        assert child["parent_task_id"] == plan_id
        api.post(f"/api/tasks/{child['id']}/cancel", json={}).raise_for_status()
    sdk.complete(task)


def _claimed(sdk: AgentSDK, task_id: str) -> Task:
    task = sdk.start(task_id)
    assert task is not None
    return task
