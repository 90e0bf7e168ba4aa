"""How long a provider asks to be left alone, read from whatever its client returns or raises."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from typing import Any

# Too many requests, out of service, and "overloaded" as some providers say it.
_BUSY_STATUSES = frozenset({429, 503, 529})
_MAX_CAUSES = 10


def seconds_to_wait(refused: object) -> float | None:
    """Return how many seconds from now a provider asks to wait; None when it asks for nothing.

    Args:
        refused: a response with `headers` and `status_code`, `status` or `code` (httpx, requests,
            aiohttp, urllib), or an exception that is one, has one as `response`, or was raised
            because of such an exception (httpx, requests, the SDKs of OpenAI and Anthropic,
            botocore).
    """
    for response in _responses(refused):
        if _status(response) in _BUSY_STATUSES:
            seconds = _asked_for(_headers(response))
            if seconds is not None and seconds > 0:
                return seconds
    return None


def _responses(refused: object) -> Iterator[Any]:
    """Yield what may be a response: the thing itself, its own, and those of its causes."""
    one: object | None = refused
    for _ in range(_MAX_CAUSES):
        if one is None:
            return
        yield one
        yield getattr(one, "response", None)
        one = getattr(one, "__cause__", None)


def _status(response: Any) -> int | None:
    if isinstance(response, Mapping):  # botocore
        status = _metadata(response).get("HTTPStatusCode")
        return status if isinstance(status, int) else None
    for name in ("status_code", "status", "code"):
        status = getattr(response, name, None)
        if isinstance(status, int):
            return int(status)
    return None


def _headers(response: Any) -> dict[str, str]:
    """Return headers by their names in lower case."""
    if isinstance(response, Mapping):
        found: Any = _metadata(response).get("HTTPHeaders")
    else:
        found = getattr(response, "headers", None)
    if found is None or not hasattr(found, "items"):
        return {}
    return {str(name).lower(): str(value) for name, value in found.items()}


def _metadata(response: Mapping[str, Any]) -> Mapping[str, Any]:
    metadata = response.get("ResponseMetadata")
    return metadata if isinstance(metadata, Mapping) else {}


def _asked_for(headers: Mapping[str, str]) -> float | None:
    milliseconds = _number(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return milliseconds / 1000
    header = headers.get("retry-after")
    seconds = _number(header)
    return seconds if seconds is not None else _seconds_until(header)


def _number(header: str | None) -> float | None:
    try:
        number = float(header) if header else math.nan
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _seconds_until(header: str | None) -> float | None:
    try:
        moment = parsedate_to_datetime(header) if header else None
    except (TypeError, ValueError):
        return None
    if moment is None:
        return None
    if moment.tzinfo is None:  # "-0000"
        moment = moment.replace(tzinfo=timezone.utc)
    return (moment - datetime.now(timezone.utc)).total_seconds()
