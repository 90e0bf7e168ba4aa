"""Fixtures.

Tests that use `admin`, `agent` or `client` talk to a real API, those that use `broker` to a
RabbitMQ.
"""

from __future__ import annotations

import os
import random
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from decimal import Decimal

import pytest
from admin import Admin, Agent
from broker import Broker
from consuming import RecordingSDK
from ledger import Ledger
from stand_in import StandIn, stand_in

from devart import Client


def pytest_configure(config: pytest.Config) -> None:
    # aio-pika 9, the one for Python 3.10, leaves lost connections to the garbage collector.
    if sys.version_info < (3, 11):
        unclosed = "unclosed (transport|<socket)"
        config.addinivalue_line("filterwarnings", f"ignore:{unclosed}:ResourceWarning")
        warnings.filterwarnings("ignore", unclosed, ResourceWarning)


def _required(name: str) -> str:
    value = os.environ.get(name)
    if not value:
        pytest.fail(
            f"{name} is not set. These tests run against a real API: `make test` starts one and "
            "sets DEVART_API_URL and DEVART_ADMIN_TOKEN. By hand: `make up`, then `. .devart/env`, "
            "DEVART_API_URL=$API_URL and DEVART_ADMIN_TOKEN=$(devart token --role admin).",
            pytrace=False,
        )
    return value


@pytest.fixture(scope="session")
def admin() -> Iterator[Admin]:
    admin = Admin(_required("DEVART_API_URL"), _required("DEVART_ADMIN_TOKEN"))
    yield admin
    admin.close()


@pytest.fixture
def agent(admin: Admin) -> Agent:
    return admin.register_agent()


@pytest.fixture
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the pauses before further attempts a fiftieth of what they are.

    And those after which threads look up.
    """
    draw = random.uniform
    monkeypatch.setattr(random, "uniform", lambda *bounds: draw(*bounds) / 50)
    for module in ("handler", "heartbeat", "worker"):
        monkeypatch.setattr(f"devart.{module}._TICK_SECONDS", 0.02)


@pytest.fixture
def api(short_pauses: None) -> Iterator[StandIn]:
    with stand_in(StandIn()) as api:
        yield api


@pytest.fixture
def ledger(short_pauses: None) -> Iterator[Ledger]:
    """An API in whose place a ledger stands, with a service "s" of 1 USD."""
    with stand_in(Ledger()) as api:
        yield api


@pytest.fixture
def client(admin: Admin, agent: Agent) -> Iterator[Client]:
    with Client(admin.api_url, agent.api_key) as client:
        yield client


@pytest.fixture
def service_id(admin: Admin) -> str:
    """A service of 1 USD, at 0.00001 USD for an input token and 0.00003 USD for an output token."""
    service_id = admin.create_service(Decimal(1))
    admin.set_price(service_id, "input_token", Decimal("0.00001"))
    admin.set_price(service_id, "output_token", Decimal("0.00003"))
    return service_id


@pytest.fixture
def eventually() -> Callable[[Callable[[], bool]], None]:
    """Wait until something is true, for at most 15 seconds."""

    def wait(condition: Callable[[], bool]) -> None:
        give_up_at = time.monotonic() + 15
        while not condition():
            assert time.monotonic() < give_up_at, "it did not become true within 15 s"
            time.sleep(0.05)

    return wait


@pytest.fixture(scope="session")
def rabbitmq_url() -> str:
    """A real RabbitMQ in which the tests own every queue: no bridge works on it."""
    url = os.environ.get("DEVART_TEST_RABBITMQ_URL")
    if not url:
        pytest.skip("DEVART_TEST_RABBITMQ_URL is not set")
    return url


@pytest.fixture
def broker(rabbitmq_url: str) -> Iterator[Broker]:
    """The broker, with an empty queue tasks.todo."""
    broker = Broker(rabbitmq_url)
    broker.delete()
    broker.declare()
    yield broker
    broker.delete()


@pytest.fixture
def sdk(admin: Admin, agent: Agent, broker: Broker) -> Iterator[RecordingSDK]:
    with RecordingSDK(admin.api_url, agent.api_key, broker.url) as sdk:
        yield sdk
