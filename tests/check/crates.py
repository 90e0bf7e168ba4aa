"""What our crates stand on: known licences, one provider of cryptography, and crates.io alone.

The rules are those of `deny.toml`, which `cargo deny check` reads where it is installed. Compiling
that takes longer than all other checks together; this needs only what cargo has downloaded.
"""

from __future__ import annotations

import json
import re
import subprocess
import tomllib
from collections.abc import Iterator
from typing import Any

from repository import ROOT, Finding, read, report

_LOCK = "Cargo.lock"
_TERM = re.compile(r"\(|\)|[^\s()]+")


def rules(toml: str) -> dict[str, Any]:
    """Read `deny.toml`."""
    return tomllib.loads(toml)


def in_lock(lock: str, rules: dict[str, Any]) -> Iterator[Finding]:
    """Find crates of another source, and such as are not wanted, on whatever platform."""
    banned = {ban["crate"]: ban["reason"] for ban in rules["bans"]["deny"]}
    for crate in tomllib.loads(lock)["package"]:
        name, source = crate["name"], crate.get("source")
        if name in banned:
            yield Finding(_LOCK, 0, f"{name} is not wanted: {banned[name]}")
        # Without a source it is a crate of this workspace.
        if source is not None and not _is_allowed(source, rules["sources"]["allow-registry"]):
            yield Finding(_LOCK, 0, f"{name} comes from {source}")


def _is_allowed(source: str, registries: list[str]) -> bool:
    return source.removeprefix("registry+") in registries


def in_metadata(metadata: dict[str, Any], rules: dict[str, Any]) -> Iterator[Finding]:
    """Find crates whose licence is not allowed."""
    for crate in metadata["packages"]:
        if crate["source"] is None:
            continue
        allowed = set(rules["licenses"]["allow"])
        for exception in rules["licenses"].get("exceptions", []):
            if exception["crate"] == crate["name"]:
                allowed |= set(exception["allow"])
        licence = crate["license"] or ""
        if not is_allowed(licence, allowed):
            text = f"{crate['name']} {crate['version']} has the licence {licence or 'of a file'}"
            yield Finding(_LOCK, 0, f"{text}, which deny.toml does not allow")


def is_allowed(licence: str, allowed: set[str]) -> bool:
    """Whether an SPDX expression can be met by licences that are allowed."""
    # In old crates a slash stands for OR.
    terms = _TERM.findall(licence.replace("/", " OR "))
    met, rest = _any(terms, allowed) if terms else (False, [])
    return met and not rest


def _any(terms: list[str], allowed: set[str]) -> tuple[bool, list[str]]:
    met, terms = _all(terms, allowed)
    while terms[:1] == ["OR"]:
        other, terms = _all(terms[1:], allowed)
        met = met or other
    return met, terms


def _all(terms: list[str], allowed: set[str]) -> tuple[bool, list[str]]:
    met, terms = _one(terms, allowed)
    while terms[:1] == ["AND"]:
        other, terms = _one(terms[1:], allowed)
        met = met and other
    return met, terms


def _one(terms: list[str], allowed: set[str]) -> tuple[bool, list[str]]:
    if not terms:
        return False, []
    if terms[0] == "(":
        met, rest = _any(terms[1:], allowed)
        return met, rest[1:]
    if terms[1:2] == ["WITH"]:
        return " ".join(terms[:3]) in allowed, terms[3:]
    return terms[0] in allowed, terms[1:]


def _metadata() -> dict[str, Any]:
    """Ask cargo about the crates of this platform; those of others were never downloaded."""
    version = subprocess.run(["rustc", "-vV"], check=True, stdout=subprocess.PIPE, text=True).stdout
    host = re.search(r"^host: (\S+)$", version, re.MULTILINE)
    options = ["--format-version=1", "--locked"]
    if host is not None:
        options.append(f"--filter-platform={host[1]}")
    command = ["cargo", "metadata", *options]
    asked = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
    metadata: dict[str, Any] = json.loads(asked.stdout)
    return metadata


def findings() -> Iterator[Finding]:
    """Find what breaks a rule among the crates of this workspace."""
    wanted = rules(read("deny.toml") or "")
    yield from in_lock(read(_LOCK) or "", wanted)
    yield from in_metadata(_metadata(), wanted)


if __name__ == "__main__":
    report(findings)
