"""The values of Python in results and payloads."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterator, Mapping
from datetime import date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal, DecimalException, Inexact, InvalidOperation, Rounded, localcontext
from enum import Enum, IntEnum
from pathlib import PurePosixPath
from typing import Any, NamedTuple
from uuid import UUID

import pytest
from flaky_server import problem
from stand_in import StandIn

from devart import BudgetRefused, Client, exact_json, json_form
from devart.testing import make_task
from devart.text import first_not_storable

_ID = UUID("0199f000-0000-7000-8000-000000000001")


class Colour(Enum):
    RED = "red"


class Level(IntEnum):
    HIGH = 3


class Pair(NamedTuple):
    left: int
    right: int


@dataclasses.dataclass
class Inner:
    at: datetime


@dataclasses.dataclass(frozen=True)
class Finding:
    id: UUID
    colours: frozenset[Colour]
    inner: Inner
    cost: Decimal


class Proxy(Mapping[str, int]):
    def __getitem__(self, key: str) -> int:
        return 1

    def __iter__(self) -> Iterator[str]:
        return iter(["a"])

    def __len__(self) -> int:
        return 1


_NOON = datetime(2026, 11, 28, 12, tzinfo=timezone.utc)


@pytest.mark.parametrize(
    ("value", "form"),
    [
        (_NOON, "2026-11-28T12:00:00+00:00"),
        (date(2026, 11, 28), "2026-11-28"),
        (time(12, 30), "12:30:00"),
        (timedelta(minutes=1), 60),
        (timedelta(microseconds=-1), Decimal("-0.000001")),
        (_ID, str(_ID)),
        (PurePosixPath("a/b"), "a/b"),
        (Colour.RED, "red"),
        (Level.HIGH, 3),
        ({3, 1, 2}, [1, 2, 3]),
        ({"b", "a"}, ["a", "b"]),
        ({Colour.RED: 1, _ID: 2, 3: None}, {"red": 1, str(_ID): 2, "3": None}),
        (Pair(1, 2), [1, 2]),
        (Proxy(), {"a": 1}),
        pytest.param(10**6000, Decimal(10**6000), id="huge"),
        (Decimal("1.10"), Decimal("1.10")),
        (
            Finding(_ID, frozenset({Colour.RED}), Inner(_NOON), Decimal("0.1")),
            {
                "id": str(_ID),
                "colours": ["red"],
                "inner": {"at": "2026-11-28T12:00:00+00:00"},
                "cost": Decimal("0.1"),
            },
        ),
    ],
)
def test_values_have_a_form(value: Any, form: Any) -> None:
    assert json_form(value) == form


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (datetime(2026, 11, 28), "without a zone"),
        ({1: "a", "1": "b"}, "two members '1'"),
        ({(1, 2): 3}, "a key of the value"),
        (Finding, "a type has no JSON form"),
        (lambda: None, "a function has no JSON form"),
        ((n for n in range(3)), "a generator has no JSON form"),
        (Decimal("sNaN"), "sNaN"),
        (float("-inf"), "-inf"),
        ({"a": ["x\ud800"]}, r"the value\.a\[0\]"),
        ({"a\0": 1}, "a key of the value"),
    ],
)
def test_what_has_no_form_is_refused_with_its_place(value: Any, reason: str) -> None:
    with pytest.raises((TypeError, ValueError), match=reason):
        json_form(value)


def test_a_value_nested_too_deeply_is_refused() -> None:
    value: list[Any] = []
    for _ in range(100_000):
        value = [value]
    with pytest.raises(ValueError, match="nested too deeply"):
        json_form(value)


def test_a_hook_gives_a_form_to_what_has_none(api: StandIn) -> None:
    def hook(value: Any) -> Any:
        if isinstance(value, complex):
            return {"re": Decimal(str(value.real)), "im": Decimal(str(value.imag))}
        raise TypeError(f"no form for a {type(value).__name__}")

    with Client(api.url, "dva_key", json_hook=hook) as client:
        client.complete(make_task(), {"z": 1 + 2j})
        client.create_task("T", payload=[2j])
        with pytest.raises(TypeError, match="no form for a object"):
            client.complete(make_task(), object())
    assert api.asked("status")[0]["result"] == {"z": {"re": 1, "im": 2}}
    assert api.asked("tasks")[0]["payload"] == [{"re": 0, "im": 2}]


def test_a_result_is_gone_through_once(api: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []

    def look(text: str) -> str | None:
        seen.append(text)
        return first_not_storable(text)

    # The package has a function of the module's name.
    monkeypatch.setattr(sys.modules["devart.json_form"], "first_not_storable", look)
    api.offer()
    with Client(api.url, "dva_key") as client:
        client.run(lambda _: {"list": ["once", Decimal("0.10")]}, max_tasks=1)
        client.complete(make_task(), ["by hand"])
        client.create_task("T", payload={"n": ["child"]})
    assert [seen.count(text) for text in ("once", "by hand", "child")] == [1, 1, 1]
    assert api.asked("status")[0]["result"] == {"list": ["once", Decimal("0.10")]}


@pytest.mark.parametrize("trap", [Inexact, Rounded, None])
def test_no_setting_of_the_callers_changes_a_number(
    api: StandIn, trap: type[DecimalException] | None
) -> None:
    api.script("dispatch", problem(402, "budget_exceeded"))
    with localcontext() as context, Client(api.url, "dva_key") as client:
        context.prec = 3
        context.traps[InvalidOperation] = trap is not None
        if trap is not None:
            context.traps[trap] = True
        seconds = json_form(timedelta(seconds=123_456, microseconds=789))
        assert str(seconds) == "123456.000789"
        assert str(exact_json.decode(b"123456.000789")) == "123456.000789"
        with pytest.raises(ValueError, match="beyond every number"):
            exact_json.decode(b"1e99999999999999999999")
        with pytest.raises(BudgetRefused), client.spend("s", estimate=1234.5678901):
            pass
    assert str(api.asked("dispatch")[0]["estimate_usd"]) == "1234.567891"


def test_a_zone_that_tells_no_offset_is_none() -> None:
    class Nowhere(tzinfo):
        def utcoffset(self, _: datetime | None) -> None:
            return None

        dst = tzname = utcoffset

    with pytest.raises(ValueError, match="without a zone"):
        json_form(datetime(2020, 1, 1, tzinfo=Nowhere()))
