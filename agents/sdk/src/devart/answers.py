"""Reading the API's answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from devart.errors import ServerError

_T = TypeVar("_T")


def read_answer(parse: Callable[[Any], _T], answer: Any) -> _T:
    """Parse an answer.

    One that lacks what the SDK relies on is the API's fault, not a bug of the caller.

    Raises:
        ServerError: it was not understood.
    """
    try:
        return parse(answer)
    except (KeyError, TypeError, ValueError, ArithmeticError, AttributeError) as error:
        raise ServerError(
            f"the API's answer was not understood: {error!r}", code="unexpected_answer"
        ) from error
