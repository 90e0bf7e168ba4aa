"""The money that comes with a task: one block has it, and no refusal gives it away."""

from __future__ import annotations

import copy
import pickle
import threading
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
from admin import money
from ledger import Ledger, LedgerHold

from devart import BudgetRefused, Client, Conflict, Task


@pytest.fixture
def client(ledger: Ledger) -> Iterator[Client]:
    with Client(ledger.url, "dva_key", retry_seconds=0.2) as client:
        yield client


@pytest.fixture
def task(ledger: Ledger, client: Client) -> Task:
    ledger.offer_with_money("0.6")
    [task] = client.claim()
    return task


def _own(ledger: Ledger) -> LedgerHold:
    return next(iter(ledger.holds.values()))


def test_it_is_dispatched_when_its_block_begins(ledger: Ledger, client: Client, task: Task) -> None:
    spend = client.spend(task=task)
    assert not _own(ledger).dispatched
    with spend:
        assert _own(ledger).dispatched
        assert [body["lease_token"] for body in ledger.asked("dispatched")] == [task.lease_token]
        spend.settle("0.5")
    assert ledger.money == money("0.5")


def test_money_that_is_over_is_not_spent(ledger: Ledger, client: Client, task: Task) -> None:
    spend = client.spend(task=task)
    ledger.expire()
    with pytest.raises(Conflict, match="give an estimate"), spend:
        pytest.fail("the block ran without money")
    with client.spend("s", estimate="0.1", task=task) as spend:
        spend.settle("0.1")
    assert ledger.spent == Decimal("0.1")


@pytest.mark.parametrize("of_a_copy", [False, True])
def test_a_second_block_does_not_run_without_money(
    ledger: Ledger, client: Client, task: Task, of_a_copy: bool
) -> None:
    first = client.spend(task=task)
    second = client.spend(task=copy.copy(task) if of_a_copy else task)
    with first:
        with pytest.raises(RuntimeError, match="another block"), second:
            pytest.fail("the block ran without money")
        first.settle("0.2")
    assert ledger.spent == Decimal("0.2")


def test_of_two_threads_one_gets_it(ledger: Ledger, client: Client, task: Task) -> None:
    together = threading.Barrier(8, timeout=10)
    blocks = [client.spend(task=task) for _ in range(8)]
    entered: list[int] = []

    def enter(number: int) -> None:
        together.wait()
        try:
            with blocks[number] as spend:
                entered.append(number)
                spend.settle("0.2")
        except RuntimeError:
            pass

    threads = [threading.Thread(target=enter, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(entered) == 1
    assert ledger.spent == Decimal("0.2")


def test_a_task_that_was_sent_to_another_process_tells_that_its_money_is_taken(
    client: Client, task: Task
) -> None:
    with client.spend(task=task) as spend:
        sent = pickle.loads(pickle.dumps(copy.deepcopy(task)))
        spend.settle(0)
    assert not sent.holds_money_for("s")


@pytest.mark.parametrize("ask", [True, False])
@pytest.mark.parametrize("asked_for", [{"estimate": "1.5"}, {"units": {"token": 1500}}])
def test_a_larger_estimate_that_is_refused_leaves_it(
    ledger: Ledger, client: Client, task: Task, asked_for: dict[str, Any], ask: bool
) -> None:
    with pytest.raises(BudgetRefused), client.spend("s", task=task, ask=ask, **asked_for):
        pytest.fail("the block ran without money")
    assert ledger.held == Decimal("0.6")
    assert not _own(ledger).dispatched
    assert [body["ask"] for body in ledger.asked("dispatch")] == [False, True][: 1 + ask]
    with client.spend(task=task) as spend:
        spend.settle("0.5")
    assert ledger.money == money("0.5")


@pytest.mark.parametrize("estimate", ["0.2", "0.4"])
def test_an_estimate_for_which_there_is_room_beside_it_takes_its_place(
    ledger: Ledger, client: Client, task: Task, estimate: str
) -> None:
    with client.spend("s", estimate=estimate, task=task) as spend:
        assert ledger.held == Decimal(estimate)
        assert spend.held_usd == Decimal(estimate)
        spend.settle("0.1")
    assert ledger.money == money("0.1")


@pytest.mark.parametrize("older", [False, True])
def test_an_estimate_for_which_there_is_room_in_its_place_takes_it(
    ledger: Ledger, client: Client, task: Task, older: bool
) -> None:
    ledger.older = older
    with client.spend("s", estimate="0.9", task=task) as spend:
        assert ledger.held == Decimal("0.9")
        assert spend.held_usd == Decimal("0.9")
        assert next(hold for hold in ledger.holds.values() if hold.amount == spend.held_usd)
    assert ledger.money == money("0.9")


def test_a_smaller_estimate_for_which_there_is_no_room_beside_it_uses_it(
    ledger: Ledger, client: Client, task: Task
) -> None:
    ledger.limit = Decimal("0.7")
    with client.spend("s", estimate="0.2", task=task) as spend:
        assert ledger.held == Decimal("0.6")
        assert _own(ledger).dispatched
        spend.settle("0.1")
    assert ledger.money == money("0.1")


def test_a_key_that_is_used_again_holds_anew_when_its_hold_is_over(
    ledger: Ledger, client: Client
) -> None:
    for _ in range(2):
        with client.spend("s", estimate="0.3", idempotency_key="k") as spend:
            assert ledger.held == Decimal("0.3")
            spend.settle("0.3")
    assert ledger.spent == Decimal("0.6")


def test_a_key_that_is_used_again_finds_a_hold_that_is_open(ledger: Ledger, client: Client) -> None:
    hold = client.reserve("s", "0.3", idempotency_key="k")
    with client.spend("s", estimate="0.3", idempotency_key="k") as spend:
        assert spend.hold_id == hold.hold_id
        spend.settle("0.3")
    assert ledger.spent == Decimal("0.3")


def test_without_an_estimate_what_is_usual_is_held(ledger: Ledger, client: Client) -> None:
    with pytest.raises(BudgetRefused) as refusal, client.spend("s"):
        pytest.fail("the block ran without money")
    assert refusal.value.code == "no_estimate"
    ledger.usual = Decimal("0.3")
    with client.spend("s") as spend:
        assert spend.held_usd == Decimal("0.3")
        spend.settle("0.2")
    assert ledger.money == money("0.2")


def test_without_an_estimate_what_came_with_the_task_is_used_and_then_what_is_usual(
    ledger: Ledger, client: Client, task: Task
) -> None:
    ledger.usual = Decimal("0.3")
    for held in ("0.6", "0.3"):
        with client.spend(task=task) as spend:
            assert ledger.held == Decimal(held)
            spend.settle("0.2")
    assert ledger.money == money("0.4")
