//! Approvals of any subject: one file of functions for each, called by name.

use anyhow::Result;
use serde_json::json;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::support::queue::{create, status};
use crate::support::{Database, sqlstate};

/// What a file 43N_approval_publish.sql would hold.
const PUBLISH: &str = "
    create table public.published (id uuid, what text);
    grant all on public.published to devart_owner;
    create function devart_private.approval_decisions_publish() returns text[]
        language sql as $$ select '{approve,reject}'::text[] $$;
    create function devart_private.approval_is_current_publish(p_approval devart.approvals)
        returns boolean language sql as $$ select p_approval.digest = 'same' $$;
    create function devart_private.approval_granted_publish(p_approval devart.approvals, p_other uuid)
        returns void language sql
        as $$ insert into public.published values (p_approval.subject_id, 'granted') $$;
    create function devart_private.approval_rejected_publish(p_approval devart.approvals, p_why text)
        returns void language sql
        as $$ insert into public.published values (p_approval.subject_id, p_why) $$;";

/// Asks people about the subject publish; gives the approval.
async fn request_to_publish(db: &Database, digest: &str) -> Result<Uuid> {
    let request = "select devart_private.request_approval(
        'publish', devart.uuid_v7(), $1::bytea, null, now() + interval '1 hour')";
    let query = sqlx::query_scalar(request).bind(digest.as_bytes());
    Ok(query.fetch_one(&db.owner).await?)
}

async fn decide(session: &mut PgConnection, id: Uuid, decision: &str) -> sqlx::Result<String> {
    sqlx::query_scalar("select (devart.decide_approval($1, $2)).status::text")
        .bind(id)
        .bind(decision)
        .fetch_one(session)
        .await
}

/// A task that waits for approval, and its approval.
async fn request_task(db: &Database) -> Result<(Uuid, Uuid)> {
    let arguments = json!({"title": "risky", "needs_approval": true});
    let task_id = create(&db.owner, arguments).await?;
    let approval_id = sqlx::query_scalar("select id from devart.approvals where subject_id = $1")
        .bind(task_id)
        .fetch_one(&db.owner)
        .await?;
    Ok((task_id, approval_id))
}

#[tokio::test]
async fn a_new_subject_is_four_functions_and_nothing_else() -> Result<()> {
    let db = Database::create().await?;
    sqlx::raw_sql(PUBLISH).execute(&db.owner).await?;
    let mut people = db.session_as(db.person("supervisor").await?).await?;
    let good = request_to_publish(&db, "same").await?;
    assert_eq!(decide(&mut people, good, "approve").await?, "APPROVED");
    let bad = request_to_publish(&db, "same").await?;
    assert_eq!(decide(&mut people, bad, "reject").await?, "REJECTED");
    let changed = request_to_publish(&db, "other").await?;
    let refused = decide(&mut people, changed, "approve").await;
    assert_eq!(sqlstate(&refused), "55000");
    sqlx::query("update devart.approvals set expires_at = now() where status = 'PENDING'")
        .execute(&db.owner)
        .await?;
    assert_eq!(db.maintain().await?["approvals_expired"], 1);
    let done: Vec<String> = sqlx::query_scalar("select what from public.published")
        .fetch_all(&db.owner)
        .await?;
    assert_eq!(done, ["granted", "approval rejected", "approval expired"]);
    Ok(())
}

#[tokio::test]
async fn a_subject_that_nothing_handles_is_refused_and_harms_nobody() -> Result<()> {
    let db = Database::create().await?;
    let (task_id, _) = request_task(&db).await?;
    let refused = sqlx::query(
        "insert into devart.approvals (subject, subject_id, digest)
         values ('sandbox', devart.uuid_v7(), '')",
    )
    .execute(&db.owner)
    .await;
    assert_eq!(sqlstate(&refused), "22023");
    sqlx::query("update devart.approvals set expires_at = now()")
        .execute(&db.owner)
        .await?;
    assert_eq!(db.maintain().await?["approvals_expired"], 1);
    assert_eq!(status(&db.owner, task_id).await?, "CANCELLED");
    Ok(())
}

#[tokio::test]
async fn a_decision_that_the_subject_does_not_know_is_no_vote() -> Result<()> {
    let db = Database::create().await?;
    let (_, approval_id) = request_task(&db).await?;
    let mut people = db.session_as(db.person("supervisor").await?).await?;
    let substitute = sqlx::query(
        "select devart.decide_approval($1, 'substitute', service_id => devart.uuid_v7())",
    )
    .bind(approval_id)
    .execute(&mut people)
    .await;
    assert_eq!(sqlstate(&substitute), "22023");
    let votes: i64 = sqlx::query_scalar("select count(*) from devart.approval_votes")
        .fetch_one(&db.owner)
        .await?;
    assert_eq!(votes, 0);
    Ok(())
}

#[tokio::test]
async fn a_function_of_the_callers_own_is_never_the_handler() -> Result<()> {
    let db = Database::create().await?;
    let (task_id, approval_id) = request_task(&db).await?;
    let mut people = db.session_as(db.person("supervisor").await?).await?;
    sqlx::raw_sql(
        "create function pg_temp.approval_granted_task(a devart.approvals, s uuid) returns void
            language plpgsql as $$ begin raise exception 'the wrong one'; end $$;
         create function pg_temp.to_regproc(t text) returns regproc
            language plpgsql as $$ begin raise exception 'the wrong one'; end $$;
         set search_path = pg_temp, devart_private, devart, pg_catalog",
    )
    .execute(&mut people)
    .await?;
    assert_eq!(
        decide(&mut people, approval_id, "approve").await?,
        "APPROVED"
    );
    assert_eq!(status(&db.owner, task_id).await?, "TODO");
    Ok(())
}
