"""What the values of Python look like as JSON.

| Python | JSON |
|---|---|
| None, bool, str, int, finite float and Decimal | themselves, numbers exactly |
| an enum's member | its value's form |
| dataclass | an object of its fields |
| dict and other mappings | an object; keys become text, which arrays and objects cannot |
| list, tuple | an array |
| set, frozenset | an array in the order of its elements' JSON text |
| datetime with a zone, date, time | ISO 8601 text |
| timedelta | seconds, a number |
| UUID, path | text |
| anything else | what the hook returns for it |
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Iterable, Mapping
from collections.abc import Set as AbstractSet
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from pathlib import PurePath
from typing import Any, NoReturn
from uuid import UUID

from devart.exact_decimal import millionths
from devart.text import first_not_storable

Hook = Callable[[Any], Any]
"""Takes a value that has no JSON form of its own, and returns one that has. Raises `TypeError` when
it does not know either."""

# Python refuses to write longer integers, and a Decimal is written by other means.
_MAX_INT_BITS = 10_000


def json_form(value: object, name: str = "the value", hook: Hook | None = None) -> Any:
    """Return `value` made of None, bool, str, int, float, Decimal, list and dict only.

    Args:
        value: what is to be told in JSON.
        name: what it is called in errors.
        hook: gives a form to what has none.

    Raises:
        TypeError: a part of it has no JSON form; the text says which.
        ValueError: a number is not finite, a text cannot be stored, a time has no zone, two keys
            are the same, or the value contains itself.
    """
    try:
        return _Form(hook).of(value, name)
    except RecursionError:
        raise ValueError(f"{name} is nested too deeply for JSON") from None


def marked(form: Any) -> Any:
    """Mark what `json_form` returned, so that it is not gone through again. Change it no more."""
    if isinstance(form, dict):
        return _FormObject(form)
    return _FormArray(form) if isinstance(form, list) else form


class _FormObject(dict[str, Any]):
    """An object all of whose parts are in JSON form."""


class _FormArray(list[Any]):
    """An array all of whose parts are in JSON form."""


class _Form:
    def __init__(self, hook: Hook | None) -> None:
        self._hook = hook
        self._open: set[int] = set()

    def of(self, value: Any, place: str) -> Any:
        while isinstance(value, Enum):
            value = value.value
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, str):
            return _text(value, place)
        if isinstance(value, (int, float, Decimal)):
            return _number(value, place)
        if (text := _text_form(value, place)) is not None:
            return text
        if isinstance(value, timedelta):
            return _seconds(value)
        return self._nested(value, place)

    def _nested(self, value: Any, place: str) -> Any:
        if isinstance(value, (_FormObject, _FormArray)):
            return value
        if id(value) in self._open:
            raise ValueError(f"{place} contains itself (Circular reference)")
        self._open.add(id(value))
        try:
            return self._of_parts(value, place)
        finally:
            self._open.discard(id(value))

    def _of_parts(self, value: Any, place: str) -> Any:
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            fields = [field.name for field in dataclasses.fields(value)]
            return {name: self.of(getattr(value, name), f"{place}.{name}") for name in fields}
        if isinstance(value, Mapping):
            return self._object(value, place)
        if isinstance(value, (list, tuple)):
            return self._array(value, place)
        if isinstance(value, AbstractSet):
            return sorted(self._array(value, place), key=_order)
        if self._hook is None:
            _refuse(value, place)
        return self.of(self._hook(value), place)

    def _array(self, items: Iterable[object], place: str) -> list[Any]:
        return [self.of(item, f"{place}[{index}]") for index, item in enumerate(items)]

    def _object(self, members: Mapping[Any, object], place: str) -> dict[str, Any]:
        form: dict[str, Any] = {}
        for key, value in members.items():
            name = self._key(key, place)
            if name in form:
                raise ValueError(f"{place} has two members {name[:100]!r}")
            form[name] = self.of(value, f"{place}.{name[:100]}")
        return form

    def _key(self, key: object, place: str) -> str:
        if isinstance(key, (tuple, frozenset)):
            raise TypeError(f"a key of {place} must have the form of a text, not of an array")
        form = self.of(key, f"a key of {place}")
        if isinstance(form, str):
            return form
        if isinstance(form, (dict, list)):
            raise TypeError(f"a key of {place} must have the form of a text")
        return str(form) if isinstance(form, Decimal) else json.dumps(form)


def _text(value: str, place: str) -> str:
    if (wrong := first_not_storable(value)) is not None:
        raise ValueError(f"{place} has the character {wrong}, which cannot be stored")
    return str(value)


def _number(value: int | float | Decimal, place: str) -> int | float | Decimal:
    if isinstance(value, int):
        # Also for what only derives from int, whose own text may be anything.
        return int(value) if value.bit_length() < _MAX_INT_BITS else Decimal(int(value))
    if not (value.is_finite() if isinstance(value, Decimal) else math.isfinite(value)):
        raise ValueError(f"{place} is {value}, which is not JSON compliant")
    return value if isinstance(value, Decimal) else float(value)


def _text_form(value: object, place: str) -> str | None:
    if isinstance(value, datetime) and value.utcoffset() is None:
        raise ValueError(f"{place} is a datetime without a zone: nobody could tell when that is")
    if isinstance(value, (date, time)):
        return value.isoformat()
    return str(value) if isinstance(value, (UUID, PurePath)) else None


def _seconds(value: timedelta) -> int | Decimal:
    microseconds = value // timedelta(microseconds=1)
    whole, rest = divmod(microseconds, 1_000_000)
    return whole if rest == 0 else millionths(microseconds)


def _order(form: object) -> str:
    return json.dumps(form, sort_keys=True, default=str)


def _refuse(value: object, place: str) -> NoReturn:
    hint = "; encode it, as base64 for example" if isinstance(value, (bytes, bytearray)) else ""
    raise TypeError(f"a {type(value).__name__} has no JSON form, in {place}{hint}")
