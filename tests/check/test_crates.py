"""What a licence allows, and which crates are refused."""

from __future__ import annotations

import unittest

from crates import in_lock, in_metadata, is_allowed, rules

_RULES = rules("""
    [licenses]
    allow = ["MIT", "Apache-2.0 WITH LLVM-exception"]
    exceptions = [{ crate = "roots", allow = ["CDLA-Permissive-2.0"] }]
    [bans]
    deny = [{ crate = "aws-lc-rs", reason = "ring is enough" }]
    [sources]
    allow-registry = ["https://github.com/rust-lang/crates.io-index"]
""")


class Licences(unittest.TestCase):
    def test_one_of_several_that_may_be_chosen_is_enough(self) -> None:
        for licence in ("MIT", "GPL-3.0 OR MIT", "GPL-3.0/MIT", "(GPL-3.0 AND ISC) OR (MIT)"):
            with self.subTest(licence):
                self.assertTrue(is_allowed(licence, {"MIT"}))

    def test_all_that_hold_at_once_must_be_allowed(self) -> None:
        for licence in ("MIT AND ISC", "(MIT OR ISC) AND GPL-3.0", "MIT AND", "GPL-3.0", ""):
            with self.subTest(licence):
                self.assertFalse(is_allowed(licence, {"MIT"}))

    def test_an_exception_belongs_to_its_licence(self) -> None:
        self.assertTrue(is_allowed("Apache-2.0 WITH LLVM-exception OR ISC", {*_allowed()}))
        self.assertFalse(is_allowed("Apache-2.0", {*_allowed()}))


class Crates(unittest.TestCase):
    def test_licences_of_others_count_and_exceptions_are_for_one_crate(self) -> None:
        crates = [
            {"name": "ours", "version": "1", "source": None, "license": "Own"},
            {"name": "roots", "version": "1", "source": "x", "license": "CDLA-Permissive-2.0"},
            {"name": "other", "version": "1", "source": "x", "license": "CDLA-Permissive-2.0"},
            {"name": "none", "version": "1", "source": "x", "license": None},
        ]
        found = [finding.text.split()[0] for finding in in_metadata({"packages": crates}, _RULES)]
        self.assertEqual(found, ["other", "none"])

    def test_unwanted_crates_and_sources_are_found(self) -> None:
        lock = "\n".join(
            f'[[package]]\nname = "{name}"\nversion = "1"\n{source}'
            for name, source in (
                ("ours", ""),
                ("fine", 'source = "registry+https://github.com/rust-lang/crates.io-index"'),
                ("forked", 'source = "git+https://github.com/rust-lang/crates.io-index?rev=1#2"'),
                ("aws-lc-rs", 'source = "registry+https://github.com/rust-lang/crates.io-index"'),
            )
        )
        found = [finding.text.split()[0] for finding in in_lock(lock, _RULES)]
        self.assertEqual(found, ["forked", "aws-lc-rs"])


def _allowed() -> list[str]:
    allowed: list[str] = _RULES["licenses"]["allow"]
    return allowed


if __name__ == "__main__":
    unittest.main()
