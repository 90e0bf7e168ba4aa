//! Times and intervals that not every part of devart can reckon with are refused where they enter,
//! and one that is inside already hides nothing else.

use anyhow::{Context, Result};
use serde_json::{Value, json};
use sqlx::postgres::PgDatabaseError;

use crate::support::api::Api;
use crate::support::budget::{reserve, service};
use crate::support::queue::{claim, create, status};
use crate::support::{Database, run_sql};

const NO_TIMES: &[&str] = &[
    "infinity",
    "-infinity",
    "4714-11-24 00:00:00+00 BC",
    "0001-01-01 00:00:00+00 BC",
    "1969-12-31 23:59:59.999999+00",
    "3000-01-01 00:00:00+00",
    "9999-12-31 23:59:59-12:00",
    "20000-01-01 00:00:00+00",
    "294276-12-31 23:59:59+00",
];

/// The DETAIL of the refusal with 22023.
async fn refused(db: &Database, statement: &str) -> Result<Value> {
    let executed = run_sql(&mut db.session().await?, statement.to_owned()).await;
    let error = executed
        .err()
        .with_context(|| format!("{statement} succeeded"))?;
    let error = error
        .as_database_error()
        .with_context(|| format!("{statement}: {error}"))?
        .downcast_ref::<PgDatabaseError>();
    assert_eq!(error.code(), "22023", "{statement}: {error}");
    Ok(serde_json::from_str(error.detail().unwrap_or_default())?)
}

#[tokio::test]
async fn a_time_without_sense_is_refused_at_every_door_by_its_name() -> Result<()> {
    let db = Database::create().await?;
    db.agent(&[]).await?;
    create(&db.owner, json!({"title": "t"})).await?;
    run_sql(
        &mut db.session().await?,
        "insert into devart.service_registry (name) values ('model');
         select devart.set_service_price(id, 'token', 1) from devart.service_registry"
            .to_owned(),
    )
    .await?;
    for at in NO_TIMES {
        for (door, field) in [
            (
                "insert into devart.tasks (title, run_at) values ('u', '{at}')",
                "run_at",
            ),
            ("update devart.tasks set run_at = '{at}'", "run_at"),
            ("select devart.create_task('u', run_at => '{at}')", "run_at"),
            (
                "select devart.create_tasks('[{\"title\": \"u\", \"run_at\": \"{at}\"}]')",
                "run_at",
            ),
            (
                "select devart.update_task(id, '{\"run_at\": \"{at}\"}') from devart.tasks",
                "run_at",
            ),
            (
                "select devart.rotate_agent_key(id, '{at}') from devart.agents",
                "expires_at",
            ),
            (
                "select devart.set_service_price(id, 'request', 1, '{at}')
                 from devart.service_registry",
                "effective_from",
            ),
            (
                "select devart.correct_service_price(id, effective_from => '{at}')
                 from devart.service_prices",
                "effective_from",
            ),
            (
                "select devart.end_service_price(id, '{at}') from devart.service_prices",
                "effective_to",
            ),
            (
                "select devart.defer_service(id, '{at}') from devart.service_registry",
                "until",
            ),
        ] {
            let statement = door.replace("{at}", at);
            assert_eq!(
                refused(&db, &statement).await?,
                json!({"field": field}),
                "{statement}"
            );
        }
    }
    for at in ["1970-01-01 00:00:00+00", "2999-12-31 23:59:59.999999+00"] {
        create(&db.owner, json!({"title": "u", "run_at": at})).await?;
    }
    Ok(())
}

#[tokio::test]
async fn private_columns_of_times_have_their_range_too() -> Result<()> {
    let db = Database::create().await?;
    let agent = db.agent(&[]).await?;
    create(&db.owner, json!({"title": "t"})).await?;
    let service = service(&db.owner, "model", "1").await?;
    reserve(&db.owner, service, "1").await?;
    for (statement, constraint) in [
        (
            format!(
                "update devart_private.agent_api_keys set expires_at = '{{at}}' where agent_id = '{}'",
                agent.id
            ),
            "agent_api_keys_expires_at_check",
        ),
        (
            "insert into devart.approvals (subject, subject_id, digest, expires_at)
             values ('task', gen_random_uuid(), '', '{at}')"
                .to_owned(),
            "approvals_expires_at_check",
        ),
        (
            "update devart.tasks set claimed_at = '{at}'".to_owned(),
            "tasks_times_check",
        ),
        (
            "update devart.tasks set lease_expires_at = '{at}'".to_owned(),
            "tasks_times_check",
        ),
        (
            "update devart.holds set expires_at = '{at}'".to_owned(),
            "holds_expires_at_check",
        ),
    ] {
        for at in NO_TIMES {
            let executed = run_sql(&mut db.session().await?, statement.replace("{at}", at)).await;
            let error = executed
                .err()
                .with_context(|| format!("{statement} {at}"))?;
            let error = error.as_database_error().context("the database's")?;
            assert_eq!(error.constraint(), Some(constraint), "{at}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_delay_without_sense_is_refused_and_the_task_stays_with_its_agent() -> Result<()> {
    let db = Database::create().await?;
    let agent = db.agent(&[]).await?;
    let id = create(&db.owner, json!({"title": "t"})).await?;
    let claimed = claim(&db.owner, agent.id).await?.context("a task")?;
    let report = |after: &str| {
        format!(
            "select devart.report_task_failure('{id}', '{}', 'e', true, interval '{after}')",
            claimed.lease_token
        )
    };
    for after in [
        "200000 years",
        "178000000 years",
        "-178000000 years",
        "-5 seconds",
        "366 days",
    ] {
        assert_eq!(
            refused(&db, &report(after)).await?,
            json!({"field": "retry_after"}),
            "{after}"
        );
    }
    assert_eq!(status(&db.owner, id).await?, "IN_PROGRESS");
    run_sql(&mut db.session().await?, report("365 days")).await?;
    assert_eq!(status(&db.owner, id).await?, "SCHEDULED");
    Ok(())
}

#[tokio::test]
async fn a_setting_that_no_time_can_hold_is_refused_and_by_hand_counts_as_its_default() -> Result<()>
{
    let db = Database::create().await?;
    for key in ["approval_expiry_seconds", "priority_aging_seconds"] {
        let statement = format!("select devart.set_setting('{key}', '1e15')");
        assert_eq!(refused(&db, &statement).await?, json!({"field": "value"}));
    }
    for value in ["1e15", "-1", "\"long\"", "null", "1e300"] {
        sqlx::query(
            "update devart.system_settings set value = $1::jsonb
             where key in ('approval_expiry_seconds', 'agent_offline_seconds', 'max_rescues')",
        )
        .bind(value.parse::<Value>()?)
        .execute(&db.owner)
        .await?;
        let id = create(&db.owner, json!({"title": value, "needs_approval": true})).await?;
        let days: f64 = sqlx::query_scalar(
            "select extract(epoch from expires_at - created_at)::float8 / 86400
             from devart.approvals where subject_id = $1",
        )
        .bind(id)
        .fetch_one(&db.owner)
        .await?;
        assert_eq!(days, 7.0, "{value}");
        db.maintain().await?;
    }
    Ok(())
}

#[tokio::test]
async fn over_http_a_time_without_sense_is_a_422_that_names_it() -> Result<()> {
    let db = Database::create().await?;
    let api = Api::start(&db).await?;
    let http = api.client(db.person("supervisor").await?);
    let agent = db.agent(&[]).await?;
    for at in [
        "0000-01-01T00:00:00Z",
        "1969-12-31T23:59:59Z",
        "3000-01-01T00:00:00Z",
        "9999-12-31T23:59:59-12:00",
        "9999-12-31T23:59:59+12:00",
        "20000-01-01T00:00:00Z",
        "infinity",
    ] {
        let answer = http
            .post("/api/tasks", json!({"title": "t", "run_at": at}))
            .await?;
        assert_eq!(answer.problem(422), "invalid_argument", "{at}");
        assert_eq!(answer.body["field"], "run_at", "{at}: {}", answer.text);
        let keys = format!("/api/agents/{}/keys", agent.id);
        let answer = http.post(&keys, json!({"expires_at": at})).await?;
        answer.problem(422);
        assert_eq!(answer.body["field"], "expires_at", "{at}: {}", answer.text);
    }
    let id = create(&db.owner, json!({"title": "t"})).await?;
    let claimed = claim(&db.owner, agent.id).await?.context("a task")?;
    let failure = json!({
        "lease_token": claimed.lease_token, "error": "e", "retry_after_seconds": 31_536_001,
    });
    let answer = api
        .agent(&agent)
        .post(&format!("/api/tasks/{id}/report-failure"), failure)
        .await?;
    answer.problem(422);
    assert_eq!(answer.body["field"], "retry_after_seconds");
    let document = api.anonymous.get("/api/openapi.json").await?.expect(200);
    let told = document["components"]["schemas"]["Timestamp"]["description"].to_string();
    assert!(told.contains("1970-01-01T00:00:00Z"), "{told}");
    Ok(())
}

#[tokio::test]
async fn a_time_that_no_text_can_say_hides_nothing_in_a_list() -> Result<()> {
    let db = Database::create().await?;
    for title in ["infinity", "-infinity", "20000-01-01", "4714-11-24 BC"] {
        create(&db.owner, json!({"title": title})).await?;
    }
    // As it was before there was a rule.
    sqlx::raw_sql(
        "set session_replication_role = replica;
         update devart.tasks set run_at = title::text::timestamptz, created_at = title::text::timestamptz;
         set session_replication_role = default",
    )
    .execute(&mut db.session().await?)
    .await?;
    let api = Api::start(&db).await?;
    let http = api.client(db.person("viewer").await?);
    let listed = http.get("/api/tasks").await?.expect(200);
    let shown: Vec<(&str, &str)> = listed["items"]
        .as_array()
        .context("items")?
        .iter()
        .map(|item| {
            let text = |member: &str| item[member].as_str().unwrap_or_default();
            (text("title"), text("run_at"))
        })
        .collect();
    assert_eq!(shown.len(), 4);
    for (title, run_at) in shown {
        let expected = match title {
            "infinity" | "20000-01-01" => "9999-12-31T23:59:59Z",
            _ => "0001-01-01T00:00:00Z",
        };
        assert_eq!(run_at, expected, "{title}");
    }
    Ok(())
}
