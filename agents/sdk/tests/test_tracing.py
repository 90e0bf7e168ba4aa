"""Trace contexts: from tasks and messages into handlers, and on to children."""

from __future__ import annotations

import asyncio

import pytest
from admin import Admin, Agent
from broker import Broker
from consuming import RecordingSDK
from flaky_server import Answer, flaky_server
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from devart import Client, Task, tracing
from devart.testing import make_task

_TRACE = "0af7651916cd43dd8448eb211c80319c"
_PARENT = f"00-{_TRACE}-b7ad6b7169203331-01"


@pytest.fixture(scope="session")
def exporter() -> InMemorySpanExporter:
    """Record spans; OpenTelemetry takes one provider per process."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    return exporter


@pytest.fixture
def spans(exporter: InMemorySpanExporter) -> InMemorySpanExporter:
    exporter.clear()
    return exporter


def _task(traceparent: str | None) -> Task:
    return make_task(traceparent=traceparent)


def _trace_of(traceparent: str | None) -> str:
    assert traceparent is not None
    return traceparent.split("-")[1]


def test_a_span_is_a_child_of_the_tasks_context(spans: InMemorySpanExporter) -> None:
    with tracing.span(_task(_PARENT)):
        assert _trace_of(tracing.traceparent_for_child(None)) == _TRACE
    [span] = spans.get_finished_spans()
    assert span.parent is not None
    assert trace.format_span_id(span.parent.span_id) == "b7ad6b7169203331"
    assert span.attributes is not None
    assert span.attributes["devart.task.attempt"] == 1


@pytest.mark.parametrize("traceparent", [None, "", "nonsense"])
def test_a_task_without_a_context_begins_a_trace(
    spans: InMemorySpanExporter, traceparent: str | None
) -> None:
    with tracing.span(_task(traceparent)):
        pass
    [span] = spans.get_finished_spans()
    assert span.parent is None


def test_a_failing_handler_fails_its_span(spans: InMemorySpanExporter) -> None:
    with pytest.raises(ZeroDivisionError), tracing.span(_task(_PARENT)):
        raise ZeroDivisionError
    assert not spans.get_finished_spans()[0].status.is_ok


def test_a_child_is_sent_the_context_in_which_it_is_created(spans: InMemorySpanExporter) -> None:
    created = Answer(201, b'{"id":"c","title":"C","status":"TODO","priority":"LOW","attempt":0}')
    with (
        flaky_server(created) as (url, server),
        Client(url, "dva_key") as client,
        tracing.span(_task(_PARENT)),
    ):
        client.create_task("C", parent=_task(_PARENT))
    [span] = spans.get_finished_spans()
    sent = server.headers[0]["traceparent"]
    assert span.context is not None
    assert sent == f"00-{_TRACE}-{trace.format_span_id(span.context.span_id)}-01"


def test_without_opentelemetry_the_parents_context_goes_to_the_child(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tracing, "_otel", None)
    with tracing.span(_task(_PARENT)):
        assert tracing.traceparent_for_child(_task(_PARENT)) == _PARENT
        assert tracing.traceparent_for_child(_task(None)) is None
        assert tracing.traceparent_for_child(None) is None


@pytest.mark.parametrize("kind", ["plain", "async"])
def test_a_handler_runs_in_the_context_of_its_message(
    admin: Admin,
    agent: Agent,
    broker: Broker,
    sdk: RecordingSDK,
    spans: InMemorySpanExporter,
    kind: str,
) -> None:
    broker.invite(admin.create_task(agent), headers={"traceparent": _PARENT})
    traces: list[str] = []

    def handle(task: Task) -> None:
        assert task.traceparent == _PARENT
        traces.append(trace.format_trace_id(trace.get_current_span().get_span_context().trace_id))

    async def handle_async(task: Task) -> None:
        await asyncio.sleep(0)
        handle(task)

    sdk.start_consuming(handle if kind == "plain" else handle_async, max_tasks=1)

    assert traces == [_TRACE]
    assert len(spans.get_finished_spans()) == 1
