"""The rules by which a pull request is reviewed: what its GitHub event tells, and nothing else.

Deterministic: the same payload gives the same review. Nothing here reads code or calls a model; see
the README for where a model call belongs.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from decimal import Decimal
from typing import Any

_MAX_EASY_LINES = 400
_MAX_LINES = 1000
_MAX_FILES = 30
_MAX_TITLE_CHARACTERS = 72
_MIN_TITLE_WORDS = 2
_UNFINISHED = re.compile(r"\b(wip|draft|todo|fixup!|squash!|do not merge|dnm)(?!\w)", re.IGNORECASE)
_SENSITIVE = re.compile(
    r"\b(auth\w*|secur\w*|password|secret|token|crypto\w*|migrat\w*|permission\w*)\b", re.IGNORECASE
)

_BASE_PRICE_USD = Decimal("0.001")
_PRICE_PER_LINE_USD = Decimal("0.00001")
_RISK_BY_SEVERITY = {"info": 2, "warning": 15, "error": 30}


@dataclass(frozen=True)
class PullRequest:
    """What the GitHub intake knows of a pull request; None is what the event did not carry."""

    repository: str
    number: int | None
    title: str
    description: str | None
    author: str
    additions: int | None
    deletions: int | None
    changed_files: int | None

    @classmethod
    def from_payload(cls, payload: Any) -> PullRequest:
        """Read a task's payload; whatever is missing or of a wrong type counts as unknown."""
        known = payload if isinstance(payload, Mapping) else {}
        return cls(
            repository=_text(known.get("repository")) or "an unnamed repository",
            number=_count(known.get("pull_number")),
            title=_text(known.get("title")),
            description=_text(known["body"]) if "body" in known else None,
            author=_text(known.get("author")) or "an unknown author",
            additions=_count(known.get("additions")),
            deletions=_count(known.get("deletions")),
            changed_files=_count(known.get("changed_files")),
        )

    @property
    def changed_lines(self) -> int | None:
        """Lines added and deleted, None when neither is known."""
        if self.additions is None and self.deletions is None:
            return None
        return (self.additions or 0) + (self.deletions or 0)

    @property
    def label(self) -> str:
        """How people name it: owner/name#1."""
        return self.repository if self.number is None else f"{self.repository}#{self.number}"


@dataclass(frozen=True)
class Finding:
    """One remark: the rule, its weight (info, warning, error), and a sentence for the author."""

    rule: str
    severity: str
    message: str


def review(pull: PullRequest) -> dict[str, Any]:
    """Apply every rule and sum up."""
    findings = [finding for rule in _RULES for finding in rule(pull)]
    score = min(100, sum(_RISK_BY_SEVERITY[finding.severity] for finding in findings))
    verdict = _verdict(findings)
    return {
        "reviewer": "rules",
        "summary": f"{pull.label} by {pull.author}: {verdict}, {len(findings)} finding(s), "
        f"risk {score} of 100",
        "verdict": verdict,
        "risk_score": score,
        "findings": [asdict(finding) for finding in findings],
    }


def price_usd(pull: PullRequest) -> Decimal:
    """US dollars for a review: a base price and a little for each changed line."""
    return _BASE_PRICE_USD + _PRICE_PER_LINE_USD * (pull.changed_lines or 0)


def _verdict(findings: list[Finding]) -> str:
    severities = {finding.severity for finding in findings}
    if "error" in severities:
        return "changes requested"
    return "comments" if "warning" in severities else "looks fine"


def _review_size(pull: PullRequest) -> list[Finding]:
    lines = pull.changed_lines
    if lines is None:
        return [Finding("size", "info", "The event did not say how large the change is.")]
    if lines > _MAX_LINES:
        return [
            Finding(
                "size", "error", f"{lines} changed lines cannot be reviewed well; split the change."
            )
        ]
    if lines > _MAX_EASY_LINES:
        return [
            Finding(
                "size", "warning", f"{lines} changed lines are many; consider splitting the change."
            )
        ]
    if lines == 0:
        return [Finding("size", "warning", "The pull request changes no lines.")]
    return []


def _review_spread(pull: PullRequest) -> list[Finding]:
    if pull.changed_files is None or pull.changed_files <= _MAX_FILES:
        return []
    return [
        Finding("spread", "warning", f"{pull.changed_files} files are touched; is this one change?")
    ]


def _review_title(pull: PullRequest) -> list[Finding]:
    if not pull.title:
        return [Finding("title-content", "warning", "The event carried no title.")]
    findings = []
    if len(pull.title) > _MAX_TITLE_CHARACTERS:
        message = f"The title has {len(pull.title)} characters; logs show {_MAX_TITLE_CHARACTERS}."
        findings.append(Finding("title-length", "info", message))
    if len(pull.title.split()) < _MIN_TITLE_WORDS:
        findings.append(
            Finding("title-content", "warning", "One word does not say what the change does.")
        )
    if pull.title.endswith("."):
        findings.append(Finding("title-form", "info", "A title needs no full stop."))
    if _UNFINISHED.search(pull.title):
        findings.append(
            Finding("unfinished", "error", "The title says that the work is not finished.")
        )
    return findings


def _review_description(pull: PullRequest) -> list[Finding]:
    if pull.description is None or pull.description:
        return []
    return [
        Finding("description", "warning", "The description is empty; say why the change is needed.")
    ]


def _review_deletions(pull: PullRequest) -> list[Finding]:
    if pull.additions or not pull.deletions:
        return []
    return [
        Finding(
            "deletion",
            "info",
            f"Only deletions ({pull.deletions} lines): make sure that nothing uses them.",
        )
    ]


def _review_subject(pull: PullRequest) -> list[Finding]:
    match = _SENSITIVE.search(f"{pull.title}\n{pull.description or ''}")
    if match is None:
        return []
    return [
        Finding(
            "sensitive",
            "warning",
            f"It mentions {match[0]!r}: have somebody look who knows that part.",
        )
    ]


_RULES = (
    _review_size,
    _review_spread,
    _review_title,
    _review_description,
    _review_deletions,
    _review_subject,
)


def _text(value: Any) -> str:
    return value.strip() if isinstance(value, str) else ""


def _count(value: Any) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int):
        return None
    return max(value, 0)
