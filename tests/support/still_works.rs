//! Whether devart works as before, after a test let anything happen to it.

use std::fs;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};
use uuid::Uuid;

use super::api::Api;
use super::budget::{audit, claim_funded, service, settle};
use super::database::Database;
use super::http::Http;
use super::run_sql;

/// More than one statement needs, and far less than many leave behind when each keeps a little.
const MOST_MEGABYTES_OF_A_BACKEND: u64 = 160;

/// How many pages of a list are read.
const MOST_PAGES: usize = 1_000;

/// How often one claims until the normal task comes; what should not be handed out may come before.
const MOST_CLAIMS: usize = 200;

/// What a test looks at from before until it is done.
pub struct Watch {
    /// Postgres ends all sessions when one of its processes dies.
    canary: PgConnection,
    log_before: usize,
}

impl Watch {
    /// Begins to look.
    pub async fn begin(db: &Database) -> Result<Self> {
        Ok(Self {
            canary: db.session().await?,
            log_before: server_log(db)?.len(),
        })
    }

    /// Fails unless no backend died and those that are there gave their memory back, a normal task
    /// goes all of its way by SQL and over HTTP, every list answers, and the money adds up.
    pub async fn still_works(mut self, db: &Database) -> Result<()> {
        self.canary.ping().await.context("a backend died")?;
        let log = server_log(db)?.split_off(self.log_before);
        let log = String::from_utf8_lossy(&log);
        let died = log
            .lines()
            .find(|line| line.contains("was terminated by signal"));
        ensure!(died.is_none(), "a backend died: {died:?}");
        backends_gave_their_memory_back(db).await?;
        // What people stopped, paused or put off stands still until they say otherwise.
        run_sql(
            &mut db.session().await?,
            include_str!("go_on.sql").to_owned(),
        )
        .await?;
        let api = Api::start(db).await?;
        a_normal_task_goes_its_way_by_sql(db).await?;
        a_normal_task_goes_its_way_over_http(db, &api).await?;
        every_list_answers(&api, &api.client(db.person("admin").await?)).await?;
        db.maintain().await?;
        audit(&db.owner).await;
        Ok(())
    }
}

fn server_log(db: &Database) -> Result<Vec<u8>> {
    Ok(fs::read(db.cluster().log_file())?)
}

async fn backends_gave_their_memory_back(db: &Database) -> Result<()> {
    let backends: Vec<(i32, String)> = sqlx::query_as(
        "select pid, coalesce(usename::text, '') from pg_stat_activity
         where datname = current_database() and backend_type = 'client backend'",
    )
    .fetch_all(&db.owner)
    .await?;
    for (pid, user) in backends {
        // One that has ended has given back everything.
        let Ok(status) = fs::read_to_string(format!("/proc/{pid}/status")) else {
            continue;
        };
        let megabytes = kilobytes(&status, "RssAnon:")? / 1024;
        ensure!(
            megabytes <= MOST_MEGABYTES_OF_A_BACKEND,
            "a backend of {user} has kept {megabytes} MB"
        );
    }
    Ok(())
}

fn kilobytes(status: &str, name: &str) -> Result<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let number = line.and_then(|rest| rest.split_whitespace().next());
    Ok(number.context("a line of the memory")?.parse()?)
}

/// Claim, spend and completion, beside all that was let in.
async fn a_normal_task_goes_its_way_by_sql(db: &Database) -> Result<()> {
    let agent = db.agent(&["normal-by-sql"]).await?;
    let model = service(&db.owner, "normal by SQL", "10").await?;
    let id: Uuid = sqlx::query_scalar(
        "select (devart.create_task('normal', priority => 'CRITICAL', service_id => $1,
             estimated_cost_usd => 2, required_capabilities => '{normal-by-sql}')).id",
    )
    .bind(model)
    .fetch_one(&db.owner)
    .await?;
    let mut session = db.session_as(agent.caller()).await?;
    let mut claimed = None;
    for _ in 0..MOST_CLAIMS {
        let batch = claim_funded(&mut session, agent.id, 100).await?;
        claimed = batch.into_iter().find(|task| task.task_id == id);
        if claimed.is_some() {
            break;
        }
    }
    let claimed = claimed.context("the normal task is never handed out")?;
    settle(&mut session, claimed.hold_id.context("its money")?, "1.5").await?;
    let status: String =
        sqlx::query_scalar("select status from devart.complete_task($1, $2, '{\"b\": 2}')")
            .bind(id)
            .bind(claimed.lease_token)
            .fetch_one(&mut session)
            .await?;
    ensure!(status == "DONE", "the normal task is {status}");
    Ok(())
}

async fn a_normal_task_goes_its_way_over_http(db: &Database, api: &Api) -> Result<()> {
    let agent = db.agent(&["normal"]).await?;
    let http = api.agent(&agent);
    let model = service(&db.owner, "normal", "10").await?;
    let supervisor = api.client(db.person("supervisor").await?);
    let task = json!({
        "title": "normal", "priority": "CRITICAL", "required_capabilities": ["normal"],
        "service_id": model, "estimated_cost_usd": 2, "payload": {"a": 1},
    });
    let id = supervisor.post("/api/tasks", task).await?.expect(201)["id"].clone();
    let claimed = next(&http, &id).await?;
    let hold = claimed["hold_id"].as_str().context("its money")?;
    let settle = format!("/api/charges/{hold}/settle");
    let cost = json!({"amount_usd": 1.5});
    http.post(&settle, cost).await?.expect(200);
    let done = json!({"status": "DONE", "lease_token": claimed["lease_token"], "result": {"b": 2}});
    let path = format!("/api/tasks/{}/status", id.as_str().context("an id")?);
    let status = http.put(&path, done).await?.expect(200)["status"].clone();
    ensure!(status == "DONE", "the normal task is {status}");
    Ok(())
}

/// Claims until the task comes.
async fn next(http: &Http, id: &Value) -> Result<Value> {
    for _ in 0..MOST_CLAIMS {
        let claimed = http.post("/api/tasks/claim", json!({"max_tasks": 100}));
        let claimed = match claimed.await? {
            nothing if nothing.status == 204 => continue,
            claimed => claimed.expect(200),
        };
        let mut items = claimed["items"].as_array().into_iter().flatten();
        if let Some(item) = items.find(|item| item["task_id"] == *id) {
            return Ok(item.clone());
        }
    }
    anyhow::bail!("the normal task is never handed out")
}

/// Every list of the API to its end, and those of single things (a task's history) for the first
/// page of their things.
async fn every_list_answers(api: &Api, http: &Http) -> Result<()> {
    let document = api.anonymous.get("/api/openapi.json").await?.expect(200);
    let paths = document["paths"].as_object().context("paths")?;
    let is_list = |get: &Value| {
        let parameters = get["parameters"].as_array();
        parameters.is_some_and(|all| all.iter().any(|parameter| parameter["name"] == "limit"))
    };
    let lists = paths.iter().filter(|(_, methods)| is_list(&methods["get"]));
    let lists: Vec<&str> = lists.map(|(path, _)| path.as_str()).collect();
    ensure!(lists.len() > 7, "the lists of the API: {lists:?}");
    for list in lists {
        match list.split_once("/{id}") {
            None => read_to_its_end(http, list).await?,
            Some((things, rest)) => {
                let page = http.get(&format!("{things}?limit=200")).await?.expect(200);
                for thing in page["items"].as_array().context("items")? {
                    let id = thing["id"].as_str().context("an id")?;
                    read_to_its_end(http, &format!("{things}/{id}{rest}")).await?;
                }
            }
        }
    }
    Ok(())
}

async fn read_to_its_end(http: &Http, list: &str) -> Result<()> {
    let mut cursor = String::new();
    for _ in 0..MOST_PAGES {
        let path = format!("{list}?limit=200{cursor}");
        let page = http.get(&path).await?;
        ensure!(
            page.status == 200,
            "{path} answers {}: {}",
            page.status,
            page.said()
        );
        match page.body["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return Ok(()),
        }
    }
    anyhow::bail!("{list} does not end")
}
