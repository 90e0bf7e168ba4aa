"""Research without a server: the handler is called as the SDK calls it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from agent import Researcher
from search import best_passages, split
from sources import Source

from devart import TaskFailed
from devart.testing import make_task

_HERE = Path(__file__).parent
_TEXT = "# Bees\n\nBees make honey.\nThey live in hives.\n\nWasps make none.\n"


@pytest.fixture
def researcher(tmp_path: Path) -> Researcher:
    (tmp_path / "library" / "animals").mkdir(parents=True)
    (tmp_path / "library" / "animals" / "bees.md").write_text(_TEXT)
    (tmp_path / "library" / "animals" / "picture.png").write_text("honey")
    (tmp_path / "secret.txt").write_text("honey")
    return Researcher(tmp_path / "library")


def test_a_report_cites_what_it_says(researcher: Researcher) -> None:
    result = researcher.handle(make_task({"question": "Who makes honey?", "folder": "animals"}))
    first = result["sources"][0]
    assert (first["source"], first["line"]) == ("animals/bees.md", 3)
    assert first["excerpt"] == "Bees make honey. They live in hives."
    assert result["report"].startswith(
        "# Who makes honey?\n\nBees make honey. They live in hives. [1]"
    )
    assert "1. animals/bees.md, line 3" in result["report"]
    assert result["texts_read"] == 1


def test_given_files_are_read_as_well(researcher: Researcher) -> None:
    payload = {
        "question": "honey?",
        "folder": "animals",
        "files": {"note.txt": "Honey keeps for years."},
    }
    result = researcher.handle(make_task(payload))
    assert {entry["source"] for entry in result["sources"]} == {"animals/bees.md", "note.txt"}


def test_what_the_texts_do_not_say_is_not_made_up(researcher: Researcher) -> None:
    result = researcher.handle(
        make_task({"question": "Who won the election?", "files": {"a": "Bees."}})
    )
    assert (result["sources"], "say nothing" in result["report"]) == ([], True)


@pytest.mark.parametrize(
    "payload",
    [
        None,
        {},
        {"question": " ", "files": {"a": "b"}},
        {"question": "q"},
        {"question": "q", "files": ["a"]},
        {"question": "q", "files": {"a": 1}},
        {"question": "q", "folder": "nowhere"},
        {"question": "q", "folder": ".."},
        {"question": "q", "folder": "/etc"},
        {"question": "q", "folder": 1},
    ],
)
def test_a_payload_that_makes_no_sense_fails_for_good(researcher: Researcher, payload: Any) -> None:
    with pytest.raises(TaskFailed) as failure:
        researcher.handle(make_task(payload))
    assert not failure.value.retryable


def test_a_link_does_not_lead_out_of_the_library(researcher: Researcher, tmp_path: Path) -> None:
    (tmp_path / "library" / "animals" / "link.txt").symlink_to(tmp_path / "secret.txt")
    result = researcher.handle(make_task({"question": "honey", "folder": "animals"}))
    assert {entry["source"] for entry in result["sources"]} == {"animals/bees.md"}


def test_rare_words_weigh_more_than_common_ones() -> None:
    sources = [Source("a", "task task task"), Source("b", "task lease"), Source("c", "task")]
    assert best_passages("the leases of a task", sources, 1)[0].source == "b"


def test_paragraphs_know_their_lines() -> None:
    assert [
        (passage.line, passage.text) for passage in split(Source("a", "\none\ntwo\n\n\nthree"))
    ] == [
        (2, "one two"),
        (6, "three"),
    ]


def test_the_example_task_is_answered_from_both_kinds_of_source() -> None:
    task = json.loads((_HERE / "task.json").read_text())
    result = Researcher(_HERE / "library").handle(make_task(task["payload"]))
    assert {"devart/leases.md", "interview.txt"} <= {entry["source"] for entry in result["sources"]}
