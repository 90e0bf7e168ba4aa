"""Arguments are checked where they are given, and no secret is shown for it."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from stand_in import StandIn

from devart import AgentSDK, Client
from devart.logs import get_logger
from devart.rabbitmq import RabbitMq
from devart.testing import make_task


@pytest.fixture
def sdk(api: StandIn) -> Iterator[AgentSDK]:
    with AgentSDK(api.url, "dva_key", retry_seconds=0) as sdk:
        yield sdk
    assert api.requests == []


@pytest.mark.parametrize("argument", ["required_capabilities", "depends_on"])
@pytest.mark.parametrize("value", ["gpu", b"gpu", 3, [1], [None]])
def test_one_text_is_not_taken_for_its_letters(sdk: AgentSDK, argument: str, value: Any) -> None:
    with pytest.raises(TypeError, match=f"{argument} must be a list of texts"):
        sdk.create_task("T", **{argument: value})


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"prefetch": 2.5}, "prefetch"),
        ({"prefetch": True}, "prefetch"),
        ({"prefetch": 0}, "prefetch"),
        ({"prefetch": "2"}, "prefetch"),
        ({"max_tasks": 0}, "max_tasks"),
        ({"max_tasks": 1.0}, "max_tasks"),
        ({"wait_seconds": 31}, "wait_seconds"),
        ({"wait_seconds": 0.5}, "wait_seconds"),
        ({"heartbeat_seconds": float("nan")}, "heartbeat_seconds"),
        ({"heartbeat_seconds": float("inf")}, "heartbeat_seconds"),
        ({"heartbeat_seconds": 0}, "interval_seconds"),
        ({"heartbeat_seconds": "5"}, "heartbeat_seconds"),
        ({"read_payload": 3}, "read_payload"),
    ],
)
def test_numbers_that_make_no_sense_are_refused(
    sdk: AgentSDK, options: dict[str, Any], name: str
) -> None:
    with pytest.raises((TypeError, ValueError), match=name):
        sdk.start_consuming(lambda _: None, **options)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("timeout_seconds", 0),
        ("timeout_seconds", -1),
        ("timeout_seconds", 2_592_001),
        ("timeout_seconds", 1.5),
        ("timeout_seconds", True),
        ("timeout_seconds", "60"),
        ("max_retries", -1),
        ("max_retries", 101),
        ("max_retries", 3.0),
        ("max_retries", None),
        ("run_at", datetime(2030, 1, 1)),
        ("run_at", "2030-01-01T00:00:00Z"),
        ("run_at", 0),
    ],
)
def test_a_task_is_not_created_of_what_makes_no_sense(sdk: AgentSDK, name: str, value: Any) -> None:
    with pytest.raises((TypeError, ValueError), match=name):
        sdk.create_task("T", **{name: value})


@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("task_id", lambda sdk: sdk.task(None)),
        ("task_id", lambda sdk: sdk.task("\ud800")),
        ("task_id", lambda sdk: sdk.start(5)),
        ("task_id", lambda sdk: sdk.start("")),
        ("task", lambda sdk: sdk.complete("id")),
        ("task", lambda sdk: sdk.extend_lease(None)),
        ("task", lambda sdk: sdk.give_back("id")),
        ("task", lambda sdk: sdk.report_failure(None, "no")),
        ("retry_seconds", lambda sdk: sdk.extend_lease(make_task(), retry_seconds=float("nan"))),
        ("retry_seconds", lambda sdk: sdk.extend_lease(make_task(), retry_seconds="x")),
        ("status", lambda sdk: sdk.update_task_status(make_task(), None)),
        ("status", lambda sdk: sdk.update_task_status(make_task(), [])),
        ("parent", lambda sdk: sdk.create_task("T", parent="id")),
        ("title", lambda sdk: sdk.create_task(5)),
        ("description", lambda sdk: sdk.create_task("T", description=5)),
        ("priority", lambda sdk: sdk.create_task("T", priority=5)),
        ("service_id", lambda sdk: sdk.create_task("T", service_id=5)),
        ("tasks", lambda sdk: sdk.heartbeat(tasks="ab")),
        ("service_id", lambda sdk: sdk.charge(None, 1)),
        ("service_id", lambda sdk: sdk.reserve(5, 1)),
        ("hold_id", lambda sdk: sdk.settle(None, 1)),
        ("hold_id", lambda sdk: sdk.release(5)),
    ],
)
def test_what_is_no_id_text_or_task_is_refused_by_name(
    sdk: AgentSDK, name: str, call: Callable[[Any], object]
) -> None:
    with pytest.raises((TypeError, ValueError), match=rf"\b{name} (must|has)"):
        call(sdk)


@pytest.mark.parametrize(
    "amount", [True, "\u0661", "x", "", "1e-400", "1e400", "nan", float("inf"), float("nan"), b"1"]
)
def test_an_amount_that_nobody_could_have_is_refused_by_name(sdk: AgentSDK, amount: Any) -> None:
    calls: dict[str, Callable[[], object]] = {
        "estimated_cost_usd": lambda: sdk.create_task("T", estimated_cost_usd=amount),
        "estimate_usd": lambda: sdk.reserve("s", amount),
        "amount_usd": lambda: sdk.charge("s", amount),
        "estimate": lambda: sdk.spend("s", estimate=amount),
    }
    for name, call in calls.items():
        with pytest.raises((TypeError, ValueError), match=f"{name} must be"):
            call()


def test_ids_may_be_uuids_and_times_of_any_zone(api: StandIn) -> None:
    some = uuid.uuid4()
    zone = timezone(timedelta(hours=1, minutes=2, seconds=3))
    with Client(api.url, "dva_key") as client:
        client.create_task("T", depends_on=[some], run_at=datetime(2030, 1, 1, 2, tzinfo=zone))  # type: ignore[list-item]
        client.task(some)  # type: ignore[arg-type]
        client.heartbeat({"lease_tokens": ["stolen"]})
    assert api.asked("tasks")[0]["depends_on"] == [str(some)]
    assert api.asked("tasks")[0]["run_at"] == "2030-01-01T00:57:57+00:00"
    assert api.requests[1].path.endswith(str(some))
    assert api.asked("heartbeat") == [{"detail": {}}]


@pytest.mark.parametrize("handler", [None, "handle", 3])
def test_a_handler_is_a_function(sdk: AgentSDK, handler: Any) -> None:
    with pytest.raises(TypeError, match="handler must be a function"):
        sdk.start_consuming(handler)
    with pytest.raises(TypeError, match="handler must be a function"):
        sdk.run(handler)


@pytest.mark.parametrize("key", ["", "k\u00e4y", "a\nb", "k" * 201, "\0"])
def test_an_idempotency_key_is_what_a_header_can_carry(sdk: AgentSDK, key: str) -> None:
    calls: list[Callable[[], object]] = [
        lambda: sdk.start("t", key),
        lambda: sdk.create_task("T", key=key),
        lambda: sdk.charge("s", 1, idempotency_key=key),
        lambda: sdk.reserve("s", 1, idempotency_key=key),
        lambda: sdk.spend("s", estimate=1, idempotency_key=key),
    ]
    for call in calls:
        with pytest.raises(ValueError, match=r"must be 1 to 200 printable ASCII"):
            call()


@pytest.mark.parametrize("pause", [float("inf"), float("nan"), -5, "30", 1e12, True, 10**400])
def test_a_pause_is_a_number_of_seconds(sdk: AgentSDK, pause: Any) -> None:
    with pytest.raises((TypeError, ValueError), match="retry_after must be"):
        sdk.report_failure(make_task(), "no", retry_after=pause)


@pytest.mark.parametrize("value", [float("nan"), -1, "1", None])
def test_patience_is_a_number_of_seconds(value: Any) -> None:
    with pytest.raises((TypeError, ValueError), match="retry_seconds must be"):
        Client("http://127.0.0.1:9", "dva_key", retry_seconds=value)


@pytest.mark.parametrize(
    "url",
    [
        "http://localhost\n",
        "http://local\0host",
        "http://local host",
        "http://",
        "http://user:s3cret@localhost",
        "http://localhost:port-s3cret",
        "http://localhost/?s3cret",
        "ftp://s3cret",
        "http://s3..cret/",
        "http://%zz",
        f"http://{'s3cret' * 12}",
        3,
    ],
)
def test_an_odd_url_of_the_api_is_refused_and_not_shown(url: Any) -> None:
    with pytest.raises((TypeError, ValueError), match="api_url must") as error:
        Client(url, "dva_key")
    assert "s3cret" not in str(error.value)
    assert error.value.__cause__ is None


@pytest.mark.parametrize("key", ["", " \n", "dva_s3cret\nx", "dva_s3cret\0", "dva_s3cr\u00e9t", 3])
def test_an_odd_key_is_refused_and_not_shown(key: Any) -> None:
    with pytest.raises((TypeError, ValueError), match="api_key must") as error:
        Client("http://127.0.0.1:9", key)
    assert "s3cr" not in str(error.value)


def test_the_line_end_of_a_file_does_not_count_as_the_key(api: StandIn) -> None:
    with Client(api.url, "dva_key\n") as client:
        client.heartbeat()
    assert api.requests[0].headers["X-Agent-Key"] == "dva_key"


@pytest.mark.parametrize("rest", ["#", "?", "/", "\n", "\0", "["])
def test_a_password_of_the_broker_is_percent_encoded_or_refused_and_not_shown(rest: str) -> None:
    url = f"amqp://user:s3{rest}cret@localhost:5672/"
    with pytest.raises(ValueError, match="rabbitmq_url must") as error:
        AgentSDK("http://127.0.0.1:9", "dva_key", url)
    for piece in ("s3", "cret", "user"):
        assert piece not in str(error.value)
    assert error.value.__cause__ is None


def test_what_a_library_says_of_the_broker_is_without_its_password() -> None:
    url = "amqp://user:s3%2Fcret@localhost:5672/"
    said = RabbitMq(url, 1)._without_secrets(f"no way to {url}, not with s3/cret or s3%2Fcret")
    assert said == "no way to ***, not with *** or ***"


def test_nobody_forges_a_line_of_the_log(api: StandIn, caplog: pytest.LogCaptureFixture) -> None:
    title = "T\n2026-11-28 INFO devart.worker: task 7 is DONE\x1b[2J\u2028\u202eevil"
    api.offer(title=title)
    with caplog.at_level(logging.INFO), Client(api.url, "dva_key") as client:
        client.run(lambda _: None, max_tasks=1)
    [line] = [one.getMessage() for one in caplog.records if "evil" in one.getMessage()]
    assert line.isprintable()
    assert "\\x0a2026" in line


def test_what_an_error_says_is_one_line_of_the_log(caplog: pytest.LogCaptureFixture) -> None:
    get_logger("devart.test").warning("refused: %s", ValueError("a\nb" + "c" * 10_000))
    assert caplog.records[0].getMessage().startswith("refused: a\\x0ab")
    assert len(caplog.records[0].getMessage()) < 600
