"""Every file of this repository that a comment or a text names by its path is there.

Markdown is read by `markdown_links.py`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from repository import Finding, files, read, report

_SUFFIXES = "json|md|py|rs|sql|toml|yaml|yml"
# Released SQL never changes, not even its comments; `supabase/schema.sql` is made of it.
_RELEASED = ("sql/incremental/", "supabase/schema.sql")
_CHECKS = "tests/check/test_"


class Paths:
    """Looks paths up among the files of a repository."""

    def __init__(self, known: list[str]) -> None:
        # A path may be meant from the top or from another folder.
        self._known = {path[start:] for path in known for start in _starts(path)}
        tops = sorted({re.escape(path.split("/", 1)[0]) for path in known if "/" in path})
        self._path = re.compile(
            rf"(?<![\w./<$-])(?:{'|'.join(tops)})/[\w./-]*\w\.(?:{_SUFFIXES})(?![\w/*{{-])"
        )

    def in_text(self, path: str, text: str) -> Iterator[Finding]:
        """Find the paths in one file's text that lead nowhere."""
        for number, line in enumerate(text.splitlines(), 1):
            for named in self._path.findall(line):
                if named not in self._known:
                    yield Finding(path, number, f"{named} is not in the repository")


def _starts(path: str) -> list[int]:
    return [0, *(at + 1 for at, letter in enumerate(path) if letter == "/")]


def findings() -> Iterator[Finding]:
    """Find paths that lead nowhere in any file but Markdown."""
    known = files()
    paths = Paths(known)
    for path in known:
        if path.endswith(".md") or path.startswith((*_RELEASED, _CHECKS)):
            continue
        if (text := read(path)) is not None:
            yield from paths.in_text(path, text)


if __name__ == "__main__":
    report(findings)
