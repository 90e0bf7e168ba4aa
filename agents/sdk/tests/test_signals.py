"""Agents as processes that get signals."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from admin import Admin, Agent
from broker import Broker
from stand_in import StandIn

_PROGRAM = Path(__file__).with_name("slow_agent.py")


class AgentProcess:
    """An agent whose tasks take as many seconds as their payload says."""

    def __init__(self, *arguments: str) -> None:
        command = [sys.executable, str(_PROGRAM), *arguments]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    def wait_for_line(self, expected: str) -> None:
        assert self._process.stdout is not None
        assert self._process.stdout.readline().strip() == expected

    def send(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def send_twice(self) -> None:
        """Send two signals. Two of one kind might become one."""
        self.send(signal.SIGINT)
        self.send(signal.SIGTERM)

    def exit_status(self) -> int:
        return self._process.wait(timeout=15)

    def end(self) -> None:
        self._process.kill()
        self._process.wait()
        # Not read to its end: a child of the agent may have it, too.
        if self._process.stdout is not None:
            self._process.stdout.close()


@pytest.fixture
def start_agent(admin: Admin, agent: Agent) -> Iterator[Callable[..., AgentProcess]]:
    started: list[AgentProcess] = []

    def start(kind: str, *more: str) -> AgentProcess:
        started.append(AgentProcess(admin.api_url, agent.api_key, kind, *more))
        return started[-1]

    yield start
    for process in started:
        process.end()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_one_signal_finishes_the_task_in_hand(
    admin: Admin, agent: Agent, start_agent: Callable[..., AgentProcess], number: signal.Signals
) -> None:
    first = admin.create_task(agent, payload={"seconds": 2})
    second = admin.create_task(agent, payload={"seconds": 0})
    process = start_agent("plain")
    process.wait_for_line("working")

    process.send(number)

    process.wait_for_line("stopped after 1")
    assert process.exit_status() == 0
    assert admin.task(first)["status"] == "DONE"
    assert admin.task(second)["status"] == "TODO"


@pytest.mark.parametrize("kind", ["plain", "async", "to_thread", "async_sdk"])
def test_a_second_signal_gives_the_task_back(
    admin: Admin, agent: Agent, start_agent: Callable[..., AgentProcess], kind: str
) -> None:
    task_id = admin.create_task(agent, payload={"seconds": 60})
    process = start_agent(kind)
    process.wait_for_line("working")

    process.send_twice()

    process.wait_for_line("stopped after 1")
    # Which of the two comes first is the system's choice.
    assert process.exit_status() in ({0} if kind in {"plain", "async"} else {130, 143})
    row = admin.task(task_id)
    assert (row["status"], row["retry_count"], row["last_error"]) == ("TODO", 0, None)


@pytest.mark.parametrize("kind", ["child", "atexit", "stubborn"])
def test_a_second_signal_ends_the_process_whatever_is_in_hand(api: StandIn, kind: str) -> None:
    api.offer(payload={"seconds": 30})
    process = AgentProcess(api.url, "dva_key", kind)
    try:
        process.wait_for_line("working")

        process.send_twice()

        process.wait_for_line("stopped after 1")
        assert process.exit_status() in {130, 143}
        assert len(api.asked("release")) == 1
    finally:
        process.end()


def test_an_idle_agent_stops_soon(
    api: StandIn, eventually: Callable[[Callable[[], bool]], None]
) -> None:
    process = AgentProcess(api.url, "dva_key", "plain")
    try:
        # It listens to signals before it claims.
        eventually(lambda: bool(api.asked("claim")))
        process.send(signal.SIGINT)
        process.wait_for_line("stopped after 0")
        assert process.exit_status() == 0
    finally:
        process.end()


def test_a_second_signal_gives_back_what_came_by_message(
    admin: Admin, agent: Agent, broker: Broker, start_agent: Callable[..., AgentProcess]
) -> None:
    task_id = admin.create_task(agent, payload={"seconds": 60})
    broker.invite(task_id)
    process = start_agent("plain", broker.url)
    process.wait_for_line("working")

    process.send_twice()

    process.wait_for_line("stopped after 1")
    assert process.exit_status() == 0
    row = admin.task(task_id)
    assert (row["status"], row["retry_count"]) == ("TODO", 0)
    assert broker.waiting() == 0


def test_an_agent_that_is_killed_leaves_its_message(
    admin: Admin, agent: Agent, broker: Broker, start_agent: Callable[..., AgentProcess],
    eventually: Callable[[Callable[[], bool]], None],
) -> None:  # fmt: skip
    broker.invite(admin.create_task(agent, payload={"seconds": 60}))
    process = start_agent("plain", broker.url)
    process.wait_for_line("working")
    process.send(signal.SIGKILL)
    eventually(lambda: broker.waiting() == 1)
