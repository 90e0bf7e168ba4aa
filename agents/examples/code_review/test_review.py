"""The rules, on pull requests as the GitHub intake describes them."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from review import PullRequest, price_usd, review

GOOD: dict[str, Any] = {
    "source": "github",
    "repository": "octo/hello",
    "pull_number": 2,
    "head_sha": "ec26c3e57ca3a959ca5aad62de7213c562f8c821",
    "title": "Update the README with new information",
    "body": "It was out of date.",
    "url": "https://github.com/octo/hello/pull/2",
    "action": "opened",
    "author": "mona",
    "additions": 10,
    "deletions": 2,
    "changed_files": 1,
}


def review_of(changes: dict[str, Any]) -> dict[str, Any]:
    return review(PullRequest.from_payload({**GOOD, **changes}))


def rules_of(result: dict[str, Any]) -> set[str]:
    return {finding["rule"] for finding in result["findings"]}


def test_a_small_described_change_looks_fine() -> None:
    result = review_of({})
    assert result["verdict"] == "looks fine"
    assert result["risk_score"] == 0
    assert result["summary"] == "octo/hello#2 by mona: looks fine, 0 finding(s), risk 0 of 100"


@pytest.mark.parametrize(
    ("changes", "rule", "verdict"),
    [
        ({"additions": 1200}, "size", "changes requested"),
        ({"additions": 500}, "size", "comments"),
        ({"additions": 0, "deletions": 0}, "size", "comments"),
        ({"changed_files": 31}, "spread", "comments"),
        ({"title": "WIP: rework the parser"}, "unfinished", "changes requested"),
        ({"title": "Fix"}, "title-content", "comments"),
        ({"title": "Rotate the token on login"}, "sensitive", "comments"),
        ({"additions": 0, "deletions": 9}, "deletion", "looks fine"),
        (
            {"title": "Say more of what was said before, in many words " * 2},
            "title-length",
            "looks fine",
        ),
    ],
)
def test_a_rule_finds_what_it_is_for(changes: dict[str, Any], rule: str, verdict: str) -> None:
    result = review_of(changes)
    assert rules_of(result) == {rule}
    assert result["verdict"] == verdict


def test_an_empty_description_is_a_finding() -> None:
    assert rules_of(review_of({"body": None})) == {"description"}


@pytest.mark.parametrize(
    "payload", [None, [], {}, {"additions": "many", "title": 7, "pull_number": True}]
)
def test_a_payload_without_the_expected_keys_is_reviewed_all_the_same(payload: Any) -> None:
    result = review(PullRequest.from_payload(payload))
    assert rules_of(result) == {"size", "title-content"}
    assert result["summary"].startswith("an unnamed repository by an unknown author")


def test_the_risk_is_at_most_100() -> None:
    worst = review_of({"title": "WIP: auth.", "additions": 5000, "changed_files": 99, "body": ""})
    assert worst["risk_score"] == 100


def test_the_price_is_exact_and_grows_with_the_size() -> None:
    assert price_usd(PullRequest.from_payload(GOOD)) == Decimal("0.00112")
    assert price_usd(PullRequest.from_payload({})) == Decimal("0.001")
