"""HTTP to the API: authentication, exact JSON, typed errors, retries."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from typing import Any

import httpx

from devart import exact_json
from devart.backoff import delay_seconds
from devart.errors import DevartError, ServerError, Unavailable, error_from_problem
from devart.version import VERSION

_log = logging.getLogger("devart.transport")

# 500 is among them: behind a proxy or during a restart of the database it may pass.
_RETRIED_STATUSES = frozenset({429, 500, 502, 503, 504})
_CONNECT_SECONDS = 5.0


@dataclass(frozen=True)
class Patience:
    """How long one call may take.

    Attributes:
        answer_seconds: how long to wait for one answer.
        retry_seconds: for how long after the first attempt to start further ones; 0 means one
            attempt only.
    """

    answer_seconds: float = 15.0
    retry_seconds: float = 30.0


class Transport:
    """Sends requests as one agent. Safe to use from several threads.

    Any request may be sent more than once, since a lost answer looks like a lost request. Callers
    pass only what the API applies once however often it arrives, or what it refuses the second
    time.
    """

    def __init__(self, api_url: str, api_key: str) -> None:
        self._http = httpx.Client(
            base_url=api_url,
            headers={
                "X-Agent-Key": api_key,
                "User-Agent": f"devart-python/{VERSION}",
                "Content-Type": "application/json",
            },
            # Each task in hand and each long poll needs a connection; none may wait for another's.
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=32),
        )

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def request(
        self, method: str, path: str, body: object, patience: Patience, headers: dict[str, str]
    ) -> Any:
        """Send a request and return the decoded answer, None when it has no content.

        Raises:
            DevartError: the API refused, or did not answer within `patience`.
            TypeError, ValueError: `body` has no JSON form.
        """
        request = {
            "method": method,
            "url": path,
            "content": exact_json.encode(body),
            "headers": headers,
        }
        give_up_at = time.monotonic() + patience.retry_seconds
        attempt = 0
        while True:
            try:
                return self._attempt(request, patience.answer_seconds)
            except DevartError as error:
                pause = max(delay_seconds(attempt), error.retry_after_seconds or 0.0)
                if not _may_pass(error) or time.monotonic() + pause > give_up_at:
                    raise
                _log.info("%s %s: %s; next attempt in %.1f s", method, path, error, pause)
            time.sleep(pause)
            attempt += 1

    def _attempt(self, request: dict[str, Any], answer_seconds: float) -> Any:
        timeout = httpx.Timeout(answer_seconds, connect=_CONNECT_SECONDS)
        try:
            response = self._http.request(**request, timeout=timeout)
        except httpx.RequestError as error:
            raise Unavailable(
                f"no answer from the API: {error or type(error).__name__}", code="no_answer"
            ) from error
        if not response.is_success:
            raise _refusal(response)
        return _decoded(response)


def _decoded(response: httpx.Response) -> Any:
    if not response.content:
        return None
    try:
        return exact_json.decode(response.content)
    except ValueError as error:
        raise ServerError(
            "the API's answer is not JSON", status=response.status_code, code="unexpected_answer"
        ) from error


def _refusal(response: httpx.Response) -> DevartError:
    try:
        problem = exact_json.decode(response.content)
    except ValueError:
        problem = {}
    error = error_from_problem(response.status_code, problem)
    error.retry_after_seconds = _seconds(response.headers.get("Retry-After"))
    return error


def _seconds(header: str | None) -> float | None:
    """Read Retry-After in its form in seconds; the other, a date, is left to the backoff."""
    return float(header) if header and header.isdecimal() else None


def _may_pass(error: DevartError) -> bool:
    return error.status in _RETRIED_STATUSES or error.code == "no_answer"
