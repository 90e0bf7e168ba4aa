"""What counts as a link that leads nowhere, and as a line that is too long."""

from __future__ import annotations

import tempfile
import unittest
from pathlib import Path

import markdown
import markdown_width
from markdown_links import Links

_FILES = {
    "README.md": "# Top\n",
    "docs/a.md": "# The `first` one\n\n## Twice\n\n## Twice\n",
    "src/x.rs": "",
}


class LinksOfMarkdown(unittest.TestCase):
    def found(self, text: str, path: str = "docs/b.md") -> int:
        with tempfile.TemporaryDirectory() as name:
            for file, content in _FILES.items():
                (Path(name) / file).parent.mkdir(exist_ok=True)
                (Path(name) / file).write_text(content)
            (Path(name) / path).write_text(text)
            return len(list(Links(Path(name), [*_FILES, path]).in_file(path, text)))

    def test_links_are_looked_up_from_where_they_are_written(self) -> None:
        self.assertEqual(
            self.found("[a](a.md), [top](../README.md), [src](../src/), <https://example.org>"), 0
        )
        self.assertEqual(
            self.found("[x](https://example.org/nothing.md) [mail](mailto:a@example.org)"), 0
        )
        self.assertEqual(self.found("[a](docs/a.md)"), 1)
        self.assertEqual(self.found("[r]\n\n[r]: gone.md"), 1)

    def test_anchors_are_those_of_headings(self) -> None:
        self.assertEqual(self.found("[1](a.md#the-first-one) [2](a.md#twice) [3](a.md#twice-1)"), 0)
        self.assertEqual(self.found("# Here\n[here](#here)"), 0)
        self.assertEqual(self.found("[4](a.md#twice-2)"), 1)
        self.assertEqual(self.found("```\n# Here\n```\n[here](#here)"), 1)

    def test_paths_in_backticks_are_looked_up(self) -> None:
        self.assertEqual(
            self.found(
                "`src/x.rs`, `src/*.rs`, `src/{x,x}.rs`, `src/x.rs:7`, `docs/`, `docs/a.md`"
            ),
            0,
        )
        self.assertEqual(
            self.found("`text/plain`, `a/b`, `src/x.rs --flag`, `src/NNN_x.rs`, `src/<name>.rs`"), 0
        )
        self.assertEqual(self.found("`src/y.rs`"), 1)
        self.assertEqual(self.found("`src/{x,y}.rs`"), 1)

    def test_code_is_not_read(self) -> None:
        self.assertEqual(self.found("```md\n[a](gone.md) `src/y.rs`\n```\n`[a](gone.md)`"), 0)


class Width(unittest.TestCase):
    def found(self, text: str) -> list[int]:
        return [finding.line for finding in markdown_width.in_text("a.md", text)]

    def test_prose_is_wrapped(self) -> None:
        self.assertEqual(self.found(f"{'word ' * 20}\n{'word ' * 21}end"), [2])

    def test_tables_code_and_what_cannot_be_broken_are_not(self) -> None:
        long = "word " * 30
        self.assertEqual(
            self.found(f"| {long} |\n```\n{long}\n```\n- https://example.org/{'x' * 100}"), []
        )
        self.assertEqual(self.found(f"````\n```\n{long}\n```\n````\n{long}"), [6])


class Wrapping(unittest.TestCase):
    def test_paragraphs_and_items_are_filled_and_the_rest_is_kept(self) -> None:
        item = "- " + "word " * 25 + "end"
        kept = "# " + "long " * 30 + "\n\n| " + "cell " * 30 + "|\n\n```\n" + "code " * 30 + "\n```"
        wrapped = markdown_width.wrapped(f"{item}\n{kept}\n")
        self.assertEqual(wrapped.splitlines()[1][:7], "  word ")
        self.assertTrue(wrapped.endswith(f"\n{kept}\n"))
        self.assertEqual(self.broken(wrapped.split("# ")[0]), [])
        self.assertEqual(markdown_width.wrapped(wrapped), wrapped)

    def test_links_and_code_are_not_torn(self) -> None:
        line = "word " * 18 + "[a link of words](a.md) `some code` " + "word " * 10
        text = markdown_width.wrapped(line)
        self.assertIn("[a link of words](a.md)", text)
        self.assertIn("`some code`", text)

    def broken(self, text: str) -> list[int]:
        return [
            line.number for line in markdown.prose(text) if len(line.text) > markdown_width.WIDTH
        ]


if __name__ == "__main__":
    unittest.main()
