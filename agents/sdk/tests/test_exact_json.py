"""Numbers survive JSON."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from devart import exact_json


def test_decimals_are_numbers_and_come_back_exactly() -> None:
    value = {
        "usd": [Decimal("0.1"), Decimal("123456789012.123456"), Decimal("-1E-6")],
        "n": 3,
        "s": "0.1",
    }
    text = exact_json.encode(value)
    assert text == b'{"usd":[0.1,123456789012.123456,-0.000001],"n":3,"s":"0.1"}'
    assert exact_json.decode(text) == value


def test_text_is_utf8() -> None:
    assert exact_json.encode("a\u00e4\u20ac") == '"a\u00e4\u20ac"'.encode()


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (Decimal("NaN"), "NaN"),
        (Decimal("Infinity"), "Infinity"),
        (float("nan"), "not JSON compliant"),
        ("\ud800", "cannot be stored"),
    ],
)
def test_what_json_cannot_say_is_a_value_error(value: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        exact_json.encode(value)


def test_a_value_that_contains_itself_is_a_value_error() -> None:
    value: list[Any] = []
    value.append(value)
    with pytest.raises(ValueError, match="Circular"):
        exact_json.encode(value)


def test_an_unknown_type_is_a_type_error() -> None:
    with pytest.raises(TypeError, match="a object has no JSON form"):
        exact_json.encode({"values": object()})


def test_nan_is_not_decoded() -> None:
    with pytest.raises(ValueError, match="NaN"):
        exact_json.decode(b"[NaN]")
