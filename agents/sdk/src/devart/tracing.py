"""The trace a task belongs to: handlers run in a span below it where OpenTelemetry is installed."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

from devart.models import Task

try:
    from devart import otel as _otel
except ModuleNotFoundError:  # nothing is missing: it is an extra
    _otel = None  # type: ignore[assignment]


def span(task: Task) -> AbstractContextManager[object]:
    """Return the span in which a handler works on the task.

    Without OpenTelemetry, nothing in particular.
    """
    return nullcontext() if _otel is None else _otel.span(task)


def traceparent_for_child(parent: Task | None) -> str | None:
    """Return the trace context to pass to a new task: the current span's, else the parent's."""
    current = None if _otel is None else _otel.current_traceparent()
    return current or (parent.traceparent if parent else None)
