"""Claims whose answer gets lost after the API has handed the task out."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from decimal import Decimal

import pytest
from admin import Admin, Agent
from broker import Broker
from consuming import RecordingSDK, consuming
from lossy import losing_answers

from devart import Client

Eventually = Callable[[Callable[[], bool]], None]


def test_a_lost_answer_to_a_start_is_asked_for_again_with_the_same_lease(
    admin: Admin, agent: Agent
) -> None:
    task_id = admin.create_task(agent)
    with (
        losing_answers(admin.api_url, "/start") as (url, proxy),
        Client(url, agent.api_key) as client,
    ):
        task = client.start(task_id)
        assert task is not None
        assert task.lease_token == json.loads(proxy.lost[0])["lease_token"]
        assert task.attempt == 1
        client.complete(task, "done")
    assert admin.task(task_id)["status"] == "DONE"


@pytest.mark.parametrize("wait_seconds", [0, 5])
def test_a_lost_answer_to_a_claim_is_asked_for_again_with_the_same_leases(
    admin: Admin, agent: Agent, wait_seconds: int
) -> None:
    for _ in range(3):
        admin.create_task(agent)
    with (
        losing_answers(admin.api_url, "/claim") as (url, proxy),
        Client(url, agent.api_key) as client,
    ):
        tasks = client.claim(2, wait_seconds)
        lost = json.loads(proxy.lost[0])["items"]
        assert {task.lease_token for task in tasks} == {item["lease_token"] for item in lost}
        assert len(tasks) == 2
        assert len(client.claim(2)) == 1


def test_a_recalled_task_still_brings_its_money(admin: Admin, agent: Agent) -> None:
    service_id = admin.create_service(Decimal(1))
    admin.create_task(agent, service_id=service_id, estimated_cost_usd=0.4)
    with (
        losing_answers(admin.api_url, "/claim") as (url, proxy),
        Client(url, agent.api_key) as client,
    ):
        [task] = client.claim()
    assert task.hold_id == json.loads(proxy.lost[0])["items"][0]["hold_id"]
    assert task.hold_id is not None


def test_a_start_with_another_key_does_not_get_a_task_that_is_in_hand(
    admin: Admin, agent: Agent, client: Client
) -> None:
    task_id = admin.create_task(agent)
    assert client.start(task_id, "one") is not None
    assert client.start(task_id, "two") is None


def test_a_key_gives_no_task_that_has_ended(admin: Admin, agent: Agent, client: Client) -> None:
    task_id = admin.create_task(agent)
    task = client.start(task_id, "one")
    assert task is not None
    client.complete(task)
    assert client.start(task_id, "one") is None


def test_a_key_gives_another_agent_nothing(admin: Admin, agent: Agent, client: Client) -> None:
    other = admin.register_agent(agent.capability)
    task_id, key = admin.create_task(agent), str(uuid.uuid4())
    assert client.start(task_id, key) is not None
    with Client(admin.api_url, other.api_key) as thief:
        assert thief.start(task_id, key) is None


def test_a_task_that_came_by_message_is_done_at_once_although_answers_got_lost(
    admin: Admin, agent: Agent, broker: Broker, eventually: Eventually
) -> None:
    task_id = admin.create_task(agent)
    # More than one call outlasts: the next call must find the lease of the first.
    with (
        losing_answers(admin.api_url, "/start", times=6) as (url, proxy),
        RecordingSDK(url, agent.api_key, broker.url) as sdk,
        consuming(sdk, lambda _: "done"),
    ):
        eventually(lambda: broker.consumers() == 1)
        broker.invite(task_id)
        eventually(lambda: admin.task(task_id)["status"] == "DONE")
        assert sdk.started == [task_id]
    assert len(proxy.lost) == 6
    assert admin.task(task_id)["attempt"] == 1
