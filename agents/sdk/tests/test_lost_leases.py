"""A lost lease ends an async handler, and is visible in a plain one."""

from __future__ import annotations

import asyncio
import copy
import ctypes
import logging
import pickle
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone

import pytest
from stand_in import StandIn

from devart import Client, Heartbeat, Task
from devart.testing import make_task


@pytest.fixture
def client(api: StandIn) -> Iterator[Client]:
    with Client(api.url, "dva_key", retry_seconds=0.2) as client:
        yield client


def test_an_async_handler_is_cancelled_and_may_clean_up(api: StandIn, client: Client) -> None:
    token = api.offer()
    ended: list[str] = []

    async def handle(_: Task) -> None:
        api.lost.add(token)
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            await asyncio.sleep(0.05)
            ended.append("cancelled")
            raise

    client.run(handle, max_tasks=1, heartbeat_seconds=0.1)
    assert ended == ["cancelled"]
    assert api.asked("status") == api.asked("report-failure") == []


def test_a_plain_handler_sees_it(api: StandIn, client: Client) -> None:
    token = api.offer()
    seen: list[bool] = []

    def handle(task: Task) -> None:
        api.lost.add(token)
        seen.append(copy.copy(task).lease_lost.wait(15))

    client.run(handle, max_tasks=1, heartbeat_seconds=0.1)
    assert seen == [True]
    assert api.asked("status") == []


def test_a_handler_that_holds_the_interpreter_is_told_so_once(
    api: StandIn,
    client: Client,
    eventually: Callable[[Callable[[], bool]], None],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # As little as may be: what takes a lease of a second for short takes 3 s to be told.
    monkeypatch.setattr("devart.heartbeat._MIN_PAUSE_SECONDS", 0.05)
    # A foreign function that, unlike time.sleep, lets no other thread run meanwhile.
    hold = ctypes.PyDLL(None).usleep
    task = make_task(lease_expires_at=datetime.now(timezone.utc) + timedelta(seconds=0.15))
    heartbeat = Heartbeat(client, interval_seconds=60)

    def beats_again() -> None:
        seen = len(api.asked("heartbeat"))
        # The second of them is sent after a wait that began meanwhile.
        eventually(lambda: len(api.asked("heartbeat")) > seen + 1)

    def told() -> list[str]:
        return [one for one in caplog.messages if "held the Python interpreter" in one]

    with caplog.at_level(logging.WARNING), heartbeat, heartbeat.hold(task):
        beats_again()
        # It may come just when no heartbeat waits for the next one.
        for _ in range(20):
            hold(500_000)
            beats_again()
            if told():
                break
        for _ in range(2):
            hold(500_000)
            beats_again()
    assert len(told()) == 1


def test_copies_share_the_flag_and_pickles_tell_it(client: Client) -> None:
    task = make_task({"n": 1})
    shallow, deep = copy.copy(task), copy.deepcopy(task)
    sent = pickle.loads(pickle.dumps(task))
    assert (sent.id, sent.lease_token, sent.payload) == (task.id, task.lease_token, {"n": 1})
    task.lease_lost.set()
    assert shallow.lease_lost.is_set()
    assert deep.lease_lost.is_set()
    assert not sent.lease_lost.is_set()
    assert pickle.loads(pickle.dumps(task)).lease_lost.is_set()
    with pytest.raises(TypeError, match="not sent to other processes"):
        pickle.dumps(client)
