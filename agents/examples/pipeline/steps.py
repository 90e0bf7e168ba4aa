"""The work itself, free of devart: what each step makes of its input."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from typing import Any

_MOST_COMMON = 5


def normalize(text: str) -> str:
    """Return the words of a text in small letters, with one space between them."""
    return " ".join(re.findall(r"\w+", text.lower()))


def count_words(text: str) -> dict[str, int]:
    """Return how often each word occurs in a normalized text."""
    return dict(Counter(text.split()))


def join_counts(parts: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Sum up the counts of several texts: `{"name", "counts"}` each."""
    total: Counter[str] = Counter()
    words_by_text: dict[str, int] = {}
    for part in parts:
        total.update(part["counts"])
        words_by_text[part["name"]] = sum(part["counts"].values())
    return {
        "words": total.total(),
        "words_by_text": words_by_text,
        "most_common": dict(total.most_common(_MOST_COMMON)),
    }
