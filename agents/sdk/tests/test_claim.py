"""Taking tasks."""

from __future__ import annotations

import threading
import time
import uuid
from datetime import datetime, timezone
from decimal import Decimal

from admin import Admin, Agent

from devart import Client


def test_a_claim_hands_out_the_task_with_a_lease(
    admin: Admin, agent: Agent, client: Client
) -> None:
    payload = {"pull_number": 7, "weight": Decimal("0.1")}
    task_id = admin.create_task(
        agent, title="Weigh it", description="exactly", priority="HIGH", payload=payload
    )

    [task] = client.claim()

    assert (task.id, task.title, task.description, task.priority) == (
        task_id,
        "Weigh it",
        "exactly",
        "HIGH",
    )
    assert task.payload == payload
    assert task.attempt == 1
    assert task.lease_expires_at > datetime.now(timezone.utc)
    assert not task.lease_lost.is_set()


def test_a_claim_without_work_is_empty(client: Client) -> None:
    assert client.claim() == []


def test_a_claim_takes_no_more_than_asked_for(admin: Admin, agent: Agent, client: Client) -> None:
    for _ in range(3):
        admin.create_task(agent)
    assert len(client.claim(max_tasks=2)) == 2
    assert len(client.claim(max_tasks=2)) == 1


def test_a_waiting_claim_is_woken_by_a_new_task(admin: Admin, agent: Agent, client: Client) -> None:
    creation = threading.Timer(0.5, admin.create_task, [agent])
    creation.start()
    started = time.monotonic()

    tasks = client.claim(wait_seconds=10)

    creation.join()
    assert len(tasks) == 1
    assert 0.4 < time.monotonic() - started < 5


def test_a_waiting_claim_ends_empty_when_nothing_comes(client: Client) -> None:
    started = time.monotonic()
    assert client.claim(wait_seconds=1) == []
    assert 0.9 < time.monotonic() - started < 5


def test_start_takes_one_particular_task_once(admin: Admin, agent: Agent, client: Client) -> None:
    admin.create_task(agent)
    wanted = admin.create_task(agent)

    task = client.start(wanted)

    assert task is not None
    assert task.id == wanted
    assert client.start(wanted) is None


def test_an_unknown_task_is_not_to_be_had(client: Client) -> None:
    assert client.start(str(uuid.uuid4())) is None
