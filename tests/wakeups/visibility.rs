//! No wake-up comes too early, or for nothing.

use anyhow::{Result, bail, ensure};
use devart_cli::cluster::ClusterOptions;
use sqlx::PgConnection;

use super::{create_rows, listen, next, run, session};
use crate::support::cluster;

/// By then the notifier must have sent twenty times, however slow the machine.
const LATEST_ROW: i64 = 1_000;

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_woken_before_the_rows_are_visible() -> Result<()> {
    // A commit that takes long between its decision and its rows' visibility.
    let slow_commits = ClusterOptions {
        settings: vec![
            ("commit_delay".to_owned(), "30000".to_owned()),
            ("commit_siblings".to_owned(), "0".to_owned()),
        ],
        ..ClusterOptions::default()
    };
    let cluster = cluster::with_notifier(slow_commits).await?;
    let pid = cluster.notifier(None).await;
    create_rows(&cluster)?;
    let mut listener = listen(&cluster, &["devart_rows"]).await?;
    let (mut writer, mut reader) = (session(&cluster).await?, session(&cluster).await?);
    let mut sent_by_notifier = 0;
    for id in 1..=LATEST_ROW {
        let write = insert_in_a_crowd(&mut writer, id);
        let read = async {
            let told = next(&mut listener).await?;
            sent_by_notifier += i32::from(told.process_id() == pid);
            let visible: i64 = sqlx::query_scalar("select count(*) from rows")
                .fetch_one(&mut reader)
                .await?;
            ensure!(
                visible == id,
                "{visible} rows are visible when {id} were announced"
            );
            Ok(())
        };
        tokio::try_join!(write, read)?;
        if sent_by_notifier == 20 {
            return Ok(());
        }
    }
    bail!("the notifier sent {sent_by_notifier} of {LATEST_ROW} times")
}

/// Directly after another wake-up, so that this one is left to the notifier unless the machine was slow.
async fn insert_in_a_crowd(connection: &mut PgConnection, id: i64) -> Result<()> {
    let other = "perform devart_private.wake('other')";
    let insert = format!("do $$ begin {other}; commit; insert into rows values ({id}); end $$");
    Ok(run(connection, &insert).await?)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_aborted_transaction_wakes_nobody() -> Result<()> {
    let cluster = cluster::notified().await;
    let mut listener = listen(cluster, &["devart_aborted", "devart_end"]).await?;
    let mut connection = session(cluster).await?;
    for statements in [
        "begin; select devart_private.wake('aborted'); rollback",
        "begin; select devart_private.wake('aborted'); savepoint s; rollback to s; rollback",
    ] {
        run(&mut connection, statements).await?;
    }
    let failed = run(
        &mut connection,
        "begin; select devart_private.wake('aborted'); select 1 / 0",
    )
    .await;
    assert!(failed.is_err());
    run(
        &mut connection,
        "rollback; select devart_private.wake('end')",
    )
    .await?;
    assert_eq!(next(&mut listener).await?.channel(), "devart_end");
    // What had been remembered for too long would come with, or after, the first of these.
    run(&mut connection, "select devart_private.wake('end')").await?;
    assert_eq!(next(&mut listener).await?.channel(), "devart_end");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subtransaction_that_rolls_back_loses_no_wakeup_of_the_outer_one() -> Result<()> {
    let cluster = cluster::notified().await;
    let mut listener = listen(cluster, &["devart_outer"]).await?;
    let mut connection = session(cluster).await?;
    for statements in [
        "begin; select devart_private.wake('outer'); savepoint s; select devart_private.wake('outer'); rollback to s; commit",
        "begin; savepoint s; select devart_private.wake('outer'); rollback to s; select devart_private.wake('outer'); commit",
        "begin; savepoint s; select devart_private.wake('outer'); release s; commit",
    ] {
        run(&mut connection, statements).await?;
        assert_eq!(next(&mut listener).await?.channel(), "devart_outer");
    }
    Ok(())
}
