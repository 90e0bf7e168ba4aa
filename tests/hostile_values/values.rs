//! Values that something has stumbled over, by kind (numbers, times, texts, JSON, arrays), spelled
//! so that they can be said in SQL and over HTTP.

use Spelling::{Is, Keys, List, Many, Nested, Text};

/// How a value is written. What is large is made where it is needed.
#[derive(Debug, Clone, Copy)]
pub enum Spelling {
    /// As it stands here.
    Is(&'static str),
    /// This, so many times.
    Many(&'static str, usize),
    /// So many arrays within each other.
    Nested(usize),
    /// An array of so many of these.
    List(&'static str, usize),
    /// An object with so many members.
    Keys(usize),
    /// A JSON string of this, so many times.
    Text(&'static str, usize),
}

impl Spelling {
    pub fn text(self) -> String {
        match self {
            Is(text) => text.to_owned(),
            Many(text, times) => text.repeat(times),
            Nested(levels) => "[".repeat(levels) + &"]".repeat(levels),
            List(item, times) => format!("[{}]", vec![item; times].join(",")),
            Keys(count) => {
                let members: Vec<String> = (1..=count).map(|n| format!("\"k{n}\":{n}")).collect();
                format!("{{{}}}", members.join(","))
            }
            Text(text, times) => format!("\"{}\"", text.repeat(times)),
        }
    }

    /// As an expression of type text; none for what no statement can contain.
    pub fn sql(self) -> Option<String> {
        let quoted = |text: &str| format!("'{}'", text.replace('\'', "''"));
        let expression = match self {
            Is(text) => quoted(text),
            Many(text, times) => format!("repeat({}, {times})", quoted(text)),
            Nested(levels) => format!("repeat('[', {levels}) || repeat(']', {levels})"),
            List(item, times) => {
                let repeated = quoted(&format!("{item},"));
                let last = quoted(&format!("{item}]"));
                format!("'[' || repeat({repeated}, {}) || {last}", times - 1)
            }
            Keys(count) => format!(
                "(select json_object_agg('k' || n, n)::text from generate_series(1, {count}) n)"
            ),
            Text(text, times) => format!("'\"' || repeat({}, {times}) || '\"'", quoted(text)),
        };
        (!expression.contains('\0')).then_some(expression)
    }
}

pub const TEXTS: &[Spelling] = &[
    Is(""),
    Is(" "),
    Is("\0"),
    Is("a\0b"),
    Is("\u{1}\u{1b}[31m\n\r\t"),
    Is("\u{202e}\u{85}\u{feff}"),
    Is("مرحبا\u{200f}"),
    Is("💥<b>*_`[x](y)"),
    Is("'; select \"'\\"),
    Is("%00%s%n%"),
    Is("{{"),
    Is("null"),
    Is("infinity"),
    Many("{{ a }}", 1_000),
    Many("x", 10_000),
    Many("x", 900_000),
    Many("ü", 1_000_000),
];

pub const NUMBERS: &[Spelling] = &[
    Is("NaN"),
    Is("Infinity"),
    Is("-Infinity"),
    Is("0"),
    Is("-1"),
    Is("-0.0"),
    Is("1e-7"),
    Is("1e-400"),
    Is("999999999999.999999"),
    Is("1e12"),
    Is("1e300"),
    Is("1e400"),
    Is("1e131071"),
    Is("123456789012345678901234567890123456789"),
    Many("7", 6_000),
];

/// Of an `integer`, and beside its ends.
pub const WHOLE_NUMBERS: &[Spelling] = &[
    Is("0"),
    Is("-1"),
    Is("1000"),
    Is("1001"),
    Is("2147483647"),
    Is("2147483648"),
    Is("-2147483648"),
];

pub const LARGE_WHOLE_NUMBERS: &[Spelling] = &[
    Is("0"),
    Is("-1"),
    Is("9223372036854775807"),
    Is("9223372036854775808"),
    Is("-9223372036854775808"),
];

pub const TIMES: &[Spelling] = &[
    Is("infinity"),
    Is("-infinity"),
    Is("4714-11-24 BC"),
    Is("0001-01-01 BC"),
    Is("1969-01-01"),
    Is("0000-01-01T00:00:00Z"),
    Is("1969-12-31T23:59:59Z"),
    Is("9999-12-31 23:59:59-12:00"),
    Is("9999-12-31T23:59:59-12:00"),
    Is("2025-02-29T00:00:00Z"),
    Is("2025-03-30T02:30:00+01:00"),
    Is("2016-12-31T23:59:60Z"),
    Is("20000-01-01"),
    Is("294276-12-31"),
];

pub const INTERVALS: &[Spelling] = &[
    Is("0"),
    Is("-5 seconds"),
    Is("200000 years"),
    Is("178000000 years"),
    Is("-178000000 years"),
    Is("1 microsecond"),
];

pub const IDS: &[Spelling] = &[
    Is("00000000-0000-0000-0000-000000000000"),
    Is("ffffffff-ffff-ffff-ffff-ffffffffffff"),
];

/// Also what no JSON is.
pub const JSON: &[Spelling] = &[
    Is("null"),
    Is("true"),
    Is("50"),
    Is("-5.5"),
    Is("\"text\""),
    Is("{}"),
    Is("{\"a\": 1"),
    Is("{\"a\": 1, \"a\": 2}"),
    Is("\"a\\u0000\""),
    Is("\"\\ud800\""),
    Is("{\"a\\u0000\": \"\\udc00\"}"),
    Is("{\"$serde_json::private::Number\": \"1\"}"),
    Is("{\"$serde_json::private::Number\": [1]}"),
    Is("{\"a\": \"{{ a }}\", \"b\": [1, {\"c\": null}]}"),
    Is("{\"request\": 1e131071}"),
    Is("{\"request\": -1}"),
    Is("{\"request\": \"1\"}"),
    Is("{\"request\": 123456789012345678901234567890123}"),
    Is("{\"lease_tokens\": \"x\"}"),
    Is("{\"lease_tokens\": [\"x\"]}"),
    Is("{\"lease_tokens\": {\"a\": 1}}"),
    Is("{\"title\": null}"),
    Is("{\"title\": [1], \"priority\": \"NONE\"}"),
    Is("{\"run_at\": \"infinity\"}"),
    Is("{\"run_at\": \"20000-01-01\"}"),
    Is("{\"estimated_cost_usd\": \"NaN\"}"),
    Is("{\"max_retries\": 1e10}"),
    Is("{\"required_capabilities\": {\"a\": 1}}"),
    Is("{\"required_capabilities\": [[\"a\"], [\"b\"]]}"),
    Is("{\"budget_usd\": \"Infinity\", \"alert_thresholds\": [null]}"),
    Is("{\"budget_usd\": 1e300}"),
    Is("{\"period\": \"day\", \"time_zone\": \"Mars\"}"),
    Is("{\"alert_thresholds\": [[1], [2]]}"),
    Is("{\"substitute_service_id\": \"00000000-0000-0000-0000-000000000000\"}"),
    Nested(65),
    Nested(200),
    Nested(5_000),
    Nested(100_000),
    Keys(100_000),
    Text("x", 2_000_000),
];

/// As JSON has them.
pub const ARRAYS: &[Spelling] = &[
    Is("[]"),
    Is("[null]"),
    Is("[{}]"),
    Is("[\"a\", null]"),
    Is("[\"a\", \"a\", \"a\"]"),
    Is("[[1, 2], [3, 4]]"),
    Is("[-1, 2147483648]"),
    Is("[null, 5, \"x\", [], {\"title\": 5}]"),
    Is("[{\"title\": \"t\", \"required_capabilities\": [[\"a\"], [\"b\"]]}]"),
    Is("[{\"title\": \"t\", \"run_at\": \"infinity\"}, {\"title\": \"u\"}]"),
    List("1e131071", 2_000),
    List("\"x\"", 100_000),
    List("\"00000000-0000-0000-0000-000000000000\"", 20_000),
];

/// Arrays as only Postgres has them, by type: a value that makes sense, and expressions of others.
const SQL_ARRAYS: &[(&str, &str, &[&str])] = &[
    (
        "text[]",
        "'{}'",
        &[
            "'{NULL}'",
            "'{\"\"}'",
            "'{{a,b},{c,d}}'",
            "'[5:6]={a,b}'",
            "array[repeat('x', 10000)]",
            "array_fill('x'::text, array[100000])",
            "'{a,a,a}'",
            "(select array_agg('hostile' || n) from generate_series(1, 20) n)",
        ],
    ),
    (
        "integer[]",
        "'{50}'",
        &[
            "'{}'",
            "'{NULL}'",
            "'{50,NULL}'",
            "'{{1,2},{3,4}}'",
            "'[5:6]={1,2}'",
            "'{-1}'",
            "'{2147483647}'",
            "array_fill(1, array[100000])",
        ],
    ),
    (
        "uuid[]",
        "'{}'",
        &[
            "'{NULL}'",
            "array[[gen_random_uuid()], [gen_random_uuid()]]",
            "'[5:5]={00000000-0000-0000-0000-000000000000}'",
            "array_fill(gen_random_uuid(), array[20000])",
            "array[gen_random_uuid()]",
        ],
    ),
    (
        "jsonb[]",
        "null",
        &[
            "'{}'",
            "'{NULL}'",
            "array[['1'::jsonb], ['2'::jsonb]]",
            "array[(repeat('[', 200) || repeat(']', 200))::jsonb]",
            "array['1e131071'::jsonb]",
            "array_fill('{}'::jsonb, array[20000])",
        ],
    ),
    (
        "bytea",
        "'x'",
        &["''", "'\\x00ff'", "repeat('x', 1000000)::bytea"],
    ),
];

/// By type as Postgres prints it: a value that makes sense, and the lists of others.
const BY_TYPE: &[(&str, &str, &[&[Spelling]])] = &[
    ("text", "'text'", &[TEXTS]),
    ("numeric", "1", &[NUMBERS]),
    ("integer", "1", &[WHOLE_NUMBERS]),
    ("bigint", "1", &[LARGE_WHOLE_NUMBERS]),
    ("double precision", "1", &[NUMBERS]),
    ("boolean", "true", &[]),
    ("uuid", "gen_random_uuid()", &[IDS]),
    ("jsonb", "'{}'", &[JSON, ARRAYS]),
    ("timestamp with time zone", "now()", &[TIMES]),
    ("interval", "'1 minute'", &[INTERVALS]),
];

/// For a type of Postgres: the value that makes sense, and all others with null, as expressions.
/// What is of no type here (enumerations) has its labels only where the caller knows them.
pub fn of(sql_type: &str, labels: &[String]) -> (String, Vec<String>) {
    let cast = |value: &str| format!("({value})::{sql_type}");
    let known = BY_TYPE.iter().find(|(name, ..)| *name == sql_type);
    let array = SQL_ARRAYS.iter().find(|(name, ..)| *name == sql_type);
    let mut all = vec![cast("null")];
    all.extend(labels.iter().map(|label| cast(&format!("'{label}'"))));
    let sensible = match (known, array) {
        (Some((_, sensible, kinds)), _) => {
            let spelled = kinds.iter().copied().flatten();
            all.extend(spelled.filter_map(|value| Some(cast(&value.sql()?))));
            sensible
        }
        (None, Some((_, sensible, expressions))) => {
            all.extend(expressions.iter().map(|value| cast(value)));
            sensible
        }
        (None, None) => "null",
    };
    if sql_type == "boolean" {
        all.push(cast("false"));
    }
    (cast(sensible), all)
}

/// As text, for a place where only text can be: a path, a query, a header.
pub fn as_text() -> impl Iterator<Item = String> {
    [
        TEXTS,
        NUMBERS,
        WHOLE_NUMBERS,
        LARGE_WHOLE_NUMBERS,
        TIMES,
        IDS,
    ]
    .into_iter()
    .flatten()
    .map(|value| value.text())
}

/// As a member of JSON, raw, for a member of whatever type: also of a wrong one.
pub fn as_json() -> impl Iterator<Item = String> {
    let strings = [TEXTS, TIMES, INTERVALS, IDS].into_iter().flatten();
    let strings = strings.map(|value| serde_json::json!(value.text()).to_string());
    let numbers = [NUMBERS, WHOLE_NUMBERS, LARGE_WHOLE_NUMBERS];
    let numbers = numbers.into_iter().flatten().flat_map(|value| {
        let text = value.text();
        [serde_json::json!(text).to_string(), text]
    });
    let documents = [JSON, ARRAYS].into_iter().flatten();
    strings
        .chain(numbers)
        .chain(documents.map(|value| value.text()))
}
