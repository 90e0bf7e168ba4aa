"""Nothing in the repository points outside of it: a clone is enough to follow each reference.

Names of folders beside the clone on the machines where devart is written, such as that of its
design papers, mean nothing to a reader; what they say belongs into `docs/`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from repository import Finding, files, read, report

_OUTSIDE = re.compile(
    r"(?<![\w./-])(?:\.\./)*(?:shared/)?design/[\w-]+\.md|(?<![\w.])/work/\w|(?:\.\./)+shared/|/tmp/h/"
)

# Released SQL never changes, not even its comments; `supabase/schema.sql` is made of it.
_RELEASED = (
    "sql/incremental/0001_roles.sql",
    "sql/incremental/0002_types.sql",
    "supabase/schema.sql",
)
# They name what they look for.
_OWN = ("tests/check/outside.py", "tests/check/test_outside.py")


def in_text(path: str, text: str) -> Iterator[Finding]:
    """Find what points outside in one file's text."""
    for number, line in enumerate(text.splitlines(), 1):
        if match := _OUTSIDE.search(line):
            yield Finding(path, number, f"points outside of the repository: {match[0]}")


def findings() -> Iterator[Finding]:
    """Find what points outside in any file."""
    for path in files():
        if path not in (*_RELEASED, *_OWN) and (text := read(path)) is not None:
            yield from in_text(path, text)


if __name__ == "__main__":
    report(findings)
