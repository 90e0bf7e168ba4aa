"""Markdown, as far as the checks need it: prose, headings, links and spans of code."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

_FENCE = re.compile(r"^\s*(`{3,}|~{3,})")
_HEADING = re.compile(r"^#{1,6}\s+(.*?)\s*#*$")
_LINK = re.compile(r"!?\[(?:[^\[\]]|\[[^\]]*\])*\]\(<?([^\s)>]+)>?(?:\s+\"[^\"]*\")?\)")
_REFERENCE = re.compile(r"^\s*\[[^\]]+\]:\s+(\S+)")
_SPAN = re.compile(r"(`+)(.+?)\1")


class Line(NamedTuple):
    """A line outside of fenced code; `number` counts from 1."""

    number: int
    text: str


def prose(text: str) -> Iterator[Line]:
    """Give the lines outside of fenced code."""
    fence: str | None = None
    for number, line in enumerate(text.splitlines(), 1):
        mark = _FENCE.match(line)
        if fence is None and mark:
            fence = mark[1]
        elif fence is None:
            yield Line(number, line)
        elif mark and mark[1].startswith(fence) and line.strip() == mark[1]:
            fence = None


def links(line: str) -> Iterator[str]:
    """Give the targets of the links of a line, those in spans of code left out."""
    bare = _SPAN.sub(lambda span: " " * len(span[0]) if "](" in span[2] else span[0], line)
    yield from _LINK.findall(bare)
    yield from _REFERENCE.findall(bare)


def spans(line: str) -> Iterator[str]:
    """Give the spans of code of a line."""
    for _, code in _SPAN.findall(line):
        yield code.strip()


def anchors(text: str) -> set[str]:
    """Return the anchors that GitHub makes of the headings."""
    found: set[str] = set()
    for line in prose(text):
        if heading := _HEADING.match(line.text):
            name = _anchor(heading[1])
            count = 0
            while (unique := f"{name}-{count}" if count else name) in found:
                count += 1
            found.add(unique)
    return found


def _anchor(heading: str) -> str:
    text = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
    return re.sub(r"[^\w\- ]", "", text).replace(" ", "-")
