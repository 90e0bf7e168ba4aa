"""SQL as a sequence of words.

Comments, texts and quoted names are blanked out; bodies of functions are read as code.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

_BLANKED = re.compile(r"--[^\n]*|/\*.*?\*/|'(?:[^']|'')*'|\"[^\"]*\"", re.DOTALL)
_WORD = re.compile(r"[A-Za-z_][\w$]*(?:\.[A-Za-z_*][\w$]*)*|\S")


class Word(NamedTuple):
    """A name with its dots, a keyword, or a sign; `line` counts from 1."""

    text: str
    line: int


def code(sql: str) -> str:
    """Return the text with comments, texts and quoted names as blanks, each line where it was."""
    return _BLANKED.sub(_blank, sql)


def _blank(match: re.Match[str]) -> str:
    # What stands between the marks of a text or a name stays one word.
    filler = "q" if match[0][0] in "'\"" else " "
    return re.sub(r"[^\n]", filler, match[0])


def words(blanked: str) -> Iterator[Word]:
    """Give the words of `code`."""
    line, last = 1, 0
    for match in _WORD.finditer(blanked):
        line += blanked.count("\n", last, match.start())
        last = match.start()
        yield Word(match[0], line)
