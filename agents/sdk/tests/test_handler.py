"""Telling in few words how a handler failed."""

from __future__ import annotations

from devart.handler import describe_error


def _raise_deep(depth: int) -> None:
    if depth == 0:
        raise ValueError("at the bottom")
    _raise_deep(depth - 1)


def _error_of(depth: int) -> ValueError:
    try:
        _raise_deep(depth)
    except ValueError as error:
        return error
    raise AssertionError("unreachable")


def test_the_error_comes_first_and_then_its_traceback() -> None:
    lines = describe_error(_error_of(1)).splitlines()
    assert lines[0] == "ValueError: at the bottom"
    assert lines[2] == "Traceback (most recent call last):"


def test_a_deep_traceback_keeps_its_inner_end_within_the_bound() -> None:
    text = describe_error(_error_of(500))
    assert len(text) <= 4000
    assert text.endswith("ValueError: at the bottom\n")


def test_a_long_message_is_cut() -> None:
    assert len(describe_error(ValueError("x" * 100_000))) <= 4000
