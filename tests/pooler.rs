//! PgBouncer in transaction mode between the services and Postgres: each transaction may get another
//! connection, and a connection may have been anybody's.

use anyhow::Result;
use futures::future::try_join_all;
use serde_json::{Value, json};

use crate::support::Database;
use crate::support::api::Api;
use crate::support::bridge::Bridge;
use crate::support::broker::{Broker, Queues};
use crate::support::budget::audit;
use crate::support::http::Http;
use crate::support::pooler::Pooler;
use crate::support::queue::create;
use crate::support::wait::eventually;

const CLIENTS: usize = 12;
const TASKS: usize = 60;

/// A pooler before a new database; none, with a loud line, where PgBouncer is not installed.
async fn pooled() -> Result<Option<(Database, Pooler)>> {
    if !Pooler::is_installed() {
        eprintln!("NOT TESTED: PgBouncer is not installed (apt-get install pgbouncer)");
        return Ok(None);
    }
    let db = Database::create().await?;
    let pooler = Pooler::start(&db).await?;
    Ok(Some((db, pooler)))
}

async fn api_through(db: &Database, pooler: &Pooler) -> Result<Api> {
    let direct = db.authenticator_url();
    let variables = [
        ("DATABASE_POOLER", "transaction"),
        ("DATABASE_DIRECT_URL", direct.as_str()),
        ("API_MAINTAIN_INTERVAL_MS", "50"),
    ];
    Api::start_with(&pooler.through(&direct), &variables).await
}

/// Claims and completes until nothing waits; gives the tasks that it did.
async fn work(agent: Http) -> Result<Vec<String>> {
    let mut done = Vec::new();
    loop {
        let claim = agent.post("/api/tasks/claim", json!({})).await?;
        if claim.status == 204 {
            return Ok(done);
        }
        let claim = claim.expect(200)["items"][0].clone();
        let id = claim["task_id"].as_str().expect("an id").to_owned();
        let change =
            json!({"status": "DONE", "lease_token": claim["lease_token"], "result": {"n": 1}});
        agent
            .put(&format!("/api/tasks/{id}/status"), change)
            .await?
            .expect(200);
        done.push(id);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn agents_and_people_work_through_pgbouncer_each_as_who_they_are() -> Result<()> {
    let Some((db, pooler)) = pooled().await? else {
        return Ok(());
    };
    let api = api_through(&db, &pooler).await?;
    let supervisor = api.client(db.person("supervisor").await?);
    let viewer = api.client(db.person("viewer").await?);
    let created = (0..TASKS).map(|n| {
        let (supervisor, viewer) = (supervisor.clone(), viewer.clone());
        async move {
            let task = json!({"title": format!("task {n}")});
            let (made, refused) = tokio::try_join!(
                supervisor.post("/api/tasks", task.clone()),
                viewer.post("/api/tasks", task)
            )?;
            assert_eq!(refused.status, 403, "a viewer's claims are nobody else's");
            anyhow::Ok(made.expect(201))
        }
    });
    assert_eq!(try_join_all(created).await?.len(), TASKS);
    let mut agents = Vec::new();
    for _ in 0..CLIENTS {
        agents.push(api.agent(&db.agent(&[]).await?));
    }
    let listing = async {
        for _ in 0..20 {
            viewer.get("/api/tasks?limit=10").await?.expect(200);
        }
        anyhow::Ok(())
    };
    let working = try_join_all(agents.into_iter().map(work));
    let (done, ()) = tokio::try_join!(working, listing)?;
    let mut done = done.concat();
    done.sort_unstable();
    done.dedup();
    assert_eq!(done.len(), TASKS, "each once");
    audit(&db.owner).await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_waiting_claim_is_woken_past_pgbouncer() -> Result<()> {
    let Some((db, pooler)) = pooled().await? else {
        return Ok(());
    };
    let api = api_through(&db, &pooler).await?;
    let agent = api.agent(&db.agent(&[]).await?);
    let waiting = tokio::spawn(async move {
        agent
            .post("/api/tasks/claim", json!({"wait_seconds": 20}))
            .await
    });
    eventually("the API listens past the pooler", async || {
        let listening: bool = sqlx::query_scalar(
            "select exists (select from pg_stat_activity where datname = current_database()
             and usename = 'authenticator' and query ilike 'listen%')",
        )
        .fetch_one(&db.owner)
        .await
        .ok()?;
        listening.then_some(())
    })
    .await;
    let id = create(&db.owner, json!({"title": "t"})).await?;
    let claim: Value = waiting.await??.expect(200);
    assert_eq!(claim["items"][0]["task_id"], json!(id));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bridge_delivers_through_pgbouncer() -> Result<()> {
    let Some((db, pooler)) = pooled().await? else {
        return Ok(());
    };
    db.set("outbox_topics", json!(["rabbitmq.task"])).await?;
    let broker = Broker::shared().await?;
    let direct = db.bridge_url("rabbitmq");
    let variables = [
        ("DATABASE_POOLER", "transaction"),
        ("DATABASE_DIRECT_URL", direct.as_str()),
    ];
    let through = pooler.through(&direct);
    // Two, which share the pooler's connections.
    let mut one = Bridge::launch(&through, &broker, &variables)?;
    let mut other = Bridge::launch(&through, &broker, &variables)?;
    one.wait_until_ready().await;
    other.wait_until_ready().await;
    for n in 0..200 {
        create(&db.owner, json!({"title": format!("{n}")})).await?;
    }
    eventually("all are delivered", async || {
        let left: i64 = sqlx::query_scalar("select count(*) from devart_private.outbox")
            .fetch_one(&db.owner)
            .await
            .ok()?;
        (left == 0).then_some(())
    })
    .await;
    Queues::open(&broker)
        .await?
        .wait_for_count("tasks.todo", 200)
        .await;
    Ok(())
}
