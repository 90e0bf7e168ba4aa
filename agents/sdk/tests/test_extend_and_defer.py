"""Setting more aside in a block, and leaving a provider alone that asks for it."""

from __future__ import annotations

import asyncio
import email.message
import json
import logging
import urllib.error
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from email.utils import format_datetime
from typing import Any

import httpx
import pytest
from admin import money
from flaky_server import problem
from ledger import Ledger, problem_of

from devart import AsyncAgentSDK, BudgetRefused, Client, Forbidden
from devart.retry_after import seconds_to_wait


@pytest.fixture
def client(ledger: Ledger) -> Iterator[Client]:
    with Client(ledger.url, "dva_key", retry_seconds=0.2) as client:
        yield client


def test_a_block_is_widened(ledger: Ledger, client: Client) -> None:
    with client.spend("s", estimate="0.4") as spend:
        assert spend.extend("0.3")
        assert (spend.held_usd, spend.remaining_usd) == (Decimal("0.7"), Decimal("0.3"))
        assert spend.extend(usage={"token": 100}, ttl=7.5)
        assert spend.extend(0.1)
        assert ledger.money == money("0", held="0.9")
    assert ledger.money == money("0.9")
    assert [body["ttl_seconds"] for body in ledger.asked("extend")] == [None, 8, None]


def test_a_block_that_is_not_widened_stays_as_it_is(ledger: Ledger, client: Client) -> None:
    with client.spend("s", estimate="0.4") as spend:
        with pytest.raises(BudgetRefused) as refusal:
            spend.extend("0.7")
        assert refusal.value.remaining_usd == Decimal("0.6")
        assert ledger.money == money("0", held="0.4")
        spend.settle("0.4")


def test_a_hold_that_is_over_is_not_widened(ledger: Ledger, client: Client) -> None:
    with client.spend("s", estimate="0.4") as spend:
        ledger.expire()
        with pytest.raises(BudgetRefused) as refusal:
            spend.extend("0.1")
        assert refusal.value.code == "hold_over"
        spend.settle("0.5")
    assert ledger.money == money("0.5")


def test_a_lost_answer_does_not_widen_twice(ledger: Ledger, client: Client) -> None:
    ledger.script("extend", problem(503))
    with client.spend("s", estimate="0.4") as spend:
        spend.extend("0.1")
        spend.settle("0.4")
    keys = [one.headers["Idempotency-Key"] for one in ledger.requests if one.action == "extend"]
    assert len(keys) == 2
    assert len(set(keys)) == 1


@pytest.mark.parametrize("arguments", [{}, {"more_usd": 1, "usage": {"token": 1}}])
def test_an_extension_has_one_size(client: Client, arguments: dict[str, Any]) -> None:
    with client.spend("s", estimate="0.4") as spend:
        with pytest.raises(ValueError, match="must be given"):
            spend.extend(**arguments)
        spend.settle(0)


def test_nothing_is_widened_before_the_block(client: Client) -> None:
    with pytest.raises(RuntimeError, match="within the block"):
        client.spend("s", estimate="0.4").extend("0.1")


def test_a_service_is_deferred(ledger: Ledger, client: Client) -> None:
    until = datetime(2030, 1, 1, tzinfo=timezone.utc)
    with client.spend("s", estimate="0.4") as spend:
        assert spend.defer(1.2, reason="busy") == datetime(2099, 1, 1, tzinfo=timezone.utc)
        spend.defer(until=until)
        with pytest.raises(ValueError, match="only one of them"):
            spend.defer(1, until=until)
        spend.release()
    path = "/api/services/s/defer"
    assert ledger.deferred == [
        {"path": path, "seconds": 2, "reason": "busy"},
        {"path": path, "until": until.isoformat()},
    ]


def test_a_provider_that_asks_for_it_is_left_alone(ledger: Ledger, client: Client) -> None:
    with client.spend("s", estimate="0.4") as spend:
        assert spend.defer_from(httpx.Response(429, headers={"Retry-After": "20"}))
        assert not spend.defer_from(httpx.Response(500, headers={"Retry-After": "20"}))
        assert not spend.defer_from(ValueError("no answer of anybody's"))
        spend.release()
    assert [(one["seconds"], one["path"]) for one in ledger.deferred] == [
        (20, "/api/services/s/defer")
    ]


def test_what_a_provider_said_is_not_hidden_by_what_devart_says(
    ledger: Ledger, client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    ledger.script("defer", problem(403, "forbidden"), problem(403, "forbidden"))
    with caplog.at_level(logging.WARNING), client.spend("s", estimate="0.4") as spend:
        assert not spend.defer_from(httpx.Response(429, headers={"Retry-After": "20"}))
        with pytest.raises(Forbidden):
            spend.defer(20)
        spend.release()
    assert "service s was not deferred" in caplog.text


def test_a_coroutine_widens_and_defers(ledger: Ledger) -> None:
    async def work() -> None:
        async with AsyncAgentSDK(ledger.url, "dva_key") as sdk:
            async with sdk.spend("s", estimate="0.4") as spend:
                assert await spend.extend_async("0.3")
                assert await spend.defer_async(3) is not None
                assert await spend.defer_from_async(
                    httpx.Response(503, headers={"Retry-After": "4"})
                )
                assert await spend.release_async()
            hold = await sdk.reserve("s", "0.1")
            assert await sdk.mark_dispatched(hold.hold_id)
            assert await sdk.extend(hold.hold_id, "0.1") is not None
            assert await sdk.defer("s", 5) is not None

    asyncio.run(work())
    assert ledger.money == money("0", held="0.2")
    assert [one["seconds"] for one in ledger.deferred] == [3, 4, 5]


def test_a_refusal_tells_of_a_stop_and_of_a_deferral(ledger: Ledger, client: Client) -> None:
    until = "2030-01-01T00:00:00Z"
    ledger.script(
        "dispatch",
        problem_of(402, "budget_exceeded", reason="stopped: somebody pulled the plug"),
        problem_of(402, "paused", reason="somebody is looking at it"),
        problem_of(402, "service_deferred", deferred_until=until),
    )
    refusals = []
    for _ in range(3):
        with pytest.raises(BudgetRefused) as refusal:
            client.reserve("s", 1)
        refusals.append(refusal.value)
    assert [refusal.stopped for refusal in refusals] == [True, True, False]
    assert [refusal.deferred for refusal in refusals] == [False, False, True]
    assert refusals[2].deferred_until == datetime(2030, 1, 1, tzinfo=timezone.utc)


def _raised(cause: BaseException) -> BaseException:
    error = RuntimeError("the model could not be asked")
    error.__cause__ = cause
    return error


def _http_status_error(status: int, **headers: str) -> httpx.HTTPStatusError:
    request = httpx.Request("POST", "http://127.0.0.1")
    return httpx.HTTPStatusError(
        "refused", request=request, response=httpx.Response(status, headers=headers)
    )


class BotoError(Exception):
    """As botocore's `ClientError` is."""

    def __init__(self) -> None:
        super().__init__("throttled")
        self.response = {
            "ResponseMetadata": {"HTTPStatusCode": 429, "HTTPHeaders": {"retry-after": "8"}}
        }


def _urllib_error() -> urllib.error.HTTPError:
    headers = email.message.Message()
    headers["Retry-After"] = "9"
    return urllib.error.HTTPError("http://127.0.0.1", 429, "busy", headers, None)


@pytest.mark.parametrize(
    ("refused", "seconds"),
    [
        (httpx.Response(429, headers={"Retry-After": "7"}), 7),
        (httpx.Response(429, headers={"retry-after-ms": "1500", "Retry-After": "2"}), 1.5),
        (httpx.Response(529, headers={"Retry-After": "0.5"}), 0.5),
        (_http_status_error(503, retry_after="1", **{"Retry-After": "6"}), 6),
        (_raised(_http_status_error(429, **{"Retry-After": "5"})), 5),
        (BotoError(), 8),
        (_urllib_error(), 9),
        (httpx.Response(200, headers={"Retry-After": "7"}), None),
        (httpx.Response(429), None),
        (httpx.Response(429, headers={"Retry-After": "soon"}), None),
        (httpx.Response(429, headers={"Retry-After": "nan"}), None),
        (httpx.Response(429, headers={"Retry-After": "-3"}), None),
        (httpx.Response(429, headers={"Retry-After": "Mon, 01 Jan 2024 00:00:00 GMT"}), None),
        (None, None),
        ("429", None),
    ],
)
def test_a_provider_says_how_long(refused: object, seconds: float | None) -> None:
    assert seconds_to_wait(refused) == seconds


def test_a_provider_says_until_when() -> None:
    until = datetime.now(timezone.utc) + timedelta(hours=1)
    headers = {"Retry-After": format_datetime(until, usegmt=True)}
    seconds = seconds_to_wait(httpx.Response(429, headers=headers))
    assert seconds is not None
    assert 3500 < seconds <= 3600


def test_the_words_of_a_provider_are_one_line(ledger: Ledger, client: Client) -> None:
    refused = _http_status_error(429, **{"Retry-After": "20"})
    refused.args = ("busy\0\n" * 1000,)
    with client.spend("s", estimate="0.4") as spend:
        assert spend.defer_from(refused)
        spend.release()
    [reason] = [one["reason"] for one in ledger.deferred]
    assert reason.startswith("asked for by its provider: busy\\x00\\x0abusy")
    assert 500 < len(reason) < 1000


def test_nobody_is_left_alone_for_ever(ledger: Ledger, client: Client) -> None:
    with client.spend("s", estimate="0.4") as spend:
        spend.defer_from(httpx.Response(429, headers={"Retry-After": "99999999"}))
        spend.release()
    assert [one["seconds"] for one in ledger.deferred] == [86_400]
    assert json.dumps(ledger.deferred)
