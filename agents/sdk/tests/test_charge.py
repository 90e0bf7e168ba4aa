"""Spending money."""

from __future__ import annotations

import uuid
from decimal import Decimal

import pytest
from admin import Admin, Agent

from devart import BudgetRefused, Client, InvalidArgument, NotFound


def test_a_charge_is_exact(admin: Admin, client: Client, service_id: str) -> None:
    charge = client.charge(service_id, Decimal("0.100001"))

    assert charge.charged_service_id == service_id
    assert charge.remaining_usd == Decimal("0.899999")
    assert not charge.delegated
    assert admin.spent_usd(service_id) == Decimal("0.100001")


def test_a_charge_may_name_its_task(
    admin: Admin, agent: Agent, client: Client, service_id: str
) -> None:
    admin.create_task(agent)
    [task] = client.claim()
    assert client.charge(service_id, "0.25", task).spent_usd == Decimal("0.25")


def test_one_key_charges_once(client: Client, service_id: str) -> None:
    key = str(uuid.uuid4())
    client.charge(service_id, Decimal("0.4"), idempotency_key=key)
    client.charge(service_id, Decimal("0.4"), idempotency_key=key)
    assert client.charge(service_id, Decimal("0.1")).spent_usd == Decimal("0.5")


def test_what_the_budget_does_not_admit_is_refused(
    admin: Admin, client: Client, service_id: str
) -> None:
    client.charge(service_id, Decimal("0.7"))

    with pytest.raises(BudgetRefused) as refusal:
        client.charge(service_id, Decimal("0.4"))

    assert refusal.value.remaining_usd == Decimal("0.3")
    assert refusal.value.reason
    assert admin.spent_usd(service_id) == Decimal("0.7")


def test_a_negative_amount_is_refused(client: Client, service_id: str) -> None:
    with pytest.raises(InvalidArgument) as refusal:
        client.charge(service_id, Decimal("-1"))
    assert "amount_usd" in refusal.value.field_errors


def test_an_unknown_service_is_not_found(client: Client) -> None:
    with pytest.raises(NotFound):
        client.charge(str(uuid.uuid4()), 1)


def test_a_float_is_not_money(client: Client, service_id: str) -> None:
    with pytest.raises(TypeError, match="not exact"):
        client.charge(service_id, 0.1)  # type: ignore[arg-type]
