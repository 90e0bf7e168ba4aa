"""Writing down what was found."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from search import Passage

_MAX_EXCERPT_CHARACTERS = 400


def write_report(question: str, passages: Sequence[Passage], *, read: int) -> dict[str, Any]:
    """Return a task's result: the report in Markdown, and its sources as data.

    Args:
        question: what was asked.
        passages: what was found, the best first.
        read: how many texts were read.
    """
    answer = summarize(question, passages)
    sources = [
        {
            "number": number,
            "source": passage.source,
            "line": passage.line,
            "excerpt": _excerpt(passage.text),
        }
        for number, passage in enumerate(passages, start=1)
    ]
    lines = [f"# {question}", "", answer, "", "## Sources", ""]
    lines += [f"{entry['number']}. {entry['source']}, line {entry['line']}" for entry in sources]
    return {
        "question": question,
        "report": "\n".join(lines),
        "sources": sources,
        "texts_read": read,
    }


def summarize(question: str, passages: Sequence[Passage]) -> str:
    """Answer the question from the passages, each statement with its source's number.

    A model call belongs here: give it `question` and the numbered passages, ask for an answer that
    cites them, and charge what it cost (`AgentSDK.charge`). Until then the passages speak for
    themselves.
    """
    del question  # a model would be given it
    if not passages:
        return "The texts say nothing about this."
    return "\n\n".join(
        f"{_excerpt(passage.text)} [{number}]" for number, passage in enumerate(passages, start=1)
    )


def _excerpt(text: str) -> str:
    return (
        text
        if len(text) <= _MAX_EXCERPT_CHARACTERS
        else text[: _MAX_EXCERPT_CHARACTERS - 3] + "..."
    )
