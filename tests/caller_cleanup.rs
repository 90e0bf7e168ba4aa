//! Nothing of a caller stays on a pooled connection, whatever becomes of the request: the next user
//! of the connection has the login's own role and no claims.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use anyhow::{Context, Result};
use devart_kit::config::{PoolArgs, Pooler};
use devart_kit::db::{self, AsCaller, Caller, OneTrip, Role};
use serde_json::{Value, json};
use sqlx::PgPool;
use uuid::Uuid;

use crate::support::api::Api;
use crate::support::wait::eventually;
use crate::support::{Database, sqlstate};

/// More than any request here has.
const MOMENTS: usize = 200;
const HEARTBEAT: &str = "select devart_private.agent_heartbeat_as($1, $2, null)";

/// One connection, so that the next user gets that of the one before.
struct World {
    db: Database,
    pool: PgPool,
    agent: Uuid,
    caller: Caller,
}

impl World {
    async fn create() -> Result<Self> {
        Self::with_statement_timeout(Duration::from_secs(15)).await
    }

    async fn with_statement_timeout(statement_timeout: Duration) -> Result<Self> {
        let db = Database::create().await?;
        let args = pool_args(statement_timeout);
        let options = db::connect_options(&db.authenticator_url(), "a service", &args)?;
        let agent = db.agent(&[]).await?.id;
        let claims = json!({"sub": agent, "role": "devart_agent"});
        Ok(Self {
            pool: db::lazy_pool(options, &args),
            caller: Caller::new(Role::DevartAgent, &claims),
            agent,
            db,
        })
    }

    /// Takes the caller on, works for a while, and commits.
    async fn change(&self) -> sqlx::Result<()> {
        let mut transaction = db::begin_as(&self.pool, &self.caller).await?;
        sqlx::query("select devart.agent_heartbeat()")
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await
    }

    /// Calls one function that takes the caller on itself.
    async fn call(&self) -> sqlx::Result<()> {
        let as_caller = AsCaller {
            connection: OneTrip::Alone(&self.pool),
            caller: &self.caller,
        };
        sqlx::query(HEARTBEAT)
            .bind(as_caller.caller.role())
            .bind(as_caller.caller.claims())
            .execute(as_caller.connection)
            .await
            .map(drop)
    }

    async fn assert_nothing_is_left(&self, after: &str) -> Result<()> {
        let (role, claims): (String, Option<String>) = sqlx::query_as(
            "select current_user::text, nullif(current_setting('request.jwt.claims', true), '')",
        )
        .fetch_one(&self.pool)
        .await
        .context(after.to_owned())?;
        assert_eq!((role.as_str(), claims), ("authenticator", None), "{after}");
        eventually("the connection is in no transaction", async || {
            let open: bool = sqlx::query_scalar(
                "select exists (select from pg_stat_activity where datname = current_database()
                   and usename = 'authenticator' and state like 'idle in transaction%')",
            )
            .fetch_one(&self.db.owner)
            .await
            .ok()?;
            (!open).then_some(())
        })
        .await;
        Ok(())
    }
}

fn pool_args(statement_timeout: Duration) -> PoolArgs {
    PoolArgs {
        max_connections: 1,
        acquire_timeout: Duration::from_secs(20),
        statement_timeout,
        pooler: Pooler::None,
        direct_url: None,
    }
}

/// Polls the future so many times at most and drops it then, as hyper drops the handler of a client
/// that went away. Whether it was dropped before its end.
async fn dropped_after<T>(polls: usize, future: impl Future<Output = T>) -> bool {
    let mut future = pin!(future);
    let mut left = polls;
    poll_fn(move |context| match future.as_mut().poll(context) {
        Poll::Ready(_) => Poll::Ready(false),
        Poll::Pending if left == 1 => Poll::Ready(true),
        Poll::Pending => {
            left -= 1;
            Poll::Pending
        }
    })
    .await
}

#[tokio::test]
async fn a_caller_who_goes_away_at_any_moment_of_a_transaction_leaves_nothing() -> Result<()> {
    let world = World::create().await?;
    for moment in 1..MOMENTS {
        let gone = dropped_after(moment, world.change()).await;
        world
            .assert_nothing_is_left(&format!("dropped at moment {moment}"))
            .await?;
        if !gone && moment > 3 {
            return Ok(());
        }
    }
    panic!("the change never came to its end");
}

#[tokio::test]
async fn a_caller_who_goes_away_at_any_moment_of_a_call_leaves_nothing() -> Result<()> {
    let world = World::create().await?;
    for moment in 1..MOMENTS {
        let gone = dropped_after(moment, world.call()).await;
        world
            .assert_nothing_is_left(&format!("dropped at moment {moment}"))
            .await?;
        if !gone && moment > 3 {
            return Ok(());
        }
    }
    panic!("the call never came to its end");
}

#[tokio::test]
async fn a_call_does_no_more_than_the_callers_role_may() -> Result<()> {
    let world = World::create().await?;
    let calls: Vec<String> = sqlx::query_scalar(
        "select format('select devart_private.%I(''anon'', ''{}''%s)', p.proname,
            repeat(', null', p.pronargs - 2))
         from pg_proc p
         where p.pronamespace = 'devart_private'::regnamespace
           and p.proargnames[1] = 'caller_role'",
    )
    .fetch_all(&world.db.owner)
    .await?;
    assert!(!calls.is_empty());
    for call in calls {
        let refused = sqlx::query(sqlx::AssertSqlSafe(call.clone()))
            .execute(&world.pool)
            .await;
        assert_eq!(sqlstate(&refused), "42501", "{call}");
        world.assert_nothing_is_left(&call).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_transaction_in_which_a_statement_failed_cannot_be_committed() -> Result<()> {
    let world = World::create().await?;
    let mut transaction = db::begin_as(&world.pool, &world.caller).await?;
    let failed = sqlx::query("select 1 / 0").execute(&mut *transaction).await;
    assert_eq!(sqlstate(&failed), "22012");
    assert_eq!(sqlstate(&transaction.commit().await), "25P02");
    world.assert_nothing_is_left("a failed commit").await
}

#[tokio::test]
async fn a_statement_that_fails_leaves_nothing() -> Result<()> {
    let world = World::create().await?;
    {
        let mut transaction = db::begin_as(&world.pool, &world.caller).await?;
        let failed = sqlx::query("select 1 / 0").execute(&mut *transaction).await;
        assert_eq!(sqlstate(&failed), "22012");
    }
    world.assert_nothing_is_left("an error").await?;
    let failed = sqlx::query(
        "select devart_private.extend_lease_as($1, $2, gen_random_uuid(), gen_random_uuid(), 60)",
    )
    .bind(world.caller.role())
    .bind(world.caller.claims())
    .execute(&world.pool)
    .await;
    assert!(failed.is_err());
    world.assert_nothing_is_left("an error of a call").await
}

#[tokio::test]
async fn a_role_that_cannot_be_taken_on_leaves_nothing() -> Result<()> {
    let mut world = World::create().await?;
    sqlx::query("create role outsider login password 'outsider'")
        .execute(&world.db.owner)
        .await?;
    let url = world
        .db
        .cluster()
        .url_as("outsider", "outsider", world.db.name());
    let args = pool_args(Duration::from_secs(15));
    let options = db::connect_options(&url, "a service", &args)?;
    world.pool = db::lazy_pool(options, &args);
    assert_eq!(sqlstate(&world.change().await), "42501");
    let next: String = sqlx::query_scalar("select current_user::text")
        .fetch_one(&world.pool)
        .await?;
    assert_eq!(next, "outsider");
    world.pool.close().await;
    sqlx::query("drop role outsider")
        .execute(&world.db.owner)
        .await?;
    Ok(())
}

#[tokio::test]
async fn a_statement_that_takes_too_long_leaves_nothing() -> Result<()> {
    let world = World::with_statement_timeout(Duration::from_millis(300)).await?;
    {
        let mut transaction = db::begin_as(&world.pool, &world.caller).await?;
        let cancelled = sqlx::query("select pg_sleep(60)")
            .execute(&mut *transaction)
            .await;
        assert_eq!(sqlstate(&cancelled), "57014");
    }
    world.assert_nothing_is_left("a timeout").await?;
    let mut session = world.db.session().await?;
    sqlx::raw_sql("begin; lock table devart.agents in access exclusive mode")
        .execute(&mut session)
        .await?;
    assert_eq!(sqlstate(&world.call().await), "57014");
    sqlx::raw_sql("rollback").execute(&mut session).await?;
    world.assert_nothing_is_left("a timeout of a call").await
}

#[tokio::test]
async fn a_connection_that_breaks_leaves_nothing() -> Result<()> {
    let world = World::create().await?;
    {
        let mut transaction = db::begin_as(&world.pool, &world.caller).await?;
        sqlx::query(
            "select pg_terminate_backend(pid) from pg_stat_activity
             where datname = current_database() and usename = 'authenticator'",
        )
        .execute(&world.db.owner)
        .await?;
        let broken = sqlx::query("select 1").execute(&mut *transaction).await;
        assert!(broken.is_err());
        assert!(transaction.commit().await.is_err());
    }
    world.assert_nothing_is_left("a broken connection").await
}

#[tokio::test]
async fn a_commit_that_fails_leaves_nothing() -> Result<()> {
    let world = World::create().await?;
    refuse_at_commit(&world.db, "agents", "update").await?;
    assert_eq!(sqlstate(&world.change().await), "23514");
    world.assert_nothing_is_left("a refused commit").await?;
    assert_eq!(sqlstate(&world.call().await), "23514");
    world
        .assert_nothing_is_left("a call refused at its end")
        .await?;
    let seen: Option<bool> =
        sqlx::query_scalar("select last_heartbeat_at is not null from devart.agents where id = $1")
            .bind(world.agent)
            .fetch_one(&world.db.owner)
            .await?;
    assert_eq!(seen, Some(false));
    Ok(())
}

#[tokio::test]
async fn what_the_commit_refuses_is_never_answered_as_done() -> Result<()> {
    let db = Database::create().await?;
    let api = Api::start(&db).await?;
    let supervisor = api.client(db.person("supervisor").await?);
    let task = supervisor
        .post("/api/tasks", json!({"title": "before"}))
        .await?
        .expect(201);
    refuse_at_commit(&db, "tasks", "insert or update").await?;
    let path = format!("/api/tasks/{}", task["id"].as_str().context("id")?);
    let created = supervisor
        .post("/api/tasks", json!({"title": "after"}))
        .await?;
    let edited = supervisor.put(&path, json!({"title": "after"})).await?;
    assert_eq!((created.status, edited.status), (422, 422));
    let listed: Value = supervisor.get("/api/tasks").await?.expect(200);
    assert_eq!(listed["items"].as_array().map(Vec::len), Some(1));
    assert_eq!(listed["items"][0]["title"], "before");
    Ok(())
}

/// From now on, the commit of whoever changes the table fails with 23514.
async fn refuse_at_commit(db: &Database, table: &str, change: &str) -> sqlx::Result<()> {
    let trigger = format!(
        "create function public.refuse() returns trigger language plpgsql as $$
         begin raise exception 'not now' using errcode = '23514'; end $$;
         create constraint trigger refuse after {change} on devart.{table}
         deferrable initially deferred for each row execute function public.refuse()"
    );
    sqlx::raw_sql(sqlx::AssertSqlSafe(trigger))
        .execute(&db.owner)
        .await
        .map(drop)
}
