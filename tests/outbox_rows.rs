//! Rows of the outbox in the database: who may lease which when, what operators do about them, how much room they take.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use devart_cli::cluster::{Cluster, ClusterOptions};
use devart_cli::migrate;
use sqlx::postgres::PgListener;
use sqlx::{Connection, PgConnection, PgExecutor, PgPool};
use uuid::Uuid;

use crate::support::outbox::{TOPIC, enable, enqueue};
use crate::support::wait::eventually;
use crate::support::{Caller, Database, program, run_sql, sqlstate};

/// A leased row.
#[derive(Debug, Clone, sqlx::FromRow)]
struct Leased {
    id: i64,
    n: i64,
    lease_token: Uuid,
}

async fn claim(executor: impl PgExecutor<'_>, limit: i32) -> sqlx::Result<Vec<Leased>> {
    sqlx::query_as(
        "select id, (payload ->> 'n')::bigint as n, lease_token
         from devart_private.claim_outbox($1, $2, '30 s')",
    )
    .bind(TOPIC)
    .bind(limit)
    .fetch_all(executor)
    .await
}

fn numbers(rows: &[Leased]) -> Vec<i64> {
    rows.iter().map(|row| row.n).collect()
}

fn columns(rows: &[Leased]) -> (Vec<i64>, Vec<Uuid>) {
    rows.iter().map(|row| (row.id, row.lease_token)).unzip()
}

async fn acknowledge(executor: impl PgExecutor<'_>, rows: &[Leased]) -> sqlx::Result<Vec<i64>> {
    let (ids, tokens) = columns(rows);
    sqlx::query_scalar("select devart_private.acknowledge_outbox($1, $2, $3)")
        .bind(TOPIC)
        .bind(ids)
        .bind(tokens)
        .fetch_all(executor)
        .await
}

/// Fails rows: a delay in seconds, or none to bury them.
async fn fail(
    executor: impl PgExecutor<'_>,
    rows: &[Leased],
    delay: Option<f64>,
) -> sqlx::Result<Vec<(i64, bool)>> {
    let (ids, tokens) = columns(rows);
    sqlx::query_as(
        "select id, buried from devart_private.fail_outbox(
            $1, $2, $3, array_fill('it broke'::text, array[$4]), array_fill($5::float8, array[$4]), 5)",
    )
    .bind(TOPIC)
    .bind(&ids)
    .bind(tokens)
    .bind(ids.len() as i32)
    .bind(delay)
    .fetch_all(executor)
    .await
}

async fn extend(executor: impl PgExecutor<'_>, rows: &[Leased]) -> sqlx::Result<Vec<i64>> {
    let (ids, tokens) = columns(rows);
    sqlx::query_scalar("select devart_private.extend_outbox($1, $2, $3, '60 s')")
        .bind(TOPIC)
        .bind(ids)
        .bind(tokens)
        .fetch_all(executor)
        .await
}

async fn give_back(executor: impl PgExecutor<'_>, rows: &[Leased]) -> sqlx::Result<i32> {
    let (ids, tokens) = columns(rows);
    sqlx::query_scalar("select devart_private.return_outbox($1, $2, $3)")
        .bind(TOPIC)
        .bind(ids)
        .bind(tokens)
        .fetch_one(executor)
        .await
}

/// Lets all leases end now, as if their time had passed.
async fn expire_leases(executor: impl PgExecutor<'_>) -> sqlx::Result<()> {
    sqlx::query(
        "update devart_private.outbox set lease_expires_at = now() - interval '1 second' where lease_token is not null",
    )
    .execute(executor)
    .await
    .map(drop)
}

async fn make_due(executor: impl PgExecutor<'_>) -> sqlx::Result<()> {
    sqlx::query("update devart_private.outbox set next_attempt_at = now() where next_attempt_at < 'infinity'")
        .execute(executor)
        .await
        .map(drop)
}

async fn database() -> Result<Database> {
    let db = Database::create().await?;
    enable(&db.owner).await?;
    Ok(db)
}

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

/// What a bridge calls, with `{topic}` for the topic.
const CALLS: &[&str] = &[
    "select devart_private.claim_outbox('{topic}', 1, '30 s')",
    "select devart_private.acknowledge_outbox('{topic}', '{1}', array[gen_random_uuid()])",
    "select devart_private.fail_outbox('{topic}', '{1}', array[gen_random_uuid()], '{e}', '{1}', 5)",
    "select devart_private.extend_outbox('{topic}', '{1}', array[gen_random_uuid()], '30 s')",
    "select devart_private.return_outbox('{topic}', '{1}', array[gen_random_uuid()])",
    "select devart_private.outbox_depth('{topic}')",
];

async fn may(session: &mut PgConnection, sql: &str) -> Result<bool> {
    let mut transaction = session.begin().await?;
    let outcome = run_sql(&mut transaction, sql.to_owned()).await;
    transaction.rollback().await?;
    match sqlstate(&outcome).as_str() {
        "ok" => Ok(true),
        "42501" => Ok(false),
        other => panic!("{sql} ended with {other}: {outcome:?}"),
    }
}

#[tokio::test]
async fn a_bridge_may_touch_the_topics_of_its_name_and_nothing_else() -> Result<()> {
    let db = database().await?;
    let mut bridge = PgConnection::connect(&db.bridge_url("rabbitmq")).await?;
    for call in CALLS {
        for (topic, expected) in [
            ("rabbitmq.test", true),
            ("rabbitmq.task", true),
            ("telegram.alert", false),
            ("rabbitmq2.task", false),
            ("rabbit.task", false),
            ("", false),
        ] {
            let call = call.replace("{topic}", topic);
            assert_eq!(may(&mut bridge, &call).await?, expected, "{call}");
        }
    }
    for (sql, expected) in [
        ("select devart_private.is_ready()", true),
        ("select from devart_private.outbox", false),
        ("delete from devart_private.outbox", false),
        ("select from devart.tasks", false),
        ("select devart.create_task('t')", false),
        (
            "select devart_private.enqueue('rabbitmq.test', null, '{}')",
            false,
        ),
        ("select devart_private.wake('rabbitmq.test')", false),
        ("select devart_private.outbox_topics()", false),
        ("select devart_private.replay_outbox(null, null)", false),
        ("select devart_private.purge_outbox(null, null)", false),
        (
            "select devart_private.free_outbox_keys('rabbitmq.test', '{}')",
            false,
        ),
        ("select devart_private.maintain()", false),
        ("set local role devart_owner", false),
        ("set local role service_role", false),
    ] {
        assert_eq!(may(&mut bridge, sql).await?, expected, "{sql}");
    }
    Ok(())
}

#[tokio::test]
async fn the_roles_of_the_api_cannot_touch_the_outbox() -> Result<()> {
    let db = database().await?;
    let agent = db.agent(&[]).await?;
    let callers = [Caller::Anon, db.person("admin").await?, agent.caller()];
    let mut sessions = vec![PgConnection::connect(&db.authenticator_url()).await?];
    for caller in callers {
        sessions.push(db.session_as(caller).await?);
    }
    let operators = [
        "select devart_private.outbox_topics()",
        "select devart_private.outbox_rows(null, false, 1)",
        "select devart_private.replay_outbox(null, null)",
        "select devart_private.purge_outbox(null, null)",
        "select devart_private.create_bridge('evil')",
        "select from devart_private.outbox",
    ];
    for session in &mut sessions {
        for call in CALLS.iter().chain(&operators) {
            let call = call.replace("{topic}", TOPIC);
            assert!(!may(session, &call).await?, "{call}");
        }
    }
    Ok(())
}

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

/// Rows of a round, and how many rounds.
const ROUND: i64 = 4_000;
const ROUNDS: usize = 8;

#[tokio::test]
async fn the_table_does_not_grow_however_much_goes_through_it() -> Result<()> {
    let settings = [("autovacuum_naptime", "1s"), ("max_connections", "50")];
    let cluster = Cluster::temporary(ClusterOptions {
        settings: settings.map(|(k, v)| (k.to_owned(), v.to_owned())).to_vec(),
        ..ClusterOptions::for_tests()
    })?;
    let url = cluster.url("devart");
    migrate::migrate(&url).await?;
    let pool = PgPool::connect(&url).await?;
    enable(&pool).await?;
    let mut sizes = Vec::new();
    for _ in 0..ROUNDS {
        let vacuumed = times_vacuumed(&pool).await?;
        pass_through(&pool, ROUND).await?;
        eventually("autovacuum finds the dead rows by itself", async || {
            (times_vacuumed(&pool).await.ok()? > vacuumed).then_some(())
        })
        .await;
        sizes.push(size(&pool).await?);
    }
    // One round's rows and their leased versions, and not eight.
    assert!(
        sizes[ROUNDS - 1] <= sizes[1] * 3 / 2,
        "bytes after each round: {sizes:?}"
    );
    Ok(())
}

/// Enqueues, leases and acknowledges rows in small steps, so that few are there at a time.
async fn pass_through(pool: &PgPool, rows: i64) -> Result<()> {
    for step in 0..rows / 200 {
        enqueue(pool, None, step * 200 + 1, step * 200 + 200).await?;
        let leased = claim(pool, 200).await?;
        ensure!(leased.len() == 200, "all are due");
        ensure!(
            acknowledge(pool, &leased).await?.len() == 200,
            "all are ours"
        );
    }
    Ok(())
}

async fn times_vacuumed(pool: &PgPool) -> sqlx::Result<i64> {
    sqlx::query_scalar("select autovacuum_count from pg_stat_all_tables where relid = 'devart_private.outbox'::regclass")
        .fetch_one(pool)
        .await
}

async fn size(pool: &PgPool) -> sqlx::Result<i64> {
    sqlx::query_scalar("select pg_total_relation_size('devart_private.outbox')")
        .fetch_one(pool)
        .await
}

#[tokio::test]
async fn leasing_a_full_table_mostly_needs_no_new_index_entries() -> Result<()> {
    let db = database().await?;
    enqueue(&db.owner, None, 1, 1000).await?;
    claim(&db.owner, 1000).await?;
    let (updates, hot) = eventually("the counters arrive", async || {
        let counters: (i64, i64) = sqlx::query_as(
            "select n_tup_upd, n_tup_hot_upd from pg_stat_all_tables where relid = 'devart_private.outbox'::regclass",
        )
        .fetch_one(&db.owner)
        .await
        .ok()?;
        (counters.0 >= 1000).then_some(counters)
    })
    .await;
    // Leased rows are a little longer, so of these tiny ones not all fit into the free half of their page.
    assert!(
        hot * 100 >= updates * 75,
        "{hot} of {updates} stayed on their page"
    );
    Ok(())
}
