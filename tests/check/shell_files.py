"""Prints the shell programs of this repository, for shellcheck: `*.sh`, or by their shebang."""

from __future__ import annotations

import re

from repository import files, read

_SHEBANG = re.compile(r"#!(?:/usr)?/bin/(?:env )?(?:ba)?sh\b")


def is_shell(path: str, text: str) -> bool:
    """Whether a file is a program for sh or bash."""
    return path.endswith(".sh") or _SHEBANG.match(text) is not None


if __name__ == "__main__":
    for path in files():
        if is_shell(path, read(path) or ""):
            print(path)
