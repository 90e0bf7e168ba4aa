"""Reading answers."""

from __future__ import annotations

from datetime import datetime, timezone

import pytest

from devart.models import HeartbeatAnswer, Task, parse_time


@pytest.mark.parametrize(
    ("text", "microsecond"),
    [
        ("2026-11-23T09:00:00Z", 0),
        ("2026-11-23T09:00:00.5Z", 500_000),
        ("2026-11-23T09:00:00.123456789Z", 123_456),
        ("2026-11-23T10:00:00.1+01:00", 100_000),
        ("2026-11-23 09:00:00+00", 0),
    ],
)
def test_every_form_of_a_time_is_read(text: str, microsecond: int) -> None:
    assert parse_time(text) == datetime(2026, 11, 23, 9, 0, 0, microsecond, tzinfo=timezone.utc)


def test_a_time_without_a_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="zone"):
        parse_time("2026-11-23T09:00:00")


def test_a_task_does_not_show_its_lease_token() -> None:
    row = {
        "task_id": "t",
        "title": "T",
        "priority": "LOW",
        "attempt": 1,
        "lease_token": "very-secret",
        "lease_expires_at": "2026-11-23T09:00:00Z",
        "a_member_of_a_later_version": True,
    }
    assert "very-secret" not in repr(Task.from_json(row))


def test_an_api_that_names_no_queues_is_taken_to_have_one() -> None:
    answer: dict[str, object] = {
        "status": "IDLE",
        "leases_extended": 0,
        "active_task_count": 0,
        "stop": False,
    }
    assert HeartbeatAnswer.from_json(answer).queues == ("tasks.todo",)
    assert HeartbeatAnswer.from_json({**answer, "queues": ["a", "b"]}).queues == ("a", "b")
