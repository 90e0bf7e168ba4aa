"""What counts as pointing outside of the repository."""

from __future__ import annotations

import unittest

from outside import in_text


class Outside(unittest.TestCase):
    def test_papers_and_folders_beside_the_clone_are_found(self) -> None:
        for line in (
            "(design/budgets.md, rule 13)",
            "see `../shared/style.md`",
            "as /work/shared says",
            "/tmp/h/in p",
        ):
            with self.subTest(line):
                self.assertEqual([finding.line for finding in in_text("a.rs", f"\n{line}\n")], [2])

    def test_what_stands_in_the_repository_is_not(self) -> None:
        for line in (
            "docs/design/queue.md",
            "redesign/it.md",
            "https://example.org/work/it",
            "a/work/b",
            "a shared/one",
        ):
            with self.subTest(line):
                self.assertEqual(list(in_text("a.rs", line)), [])


if __name__ == "__main__":
    unittest.main()
