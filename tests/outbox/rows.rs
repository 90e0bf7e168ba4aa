//! Rows of the outbox in the database: who may lease which when.

use std::time::Duration;

use anyhow::Result;
use sqlx::Connection;
use sqlx::postgres::PgListener;

use crate::support::outbox::{TOPIC, enqueue};
use crate::support::outbox_rows::{
    acknowledge, claim, database, expire_leases, extend, fail, give_back, make_due, numbers,
};
use crate::support::{run_sql, sqlstate};

#[tokio::test]
async fn a_row_is_leased_to_one_until_its_lease_ends() -> Result<()> {
    let db = database().await?;
    enqueue(&db.owner, None, 1, 3).await?;
    let first = claim(&db.owner, 2).await?;
    assert_eq!(numbers(&first), [1, 2], "a batch, the oldest first");
    assert_eq!(numbers(&claim(&db.owner, 10).await?), [3]);
    assert!(claim(&db.owner, 10).await?.is_empty());
    expire_leases(&db.owner).await?;
    assert_eq!(numbers(&claim(&db.owner, 10).await?), [1, 2, 3]);
    Ok(())
}

#[tokio::test]
async fn a_claim_may_pass_over_what_was_due_long_ago() -> Result<()> {
    let db = database().await?;
    enqueue(&db.owner, None, 1, 1).await?;
    sqlx::query("update devart_private.outbox set next_attempt_at = now() - interval '1 hour'")
        .execute(&db.owner)
        .await?;
    enqueue(&db.owner, None, 2, 2).await?;
    let recent: Vec<i64> = sqlx::query_scalar(
        "select (payload ->> 'n')::bigint
         from devart_private.claim_outbox($1, 10, '30 s', now() - interval '1 minute')",
    )
    .bind(TOPIC)
    .fetch_all(&db.owner)
    .await?;
    assert_eq!(recent, [2]);
    assert_eq!(numbers(&claim(&db.owner, 10).await?), [1]);
    Ok(())
}

#[tokio::test]
async fn who_lost_a_lease_can_do_nothing_to_the_row() -> Result<()> {
    let db = database().await?;
    enqueue(&db.owner, None, 1, 1).await?;
    let stale = claim(&db.owner, 1).await?;
    expire_leases(&db.owner).await?;
    assert!(
        extend(&db.owner, &stale).await?.is_empty(),
        "an ended lease stays ended"
    );
    let fresh = claim(&db.owner, 1).await?;
    assert!(acknowledge(&db.owner, &stale).await?.is_empty());
    assert!(fail(&db.owner, &stale, None).await?.is_empty());
    assert!(extend(&db.owner, &stale).await?.is_empty());
    assert_eq!(give_back(&db.owner, &stale).await?, 0);
    assert_eq!(extend(&db.owner, &fresh).await?, [fresh[0].id]);
    assert_eq!(acknowledge(&db.owner, &fresh).await?, [fresh[0].id]);
    Ok(())
}

#[tokio::test]
async fn a_row_may_be_acknowledged_after_its_lease_while_nobody_took_it() -> Result<()> {
    let db = database().await?;
    enqueue(&db.owner, None, 1, 1).await?;
    let late = claim(&db.owner, 1).await?;
    expire_leases(&db.owner).await?;
    assert_eq!(acknowledge(&db.owner, &late).await?.len(), 1);
    Ok(())
}

#[tokio::test]
async fn only_the_first_row_of_a_key_is_leased() -> Result<()> {
    let db = database().await?;
    enqueue(&db.owner, Some("a"), 1, 3).await?;
    enqueue(&db.owner, Some("b"), 11, 12).await?;
    enqueue(&db.owner, None, 21, 22).await?;
    let first = claim(&db.owner, 10).await?;
    assert_eq!(numbers(&first), [1, 11, 21, 22]);
    assert!(claim(&db.owner, 10).await?.is_empty());
    acknowledge(&db.owner, &first[..1]).await?;
    assert_eq!(
        numbers(&claim(&db.owner, 10).await?),
        [2],
        "the next one of the key that is free"
    );
    Ok(())
}

#[tokio::test]
async fn a_failed_row_holds_its_key_until_it_is_buried() -> Result<()> {
    let db = database().await?;
    enqueue(&db.owner, Some("a"), 1, 2).await?;
    let failed = claim(&db.owner, 10).await?;
    assert_eq!(
        fail(&db.owner, &failed, Some(3600.0)).await?,
        [(failed[0].id, false)]
    );
    assert!(claim(&db.owner, 10).await?.is_empty(), "it waits");
    make_due(&db.owner).await?;
    let again = claim(&db.owner, 10).await?;
    assert_eq!(numbers(&again), [1]);
    assert_eq!(fail(&db.owner, &again, None).await?, [(again[0].id, true)]);
    assert_eq!(numbers(&claim(&db.owner, 10).await?), [2]);
    Ok(())
}

#[tokio::test]
async fn rows_behind_the_first_of_their_key_do_not_slow_claims_down() -> Result<()> {
    let db = database().await?;
    enqueue(&db.owner, Some("a"), 1, 5_000).await?;
    enqueue(&db.owner, None, 5_001, 5_001).await?;
    let mut found = numbers(&claim(&db.owner, 1000).await?);
    found.extend(numbers(&claim(&db.owner, 1000).await?));
    assert_eq!(found, [1, 5_001]);
    let in_the_way: i64 = sqlx::query_scalar(
        "select count(*) from devart_private.outbox where lease_token is null and next_attempt_at <= now()",
    )
    .fetch_one(&db.owner)
    .await?;
    assert_eq!(in_the_way, 0, "the next claim meets none of them");
    Ok(())
}

#[tokio::test]
async fn an_earlier_row_that_is_committed_later_waits_for_the_one_under_way() -> Result<()> {
    let db = database().await?;
    let mut session = db.session().await?;
    let mut late = session.begin().await?;
    enqueue(&mut *late, Some("a"), 1, 1).await?;
    enqueue(&db.owner, Some("a"), 2, 3).await?;
    let under_way = claim(&db.owner, 10).await?;
    assert_eq!(numbers(&under_way), [2]);
    late.commit().await?;
    assert!(
        claim(&db.owner, 10).await?.is_empty(),
        "never two of a key at a time"
    );
    acknowledge(&db.owner, &under_way).await?;
    assert_eq!(numbers(&claim(&db.owner, 10).await?), [1]);
    Ok(())
}

#[tokio::test]
async fn a_key_goes_on_when_the_worker_of_a_later_row_dies() -> Result<()> {
    let db = database().await?;
    let mut session = db.session().await?;
    let mut late = session.begin().await?;
    enqueue(&mut *late, Some("a"), 1, 1).await?;
    enqueue(&db.owner, Some("a"), 2, 2).await?;
    claim(&db.owner, 10).await?;
    late.commit().await?;
    claim(&db.owner, 10).await?;
    expire_leases(&db.owner).await?;
    let first = claim(&db.owner, 10).await?;
    assert_eq!(numbers(&first), [1]);
    acknowledge(&db.owner, &first).await?;
    assert_eq!(numbers(&claim(&db.owner, 10).await?), [2]);
    Ok(())
}

#[tokio::test]
async fn a_row_whose_key_is_being_changed_is_skipped_and_looked_for_again() -> Result<()> {
    let db = database().await?;
    enqueue(&db.owner, Some("a"), 1, 1).await?;
    enqueue(&db.owner, None, 2, 2).await?;
    let mut session = db.session().await?;
    let mut changing = session.begin().await?;
    run_sql(
        &mut changing,
        format!("select devart_private.lock_outbox_keys('{TOPIC}', array(select id from devart_private.outbox))"),
    )
    .await?;
    let mut listener = PgListener::connect(&db.url()).await?;
    listener.listen(&format!("devart_{TOPIC}")).await?;
    assert_eq!(numbers(&claim(&db.owner, 10).await?), [2]);
    let woken = tokio::time::timeout(Duration::from_secs(30), listener.recv()).await;
    assert!(woken.is_ok(), "somebody must come back for it");
    changing.commit().await?;
    assert_eq!(numbers(&claim(&db.owner, 10).await?), [1]);
    Ok(())
}

#[tokio::test]
async fn a_returned_row_is_due_at_once_and_has_lost_no_attempt() -> Result<()> {
    let db = database().await?;
    enqueue(&db.owner, Some("a"), 1, 1).await?;
    let unused = claim(&db.owner, 1).await?;
    assert_eq!(give_back(&db.owner, &unused).await?, 1);
    let again = claim(&db.owner, 1).await?;
    assert_eq!(numbers(&again), [1]);
    let attempt: i32 = sqlx::query_scalar("select attempt from devart_private.outbox")
        .fetch_one(&db.owner)
        .await?;
    assert_eq!(attempt, 0);
    Ok(())
}

#[tokio::test]
async fn errors_are_kept_within_bounds() -> Result<()> {
    let db = database().await?;
    enqueue(&db.owner, None, 1, 1).await?;
    let row = claim(&db.owner, 1).await?;
    sqlx::query("select devart_private.fail_outbox($1, $2, $3, array[repeat('x', 100000)], array[1e300::float8], 5)")
        .bind(TOPIC)
        .bind(vec![row[0].id])
        .bind(vec![row[0].lease_token])
        .execute(&db.owner)
        .await?;
    let (length, is_soon): (i32, bool) = sqlx::query_as(
        "select length(last_error), next_attempt_at < now() + interval '31 days' from devart_private.outbox",
    )
    .fetch_one(&db.owner)
    .await?;
    assert_eq!((length, is_soon), (2000, true));
    for (limit, lease) in [(0, "30 s"), (1001, "30 s"), (1, "0 s"), (1, "2 days")] {
        let refused = sqlx::query("select devart_private.claim_outbox($1, $2, $3::text::interval)")
            .bind(TOPIC)
            .bind(limit)
            .bind(lease)
            .execute(&db.owner)
            .await;
        assert_eq!(sqlstate(&refused), "22023", "{limit} {lease}");
    }
    Ok(())
}
