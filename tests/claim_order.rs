//! Which task comes next, and for whom.

use anyhow::Result;
use serde_json::json;
use uuid::Uuid;

use crate::support::queue::{claim, claim_batch, create, start, status};
use crate::support::{Agent, Database, sqlstate};

/// Claims until nothing is left; gives the titles in order.
async fn claimed_titles(db: &Database, agent: &Agent) -> Result<Vec<String>> {
    let mut titles = Vec::new();
    while let Some(task) = claim(&db.owner, agent.id).await? {
        titles.push(task.title);
        assert!(titles.len() <= 1_000, "there is no end");
    }
    Ok(titles)
}

async fn pretend_waiting_since(db: &Database, task_id: Uuid, hours: f64) -> Result<()> {
    sqlx::query(
        "update devart.tasks set ready_at = now() - make_interval(secs => $2 * 3600) where id = $1",
    )
    .bind(task_id)
    .bind(hours)
    .execute(&db.owner)
    .await?;
    Ok(())
}

#[tokio::test]
async fn tasks_come_by_priority_and_then_by_age() -> Result<()> {
    let db = Database::create().await?;
    let agent = db.agent(&[]).await?;
    for (title, priority) in [
        ("low", "LOW"),
        ("medium 1", "MEDIUM"),
        ("high", "HIGH"),
        ("medium 2", "MEDIUM"),
        ("critical", "CRITICAL"),
    ] {
        create(&db.owner, json!({"title": title, "priority": priority})).await?;
    }
    assert_eq!(
        claimed_titles(&db, &agent).await?,
        ["critical", "high", "medium 1", "medium 2", "low"]
    );
    Ok(())
}

#[tokio::test]
async fn waiting_raises_a_task_above_fresh_ones_of_a_higher_priority() -> Result<()> {
    let db = Database::create().await?;
    let agent = db.agent(&[]).await?;
    let aged = create(&db.owner, json!({"title": "aged", "priority": "LOW"})).await?;
    create(&db.owner, json!({"title": "fresh", "priority": "MEDIUM"})).await?;
    pretend_waiting_since(&db, aged, 2.5).await?;
    assert_eq!(claimed_titles(&db, &agent).await?, ["aged", "fresh"]);
    Ok(())
}

#[tokio::test]
async fn a_short_wait_raises_nothing() -> Result<()> {
    let db = Database::create().await?;
    let agent = db.agent(&[]).await?;
    let waiting = create(&db.owner, json!({"title": "waiting", "priority": "LOW"})).await?;
    create(&db.owner, json!({"title": "fresh", "priority": "MEDIUM"})).await?;
    pretend_waiting_since(&db, waiting, 0.5).await?;
    assert_eq!(claimed_titles(&db, &agent).await?, ["fresh", "waiting"]);
    Ok(())
}

#[tokio::test]
async fn an_agent_gets_only_tasks_whose_capabilities_it_has() -> Result<()> {
    let db = Database::create().await?;
    let plain = db.agent(&[]).await?;
    let able = db.agent(&["python", "review"]).await?;
    for (title, required) in [
        ("for anybody", json!([])),
        ("python", json!(["python"])),
        ("both", json!(["review", "python", "python"])),
        ("rust", json!(["python", "rust"])),
    ] {
        create(
            &db.owner,
            json!({"title": title, "required_capabilities": required}),
        )
        .await?;
    }
    assert_eq!(claimed_titles(&db, &plain).await?, ["for anybody"]);
    assert_eq!(claimed_titles(&db, &able).await?, ["python", "both"]);
    Ok(())
}

#[tokio::test]
async fn starting_a_task_by_id_obeys_the_same_rules() -> Result<()> {
    let db = Database::create().await?;
    let (agent, other) = (db.agent(&["rust"]).await?, db.agent(&[]).await?);
    let task_id = create(
        &db.owner,
        json!({"title": "t", "required_capabilities": ["rust"]}),
    )
    .await?;

    assert!(
        start(&db.owner, task_id, other.id).await?.is_none(),
        "not capable"
    );
    assert!(start(&db.owner, task_id, agent.id).await?.is_some());
    assert!(
        start(&db.owner, task_id, agent.id).await?.is_none(),
        "already taken"
    );
    let unknown = start(&db.owner, Uuid::now_v7(), agent.id).await;
    assert!(
        unknown?.is_none(),
        "a message about a task that is gone is simply dropped"
    );
    Ok(())
}

#[tokio::test]
async fn a_batch_holds_no_more_than_asked_for_in_order_of_priority() -> Result<()> {
    let db = Database::create().await?;
    let agent = db.agent(&[]).await?;
    for priority in ["LOW", "CRITICAL", "HIGH", "CRITICAL"] {
        create(&db.owner, json!({"title": priority, "priority": priority})).await?;
    }
    let mut batch: Vec<String> = claim_batch(&db.owner, agent.id, 3)
        .await?
        .into_iter()
        .map(|task| task.title)
        .collect();
    batch.sort();
    assert_eq!(batch, ["CRITICAL", "CRITICAL", "HIGH"]);
    for out_of_range in [0, 1001] {
        assert_eq!(
            sqlstate(&claim_batch(&db.owner, agent.id, out_of_range).await),
            "22023"
        );
    }
    Ok(())
}

#[tokio::test]
async fn future_blocked_unapproved_and_finished_tasks_are_not_handed_out() -> Result<()> {
    let db = Database::create().await?;
    let agent = db.agent(&[]).await?;
    let first = create(&db.owner, json!({"title": "first"})).await?;
    let waiting = [
        create(
            &db.owner,
            json!({"title": "later", "run_at": "2999-01-01T00:00:00Z"}),
        )
        .await?,
        create(
            &db.owner,
            json!({"title": "blocked", "depends_on": [first]}),
        )
        .await?,
        create(
            &db.owner,
            json!({"title": "unapproved", "needs_approval": true}),
        )
        .await?,
    ];

    assert_eq!(claimed_titles(&db, &agent).await?, ["first"]);
    let mut states = Vec::new();
    for task_id in waiting {
        assert!(start(&db.owner, task_id, agent.id).await?.is_none());
        states.push(status(&db.owner, task_id).await?);
    }
    assert_eq!(states, ["SCHEDULED", "BLOCKED", "AWAITING_APPROVAL"]);
    Ok(())
}

#[tokio::test]
async fn only_agents_in_service_get_tasks() -> Result<()> {
    let db = Database::create().await?;
    let agent = db.agent(&[]).await?;
    create(&db.owner, json!({"title": "t"})).await?;
    sqlx::query("select devart.set_agent_activation($1, false)")
        .bind(agent.id)
        .execute(&db.owner)
        .await?;
    assert_eq!(sqlstate(&claim(&db.owner, agent.id).await), "42501");
    assert_eq!(sqlstate(&claim(&db.owner, Uuid::now_v7()).await), "P0002");
    Ok(())
}
