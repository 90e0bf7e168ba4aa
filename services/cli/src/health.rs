//! Whether each part of an installation works, asked of the part itself.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use devart_kit::http_client;
use sqlx::{Connection, PgConnection};

use crate::bridges::{BRIDGES, Bridge};
use crate::installation::Installation;
use crate::layout::Layout;
use crate::ports::Ports;
use crate::rabbitmq::{self, Login};
use crate::stand_in::StandIn;
use crate::{database, migrate, supervisor};

/// How long one question may take.
const PATIENCE: Duration = Duration::from_secs(3);

/// A server that has another password than `.devart/env`. `devart up` mends it.
#[derive(Debug)]
pub struct WrongPassword;

impl std::fmt::Display for WrongPassword {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.write_str("it has another password than .devart/env")
    }
}

impl std::error::Error for WrongPassword {}

/// One part and how it is.
#[derive(Debug)]
pub struct PartHealth {
    /// The part.
    pub name: &'static str,
    /// What it said, or why it is not well.
    pub outcome: Result<String>,
}

/// Asks every part.
pub async fn all(layout: &Layout) -> Result<Vec<PartHealth>> {
    let installation = Installation::open(layout)?;
    let ports =
        Ports::recorded(&layout.ports_file()).context("no ports are recorded; run `devart up`")?;
    let database_url = installation.database_url()?;
    let mut outcomes = vec![
        ("supervisor", supervisor(layout)),
        ("postgres", postgres(database_url).await),
        ("migrations", migrations(database_url).await),
        ("rabbitmq", recorded_broker(&installation, &ports).await),
        ("api", ready(installation.get("API_URL")?).await),
    ];
    for it in &BRIDGES {
        outcomes.push((it.part, bridge(it, &installation, &ports).await));
    }
    Ok(outcomes
        .into_iter()
        .map(|(name, outcome)| PartHealth { name, outcome })
        .collect())
}

async fn bridge(bridge: &Bridge, installation: &Installation, ports: &Ports) -> Result<String> {
    let well = ready(&bridge_url(ports.of(bridge.part)?)).await?;
    Ok(match bridge.stand_in(|name| installation.has(name)) {
        None => well,
        Some(StandIn {
            instead_of, takes, ..
        }) => format!("{well}; no {instead_of} is set, so a stand-in takes the {takes}"),
    })
}

fn supervisor(layout: &Layout) -> Result<String> {
    let pid = supervisor::running(layout)?.context("not running")?;
    let recorded = supervisor::record::read(&layout.run_dir().join("parts.json"));
    let parts = recorded.map(|it| it.parts).unwrap_or_default();
    let restarts: u32 = parts.values().map(|part| part.restarts).sum();
    Ok(format!(
        "pid {pid}, {} parts, {restarts} restarts",
        parts.len()
    ))
}

/// The server's version.
pub async fn postgres(database_url: &str) -> Result<String> {
    let mut connection = connect(database_url).await?;
    let version: String = sqlx::query_scalar("select current_setting('server_version')")
        .fetch_one(&mut connection)
        .await
        .context("asking for the version")?;
    connection.close().await.context("closing the connection")?;
    Ok(format!("PostgreSQL {version}"))
}

/// Services that are put off until their provider serves again, and until when.
pub async fn deferred_services(layout: &Layout) -> Result<Vec<String>> {
    let installation = Installation::open(layout)?;
    let mut connection = connect(installation.database_url()?).await?;
    let services: Vec<String> = sqlx::query_scalar(
        "select format('%s until %s UTC', s.name, date_trunc('second', s.deferred_until at time zone 'UTC'))
         from devart.service_registry s
         where s.deferred_until > now()
         order by s.deferred_until
         limit 20",
    )
    .fetch_all(&mut connection)
    .await
    .context("asking for services that are put off")?;
    connection.close().await.context("closing the connection")?;
    Ok(services)
}

async fn connect(database_url: &str) -> Result<PgConnection> {
    const INVALID_PASSWORD: &str = "28P01";
    let connected = tokio::time::timeout(PATIENCE, database::connect(database_url)).await;
    connected.context("no answer")?.map_err(|error| {
        let refused = error.downcast_ref::<sqlx::Error>();
        let refused = refused.and_then(|it| it.as_database_error()?.code());
        if refused.as_deref() == Some(INVALID_PASSWORD) {
            return WrongPassword.into();
        }
        error
    })
}

async fn migrations(database_url: &str) -> Result<String> {
    match tokio::time::timeout(PATIENCE, migrate::outstanding(database_url))
        .await
        .context("no answer")??
    {
        0 => Ok("current".to_owned()),
        count => bail!("{count} not applied"),
    }
}

async fn recorded_broker(installation: &Installation, ports: &Ports) -> Result<String> {
    let password = installation.broker_password();
    rabbitmq(ports.rabbitmq.clients, &password.unwrap_or_default()).await
}

/// Whether the broker lets us in.
pub async fn rabbitmq(port: u16, password: &str) -> Result<String> {
    let password = password.to_owned();
    let login = tokio::task::spawn_blocking(move || rabbitmq::login(port, &password));
    match login.await.context("asking the broker")? {
        Login::Accepted => Ok(format!("answers on port {port}")),
        Login::Refused => Err(WrongPassword.into()),
        Login::NoAnswer => bail!("no broker answers on port {port}"),
    }
}

/// Where a bridge answers whether it is ready.
pub fn bridge_url(port: u16) -> String {
    format!("http://127.0.0.1:{port}")
}

/// Whether a service does its work: what it needs is there, and the database migrated.
pub async fn ready(url: &str) -> Result<String> {
    let client = http_client::local()
        .timeout(PATIENCE)
        .build()
        .context("making an HTTP client")?;
    let answer = client
        .get(format!("{url}/readyz"))
        .send()
        .await
        .with_context(|| format!("no answer from {url}"))?;
    if !answer.status().is_success() {
        bail!(
            "not ready: {} {}",
            answer.status(),
            answer.text().await.unwrap_or_default()
        );
    }
    Ok(format!("ready at {url}"))
}

/// Asks again and again until the answer is good; fails early when the supervisor is gone, and when
/// the password is wrong, which does not change by waiting.
pub async fn wait<F>(layout: &Layout, name: &str, patience: Duration, ask: F) -> Result<String>
where
    F: AsyncFn() -> Result<String>,
{
    let started = Instant::now();
    loop {
        let error = match ask().await {
            Ok(answer) => return Ok(answer),
            Err(error) => error,
        };
        if error.is::<WrongPassword>() {
            return Err(error);
        }
        let supervised =
            started.elapsed() < Duration::from_secs(5) || supervisor::running(layout)?.is_some();
        if !supervised || started.elapsed() > patience {
            bail!(
                "{name} did not become ready ({error:#}); its log ends:\n{}",
                crate::logs::tail(layout, name, 15)
            );
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
