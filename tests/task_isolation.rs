//! What is done to tasks at once, in each isolation level: right, or 40001 and right the second time.

use anyhow::{Result, bail};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::support::wait::eventually;
use crate::support::{Agent, Database, run_sql, sqlstate};

const LEVELS: [&str; 3] = ["read committed", "repeatable read", "serializable"];

/// What can be done to the tasks of [`World`]: `a` and `b` are in progress, `d` depends on both, `e` on
/// `d`, and `f` is on its own.
const CHANGES: &[&str] = &[
    "select * from devart.complete_task('{a}', '{token_a}')",
    "select * from devart.complete_task('{b}', '{token_b}')",
    "select * from devart.complete_tasks(array['{a}', '{b}']::uuid[], array['{token_a}', '{token_b}']::uuid[])",
    "select * from devart.report_task_failure('{a}', '{token_a}', 'e', false)",
    "select * from devart.report_task_failure('{a}', '{token_a}', 'e')",
    "select * from devart.release_task('{a}', '{token_a}')",
    "select devart.cancel_task('{a}')",
    "select devart.cancel_task('{d}')",
    "select devart.delete_task('{d}')",
    "select devart.create_task('g', depends_on => '{{a},{b}}')",
    "select devart.create_task('h', depends_on => '{{d}}')",
    "insert into devart.task_dependencies values ('{f}', '{a}')",
    "insert into devart.task_dependencies values ('{f}', '{e}')",
    "insert into devart.task_dependencies values ('{a}', '{f}')",
    "select devart.update_task('{d}', '{\"priority\": \"HIGH\"}')",
    "select devart.cancel_task('{d}'); select devart.retry_task('{d}')",
    "select count(*) from devart.claim_tasks('{agent}', 10)",
    "select devart_private.maintain()",
];

/// A task that nothing will ever move, or that goes too early.
const WRONG: &str = "
    select t.title || ' is ' || t.status
    from devart.tasks t
    left join lateral (
        select count(*) filter (where p.status <> 'DONE') as open,
            count(*) filter (where p.status not in ('DONE', 'CANCELLED')) as hopeful
        from devart.task_dependencies d join devart.tasks p on p.id = d.depends_on
        where d.task_id = t.id
    ) w on true
    where (t.status = 'BLOCKED' and (w.open = 0 or w.hopeful < w.open))
       or (t.status in ('TODO', 'SCHEDULED') and w.open > 0)
       or t.open_dependencies <> w.open
    union all
    select t.title || ' waits for itself'
    from devart.tasks t
    where exists (
        with recursive upstream (id) as (
            select d.depends_on from devart.task_dependencies d where d.task_id = t.id
            union
            select d.depends_on from upstream u
            join devart.task_dependencies d on d.task_id = u.id
        )
        select from upstream u where u.id = t.id
    )";

struct World {
    names: Vec<(String, String)>,
}

impl World {
    async fn new(session: &mut PgConnection, agent: &Agent) -> Result<Self> {
        run_sql(session, "delete from devart.tasks".to_owned()).await?;
        let mut names = vec![("{agent}".to_owned(), agent.id.to_string())];
        for (name, rest) in [
            ("a", ""),
            ("b", ""),
            ("d", ", depends_on => '{{a},{b}}'"),
            ("e", ", depends_on => '{{d}}'"),
            ("f", ", run_at => '2999-01-01'"),
        ] {
            let sql = replace(
                &names,
                &format!("select (devart.create_task('{name}'{rest})).id"),
            );
            let id: Uuid = sqlx::query_scalar(sqlx::AssertSqlSafe(sql))
                .fetch_one(&mut *session)
                .await?;
            names.push((format!("{{{name}}}"), id.to_string()));
        }
        let claimed: Vec<(String, Uuid)> =
            sqlx::query_as("select title, lease_token from devart.claim_tasks($1, 2)")
                .bind(agent.id)
                .fetch_all(&mut *session)
                .await?;
        assert_eq!(claimed.len(), 2);
        for (title, token) in claimed {
            names.push((format!("{{token_{title}}}"), token.to_string()));
        }
        Ok(World { names })
    }
}

fn replace(names: &[(String, String)], sql: &str) -> String {
    let mut replaced = sql.to_owned();
    for (name, value) in names {
        replaced = replaced.replace(name, value);
    }
    replaced
}

/// In one transaction of this level, which began before.
async fn change(session: &mut PgConnection, level: &str, sql: &str) -> Result<()> {
    let mut outcome = run_sql(session, sql.to_owned()).await;
    if outcome.is_ok() {
        outcome = run_sql(session, "commit".to_owned()).await;
    }
    match sqlstate(&outcome).as_str() {
        "ok" => Ok(()),
        "40001" => {
            run_sql(session, "rollback".to_owned()).await?;
            let again = run_sql(
                session,
                format!("begin isolation level {level}; {sql}; commit"),
            )
            .await;
            run_sql(session, "rollback".to_owned()).await?;
            expect_answer(&sqlstate(&again), sql)
        }
        code => {
            run_sql(session, "rollback".to_owned()).await?;
            expect_answer(code, sql)
        }
    }
}

/// After another change this one may be refused, in devart's words.
fn expect_answer(code: &str, sql: &str) -> Result<()> {
    match code {
        "ok" | "55000" | "55P03" | "22023" | "23503" | "23505" | "0A000" | "P0002" => Ok(()),
        _ => bail!("{sql} answered {code}"),
    }
}

async fn begin(session: &mut PgConnection, level: &str) -> Result<()> {
    run_sql(session, format!("begin isolation level {level}")).await?;
    // Sees from here on what there is now, if it sees the same all along.
    run_sql(session, "select count(*) from devart.tasks".to_owned()).await?;
    Ok(())
}

/// Two for each first change: it meets one that has loaded nothing, and the pairs with others meet
/// those of a pool. Two for each pair would spend nine tenths of the time on loading.
async fn two_sessions(db: &Database) -> Result<(PgConnection, PgConnection)> {
    Ok((db.session().await?, db.session().await?))
}

async fn check(db: &Database, told: &str) -> Result<()> {
    let wrong: Vec<String> = sqlx::query_scalar(WRONG).fetch_all(&db.owner).await?;
    assert!(wrong.is_empty(), "{told}: {wrong:?}");
    Ok(())
}

#[tokio::test]
async fn each_change_that_began_before_another_one_ended_is_right_or_40001() -> Result<()> {
    let db = Database::create().await?;
    let agent = db.agent(&[]).await?;
    let mut owner = db.session().await?;
    for level in LEVELS {
        for first in CHANGES {
            let (mut one, mut two) = two_sessions(&db).await?;
            for second in CHANGES {
                let world = World::new(&mut owner, &agent).await?;
                let (first, second) = (replace(&world.names, first), replace(&world.names, second));
                begin(&mut one, level).await?;
                begin(&mut two, level).await?;
                change(&mut one, level, &first).await?;
                change(&mut two, level, &second).await?;
                check(&db, &format!("{level}: {first}; {second}")).await?;
            }
        }
    }
    Ok(())
}

#[tokio::test]
async fn each_change_that_waits_for_another_one_is_right_or_40001() -> Result<()> {
    let db = Database::create().await?;
    let agent = db.agent(&[]).await?;
    let mut owner = db.session().await?;
    for level in LEVELS {
        for first in &CHANGES[..15] {
            let (mut one, mut two) = two_sessions(&db).await?;
            let pid: i32 = sqlx::query_scalar("select pg_backend_pid()")
                .fetch_one(&mut two)
                .await?;
            for second in &CHANGES[..15] {
                let world = World::new(&mut owner, &agent).await?;
                let (first, second) = (replace(&world.names, first), replace(&world.names, second));
                begin(&mut one, level).await?;
                begin(&mut two, level).await?;
                let told = format!("{level}: {first} and {second}");
                if run_sql(&mut one, first).await.is_err() {
                    run_sql(&mut one, "rollback".to_owned()).await?;
                    run_sql(&mut two, "rollback".to_owned()).await?;
                    continue;
                }
                let waiting = tokio::spawn(async move {
                    let outcome = change(&mut two, level, &second).await;
                    (two, outcome)
                });
                eventually("the second change waits or is through", async || {
                    if waiting.is_finished() {
                        return Some(());
                    }
                    sqlx::query(
                        "select from pg_stat_activity where pid = $1 and wait_event_type = 'Lock'",
                    )
                    .bind(pid)
                    .fetch_optional(&db.owner)
                    .await
                    .ok()?
                    .map(drop)
                })
                .await;
                // It may be refused in favour of the second.
                let committed = run_sql(&mut one, "commit".to_owned()).await;
                assert!(
                    matches!(sqlstate(&committed).as_str(), "ok" | "40001"),
                    "{told}"
                );
                let (session, outcome) = waiting.await?;
                two = session;
                outcome?;
                check(&db, &told).await?;
            }
        }
    }
    Ok(())
}
