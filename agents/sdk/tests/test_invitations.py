"""Reading messages, and the box in which they wait."""

from __future__ import annotations

import json
import threading
from types import SimpleNamespace
from typing import Any, cast

import pytest

from devart.invitations import Inbox, Invitation

_NO_IDS = [{"task_id": odd} for odd in ["", ".", "..", "a/b", "\ud800", "a" * 65, "t\n", "\u00e4"]]


def _message(body: object, **properties: Any) -> Any:
    properties = {"message_id": None, "headers": {}, **properties}
    return SimpleNamespace(
        body=body if isinstance(body, bytes) else json.dumps(body).encode(), **properties
    )


def _invitation(key: str, priority: str = "MEDIUM") -> Invitation:
    return Invitation.from_message(_message({"task_id": key, "priority": priority}, message_id=key))


def _keys(inbox: Inbox) -> list[str]:
    taken = []
    while (invitation := inbox.take(0)) is not None:
        taken.append(invitation.key)
    return taken


@pytest.fixture
def inbox() -> Inbox:
    return Inbox(on_hungry=lambda: None)


def test_a_message_is_read() -> None:
    body = {
        "task_id": "t",
        "attempt": 2,
        "title": "T",
        "priority": "CRITICAL",
        "of a later version": 1,
    }
    invitation = Invitation.from_message(
        _message(body, message_id="t:2", headers={"traceparent": "00-a-b-01"})
    )
    assert (invitation.key, invitation.task_id, invitation.rank) == ("t:2", "t", 4)
    assert invitation.traceparent == "00-a-b-01"


def test_a_message_without_an_id_has_one_by_its_content() -> None:
    assert Invitation.from_message(_message({"task_id": "t", "attempt": 2})).key == "t:2"
    odd = Invitation.from_message(_message({"task_id": "t", "attempt": "\ud800"}))
    assert odd.key.isascii()


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"\xff", b"[" * 100_000, [], {}, {"task_id": None}, "t", *_NO_IDS]
)
def test_what_is_no_invitation_is_refused(body: object) -> None:
    with pytest.raises(ValueError, match="its body"):
        Invitation.from_message(_message(body))


def test_the_most_urgent_is_taken_first_and_the_oldest_of_those(inbox: Inbox) -> None:
    for key, priority in (
        ("a", "LOW"),
        ("b", "HIGH"),
        ("c", "CRITICAL"),
        ("d", "HIGH"),
        ("e", "unknown"),
    ):
        inbox.put(_invitation(key, priority))
    assert _keys(inbox) == ["c", "b", "d", "e", "a"]


def test_a_copy_replaces_the_message_and_nothing_else(inbox: Inbox) -> None:
    first, copy = _invitation("a"), _invitation("a")
    assert inbox.put(first) is None
    assert inbox.take(0) is first
    original = first.message
    assert inbox.put(copy) is original
    assert inbox.take(0) is None
    assert inbox.finish(first) is copy.message
    inbox.put(_invitation("a"))
    assert inbox.take(0) is not None


def test_what_was_put_back_is_first_of_its_rank(inbox: Inbox) -> None:
    for key in ("a", "b"):
        inbox.put(_invitation(key))
    inbox.put_back(cast(Invitation, inbox.take(0)))
    inbox.put(_invitation("c", "HIGH"))
    assert _keys(inbox) == ["c", "a", "b"]


def test_only_what_waits_can_be_withdrawn(inbox: Inbox) -> None:
    taken, waiting = _invitation("a"), _invitation("b")
    inbox.put(taken)
    inbox.put(waiting)
    assert inbox.take(0) is taken
    assert inbox.withdraw(taken) is None
    assert inbox.withdraw(waiting) is waiting.message
    assert inbox.take(0) is None


def test_whoever_waits_can_be_disturbed() -> None:
    waits = threading.Event()
    inbox = Inbox(on_hungry=waits.set)

    def disturb() -> None:
        waits.wait()
        inbox.disturb()

    threading.Thread(target=disturb).start()
    assert inbox.take(60) is None
