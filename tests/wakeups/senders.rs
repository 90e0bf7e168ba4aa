//! Who sends: the session itself or the notifier.

use anyhow::Result;
use sqlx::postgres::PgListener;
use sqlx::{Connection, PgConnection};

use super::{listen, next, pid, run, session, wake, wake_in_a_crowd};
use crate::support::wait::eventually;
use crate::support::{Database, cluster};

#[tokio::test(flavor = "multi_thread")]
async fn without_preloading_the_session_itself_sends() -> Result<()> {
    let db = Database::create().await?;
    let mut listener = PgListener::connect(&db.url()).await?;
    listener.listen("devart_rows").await?;
    session_sends(&mut listener, &mut db.session().await?).await
}

#[tokio::test(flavor = "multi_thread")]
async fn in_another_database_the_session_itself_sends() -> Result<()> {
    let cluster = cluster::notified().await;
    cluster.create_database("other")?;
    cluster.psql("other", "create extension pg_devart")?;
    let mut listener = PgListener::connect(&cluster.url("other")).await?;
    listener.listen("devart_rows").await?;
    let mut connection = PgConnection::connect(&cluster.url("other")).await?;
    session_sends(&mut listener, &mut connection).await
}

async fn session_sends(listener: &mut PgListener, connection: &mut PgConnection) -> Result<()> {
    run(
        connection,
        "begin; select devart_private.wake('rows'); rollback",
    )
    .await?;
    wake_in_a_crowd(connection, "rows").await?;
    let own = pid(connection).await?;
    for _ in 0..2 {
        let told = next(listener).await?;
        assert_eq!((told.channel(), told.process_id()), ("devart_rows", own));
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_after_a_quiet_moment_sends_itself() -> Result<()> {
    let cluster = cluster::notified().await;
    let mut listener = listen(cluster, &["devart_quiet"]).await?;
    let mut connection = session(cluster).await?;
    let own = pid(&mut connection).await?;
    // Between two tries nobody sends.
    eventually("the session itself sends", async || {
        wake(&mut connection, "quiet").await.expect("a wake-up");
        let told = next(&mut listener).await.expect("every wake-up arrives");
        (told.process_id() == own).then_some(())
    })
    .await;
    Ok(())
}
