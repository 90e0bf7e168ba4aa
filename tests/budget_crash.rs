//! A hold outlives whoever made it, and its money is free at its expiry: client, API and Postgres are killed between hold and settle.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use devart_cli::cluster::{Cluster, StopMode};
use serde_json::{Value, json};
use sqlx::postgres::PgPoolOptions;
use sqlx::{Connection, PgConnection, PgPool};
use uuid::Uuid;

use crate::support::api::Api;
use crate::support::budget::{audit, charge, expire, reserve, service, settle, standing, usd};
use crate::support::wait::{ends_within, eventually};
use crate::support::{Database, cluster};

/// For all of the spending, on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(180);

/// psql as a client of its own: a process that can be killed.
struct Client {
    child: Child,
    answers: BufReader<std::process::ChildStdout>,
}

impl Client {
    fn start(cluster: &Cluster, url: &str) -> Result<Self> {
        let mut command: Command = cluster.program("psql");
        command
            .args(["-X", "-q", "-A", "-t", "-d", url])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut child = command.spawn().context("starting psql")?;
        let answers = BufReader::new(child.stdout.take().context("psql's output")?);
        Ok(Self { child, answers })
    }

    /// Sends a statement and reads its one line.
    fn ask(&mut self, sql: &str) -> Result<String> {
        let input = self.child.stdin.as_mut().context("psql's input")?;
        writeln!(input, "{sql};")?;
        input.flush()?;
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        Ok(line.trim().to_owned())
    }

    fn kill(mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }
}

async fn wait_until_over(pool: &PgPool, service_id: Uuid) {
    eventually("the hold ends, given back or presumed spent", async || {
        sqlx::query("select devart_private.maintain()")
            .execute(pool)
            .await
            .ok()?;
        let now = standing(pool, service_id).await.ok()?;
        now.held_usd.is_zero().then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_killed_clients_hold_stays_until_it_expires_and_its_open_transaction_leaves_nothing()
-> Result<()> {
    let db = Database::create().await?;
    let id = service(&db.owner, "model", "10").await?;
    let mut client = Client::start(db.cluster(), &db.url())?;
    let hold: Uuid = client
        .ask(&format!(
            "select devart.reserve_charge('{id}', 4) ->> 'hold_id'"
        ))?
        .parse()?;
    client.kill()?;
    let mut client = Client::start(db.cluster(), &db.url())?;
    client.ask(&format!(
        "begin; select devart.reserve_charge('{id}', 5) ->> 'admitted'"
    ))?;
    client.kill()?;
    assert_eq!(
        standing(&db.owner, id).await?.held_usd,
        usd("4"),
        "committed or not at all"
    );
    audit(&db.owner).await;
    expire(&db.owner, hold).await?;
    wait_until_over(&db.owner, id).await;
    assert_eq!(settle(&db.owner, hold, "3").await?["late"], true);
    audit(&db.owner).await;
    Ok(())
}

#[tokio::test]
async fn a_killed_apis_hold_is_settled_through_the_next_one_or_presumed_spent() -> Result<()> {
    let db = Database::create().await?;
    let (agent, id) = (
        db.agent(&[]).await?,
        service(&db.owner, "model", "10").await?,
    );
    let api = Api::start(&db).await?;
    let ask = async |api: &Api| -> Result<String> {
        let body = json!({"service_id": id, "estimate_usd": 4});
        let hold = api
            .agent(&agent)
            .post("/api/tasks/dispatch", body)
            .await?
            .expect(200);
        Ok(hold["hold_id"].as_str().context("a hold")?.to_owned())
    };
    let (settled, forgotten) = (ask(&api).await?, ask(&api).await?);
    drop(api);
    audit(&db.owner).await;
    let api = Api::start(&db).await?;
    let body = json!({"amount_usd": 3.5});
    let path = format!("/api/charges/{settled}/settle");
    api.agent(&agent)
        .post(&path, body.clone())
        .await?
        .expect(200);
    api.agent(&agent).post(&path, body).await?.expect(200);
    sqlx::query("update devart.holds set expires_at = now() where id = $1::text::uuid")
        .bind(&forgotten)
        .execute(&db.owner)
        .await?;
    eventually(
        "the API's own maintenance presumes the forgotten one spent",
        async || {
            let now = standing(&db.owner, id).await.ok()?;
            (now.held_usd.is_zero() && now.spent_usd == usd("7.5")).then_some(())
        },
    )
    .await;
    audit(&db.owner).await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_of_postgres_between_hold_and_settle_loses_and_invents_nothing() -> Result<()> {
    let cluster = cluster::durable().await?;
    let pool = PgPoolOptions::new()
        .max_connections(2)
        .connect(&cluster.url("devart"))
        .await?;
    let id = service(&pool, "model", "1000").await?;
    let spenders: Vec<_> = (0..8)
        .map(|n| tokio::spawn(spend_until_enough(cluster.url("devart"), id, n)))
        .collect();
    for spent in ["1", "3"] {
        eventually("money is spent", async || {
            (standing(&pool, id).await.ok()?.spent_usd >= usd(spent)).then_some(())
        })
        .await;
        tokio::task::block_in_place(|| cluster.restart(StopMode::Immediate))?;
        eventually("the server is back", async || {
            standing(&pool, id).await.ok()
        })
        .await;
        audit(&pool).await;
    }
    for spender in spenders {
        spender.await?;
    }
    audit(&pool).await;
    sqlx::query("update devart.holds set expires_at = now() where status = 'HELD'")
        .execute(&pool)
        .await?;
    wait_until_over(&pool, id).await;
    let open: Vec<Value> =
        sqlx::query_scalar("select to_jsonb(h) from devart.holds h where status = 'HELD'")
            .fetch_all(&pool)
            .await?;
    assert!(open.is_empty(), "{open:?}");
    audit(&pool).await;
    Ok(())
}

/// Holds and settles a cent at a time until five dollars are spent; connects again whenever the connection breaks.
async fn spend_until_enough(url: String, service_id: Uuid, n: usize) {
    let spending = async {
        loop {
            if let Ok(mut connection) = PgConnection::connect(&url).await
                && spend(&mut connection, service_id, n).await.is_ok()
            {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    ends_within(PATIENCE, "five dollars are spent", spending).await;
}

/// Fails when the connection breaks: the hold of that moment is then left behind.
async fn spend(connection: &mut PgConnection, service_id: Uuid, n: usize) -> sqlx::Result<()> {
    while standing(&mut *connection, service_id).await?.spent_usd < usd("5") {
        if n == 0 {
            charge(&mut *connection, service_id, "0.01", None).await?;
            continue;
        }
        let answer = reserve(&mut *connection, service_id, "0.02").await?;
        let hold = answer["hold_id"]
            .as_str()
            .and_then(|id| id.parse().ok())
            .expect("there is enough money");
        settle(&mut *connection, hold, "0.01").await?;
    }
    Ok(())
}
