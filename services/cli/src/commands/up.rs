//! `devart up`: from whatever is there to a working control plane.

mod servers;
mod summary;

use std::time::Duration;

use anyhow::{Context, Result, bail};
use sqlx::Connection;

use crate::bridges::{BRIDGES, Bridge};
use crate::cluster::OWNER;
use crate::layout::Layout;
use crate::people::{self, Role};
use crate::progress::Stage;
use crate::secrets::{API_ROLE, GRAFANA_ROLE, Secrets};
use crate::{demo, health, migrate, setup, supervisor};
use servers::Servers;

/// What can be chosen about `devart up`.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Stay in front, show the servers' logs, stop them at Ctrl-C.
    pub foreground: bool,
    /// Run the main job on an empty database.
    pub demo: bool,
}

const POSTGRES_PATIENCE: Duration = Duration::from_secs(120);
const RABBITMQ_PATIENCE: Duration = Duration::from_secs(120);
const SERVICE_PATIENCE: Duration = Duration::from_secs(60);

/// Runs every stage, then prints addresses and login.
pub async fn run(layout: &Layout, options: Options) -> Result<()> {
    layout.create()?;
    let Some(_lock) = supervisor::try_lock(&layout.run_dir().join("up.lock"))? else {
        bail!("another `devart up` is at work here; wait for it");
    };
    let outcome = setup::run(layout, false)?;
    let servers = start(layout, outcome, options.foreground).await?;
    let (ports, secrets) = (servers.ports.clone(), servers.secrets.clone());
    let database_url = servers.database_url.clone();
    wait_for_broker(layout, ports.rabbitmq.clients).await?;
    bring_up_to_date(&database_url, &secrets).await?;
    let api = format!("http://127.0.0.1:{}", ports.api);
    wait_for_service(layout, "api", &api).await?;
    for bridge in &BRIDGES {
        let url = health::bridge_url(ports.of(bridge.part)?);
        wait_for_service(layout, bridge.part, &url).await?;
    }
    let demonstrated = if options.demo {
        demonstrate(layout, &database_url).await
    } else {
        Ok(())
    };
    summary::print(layout, &ports, &secrets);
    demonstrated?;
    servers.stay_if_in_front().await
}

async fn start(layout: &Layout, outcome: setup::Outcome, foreground: bool) -> Result<Servers> {
    let stage = Stage::begin("cluster");
    let result = start_servers(layout, outcome, foreground).await;
    stage.end(result)
}

async fn start_servers(
    layout: &Layout,
    outcome: setup::Outcome,
    foreground: bool,
) -> Result<(Servers, String)> {
    let changed = outcome.extension_changed || outcome.programs_changed;
    let servers = Servers::start(layout, changed, foreground)?;
    let url = servers.cluster.url("postgres");
    let what = health::wait(layout, "postgres", POSTGRES_PATIENCE, async || {
        health::postgres(&url).await
    })
    .await?;
    servers.cluster.create_database(OWNER)?;
    let verb = if servers.started {
        "started"
    } else {
        "running"
    };
    Ok((servers, format!("{what} {verb}")))
}

async fn wait_for_broker(layout: &Layout, port: u16) -> Result<()> {
    let stage = Stage::begin("rabbitmq");
    let ready = health::wait(layout, "rabbitmq", RABBITMQ_PATIENCE, async || {
        health::rabbitmq(port).await
    })
    .await;
    stage.end(ready.map(|what| ((), what)))
}

async fn wait_for_service(layout: &Layout, name: &'static str, url: &str) -> Result<()> {
    let stage = Stage::begin(name);
    let ready = health::wait(layout, name, SERVICE_PATIENCE, async || {
        health::ready(url).await
    })
    .await;
    stage.end(ready.map(|what| ((), what)))
}

async fn bring_up_to_date(database_url: &str, secrets: &Secrets) -> Result<()> {
    let stage = Stage::begin("migrate");
    let result = migrate_and_bootstrap(database_url, secrets).await;
    stage.end(result)
}

async fn migrate_and_bootstrap(database_url: &str, secrets: &Secrets) -> Result<((), String)> {
    let report = migrate::migrate(database_url).await?;
    for (role, password) in logins(secrets) {
        migrate::set_login_password(database_url, &role, password).await?;
    }
    let mut connection = sqlx::PgConnection::connect(database_url)
        .await
        .context("connecting to the database")?;
    for topic in BRIDGES.iter().flat_map(|bridge| bridge.topics) {
        enable_topic(&mut connection, topic).await?;
    }
    // Only once: later the account belongs to the person, who may have changed its password.
    if !people::exists(&mut connection, &secrets.admin_email).await? {
        people::put(
            &mut connection,
            &secrets.admin_email,
            Some(&secrets.admin_password),
            Role::Admin,
        )
        .await?;
    }
    connection.close().await.context("closing the connection")?;
    let what = match report.applied.len() {
        0 => format!("current, extension {}", report.extension),
        count => format!("applied {count} files, extension {}", report.extension),
    };
    Ok(((), what))
}

/// The roles that our services and Grafana log in as, with their passwords.
fn logins(secrets: &Secrets) -> Vec<(String, &str)> {
    let mut logins = vec![
        (API_ROLE.to_owned(), secrets.api_password.as_str()),
        (GRAFANA_ROLE.to_owned(), secrets.grafana_password.as_str()),
    ];
    let of_bridge = |bridge: &Bridge| (bridge.role(), &*secrets.bridge_passwords[bridge.name]);
    logins.extend(BRIDGES.iter().map(of_bridge));
    logins
}

/// From now on the database writes messages of this topic.
async fn enable_topic(connection: &mut sqlx::PgConnection, topic: &str) -> Result<()> {
    sqlx::query(
        "update devart.system_settings set value = value || to_jsonb($1::text), updated_at = now()
         where key = 'outbox_topics' and not value ? $1",
    )
    .bind(topic)
    .execute(connection)
    .await
    .with_context(|| format!("enabling the topic {topic}"))?;
    Ok(())
}

async fn demonstrate(layout: &Layout, database_url: &str) -> Result<()> {
    let mut connection = sqlx::PgConnection::connect(database_url)
        .await
        .context("connecting to the database")?;
    let has_tasks: bool = sqlx::query_scalar("select exists (select from devart.tasks)")
        .fetch_one(&mut connection)
        .await
        .context("looking for tasks")?;
    connection.close().await.context("closing the connection")?;
    if has_tasks {
        return Ok(());
    }
    println!();
    demo::run(layout).await.context("the demo failed")
}
