"""Arguments are checked where they are given, so that the fault is found where it was made.

Each function returns the argument in the form that is used, or raises `TypeError` or `ValueError`
with the argument's name. What may be secret is never shown.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta, timezone
from decimal import Decimal, InvalidOperation
from urllib.parse import SplitResult, urlsplit
from uuid import UUID

from devart.exact_decimal import number
from devart.text import first_not_storable

MAX_RETRY_AFTER_SECONDS = 31_536_000
"""A year, the longest that the API takes."""

_MAX_KEY_CHARACTERS = 200
# No money has more, before or behind the point.
_MAX_DIGITS = 30


def whole(name: str, value: object, least: int, most: int | None = None) -> int:
    """Return a whole number within limits; True and 2.0 are none."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be a whole number, not {_shown(value)}")
    if value < least or (most is not None and value > most):
        limits = f"at least {least}" if most is None else f"{least} to {most}"
        raise ValueError(f"{name} must be {limits}, not {_shown(value)}")
    return value


def seconds(name: str, value: object, *, least: float = 0.0, most: float | None = None) -> float:
    """Return a number of seconds, which is finite."""
    if isinstance(value, bool) or not isinstance(value, (int, float, Decimal)):
        raise TypeError(f"{name} must be a number of seconds, not {_shown(value)}")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number) or number < least or (most is not None and number > most):
        limits = f"at least {least:g}" if most is None else f"{least:g} to {most:g}"
        raise ValueError(f"{name} must be {limits} seconds, not {_shown(value)}")
    return number


def flag(name: str, value: object) -> bool:
    """Return True or False; what only counts as one is refused."""
    if not isinstance(value, bool):
        raise TypeError(f"{name} must be True or False, not {_shown(value)}")
    return value


def text(name: str, value: object) -> str:
    """Return a text that can be sent and stored."""
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a text, not {_shown(value)}")
    if (wrong := first_not_storable(value)) is not None:
        raise ValueError(f"{name} has the character {wrong}, which cannot be stored")
    return value


def identifier(name: str, value: object) -> str:
    """Return an id as text; a UUID is taken as well."""
    found = text(name, str(value) if isinstance(value, UUID) else value)
    if not found:
        raise ValueError(f"{name} must not be empty")
    return found


def usd(name: str, value: object) -> Decimal:
    """Return an amount of money exactly; True is none."""
    if isinstance(value, bool) or not isinstance(value, (int, str, Decimal)):
        raise TypeError(f"{name} must be a Decimal, an int or a str, not {_shown(value)}")
    if isinstance(value, str) and not value.isascii():
        raise ValueError(f"{name} must be a number of US dollars in ASCII digits")
    try:
        amount = number(value) if isinstance(value, str) else Decimal(value)
    except InvalidOperation:
        raise ValueError(f"{name} must be a number of US dollars") from None
    if not amount.is_finite() or abs(amount.adjusted()) > _MAX_DIGITS:
        raise ValueError(f"{name} must be a number of US dollars that somebody could have")
    return amount


def moment(name: str, value: datetime | None) -> str | None:
    """Return a time with a zone as the API reads it."""
    if value is None:
        return None
    if not isinstance(value, datetime):
        raise TypeError(f"{name} must be a datetime, not {_shown(value)}")
    if value.utcoffset() is None:
        raise ValueError(f"{name} must have a time zone, such as datetime.now(timezone.utc)")
    # The API reads no offsets with seconds, which old time zones have.
    odd = value.utcoffset() % timedelta(minutes=1)  # type: ignore[operator]
    return (value.astimezone(timezone.utc) if odd else value).isoformat()


def retry_after(value: object) -> float | None:
    """Return how long to wait before the next attempt."""
    if value is None:
        return None
    return seconds("retry_after", value, most=MAX_RETRY_AFTER_SECONDS)


def names(name: str, value: Iterable[str]) -> list[str]:
    """Return several texts as a list. One text alone is refused: it would become its letters."""
    if isinstance(value, (str, bytes)) or not isinstance(value, Iterable):
        raise TypeError(f"{name} must be a list of texts, not {_shown(value)}")
    items = list(value)
    for item in items:
        if not isinstance(item, (str, UUID)):
            raise TypeError(f"{name} must be a list of texts, not of {_shown(item)}")
    return [identifier(name, item) for item in items]


def idempotency_key(name: str, value: str | None) -> str | None:
    """Return a key of 1 to 200 printable ASCII characters, which is what a header can carry."""
    if value is None:
        return None
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a text, not {_shown(value)}")
    if not 1 <= len(value) <= _MAX_KEY_CHARACTERS or not _is_printable_ascii(value):
        raise ValueError(f"{name} must be 1 to {_MAX_KEY_CHARACTERS} printable ASCII characters")
    return value


def function(name: str, value: Callable[..., object]) -> None:
    """Refuse what cannot be called."""
    if not callable(value):
        raise TypeError(f"{name} must be a function, not {_shown(value)}")


def api_key(value: str) -> str:
    """Return an agent's key without the blanks around it, such as the line end of a file."""
    if not isinstance(value, str):
        raise TypeError("api_key must be a text")
    key = value.strip()
    if not key:
        raise ValueError("api_key must not be empty")
    if not _is_printable_ascii(key) or " " in key:
        raise ValueError("api_key must be visible ASCII characters: is it the right text?")
    return key


def api_url(value: str) -> str:
    """Return the API's URL."""
    parts = _url("api_url", value, ("http", "https"))
    if "@" in parts.netloc:
        raise ValueError("api_url must have no user and password: the agent's key is enough")
    if parts.query or parts.fragment:
        raise ValueError("api_url must have no query and no fragment")
    return value


def broker_url(value: str) -> str:
    """Return the broker's URL."""
    parts = _url("rabbitmq_url", value, ("amqp", "amqps"))
    # An unescaped / or ? or # in a password ends the host early, and what follows holds an @.
    if "@" in parts.path + parts.query + parts.fragment or parts.fragment:
        raise ValueError(
            "rabbitmq_url must have special characters of its password percent-encoded"
        )
    return value


def _url(name: str, value: str, schemes: tuple[str, str]) -> SplitResult:
    """Take a URL apart. It is never shown: it may have a password."""
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a text")
    if not value.startswith(tuple(f"{scheme}://" for scheme in schemes)):
        raise ValueError(f"{name} must begin with {schemes[0]}:// or {schemes[1]}://")
    if any(character.isspace() or not character.isprintable() for character in value):
        raise ValueError(f"{name} must have no blanks and no control characters")
    try:
        parts = urlsplit(value)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise ValueError(
            f"{name} must be a URL with a host and a port; special characters of a password are "
            "percent-encoded"
        ) from None
    if not host:
        raise ValueError(f"{name} must name a host")
    try:
        # As the resolver does it, which would refuse it at every call.
        host.encode("idna")
    except UnicodeError:
        raise ValueError(f"{name} must name a host that can exist") from None
    if "%" in host and ":" not in host:
        raise ValueError(f"{name} must name a host without percent signs")
    return parts


def _is_printable_ascii(text: str) -> bool:
    return text.isascii() and text.isprintable()


def _shown(value: object) -> str:
    text = repr(value) if isinstance(value, (int, float, Decimal)) else ""
    return text if 0 < len(text) <= 40 else f"a {type(value).__name__}"
