//! Messages that several workers deliver: each once, those of a key one after the other.

use std::collections::BTreeMap;

use anyhow::{Context, Result};

use super::{database, is_empty, url, work};
use crate::support::outbox::{Script, Worker, enqueue, quick};

#[tokio::test(flavor = "multi_thread")]
async fn four_workers_deliver_everything_once() -> Result<()> {
    let db = database().await?;
    let script = Script::new(work);
    enqueue(&db.owner, None, 1, 1_000).await?;
    let workers = [(); 4].map(|()| Worker::start(&url(&db), script.clone(), quick()));
    enqueue(&db.owner, None, 1_001, 2_000).await?;
    is_empty(&db.owner).await;
    for worker in workers {
        worker?.stop().await?;
    }
    let mut ended = script.ended();
    ended.sort_unstable();
    assert_eq!(ended, (1..=2_000).collect::<Vec<_>>());
    assert!(script.read(|it| it.overlaps.is_empty()));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_of_a_key_come_one_after_the_other_whoever_delivers_them() -> Result<()> {
    let db = database().await?;
    let script = Script::new(work);
    let workers = [(); 4].map(|()| Worker::start(&url(&db), script.clone(), quick()));
    let writers = (0..8).map(|key| {
        let pool = db.owner.clone();
        async move {
            for from in (1..=50).step_by(5) {
                let key = format!("key {key}");
                enqueue(&pool, Some(&key), from, from + 4).await?;
            }
            anyhow::Ok(())
        }
    });
    futures::future::try_join_all(writers).await?;
    is_empty(&db.owner).await;
    for worker in workers {
        worker?.stop().await?;
    }
    let mut by_key = BTreeMap::<String, Vec<i64>>::new();
    for (key, n) in script.read(|it| it.ended.clone()) {
        by_key.entry(key.context("a key")?).or_default().push(n);
    }
    assert_eq!(by_key.len(), 8);
    for (key, delivered) in by_key {
        assert_eq!(delivered, (1..=50).collect::<Vec<_>>(), "{key}");
    }
    assert_eq!(script.read(|it| it.overlaps.clone()), Vec::<String>::new());
    Ok(())
}
