//! Stop and pause: what begins, what may end, and who is told.

use anyhow::{Context, Result};
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection, PgPool};
use uuid::Uuid;

use crate::support::budget::{
    amount, audit, charge, claim_funded, costly_task, hold_of, reserve_with, service, service_with,
    settle, usd, used,
};
use crate::support::queue::{Claim, claim, complete, create, start, status};
use crate::support::{Agent, Database, refusal, run_sql, sqlstate};

async fn stop(db: &Database) -> Result<()> {
    sqlx::query("select devart.emergency_stop('spends too much')")
        .execute(&db.owner)
        .await?;
    Ok(())
}

async fn resume_work(db: &Database) -> Result<bool> {
    let resumed = sqlx::query_scalar("select devart.resume_work()");
    Ok(resumed.fetch_one(&db.owner).await?)
}

async fn pause(db: &Database, kind: &str, id: Uuid) -> sqlx::Result<()> {
    sqlx::query("select devart.pause($1, $2, 'not now')")
        .bind(kind)
        .bind(id)
        .execute(&db.owner)
        .await
        .map(drop)
}

async fn resume(db: &Database, kind: &str, id: Uuid) -> Result<bool> {
    let resumed = sqlx::query_scalar("select devart.resume($1, $2)")
        .bind(kind)
        .bind(id);
    Ok(resumed.fetch_one(&db.owner).await?)
}

/// Puts the task into a run of its own.
async fn run_of(db: &Database, task_id: Uuid) -> Result<Uuid> {
    let run = sqlx::query_scalar(
        "update devart.tasks set workflow_run_id = gen_random_uuid() where id = $1
         returning workflow_run_id",
    )
    .bind(task_id);
    Ok(run.fetch_one(&db.owner).await?)
}

/// An agent with a task in hand, a hold for it, and a service that can pay.
struct Work {
    db: Database,
    agent: Agent,
    session: PgConnection,
    service_id: Uuid,
    own: Claim,
    hold_id: Uuid,
}

impl Work {
    async fn create() -> Result<Self> {
        let db = Database::create().await?;
        let agent = db.agent(&[]).await?;
        let service_id = service(&db.owner, "model", "100").await?;
        create(&db.owner, json!({"title": "own"})).await?;
        let own = claim(&db.owner, agent.id).await?.context("own")?;
        let mut session = db.session_as(agent.caller()).await?;
        let arguments = json!({"estimate_usd": 5, "task_id": own.task_id});
        let hold_id = hold_of(&reserve_with(&mut session, service_id, arguments).await?);
        Ok(Self {
            db,
            agent,
            session,
            service_id,
            own,
            hold_id,
        })
    }

    /// The codes of a reservation for the task, of one for none, of a charge and of a dispatch;
    /// null where it is admitted.
    async fn codes(&mut self) -> Result<[Value; 4]> {
        let for_task = json!({"estimate_usd": 1, "task_id": self.own.task_id});
        let for_none = json!({"estimate_usd": 1});
        let dispatched = sqlx::query_scalar("select devart.dispatch_task($1, 1, task_id => $2)")
            .bind(self.service_id)
            .bind(self.own.task_id);
        let answers: [Value; 4] = [
            reserve_with(&mut self.session, self.service_id, for_task).await?,
            reserve_with(&mut self.session, self.service_id, for_none).await?,
            charge(&mut self.session, self.service_id, "1", None).await?,
            dispatched.fetch_one(&mut self.session).await?,
        ];
        Ok(answers.map(|answer| answer["code"].clone()))
    }

    async fn stops(&mut self) -> Result<Value> {
        let answer: Value = sqlx::query_scalar("select devart.agent_heartbeat()")
            .fetch_one(&mut self.session)
            .await?;
        assert_eq!(
            answer["stop"], false,
            "only a deactivated agent stops for good"
        );
        Ok(answer["stops"].clone())
    }
}

#[tokio::test]
async fn while_everything_is_stopped_nothing_begins_and_what_was_dispatched_ends() -> Result<()> {
    let mut work = Work::create().await?;
    let waiting = create(&work.db.owner, json!({"title": "waiting"})).await?;
    assert_eq!(work.stops().await?, json!([]));
    stop(&work.db).await?;
    assert!(claim(&mut work.session, work.agent.id).await?.is_none());
    assert!(
        start(&mut work.session, waiting, work.agent.id)
            .await?
            .is_none()
    );
    assert_eq!(work.codes().await?, ["stopped"; 4].map(|code| json!(code)));
    let told = json!([{"scope": "all", "reason": "spends too much", "task_id": null}]);
    assert_eq!(work.stops().await?, told);
    assert_eq!(
        status(&work.db.owner, work.own.task_id).await?,
        "IN_PROGRESS"
    );
    settle(&mut work.session, work.hold_id, "6").await?;
    assert_eq!(complete(&mut work.session, &work.own).await?, "DONE");
    assert!(resume_work(&work.db).await?);
    assert!(!resume_work(&work.db).await?);
    let task = claim(&mut work.session, work.agent.id)
        .await?
        .context("it goes on")?;
    assert_eq!(task.task_id, waiting);
    audit(&work.db.owner).await;
    Ok(())
}

#[tokio::test]
async fn a_pause_keeps_its_own_from_beginning_and_nothing_else() -> Result<()> {
    let mut work = Work::create().await?;
    let run = run_of(&work.db, work.own.task_id).await?;
    let admitted = [Value::Null, Value::Null, Value::Null, Value::Null];
    let paused = ["paused"; 4].map(|code| json!(code));
    let other_agent = work.db.agent(&[]).await?.id;
    let other_service = service(&work.db.owner, "other", "1").await?;
    let other_task = create(&work.db.owner, json!({"title": "other"})).await?;
    let other_run = run_of(&work.db, other_task).await?;
    for (kind, own, other, about_task) in [
        ("agent", work.agent.id, other_agent, false),
        ("service", work.service_id, other_service, false),
        ("run", run, other_run, true),
        ("task", work.own.task_id, other_task, true),
    ] {
        pause(&work.db, kind, other).await?;
        assert_eq!(work.codes().await?, admitted, "another {kind}");
        pause(&work.db, kind, own).await?;
        assert_eq!(work.codes().await?, paused, "{kind}");
        let told = match (kind, about_task) {
            (_, true) => json!([
                {"scope": kind, "reason": "not now", "task_id": work.own.task_id}
            ]),
            ("agent", _) => json!([{"scope": kind, "reason": "not now", "task_id": null}]),
            _ => json!([]),
        };
        assert_eq!(work.stops().await?, told, "{kind}");
        assert!(resume(&work.db, kind, own).await?);
        assert_eq!(work.codes().await?, admitted, "{kind} resumed");
        assert!(resume(&work.db, kind, other).await?);
        assert!(!resume(&work.db, kind, own).await?, "{kind}");
    }
    audit(&work.db.owner).await;
    Ok(())
}

#[tokio::test]
async fn what_is_paused_is_passed_over_and_comes_when_it_is_resumed() -> Result<()> {
    let db = Database::create().await?;
    let agent = db.agent(&[]).await?;
    let mut session = db.session().await?;
    let service_id = service(&db.owner, "model", "100").await?;
    for kind in ["service", "run", "task"] {
        let columns = json!({"title": "paused", "service_id": service_id});
        let task_id = create(&db.owner, columns).await?;
        let id = match kind {
            "service" => service_id,
            "run" => run_of(&db, task_id).await?,
            _ => task_id,
        };
        let after = create(&db.owner, json!({"title": "after it"})).await?;
        pause(&db, kind, id).await?;
        assert!(
            start(&mut session, task_id, agent.id).await?.is_none(),
            "{kind}"
        );
        let first = claim(&mut session, agent.id).await?.context("the other")?;
        assert_eq!(first.task_id, after, "{kind}");
        assert!(claim(&mut session, agent.id).await?.is_none(), "{kind}");
        assert_eq!(status(&db.owner, task_id).await?, "TODO", "{kind}");
        resume(&db, kind, id).await?;
        let then = claim(&mut session, agent.id).await?.context("the paused")?;
        assert_eq!((then.task_id, then.attempt), (task_id, 1), "{kind}");
    }
    Ok(())
}

#[tokio::test]
async fn a_paused_task_that_waits_for_long_lends_its_age_to_nobody() -> Result<()> {
    let db = Database::create().await?;
    let agent = db.agent(&[]).await?;
    let titled = async |title: &str, priority: &str| {
        create(&db.owner, json!({"title": title, "priority": priority})).await
    };
    let old = titled("old", "LOW").await?;
    titled("low", "LOW").await?;
    let high = titled("high", "HIGH").await?;
    sqlx::query("update devart.tasks set ready_at = now() - interval '9 hours' where id = $1")
        .bind(old)
        .execute(&db.owner)
        .await?;
    pause(&db, "task", old).await?;
    let first = claim(&db.owner, agent.id).await?.context("a claim")?;
    assert_eq!(first.task_id, high);
    Ok(())
}

#[tokio::test]
async fn what_descends_from_a_paused_task_or_run_is_paused_too() -> Result<()> {
    let mut work = Work::create().await?;
    let run = run_of(&work.db, work.own.task_id).await?;
    let mut parent = work.own.task_id;
    for _ in 0..3 {
        parent = create(
            &work.db.owner,
            json!({"title": "descendant", "parent_task_id": parent, "priority": "LOW"}),
        )
        .await?;
    }
    for (kind, id) in [("task", work.own.task_id), ("run", run)] {
        pause(&work.db, kind, id).await?;
        assert!(
            start(&mut work.session, parent, work.agent.id)
                .await?
                .is_none()
        );
        assert!(
            claim(&mut work.session, work.agent.id).await?.is_none(),
            "{kind}"
        );
        resume(&work.db, kind, id).await?;
    }
    let started = start(&mut work.session, parent, work.agent.id).await?;
    assert!(started.is_some(), "it goes on");
    pause(&work.db, "run", run).await?;
    let arguments = json!({"estimate_usd": 1, "task_id": parent});
    let answer = reserve_with(&mut work.session, work.service_id, arguments).await?;
    assert_eq!(answer["code"], "paused");
    assert_eq!(answer["reason"], "paused: the run: not now");
    Ok(())
}

#[tokio::test]
async fn a_paused_service_is_not_billed_in_place_of_another() -> Result<()> {
    let db = Database::create().await?;
    let last = service(&db.owner, "last", "10").await?;
    let columns = json!({"name": "second", "budget_usd": 10, "substitute_service_id": last});
    let second = service_with(&db.owner, columns).await?;
    let columns = json!({"name": "first", "budget_usd": 1, "substitute_service_id": second});
    let first = service_with(&db.owner, columns).await?;
    let billed = async || -> Result<Value> {
        let answer = reserve_with(&db.owner, first, json!({"estimate_usd": 2})).await?;
        Ok(answer["service_id"].clone())
    };
    assert_eq!(billed().await?, json!(second));
    pause(&db, "service", second).await?;
    assert_eq!(billed().await?, json!(last));
    pause(&db, "service", last).await?;
    assert_eq!(billed().await?, Value::Null);
    resume(&db, "service", second).await?;
    assert_eq!(billed().await?, json!(second));
    audit(&db.owner).await;
    Ok(())
}

#[tokio::test]
async fn a_costly_task_waits_for_the_end_of_a_pause_and_not_for_people() -> Result<()> {
    let db = Database::create().await?;
    let agent = db.agent(&[]).await?;
    let service_id = service(&db.owner, "model", "10").await?;
    let task_id = costly_task(&db.owner, "costly", service_id, "2").await?;
    pause(&db, "service", service_id).await?;
    assert!(claim_funded(&db.owner, agent.id, 1).await?.is_empty());
    assert_eq!(status(&db.owner, task_id).await?, "TODO");
    resume(&db, "service", service_id).await?;
    let funded = claim_funded(&db.owner, agent.id, 1).await?;
    let hold_id = funded.first().and_then(|task| task.hold_id);
    let hold_id = hold_id.context("it goes on with its money")?;
    stop(&db).await?;
    let settled = settle(&db.owner, hold_id, "2").await?;
    assert_eq!(amount(&settled, "charged_usd"), usd("2"), "{settled}");
    audit(&db.owner).await;
    Ok(())
}

#[tokio::test]
async fn a_lost_claim_is_not_replayed_while_it_is_stopped_and_is_the_same_afterwards() -> Result<()>
{
    let db = Database::create().await?;
    let agent = db.agent(&[]).await?;
    create(&db.owner, json!({"title": "t"})).await?;
    let key = Uuid::new_v4();
    let again = async || -> Result<Option<Uuid>> {
        let token = sqlx::query_scalar(
            "select lease_token from devart.claim_tasks($1, 1, claim_key => $2)",
        )
        .bind(agent.id)
        .bind(key);
        Ok(token.fetch_optional(&db.owner).await?)
    };
    let token = again().await?.context("a claim")?;
    stop(&db).await?;
    assert_eq!(again().await?, None);
    resume_work(&db).await?;
    assert_eq!(again().await?, Some(token));
    Ok(())
}

#[tokio::test]
async fn a_stop_waits_for_no_open_transaction_and_what_that_began_cannot_commit() -> Result<()> {
    let mut work = Work::create().await?;
    let waiting = create(&work.db.owner, json!({"title": "waiting"})).await?;
    for isolation in ["read committed", "repeatable read", "serializable"] {
        let begin = format!("begin isolation level {isolation}");
        run_sql(&mut work.session, begin).await?;
        let task = claim(&mut work.session, work.agent.id)
            .await?
            .context(isolation)?;
        assert_eq!(task.task_id, waiting);
        stop(&work.db).await?;
        let committed = run_sql(&mut work.session, "commit".to_owned()).await;
        assert_eq!(sqlstate(&committed), "40001", "{isolation}");
        assert_eq!(
            status(&work.db.owner, waiting).await?,
            "TODO",
            "{isolation}"
        );
        resume_work(&work.db).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_transaction_that_sees_the_past_begins_nothing_either() -> Result<()> {
    let mut work = Work::create().await?;
    create(&work.db.owner, json!({"title": "waiting"})).await?;
    let begin = "begin isolation level repeatable read; select from devart.tasks limit 1";
    run_sql(&mut work.session, begin.to_owned()).await?;
    stop(&work.db).await?;
    assert!(claim(&mut work.session, work.agent.id).await?.is_none());
    assert_eq!(work.codes().await?, ["stopped"; 4].map(|code| json!(code)));
    run_sql(&mut work.session, "commit".to_owned()).await?;
    Ok(())
}

#[tokio::test]
async fn what_a_savepoint_took_back_does_not_keep_a_commit_back() -> Result<()> {
    let mut work = Work::create().await?;
    create(&work.db.owner, json!({"title": "waiting"})).await?;
    let mut transaction = work.session.begin().await?;
    run_sql(&mut transaction, "savepoint s".to_owned()).await?;
    assert!(claim(&mut *transaction, work.agent.id).await?.is_some());
    run_sql(&mut transaction, "rollback to savepoint s".to_owned()).await?;
    stop(&work.db).await?;
    assert_eq!(complete(&mut *transaction, &work.own).await?, "DONE");
    transaction.commit().await?;
    Ok(())
}

#[tokio::test]
async fn a_stop_that_is_rolled_back_stops_nothing() -> Result<()> {
    let db = Database::create().await?;
    let agent = db.agent(&[]).await?;
    create(&db.owner, json!({"title": "t"})).await?;
    let mut session = db.session().await?;
    let mut transaction = session.begin().await?;
    sqlx::query("select devart.emergency_stop('not meant')")
        .execute(&mut *transaction)
        .await?;
    assert!(claim(&mut *transaction, agent.id).await?.is_none());
    transaction.rollback().await?;
    assert!(claim(&mut session, agent.id).await?.is_some());
    Ok(())
}

#[tokio::test]
async fn a_stop_is_audited_and_told_once() -> Result<()> {
    let db = Database::create().await?;
    db.set("outbox_topics", json!(["telegram.alert"])).await?;
    let agent = db.agent(&[]).await?;
    stop(&db).await?;
    stop(&db).await?;
    pause(&db, "agent", agent.id).await?;
    resume(&db, "agent", agent.id).await?;
    resume_work(&db).await?;
    let told: Vec<(String, Value)> = sqlx::query_as(
        "select payload ->> 'kind', payload -> 'scope' from devart_private.outbox order by id",
    )
    .fetch_all(&db.owner)
    .await?;
    let told: Vec<String> = told
        .iter()
        .map(|(kind, scope)| format!("{kind} {scope}"))
        .collect();
    let expected = [
        "stopped \"all\"",
        "stopped \"agent\"",
        "resumed \"agent\"",
        "resumed \"all\"",
    ];
    assert_eq!(told, expected);
    assert_eq!(
        audited(&db.owner).await?,
        ["insert", "insert", "delete", "delete"]
    );
    Ok(())
}

async fn audited(pool: &PgPool) -> Result<Vec<String>> {
    let actions = sqlx::query_scalar(
        "select action from devart.audit_log where table_name = 'stops' order by id",
    );
    Ok(actions.fetch_all(pool).await?)
}

#[tokio::test]
async fn only_what_there_is_is_paused_and_with_a_reason_that_can_be_told() -> Result<()> {
    let db = Database::create().await?;
    let agent = db.agent(&[]).await?;
    for (kind, id, state) in [
        ("agent", Uuid::new_v4(), "P0002"),
        ("service", agent.id, "P0002"),
        ("run", agent.id, "P0002"),
        ("task", agent.id, "P0002"),
        ("all", agent.id, "22023"),
        ("", agent.id, "22023"),
    ] {
        assert_eq!(sqlstate(&pause(&db, kind, id).await), state, "{kind}");
    }
    for (sql, message) in [
        ("select devart.emergency_stop(null)", "reason must be given"),
        (
            "select devart.emergency_stop('')",
            "reason must be 1 to 1000 characters long",
        ),
        (
            "select devart.emergency_stop(repeat('x', 1001))",
            "reason must be 1 to 1000 characters long",
        ),
        ("select devart.pause('task', null)", "id must be given"),
        ("select devart.resume('task', null)", "id must be given"),
        (
            "select devart.resume(null, gen_random_uuid())",
            "kind must be agent, service, run or task",
        ),
    ] {
        let refused = sqlx::query(sql).execute(&db.owner).await;
        assert_eq!(refusal(refused), message, "{sql}");
    }
    Ok(())
}

#[tokio::test]
async fn stops_change_by_their_functions_only() -> Result<()> {
    let db = Database::create().await?;
    stop(&db).await?;
    let mut session = db.session().await?;
    run_sql(&mut session, "set role service_role".to_owned()).await?;
    for sql in [
        "delete from devart.stops",
        "update devart.stops set scope_id = null",
        "insert into devart.stops (scope, stopped_by) values ('all', 'me')",
    ] {
        let refused = run_sql(&mut session, sql.to_owned()).await;
        assert_eq!(sqlstate(&refused), "42501", "{sql}");
    }
    Ok(())
}

#[tokio::test]
async fn what_is_paused_spends_nothing_of_its_budget() -> Result<()> {
    let db = Database::create().await?;
    let agent = db.agent(&[]).await?;
    let service_id = service(&db.owner, "model", "100").await?;
    let budget = crate::support::budget::budget(&db.owner, "agent", agent.id, "10").await?;
    let mut session = db.session_as(agent.caller()).await?;
    charge(&mut session, service_id, "3", None).await?;
    pause(&db, "agent", agent.id).await?;
    let answer = charge(&mut session, service_id, "3", None).await?;
    assert_eq!(answer["reason"], "paused: the agent: not now");
    assert_eq!(used(&db.owner, budget).await?, (usd("3"), usd("0")));
    audit(&db.owner).await;
    Ok(())
}
