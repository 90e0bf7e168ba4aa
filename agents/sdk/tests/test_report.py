"""Telling what became of a task."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
from admin import Admin, Agent

from devart import Client, DevartError, InvalidArgument, LeaseLost, Task


@pytest.fixture
def task(admin: Admin, agent: Agent, client: Client) -> Task:
    admin.create_task(agent)
    [task] = client.claim()
    return task


def test_a_completed_task_is_done_and_keeps_its_result_exactly(
    admin: Admin, client: Client, task: Task
) -> None:
    result: dict[str, Any] = {"cost_usd": Decimal("0.000001"), "findings": ["ä", None, {"n": 3}]}

    assert client.complete(task, result).status == "DONE"

    row = admin.task(task.id)
    assert (row["status"], row["result"]) == ("DONE", result)


def test_completing_again_with_the_same_lease_is_accepted(client: Client, task: Task) -> None:
    client.complete(task, {"n": 1})
    assert client.complete(task, {"n": 1}).status == "DONE"


def test_a_cancelled_task_cannot_be_completed(admin: Admin, client: Client, task: Task) -> None:
    admin.cancel(task.id)
    with pytest.raises(LeaseLost):
        client.complete(task)


def test_another_agents_task_cannot_be_completed(admin: Admin, task: Task) -> None:
    other = admin.register_agent()
    with Client(admin.api_url, other.api_key) as stranger, pytest.raises(DevartError) as refusal:
        stranger.complete(task)
    assert refusal.value.status in {403, 409}
    assert admin.task(task.id)["status"] == "IN_PROGRESS"


def test_a_result_that_comes_after_the_lease_is_refused(
    admin: Admin, client: Client, task: Task
) -> None:
    # As short as can be: it is meant to run out.
    client.extend_lease(task, seconds=1)
    [rescued] = client.claim(wait_seconds=15)

    assert (rescued.id, rescued.attempt) == (task.id, 2)
    with pytest.raises(LeaseLost):
        client.complete(task, "late")
    client.complete(rescued, "in time")
    assert admin.task(task.id)["result"] == "in time"


def test_a_retryable_failure_is_scheduled_again(admin: Admin, client: Client, task: Task) -> None:
    state = client.report_failure(task, "the network was away", retry_after=90.5)

    assert state.status == "SCHEDULED"
    assert state.run_at is not None
    assert abs(state.run_at - datetime.now(timezone.utc) - timedelta(seconds=90.5)) < timedelta(
        seconds=25
    )
    assert admin.task(task.id)["last_error"] == "the network was away"


def test_a_failure_that_is_not_retryable_is_final(client: Client, task: Task) -> None:
    assert client.report_failure(task, "no such repository", retryable=False).status == "FAILED"


def test_reporting_a_failure_again_finds_the_first_answer(
    admin: Admin, client: Client, task: Task
) -> None:
    first = client.report_failure(task, "away", retry_after=60)
    assert client.report_failure(task, "away", retry_after=60) == first
    assert admin.task(task.id)["retry_count"] == 1


def test_a_lease_is_extended_from_now(client: Client, task: Task) -> None:
    before = task.lease_expires_at
    state = client.extend_lease(task, seconds=600)
    assert state.lease_expires_at == task.lease_expires_at
    assert task.lease_expires_at > before


def test_the_lease_of_a_finished_task_cannot_be_extended(client: Client, task: Task) -> None:
    client.complete(task)
    with pytest.raises(LeaseLost):
        client.extend_lease(task)


def test_a_status_can_be_set_by_hand(admin: Admin, client: Client, task: Task) -> None:
    assert client.update_task_status(task, "FAILED", error="no such repository").status == "FAILED"
    assert admin.task(task.id)["last_error"] == "no such repository"
    assert task.reported


@pytest.mark.parametrize(
    "body",
    [{"status": "TODO"}, {"status": "DONE", "error": "x"}, {"status": "FAILED", "result": 1}],
)
def test_a_status_that_is_no_end_is_refused(
    client: Client, task: Task, body: dict[str, Any]
) -> None:
    with pytest.raises(InvalidArgument):
        client.update_task_status(task, **body)
    assert not task.reported
