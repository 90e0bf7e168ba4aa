"""In Markdown each relative link, its anchor and each path in backticks leads somewhere."""

from __future__ import annotations

import os.path
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import markdown
from repository import ROOT, Finding, files, read, report

_ELSEWHERE = re.compile(r"^[a-z][a-z0-9+.-]*:|^//")
_PATH = re.compile(r"^[\w.-]+(?:/[\w.*{},-]+)*$")
_LINE = re.compile(r":\d+(?:-\d+)?$")


class Links:
    """Looks links and paths up in a repository."""

    def __init__(self, root: Path, known: list[str]) -> None:
        self._root = root
        self._files = set(known)
        self._folders = {str(parent) for path in known for parent in Path(path).parents}
        # What a path in backticks begins with; `text/plain` is a word of another kind.
        self._tops = {path.split("/")[0] for path in known if "/" in path}

    def in_file(self, path: str, text: str) -> Iterator[Finding]:
        """Find the links and paths of one file that lead nowhere."""
        for number, line in markdown.prose(text):
            for target in markdown.links(line):
                if problem := self._link_problem(path, target):
                    yield Finding(path, number, problem)
            for code in markdown.spans(line):
                if not self._is_there(path, code):
                    yield Finding(path, number, f"`{code}` is not in the repository")

    def _link_problem(self, path: str, target: str) -> str | None:
        if _ELSEWHERE.match(target):
            return None
        place, _, anchor = unquote(target).partition("#")
        found = os.path.normpath(os.path.join(os.path.dirname(path), place)) if place else path
        if found not in self._files | self._folders:
            return f"the link {target} leads nowhere"
        if (
            anchor
            and found.endswith(".md")
            and anchor not in markdown.anchors(read(found, self._root) or "")
        ):
            return f"the link {target} names no heading"
        return None

    def _is_there(self, path: str, code: str) -> bool:
        """Whether a span of code is no path of the repository, or one that is there."""
        code = _LINE.sub("", code).rstrip("/")
        if not self._looks_like_ours(code):
            return True
        # A path may be meant from the top or from where it is written.
        for start in ("", os.path.dirname(path)):
            if all(
                self._matches(os.path.normpath(os.path.join(start, one))) for one in _expanded(code)
            ):
                return True
        return False

    def _looks_like_ours(self, code: str) -> bool:
        top, _, rest = code.partition("/")
        return bool(_PATH.match(code) and rest and top in self._tops and "NNN" not in code)

    def _matches(self, path: str) -> bool:
        if "*" not in path:
            return path in self._files | self._folders
        pattern = re.compile(re.escape(path).replace(r"\*", "[^/]*"))
        return any(pattern.fullmatch(known) for known in self._files | self._folders)


def _expanded(path: str) -> list[str]:
    """Return the paths that `a/{b,c}` stands for."""
    braces = re.search(r"\{([^{}]*)\}", path)
    if braces is None:
        return [path]
    before, after = path[: braces.start()], path[braces.end() :]
    return [one for part in braces[1].split(",") for one in _expanded(f"{before}{part}{after}")]


def findings() -> Iterator[Finding]:
    """Find what leads nowhere in any Markdown file."""
    links = Links(ROOT, files())
    for path in files("*.md"):
        yield from links.in_file(path, read(path) or "")


if __name__ == "__main__":
    report(findings)
