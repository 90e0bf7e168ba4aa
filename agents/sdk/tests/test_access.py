"""Who is let in."""

from __future__ import annotations

import pytest
from admin import Admin, Agent

from devart import Client, Forbidden, Unauthorized


def test_a_wrong_key_is_unauthorized(admin: Admin) -> None:
    with Client(admin.api_url, "dva_nobody") as client, pytest.raises(Unauthorized) as refusal:
        client.claim()
    assert refusal.value.status == 401


def test_a_deactivated_agent_may_not_claim(admin: Admin, agent: Agent, client: Client) -> None:
    admin.deactivate(agent)
    with pytest.raises(Forbidden):
        client.claim()


def test_a_wrong_argument_is_named(client: Client) -> None:
    with pytest.raises(ValueError, match="max_tasks"):
        client.claim(max_tasks=0)


def test_run_raises_when_the_key_is_wrong(admin: Admin) -> None:
    with Client(admin.api_url, "dva_nobody") as client, pytest.raises(Unauthorized):
        client.run(lambda _: None)
