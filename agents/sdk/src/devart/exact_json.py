"""JSON in which numbers keep their exact decimal value in both directions.

The standard encoder refuses `Decimal`, and going through `float` would change amounts of money.
"""

from __future__ import annotations

import json
import re
import secrets
from decimal import Decimal
from typing import Any, NoReturn

# The encoder can only be extended with values that it knows, so a Decimal travels through it as a
# string that nobody else can have written, and loses its quotes afterwards.
_MARK = f"decimal:{secrets.token_hex(16)}:"
_MARKED_NUMBER = re.compile(f'"{_MARK}([^"]*)"')


def encode(value: object) -> bytes:
    """Encode as compact UTF-8 JSON, a `Decimal` as a number.

    Raises:
        TypeError: something in `value` has no JSON form.
        ValueError: a number is not finite, a string is not valid Unicode, or `value` contains
            itself.
    """
    try:
        text = json.dumps(
            value, default=_mark_decimal, ensure_ascii=False, allow_nan=False, separators=(",", ":")
        )
    except RecursionError:
        raise ValueError("the value is nested too deeply for JSON") from None
    return _MARKED_NUMBER.sub(r"\1", text).encode()


def decode(text: bytes) -> Any:
    """Decode JSON; numbers with a fraction or an exponent become `Decimal`.

    Raises:
        ValueError: the text is not JSON.
    """
    try:
        return json.loads(text, parse_float=Decimal, parse_constant=_refuse_constant)
    except RecursionError:
        raise ValueError("the text is nested too deeply for JSON") from None


def _mark_decimal(value: object) -> str:
    if not isinstance(value, Decimal):
        raise TypeError(f"a {type(value).__name__} has no JSON form")
    if not value.is_finite():
        raise ValueError(f"{value} has no JSON form")
    return f"{_MARK}{value}"


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
