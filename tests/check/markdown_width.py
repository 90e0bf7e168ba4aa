"""Markdown is wrapped at 100 columns, tables, code, headings and what cannot be broken excepted.

`python3 tests/check/markdown_width.py FILE...` wraps paragraphs and items of lists in these files.
"""

from __future__ import annotations

import re
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import markdown
from repository import Finding, files, read, report

WIDTH = 100

_ITEM = re.compile(r"^(\s*)([-*+]|\d+\.)\s+")
# Not filled: headings, tables, quotations, HTML, images, references, lines that end with a break.
_KEPT = re.compile(r"^\s*(#|\||>|<|!\[|\[[^\]]+\]:|$)|(  |\\)$")
_WHOLE = re.compile(r"(`+).+?\1|!?\[[^\]]*\]\([^)]*\)")
_JOINT = "\x00"


def in_text(path: str, text: str) -> Iterator[Finding]:
    """Find the lines of one file that are too long."""
    for number, line in markdown.prose(text):
        if len(line) > WIDTH and not _is_excepted(line):
            yield Finding(path, number, f"{len(line)} columns: wrap it at {WIDTH}")


def _is_excepted(line: str) -> bool:
    stripped = line.strip()
    if stripped.startswith(("|", "#")):
        return True
    # A long link or path, perhaps behind a bullet, has no blank to break at.
    words = stripped.removeprefix("- ").split(" ")
    return max(len(word) for word in words) > WIDTH - 20


def wrapped(text: str) -> str:
    """Return the text with its paragraphs and items of lists filled."""
    lines = text.splitlines()
    is_prose = {line.number for line in markdown.prose(text)}
    filled: list[str] = []
    paragraph: list[str] = []
    for number, line in enumerate(lines, 1):
        kept = number not in is_prose or _KEPT.search(line)
        if paragraph and (kept or _ITEM.match(line)):
            filled += _fill(paragraph)
            paragraph = []
        if kept:
            filled.append(line)
        else:
            paragraph.append(line)
    return "\n".join([*filled, *_fill(paragraph)]) + "\n"


def _fill(paragraph: list[str]) -> list[str]:
    if all(len(line) <= WIDTH for line in paragraph):
        return paragraph
    first = paragraph[0]
    item = _ITEM.match(first)
    start = item[0] if item else first[: len(first) - len(first.lstrip())]
    joined = " ".join(line.strip() for line in [first[len(start) :], *paragraph[1:]])
    whole = _WHOLE.sub(lambda match: match[0].replace(" ", _JOINT), joined)
    lines = textwrap.wrap(
        whole,
        WIDTH,
        initial_indent=start,
        subsequent_indent=" " * len(start),
        break_long_words=False,
        break_on_hyphens=False,
    )
    return [line.replace(_JOINT, " ") for line in lines]


def findings() -> Iterator[Finding]:
    """Find the lines of any Markdown file that are too long."""
    for path in files("*.md"):
        yield from in_text(path, read(path) or "")


if __name__ == "__main__":
    if not sys.argv[1:]:
        report(findings)
    for name in sys.argv[1:]:
        Path(name).write_text(wrapped(Path(name).read_text(encoding="utf-8")), encoding="utf-8")
