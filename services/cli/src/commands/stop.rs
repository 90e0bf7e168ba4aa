//! `devart stop`, `devart pause` and `devart resume`: the brake.

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use sqlx::Connection;
use uuid::Uuid;

use crate::database;
use crate::names;

/// What can be paused by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// It gets no task and no money
    Agent,
    /// None of its tasks is handed out, and it is billed for nothing
    Service,
    /// Its tasks, and what descends from them
    Run,
    /// The task, and what descends from it
    Task,
}

/// Why everything stops.
#[derive(Debug, Args)]
pub struct Stop {
    /// Told to people and agents
    #[arg(value_parser = reason)]
    reason: String,
}

/// What to pause.
#[derive(Debug, Args)]
pub struct Pause {
    kind: Kind,
    id: Uuid,
    /// Told to people and agents
    #[arg(long, value_parser = reason)]
    reason: Option<String>,
}

/// What goes on: everything, or one thing that was paused.
#[derive(Debug, Args)]
pub struct Resume {
    #[arg(requires = "id")]
    kind: Option<Kind>,
    id: Option<Uuid>,
}

/// As the database takes it: one line of a terminal, at most 1000 characters.
fn reason(text: &str) -> Result<String, String> {
    names::line(text, 1000)
}

impl Kind {
    fn as_str(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Service => "service",
            Self::Run => "run",
            Self::Task => "task",
        }
    }
}

/// Stops everything.
pub async fn stop(it: &Stop) -> Result<()> {
    let mut connection = super::connect().await?;
    sqlx::query("select devart.emergency_stop($1)")
        .bind(&it.reason)
        .execute(&mut connection)
        .await
        .map_err(database::explain)
        .context("stopping")?;
    say!("Stopped. What is in hand may be completed and settled; nothing else begins.");
    say!("To go on: devart resume");
    close(connection).await
}

/// Pauses an agent, a service, a run or a task.
pub async fn pause(it: &Pause) -> Result<()> {
    let (kind, id) = (it.kind.as_str(), it.id);
    let mut connection = super::connect().await?;
    sqlx::query("select devart.pause($1, $2, $3)")
        .bind(kind)
        .bind(id)
        .bind(&it.reason)
        .execute(&mut connection)
        .await
        .map_err(database::explain)
        .with_context(|| format!("pausing the {kind} {id}"))?;
    say!("Paused. To go on: devart resume {kind} {id}");
    close(connection).await
}

/// Lets it go on.
pub async fn resume(it: &Resume) -> Result<()> {
    let mut connection = super::connect().await?;
    let query = match it.kind {
        Some(kind) => sqlx::query_scalar("select devart.resume($1, $2)")
            .bind(kind.as_str())
            .bind(it.id),
        None => sqlx::query_scalar("select devart.resume_work()"),
    };
    let was_stopped: bool = query
        .fetch_one(&mut connection)
        .await
        .map_err(database::explain)
        .context("resuming")?;
    match was_stopped {
        true => say!("It goes on."),
        false => say!("That was not stopped."),
    }
    still_stopped(&mut connection).await?;
    close(connection).await
}

/// Says what is still in force, so that nobody wonders why nothing happens.
///
/// # Errors
/// When the database does not say so.
pub async fn still_stopped(connection: &mut sqlx::PgConnection) -> Result<()> {
    let stops: Vec<(String, Option<Uuid>)> =
        sqlx::query_as("select scope::text, scope_id from devart.stops order by id limit 100")
            .fetch_all(connection)
            .await
            .context("looking at what is stopped")?;
    for (scope, id) in stops {
        match id {
            Some(id) => say!("Still paused: {scope} {id}"),
            None => say!("Still stopped: everything (devart resume)"),
        }
    }
    Ok(())
}

async fn close(connection: sqlx::PgConnection) -> Result<()> {
    connection.close().await.context("closing the connection")
}

#[cfg(test)]
mod tests {
    use clap::{Parser, Subcommand};

    use super::*;

    #[derive(Parser)]
    struct Program {
        #[command(subcommand)]
        command: Command,
    }

    #[derive(Subcommand)]
    enum Command {
        Stop(Stop),
        Pause(Pause),
        Resume(Resume),
    }

    fn is_accepted(arguments: &[&str]) -> bool {
        Program::try_parse_from([&["devart"], arguments].concat()).is_ok()
    }

    const ID: &str = "01890000-0000-7000-8000-000000000000";

    #[test]
    fn a_stop_has_a_reason() {
        assert!(is_accepted(&["stop", "spends too much"]));
        for arguments in [&["stop"][..], &["stop", " "], &["stop", "a\u{1b}[31m"]] {
            assert!(!is_accepted(arguments), "{arguments:?}");
        }
        assert!(!is_accepted(&["stop", &"x".repeat(1001)]));
    }

    #[test]
    fn a_pause_says_of_what() {
        for kind in ["agent", "service", "run", "task"] {
            assert!(is_accepted(&["pause", kind, ID]));
            assert!(is_accepted(&["pause", kind, ID, "--reason", "why"]));
            assert!(is_accepted(&["resume", kind, ID]));
            assert!(!is_accepted(&["pause", kind]));
            assert!(!is_accepted(&["resume", kind]));
        }
        assert!(!is_accepted(&["pause", "all", ID]));
        assert!(!is_accepted(&["pause", "task", "1"]));
        assert!(is_accepted(&["resume"]));
    }
}
