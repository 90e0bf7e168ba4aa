"""Texts as they can be stored, and as one line of a log."""

from __future__ import annotations

import re

_MAX_LINE_CHARACTERS = 500
_NOT_STORABLE = re.compile("[\0\ud800-\udfff]")
# Line ends of every kind, what moves a terminal's cursor, and what turns the direction of reading.
_NOT_PRINTED = re.compile(
    "[\0-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)


def storable(text: str) -> str:
    """Return the text with NULs and halves of surrogates as visible escapes.

    Postgres can store neither, and an error text is worth more than its exact form.
    """
    return _NOT_STORABLE.sub(_escaped, text)


def first_not_storable(text: str) -> str | None:
    """Return the escape of the first character that cannot be stored, None without one."""
    found = _NOT_STORABLE.search(text)
    return None if found is None else _escaped(found)


def one_line(text: str) -> str:
    """Return the text in one bounded line: with it nobody can forge a second line of a log."""
    if len(text) > _MAX_LINE_CHARACTERS:
        text = text[:_MAX_LINE_CHARACTERS] + "..."
    return _NOT_PRINTED.sub(_escaped, text)


def text_of(error: object) -> str:
    """Return what an error says of itself, also when its `__str__` raises."""
    try:
        return str(error)
    except Exception:
        return f"a {type(error).__name__} that cannot be shown"


def _escaped(found: re.Match[str]) -> str:
    code = ord(found[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
