"""What counts as breaking a rule of SQL."""

from __future__ import annotations

import unittest

from sql_rules import in_file, in_rust

_PINNED = "\nset search_path = pg_catalog, pg_temp"


def found(sql: str, path: str = "sql/idempotent/200_a.sql") -> list[str]:
    return [
        f"{finding.line} {finding.text}" for finding in in_file(path, f"-- What it holds.\n{sql}")
    ]


class SqlRules(unittest.TestCase):
    def test_a_file_says_what_it_holds(self) -> None:
        self.assertEqual(len(list(in_file("sql/a.sql", "select 1;"))), 1)

    def test_lines_are_wrapped_but_in_released_files(self) -> None:
        line = f"-- {'word ' * 25}"
        self.assertEqual(len(found(line)), 1)
        self.assertEqual(found(line, "sql/incremental/0001_a.sql"), [])

    def test_keywords_in_capitals_are_found_but_not_in_texts_and_comments(self) -> None:
        self.assertEqual(found("SELECT 1;"), ["2 keywords are in lowercase: SELECT"])
        self.assertEqual(
            found("select 'NOT NULL', \"SELECT\"; -- NULL\n/* FROM */ select $$it's$$;"), []
        )

    def test_a_function_pins_its_path_before_or_behind_its_body(self) -> None:
        function = "create function devart.f() returns int language sql"
        self.assertEqual(found(f"{function} {_PINNED} as $$ select 1 $$;"), [])
        self.assertEqual(found(f"{function} as $$ select 1 $$ {_PINNED};"), [])
        self.assertEqual(found(f"{function} set search_path = '' as $$ select 1 $$;"), [])
        self.assertEqual(len(found(f"{function} as $$ select 1 $$;\nselect '{_PINNED}';")), 1)
        self.assertEqual(len(found(f"{function} set search_path = devart as $$ select 1 $$;")), 1)

    def test_a_function_that_says_why_need_not_pin_unless_it_has_the_owners_rights(self) -> None:
        reason = "-- No search_path: it becomes part of the query."
        function = f"{reason}\ncreate function devart.f() returns int"
        self.assertEqual(found(f"{function} language sql as $$ select 1 $$;"), [])
        self.assertEqual(
            len(found(f"{function} language sql security definer as $$ select 1 $$;")), 1
        )

    def test_functions_with_the_owners_rights_stand_in_sql(self) -> None:
        head = "create function devart.f() returns int language sql security definer"
        sql = f"{head} {_PINNED} as $$ select 1 $$;"
        self.assertEqual(found(sql), [])
        self.assertEqual(len(found(sql, "pg_devart/src/a.sql")), 1)

    def test_relations_without_their_schema_are_found(self) -> None:
        for sql in (
            "select 1 from tasks;",
            "select 1 from devart.tasks t join agents a on true;",
            "insert into tasks values (1);",
            "update tasks set a = 1;",
            "delete from tasks;",
            "create table if not exists tasks (id int);",
            "drop function if exists f();",
            "create or replace view v as select 1;",
        ):
            with self.subTest(sql):
                self.assertEqual(len(found(sql)), 1)

    def test_what_only_looks_like_a_relation_is_not(self) -> None:
        for sql in (
            "with a as (select 1), b(x) as materialized (select 2) select 1 from a join b on true;",
            "select extract(epoch from started_at), a is distinct from b from devart.tasks;",
            "select 1 into v_one from unnest(v_all) u for update of t;",
            "select 1 from (select 2) x cross join lateral generate_series(1, 2) g;",
            "insert into devart.a values (1) on conflict do update set a = 1;",
            "revoke select on devart.a from somebody;",
            "select 1 from pg_class;",
            "create trigger t after update on devart.a referencing new table as n; select 1 from n",
            "-- The code beside it makes `finished`.\nselect 1 from finished;",
        ):
            with self.subTest(sql):
                self.assertEqual(found(sql), [])

    def test_native_functions_with_the_owners_rights_pin_their_path(self) -> None:
        extern = "#[pg_extern(volatile, security_definer)]\n"
        self.assertEqual(len(list(in_rust("a.rs", f"{extern}fn f() {{}}"))), 1)
        self.assertEqual(
            list(in_rust("a.rs", f"{extern}#[search_path(pg_catalog, pg_temp)]\nfn f() {{}}")), []
        )


if __name__ == "__main__":
    unittest.main()
