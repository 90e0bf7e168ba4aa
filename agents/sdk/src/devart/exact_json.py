"""JSON in which numbers keep their exact decimal value in both directions.

The standard encoder refuses `Decimal`, and going through `float` would change amounts of money.
"""

from __future__ import annotations

import json
import re
import secrets
from decimal import Decimal, InvalidOperation
from typing import Any, NoReturn

from devart.exact_decimal import number
from devart.json_form import Hook, json_form

# The encoder can only be extended with values that it knows, so a Decimal travels through it as a
# string that nobody else can have written, and loses its quotes afterwards.
_MARK = f"decimal:{secrets.token_hex(16)}:"
_MARKED_NUMBER = re.compile(f'"{_MARK}([^"]*)"')


def encode(value: object, hook: Hook | None = None) -> bytes:
    """Encode as compact UTF-8 JSON, in the form that `json_form` gives, a `Decimal` as a number.

    Raises:
        TypeError: something in `value` has no JSON form.
        ValueError: a number is not finite, a text cannot be stored, or `value` contains itself.
    """
    form = json_form(value, "the value", hook)
    try:
        text = json.dumps(
            form, default=_mark_decimal, ensure_ascii=False, allow_nan=False, separators=(",", ":")
        )
    except RecursionError:
        raise ValueError("the value is nested too deeply for JSON") from None
    return _MARKED_NUMBER.sub(r"\1", text).encode()


def decode(text: bytes) -> Any:
    """Decode JSON; numbers with a fraction or an exponent become `Decimal`.

    So do integers of more digits than Python reads as an `int`: one of them in one task must not
    keep the rest of an answer from being read.

    Raises:
        ValueError: the text is not JSON.
    """
    try:
        return json.loads(
            text, parse_float=_decimal, parse_int=_integer, parse_constant=_refuse_constant
        )
    except RecursionError:
        raise ValueError("the text is nested too deeply for JSON") from None


def _integer(digits: str) -> int | Decimal:
    try:
        return int(digits)
    except ValueError:
        return _decimal(digits)


def _decimal(digits: str) -> Decimal:
    try:
        return number(digits)
    except InvalidOperation:
        raise ValueError(f"{digits[:40]} is beyond every number") from None


def _mark_decimal(value: object) -> str:
    if not isinstance(value, Decimal):
        raise TypeError(f"a {type(value).__name__} has no JSON form")
    return f"{_MARK}{value}"


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
