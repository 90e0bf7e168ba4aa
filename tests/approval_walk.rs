//! No way leads a task that needs approval to a worker but the votes on its content as it is: each
//! state, and from there each function and each statement that some role may make.

use std::collections::{HashMap, VecDeque};

use anyhow::{Context, Result};
use serde_json::{Value, json};
use sqlx::PgConnection;
use tokio::sync::Mutex;
use uuid::Uuid;

use crate::support::queue::{claim_batch, complete, create, fail, start, status};
use crate::support::{Caller, Database, run_sql, sqlstate};

/// The states in which a task that needs approval can be, each with whether people approved it as it
/// is.
const STATES: [(&str, bool); 11] = [
    ("asking", false),
    ("half voted", false),
    ("rejected", false),
    ("expired", false),
    ("cancelled while asking", false),
    ("cancelled when approved", false),
    ("failed", false),
    ("edited when approved", false),
    ("approved", true),
    ("approved and scheduled", true),
    ("approved and blocked", true),
];

/// What somebody does to `{task}`: as whom, and what. None of it is a vote.
const STEPS: &[(&str, &str)] = &[
    ("author", "select devart.retry_task('{task}')"),
    ("author", "select devart.cancel_task('{task}')"),
    (
        "author",
        "select devart.update_task('{task}', '{\"title\": \"other\"}')",
    ),
    (
        "author",
        "select devart.update_task('{task}', '{\"payload\": {\"rm\": 1}}')",
    ),
    (
        "author",
        "select devart.update_task('{task}', '{\"run_at\": null}')",
    ),
    (
        "author",
        "select devart.update_task('{task}', '{\"run_at\": \"2000-01-01\", \"priority\": \"CRITICAL\"}')",
    ),
    (
        "author",
        "select devart.update_task('{task}', '{\"required_capabilities\": [\"rust\"]}')",
    ),
    (
        "author",
        "update devart.tasks set title = 'other' where id = '{task}'",
    ),
    (
        "author",
        "update devart.tasks set payload = '{\"rm\": 1}' where id = '{task}'",
    ),
    (
        "author",
        "update devart.tasks set description = 'other' where id = '{task}'",
    ),
    (
        "author",
        "update devart.tasks set estimated_cost_usd = 9 where id = '{task}'",
    ),
    (
        "author",
        "update devart.tasks set required_capabilities = '{rust}' where id = '{task}'",
    ),
    (
        "author",
        "update devart.tasks set priority = 'CRITICAL' where id = '{task}'",
    ),
    (
        "author",
        "update devart.tasks set status = 'TODO' where id = '{task}'",
    ),
    (
        "author",
        "update devart.tasks set needs_approval = false where id = '{task}'",
    ),
    (
        "author",
        "select devart.decide_approval(id, 'approve') from devart.approvals
        where subject_id = '{task}' and status = 'PENDING'",
    ),
    (
        "author",
        "select devart.decide_approval(id, 'reject') from devart.approvals
        where subject_id = '{task}' and status = 'PENDING'",
    ),
    (
        "author",
        "insert into devart.task_dependencies (task_id, depends_on)
        select '{task}', id from devart.tasks where title = 'open'",
    ),
    (
        "author",
        "select devart.cancel_task(id) from devart.tasks where title = 'open'",
    ),
    (
        "author",
        "select devart.delete_task(id) from devart.tasks where title = 'open'",
    ),
    ("other", "select devart.retry_task('{task}')"),
    (
        "other",
        "update devart.tasks set title = 'other' where id = '{task}'",
    ),
    ("agent", "select devart.start_task('{task}')"),
    ("agent", "select devart.claim_tasks(null, 10)"),
    (
        "service_role",
        "update devart.tasks set status = 'TODO' where id = '{task}'",
    ),
    (
        "service_role",
        "update devart.tasks set status = 'SCHEDULED' where id = '{task}'",
    ),
    (
        "service_role",
        "update devart.tasks set status = 'BLOCKED' where id = '{task}'",
    ),
    (
        "service_role",
        "update devart.tasks set status = 'IN_PROGRESS' where id = '{task}'",
    ),
    (
        "service_role",
        "update devart.tasks set needs_approval = false, status = 'TODO' where id = '{task}'",
    ),
    (
        "service_role",
        "update devart.tasks set status = 'TODO', title = 'other' where id = '{task}'",
    ),
    (
        "service_role",
        "select devart_private.resume_task('{task}')",
    ),
    ("service_role", "select devart_private.maintain()"),
    (
        "service_role",
        "select devart_private.unblock_dependents(id) from devart.tasks where title = 'open'",
    ),
    ("service_role", "delete from devart.task_dependencies"),
];

/// More than ever vote on one task, so that whose turn it is has not voted on it.
const VOTERS: usize = 8;

/// Sessions stay, since what one loads at its start takes longer than all that is done in it here.
struct World {
    db: Database,
    author: Caller,
    other: Caller,
    agent: Caller,
    /// By whose they are.
    sessions: Mutex<HashMap<String, PgConnection>>,
    voters: Mutex<VecDeque<PgConnection>>,
}

impl World {
    async fn new() -> Result<Self> {
        let db = Database::create().await?;
        db.set("approval_quorum", json!(2)).await?;
        let agent = db.agent(&["rust"]).await?.caller();
        Ok(World {
            author: db.person("supervisor").await?,
            other: db.person("supervisor").await?,
            agent,
            sessions: Mutex::default(),
            voters: Mutex::default(),
            db,
        })
    }

    async fn session(&self, who: &str) -> Result<PgConnection> {
        let caller = match who {
            "author" => self.author,
            "other" => self.other,
            "agent" => self.agent,
            role => {
                let mut session = self.db.session().await?;
                run_sql(&mut session, format!("set role {role}")).await?;
                return Ok(session);
            }
        };
        Ok(self.db.session_as(caller).await?)
    }

    /// The session of `who` among those that stay.
    async fn kept<'a>(
        &self,
        sessions: &'a mut HashMap<String, PgConnection>,
        who: &str,
    ) -> Result<&'a mut PgConnection> {
        if !sessions.contains_key(who) {
            sessions.insert(who.to_owned(), self.session(who).await?);
        }
        sessions.get_mut(who).context("it was put there")
    }

    /// So many votes on what is asked now, each of somebody who has not voted on it.
    async fn vote(&self, task_id: Uuid, decision: &str, votes: usize) -> Result<()> {
        let mut voters = self.voters.lock().await;
        for _ in 0..votes {
            let mut session = if voters.len() < VOTERS {
                let voter = self.db.person("supervisor").await?;
                self.db.session_as(voter).await?
            } else {
                voters.pop_front().context("a voter")?
            };
            sqlx::query(
                "select devart.decide_approval(id, $2) from devart.approvals
                 where subject_id = $1 and status = 'PENDING'",
            )
            .bind(task_id)
            .bind(decision)
            .execute(&mut session)
            .await?;
            voters.push_back(session);
        }
        Ok(())
    }

    async fn run(&self, who: &str, task_id: Uuid, sql: &str) -> Result<String> {
        let sql = sql.replace("{task}", &task_id.to_string());
        let mut sessions = self.sessions.lock().await;
        let session = self.kept(&mut sessions, who).await?;
        Ok(sqlstate(&run_sql(session, sql).await))
    }

    async fn create_as_author(&self, arguments: Value) -> Result<Uuid> {
        let mut sessions = self.sessions.lock().await;
        let session = self.kept(&mut sessions, "author").await?;
        Ok(create(session, arguments).await?)
    }

    /// A task of the author's in this state.
    async fn task(&self, state: &str) -> Result<Uuid> {
        create(
            &self.db.owner,
            json!({"title": "open", "run_at": "2999-01-01T00:00:00Z"}),
        )
        .await?;
        let mut arguments = json!({"title": "risky", "needs_approval": true});
        if state == "approved and scheduled" {
            arguments["run_at"] = json!("2999-01-01T00:00:00Z");
        }
        if state == "approved and blocked" {
            arguments["depends_on"] = self.open_tasks().await?;
        }
        let id = self.create_as_author(arguments).await?;
        match state {
            "asking" => (),
            "half voted" => self.vote(id, "approve", 1).await?,
            "rejected" => self.vote(id, "reject", 1).await?,
            "expired" => {
                sqlx::query("update devart.approvals set expires_at = now()")
                    .execute(&self.db.owner)
                    .await?;
                self.db.maintain().await?;
            }
            "cancelled while asking" => {
                self.run("author", id, "select devart.cancel_task('{task}')")
                    .await?;
            }
            _ => self.vote(id, "approve", 2).await?,
        }
        match state {
            "cancelled when approved" => {
                self.run("other", id, "select devart.cancel_task('{task}')")
                    .await?;
            }
            "failed" => {
                let Caller::Agent(agent) = self.agent else {
                    unreachable!()
                };
                let held = start(&self.db.owner, id, agent)
                    .await?
                    .context("approved")?;
                fail(&self.db.owner, &held, false).await?;
            }
            "edited when approved" => {
                self.run(
                    "author",
                    id,
                    "select devart.update_task('{task}', '{\"title\": \"worse\"}')",
                )
                .await?;
            }
            _ => (),
        }
        Ok(id)
    }

    async fn open_tasks(&self) -> Result<Value> {
        let ids: Vec<Uuid> = sqlx::query_scalar("select id from devart.tasks where title = 'open'")
            .fetch_all(&self.db.owner)
            .await?;
        Ok(json!(ids))
    }

    async fn content(&self, task_id: Uuid) -> Result<Option<Vec<u8>>> {
        Ok(sqlx::query_scalar(
            "select devart_private.task_digest(t) from devart.tasks t where id = $1",
        )
        .bind(task_id)
        .fetch_optional(&self.db.owner)
        .await?)
    }
}

/// Whether nobody may work on it in this state.
fn is_held_back(status: &str) -> bool {
    matches!(
        status,
        "AWAITING_APPROVAL" | "CANCELLED" | "FAILED" | "DONE" | "gone"
    )
}

#[tokio::test]
async fn no_pair_of_state_and_step_leads_to_a_worker_without_votes() -> Result<()> {
    let world = World::new().await?;
    let mut allowed = 0;
    for (state, is_approved) in STATES {
        for (who, step) in STEPS {
            let id = world.task(state).await?;
            let before = world.content(id).await?;
            let outcome = world.run(who, id, step).await?;
            allowed += usize::from(outcome == "ok");
            let after = status(&world.db.owner, id)
                .await
                .unwrap_or("gone".to_owned());
            let is_as_approved = is_approved && world.content(id).await? == before;
            assert!(
                is_as_approved || is_held_back(&after),
                "{state}: {who} did {step}, answered {outcome}: the task is {after}"
            );
            // And it is not stuck: people can still decide.
            if after == "AWAITING_APPROVAL" {
                world.vote(id, "approve", 2).await?;
                let then = status(&world.db.owner, id).await?;
                assert_ne!(then, "AWAITING_APPROVAL", "{state}: after {who} did {step}");
            }
            let leftovers: i64 = sqlx::query_scalar(
                "select count(*) from devart.approvals a where a.status = 'PENDING'
                 and not exists (select from devart.tasks t
                                 where t.id = a.subject_id and t.status = 'AWAITING_APPROVAL')",
            )
            .fetch_one(&world.db.owner)
            .await?;
            assert_eq!(leftovers, 0, "{state}: {who} did {step}");
            sqlx::query("delete from devart.tasks")
                .execute(&world.db.owner)
                .await?;
        }
    }
    assert!(
        allowed > STATES.len() * STEPS.len() / 3,
        "only {allowed} steps were taken"
    );
    Ok(())
}

#[tokio::test]
async fn a_deleted_task_asks_nobody_any_more() -> Result<()> {
    let world = World::new().await?;
    let id = world.task("half voted").await?;
    assert_eq!(
        world
            .run("author", id, "select devart.delete_task('{task}')")
            .await?,
        "ok"
    );
    let pending: i64 =
        sqlx::query_scalar("select count(*) from devart.approvals where status = 'PENDING'")
            .fetch_one(&world.db.owner)
            .await?;
    assert_eq!(pending, 0);
    Ok(())
}

#[tokio::test]
async fn a_retry_by_the_worker_keeps_the_votes_and_an_edit_back_does_not() -> Result<()> {
    let world = World::new().await?;
    let Caller::Agent(agent) = world.agent else {
        unreachable!()
    };
    let id = world.task("approved").await?;
    let held = start(&world.db.owner, id, agent)
        .await?
        .context("approved")?;
    let released: String = sqlx::query_scalar("select status from devart.release_task($1, $2)")
        .bind(held.task_id)
        .bind(held.lease_token)
        .fetch_one(&world.db.owner)
        .await?;
    assert_eq!(released, "TODO");
    let held = start(&world.db.owner, id, agent)
        .await?
        .context("still approved")?;
    fail(&world.db.owner, &held, true).await?;
    assert_eq!(status(&world.db.owner, id).await?, "SCHEDULED");
    for title in ["worse", "risky"] {
        let step = format!("update devart.tasks set title = '{title}' where id = '{{task}}'");
        assert_eq!(world.run("author", id, &step).await?, "ok");
        assert_eq!(
            status(&world.db.owner, id).await?,
            "AWAITING_APPROVAL",
            "{title}"
        );
    }
    Ok(())
}

#[tokio::test]
async fn whoever_edited_or_retried_does_not_approve() -> Result<()> {
    let world = World::new().await?;
    world.db.set("approval_quorum", json!(1)).await?;
    let approve = "select devart.decide_approval(id, 'approve') from devart.approvals
        where subject_id = '{task}' and status = 'PENDING'";
    for step in [
        "update devart.tasks set title = 'mine' where id = '{task}'",
        "select devart.cancel_task('{task}'), devart.retry_task('{task}')",
    ] {
        let id = world.task("asking").await?;
        assert_eq!(world.run("other", id, step).await?, "ok");
        assert_eq!(world.run("other", id, approve).await?, "42501", "{step}");
        assert_eq!(world.run("author", id, approve).await?, "42501", "{step}");
        world.vote(id, "approve", 1).await?;
        assert_eq!(status(&world.db.owner, id).await?, "TODO", "{step}");
    }
    Ok(())
}

#[tokio::test]
async fn a_row_inserted_directly_waits_for_people_in_each_state_that_it_asks_for() -> Result<()> {
    let world = World::new().await?;
    for state in ["TODO", "SCHEDULED", "BLOCKED", "AWAITING_APPROVAL"] {
        let mut session = world.session("author").await?;
        let id: Uuid = sqlx::query_scalar(
            "insert into devart.tasks (title, needs_approval, status)
             values ('t', true, $1::text::devart.task_status) returning id",
        )
        .bind(state)
        .fetch_one(&mut session)
        .await?;
        assert_eq!(
            status(&world.db.owner, id).await?,
            "AWAITING_APPROVAL",
            "{state}"
        );
        world.vote(id, "approve", 2).await?;
        assert_eq!(status(&world.db.owner, id).await?, "TODO", "{state}");
    }
    Ok(())
}

#[tokio::test]
async fn of_two_votes_at_once_in_any_isolation_one_sees_the_other() -> Result<()> {
    for isolation in ["read committed", "repeatable read", "serializable"] {
        let world = World::new().await?;
        let id = world.task("asking").await?;
        let vote = "select devart.decide_approval(id, 'approve') from devart.approvals
            where subject_id = '{task}' and status = 'PENDING'"
            .replace("{task}", &id.to_string());
        let mut sessions = Vec::new();
        for _ in 0..2 {
            let person = world.db.person("supervisor").await?;
            let mut session = world.db.session_as(person).await?;
            run_sql(&mut session, format!("begin isolation level {isolation}")).await?;
            run_sql(
                &mut session,
                "select count(*) from devart.approvals".to_owned(),
            )
            .await?;
            sessions.push(session);
        }
        let mut second = sessions.pop().context("two")?;
        let mut first = sessions.pop().context("two")?;
        run_sql(&mut first, vote.clone()).await?;
        run_sql(&mut first, "commit".to_owned()).await?;
        let outcome = run_sql(&mut second, vote.clone()).await;
        match sqlstate(&outcome).as_str() {
            "ok" => run_sql(&mut second, "commit".to_owned()).await?,
            "40001" => {
                run_sql(&mut second, "rollback".to_owned()).await?;
                run_sql(&mut second, vote).await?;
            }
            other => panic!("{isolation}: {other}"),
        }
        assert_eq!(status(&world.db.owner, id).await?, "TODO", "{isolation}");
    }
    Ok(())
}

#[tokio::test]
async fn nobody_approves_money_for_a_task_of_their_own() -> Result<()> {
    let world = World::new().await?;
    world.db.set("approval_quorum", json!(1)).await?;
    let Caller::Agent(agent) = world.agent else {
        unreachable!()
    };
    let service = crate::support::budget::service(&world.db.owner, "model", "100").await?;
    let Caller::Person(author) = world.author else {
        unreachable!()
    };
    sqlx::query("insert into devart.budgets (scope, scope_id, budget_usd) values ('user', $1, 1)")
        .bind(author)
        .execute(&world.db.owner)
        .await?;
    let mut session = world.db.session_as(world.author).await?;
    let parent = create(
        &mut session,
        json!({"title": "parent", "run_at": "2999-01-01T00:00:00Z"}),
    )
    .await?;
    let child: Uuid = sqlx::query_scalar(
        "insert into devart.tasks (title, parent_task_id, service_id, estimated_cost_usd)
         values ('child', $1, $2, 5) returning id",
    )
    .bind(parent)
    .bind(service)
    .fetch_one(&world.db.owner)
    .await?;
    assert!(claim_batch(&world.db.owner, agent, 5).await?.is_empty());
    let approve = "select devart.decide_approval(id, 'approve') from devart.approvals
        where subject_id = '{task}' and status = 'PENDING'";
    assert_eq!(world.run("author", child, approve).await?, "42501");
    assert_eq!(world.run("other", child, approve).await?, "ok");
    let claimed = claim_batch(&world.db.owner, agent, 5).await?;
    assert_eq!(claimed.len(), 1);
    complete(&world.db.owner, &claimed[0]).await?;
    Ok(())
}

#[tokio::test]
async fn whoever_edited_a_failed_task_does_not_approve_it_when_others_retry_it() -> Result<()> {
    let world = World::new().await?;
    world.db.set("approval_quorum", json!(1)).await?;
    let approve = "select devart.decide_approval(id, 'approve') from devart.approvals
        where subject_id = '{task}' and status = 'PENDING'";
    for step in [
        "select devart.update_task('{task}', '{\"payload\": {\"rm\": 1}}')",
        "update devart.tasks set payload = '{\"rm\": 1}' where id = '{task}'",
        "update devart.tasks set title = 'mine' where id = '{task}'",
    ] {
        let id = world.task("failed").await?;
        assert_eq!(status(&world.db.owner, id).await?, "FAILED");
        assert_eq!(world.run("other", id, step).await?, "ok", "{step}");
        let retry = "select devart.retry_task('{task}')";
        assert_eq!(world.run("author", id, retry).await?, "ok");
        assert_eq!(world.run("other", id, approve).await?, "42501", "{step}");
        world.vote(id, "approve", 1).await?;
        assert_eq!(status(&world.db.owner, id).await?, "TODO", "{step}");
    }
    Ok(())
}

#[tokio::test]
async fn a_task_that_waits_for_people_too_does_not_count_as_resumed() -> Result<()> {
    let world = World::new().await?;
    let resume = "select devart_private.resume_task($1)";
    let id = world.task("asking").await?;
    let went: bool = sqlx::query_scalar(resume)
        .bind(id)
        .fetch_one(&world.db.owner)
        .await?;
    assert!(!went);
    assert_eq!(status(&world.db.owner, id).await?, "AWAITING_APPROVAL");
    // Approved, it waits for money only.
    let id = world.task("approved").await?;
    sqlx::raw_sql(sqlx::AssertSqlSafe(format!(
        "insert into devart.service_registry (name) values ('model');
         select devart_private.park_task('{id}', null, jsonb_build_object(
             'scope_id', (select id from devart.service_registry),
             'service_id', (select id from devart.service_registry), 'needed_usd', 1), false);"
    )))
    .execute(&world.db.owner)
    .await?;
    assert_eq!(status(&world.db.owner, id).await?, "AWAITING_APPROVAL");
    let went: bool = sqlx::query_scalar(resume)
        .bind(id)
        .fetch_one(&world.db.owner)
        .await?;
    assert!(went);
    assert_eq!(status(&world.db.owner, id).await?, "TODO");
    Ok(())
}
