"""Doing without what the API does not have yet: in a rolling upgrade agents may come first."""

from __future__ import annotations

import threading

from devart.errors import DevartError
from devart.logs import get_logger

_log = get_logger("devart.newer_api")

_METHOD_NOT_ALLOWED = 405
# A thing that is not there is `not_found` as well; only the sentence tells a path from a thing.
_NO_SUCH_PATH = "nothing at this path"


class NewerApi:
    """Tells answers of an API that is older than this SDK, and says once what it goes without."""

    def __init__(self) -> None:
        self._told: set[str] = set()
        self._lock = threading.Lock()

    def lacks(self, what: str, refusal: DevartError) -> bool:
        """Return whether a refusal says that the API has no such endpoint.

        Asked for again each time all the same: the next answer may be that of a newer one.
        """
        if not _is_of_older_api(refusal):
            return False
        with self._lock:
            is_new = what not in self._told
            self._told.add(what)
        if is_new:
            _log.warning("the API is older than this SDK, and goes without: %s", what)
        return True


def _is_of_older_api(refusal: DevartError) -> bool:
    return refusal.status == _METHOD_NOT_ALLOWED or (
        refusal.code == "not_found" and _NO_SUCH_PATH in refusal.detail
    )
