//! Which channels a topic reaches.

use std::collections::{BTreeSet, HashMap};

use anyhow::Result;
use devart_cli::cluster::ClusterOptions;
use sqlx::AssertSqlSafe;
use sqlx::postgres::{PgListener, PgNotification};

use super::{PATIENCE, listen, next, pid, run, session, wake, wake_in_a_crowd};
use crate::support::wait::within;
use crate::support::{Database, cluster, sqlstate};

#[tokio::test]
async fn a_trigger_that_names_no_topic_or_two_refuses_the_change() -> Result<()> {
    let db = Database::create().await?;
    for topics in ["", "'a', 'b'"] {
        sqlx::raw_sql(AssertSqlSafe(format!(
            "drop table if exists rows;
             create table rows ();
             create trigger wake after insert on rows for each row execute function devart_private.wake_listeners({topics})",
        )))
        .execute(&db.owner)
        .await?;
        let inserted = sqlx::query("insert into rows default values")
            .execute(&db.owner)
            .await;
        assert_eq!(sqlstate(&inserted), "22023", "{topics}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn each_topic_reaches_its_own_channel_also_when_the_notifier_has_no_room_left() -> Result<()>
{
    let cluster = cluster::with_notifier(ClusterOptions::for_tests()).await?;
    let notifier = cluster.notifier(None).await;
    let mut connection = session(&cluster).await?;
    let own = pid(&mut connection).await?;
    let channels = Vec::from_iter((0..70).map(|number| format!("devart_topic.{number}")));
    let mut listener = listen(
        &cluster,
        &Vec::from_iter(channels.iter().map(String::as_str)),
    )
    .await?;
    let mut owed = HashMap::new();
    for (number, channel) in channels.iter().enumerate() {
        let sender = if number < 64 { notifier } else { own };
        within(PATIENCE, "the one who should sends", async || {
            wake_in_a_crowd(&mut connection, &format!("topic.{number}"))
                .await
                .expect("two wake-ups");
            *owed.entry(channel.clone()).or_insert(0) += 2;
            told_by(&mut listener, channel, sender, &mut owed).await
        })
        .await;
    }
    Ok(())
}

/// Reads until this sender tells of the channel, or others have told of it as often as it is owed. No
/// channel may be told more often than it is owed; less often it may be, as the notifier tells once
/// of what came together.
async fn told_by(
    listener: &mut PgListener,
    channel: &str,
    sender: u32,
    owed: &mut HashMap<String, u32>,
) -> Option<()> {
    while owed[channel] > 0 {
        let told = next(listener).await.expect("every wake-up arrives");
        let left = owed.get_mut(told.channel()).filter(|left| **left > 0);
        *left.unwrap_or_else(|| panic!("{} told in vain", told.channel())) -= 1;
        assert_eq!(told.payload(), "");
        if (told.channel(), told.process_id()) == (channel, sender) {
            return Some(());
        }
    }
    None
}

#[tokio::test(flavor = "multi_thread")]
async fn several_topics_of_one_transaction_all_arrive() -> Result<()> {
    let cluster = cluster::notified().await;
    let channels = BTreeSet::from(["devart_a", "devart_b.c", "devart_D"]);
    let mut listener = listen(cluster, &Vec::from_iter(channels.iter().copied())).await?;
    let all = "select devart_private.wake(t) from unnest('{a,b.c,D}'::text[]) t";
    run(&mut session(cluster).await?, all).await?;
    let mut told = Vec::new();
    for _ in &channels {
        told.push(next(&mut listener).await?);
    }
    assert_eq!(
        told.iter()
            .map(PgNotification::channel)
            .collect::<BTreeSet<_>>(),
        channels
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_longer_than_a_name_wakes_those_who_listen_to_its_beginning() -> Result<()> {
    let cluster = cluster::notified().await;
    // 7 + 55 bytes, and a character of two bytes that 63 would cut in half.
    let topic = format!("{}éand so on, for long enough", "x".repeat(55));
    let mut listener = listen(cluster, &[&format!("devart_{topic}")]).await?;
    wake(&mut session(cluster).await?, &topic).await?;
    assert_eq!(
        next(&mut listener).await?.channel(),
        format!("devart_{}", "x".repeat(55))
    );
    Ok(())
}
