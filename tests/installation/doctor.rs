//! Each way out that `devart doctor` prints about an installation leads out. (What it says about
//! packages, pgvector and the extension is `devart setup`, with which `make test` begins.)

use std::net::TcpListener;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::{Clone, text};
use crate::support::wait::within;

/// How long until something that was broken is noticed.
const PATIENCE: Duration = Duration::from_secs(60);

/// What is wrong, and what is to be done about it.
#[derive(Debug)]
struct Finding {
    what: String,
    mend: String,
}

impl Clone {
    /// What doctor says of a thing that is not well; none when it is.
    fn finding(&self, thing: &str, before: &str) -> Result<Option<Finding>> {
        let said = text(&self.shell(&format!("{before}\ndevart doctor"))?);
        let mut lines = said.lines();
        let word = |line: &str, at: usize| line.split_whitespace().nth(at).map(str::to_owned);
        let is_about = |line: &&str| {
            matches!(word(line, 0).as_deref(), Some("BAD" | "hint"))
                && word(line, 1).as_deref() == Some(thing)
                // What every installation without a bot of its own is told.
                && !line.contains("a stand-in for Telegram")
        };
        let Some(what) = lines.find(is_about) else {
            let is_well = said
                .lines()
                .any(|line| line.trim_start().starts_with(&format!("ok    {thing}")));
            ensure!(
                is_well || thing == "ports" || thing == "servers",
                "nothing about {thing}: {said}"
            );
            return Ok(None);
        };
        let next = lines.next().context("no way out")?;
        let (_, mend) = next.split_once(": ").context("no way out")?;
        Ok(Some(Finding {
            what: what.to_owned(),
            mend: mend.trim().to_owned(),
        }))
    }

    /// Waits until doctor finds it, then does what it says, up to the remark in brackets. Gives what
    /// was found.
    async fn mend(&self, thing: &str, change: impl Fn(&str) -> String) -> Result<Finding> {
        let found = within(PATIENCE, &format!("{thing} is found"), async || {
            // While servers start again, doctor may not see it yet.
            self.finding(thing, "").ok().flatten()
        })
        .await;
        let command = found.mend.split("    (").next().unwrap_or_default();
        self.must(&change(command))
            .with_context(|| format!("{found:?}"))?;
        let left = self.finding(thing, "")?;
        ensure!(left.is_none(), "{command} did not help: {left:?}");
        Ok(found)
    }
}

fn as_printed(command: &str) -> String {
    command.to_owned()
}

#[tokio::test]
async fn each_way_out_that_doctor_prints_leads_out() -> Result<()> {
    let clone = Clone::make(0o755)?;
    let ports = super::free_ports()?;
    let found = clone
        .mend("servers", |command| format!("{ports} {command}"))
        .await?;
    assert!(found.what.contains("never started"), "{found:?}");
    clone.must("devart doctor")?;

    supervisor_is_killed(&clone).await?;
    port_is_taken(&clone).await?;
    passwords_differ(&clone).await?;
    files_are_old(&clone).await?;
    library_is_not_loaded(&clone).await?;
    part_stands_still(&clone).await?;

    let before = "export DEVART_PG=14";
    let found = clone
        .finding("packages", before)?
        .context("14 is refused")?;
    let then = format!("{before}; {}", found.mend);
    assert!(clone.finding("packages", &then)?.is_none(), "{found:?}");
    clone.must("devart doctor && devart status")?;
    Ok(())
}

async fn supervisor_is_killed(clone: &Clone) -> Result<()> {
    clone.must("kill -KILL $(head -n 1 .devart/run/supervisor.pid)")?;
    clone.mend("supervisor", as_printed).await?;
    Ok(())
}

async fn port_is_taken(clone: &Clone) -> Result<()> {
    clone.must("devart down")?;
    let taken = TcpListener::bind(clone.recorded("API_BIND")?)?;
    let another = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
    let found = clone
        .mend("ports", |command| {
            command.replace("NUMBER", &another.to_string())
        })
        .await?;
    assert!(found.what.contains("the API"), "{found:?}");
    drop(taken);
    Ok(())
}

/// The record has another password than a server, whichever of the two was changed.
async fn passwords_differ(clone: &Clone) -> Result<()> {
    for (name, part) in [
        ("DATABASE_URL", "postgres"),
        ("RABBITMQ_BRIDGE_URL", "rabbitmq"),
    ] {
        let url = clone.recorded(name)?;
        let (login, rest) = url.rsplit_once('@').context("a login")?;
        let (user, _) = login.rsplit_once(':').context("a password")?;
        clone.record(name, &format!("{user}:another-password@{rest}"))?;
        let found = clone.mend(part, as_printed).await?;
        assert!(found.what.contains("another password"), "{found:?}");
    }
    clone.must(
        r#". .devart/env && psql -X "$DATABASE_URL" -c "alter role devart password 'yet another'""#,
    )?;
    clone.mend("postgres", as_printed).await?;
    Ok(())
}

async fn files_are_old(clone: &Clone) -> Result<()> {
    clone.must(
        r#". .devart/env && psql -X "$DATABASE_URL" -c "
           update devart_private.idempotent_files set sha256 = '' where name like '950%'""#,
    )?;
    clone.mend("migrations", as_printed).await?;
    Ok(())
}

async fn library_is_not_loaded(clone: &Clone) -> Result<()> {
    let pid = clone.process("postgres")?;
    clone.must(&format!(
        "sed -i /shared_preload_libraries/d .devart/state/postgres/data/devart.conf
         kill -INT {pid}"
    ))?;
    clone.mend("preload", as_printed).await?;
    Ok(())
}

/// It answers nothing, not even the request to end.
async fn part_stands_still(clone: &Clone) -> Result<()> {
    clone.must(&format!("kill -STOP {}", clone.process("telegram")?))?;
    clone
        .mend("telegram", |command| {
            // Stopping takes as long as it takes, and says whom it waited for.
            let (down, up) = command.split_once("; ").expect("two commands");
            format!("{down} | tee said && grep -q 'waiting for telegram' said && grep -q 'by force: telegram' said && {up}")
        })
        .await?;
    Ok(())
}
