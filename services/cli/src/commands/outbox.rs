//! `devart outbox`: what waits to go outside, what was given up, and what to do about it.

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use sqlx::{Connection, PgConnection};
use time::OffsetDateTime;

use crate::names;

/// What can be done with the outbox.
#[derive(Debug, Subcommand)]
pub enum Outbox {
    /// Show each topic, or single messages with --topic or --buried
    List(List),
    /// Deliver buried messages again: some by their ids, those of a topic, or all
    Replay(Replay),
    /// Delete buried messages, or any by their ids
    Purge(Purge),
}

/// What to show.
#[derive(Debug, Args)]
pub struct List {
    /// Single messages of this topic
    #[arg(long, value_parser = names::name)]
    topic: Option<String>,
    /// Only those that were given up
    #[arg(long)]
    buried: bool,
    /// How many messages at most
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(i32).range(1..))]
    limit: i32,
}

/// What to deliver again.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub struct Replay {
    /// Ids of buried messages
    ids: Vec<i64>,
    /// All buried messages of this topic
    #[arg(long, value_parser = names::name)]
    topic: Option<String>,
    /// All buried messages
    #[arg(long)]
    all: bool,
}

/// What to delete.
#[derive(Debug, Args)]
pub struct Purge {
    /// Ids of messages, whatever their state
    #[arg(required_unless_present = "buried", conflicts_with_all = ["buried", "topic"])]
    ids: Vec<i64>,
    /// All buried messages
    #[arg(long)]
    buried: bool,
    /// Only those of this topic
    #[arg(long, requires = "buried", value_parser = names::name)]
    topic: Option<String>,
}

/// Does it on this installation's database, or without one on that of `DATABASE_URL`.
pub async fn run(command: Outbox) -> Result<()> {
    let mut connection = super::connect().await?;
    match command {
        Outbox::List(list) if list.topic.is_some() || list.buried => {
            messages(&mut connection, &list).await?;
        }
        Outbox::List(_) => topics(&mut connection).await?,
        Outbox::Replay(it) => replay(&mut connection, &it).await?,
        Outbox::Purge(it) => purge(&mut connection, &it).await?,
    }
    connection.close().await.context("closing the connection")
}

#[derive(sqlx::FromRow)]
struct Topic {
    topic: String,
    waiting: i64,
    leased: i64,
    buried: i64,
    oldest_at: Option<OffsetDateTime>,
    last_error: Option<String>,
}

async fn topics(connection: &mut PgConnection) -> Result<()> {
    let topics: Vec<Topic> = sqlx::query_as("select * from devart_private.outbox_topics()")
        .fetch_all(connection)
        .await
        .context("looking at the outbox")?;
    if topics.is_empty() {
        say!("The outbox is empty.");
        return Ok(());
    }
    say!(
        "{:<24} {:>9} {:>7} {:>7} {:>8}  LAST ERROR",
        "TOPIC",
        "WAITING",
        "LEASED",
        "BURIED",
        "OLDEST"
    );
    for it in topics {
        let oldest = it.oldest_at.map_or_else(|| "-".to_owned(), age);
        let error = one_line(it.last_error.as_deref().unwrap_or_default());
        say!(
            "{:<24} {:>9} {:>7} {:>7} {:>8}  {error}",
            it.topic,
            it.waiting,
            it.leased,
            it.buried,
            oldest
        );
    }
    Ok(())
}

#[derive(sqlx::FromRow)]
struct Message {
    id: i64,
    topic: String,
    key: Option<String>,
    state: String,
    attempt: i32,
    created_at: OffsetDateTime,
    last_error: Option<String>,
    payload: String,
}

async fn messages(connection: &mut PgConnection, list: &List) -> Result<()> {
    let messages: Vec<Message> = sqlx::query_as(
        "select id, topic, key, state, attempt, created_at, last_error, payload::text
         from devart_private.outbox_rows($1, $2, $3)",
    )
    .bind(&list.topic)
    .bind(list.buried)
    .bind(list.limit)
    .fetch_all(connection)
    .await
    .context("looking at the outbox")?;
    if messages.is_empty() {
        say!("There are no such messages.");
    }
    for it in messages {
        let key = it.key.map(|key| format!(", key {key}")).unwrap_or_default();
        say!(
            "{} {} {}, {} old, {} failed attempts{key}",
            it.id,
            it.topic,
            it.state,
            age(it.created_at),
            it.attempt
        );
        if let Some(error) = it.last_error {
            say!("    error    {}", one_line(&error));
        }
        say!("    payload  {}", one_line(&it.payload));
    }
    Ok(())
}

/// How many rows one call of the database's functions takes.
const STEP: usize = 1000;

async fn replay(connection: &mut PgConnection, it: &Replay) -> Result<()> {
    let call = "select devart_private.replay_outbox(null, $1)";
    let count = if it.ids.is_empty() {
        let ids = buried(connection, it.topic.as_deref()).await?;
        each_once(connection, call, &ids).await?
    } else {
        each_once(connection, call, &it.ids).await?
    };
    say!("{count} messages will be delivered again");
    missing(&it.ids, count, "buried")
}

async fn purge(connection: &mut PgConnection, it: &Purge) -> Result<()> {
    let count = if it.buried {
        let call = "select devart_private.purge_outbox(null, $1, p_only_buried => true)";
        let ids = buried(connection, it.topic.as_deref()).await?;
        each_once(connection, call, &ids).await?
    } else {
        let call = "select devart_private.purge_outbox(null, $1)";
        each_once(connection, call, &it.ids).await?
    };
    say!("{count} messages deleted");
    missing(&it.ids, count, "there")
}

/// What is buried at this moment. What is buried later, perhaps the same message again, is another
/// matter: a command that took it too might never end.
async fn buried(connection: &mut PgConnection, topic: Option<&str>) -> Result<Vec<i64>> {
    sqlx::query_scalar("select devart_private.buried_outbox_ids($1)")
        .bind(topic)
        .fetch_one(connection)
        .await
        .context("looking at the outbox")
}

/// Calls the function for each id once; gives how many it changed.
async fn each_once(connection: &mut PgConnection, call: &'static str, ids: &[i64]) -> Result<i64> {
    let mut count = 0;
    for step in ids.chunks(STEP) {
        let changed: i32 = sqlx::query_scalar(call)
            .bind(step)
            .fetch_one(&mut *connection)
            .await
            .context("changing the outbox")?;
        count += i64::from(changed);
    }
    Ok(count)
}

fn missing(ids: &[i64], count: i64, what: &str) -> Result<()> {
    let mut ids = ids.to_vec();
    ids.sort_unstable();
    ids.dedup();
    let missing = ids.len() as i64 - count;
    if missing > 0 {
        bail!("{missing} of the ids were not {what}");
    }
    Ok(())
}

/// The two largest units would be too much detail for a table.
fn age(since: OffsetDateTime) -> String {
    let seconds = (OffsetDateTime::now_utc() - since).whole_seconds().max(0);
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} d", seconds / 86_400),
    }
}

const LONGEST_LINE: usize = 200;

/// Text from outside must not break the table, nor tell the terminal what to do.
fn one_line(text: &str) -> String {
    let text: String = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(LONGEST_LINE + 1)
        .collect();
    match text.char_indices().nth(LONGEST_LINE) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Program {
        #[command(subcommand)]
        command: Outbox,
    }

    fn is_accepted(line: &str) -> bool {
        Program::try_parse_from(line.split(' ')).is_ok()
    }

    #[test]
    fn nothing_is_replayed_or_purged_without_saying_what() {
        assert!(!is_accepted("outbox replay"));
        assert!(!is_accepted("outbox purge"));
        assert!(!is_accepted("outbox purge --topic t"));
        assert!(!is_accepted("outbox purge 1 --buried"));
        assert!(!is_accepted("outbox replay 1 --all"));
    }

    #[test]
    fn what_is_named_is_accepted() {
        assert!(is_accepted("outbox replay 1 2"));
        assert!(is_accepted("outbox replay --topic t"));
        assert!(is_accepted("outbox replay --all"));
        assert!(is_accepted("outbox purge 1 2"));
        assert!(is_accepted("outbox purge --buried --topic t"));
        assert!(is_accepted("outbox list --buried"));
    }

    #[test]
    fn errors_from_outside_stay_on_one_line() {
        assert_eq!(one_line("a\nb\u{1b}[31m"), "a b [31m");
        assert_eq!(one_line(&"ü".repeat(300)).chars().count(), LONGEST_LINE + 3);
    }
}
