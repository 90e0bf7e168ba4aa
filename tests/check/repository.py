"""The files of this repository, and how a check says what it found in them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]


class Finding(NamedTuple):
    """Something that breaks a rule; `line` counts from 1, and 0 stands for the whole file."""

    path: str
    line: int
    text: str

    def __str__(self) -> str:
        """Return it as compilers do, so that editors find the place."""
        return f"{self.path}:{self.line}: {self.text}" if self.line else f"{self.path}: {self.text}"


def files(*patterns: str, root: Path = ROOT) -> list[str]:
    """Return the paths that match git's patterns, such as `*.md`, whether tracked or new.

    Those that git ignores are left out.
    """
    # A clone may belong to somebody else than to whom the check runs as.
    command = [
        "git",
        "-c",
        "safe.directory=*",
        "ls-files",
        "-z",
        "--cached",
        "--others",
        "--exclude-standard",
    ]
    listed = subprocess.run(
        [*command, "--", *patterns], cwd=root, check=True, stdout=subprocess.PIPE, text=True
    )
    # A file that was removed but not yet committed is still listed.
    return sorted({path for path in listed.stdout.split("\0") if path and (root / path).is_file()})


def read(path: str, root: Path = ROOT) -> str | None:
    """Return the text of a file, None for one that is not text."""
    try:
        return (root / path).read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return None


def report(check: Callable[[], Iterable[Finding]]) -> None:
    """Print what a check found, and end the process: with 1 if it found anything, else with 0."""
    found = list(check())
    for finding in found:
        print(finding)
    sys.exit(1 if found else 0)
