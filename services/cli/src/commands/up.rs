//! `devart up`: from whatever is there to a working control plane.

mod servers;
mod summary;

use std::time::Duration;

use anyhow::{Context, Result, bail};
use sqlx::Connection;

use crate::bridges::{BRIDGES, Bridge};
use crate::cluster::OWNER;
use crate::health::WrongPassword;
use crate::layout::Layout;
use crate::people::{self, Role};
use crate::postgres::Choice;
use crate::progress::Stage;
use crate::secrets::{API_ROLE, GRAFANA_ROLE, Secrets};
use crate::{database, demo, health, migrate, setup, supervisor};
use servers::Servers;

/// What can be chosen about `devart up`.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Stay in front, show the servers' logs, stop them at Ctrl-C.
    pub foreground: bool,
    /// Run the main job on an empty database.
    pub demo: bool,
    /// Install and compile what is needed; else the programs beside this one do.
    pub setup: bool,
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
    Choice::for_data_dir(&layout.postgres_dir().join("data"))?;
    if let Some(other) = layout.sourced_from() {
        say!(
            "  the environment is that of the installation in {}; its secrets are not taken over",
            other.display()
        );
    }
    let changed = if options.setup {
        setup::run(layout, false)?
    } else {
        setup::take_built(layout)?
    };
    let mut servers = start(layout, changed, options.foreground).await?;
    let (ports, secrets) = (servers.ports.clone(), servers.secrets.clone());
    let database_url = servers.database_url.clone();
    wait_for_broker(layout, &mut servers).await?;
    bring_up_to_date(&database_url, &secrets).await?;
    secrets.write(layout, &ports)?;
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

async fn start(layout: &Layout, changed: setup::Changed, foreground: bool) -> Result<Servers> {
    let stage = Stage::begin("cluster");
    let result = start_servers(layout, changed, foreground).await;
    stage.end(result)
}

async fn start_servers(
    layout: &Layout,
    changed: setup::Changed,
    foreground: bool,
) -> Result<(Servers, String)> {
    let restart = changed.extension || changed.programs;
    let mut servers = Servers::start(layout, restart, foreground)?;
    let what = match answer_of_postgres(layout, &servers).await {
        Err(error) if error.is::<WrongPassword>() => {
            servers.renew_passwords(layout)?;
            answer_of_postgres(layout, &servers).await
        }
        answer => answer,
    }?;
    servers.cluster.create_database(OWNER)?;
    let verb = if servers.started {
        "started"
    } else {
        "running"
    };
    Ok((servers, format!("{what} {verb}")))
}

async fn answer_of_postgres(layout: &Layout, servers: &Servers) -> Result<String> {
    let url = servers.cluster.url("postgres");
    health::wait(layout, "postgres", POSTGRES_PATIENCE, async || {
        health::postgres(&url).await
    })
    .await
}

async fn wait_for_broker(layout: &Layout, servers: &mut Servers) -> Result<()> {
    let stage = Stage::begin("rabbitmq");
    let ready = match answer_of_broker(layout, servers).await {
        Err(error) if error.is::<WrongPassword>() => start_with_passwords(layout, servers).await,
        answer => answer,
    };
    stage.end(ready.map(|what| ((), what)))
}

async fn start_with_passwords(layout: &Layout, servers: &mut Servers) -> Result<String> {
    servers.renew_passwords(layout)?;
    answer_of_postgres(layout, servers).await?;
    answer_of_broker(layout, servers).await
}

async fn answer_of_broker(layout: &Layout, servers: &Servers) -> Result<String> {
    let (port, password) = (
        servers.ports.rabbitmq.clients,
        &servers.secrets.rabbitmq_password,
    );
    health::wait(layout, "rabbitmq", RABBITMQ_PATIENCE, async || {
        health::rabbitmq(port, password).await
    })
    .await
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
    let mut connection = database::connect(database_url)
        .await
        .context("connecting to the database")?;
    for topic in BRIDGES.iter().flat_map(|bridge| bridge.topics) {
        enable_topic(&mut connection, topic).await?;
    }
    // Once for each that is chosen: later the account belongs to the person, who may have changed
    // its password.
    let admin = &secrets.admin;
    if secrets.has_new_admin() || !people::exists(&mut connection, &admin.email).await? {
        let password = Some(admin.password.as_str());
        people::put(&mut connection, &admin.email, password, Role::Admin).await?;
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
    sqlx::query("select devart_private.enable_topic($1)")
        .bind(topic)
        .execute(connection)
        .await
        .with_context(|| format!("enabling the topic {topic}"))?;
    Ok(())
}

async fn demonstrate(layout: &Layout, database_url: &str) -> Result<()> {
    let mut connection = database::connect(database_url)
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
    say!("");
    demo::run(layout).await.context("the demo failed")
}
