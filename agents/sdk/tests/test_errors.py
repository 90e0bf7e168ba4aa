"""Problem documents become exceptions."""

from __future__ import annotations

from decimal import Decimal

import pytest

from devart import (
    BudgetRefused,
    Conflict,
    DevartError,
    Forbidden,
    InvalidArgument,
    LeaseLost,
    NotFound,
    ServerError,
    Unauthorized,
    Unavailable,
)
from devart.errors import error_from_problem


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, InvalidArgument),
        (401, Unauthorized),
        (402, BudgetRefused),
        (403, Forbidden),
        (404, NotFound),
        (409, Conflict),
        (418, DevartError),
        (422, InvalidArgument),
        (429, Unavailable),
        (500, ServerError),
        (503, Unavailable),
    ],
)
def test_the_status_chooses_the_class(status: int, kind: type[DevartError]) -> None:
    error = error_from_problem(status, {"code": "c", "detail": "d"})
    assert type(error) is kind
    assert (error.status, error.code, error.detail) == (status, "c", "d")


def test_a_lost_lease_is_told_from_other_conflicts_by_its_code() -> None:
    assert type(error_from_problem(409, {"code": "lease_lost"})) is LeaseLost


def test_a_refused_charge_tells_what_is_left() -> None:
    error = error_from_problem(
        402, {"code": "budget_exceeded", "remaining_usd": Decimal("0.3"), "reason": "over"}
    )
    assert isinstance(error, BudgetRefused)
    assert (error.remaining_usd, error.reason) == (Decimal("0.3"), "over")


def test_a_refused_argument_is_named() -> None:
    error = error_from_problem(422, {"field": "title", "detail": "title must not be empty"})
    assert isinstance(error, InvalidArgument)
    assert error.field_errors == {"title": "title must not be empty"}


@pytest.mark.parametrize("body", [None, "<html>", [], {}])
def test_an_answer_of_a_proxy_is_an_error_all_the_same(body: object) -> None:
    assert str(error_from_problem(502, body)) == "the API answered 502 (502 error)"
