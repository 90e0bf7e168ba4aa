"""Finding the passages that say most about a question, by shared words (BM25)."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from sources import Source

_WORD = re.compile(r"\w+")
_STOP_WORDS = frozenset(
    _WORD.findall(
        "a an and are as at be but by can do does for from has have how if in is it its not of on "
        "or that the this to was what when where which who why will with"
    )
)
_SATURATION = 1.2
_LENGTH_WEIGHT = 0.75


@dataclass(frozen=True)
class Passage:
    """A paragraph.

    Attributes:
        source: the name of the text it is from.
        line: the line it begins at, the first being 1.
    """

    source: str
    line: int
    text: str


def best_passages(question: str, sources: Iterable[Source], limit: int) -> list[Passage]:
    """Return at most `limit` passages that share words with the question, the best first."""
    passages = [passage for source in sources for passage in split(source)]
    counts = [Counter(_words(passage.text)) for passage in passages]
    rank = _Rank(set(_words(question)), counts)
    scored = sorted(
        zip(map(rank.score, counts), range(len(passages)), strict=True),
        key=lambda pair: (-pair[0], pair[1]),
    )
    return [passages[index] for score, index in scored[:limit] if score > 0]


def split(source: Source) -> list[Passage]:
    """Return the paragraphs of a text: what empty lines part."""
    passages: list[Passage] = []
    lines: list[str] = []
    for number, line in enumerate([*source.text.splitlines(), ""], start=1):
        if line.strip():
            lines.append(line.strip())
        elif lines:
            passages.append(Passage(source.name, number - len(lines), " ".join(lines)))
            lines = []
    return passages


class _Rank:
    """How much a passage says about the question, given how often its words are elsewhere."""

    def __init__(self, wanted: set[str], counts: list[Counter[str]]) -> None:
        self._wanted = wanted
        self._mean_length = sum(count.total() for count in counts) / max(len(counts), 1) or 1.0
        self._weight = {
            word: _rarity(sum(word in count for count in counts), len(counts)) for word in wanted
        }

    def score(self, count: Counter[str]) -> float:
        length = 1 - _LENGTH_WEIGHT + _LENGTH_WEIGHT * count.total() / self._mean_length
        return sum(
            self._weight[word]
            * count[word]
            * (_SATURATION + 1)
            / (count[word] + _SATURATION * length)
            for word in self._wanted & count.keys()
        )


def _rarity(having: int, of: int) -> float:
    return math.log(1 + (of - having + 0.5) / (having + 0.5))


def _words(text: str) -> list[str]:
    return [_stem(word) for word in _WORD.findall(text.lower()) if word not in _STOP_WORDS]


def _stem(word: str) -> str:
    """Cut the commonest English endings, so that "leases" finds "lease"."""
    for ending in ("ing", "es", "ed", "s"):
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            return word[: -len(ending)].rstrip("e")
    return word.rstrip("e") if len(word) > 3 else word
