"""An API that is older than the SDK: all goes on as it did, and that is said once."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from decimal import Decimal

import httpx
import pytest
from admin import money
from flaky_server import problem
from ledger import Ledger, problem_of

from devart import BudgetRefused, Client, NotFound


@pytest.fixture
def client(ledger: Ledger) -> Iterator[Client]:
    ledger.older = True
    with Client(ledger.url, "dva_key", retry_seconds=0.2) as client:
        yield client


def test_blocks_spend_as_before(
    ledger: Ledger, client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(3):
        ledger.offer_with_money("0.2")
        [task] = client.claim()
        with client.spend(task=task) as spend:
            assert not spend.extend("0.1")
            assert spend.defer(3) is None
            assert not spend.defer_from(httpx.Response(429, headers={"Retry-After": "20"}))
            spend.settle("0.3")
    assert ledger.money == money("0.9")
    told = [one.message for one in caplog.records if one.name == "devart.newer_api"]
    assert sorted(text.rsplit(": ")[-1] for text in told) == ["defer", "extend", "mark_dispatched"]


def test_money_that_was_given_back_for_an_estimate_is_not_spent(
    ledger: Ledger, client: Client
) -> None:
    """Together with what is left it suffices, but somebody else is faster."""
    ledger.offer_with_money("0.6")
    [task] = client.claim()
    faster = [problem_of(402, "budget_exceeded", needed_usd="0.9", remaining_usd="0.4")] * 2
    ledger.script("dispatch", *faster)
    with pytest.raises(BudgetRefused), client.spend("s", estimate="0.9", task=task):
        pytest.fail("the block ran without money")
    assert ledger.money == money("0")
    assert not task.holds_money_for("s")


def test_a_key_is_used_again_as_before(ledger: Ledger, client: Client) -> None:
    for _ in range(2):
        with client.spend("s", estimate="0.3", idempotency_key="k") as spend:
            spend.settle("0.3")
    assert ledger.money == money("0.3")


def test_what_costs_usually_are_is_not_known(ledger: Ledger, client: Client) -> None:
    spend = client.spend("s")
    with pytest.raises(ValueError, match="estimate or units must be given"), spend:
        pytest.fail("the block ran without money")
    assert ledger.money == money("0")


def test_an_upgraded_api_is_found(ledger: Ledger, client: Client) -> None:
    with client.spend("s", estimate="0.4") as spend:
        assert not spend.extend("0.1")
        ledger.older = False
        assert spend.extend("0.1")
        spend.settle("0.4")


def test_a_method_that_is_not_allowed_is_that_of_an_older_api(
    ledger: Ledger, client: Client
) -> None:
    ledger.script("extend", problem(405, "method_not_allowed"))
    with client.spend("s", estimate="0.4") as spend:
        assert not spend.extend("0.1")
        spend.settle("0.4")


def test_a_thing_that_is_not_there_is_no_older_api(
    ledger: Ledger, client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    ledger.script("dispatched", problem(404, "not_found"))
    with caplog.at_level(logging.WARNING), pytest.raises(NotFound):
        client.mark_dispatched("no-hold")
    assert "older" not in caplog.text


def test_heartbeats_without_stops_stop_nothing(ledger: Ledger, client: Client) -> None:
    ledger.offer()
    [task] = client.claim()
    answer = client.heartbeat(tasks=[task])
    assert answer.stops == ()
    assert not task.should_stop
    assert Decimal(0) == ledger.spent
