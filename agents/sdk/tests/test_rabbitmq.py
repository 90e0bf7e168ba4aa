"""What is between the broker and the worker, against a real broker."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import aio_pika
import pytest
from broker import Broker

from devart.invitations import Inbox
from devart.rabbitmq import RabbitMq

Eventually = Callable[[Callable[[], bool]], None]

_SECOND = "todo.sdk-test"


@pytest.fixture
def lanes(broker: Broker) -> Iterator[list[str]]:
    """Make two queues."""
    broker.delete(_SECOND)
    broker.declare(_SECOND)
    yield ["tasks.todo", f"tasks.{_SECOND}"]
    broker.delete(_SECOND)


@contextmanager
def connected(url: str, queues: list[str]) -> Iterator[tuple[RabbitMq, Inbox]]:
    rabbitmq = RabbitMq(url, 1)
    rabbitmq.open()
    rabbitmq.subscribe(queues)
    try:
        yield rabbitmq, rabbitmq.inbox
    finally:
        rabbitmq.close()


def test_a_busy_agent_returns_what_it_has_no_hand_for_and_asks_again_when_it_has(
    broker: Broker, lanes: list[str], eventually: Eventually
) -> None:
    with connected(broker.url, lanes) as (rabbitmq, inbox):
        eventually(lambda: broker.consumers() == broker.consumers(_SECOND) == 1)
        broker.invite("first")
        broker.invite("second", lane=_SECOND)
        taken = [inbox.take(10), None]
        assert taken[0] is not None
        other = _SECOND if taken[0].task_id == "first" else "todo"

        # Long before the task in hand is done, the other message is there for others.
        eventually(lambda: broker.waiting(other) == 1 and broker.consumers(other) == 0)

        taken[1] = inbox.take(10)
        assert taken[1] is not None
        assert {taken[0].task_id, taken[1].task_id} == {"first", "second"}
        for invitation in taken:
            assert invitation is not None
            rabbitmq.acknowledge(inbox.finish(invitation))
    assert broker.waiting() == broker.waiting(_SECOND) == 0


def test_queues_that_come_later_are_consumed_and_those_that_go_are_not(
    broker: Broker, lanes: list[str], eventually: Eventually
) -> None:
    with connected(broker.url, lanes[:1]) as (rabbitmq, _):
        eventually(lambda: broker.consumers() == 1)
        rabbitmq.subscribe(lanes)
        eventually(lambda: broker.consumers(_SECOND) == 1)
        rabbitmq.subscribe(lanes[1:])
        eventually(lambda: broker.consumers() == 0)
        assert broker.consumers(_SECOND) == 1
        assert rabbitmq.consuming


def test_what_was_not_acknowledged_is_there_for_others(broker: Broker) -> None:
    broker.invite("first")
    with connected(broker.url, ["tasks.todo"]) as (_, inbox):
        assert inbox.take(10) is not None
    assert broker.waiting() == 1


def test_who_stopped_gets_no_more_even_when_it_waits(
    broker: Broker, eventually: Eventually
) -> None:
    with connected(broker.url, ["tasks.todo"]) as (rabbitmq, inbox):
        eventually(lambda: broker.consumers() == 1)
        rabbitmq.stop()
        eventually(lambda: broker.consumers() == 0)
        broker.invite("first")
        assert inbox.take(2) is None
    assert broker.waiting() == 1


def test_nothing_is_declared(broker: Broker, eventually: Eventually) -> None:
    with connected(broker.url, ["tasks.todo", "tasks.todo.nobody-makes-this"]):
        eventually(lambda: broker.consumers() == 1)
    with pytest.raises(aio_pika.exceptions.ChannelNotFoundEntity):
        broker.waiting("todo.nobody-makes-this")
