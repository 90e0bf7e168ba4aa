//! Lists of tasks: the right ones for each filter and caller, and no more tasks looked at than need
//! be.

use anyhow::Result;
use serde_json::json;
use sqlx::types::Uuid;
use sqlx::{Connection, PgConnection};

use crate::support::api::Api;
use crate::support::queue::create;
use crate::support::wait::eventually;
use crate::support::{Caller, Database, run_sql};

const AGENT: Uuid = Uuid::from_u128(0xa);
const OTHER: Uuid = Uuid::from_u128(0xb);

/// Tasks in every status, priority and pair of hands, where agents create children only; without
/// what would happen to them by triggers.
async fn fill(db: &Database) -> Result<()> {
    let mut session = db.session().await?;
    run_sql(
        &mut session,
        format!(
            "set session_replication_role = replica;
             insert into devart.tasks (title, status, priority, agent_id, created_by, parent_task_id,
                                       workflow_run_id, is_flagged, lease_token,
                                       lease_expires_at)
             select 'task ' || n, s, p,
                 case n % 3 when 1 then '{AGENT}'::uuid when 2 then '{OTHER}' end,
                 case n % 6 when 1 then '{AGENT}'::uuid when 3 then '{OTHER}' end,
                 case n % 2 when 1 then gen_random_uuid() end,
                 case n % 7 when 0 then '00000000-0000-0000-0000-00000000000c'::uuid end, n % 11 = 0,
                 case s when 'IN_PROGRESS' then gen_random_uuid() end,
                 case s when 'IN_PROGRESS' then now() end
             from generate_series(1, 30) n, unnest(enum_range(null::devart.task_status)) s,
                 unnest(enum_range(null::devart.task_priority)) p"
        ),
    )
    .await?;
    Ok(())
}

/// Arguments of find_tasks, and the condition that they stand for.
const FILTERS: &[(&str, &str)] = &[
    ("", "true"),
    ("flagged => false", "not is_flagged"),
    ("flagged => true", "is_flagged"),
    (
        "workflow_run_id => '00000000-0000-0000-0000-00000000000c'",
        "workflow_run_id is not null",
    ),
    (
        "status => 'TODO', priority => 'LOW'",
        "status = 'TODO' and priority = 'LOW'",
    ),
    (
        "status => 'IN_PROGRESS', priority => 'HIGH'",
        "status = 'IN_PROGRESS' and priority = 'HIGH'",
    ),
    (
        "status => 'DONE', flagged => true",
        "status = 'DONE' and is_flagged",
    ),
    (
        "agent_id => '00000000-0000-0000-0000-00000000000a'",
        "agent_id = '00000000-0000-0000-0000-00000000000a'",
    ),
    (
        "agent_id => '00000000-0000-0000-0000-00000000000b', status => 'TODO', priority => 'HIGH'",
        "agent_id = '00000000-0000-0000-0000-00000000000b' and status = 'TODO' and priority = 'HIGH'",
    ),
    ("q => 'task 1'", "title like '%task 1%'"),
    (
        "q => 'TASK 2', status => 'FAILED'",
        "title like '%task 2%' and status = 'FAILED'",
    ),
    ("q => 'no such'", "false"),
    ("q => '%'", "false"),
];

async fn ids(session: &mut PgConnection, query: String) -> Result<Vec<Uuid>> {
    let query = sqlx::query_scalar(sqlx::AssertSqlSafe(query));
    Ok(query.fetch_all(session).await?)
}

/// Pages of find_tasks until there are no more.
async fn pages(session: &mut PgConnection, arguments: &str) -> Result<Vec<Uuid>> {
    let mut found: Vec<Uuid> = Vec::new();
    let comma = if arguments.is_empty() { "" } else { ", " };
    loop {
        let before = match found.last() {
            Some(id) => format!("'{id}'"),
            None => "null".to_owned(),
        };
        let query = format!(
            "select * from devart.find_tasks({arguments}{comma}before => {before}, max_rows => 70)"
        );
        let page = ids(session, query).await?;
        if page.is_empty() {
            return Ok(found);
        }
        found.extend(page);
    }
}

#[tokio::test]
async fn each_filter_finds_what_it_asks_for_newest_first_whoever_asks() -> Result<()> {
    let db = Database::create().await?;
    fill(&db).await?;
    let callers = [
        db.person("viewer").await?,
        Caller::Agent(AGENT),
        Caller::Person(Uuid::from_u128(0xd)),
    ];
    for indexed in [false, true] {
        for caller in callers {
            let mut session = db.session_as(caller).await?;
            for (arguments, condition) in FILTERS {
                // Under the policies, which say what the caller may see.
                let expected =
                    format!("select id from devart.tasks where {condition} order by id desc");
                let expected = ids(&mut session, expected).await?;
                let found = pages(&mut session, arguments).await?;
                assert_eq!(found, expected, "{caller:?} {arguments}");
            }
            for status in statuses(&db).await? {
                let expected = format!(
                    "select id from devart.tasks where status = '{status}' order by id desc"
                );
                let expected = ids(&mut session, expected).await?;
                let found = pages(&mut session, &format!("status => '{status}'")).await?;
                assert_eq!(found, expected, "{caller:?} {status}");
            }
        }
        if !indexed {
            index_all(&db).await;
        }
    }
    Ok(())
}

async fn statuses(db: &Database) -> Result<Vec<String>> {
    Ok(
        sqlx::query_scalar("select unnest(enum_range(null::devart.task_status))::text")
            .fetch_all(&db.owner)
            .await?,
    )
}

/// Takes titles over, as `maintain` does, those of this moment too.
async fn index_some(db: &Database) -> sqlx::Result<i32> {
    sqlx::query_scalar("select devart_private.index_titles(100000, '-1 second')")
        .fetch_one(&db.owner)
        .await
}

/// Takes all titles over. Transactions of other tests may be in the way for a while.
async fn index_all(db: &Database) {
    eventually("all titles are in the index", async || {
        index_some(db).await.ok()?;
        let is_done: bool = sqlx::query_scalar(
            "select not exists (
                select from devart.tasks t, devart_private.task_title_progress p
                where t.id > p.indexed_to)",
        )
        .fetch_one(&db.owner)
        .await
        .ok()?;
        is_done.then_some(())
    })
    .await;
}

/// How many tasks a statement looks at.
async fn looks(session: &mut PgConnection, sql: &str) -> Result<i64> {
    const SEEN: &str = "
        select sum(pg_stat_get_xact_tuples_returned(c.oid)
                   + pg_stat_get_xact_tuples_fetched(c.oid))::int8
        from pg_class c where c.relname in ('tasks', 'task_titles') and c.relkind = 'r'";
    let mut transaction = session.begin().await?;
    let before: i64 = sqlx::query_scalar(SEEN)
        .fetch_one(&mut *transaction)
        .await?;
    run_sql(&mut transaction, sql.to_owned()).await?;
    let after: i64 = sqlx::query_scalar(SEEN)
        .fetch_one(&mut *transaction)
        .await?;
    transaction.rollback().await?;
    Ok(after - before)
}

#[tokio::test]
async fn beside_many_finished_tasks_a_list_looks_at_few() -> Result<()> {
    let db = Database::create().await?;
    let agent = db.agent(&[]).await?.id;
    let mut owner = db.session().await?;
    // What is looked for is the oldest, so that the newest are all in the way.
    run_sql(
        &mut owner,
        format!(
            "set session_replication_role = replica;
             insert into devart.tasks (title, status, priority, agent_id, is_flagged, lease_token,
                                       lease_expires_at)
             select 'rare ' || s || p, s, p, '{agent}', true,
                 case s when 'IN_PROGRESS' then gen_random_uuid() end,
                 case s when 'IN_PROGRESS' then now() end
             from unnest(enum_range(null::devart.task_status)) s,
                 unnest(enum_range(null::devart.task_priority)) p;
             insert into devart.tasks (title, status, priority, agent_id)
             select 'finished ' || n, 'DONE', 'MEDIUM', '{OTHER}' from generate_series(1, 30000) n"
        ),
    )
    .await?;
    index_all(&db).await;
    run_sql(&mut owner, "vacuum analyze devart.tasks".to_owned()).await?;
    run_sql(
        &mut owner,
        "vacuum analyze devart_private.task_titles".to_owned(),
    )
    .await?;
    let mut filters: Vec<String> = statuses(&db)
        .await?
        .iter()
        .map(|status| format!("status => '{status}'"))
        .collect();
    for priority in ["CRITICAL", "HIGH", "MEDIUM", "LOW"] {
        filters.push(format!("priority => '{priority}'"));
    }
    filters.extend([
        format!("agent_id => '{agent}'"),
        "flagged => true".to_owned(),
        "q => 'rare TODO'".to_owned(),
        "q => 'no such title'".to_owned(),
        "q => 'finished'".to_owned(),
    ]);
    for caller in [db.person("viewer").await?, Caller::Agent(agent)] {
        let mut session = db.session_as(caller).await?;
        for filter in &filters {
            let sql = format!(
                "select t.id from devart.tasks t
                 where t.id = any (array(select f from devart.find_tasks({filter}) f))"
            );
            let looked_at = looks(&mut session, &sql).await?;
            assert!(looked_at < 1_000, "{caller:?} {filter}: {looked_at}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_title_is_found_at_once_and_after_each_change() -> Result<()> {
    let db = Database::create().await?;
    let api = Api::start(&db).await?;
    let supervisor = api.client(db.person("supervisor").await?);
    let found = async |words: &str| {
        let page = supervisor.get(&format!("/api/tasks?q={words}")).await?;
        let items = page.expect(200)["items"].as_array().map(Vec::len);
        anyhow::Ok(items.unwrap_or_default())
    };
    let id = create(&db.owner, json!({"title": "weigh 100% of the_goods"})).await?;
    for indexed in [false, true] {
        assert_eq!(found("WEIGH").await?, 1, "indexed: {indexed}");
        assert_eq!(found("100%25").await?, 1, "indexed: {indexed}");
        assert_eq!(found("the_goods").await?, 1, "indexed: {indexed}");
        assert_eq!(found("theXgoods").await?, 0, "indexed: {indexed}");
        assert_eq!(found("10%25of").await?, 0, "indexed: {indexed}");
        index_all(&db).await;
    }
    supervisor
        .put(&format!("/api/tasks/{id}"), json!({"title": "measure it"}))
        .await?
        .expect(200);
    assert_eq!((found("weigh").await?, found("measure").await?), (0, 1));
    supervisor.delete(&format!("/api/tasks/{id}")).await?;
    assert_eq!(found("measure").await?, 0);
    let titles: i64 = sqlx::query_scalar("select count(*) from devart_private.task_titles")
        .fetch_one(&db.owner)
        .await?;
    assert_eq!(titles, 0);
    Ok(())
}

#[tokio::test]
async fn a_task_that_commits_late_is_found_once() -> Result<()> {
    let db = Database::create().await?;
    let mut late = db.owner.begin().await?;
    create(&mut *late, json!({"title": "late"})).await?;
    create(&db.owner, json!({"title": "early"})).await?;
    for _ in 0..3 {
        assert_eq!(
            index_some(&db).await?,
            0,
            "not before the first one has ended"
        );
    }
    late.commit().await?;
    let mut viewer = db.session_as(db.person("viewer").await?).await?;
    for _ in 0..2 {
        for (words, count) in [("late", 1), ("early", 1), ("l", 2)] {
            let query = format!("select * from devart.find_tasks(q => '{words}')");
            assert_eq!(ids(&mut viewer, query).await?.len(), count, "{words}");
        }
        index_all(&db).await;
    }
    let titles: i64 = sqlx::query_scalar("select count(*) from devart_private.task_titles")
        .fetch_one(&db.owner)
        .await?;
    assert_eq!(titles, 2, "the index has both in the end");
    Ok(())
}
