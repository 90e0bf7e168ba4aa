//! Values that something has stumbled over, by their type, as expressions of SQL.

/// `type` as Postgres prints it, a value that makes sense, and values that may not.
pub const VALUES: &[(&str, &str, &[&str])] = &[
    (
        "text",
        "'text'",
        &[
            "''",
            "' '",
            "repeat('x', 10000)",
            "repeat('ü', 1000000)",
            "e'\\x01\\x1b[31m\\n\\r\\t'",
            "e'\\u202e\\u0085\\ufeff'",
            "'💥<b>*_`[x](y)'",
            "repeat('{{ a }}', 1000)",
            "'{{'",
            "'null'",
            "'infinity'",
        ],
    ),
    (
        "numeric",
        "1",
        &[
            "'NaN'",
            "'Infinity'",
            "'-Infinity'",
            "0",
            "-1",
            "-0.0",
            "1e-7",
            "1e-400",
            "999999999999.999999",
            "1e12",
            "123456789012345678901234567890123456789",
            "1e131071",
        ],
    ),
    (
        "integer",
        "1",
        &["0", "-1", "2147483647", "-2147483648", "1000", "1001"],
    ),
    (
        "bigint",
        "1",
        &["0", "-1", "9223372036854775807", "-9223372036854775808"],
    ),
    ("boolean", "true", &["false"]),
    (
        "double precision",
        "1",
        &["'NaN'", "'Infinity'", "'-Infinity'", "-1", "1e300"],
    ),
    (
        "uuid",
        "gen_random_uuid()",
        &[
            "'00000000-0000-0000-0000-000000000000'",
            "'ffffffff-ffff-ffff-ffff-ffffffffffff'",
        ],
    ),
    (
        "jsonb",
        "'{}'",
        &[
            "'null'",
            "'5'",
            "'\"text\"'",
            "'[]'",
            "'[{}]'",
            "'[null, 5, \"x\", [], {\"title\": 5}]'",
            "'[{\"title\": \"t\", \"required_capabilities\": [[\"a\"], [\"b\"]]}]'",
            "'[{\"title\": \"t\", \"run_at\": \"infinity\"}, {\"title\": \"u\"}]'",
            "(repeat('[', 200) || repeat(']', 200))::jsonb",
            "(repeat('[', 5000) || repeat(']', 5000))::jsonb",
            "('[' || repeat('1e131071,', 2000) || '1]')::jsonb",
            "'{\"request\": 1e131071}'",
            "'{\"request\": -1}'",
            "'{\"request\": \"1\"}'",
            "'{\"request\": 123456789012345678901234567890123}'",
            "'{\"$serde_json::private::Number\": \"1\"}'",
            "'{\"$serde_json::private::Number\": [1]}'",
            "'{\"a\": \"{{ a }}\", \"b\": [1, {\"c\": null}]}'",
            "jsonb_build_object('lease_tokens', 'x')",
            "'{\"lease_tokens\": [\"x\"]}'",
            "'{\"lease_tokens\": {\"a\": 1}}'",
            "'{\"title\": null}'",
            "'{\"title\": [1], \"priority\": \"NONE\"}'",
            "'{\"run_at\": \"infinity\"}'",
            "'{\"run_at\": \"20000-01-01\"}'",
            "'{\"estimated_cost_usd\": \"NaN\"}'",
            "'{\"max_retries\": 1e10}'",
            "'{\"required_capabilities\": {\"a\": 1}}'",
            "'{\"required_capabilities\": [[\"a\"], [\"b\"]]}'",
            "'{\"budget_usd\": \"Infinity\", \"alert_thresholds\": [null]}'",
            "'{\"budget_usd\": 1e300}'",
            "'{\"period\": \"day\", \"time_zone\": \"Mars\"}'",
            "'{\"alert_thresholds\": [[1], [2]]}'",
            "'{\"substitute_service_id\": \"00000000-0000-0000-0000-000000000000\"}'",
            "(select jsonb_object_agg('k' || n, n) from generate_series(1, 100000) n)",
            "to_jsonb(repeat('x', 2000000))",
        ],
    ),
    (
        "timestamp with time zone",
        "now()",
        &[
            "'infinity'",
            "'-infinity'",
            "'4714-11-24 BC'",
            "'0001-01-01 BC'",
            "'1969-01-01'",
            "'9999-12-31 23:59:59-12:00'",
            "'20000-01-01'",
            "'294276-12-31'",
        ],
    ),
    (
        "interval",
        "'1 minute'",
        &[
            "'0'",
            "'-5 seconds'",
            "'200000 years'",
            "'178000000 years'",
            "'-178000000 years'",
            "'1 microsecond'",
        ],
    ),
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
            "'{{1,2},{3,4}}'",
            "'{-1}'",
            "'{2147483647}'",
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

/// The value that makes sense, and all others: null and those of the type. Enumerated types have
/// their labels.
pub fn of(sql_type: &str) -> (String, Vec<String>) {
    let cast = |value: &str| format!("({value})::{sql_type}");
    let known = VALUES.iter().find(|(name, ..)| *name == sql_type);
    let (sensible, hostile): (&str, &[&str]) =
        known.map_or(("null", &[]), |(_, sensible, hostile)| (*sensible, *hostile));
    let mut all = vec![cast("null")];
    all.extend(hostile.iter().map(|value| cast(value)));
    (cast(sensible), all)
}
