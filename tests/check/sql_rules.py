"""The rules of SQL: what files say of themselves, pinned functions, names and keywords.

- The first line is a comment that says what the file holds.
- Lines have at most 100 columns, except in released files, which never change.
- Keywords are in lowercase.
- Each function pins `search_path` to `pg_catalog, pg_temp` or to nothing; one that cannot afford
  that (it must become part of the query that calls it, or costs too much) says so in the comment
  above it, with the word `search_path`.
- Functions with the owner's rights (`security definer`) stand in `sql/`, where `990_ownership.sql`
  finds them, and always pin; native ones have `#[search_path(pg_catalog, pg_temp)]`.
- What is made, dropped, read or changed has a schema. (Whether functions that are called have one
  cannot be told without a database; the pinned path bounds what else they could be.)
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import sql_text
from repository import Finding, files, read, report
from sql_text import Word

WIDTH = 100
_RELEASED = "sql/incremental/"

# Such as are never names here; a word of them in capitals is a keyword in capitals.
_KEYWORDS = frozenset(
    """
    all alter and any array as asc begin between by case check coalesce column commit conflict
    constraint create cross current declare default definer delete desc distinct do drop each
    else elsif end execute exception exists false for foreign found from full function grant
    group having if immutable in index inner insert into is join key language lateral left limit
    loop materialized not null nulls on or order outer over partition perform policy primary
    procedure raise references replace return returning returns revoke role row rows security
    select set setof stable strict table then to trigger true type union unique update using
    values view volatile when where while with
    """.split()  # noqa: SIM905 - a list of words
)
# What follows these is a relation.
_BEFORE_RELATION = frozenset({"from", "join", "into", "update"})
_AFTER_CREATE = frozenset({"table", "view", "function", "type", "domain", "sequence", "procedure"})
_NOT_A_RELATION = frozenset(
    {
        "select",
        "lateral",
        "only",
        "set",
        "strict",
        "of",
        "on",
        "no",
        "key",
        "skip",
        "nowait",
        "rows",
        "q",
    }
)
_PINNED = re.compile(r"set\s+search_path\s*(?:=|to)\s*(?:pg_catalog\s*,\s*pg_temp|qq)\b")
_CREATE_FUNCTION = re.compile(r"\bcreate\s+(?:or\s+replace\s+)?(?:function|procedure)\s+([\w.]+)")
_NAMED_HERE = re.compile(
    r"(?:\bwith|,|\brecursive)\s+(\w+)(?:\s*\([^)]*\))?\s+as\s+(?:not\s+)?(?:materialized\s+)?\("
)
# What a comment names in backticks is put before the statement by the code beside it.
_SAID = re.compile(r"--[^\n]*`(\w+)`")
_TRANSITION = re.compile(r"\b(?:new|old)\s+table\s+(?:as\s+)?(\w+)")


def in_file(path: str, sql: str) -> Iterator[Finding]:
    """Find what breaks a rule in one file."""
    if not sql.lstrip().startswith("-- "):
        yield Finding(path, 1, "the first line must be a comment that says what the file holds")
    blanked = sql_text.code(sql)
    if not path.startswith(_RELEASED):
        yield from _width(path, sql)
    yield from _keywords(path, blanked)
    yield from _functions(path, sql, blanked)
    yield from _relations(path, sql, blanked)


def _width(path: str, sql: str) -> Iterator[Finding]:
    for number, line in enumerate(sql.splitlines(), 1):
        if len(line) > WIDTH:
            yield Finding(path, number, f"{len(line)} columns: wrap it at {WIDTH}")


def _keywords(path: str, blanked: str) -> Iterator[Finding]:
    for word in sql_text.words(blanked):
        if word.text.isupper() and word.text.lower() in _KEYWORDS:
            yield Finding(path, word.line, f"keywords are in lowercase: {word.text}")


def _functions(path: str, sql: str, blanked: str) -> Iterator[Finding]:
    for match in _CREATE_FUNCTION.finditer(blanked):
        line = blanked.count("\n", 0, match.start()) + 1
        head = _head(blanked[match.start() :])
        is_definer = re.search(r"\bsecurity\s+definer\b", head) is not None
        if is_definer and not path.startswith("sql/"):
            yield Finding(path, line, f"{match[1]} has the owner's rights: it belongs into sql/")
        if not _PINNED.search(head) and (is_definer or not _says_why(sql, line)):
            yield Finding(path, line, f"{match[1]} does not pin search_path to pg_catalog, pg_temp")


def _head(function: str) -> str:
    """Return what comes before the body, and behind it up to the end of the statement."""
    parts = re.split(r"\$\w*\$", function, maxsplit=2)
    return parts[0] if len(parts) < 3 else parts[0] + parts[2].split(";")[0]


def _says_why(sql: str, line: int) -> bool:
    """Whether the comment right above the line speaks of search_path."""
    above = sql.splitlines()[: line - 1]
    while above and above[-1].startswith("--"):
        if "search_path" in above.pop():
            return True
    return False


def _relations(path: str, sql: str, blanked: str) -> Iterator[Finding]:
    known = {*_NAMED_HERE.findall(blanked), *_TRANSITION.findall(blanked), *_SAID.findall(sql)}
    all_words = list(sql_text.words(blanked))
    for index, word in enumerate(all_words[:-1]):
        name = _relation_after(all_words, index)
        if name is not None and "." not in name.text and name.text not in known:
            yield Finding(path, name.line, f"{word.text} {name.text}: without its schema")


def _relation_after(words: list[Word], index: int) -> Word | None:
    """Return the name behind the word at `index` that must have a schema, None for none."""
    word, before = words[index].text, words[index - 1].text if index else ""
    if word in _AFTER_CREATE and before in {"create", "replace", "drop", "alter"}:
        place = index + 1
        while words[place].text in {"if", "not", "exists"}:
            place += 1
        return words[place]
    if word not in _BEFORE_RELATION or not _is_read_or_changed(words, index, before):
        return None
    name = words[index + 1]
    is_name = re.match(r"[a-z_]", name.text) and name.text not in _NOT_A_RELATION
    return name if is_name else None


def _is_read_or_changed(words: list[Word], index: int, before: str) -> bool:
    word, name = words[index].text, words[index + 1].text
    if word == "into":  # `select ... into v_one` is of a variable
        return before == "insert"
    if word == "update":  # `for update of`, `on conflict do update set`, `grant update on`
        return before not in {"for", "key", "do", "or", "after", "before", ",", "grant"}
    is_call = index + 2 < len(words) and words[index + 2].text == "("
    if is_call or name.startswith("pg_"):  # those of pg_catalog are found first
        return False
    is_sign = before == "distinct" or _is_argument(words, index) or _is_revoked(words, index)
    return word == "join" or not is_sign


def _is_revoked(words: list[Word], index: int) -> bool:
    """Whether a `from` is followed by a role, as in `revoke all on ... from public`."""
    for word in reversed(words[:index]):
        if word.text in {"revoke", ";"}:
            return word.text == "revoke"
    return False


def _is_argument(words: list[Word], index: int) -> bool:
    """Whether a `from` is that of `extract(epoch from x)` and its like."""
    depth = 0
    for at in range(index - 1, max(index - 40, -1), -1):
        text = words[at].text
        depth += (text == ")") - (text == "(")
        if depth < 0:
            return at > 0 and words[at - 1].text in {
                "extract",
                "substring",
                "trim",
                "overlay",
                "position",
            }
        if text in {"select", "delete", ";"} and depth == 0:
            return False
    return False


_DEFINER = re.compile(r"#\[pg_extern\([^)]*\bsecurity_definer\b[^)]*\)\]")
_PINNED_NATIVE = re.compile(r"\s*(?:#\[[^\]]*\]\s*)*#\[search_path\(pg_catalog, pg_temp\)\]")


def in_rust(path: str, text: str) -> Iterator[Finding]:
    """Find native functions with the owner's rights whose search_path is not pinned."""
    for match in _DEFINER.finditer(text):
        if not _PINNED_NATIVE.match(text, match.end()):
            yield Finding(
                path,
                text.count("\n", 0, match.start()) + 1,
                "security_definer without #[search_path(...)]",
            )


def findings() -> Iterator[Finding]:
    """Find what breaks a rule in the SQL of the product and in its native functions."""
    # Statements of benchmarks are measured bare, and a program of theirs reads them.
    for path in files("sql/*.sql", "pg_devart/src/*.sql"):
        yield from in_file(path, read(path) or "")
    for path in files("pg_devart/src/*.rs"):
        yield from in_rust(path, read(path) or "")


if __name__ == "__main__":
    report(findings)
