//! PgBouncer in transaction mode between the services and Postgres: each transaction may get another
//! connection, and a connection may have been anybody's.

use std::process::Command;

use anyhow::{Context, Result};
use devart_cli::setup::pgbouncer::{BOOKWORM, TRIXIE, VERSIONS, Version};
use futures::future::try_join_all;
use serde_json::{Value, json};

use crate::support::Database;
use crate::support::api::Api;
use crate::support::bridge::Bridge;
use crate::support::broker::{Broker, Queues};
use crate::support::budget::audit;
use crate::support::http::Http;
use crate::support::pooler::{Kind, Pooler};
use crate::support::queue::create;
use crate::support::wait::eventually;

const CLIENTS: usize = 12;
const TASKS: usize = 60;

/// The tests, before each kind of PgBouncer.
macro_rules! before {
    ($($name:ident: $kind:expr,)*) => {
        const KINDS: &[Kind] = &[$($kind),*];
        $(mod $name {
            use super::*;

            #[tokio::test(flavor = "multi_thread")]
            async fn agents_and_people_work_each_as_who_they_are() -> Result<()> {
                super::agents_and_people_work_each_as_who_they_are($kind).await
            }

            #[tokio::test(flavor = "multi_thread")]
            async fn a_waiting_claim_is_woken_past_it() -> Result<()> {
                super::a_waiting_claim_is_woken_past_it($kind).await
            }

            #[tokio::test(flavor = "multi_thread")]
            async fn a_bridge_delivers() -> Result<()> {
                super::a_bridge_delivers($kind).await
            }
        })*
    };
}

before! {
    version_1_18: kind(BOOKWORM, None),
    version_1_24: kind(TRIXIE, None),
    version_1_24_which_prepares_nothing: kind(TRIXIE, Some(0)),
}

const fn kind(version: Version, max_prepared_statements: Option<u32>) -> Kind {
    Kind {
        version,
        max_prepared_statements,
    }
}

#[test]
fn every_version_that_set_up_builds_is_tried_and_is_that_version() -> Result<()> {
    for version in VERSIONS {
        let number = version.number;
        let tried = KINDS.iter().find(|kind| kind.version == version);
        if !tried.context(number)?.is_here()? {
            continue;
        }
        let output = Command::new(version.program()?).arg("--version").output()?;
        let says = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(says.starts_with(&format!("PgBouncer {number}.")), "{says}");
        eprintln!("tried: {}", says.lines().next().unwrap_or_default());
    }
    Ok(())
}

/// A pooler before a new database; none where its version cannot be had.
async fn pooled(kind: Kind) -> Result<Option<(Database, Pooler)>> {
    if !kind.is_here()? {
        return Ok(None);
    }
    let db = Database::create().await?;
    let pooler = Pooler::start(kind, &db).await?;
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

async fn agents_and_people_work_each_as_who_they_are(kind: Kind) -> Result<()> {
    let Some((db, pooler)) = pooled(kind).await? else {
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

async fn a_waiting_claim_is_woken_past_it(kind: Kind) -> Result<()> {
    let Some((db, pooler)) = pooled(kind).await? else {
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

async fn a_bridge_delivers(kind: Kind) -> Result<()> {
    let Some((db, pooler)) = pooled(kind).await? else {
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
    for bridge in [&mut one, &mut other] {
        bridge.wait_until_ready().await;
        bridge.wait_until_it_looked().await;
    }
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
