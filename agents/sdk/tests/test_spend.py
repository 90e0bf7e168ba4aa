"""Money held for the length of a block, against the real gate."""

from __future__ import annotations

import json
import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import Any

import pytest
from admin import Admin, Agent, money
from lossy import losing_answers

from devart import BudgetRefused, Client, Conflict, InvalidArgument, NotFound, Unavailable


class CallFailedError(Exception):
    """What a model's client raises."""


def test_money_is_held_in_the_block_and_the_real_cost_replaces_it(
    admin: Admin, client: Client, service_id: str
) -> None:
    with client.spend(service_id, estimate="0.25") as spend:
        assert admin.money(service_id) == money("0", held="0.25")
        assert (spend.service_id, spend.delegated_from, spend.held_usd) == (
            service_id,
            None,
            Decimal("0.25"),
        )
        assert spend.remaining_usd == Decimal("0.75")
        settlement = spend.settle("0.100001")
        assert (settlement.charged_usd, settlement.overage_usd) == (Decimal("0.100001"), Decimal(0))
        assert not settlement.late
        assert not settlement.suspended
    assert spend.remaining_usd == Decimal("0.899999")
    assert admin.money(service_id) == money("0.100001")


def test_nothing_is_held_before_the_block(admin: Admin, client: Client, service_id: str) -> None:
    spend = client.spend(service_id, estimate=1)
    with pytest.raises(RuntimeError, match="within the block"):
        spend.settle(1)
    assert admin.money(service_id) == money("0")


def test_usage_is_held_and_settled_at_the_prices(
    admin: Admin, client: Client, service_id: str
) -> None:
    with client.spend(service_id, units={"input_token": 4000, "output_token": 1000}) as spend:
        assert spend.held_usd == Decimal("0.07")
        spend.settle(usage={"input_token": 3810, "output_token": 620})
    assert admin.money(service_id) == money("0.0567")


def test_what_was_spent_above_the_hold_is_charged_all_the_same(
    admin: Admin, client: Client, service_id: str
) -> None:
    with client.spend(service_id, estimate="0.1") as spend:
        settlement = spend.settle("1.5")
    assert (settlement.overage_usd, settlement.suspended) == (Decimal("1.4"), True)
    assert admin.money(service_id) == money("1.5")


def test_an_estimate_may_be_a_float_and_is_rounded_up(client: Client, service_id: str) -> None:
    with client.spend(service_id, estimate=0.1) as spend:
        assert spend.held_usd == Decimal("0.1")
        spend.settle(0)
    with client.spend(service_id, estimate=1 / 3) as spend:
        assert spend.held_usd == Decimal("0.333334")
        spend.settle(0)


def test_a_cost_may_not_be_a_float(client: Client, service_id: str) -> None:
    with client.spend(service_id, estimate="0.1") as spend:
        with pytest.raises(TypeError, match="not exact"):
            spend.settle(0.1)  # type: ignore[arg-type]
        spend.settle("0.1")


def test_a_spend_has_an_estimate_or_units(client: Client, service_id: str) -> None:
    with pytest.raises(ValueError, match="estimate or units must be given"):
        client.spend(service_id, estimate=1, units={"input_token": 1})


def test_a_spend_needs_a_service(client: Client) -> None:
    with pytest.raises(ValueError, match="service_id must be given"):
        client.spend(estimate=1)


@pytest.mark.parametrize("costs", [(), ("0.1", {"input_token": 1})])
def test_a_settlement_has_an_amount_or_usage(
    client: Client, service_id: str, costs: tuple[Any, ...]
) -> None:
    with client.spend(service_id, estimate="0.1") as spend:
        with pytest.raises(ValueError, match="only one of them"):
            spend.settle(*costs[:1], usage=costs[1] if costs else None)
        spend.settle("0.1")


def test_a_refusal_says_what_is_left_and_what_would_do(
    admin: Admin, client: Client, service_id: str
) -> None:
    entered = False
    with (
        pytest.raises(BudgetRefused) as refusal,
        client.spend(service_id, units={"input_token": 200_000, "output_token": 50_000}),
    ):
        entered = True

    error = refusal.value
    assert not entered
    assert (error.status, error.code, error.reason) == (402, "budget_exceeded", "budget exceeded")
    assert (error.service_id, error.scope, error.task_status) == (service_id, "service", None)
    assert (error.remaining_usd, error.needed_usd) == (Decimal(1), Decimal("3.5"))
    assert error.max_affordable_units is not None
    with client.spend(service_id, units=error.max_affordable_units) as spend:
        assert Decimal("0.99") < spend.held_usd <= 1  # type: ignore[operator]
        spend.settle(0)
    assert admin.money(service_id) == money("0")


def test_a_unit_without_a_price_is_refused(admin: Admin, client: Client, service_id: str) -> None:
    with pytest.raises(BudgetRefused) as refusal, client.spend(service_id, units={"second": 1}):
        pass
    assert refusal.value.code == "price_unknown"
    assert "second" in (refusal.value.reason or "")
    assert admin.money(service_id) == money("0")


def test_an_unknown_service_is_not_found(client: Client) -> None:
    with pytest.raises(NotFound), client.spend("0199f000-0000-7000-8000-000000000001", estimate=1):
        pass


def test_an_exception_leaves_what_was_held_spent(
    admin: Admin, client: Client, service_id: str
) -> None:
    with pytest.raises(CallFailedError), client.spend(service_id, estimate="0.4"):
        raise CallFailedError
    assert admin.money(service_id) == money("0.4")


def test_what_was_not_spent_is_given_back(admin: Admin, client: Client, service_id: str) -> None:
    with client.spend(service_id, estimate=1) as spend:
        assert spend.release()
        assert admin.money(service_id) == money("0")
    assert admin.money(service_id) == money("0")


def test_a_block_is_widened_as_far_as_there_is_room(
    admin: Admin, client: Client, service_id: str
) -> None:
    with client.spend(service_id, estimate="0.4") as spend:
        assert spend.extend(usage={"input_token": 10_000})
        assert spend.held_usd == Decimal("0.5")
        with pytest.raises(BudgetRefused) as refusal:
            spend.extend("0.6")
        assert refusal.value.remaining_usd == Decimal("0.5")
        assert admin.money(service_id) == money("0", held="0.5")
        spend.settle("0.45")
    assert admin.money(service_id) == money("0.45")


def test_an_exception_after_the_settlement_changes_nothing(
    admin: Admin, client: Client, service_id: str, caplog: pytest.LogCaptureFixture
) -> None:
    def spend_and_fail() -> None:
        with client.spend(service_id, estimate=1) as spend:
            spend.settle("0.3")
            raise CallFailedError

    with caplog.at_level(logging.DEBUG, "devart.spend"), pytest.raises(CallFailedError):
        spend_and_fail()
    assert not caplog.records
    assert admin.money(service_id) == money("0.3")


def test_a_block_without_a_settlement_is_settled_at_what_was_held(
    admin: Admin, client: Client, service_id: str, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        caplog.at_level(logging.WARNING, "devart.spend"),
        client.spend(service_id, estimate="0.4") as spend,
    ):
        pass
    assert admin.money(service_id) == money("0.4")
    assert f"hold {spend.hold_id} was settled at the end of its block" in caplog.text


def test_a_block_whose_settlement_is_refused_has_spent_what_was_held(
    admin: Admin, client: Client, service_id: str
) -> None:
    with (
        pytest.raises(InvalidArgument, match="second"),
        client.spend(service_id, estimate="0.4") as spend,
    ):
        spend.settle(usage={"second": 3})
    assert admin.money(service_id) == money("0.4")


def test_a_spend_is_settled_once(admin: Admin, client: Client, service_id: str) -> None:
    with client.spend(service_id, estimate="0.4") as spend:
        assert spend.settle("0.1") == spend.settle("0.1")
        with pytest.raises(Conflict):
            spend.settle("0.2")
    assert admin.money(service_id) == money("0.1")


def test_a_spend_is_one_block(client: Client, service_id: str) -> None:
    spend = client.spend(service_id, estimate="0.4")
    with spend:
        spend.settle(0)
    with pytest.raises(RuntimeError, match="make another"), spend:
        pass


def test_a_hold_that_ended_is_settled_late(client: Client, service_id: str) -> None:
    with client.spend(service_id, estimate="0.4") as spend:
        assert spend.hold_id is not None
        assert client.release(spend.hold_id)
        assert not client.release(spend.hold_id)
        settlement = spend.settle("0.1")
    assert (settlement.late, settlement.overage_usd) == (True, Decimal("0.1"))


def test_a_hold_lasts_as_long_as_it_was_asked_to(client: Client, service_id: str) -> None:
    short, usual = (client.reserve(service_id, "0.1", ttl=ttl) for ttl in (60, None))
    assert 530 < (usual.expires_at - short.expires_at).total_seconds() < 550


def test_one_key_holds_once(admin: Admin, client: Client, service_id: str) -> None:
    holds = [client.reserve(service_id, "0.4", idempotency_key="k").hold_id for _ in range(2)]
    assert holds[0] == holds[1]
    assert admin.money(service_id) == money("0", held="0.4")


def test_a_substitute_is_billed_and_named(admin: Admin, client: Client) -> None:
    substitute = admin.create_service(Decimal(5))
    service_id = admin.create_service(Decimal(1), substitute=substitute)

    with client.spend(service_id, estimate=3) as spend:
        assert (spend.service_id, spend.delegated_from) == (substitute, service_id)
        assert spend.reason
        spend.settle("2.5")

    assert admin.money(service_id) == money("0")
    assert admin.money(substitute) == money("2.5")


@pytest.mark.parametrize("path_end", ["/dispatch", "/settle"])
def test_a_lost_answer_holds_and_charges_once(
    admin: Admin, agent: Agent, service_id: str, path_end: str
) -> None:
    with (
        losing_answers(admin.api_url, path_end) as (url, proxy),
        Client(url, agent.api_key) as client,
    ):
        with client.spend(service_id, estimate="0.4") as spend:
            assert admin.money(service_id) == money("0", held="0.4")
            spend.settle("0.1")
        assert len(proxy.lost) == 1
    assert admin.money(service_id) == money("0.1")


def test_a_lost_answer_to_a_release_is_asked_for_again(
    admin: Admin, agent: Agent, service_id: str
) -> None:
    with (
        losing_answers(admin.api_url, "/release") as (url, proxy),
        Client(url, agent.api_key) as client,
        client.spend(service_id, estimate="0.4") as spend,
    ):
        spend.release()
    assert json.loads(proxy.lost[0]) == {"released": True}
    assert admin.money(service_id) == money("0")


def test_a_refusal_whose_answer_was_lost_is_the_same_refusal(
    admin: Admin, agent: Agent, service_id: str
) -> None:
    admin.create_task(agent)
    with (
        losing_answers(admin.api_url, "/dispatch") as (url, _),
        Client(url, agent.api_key) as client,
    ):
        [task] = client.claim()
        with (
            pytest.raises(BudgetRefused) as refusal,
            client.spend(service_id, estimate=2, task=task),
        ):
            pass
    assert refusal.value.task_status == "AWAITING_APPROVAL"


@pytest.mark.parametrize("requests", [True, False])
def test_a_settlement_without_an_answer_is_tried_once_more_at_the_end_of_the_block(
    admin: Admin, agent: Agent, service_id: str, requests: bool
) -> None:
    with (
        losing_answers(admin.api_url, "/settle", requests=requests) as (url, _),
        Client(url, agent.api_key, retry_seconds=0) as client,
        pytest.raises(Unavailable),
        client.spend(service_id, estimate="0.4") as spend,
    ):
        spend.settle("0.1")
    assert admin.money(service_id) == money("0.1")


def test_what_cannot_be_settled_is_in_the_log(
    admin: Admin, agent: Agent, service_id: str, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        caplog.at_level(logging.ERROR, "devart.spend"),
        losing_answers(admin.api_url, "/settle", times=2) as (url, _),
        Client(url, agent.api_key, retry_seconds=0) as client,
        client.spend(service_id, estimate="0.4") as spend,
        pytest.raises(Unavailable),
    ):
        spend.settle(usage={"input_token": 7})
    assert f"hold {spend.hold_id} was not settled" in caplog.text
    assert "{'input_token': 7}" in caplog.text


def test_a_release_that_fails_is_in_the_log(
    admin: Admin, agent: Agent, service_id: str, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        caplog.at_level(logging.WARNING, "devart.spend"),
        losing_answers(admin.api_url, "/release", times=9) as (url, _),
        Client(url, agent.api_key, retry_seconds=0) as client,
        client.spend(service_id, estimate="0.4") as spend,
        pytest.raises(Unavailable),
    ):
        spend.release()
    assert f"hold {spend.hold_id} was not given back" in caplog.text


def test_a_service_that_is_deferred_is_left_alone(client: Client, service_id: str) -> None:
    with client.spend(service_id, estimate="0.1") as spend:
        assert spend.defer(60, reason="asked for by its provider") is not None
        with pytest.raises(BudgetRefused) as refusal, client.spend(service_id, estimate="0.1"):
            pass
        spend.settle("0.1")
    assert refusal.value.deferred
    assert refusal.value.deferred_until is not None


def test_sixteen_threads_never_spend_more_than_the_budget(
    admin: Admin, client: Client, service_id: str
) -> None:
    """Each holds 0.03 of 1 USD and spends it: 33 of 64 fit, whoever they are."""
    together = threading.Barrier(16, timeout=30)

    def spend_four_times(_: int) -> int:
        together.wait()
        return sum(spend_or_not() for _ in range(4))

    def spend_or_not() -> bool:
        try:
            with client.spend(service_id, estimate="0.03") as spend:
                seen = admin.money(service_id)
                assert seen.spent + seen.held <= 1
                spend.settle("0.03")
        except BudgetRefused:
            return False
        return True

    with ThreadPoolExecutor(16) as threads:
        admitted = sum(threads.map(spend_four_times, range(16)))
    assert admin.money(service_id) == money("0.99")
    assert admitted == 33
