"""Working over RabbitMQ: a real broker, messages as the bridge writes them, the real API."""

from __future__ import annotations

import logging
import threading
import uuid
from collections.abc import Callable

import aio_pika
import pytest
from admin import Admin, Agent
from broker import Broker
from consuming import RecordingSDK, consuming
from cuttable import cuttable

from devart import AgentSDK, Task, TaskFailed

Eventually = Callable[[Callable[[], bool]], None]


def _status(admin: Admin, task_id: str) -> str:
    status: str = admin.task(task_id)["status"]
    return status


class Slow:
    """A handler whose tasks last until `finish` is set."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.finish = threading.Event()

    def __call__(self, task: Task) -> str:
        self.begun.append(task.id)
        assert self.finish.wait(20)
        return "slowly done"


def test_a_task_that_comes_by_message_is_done_and_its_message_is_gone(
    admin: Admin, agent: Agent, broker: Broker, sdk: RecordingSDK, eventually: Eventually
) -> None:
    with consuming(sdk, lambda task: {"did": task.title}):
        eventually(lambda: broker.consumers() == 1)
        task_id = admin.create_task(agent)
        broker.invite(task_id)
        eventually(lambda: _status(admin, task_id) == "DONE")
    assert (sdk.started, sdk.claimed) == ([task_id], [])
    assert broker.waiting() == 0


def test_async_handlers_work_over_messages(
    admin: Admin, agent: Agent, broker: Broker, sdk: RecordingSDK
) -> None:
    task_id = admin.create_task(agent)
    broker.invite(task_id)

    async def handle(task: Task) -> int:
        return task.attempt

    assert sdk.start_consuming(handle, max_tasks=1) == 1
    assert admin.task(task_id)["result"] == 1


def test_stale_and_foreign_messages_are_forgotten(
    admin: Admin, agent: Agent, broker: Broker, sdk: RecordingSDK, eventually: Eventually
) -> None:
    cancelled, wanted = admin.create_task(agent), admin.create_task(agent)
    admin.cancel(cancelled)
    broker.publish(aio_pika.Message(b"<html>"))
    broker.publish(aio_pika.Message(b'{"task_id": 7}'))
    for task_id in (cancelled, str(uuid.uuid4()), "no-uuid", wanted):
        broker.invite(task_id)
    handled: list[str] = []
    with consuming(sdk, lambda task: handled.append(task.id)):
        eventually(lambda: _status(admin, wanted) == "DONE")
    assert handled == [wanted]
    assert broker.waiting() == 0


def test_a_handler_that_fails_reports_and_goes_on(
    admin: Admin, agent: Agent, broker: Broker, sdk: RecordingSDK, eventually: Eventually
) -> None:
    raising, failing, good = (
        admin.create_task(agent, payload={"kind": kind}) for kind in ("raise", "fail", "work")
    )

    def handle(task: Task) -> None:
        if task.payload["kind"] == "raise":
            raise ZeroDivisionError("by nothing")
        if task.payload["kind"] == "fail":
            raise TaskFailed("hopeless", retryable=False)

    with consuming(sdk, handle):
        eventually(lambda: broker.consumers() == 1)
        for task_id in (raising, failing, good):
            broker.invite(task_id)
        eventually(lambda: _status(admin, good) == "DONE")
    assert "Traceback" in admin.task(raising)["last_error"]
    assert _status(admin, failing) == "FAILED"
    assert broker.waiting() == 0


def test_no_more_than_prefetch_are_worked_on_at_once(
    admin: Admin, agent: Agent, broker: Broker, sdk: RecordingSDK, eventually: Eventually
) -> None:
    for task_id in (ids := [admin.create_task(agent) for _ in range(3)]):
        broker.invite(task_id)
    handler = Slow()
    with consuming(sdk, handler, prefetch=2):
        eventually(lambda: len(handler.begun) == 2)
        assert broker.waiting() == 1
        assert sorted(_status(admin, task_id) for task_id in ids) == [
            "IN_PROGRESS",
            "IN_PROGRESS",
            "TODO",
        ]
        handler.finish.set()
        eventually(lambda: all(_status(admin, task_id) == "DONE" for task_id in ids))
    assert broker.waiting() == 0


def test_the_most_urgent_message_is_next(
    admin: Admin, agent: Agent, broker: Broker, sdk: RecordingSDK, eventually: Eventually
) -> None:
    handler = Slow()
    first = admin.create_task(agent)
    with consuming(sdk, handler):
        eventually(lambda: broker.consumers() == 1)
        broker.invite(first)
        eventually(lambda: handler.begun == [first])
        low, critical = admin.create_task(agent), admin.create_task(agent)
        broker.invite(low, priority="LOW")
        broker.invite(critical, priority="CRITICAL")
        handler.finish.set()
        eventually(lambda: len(handler.begun) == 3)
    assert handler.begun == [first, critical, low]


def test_tasks_are_pulled_while_their_queue_does_not_exist_and_come_by_message_later(
    admin: Admin, agent: Agent, broker: Broker, sdk: RecordingSDK, eventually: Eventually
) -> None:
    broker.delete()
    with consuming(sdk, lambda _: None):
        pulled = admin.create_task(agent)
        eventually(lambda: _status(admin, pulled) == "DONE")
        assert sdk.claimed == [pulled]
        broker.declare()

        def comes_by_message() -> bool:
            broker.invite(task_id := admin.create_task(agent))
            eventually(lambda: _status(admin, task_id) == "DONE")
            return task_id in sdk.started

        # A claim that is under way may be faster than the first of them.
        eventually(comes_by_message)


def test_a_queue_that_is_deleted_and_made_anew_is_consumed_again(
    admin: Admin, agent: Agent, broker: Broker, sdk: RecordingSDK, eventually: Eventually
) -> None:
    with consuming(sdk, lambda _: None):
        eventually(lambda: broker.consumers() == 1)
        broker.delete()
        broker.declare()
        eventually(lambda: broker.consumers() == 1)
        broker.invite(task_id := admin.create_task(agent))
        eventually(lambda: _status(admin, task_id) == "DONE")


def test_a_message_that_comes_again_after_a_cut_does_not_begin_its_task_again(
    admin: Admin, agent: Agent, broker: Broker, eventually: Eventually
) -> None:
    handler = Slow()
    task_id = admin.create_task(agent)
    broker.invite(task_id)
    with (
        cuttable(broker.url) as network,
        RecordingSDK(admin.api_url, agent.api_key, network.url) as sdk,
    ):
        with consuming(sdk, handler):
            eventually(lambda: handler.begun == [task_id])
            network.cut()
            eventually(lambda: broker.waiting() == 1)
            network.heal()
            eventually(lambda: broker.waiting() == 0)
            handler.finish.set()
            eventually(lambda: _status(admin, task_id) == "DONE")
            later = admin.create_task(agent)
            broker.invite(later)
            eventually(lambda: _status(admin, later) == "DONE")
        assert handler.begun == [task_id, later]
        assert sdk.started == [task_id, later]
    assert broker.waiting() == 0


def test_a_second_copy_of_a_message_is_forgotten(
    admin: Admin, agent: Agent, broker: Broker, sdk: RecordingSDK, eventually: Eventually
) -> None:
    handler = Slow()
    task_id = admin.create_task(agent)
    with consuming(sdk, handler, prefetch=2):
        eventually(lambda: broker.consumers() == 1)
        broker.invite(task_id)
        eventually(lambda: handler.begun == [task_id])
        broker.invite(task_id)
        eventually(lambda: broker.waiting() == 0)
        handler.finish.set()
        eventually(lambda: _status(admin, task_id) == "DONE")
    assert handler.begun == [task_id]
    assert sdk.started == [task_id]
    assert broker.waiting() == 0


def test_tasks_do_not_wait_for_a_broker_that_is_down(
    admin: Admin, agent: Agent, broker: Broker, eventually: Eventually
) -> None:
    with (
        cuttable(broker.url) as network,
        RecordingSDK(admin.api_url, agent.api_key, network.url) as sdk,
    ):
        network.cut()
        with consuming(sdk, lambda _: None):
            at_start = admin.create_task(agent)
            eventually(lambda: _status(admin, at_start) == "DONE")
            network.heal()
            eventually(lambda: broker.consumers() == 1)
            network.cut()
            later = admin.create_task(agent)
            eventually(lambda: _status(admin, later) == "DONE")
        assert sdk.claimed == [at_start, later]


def test_a_message_is_kept_while_the_api_is_away(
    admin: Admin,
    agent: Agent,
    broker: Broker,
    eventually: Eventually,
    caplog: pytest.LogCaptureFixture,
) -> None:
    task_id = admin.create_task(agent)
    with (
        cuttable(admin.api_url) as network,
        RecordingSDK(network.url, agent.api_key, broker.url) as sdk,
    ):
        with (
            caplog.at_level(logging.WARNING, logger="devart.worker"),
            consuming(sdk, lambda _: "after all"),
        ):
            eventually(lambda: broker.consumers() == 1)
            network.cut()
            broker.invite(task_id)
            eventually(lambda: "could not take a task" in caplog.text)
            network.heal()
            eventually(lambda: _status(admin, task_id) == "DONE")
        assert sdk.claimed == []
    assert broker.waiting() == 0


def test_stopping_finishes_the_task_in_hand_and_leaves_the_other_messages(
    admin: Admin, agent: Agent, broker: Broker, sdk: RecordingSDK, eventually: Eventually
) -> None:
    handler = Slow()
    first, second = admin.create_task(agent), admin.create_task(agent)
    with consuming(sdk, handler):
        eventually(lambda: broker.consumers() == 1)
        broker.invite(first)
        eventually(lambda: handler.begun == [first])
        sdk.stop()
        eventually(lambda: broker.consumers() == 0)
        broker.invite(second)
        handler.finish.set()
    assert [_status(admin, first), _status(admin, second)] == ["DONE", "TODO"]
    assert broker.waiting() == 1


def test_a_handler_may_report_by_itself(
    admin: Admin, agent: Agent, broker: Broker, sdk: RecordingSDK, caplog: pytest.LogCaptureFixture
) -> None:
    done, failed, retried = (admin.create_task(agent) for _ in range(3))
    for task_id in (done, failed, retried):
        broker.invite(task_id)

    def handle(task: Task) -> str:
        if task.id == done:
            sdk.update_task_status(task, "DONE", result={"by": "hand"})
        elif task.id == failed:
            sdk.update_task_status(task, "FAILED", error="no use")
        else:
            sdk.report_failure(task, "busy", retryable=True, retry_after=600)
        return "not reported again"

    sdk.start_consuming(handle, max_tasks=3)

    assert admin.task(done)["result"] == {"by": "hand"}
    assert (_status(admin, failed), admin.task(failed)["last_error"]) == ("FAILED", "no use")
    assert (_status(admin, retried), admin.task(retried)["last_error"]) == ("SCHEDULED", "busy")
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


def test_without_a_broker_tasks_are_pulled(admin: Admin, agent: Agent) -> None:
    task_id = admin.create_task(agent)
    with RecordingSDK(admin.api_url, agent.api_key, None) as sdk:
        assert sdk.start_consuming(lambda _: "pulled", max_tasks=1) == 1
    assert sdk.claimed == [task_id]
    assert admin.task(task_id)["result"] == "pulled"


def test_the_password_of_the_broker_is_in_no_message(
    admin: Admin,
    agent: Agent,
    broker: Broker,
    eventually: Eventually,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with cuttable(broker.url) as network:
        url = network.url.replace("@", "-but-wrong@")
        with caplog.at_level(logging.DEBUG), AgentSDK(admin.api_url, agent.api_key, url) as sdk:
            with consuming(sdk, lambda _: None):
                eventually(lambda: "RabbitMQ cannot be reached" in caplog.text)
            assert "-but-wrong" not in caplog.text + repr(sdk)


def test_an_agent_is_made_from_the_environment(
    admin: Admin, agent: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    task_id = admin.create_task(agent)
    monkeypatch.setenv("DEVART_API_URL", admin.api_url)
    monkeypatch.setenv("DEVART_API_KEY", "")
    monkeypatch.setenv("RABBITMQ_URL", "")
    with pytest.raises(ValueError, match="DEVART_API_KEY is not set"):
        AgentSDK.from_env()
    monkeypatch.setenv("DEVART_API_KEY", agent.api_key)
    with AgentSDK.from_env() as sdk:
        sdk.start_consuming(lambda _: None, max_tasks=1)
    assert _status(admin, task_id) == "DONE"


@pytest.mark.parametrize("url", ["localhost:5672", "http://localhost", ""])
def test_a_broker_needs_a_url_of_its_kind(url: str) -> None:
    with pytest.raises(ValueError, match="amqp"):
        AgentSDK("http://localhost", "dva_k", url)
