//! What is inside already and cannot be handed out harms only itself: a claim sets it aside, with
//! the reason, and goes on (docs/decisions/set-aside-tasks.md).

use anyhow::{Context, Result};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::api::Api;
use crate::support::budget::{audit, claim_funded, costly_task, service, standing, usd};
use crate::support::queue::{claim, claim_batch, create, history, start, status, task};
use crate::support::{Database, run_sql, sqlstate};

/// Payloads that were taken before there was a rule.
const OLD: &[&str] = &[
    "(repeat('[', 200) || repeat(']', 200))::jsonb",
    "('[' || repeat('1e131071,', 9000) || '1]')::jsonb",
    "repeat('7', 6000)::jsonb",
    "'{\"$serde_json::private::Number\": \"1\"}'::jsonb",
    "'{\"$serde_json::private::Number\": [1]}'::jsonb",
];

/// Inserts tasks as they were before there was a rule about their payload.
async fn old_tasks(db: &Database, select: &str) -> Result<()> {
    let sql = format!(
        "begin;
         create temporary table rule on commit drop as
             select pg_get_constraintdef(oid) as definition from pg_constraint
             where conname = 'tasks_payload_check' and contypid = 'devart.task_payload'::regtype;
         alter domain devart.task_payload drop constraint tasks_payload_check;
         insert into devart.tasks (title, priority, payload) {select};
         do $$ begin execute format(
             'alter domain devart.task_payload add constraint tasks_payload_check %s',
             (select definition from rule)); end $$;
         commit"
    );
    run_sql(&mut db.session().await?, sql).await?;
    Ok(())
}

async fn one_of_each(db: &Database) -> Result<Vec<Uuid>> {
    for payload in OLD {
        old_tasks(db, &format!("values ('old', 'CRITICAL', {payload})")).await?;
    }
    let tasks: Vec<Uuid> = sqlx::query_scalar("select id from devart.tasks where title = 'old'")
        .fetch_all(&db.owner)
        .await?;
    assert_eq!(tasks.len(), OLD.len());
    Ok(tasks)
}

#[tokio::test]
async fn a_claim_sets_aside_what_nobody_could_read_and_hands_out_the_next() -> Result<()> {
    let db = Database::create().await?;
    let agent = db.agent(&[]).await?;
    let old = one_of_each(&db).await?;
    let good = create(&db.owner, json!({"title": "good", "priority": "LOW"})).await?;
    let claimed = claim(&db.owner, agent.id).await?.context("the good one")?;
    assert_eq!(claimed.task_id, good);
    for id in old {
        let aside = task(&db.owner, id).await?;
        assert_eq!(aside.status, "FAILED");
        let why = aside.last_error.context("the reason")?;
        assert!(
            why.starts_with("cannot be handed out: its payload must not "),
            "{why}"
        );
        assert_eq!(
            history(&db.owner, id).await?.last().map(String::as_str),
            Some("FAILED")
        );
    }
    Ok(())
}

#[tokio::test]
async fn a_batch_goes_on_without_them_and_an_invitation_is_dropped() -> Result<()> {
    let db = Database::create().await?;
    let agent = db.agent(&[]).await?;
    let old = one_of_each(&db).await?;
    for title in ["a", "b", "c"] {
        create(&db.owner, json!({"title": title})).await?;
    }
    assert!(start(&db.owner, old[0], agent.id).await?.is_none());
    assert_eq!(status(&db.owner, old[0]).await?, "FAILED");
    let claimed = claim_batch(&db.owner, agent.id, 10).await?;
    let titles: Vec<&str> = claimed.iter().map(|task| task.title.as_str()).collect();
    assert_eq!(titles, ["a", "b", "c"]);
    Ok(())
}

#[tokio::test]
async fn any_number_of_them_is_worked_off_in_a_few_claims() -> Result<()> {
    let db = Database::create().await?;
    let agent = db.agent(&[]).await?;
    let many = "select 'old', 'CRITICAL', repeat('7', 6000)::jsonb from generate_series(1, 250)";
    old_tasks(&db, many).await?;
    let good = create(&db.owner, json!({"title": "good"})).await?;
    let mut claims = 0;
    let claimed = loop {
        claims += 1;
        if let Some(claimed) = claim(&db.owner, agent.id).await? {
            break claimed;
        }
        assert!(claims < 10, "the good one is never reached");
    };
    assert_eq!(claimed.task_id, good);
    assert!(claims > 1, "one claim does not do the work of hours");
    Ok(())
}

/// Lets a hold of 13 dollars fail with this SQLSTATE.
async fn unlucky(db: &Database, code: &str) -> Result<()> {
    let sql = format!(
        "create or replace function public.unlucky() returns trigger language plpgsql as $$
         begin raise exception 'thirteen is secret' using errcode = '{code}'; end $$;
         create or replace trigger unlucky before insert on devart.holds
             for each row when (new.amount_usd = 13) execute function public.unlucky()"
    );
    run_sql(&mut db.session().await?, sql).await?;
    Ok(())
}

#[tokio::test]
async fn a_task_whose_money_is_an_error_fails_for_itself() -> Result<()> {
    let db = Database::create().await?;
    let (agent, id) = (
        db.agent(&[]).await?,
        service(&db.owner, "model", "100").await?,
    );
    unlucky(&db, "22003").await?;
    let bad = costly_task(&db.owner, "bad", id, "13").await?;
    let good = costly_task(&db.owner, "good", id, "2").await?;
    let claimed = claim_funded(&db.owner, agent.id, 5).await?;
    assert_eq!((claimed.len(), claimed[0].task_id), (1, good));
    let aside = task(&db.owner, bad).await?;
    assert_eq!(aside.status, "FAILED");
    let why = aside.last_error.context("the reason")?;
    assert!(why.contains("22003") && !why.contains("secret"), "{why}");
    assert_eq!(standing(&db.owner, id).await?.held_usd, usd("2"));
    audit(&db.owner).await;

    // Given another life, it fails for itself again; by an invitation, too.
    sqlx::query("select devart.retry_task($1)")
        .bind(bad)
        .execute(&db.owner)
        .await?;
    assert!(start(&db.owner, bad, agent.id).await?.is_none());
    assert_eq!(status(&db.owner, bad).await?, "FAILED");
    audit(&db.owner).await;
    Ok(())
}

#[tokio::test]
async fn what_another_attempt_may_overcome_fails_no_task() -> Result<()> {
    let db = Database::create().await?;
    let (agent, id) = (
        db.agent(&[]).await?,
        service(&db.owner, "model", "100").await?,
    );
    let unlucky_one = costly_task(&db.owner, "t", id, "13").await?;
    for code in ["40001", "40P01", "57014", "53100"] {
        unlucky(&db, code).await?;
        let refused = claim_funded(&db.owner, agent.id, 5).await;
        assert_eq!(sqlstate(&refused), code);
        assert_eq!(status(&db.owner, unlucky_one).await?, "TODO");
    }
    audit(&db.owner).await;
    Ok(())
}

#[tokio::test]
async fn a_list_shows_what_nobody_could_read_and_everything_beside_it() -> Result<()> {
    let db = Database::create().await?;
    let old = one_of_each(&db).await?;
    create(&db.owner, json!({"title": "good", "payload": {"a": 1}})).await?;
    let api = Api::start(&db).await?;
    let http = api.client(db.person("supervisor").await?);
    let listed = http.get("/api/tasks").await?.expect(200);
    let items = listed["items"].as_array().context("items")?;
    assert_eq!(items.len(), OLD.len() + 1);
    for item in items {
        match item["title"].as_str() {
            Some("good") => assert_eq!(item["payload"], json!({"a": 1})),
            _ => assert!(item["payload"]["unreadable"].is_string(), "{item}"),
        }
    }
    for id in old {
        let path = format!("/api/tasks/{id}");
        let one = http.get(&path).await?.expect(200);
        assert!(one["payload"]["unreadable"].is_string(), "{one}");
        let edited = http.put(&path, json!({"title": "edited"})).await?;
        assert_eq!(edited.expect(200)["title"], "edited");
        let cancelled = http
            .post(&format!("{path}/cancel"), json!({"reason": "old"}))
            .await?;
        assert_eq!(cancelled.expect(200)["status"], "CANCELLED");
        assert_eq!(http.delete(&path).await?.status, 204);
    }
    Ok(())
}

#[tokio::test]
async fn an_agent_is_served_over_http_beside_them() -> Result<()> {
    let db = Database::create().await?;
    one_of_each(&db).await?;
    let good = create(&db.owner, json!({"title": "good", "priority": "LOW"})).await?;
    let api = Api::start(&db).await?;
    let http = api.agent(&db.agent(&[]).await?);
    let claimed = http
        .post("/api/tasks/claim", json!({"max_tasks": 10}))
        .await?
        .expect(200);
    let ids: Vec<&Value> = claimed["items"]
        .as_array()
        .context("items")?
        .iter()
        .map(|item| &item["task_id"])
        .collect();
    assert_eq!(ids, [&json!(good)]);
    Ok(())
}

#[tokio::test]
async fn an_approved_task_that_nobody_could_read_holds_up_no_other_when_it_is_due() -> Result<()> {
    let db = Database::create().await?;
    let exponents = OLD[1];
    old_tasks(&db, &format!("values ('old', 'CRITICAL', {exponents})")).await?;
    let good = json!({"title": "good", "run_at": "2999-01-01T00:00:00Z"});
    let good = create(&db.owner, good).await?;
    sqlx::raw_sql(
        "set session_replication_role = replica;
         update devart.tasks
         set needs_approval = title = 'old', status = 'SCHEDULED', run_at = now();
         with asked as (
             insert into devart.approvals (subject, subject_id, digest, status)
             select 'task', t.id, devart_private.task_digest(t), 'APPROVED' from devart.tasks t
             where t.title = 'old' returning id)
         insert into devart.approval_votes (approval_id, voter, approve)
         select id, gen_random_uuid(), true from asked",
    )
    .execute(&mut db.session().await?)
    .await?;
    let done = db.maintain().await?;
    assert_eq!(
        (&done["failed"], &done["put_off"]),
        (&Value::Null, &Value::Null),
        "{done}"
    );
    assert_eq!(done["promoted"], 2);
    assert_eq!(status(&db.owner, good).await?, "TODO");
    Ok(())
}
