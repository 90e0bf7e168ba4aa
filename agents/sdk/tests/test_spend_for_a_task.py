"""Money held for a task, and the money that came with it."""

from __future__ import annotations

from decimal import Decimal

import pytest
from admin import Admin, Agent, money

from devart import BudgetRefused, Client, LeaseLost, Task


def test_a_handler_spends_for_its_task(
    admin: Admin, agent: Agent, client: Client, service_id: str
) -> None:
    task_ids = [admin.create_task(agent) for _ in range(2)]

    def handle(task: Task) -> None:
        with client.spend(service_id, estimate="0.1") as spend:
            spend.settle("0.1")

    async def handle_async(task: Task) -> None:
        async with client.spend(service_id, estimate="0.1") as spend:
            await spend.settle_async("0.1")

    client.run(handle, max_tasks=1)
    client.run(handle_async, max_tasks=1)
    for task_id in task_ids:
        assert sorted(admin.charges(task_id)) == [
            ("hold", Decimal("0.1")),
            ("settle", Decimal("0.1")),
        ]


def test_the_money_that_came_with_a_task_is_used(
    admin: Admin, agent: Agent, client: Client, service_id: str
) -> None:
    admin.create_task(agent, service_id=service_id, estimated_cost_usd=0.6)
    [task] = client.claim()
    assert task.hold_id is not None

    with client.spend(task=task) as spend:
        assert admin.money(service_id) == money("0", held="0.6")
        spend.settle("0.5")

    assert admin.money(service_id) == money("0.5")
    assert task.hold_id is None


@pytest.mark.parametrize("estimate", ["0.2", "0.9"])
def test_an_estimate_takes_the_place_of_the_money_that_came_with_the_task(
    admin: Admin, agent: Agent, client: Client, service_id: str, estimate: str
) -> None:
    admin.create_task(agent, service_id=service_id, estimated_cost_usd=0.6)
    [task] = client.claim()
    with client.spend(service_id, estimate=estimate, task=task) as spend:
        assert admin.money(service_id) == money("0", held=estimate)
        spend.settle("0.1")
    assert admin.money(service_id) == money("0.1")


def test_an_estimate_that_is_refused_leaves_the_money_that_came_with_the_task(
    admin: Admin, agent: Agent, client: Client, service_id: str
) -> None:
    admin.create_task(agent, service_id=service_id, estimated_cost_usd=0.6)
    [task] = client.claim()
    with (
        pytest.raises(BudgetRefused),
        client.spend(service_id, estimate=3, task=task, ask=False),
    ):
        pass
    assert admin.money(service_id) == money("0", held="0.6")
    with client.spend(task=task) as spend:
        spend.settle("0.5")
    assert admin.money(service_id) == money("0.5")


def test_the_money_that_came_with_a_task_stays_when_another_service_is_used(
    admin: Admin, agent: Agent, client: Client, service_id: str
) -> None:
    other = admin.create_service(Decimal(1))
    admin.create_task(agent, service_id=service_id, estimated_cost_usd=0.6)
    [task] = client.claim()
    with client.spend(other, estimate="0.2", task=task) as spend:
        spend.settle("0.2")
    assert admin.money(service_id) == money("0", held="0.6")
    assert task.hold_id is not None


def test_money_that_came_with_a_task_and_was_not_settled_is_spent_as_estimated(
    admin: Admin, agent: Agent, client: Client, service_id: str
) -> None:
    admin.create_task(agent, service_id=service_id, estimated_cost_usd=0.6)
    [task] = client.claim()
    with client.spend(task=task):
        pass
    assert admin.money(service_id) == money("0.6")


def test_a_refused_task_waits_for_budget_and_goes_on_when_there_is_some(
    admin: Admin, agent: Agent, client: Client, service_id: str, caplog: pytest.LogCaptureFixture
) -> None:
    task_id = admin.create_task(agent)

    def handle(_: Task) -> str:
        with client.spend(service_id, estimate=3) as spend:
            spend.settle("2.5")
        return "bought"

    client.run(handle, max_tasks=1)
    waiting = admin.task(task_id)
    assert (waiting["status"], waiting["retry_count"]) == ("AWAITING_APPROVAL", 0)
    assert f"no money for task {task_id}" in caplog.text
    assert "Traceback" not in caplog.text
    assert "dropped the outcome" not in caplog.text

    admin.increase_budget(service_id, Decimal(2))
    client.run(handle, max_tasks=1)
    assert admin.task(task_id)["result"] == "bought"


def test_a_refused_task_that_does_not_ask_may_try_less(
    admin: Admin, agent: Agent, client: Client, service_id: str
) -> None:
    task_id = admin.create_task(agent)

    def handle(_: Task) -> str:
        with (
            pytest.raises(BudgetRefused) as refusal,
            client.spend(service_id, estimate=3, ask=False),
        ):
            pass
        assert refusal.value.task_status is None
        with client.spend(service_id, estimate=refusal.value.remaining_usd) as spend:
            spend.settle("0.9")
        return "bought less"

    client.run(handle, max_tasks=1)
    assert admin.task(task_id)["result"] == "bought less"
    assert admin.money(service_id) == money("0.9")


def test_a_task_that_is_no_longer_ours_gets_no_money(
    admin: Admin, agent: Agent, client: Client, service_id: str
) -> None:
    task_id = admin.create_task(agent)
    [task] = client.claim()
    admin.cancel(task_id)
    with pytest.raises(LeaseLost), client.spend(service_id, estimate="0.1", task=task):
        pass
    assert admin.money(service_id) == money("0")


def test_what_came_with_a_task_and_went_out_is_spent_when_the_task_is_gone(
    admin: Admin, agent: Agent, client: Client, service_id: str
) -> None:
    task_id = admin.create_task(agent, service_id=service_id, estimated_cost_usd=0.6)
    [task] = client.claim()
    with client.spend(task=task) as spend:
        admin.cancel(task_id)
        assert spend.settle("0.2").charged_usd == Decimal("0.2")
    assert admin.money(service_id) == money("0.2")


def test_a_paused_task_hears_of_it_and_spends_no_more(
    admin: Admin, agent: Agent, client: Client, service_id: str
) -> None:
    task_id = admin.create_task(agent)
    [task] = client.claim()
    with client.spend(service_id, estimate="0.1", task=task) as spend:
        admin.pause(task_id, "somebody looks at it")
        [stop] = client.heartbeat(tasks=[task]).stops
        assert (stop.scope, stop.reason) == ("task", "somebody looks at it")
        assert stop.is_for(task_id)
        with (
            pytest.raises(BudgetRefused) as refusal,
            client.spend(service_id, estimate="0.1", task=task),
        ):
            pass
        assert refusal.value.stopped
        assert refusal.value.task_status is None
        spend.settle("0.1")
    admin.resume(task_id)
    with client.spend(service_id, estimate="0.1", task=task) as spend:
        spend.settle("0.1")
    assert admin.money(service_id) == money("0.2")
