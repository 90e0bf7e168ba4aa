//! What operators do about messages: `devart outbox`.

use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::support::outbox::{TOPIC, enqueue};
use crate::support::outbox_rows::{acknowledge, claim, database, fail, numbers};
use crate::support::{Database, program};

/// `devart outbox` away from any clone, on the database that DATABASE_URL names.
fn devart_outbox(db: &Database, arguments: &[&str]) -> Result<(bool, String)> {
    let output = Command::new(program::path("devart")?)
        .arg("outbox")
        .args(arguments)
        .current_dir("/")
        .env_remove("DEVART_ROOT")
        .env("DATABASE_URL", db.url())
        .output()
        .context("running devart")?;
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8(text).context("devart printed something else than text")?;
    Ok((output.status.success(), text))
}

/// The messages 1 to 3 buried, the first two of one key, and a fourth that waits.
async fn three_buried() -> Result<(Database, Vec<i64>)> {
    let db = database().await?;
    enqueue(&db.owner, Some("a"), 1, 2).await?;
    enqueue(&db.owner, None, 3, 3).await?;
    let mut ids = Vec::new();
    for _ in 0..2 {
        let rows = claim(&db.owner, 10).await?;
        ids.extend(rows.iter().map(|row| row.id));
        fail(&db.owner, &rows, None).await?;
    }
    ids.sort_unstable();
    ensure!(ids.len() == 3, "all are buried");
    enqueue(&db.owner, None, 4, 4).await?;
    Ok((db, ids))
}

#[tokio::test]
async fn an_operator_sees_topics_and_single_messages() -> Result<()> {
    let (db, ids) = three_buried().await?;
    let (ok, text) = devart_outbox(&db, &["list"])?;
    let line = text.lines().find(|line| line.starts_with(TOPIC));
    let line = line.with_context(|| format!("no line for the topic: {text}"))?;
    let words: Vec<&str> = line.split_whitespace().collect();
    assert!(ok, "{text}");
    assert_eq!(
        words[1..4],
        ["1", "0", "3"],
        "waiting, leased, buried: {text}"
    );
    assert!(line.ends_with("it broke"), "{line}");

    let (_, text) = devart_outbox(&db, &["list", "--topic", TOPIC])?;
    assert_eq!(text.matches("payload").count(), 4, "{text}");
    let (_, text) = devart_outbox(&db, &["list", "--buried"])?;
    assert_eq!(text.matches("it broke").count(), 3, "{text}");
    assert!(
        text.contains(&format!("{} {TOPIC} buried", ids[0])),
        "{text}"
    );
    let (_, text) = devart_outbox(&db, &["list", "--topic", "another"])?;
    assert!(text.contains("no such messages"), "{text}");
    Ok(())
}

#[tokio::test]
async fn an_operator_replays_by_id_by_topic_and_all() -> Result<()> {
    let (db, ids) = three_buried().await?;
    let (ok, text) = devart_outbox(&db, &["replay", &ids[2].to_string()])?;
    assert!(ok && text.contains("1 messages"), "{text}");
    assert_eq!(numbers(&claim(&db.owner, 10).await?), [3, 4]);
    let (ok, text) = devart_outbox(&db, &["replay", &ids[2].to_string()])?;
    assert!(!ok && text.contains("not buried"), "{text}");
    let (_, text) = devart_outbox(&db, &["replay", "--topic", "another"])?;
    assert!(text.contains("0 messages"), "{text}");
    let (_, text) = devart_outbox(&db, &["replay", "--topic", TOPIC])?;
    assert!(text.contains("2 messages"), "{text}");
    assert_eq!(
        numbers(&claim(&db.owner, 10).await?),
        [1],
        "in the order of their key"
    );
    let (_, text) = devart_outbox(&db, &["replay", "--all"])?;
    assert!(text.contains("0 messages"), "{text}");
    let attempts: i64 = sqlx::query_scalar("select sum(attempt) from devart_private.outbox")
        .fetch_one(&db.owner)
        .await?;
    assert_eq!(attempts, 0, "they have all their attempts again");
    Ok(())
}

/// What is replayed fails at once and is buried again, and what is purged is followed by another:
/// commands are about what was buried when they began, so they end.
#[tokio::test]
async fn commands_are_about_what_was_buried_when_they_began() -> Result<()> {
    let (db, _) = three_buried().await?;
    sqlx::raw_sql(
        "create function public.bury() returns trigger language plpgsql as $$
         begin new.buried_at := now(); return new; end $$;
         create trigger again before update of buried_at on devart_private.outbox
             for each row when (new.buried_at is null) execute function public.bury()",
    )
    .execute(&db.owner)
    .await?;
    for what in [&["--all"][..], &["--topic", TOPIC]] {
        let (ok, text) = devart_outbox(&db, &[&["replay"][..], what].concat())?;
        assert!(ok && text.contains("3 messages"), "{text}");
    }
    sqlx::raw_sql(
        "create function public.another() returns trigger language plpgsql as $$
         begin
             insert into devart_private.outbox (topic, payload, buried_at)
             values (old.topic, '{}', now());
             return null;
         end $$;
         create trigger follow after delete on devart_private.outbox
             for each row execute function public.another()",
    )
    .execute(&db.owner)
    .await?;
    let (ok, text) = devart_outbox(&db, &["purge", "--buried"])?;
    assert!(ok && text.contains("3 messages deleted"), "{text}");
    Ok(())
}

#[tokio::test]
async fn a_replayed_row_waits_for_the_one_of_its_key_under_way() -> Result<()> {
    let db = database().await?;
    enqueue(&db.owner, Some("a"), 1, 2).await?;
    let first = claim(&db.owner, 10).await?;
    fail(&db.owner, &first, None).await?;
    let second = claim(&db.owner, 10).await?;
    sqlx::query("select devart_private.replay_outbox(null, null)")
        .execute(&db.owner)
        .await?;
    assert!(claim(&db.owner, 10).await?.is_empty());
    acknowledge(&db.owner, &second).await?;
    assert_eq!(numbers(&claim(&db.owner, 10).await?), [1]);
    Ok(())
}

#[tokio::test]
async fn an_operator_purges_buried_messages_or_single_ones() -> Result<()> {
    let (db, ids) = three_buried().await?;
    let (ok, text) = devart_outbox(&db, &["purge"])?;
    assert!(!ok, "without saying what: {text}");
    let (_, text) = devart_outbox(&db, &["purge", &ids[0].to_string()])?;
    assert!(text.contains("1 messages deleted"), "{text}");
    let (ok, text) = devart_outbox(&db, &["purge", &ids[0].to_string()])?;
    assert!(!ok && text.contains("not there"), "{text}");
    let (_, text) = devart_outbox(&db, &["purge", "--buried", "--topic", "another"])?;
    assert!(text.contains("0 messages deleted"), "{text}");
    let (_, text) = devart_outbox(&db, &["purge", "--buried"])?;
    assert!(text.contains("2 messages deleted"), "{text}");
    assert_eq!(
        numbers(&claim(&db.owner, 10).await?),
        [4],
        "what waits stays"
    );
    Ok(())
}

#[tokio::test]
async fn purging_the_first_row_of_a_key_lets_the_next_one_go() -> Result<()> {
    let db = database().await?;
    enqueue(&db.owner, Some("a"), 1, 2).await?;
    let first = claim(&db.owner, 10).await?;
    fail(&db.owner, &first, Some(3600.0)).await?;
    assert!(claim(&db.owner, 10).await?.is_empty());
    sqlx::query("select devart_private.purge_outbox(null, $1)")
        .bind(vec![first[0].id])
        .execute(&db.owner)
        .await?;
    assert_eq!(numbers(&claim(&db.owner, 10).await?), [2]);
    Ok(())
}
