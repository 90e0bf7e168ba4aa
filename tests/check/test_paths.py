"""Which paths are looked up."""

from __future__ import annotations

import unittest

from paths import Paths


class PathsInText(unittest.TestCase):
    def found(self, line: str) -> list[str]:
        paths = Paths(["README.md", "src/a.rs", "sql/001_x.sql", "x/src/sql/c.sql"])
        return [finding.text.split()[0] for finding in paths.in_text("b.rs", line)]

    def test_a_path_that_leads_nowhere_is_found(self) -> None:
        self.assertEqual(self.found("see src/a.rs and (src/b.rs), src/b.rs."), ["src/b.rs"] * 2)

    def test_other_words_are_not(self) -> None:
        line = "text/plain.md ../src/b.rs $dir/src/b.rs src/*.rs sql/{a,b}.sql src/b.rs-old"
        self.assertEqual(self.found(line), [])

    def test_a_path_may_be_meant_from_another_folder(self) -> None:
        self.assertEqual(self.found("src/a.rs:7 sql/c.sql sql/d.sql"), ["sql/d.sql"])


if __name__ == "__main__":
    unittest.main()
