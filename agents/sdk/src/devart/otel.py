"""What needs the OpenTelemetry API, which the extra `devart[otel]` installs.

See `devart.tracing`.
"""

from __future__ import annotations

from contextlib import AbstractContextManager

from opentelemetry import trace
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from devart.models import Task
from devart.version import VERSION

# W3C whatever the process is configured for, since that is the form tasks keep.
_PROPAGATOR = TraceContextTextMapPropagator()


def span(task: Task) -> AbstractContextManager[object]:
    """Make a span for one attempt at a task, below the context that the task was created in."""
    carrier = {"traceparent": task.traceparent} if task.traceparent else {}
    return trace.get_tracer("devart", VERSION).start_as_current_span(
        "devart task",
        context=_PROPAGATOR.extract(carrier),
        kind=trace.SpanKind.CONSUMER,
        attributes={
            "devart.task.id": task.id,
            "devart.task.title": task.title,
            "devart.task.priority": task.priority,
            "devart.task.attempt": task.attempt,
        },
    )


def current_traceparent() -> str | None:
    """Return the current span's context, None outside of any."""
    carrier: dict[str, str] = {}
    _PROPAGATOR.inject(carrier)
    return carrier.get("traceparent")
