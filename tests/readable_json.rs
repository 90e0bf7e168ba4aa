//! JSON that somebody could not read again is refused at every door, by the same function
//! (docs/decisions/readable-json.md), before anything is built of it.

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use sqlx::PgConnection;
use sqlx::postgres::PgDatabaseError;

use crate::support::queue::{claim, create};
use crate::support::{Database, run_sql, sqlstate};

/// JSON by SQL, and a part of the reason for which it is refused.
const POISON: &[(&str, &str)] = &[
    (
        "(repeat('[', 65) || repeat(']', 65))::jsonb",
        "nested deeper",
    ),
    (
        "(repeat('{\"a\":', 200) || '1' || repeat('}', 200))::jsonb",
        "nested deeper",
    ),
    ("'1e131071'::jsonb", "400 characters"),
    ("'-1e-16000'::jsonb", "400 characters"),
    (
        "('[' || repeat('1e131071,', 1000) || '1]')::jsonb",
        "400 characters",
    ),
    ("repeat('7', 6000)::jsonb", "400 characters"),
    (
        "'[{\"$serde_json::private::Number\": \"1\"}]'::jsonb",
        "$serde_json::private::",
    ),
    ("to_jsonb(repeat('x', 2 * 1024 * 1024))", "longer than"),
    (
        "('[' || repeat('1e300,', 9000) || '1]')::jsonb",
        "longer than",
    ),
];

/// Statements that bring `{json}` in, and the argument that they tell is wrong.
const DOORS: &[(&str, &str)] = &[
    (
        "insert into devart.tasks (title, payload) values ('t', {json})",
        "payload",
    ),
    (
        "insert into devart.tasks (title, result) values ('t', {json})",
        "result",
    ),
    ("update devart.tasks set payload = {json}", "payload"),
    ("update devart.tasks set result = {json}", "result"),
    (
        "select devart.create_task('t', payload => {json})",
        "payload",
    ),
    (
        "select devart.create_tasks(jsonb_build_array(
            jsonb_build_object('title', 't', 'payload', {json})))",
        "payload",
    ),
    (
        "select devart.update_task(id, jsonb_build_object('payload', {json})) from devart.tasks",
        "payload",
    ),
    (
        "select devart.complete_task(id, gen_random_uuid(), {json}) from devart.tasks",
        "result",
    ),
    (
        "select devart.agent_heartbeat(id, jsonb_build_object('load', {json})) from devart.agents",
        "detail",
    ),
    ("update devart.agents set detail = {json}", "detail"),
    ("update devart.system_settings set value = {json}", "value"),
    (
        "insert into devart.approvals (subject, subject_id, digest, detail)
         values ('task', gen_random_uuid(), '', {json})",
        "detail",
    ),
    (
        "insert into devart_private.outbox (topic, payload) values ('pager.alert', {json})",
        "payload",
    ),
    (
        "select devart.render_template('{{ a }}', jsonb_build_object('a', {json}))",
        "variables",
    ),
    (
        "select devart.reserve_charge(gen_random_uuid(), usage => jsonb_build_object('a', {json}))",
        "usage",
    ),
    (
        "select devart.dispatch_task(gen_random_uuid(), usage => jsonb_build_object('a', {json}))",
        "usage",
    ),
    (
        "select devart.settle_charge(gen_random_uuid(), usage => jsonb_build_object('a', {json}))",
        "usage",
    ),
];

/// SQLSTATE, message and DETAIL of the refusal.
async fn refusal(
    session: &mut PgConnection,
    statement: &str,
) -> Result<(String, String, Option<Value>)> {
    let Err(error) = run_sql(session, statement.to_owned()).await else {
        bail!("{statement} succeeded");
    };
    let error = error
        .as_database_error()
        .with_context(|| format!("{statement}: {error}"))?
        .downcast_ref::<PgDatabaseError>();
    let detail = error.detail().map(serde_json::from_str).transpose();
    let detail = detail.with_context(|| format!("{statement}: {error:?}"))?;
    Ok((error.code().to_owned(), error.message().to_owned(), detail))
}

#[tokio::test]
async fn what_nobody_could_read_is_refused_at_every_door_by_its_name_and_the_reason() -> Result<()>
{
    let db = Database::create().await?;
    db.agent(&[]).await?;
    create(&db.owner, json!({"title": "waits"})).await?;
    let mut session = db.session().await?;
    for (door, field) in DOORS {
        for (poison, reason) in POISON {
            let statement = door.replace("{json}", poison);
            let (code, message, detail) = refusal(&mut session, &statement).await?;
            assert_eq!(code, "22023", "{statement}: {message}");
            assert_eq!(detail, Some(json!({"field": field})), "{statement}");
            assert!(message.starts_with(field), "{statement}: {message}");
            assert!(message.contains(reason), "{statement}: {message}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn people_and_agents_meet_the_same_rule_and_may_write_what_is_readable() -> Result<()> {
    let db = Database::create().await?;
    let agent = db.agent(&[]).await?;
    create(&db.owner, json!({"title": "parent"})).await?;
    let parent = claim(&db.owner, agent.id).await?.context("a task")?.task_id;
    let poison = POISON[0].0;
    let person = db.person("supervisor").await?;
    for (caller, parent) in [
        (person, "null".to_owned()),
        (agent.caller(), format!("'{parent}'")),
    ] {
        let mut session = db.session_as(caller).await?;
        let insert = |payload| {
            format!(
                "insert into devart.tasks (title, parent_task_id, payload)
                 values ('t', {parent}, {payload})"
            )
        };
        let (code, ..) = refusal(&mut session, &insert(poison)).await?;
        assert_eq!(code, "22023", "{caller:?}");
        run_sql(&mut session, insert("'{\"a\": [1]}'")).await?;
    }
    let mut session = db.session_as(person).await?;
    let update = format!("update devart.tasks set payload = {poison} where title = 't'");
    assert_eq!(refusal(&mut session, &update).await?.0, "22023");
    Ok(())
}

#[tokio::test]
async fn a_value_is_as_long_as_it_will_be_read_and_not_a_byte_longer() -> Result<()> {
    let db = Database::create().await?;
    for value in [
        "null",
        "true",
        "false",
        "0",
        "-0.00",
        "7",
        "10000",
        "12345678901234567890.0123456789",
        "-1e-7",
        "1e20",
        "123456e-10",
        "1.7976931348623157e308",
        "5e-324",
        r#""""#,
        r#""ü \"quoted\" \\ \n \u0001 \u001f 😀""#,
        "[]",
        "{}",
        "[null, true, false, [], {}, [[]], 1.50]",
        r#"{"b": {"c": [1, 2, 3]}, "a\n": "x", "": -10.010}"#,
    ] {
        let fits = |spare: i32| {
            sqlx::query_scalar::<_, bool>(
                "select devart_private.check_json(v, 'v', octet_length(v::text) + $2)
                 from (select $1::text::jsonb as v) one",
            )
            .bind(value)
            .bind(spare)
            .fetch_one(&db.owner)
        };
        assert!(fits(0).await?, "{value}");
        assert_eq!(sqlstate(&fits(-1).await), "22023", "{value}");
    }
    // Arrays of more than 32 elements tell where each begins in another way.
    let many: bool = sqlx::query_scalar(
        "select devart_private.check_json(v, 'v', octet_length(v::text))
         from (select jsonb_object_agg(repeat('k', n % 50) || n, jsonb_build_array(n, n / 7.0, 'x'))
                   || jsonb_build_object('list', jsonb_agg(n * 1000000 + 0.5)) as v
               from generate_series(1, 1000) n) one",
    )
    .fetch_one(&db.owner)
    .await?;
    assert!(many);
    Ok(())
}

#[tokio::test]
async fn what_is_just_readable_goes_all_the_way_through() -> Result<()> {
    let db = Database::create().await?;
    let agent = db.agent(&[]).await?;
    for payload in [
        "(repeat('[', 64) || repeat(']', 64))::jsonb",
        "repeat('7', 400)::jsonb",
        "'[\"$serde_json::private::Number\"]'::jsonb",
        "to_jsonb(repeat('x', 262142))",
    ] {
        let statement = format!("select devart.create_task('t', payload => {payload})");
        run_sql(&mut db.session().await?, statement).await?;
        let claimed = claim(&db.owner, agent.id).await?.context(payload)?;
        let kept: bool = sqlx::query_scalar(
            "update devart.tasks set payload = payload, result = payload where id = $1
             returning payload = result",
        )
        .bind(claimed.task_id)
        .fetch_one(&db.owner)
        .await?;
        assert!(kept, "{payload}");
    }
    Ok(())
}

#[tokio::test]
async fn what_would_become_gigabytes_takes_no_memory_before_it_is_refused() -> Result<()> {
    let db = Database::create().await?;
    let mut session = db.session().await?;
    let process: i32 = sqlx::query_scalar("select pg_backend_pid()")
        .fetch_one(&mut session)
        .await?;
    let poison = "('[' || repeat('1e131071,', 1000) || '1]')::jsonb";
    for door in [
        "insert into devart.tasks (title, payload) values ('t', {json})",
        "select devart.complete_tasks(array[gen_random_uuid()], array[gen_random_uuid()], array[{json}])",
        "select devart.render_template('{{ a }}', jsonb_build_object('a', {json}))",
        "select length(devart.readable_json({json})::text)",
    ] {
        // Some refuse, some answer: none may write it out.
        let _ = run_sql(&mut session, door.replace("{json}", poison)).await;
    }
    let most = highest_memory_kib(process)?;
    assert!(most < 400 * 1024, "the backend took {most} KiB");
    Ok(())
}

/// The most that the process has ever had, in KiB.
fn highest_memory_kib(process: i32) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let number = line.and_then(|line| line.trim().split(' ').next());
    number
        .and_then(|number| number.parse().ok())
        .context("VmHWM")
}

#[tokio::test]
async fn one_result_that_cannot_be_kept_does_not_hold_up_a_batch() -> Result<()> {
    let db = Database::create().await?;
    let agent = db.agent(&[]).await?;
    for title in ["a", "b", "c"] {
        create(&db.owner, json!({"title": title})).await?;
    }
    let outcomes: Vec<(String, String)> = sqlx::query_as(
        "with c as materialized (select * from devart.claim_tasks($1, 3)),
         finished as materialized (
             select o.task_id, o.outcome from devart.complete_tasks(
                 (select array_agg(task_id) from c), (select array_agg(lease_token) from c),
                 (select array_agg(case title when 'b' then '1e131071' else '{}' end::jsonb) from c)) o)
         select c.title, f.outcome from c join finished f using (task_id) order by c.title",
    )
    .bind(agent.id)
    .fetch_all(&db.owner)
    .await?;
    let outcomes: Vec<(&str, &str)> = outcomes
        .iter()
        .map(|(title, outcome)| (title.as_str(), outcome.as_str()))
        .collect();
    assert_eq!(
        outcomes,
        [("a", "DONE"), ("b", "RESULT_REFUSED"), ("c", "DONE")]
    );
    let states: Vec<(String, String)> =
        sqlx::query_as("select title::text, status::text from devart.tasks order by title")
            .fetch_all(&db.owner)
            .await?;
    assert_eq!(states[1], ("b".to_owned(), "IN_PROGRESS".to_owned()));
    Ok(())
}

#[tokio::test]
async fn what_an_agent_says_of_itself_is_an_object_of_some_kibibytes() -> Result<()> {
    let db = Database::create().await?;
    let agent = db.agent(&[]).await?;
    let beat = |detail: String| {
        let sql = format!("select devart.agent_heartbeat('{}', {detail})", agent.id);
        sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(&db.owner)
    };
    for detail in ["'[]'", "'5'", "'\"lease_tokens\"'", "'null'"] {
        let refused = beat(format!("{detail}::jsonb")).await;
        assert_eq!(sqlstate(&refused), "22023", "{detail}");
    }
    let long = "jsonb_build_object('note', repeat('x', 20000))";
    assert_eq!(sqlstate(&beat(long.to_owned()).await), "22023");
    // Leases are listed, and not kept.
    let tokens =
        "(select jsonb_build_object('lease_tokens', jsonb_agg(gen_random_uuid()), 'note', 'x')
                   from generate_series(1, 3000))";
    beat(tokens.to_owned()).await?;
    let kept: Value = sqlx::query_scalar("select detail from devart.agents where id = $1")
        .bind(agent.id)
        .fetch_one(&db.owner)
        .await?;
    assert_eq!(kept, json!({"note": "x"}));
    Ok(())
}

#[tokio::test]
async fn a_template_gives_no_more_than_a_payload_can_hold() -> Result<()> {
    let db = Database::create().await?;
    let mut anonymous = db.session_as(crate::support::Caller::Anon).await?;
    let render = "select length(devart.render_template(
        repeat('{{ a }}', {times}), jsonb_build_object('a', repeat('x', 100000))))";
    run_sql(&mut anonymous, render.replace("{times}", "2")).await?;
    for times in ["3", "2000", "1000000"] {
        let statement = render.replace("{times}", times);
        let (code, message, detail) = refusal(&mut anonymous, &statement).await?;
        assert_eq!(
            (code.as_str(), detail),
            ("22023", Some(json!({"field": "template"})))
        );
        assert!(message.contains("256 KiB"), "{message}");
    }
    Ok(())
}

#[tokio::test]
async fn a_message_that_nobody_could_read_says_so_and_holds_up_no_other() -> Result<()> {
    let db = Database::create().await?;
    let mut session = db.session().await?;
    // As it was before there was a rule.
    let insert = "alter domain devart_private.outbox_payload drop constraint outbox_payload_check;
         insert into devart_private.outbox (topic, payload) values
             ('pager.alert', (repeat('[', 200) || repeat(']', 200))::jsonb),
             ('pager.alert', '{\"kind\": \"good\"}')";
    run_sql(&mut session, insert.to_owned()).await?;
    for claim in [
        "select payload from devart_private.outbox_rows('pager.alert', false, 10)",
        "select payload from devart_private.claim_outbox('pager.alert', 10, '1 minute')",
    ] {
        let payloads: Vec<Value> = sqlx::query_scalar(claim).fetch_all(&mut session).await?;
        assert!(payloads[0]["unreadable"].is_string(), "{}", payloads[0]);
        assert_eq!(payloads[1], json!({"kind": "good"}));
    }
    Ok(())
}
