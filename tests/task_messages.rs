//! What the database has to say to agents that are pushed to, and when it says it.

use anyhow::{Context, Result};
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use uuid::Uuid;

use crate::support::queue::{
    claim, complete, create, create_many, expire_lease, fail, make_due, start, status,
};
use crate::support::{Caller, Database, sqlstate};

const TOPIC: &str = "rabbitmq.task";
const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// A database whose messages somebody wants.
async fn database() -> Result<Database> {
    let db = Database::create().await?;
    db.set("outbox_topics", json!([TOPIC])).await?;
    Ok(db)
}

/// Takes the messages written so far, in order.
async fn messages(db: &Database) -> Result<Vec<Value>> {
    let rows = sqlx::query_scalar(
        "with taken as (delete from devart_private.outbox where topic = $1 returning id, payload)
         select payload from taken order by id",
    );
    Ok(rows.bind(TOPIC).fetch_all(&db.owner).await?)
}

/// Kind, task and attempt of each message written so far.
async fn summaries(db: &Database) -> Result<Vec<(String, Uuid, i64)>> {
    let text =
        |message: &Value, member: &str| message[member].as_str().expect("a string").to_owned();
    let summary = |message: &Value| {
        let id = text(message, "task_id").parse().expect("a UUID");
        (
            text(message, "kind"),
            id,
            message["attempt"].as_i64().expect("a number"),
        )
    };
    Ok(messages(db).await?.iter().map(summary).collect())
}

fn invite(task_id: Uuid, attempt: i64) -> Vec<(String, Uuid, i64)> {
    vec![("invite".to_owned(), task_id, attempt)]
}

#[tokio::test]
async fn while_nobody_delivers_messages_none_are_written() -> Result<()> {
    let db = Database::create().await?;
    let agent = db.agent(&[]).await?;
    let id = create(&db.owner, json!({"title": "t", "max_retries": 1})).await?;
    for retryable in [true, false] {
        let claimed = claim(&db.owner, agent.id).await?.context("a task")?;
        fail(&db.owner, &claimed, retryable).await?;
        make_due(&db.owner, id).await?;
    }
    assert_eq!(messages(&db).await?, Vec::<Value>::new());
    Ok(())
}

#[tokio::test]
async fn a_message_has_all_that_its_delivery_needs() -> Result<()> {
    let db = database().await?;
    let task = json!({"title": "Weigh it", "priority": "HIGH", "required_capabilities": ["b", "a"], "traceparent": TRACE});
    let id = create(&db.owner, task).await?;
    let expected = json!({
        "kind": "invite", "task_id": id, "attempt": 1, "title": "Weigh it", "priority": "HIGH",
        "routing_key": "todo.a+b", "run_at": null, "reason": null, "traceparent": TRACE,
    });
    assert_eq!(messages(&db).await?, [expected]);
    Ok(())
}

#[tokio::test]
async fn every_way_in_which_a_task_becomes_todo_invites_to_it() -> Result<()> {
    let db = database().await?;
    let agent = db.agent(&[]).await?;
    let id = create(&db.owner, json!({"title": "t", "max_retries": 0})).await?;
    assert_eq!(summaries(&db).await?, invite(id, 1), "created");

    claim(&db.owner, agent.id).await?.context("the task")?;
    assert_eq!(summaries(&db).await?, [], "a claim says nothing");
    expire_lease(&db.owner, id).await?;
    db.maintain().await?;
    assert_eq!(summaries(&db).await?, invite(id, 2), "rescued");

    claim(&db.owner, agent.id).await?.context("the task")?;
    sqlx::raw_sql("select devart.set_agent_activation(id, false), devart.set_agent_activation(id, true) from devart.agents")
        .execute(&db.owner)
        .await?;
    assert_eq!(summaries(&db).await?, invite(id, 3), "released");

    let claimed = claim(&db.owner, agent.id).await?.context("the task")?;
    fail(&db.owner, &claimed, true).await?;
    assert_eq!(summaries(&db).await?, [("dead".to_owned(), id, 3)]);
    sqlx::query("select devart.retry_task($1)")
        .bind(id)
        .execute(&db.owner)
        .await?;
    assert_eq!(summaries(&db).await?, invite(id, 4), "retried by hand");

    let waiting = create(&db.owner, json!({"title": "w", "depends_on": [id]})).await?;
    let later = create(
        &db.owner,
        json!({"title": "l", "run_at": "2999-01-01T00:00:00Z"}),
    )
    .await?;
    let asking = create(&db.owner, json!({"title": "a", "needs_approval": true})).await?;
    assert_eq!(summaries(&db).await?, [], "not to be had yet");
    let claimed = start(&db.owner, id, agent.id).await?.context("the task")?;
    complete(&db.owner, &claimed).await?;
    assert_eq!(summaries(&db).await?, invite(waiting, 1), "unblocked");
    make_due(&db.owner, later).await?;
    db.maintain().await?;
    assert_eq!(summaries(&db).await?, invite(later, 1), "promoted");
    sqlx::query(
        "select devart.decide_approval(id, 'approve') from devart.approvals where subject_id = $1",
    )
    .bind(asking)
    .execute(&db.owner)
    .await?;
    assert_eq!(summaries(&db).await?, invite(asking, 1), "approved");
    Ok(())
}

#[tokio::test]
async fn a_failure_that_is_retried_says_when_and_a_final_one_says_why() -> Result<()> {
    let db = database().await?;
    let agent = db.agent(&[]).await?;
    let id = create(&db.owner, json!({"title": "t", "max_retries": 1})).await?;
    messages(&db).await?;
    let claimed = claim(&db.owner, agent.id).await?.context("the task")?;
    let (_, run_at) = fail(&db.owner, &claimed, true).await?;
    let delayed = messages(&db).await?;
    let run_at = run_at.context("a time")?;
    let told = OffsetDateTime::parse(delayed[0]["run_at"].as_str().context("a time")?, &Rfc3339)?;
    assert_eq!((delayed[0]["kind"].as_str(), told), (Some("delay"), run_at));
    assert_eq!(delayed[0]["attempt"], 2);

    make_due(&db.owner, id).await?;
    messages(&db).await?;
    let claimed = claim(&db.owner, agent.id).await?.context("the task")?;
    fail(&db.owner, &claimed, true).await?;
    let dead = messages(&db).await?;
    assert_eq!(dead[0]["kind"], "dead");
    assert_eq!(dead[0]["reason"], "it broke");
    assert_eq!(dead[0]["attempt"], 2);
    Ok(())
}

#[tokio::test]
async fn a_task_that_keeps_losing_its_workers_is_dead() -> Result<()> {
    let db = database().await?;
    db.set("max_rescues", json!(1)).await?;
    let agent = db.agent(&[]).await?;
    let id = create(&db.owner, json!({"title": "t"})).await?;
    for _ in 0..2 {
        claim(&db.owner, agent.id).await?.context("the task")?;
        expire_lease(&db.owner, id).await?;
        db.maintain().await?;
    }
    let dead = messages(&db).await?.pop().context("a message")?;
    assert_eq!(dead["kind"], "dead");
    assert_eq!(dead["reason"], "lease of attempt 2 expired");
    Ok(())
}

#[tokio::test]
async fn an_edit_that_moves_a_waiting_task_invites_to_it_again() -> Result<()> {
    let db = database().await?;
    let id = create(&db.owner, json!({"title": "t"})).await?;
    messages(&db).await?;
    for (changes, moves) in [
        (json!({"title": "u"}), false),
        (json!({"priority": "MEDIUM"}), false),
        (json!({"priority": "CRITICAL"}), true),
        (json!({"required_capabilities": ["a"]}), true),
    ] {
        sqlx::query("select devart.update_task($1, $2)")
            .bind(id)
            .bind(&changes)
            .execute(&db.owner)
            .await?;
        let expected = if moves { invite(id, 1) } else { Vec::new() };
        assert_eq!(summaries(&db).await?, expected, "{changes}");
    }
    Ok(())
}

#[tokio::test]
async fn a_supervisors_plain_statements_invite_as_functions_do() -> Result<()> {
    let db = database().await?;
    let mut supervisor = db.session_as(db.person("supervisor").await?).await?;
    let id: Uuid = sqlx::query_scalar("insert into devart.tasks (title) values ('t') returning id")
        .fetch_one(&mut supervisor)
        .await?;
    assert_eq!(summaries(&db).await?, invite(id, 1));
    sqlx::query("update devart.tasks set priority = 'LOW'")
        .execute(&mut supervisor)
        .await?;
    assert_eq!(summaries(&db).await?, invite(id, 1));
    Ok(())
}

#[tokio::test]
async fn a_bulk_insert_invites_to_each_of_its_tasks_in_order() -> Result<()> {
    let db = database().await?;
    create_many(&db.owner, 1_000).await?;
    let titles: Vec<Value> = messages(&db)
        .await?
        .iter()
        .map(|it| it["title"].clone())
        .collect();
    let expected: Vec<Value> = (1..=1_000).map(|n| json!(format!("task {n}"))).collect();
    assert_eq!(titles, expected);
    Ok(())
}

#[tokio::test]
async fn each_set_of_capabilities_has_a_routing_key_of_its_own() -> Result<()> {
    let db = Database::create().await?;
    let mut keys = Vec::new();
    for capabilities in [
        vec![],
        vec!["code-review".to_owned()],
        vec!["a".to_owned(), "b".to_owned()],
        // What could be mistaken for others.
        vec!["a+b".to_owned()],
        vec!["ü".to_owned()],
        vec![String::new()],
        vec!["x".repeat(300)],
        vec!["sha256-00000000000000000000000000000000".to_owned()],
    ] {
        let key: String = sqlx::query_scalar("select devart_private.task_routing_key($1)")
            .bind(&capabilities)
            .fetch_one(&db.owner)
            .await?;
        assert!(
            key.len() <= 249,
            "a queue's name has at most 255 bytes: {key}"
        );
        keys.push(key);
    }
    assert_eq!(keys[..3], ["todo", "todo.code-review", "todo.a+b"]);
    assert!(
        keys[3..]
            .iter()
            .all(|key| key.starts_with("todo.sha256-") && key.len() == 44),
        "{keys:?}"
    );
    let different: std::collections::BTreeSet<&String> = keys.iter().collect();
    assert_eq!(different.len(), keys.len());
    Ok(())
}

#[tokio::test]
async fn waiting_tasks_are_invited_again_in_the_order_of_claims() -> Result<()> {
    let db = Database::create().await?;
    let low = create(&db.owner, json!({"title": "low", "priority": "LOW"})).await?;
    let critical = create(
        &db.owner,
        json!({"title": "critical", "priority": "CRITICAL"}),
    )
    .await?;
    let other = create(
        &db.owner,
        json!({"title": "other", "required_capabilities": ["a"]}),
    )
    .await?;
    let agent = db.agent(&[]).await?;
    let taken = create(&db.owner, json!({"title": "taken"})).await?;
    start(&db.owner, taken, agent.id)
        .await?
        .context("the task")?;
    let mut bridge = PgConnection::connect(&db.bridge_url("rabbitmq")).await?;
    let mut invite = async |routing_key: Option<&str>| {
        sqlx::query_scalar::<_, i64>("select devart_private.invite_waiting_tasks($1)")
            .bind(routing_key)
            .fetch_one(&mut bridge)
            .await
    };
    assert_eq!(invite(None).await?, 0, "nobody delivers messages");
    db.set("outbox_topics", json!([TOPIC])).await?;
    assert_eq!(invite(Some("todo")).await?, 2);
    let invited: Vec<Uuid> = summaries(&db).await?.into_iter().map(|it| it.1).collect();
    assert_eq!(invited, [critical, low]);
    assert_eq!(invite(None).await?, 3);
    assert!(summaries(&db).await?.iter().any(|it| it.1 == other));
    Ok(())
}

#[tokio::test]
async fn a_lane_with_waiting_tasks_is_known_unless_messages_wait_as_long() -> Result<()> {
    let db = Database::create().await?;
    create(
        &db.owner,
        json!({"title": "t", "required_capabilities": ["a"]}),
    )
    .await?;
    let lanes = async |seconds: f64| {
        sqlx::query_as::<_, (String, bool)>(
            "select * from devart_private.task_lanes($1) order by 1",
        )
        .bind(seconds)
        .fetch_all(&db.owner)
        .await
    };
    let all = |waiting| vec![("todo".to_owned(), false), ("todo.a".to_owned(), waiting)];
    assert_eq!(lanes(0.0).await?, all(true));
    assert_eq!(lanes(60.0).await?, all(false), "not for so long");
    db.set("outbox_topics", json!([TOPIC])).await?;
    create(&db.owner, json!({"title": "u"})).await?;
    assert_eq!(
        lanes(0.0).await?,
        [("todo".to_owned(), false), ("todo.a".to_owned(), false)]
    );
    Ok(())
}

#[tokio::test]
async fn a_scheduled_task_can_be_started_as_soon_as_it_is_due() -> Result<()> {
    let db = Database::create().await?;
    let agent = db.agent(&[]).await?;
    let id = create(
        &db.owner,
        json!({"title": "t", "run_at": "2999-01-01T00:00:00Z"}),
    )
    .await?;
    assert!(start(&db.owner, id, agent.id).await?.is_none(), "too early");
    // As if the time had passed: no trigger may notice, since time passes without one.
    sqlx::raw_sql(
        "set session_replication_role = replica; update devart.tasks set run_at = now() - interval '1 s';
         set session_replication_role = default",
    )
    .execute(&mut db.session().await?)
    .await?;
    assert_eq!(status(&db.owner, id).await?, "SCHEDULED");
    assert!(start(&db.owner, id, agent.id).await?.is_some());
    assert_eq!(status(&db.owner, id).await?, "IN_PROGRESS");
    Ok(())
}

#[tokio::test]
async fn a_claimed_task_carries_its_trace_and_a_malformed_one_is_refused() -> Result<()> {
    let db = Database::create().await?;
    let agent = db.agent(&[]).await?;
    create(&db.owner, json!({"title": "t", "traceparent": TRACE})).await?;
    let trace: Option<String> =
        sqlx::query_scalar("select traceparent from devart.claim_next_task($1)")
            .bind(agent.id)
            .fetch_one(&db.owner)
            .await?;
    assert_eq!(trace.as_deref(), Some(TRACE));
    for malformed in [
        "00-abc",
        "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
        "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
    ] {
        let refused = create(&db.owner, json!({"title": "t", "traceparent": malformed})).await;
        assert_eq!(sqlstate(&refused), "23514", "{malformed}");
    }
    Ok(())
}

#[tokio::test]
async fn a_heartbeat_tells_the_queues_that_the_agent_can_serve() -> Result<()> {
    let db = Database::create().await?;
    let agent = db.agent(&["a", "b"]).await?;
    for capabilities in [
        json!(["a"]),
        json!(["b", "a"]),
        json!(["c"]),
        json!(["a", "c"]),
    ] {
        create(
            &db.owner,
            json!({"title": "t", "required_capabilities": capabilities}),
        )
        .await?;
    }
    assert_eq!(
        queues(&db, agent.id).await?,
        [
            "tasks.todo",
            "tasks.todo.a",
            "tasks.todo.b",
            "tasks.todo.a+b"
        ]
    );
    Ok(())
}

#[tokio::test]
async fn an_agent_hears_of_its_capabilities_queues_before_a_task_asks_for_one() -> Result<()> {
    let db = Database::create().await?;
    let agent = db.agent(&["a", "b"]).await?;
    assert_eq!(
        queues(&db, agent.id).await?,
        ["tasks.todo", "tasks.todo.a", "tasks.todo.b"]
    );
    sqlx::query("update devart.agents set capabilities = '{b,c}' where id = $1")
        .bind(agent.id)
        .execute(&db.owner)
        .await?;
    assert_eq!(
        queues(&db, agent.id).await?,
        ["tasks.todo", "tasks.todo.b", "tasks.todo.c"]
    );
    Ok(())
}

/// What a heartbeat says.
async fn queues(db: &Database, agent_id: Uuid) -> Result<Vec<String>> {
    let answer: Value = sqlx::query_scalar("select devart.agent_heartbeat($1)")
        .bind(agent_id)
        .fetch_one(&db.owner)
        .await?;
    Ok(serde_json::from_value(answer["queues"].clone())?)
}

#[tokio::test]
async fn the_bridges_login_can_do_its_work_and_nothing_else() -> Result<()> {
    let db = database().await?;
    let mut bridge = PgConnection::connect(&db.bridge_url("rabbitmq")).await?;
    for (sql, expected) in [
        ("select devart_private.is_ready()", "ok"),
        ("select devart_private.task_lanes(60)", "ok"),
        ("select devart_private.invite_waiting_tasks()", "ok"),
        (
            "select * from devart_private.claim_outbox('rabbitmq.task', 1, '10 s')",
            "ok",
        ),
        (
            "select * from devart_private.claim_outbox('telegram.message', 1, '10 s')",
            "42501",
        ),
        ("select * from devart_private.outbox", "42501"),
        (
            "select devart_private.send_task_messages('dead', '{}')",
            "42501",
        ),
        ("select devart_private.maintain()", "42501"),
        ("select * from devart.tasks", "42501"),
        ("select devart.create_task('t')", "42501"),
        ("set role devart_owner", "42501"),
    ] {
        let outcome = sqlx::query(sql).execute(&mut bridge).await;
        assert_eq!(sqlstate(&outcome), expected, "{sql}");
    }
    let mut agent = db.session_as(Caller::Agent(Uuid::now_v7())).await?;
    let outcome = sqlx::query("select devart_private.invite_waiting_tasks()")
        .execute(&mut agent)
        .await;
    assert_eq!(sqlstate(&outcome), "42501");
    Ok(())
}
