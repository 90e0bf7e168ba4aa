"""Creating child tasks, and looking at tasks."""

from __future__ import annotations

import uuid
from datetime import datetime, timedelta, timezone

import pytest
from admin import Admin, Agent

from devart import Client, Conflict, Forbidden, InvalidArgument, NotFound, Task


@pytest.fixture
def task(admin: Admin, agent: Agent, client: Client) -> Task:
    admin.create_task(agent, priority="HIGH")
    [task] = client.claim()
    return task


def test_a_child_has_its_parents_priority_and_what_it_was_given(
    agent: Agent, client: Client, task: Task
) -> None:
    run_at = datetime.now(timezone.utc) + timedelta(hours=1)
    child = client.create_task(
        "A child",
        parent=task,
        payload={"n": 1},
        required_capabilities=[agent.capability],
        run_at=run_at,
    )
    assert (child.parent_task_id, child.priority, child.status) == (task.id, "HIGH", "SCHEDULED")
    assert (child.payload, child.run_at) == ({"n": 1}, run_at)
    assert client.task(child.id) == child


def test_a_child_waits_for_what_it_depends_on(agent: Agent, client: Client, task: Task) -> None:
    first = client.create_task("First", parent=task, required_capabilities=[agent.capability])
    second = client.create_task(
        "Second",
        parent=task,
        required_capabilities=[agent.capability],
        depends_on=[first.id],
        priority="CRITICAL",
    )
    assert (second.status, second.priority) == ("BLOCKED", "CRITICAL")

    [claimed] = client.claim(max_tasks=10)
    client.complete(claimed, {"from": "first"})

    assert claimed.id == first.id
    assert client.task(second.id).status == "TODO"
    assert client.task(first.id).result == {"from": "first"}


def test_a_key_creates_one_child_however_often_it_is_used(
    agent: Agent, client: Client, task: Task
) -> None:
    def create(title: str, key: str | None) -> str:
        return client.create_task(
            title, parent=task, required_capabilities=[agent.capability], key=key
        ).id

    keyed = {create("Part", "part-1") for _ in range(2)}
    others = {create("Part", None) for _ in range(2)}

    assert len(keyed) == 1
    assert len(keyed | others) == 3
    with pytest.raises(Conflict):
        create("Another", "part-1")


def test_an_agent_creates_nothing_but_children_of_what_it_works_on(
    client: Client, task: Task
) -> None:
    with pytest.raises(Forbidden):
        client.create_task("Parentless")
    client.complete(task)
    with pytest.raises(Forbidden):
        client.create_task("Too late", parent=task)


def test_a_wrong_field_of_a_child_is_named(client: Client, task: Task) -> None:
    with pytest.raises(InvalidArgument) as refusal:
        client.create_task("", parent=task)
    assert "title" in refusal.value.field_errors


def test_tasks_of_others_are_not_shown(admin: Admin, client: Client, task: Task) -> None:
    with Client(admin.api_url, admin.register_agent().api_key) as stranger, pytest.raises(NotFound):
        stranger.task(task.id)
    with pytest.raises(NotFound):
        client.task(str(uuid.uuid4()))
