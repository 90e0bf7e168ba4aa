//! Setting up where others would stumble, and living on with it.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::json;

use super::arguments::Watch;
use super::{Clone, text};
use crate::support::http::Http;
use crate::support::wait::within;

/// What another installation's `.devart/env` exports.
const THEIRS: [&str; 4] = [
    "SUPABASE_JWT_SECRET",
    "GITHUB_WEBHOOK_SECRET",
    "ADMIN_PASSWORD",
    "TELEGRAM_BOT_TOKEN",
];

#[tokio::test]
async fn an_installation_is_its_own_whatever_the_terminal_brought() -> Result<()> {
    let clone = Clone::make(0o755)?;
    // Sourced in the same terminal, with a umask that closes what is made.
    let lines = THEIRS.map(|name| format!("export {name}='of another installation'"));
    let other = clone.around.join("another");
    std::fs::create_dir_all(other.join(".devart"))?;
    let installation = format!("export DEVART_INSTALLATION='{}'", other.display());
    std::fs::write(
        other.join(".devart/env"),
        format!("{installation}\n{}\n", lines.join("\n")),
    )?;
    let arguments = Watch::begin();
    let said = clone.up(". ../another/.devart/env; umask 077")?;
    no_secret_is_an_argument(&clone, &arguments.end())?;
    assert!(said.contains("not taken over"), "{said}");
    let record = std::fs::read_to_string(clone.path(".devart/env"))?;
    assert!(!record.contains("of another installation"), "{record}");
    let printed = said.lines().find_map(|line| line.split_once("secrets:"));
    let (_, sourced) = printed.context("the line for the shell")?;
    let url = clone.must(&format!("{sourced} && printf %s \"$API_URL\""))?;
    assert_eq!(
        url,
        clone.recorded("API_URL")?,
        "the printed line can be pasted"
    );

    another_password_is_set(&clone).await?;
    full_disk_stops_no_server(&clone).await
}

fn no_secret_is_an_argument(clone: &Clone, seen: &BTreeSet<String>) -> Result<()> {
    assert!(seen.iter().any(|it| it.contains("devart up")), "{seen:?}");
    for name in [
        "SUPABASE_JWT_SECRET",
        "GITHUB_WEBHOOK_SECRET",
        "ADMIN_PASSWORD",
        "DATABASE_URL",
        "RABBITMQ_BRIDGE_URL",
        "API_BROKER_SECRET",
    ] {
        let value = clone.recorded(name)?;
        let secret = match value.split_once("://") {
            Some((_, rest)) => {
                let (login, _) = rest.split_once('@').context("a login")?;
                login.split_once(':').context("a password")?.1
            }
            None => &value,
        };
        assert!(secret.len() >= 16, "{name} is long enough to be told");
        let told = seen.iter().find(|it| it.contains(secret));
        assert_eq!(told, None, "{name}");
    }
    Ok(())
}

async fn another_password_is_set(clone: &Clone) -> Result<()> {
    assert!(logs_in(clone, &clone.recorded("ADMIN_PASSWORD")?).await?);
    for refused in ["short", "of two\nlines"] {
        let up = clone.shell(&format!("ADMIN_PASSWORD='{refused}' devart up"))?;
        assert!(!up.status.success(), "{refused}");
        assert!(text(&up).contains("ADMIN_PASSWORD"), "{}", text(&up));
        assert!(
            logs_in(clone, &clone.recorded("ADMIN_PASSWORD")?).await?,
            "{refused}"
        );
    }
    clone.must("ADMIN_PASSWORD='chosen later' devart up")?;
    assert_eq!(clone.recorded("ADMIN_PASSWORD")?, "chosen later");
    assert!(logs_in(clone, "chosen later").await?);
    Ok(())
}

async fn logs_in(clone: &Clone, password: &str) -> Result<bool> {
    let api = Http::new(clone.recorded("API_URL")?);
    let body = json!({"email": clone.recorded("ADMIN_EMAIL")?, "password": password});
    let answer = api.post("/auth/v1/token?grant_type=password", body).await?;
    Ok(answer.status == 200)
}

/// The supervisor's own log, and with it each line that it says, is on a full disk.
async fn full_disk_stops_no_server(clone: &Clone) -> Result<()> {
    clone.must("devart down")?;
    clone.must(
        "rm .devart/log/api.log && ln -s /dev/full .devart/log/api.log
         setsid .devart/bin/devart supervise > /dev/full 2>&1 < /dev/null &",
    )?;
    let started = within(Duration::from_secs(120), "the API starts", async || {
        clone.process("api").ok()
    })
    .await;
    clone.must(&format!("kill -KILL {started}"))?;
    within(
        Duration::from_secs(60),
        "the API is started again",
        async || clone.process("api").ok().filter(|pid| *pid != started),
    )
    .await;
    within(Duration::from_secs(120), "all is well", async || {
        clone.must("devart status").ok()
    })
    .await;
    clone.must("devart down")?;
    Ok(())
}
