"""HTTP to the API: authentication, exact JSON, typed errors, retries."""

from __future__ import annotations

import functools
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx

from devart import exact_json
from devart.answers import read_answer
from devart.backoff import delay_seconds
from devart.connections import Connections
from devart.deadline import keep_deadlines, within
from devart.errors import DevartError, ServerError, Unavailable, error_from_problem
from devart.json_form import Hook
from devart.logs import get_logger
from devart.version import VERSION

_log = get_logger("devart.transport")

# 500 is among them: during a restart of the database or an upgrade it may pass. 408 is devart's own
# when a request took too long.
_RETRIED_STATUSES = frozenset({408, 425, 429, 500, 502, 503, 504})
# The request itself is too large, whoever says so: the same one never gets through.
_TOO_LARGE = frozenset({413, 414, 431})
_NO_VERDICTS = frozenset({"no_answer", "not_devart", "unexpected_answer"})
_PROBLEM = "application/problem+json"
_CONNECT_SECONDS = 5.0


@dataclass(frozen=True)
class Patience:
    """How long one call may take.

    Attributes:
        answer_seconds: how long one attempt may take, to the last byte of its answer.
        retry_seconds: for how long after the first attempt to start further ones; 0 means one
            attempt only.
    """

    answer_seconds: float = 15.0
    retry_seconds: float = 30.0


class Transport:
    """Sends requests as one agent. Safe to use from several threads, and after a fork.

    Any request may be sent more than once, since a lost answer looks like a lost request. Callers
    pass only what the API applies once however often it arrives, or what it refuses the second
    time.

    What a proxy answers while devart is away (a page, a redirect, any status) is no verdict: it is
    an answer that did not come, and is asked for again. A verdict of devart's is a problem document
    (`application/problem+json`) with a `code`; its consent names what was asked for, so that
    `read` understands it.
    """

    def __init__(self, api_url: str, api_key: str, hook: Hook | None = None) -> None:
        self._api_url = api_url
        self.api_key = api_key
        """As which agent requests are sent."""
        self._headers = {
            "X-Agent-Key": api_key,
            "User-Agent": f"devart-python/{VERSION}",
            "Content-Type": "application/json",
        }
        self._hook = hook
        self._closed = False
        self._connections = Connections(self._connect)
        # Of the process that this one was forked from. Only to keep them from being collected,
        # which would close them.
        self._inherited: list[Connections] = []

    def close(self) -> None:
        """Close the connections, behind the last call that is under way."""
        self._closed = True
        self._connections.close()

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Keep the connections open for the length of a block, which may end in another thread.

        Raises:
            RuntimeError: it is closed.
        """
        with self._of_this_process().in_use():
            yield

    def _connect(self) -> httpx.Client:
        http = httpx.Client(
            base_url=self._api_url,
            headers=self._headers,
            verify=_tls(),
            # Each task in hand and each long poll needs a connection; none may wait for another's.
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=32),
        )
        return keep_deadlines(http)

    def _of_this_process(self) -> Connections:
        if self._connections.inherited:
            if self._closed:
                raise RuntimeError("this client is closed")
            self._inherited.append(self._connections)
            self._connections = Connections(self._connect)
        return self._connections

    def request(
        self,
        method: str,
        path: str,
        body: object,
        patience: Patience,
        headers: dict[str, str],
        read: Callable[[Any], Any] = lambda answer: answer,
    ) -> Any:
        """Send a request and return what `read` makes of the decoded answer.

        That is None when it has no content. One that `read` does not understand is asked for again.

        Raises:
            DevartError: the API refused, or did not answer within `patience`.
            RuntimeError: it is closed.
            TypeError, ValueError: `body` has no JSON form.
        """
        request = {
            "method": method,
            "url": path,
            "content": exact_json.encode(body, self._hook),
            "headers": headers,
        }
        with self._of_this_process().in_use() as http:
            return self._until_answered(http, request, patience, read)

    def _until_answered(
        self,
        http: httpx.Client,
        request: dict[str, Any],
        patience: Patience,
        read: Callable[[Any], Any],
    ) -> Any:
        give_up_at = time.monotonic() + patience.retry_seconds
        attempt = 0
        while True:
            try:
                return read_answer(read, _attempt(http, request, patience.answer_seconds))
            except DevartError as error:
                left = give_up_at - time.monotonic()
                if not _may_pass(error) or left <= 0:
                    raise
                # Told to wait for longer than there is patience: there is one more attempt, at the
                # end. It may have been one proxy of several that said so.
                pause = min(max(delay_seconds(attempt), error.retry_after_seconds or 0.0), left)
                said = (request["method"], request["url"], error, pause)
                _log.info("%s %s: %s; next attempt in %.1f s", *said)
            time.sleep(pause)
            attempt += 1


@functools.cache
def _tls() -> ssl.SSLContext:
    """Read whom this machine trusts, once for all clients of the process and for forked ones."""
    return httpx.create_ssl_context()


def _attempt(http: httpx.Client, request: dict[str, Any], answer_seconds: float) -> Any:
    timeout = httpx.Timeout(answer_seconds, connect=_CONNECT_SECONDS)
    try:
        with within(answer_seconds):
            response = http.request(**request, timeout=timeout)
    except (httpx.RequestError, httpx.InvalidURL) as error:
        raise Unavailable(
            f"no answer from the API: {error or type(error).__name__}", code="no_answer"
        ) from error
    if not response.is_success:
        raise _refusal(response)
    return _decoded(response)


def _decoded(response: httpx.Response) -> Any:
    if response.status_code == httpx.codes.NO_CONTENT:
        return None
    if not _is_of_type(response, "application/json"):
        raise _not_devart(response)
    try:
        return exact_json.decode(response.content)
    except ValueError as error:
        raise ServerError(
            "the API's answer is not JSON", status=response.status_code, code="unexpected_answer"
        ) from error


def _refusal(response: httpx.Response) -> DevartError:
    if response.status_code in _TOO_LARGE:
        error = error_from_problem(response.status_code, _problem(response))
    elif "code" in (problem := _problem(response)):
        error = error_from_problem(response.status_code, problem)
    else:
        error = _not_devart(response)
    error.retry_after_seconds = _seconds(response.headers.get("Retry-After"))
    return error


def _problem(response: httpx.Response) -> Mapping[str, Any]:
    """Read devart's own words; nothing when the answer is somebody else's."""
    if not _is_of_type(response, _PROBLEM):
        return {}
    try:
        problem = exact_json.decode(response.content)
    except ValueError:
        return {}
    return problem if isinstance(problem, Mapping) else {}


def _not_devart(response: httpx.Response) -> Unavailable:
    return Unavailable(
        f"something before devart answered {response.status_code} in its place",
        status=response.status_code,
        code="not_devart",
    )


def _is_of_type(response: httpx.Response, media_type: str) -> bool:
    given: str = response.headers.get("Content-Type", "")
    return given.split(";", maxsplit=1)[0].strip().lower() == media_type


def _seconds(header: str | None) -> float | None:
    """Read Retry-After in its form in seconds; the other, a date, is left to the backoff."""
    return float(header) if header and header.isdecimal() else None


def _may_pass(error: DevartError) -> bool:
    return error.status in _RETRIED_STATUSES or error.code in _NO_VERDICTS
