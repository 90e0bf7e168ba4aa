"""Being alive, and keeping leases."""

from __future__ import annotations

import copy
from collections.abc import Callable
from datetime import timedelta

from admin import Admin, Agent

from devart import Client, Heartbeat, HeartbeatAnswer

Eventually = Callable[[Callable[[], bool]], None]


def test_a_heartbeat_extends_leases_and_says_how_busy_the_agent_is(
    admin: Admin, agent: Agent, client: Client
) -> None:
    assert client.heartbeat({"model": "none"}).status == "IDLE"
    admin.create_task(agent)
    client.claim()

    answer = client.heartbeat()

    assert (answer.status, answer.leases_extended, answer.active_task_count) == ("BUSY", 1, 1)
    assert not answer.stop


def test_a_heartbeat_extends_only_the_leases_it_names(
    admin: Admin, agent: Agent, client: Client
) -> None:
    for _ in range(2):
        admin.create_task(agent)
    [kept, _orphan] = client.claim(max_tasks=2)
    assert client.heartbeat(tasks=[kept]).leases_extended == 1
    assert client.heartbeat(tasks=[]).leases_extended == 0


def test_a_short_lease_is_kept_for_as_long_as_it_is_held(
    admin: Admin, agent: Agent, client: Client, eventually: Eventually
) -> None:
    task_id = admin.create_task(agent)
    [task] = client.claim()
    # Long enough for the first heartbeat of a slow machine, which extends it to 60 s.
    client.extend_lease(task, seconds=10)
    with Heartbeat(client, interval_seconds=60) as heartbeat, heartbeat.hold(task):
        eventually(lambda: admin.lease_left(task_id) > timedelta(seconds=30))
    assert not task.lease_lost.is_set()


def test_a_lost_lease_is_noticed(
    admin: Admin, agent: Agent, client: Client, eventually: Eventually
) -> None:
    admin.create_task(agent)
    [task] = client.claim()
    with Heartbeat(client, interval_seconds=0.5) as heartbeat, heartbeat.hold(task):
        admin.cancel(task.id)
        eventually(task.lease_lost.is_set)


def test_a_deactivated_agent_is_told_to_stop(
    admin: Admin, agent: Agent, client: Client, eventually: Eventually
) -> None:
    told = []
    with Heartbeat(client, interval_seconds=0.2, on_stop=lambda: told.append("stop")) as heartbeat:
        admin.deactivate(agent)
        eventually(heartbeat.stop_requested.is_set)
    assert told == ["stop"]


def test_a_heartbeat_names_the_queues_of_the_agent(client: Client) -> None:
    assert "tasks.todo" in client.heartbeat().queues


def test_answers_are_passed_on(client: Client, eventually: Eventually) -> None:
    answers: list[HeartbeatAnswer] = []
    with Heartbeat(client, interval_seconds=0.1, on_answer=answers.append):
        eventually(lambda: len(answers) >= 2)
    assert answers[0].status == "IDLE"


def test_a_newer_attempt_at_a_task_tells_the_older_that_it_is_over(
    admin: Admin, agent: Agent, client: Client
) -> None:
    admin.create_task(agent)
    [older] = client.claim()
    # As if it had run out: a copy goes back, so that this one knows of nothing.
    client.give_back(copy.copy(older))
    [newer] = client.claim(wait_seconds=15)
    heartbeat = Heartbeat(client)
    with heartbeat.hold(older), heartbeat.hold(newer):
        assert older.lease_lost.is_set()
        assert not newer.lease_lost.is_set()
