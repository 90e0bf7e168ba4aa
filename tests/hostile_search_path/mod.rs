//! Whatever callers put on their search_path, nothing of it runs with the owner's rights.
//!
//! The attacker has operators, functions, types and relations under the names of Postgres' and devart's
//! own (attack.sql). Casts need no line there: one can only be made by the owner of a type.

mod calls;

use anyhow::{Context, Result};
use serde_json::json;
use sqlx::PgConnection;
use uuid::Uuid;

use self::calls::CALLS;
use crate::support::budget::service;
use crate::support::{Agent, Caller, Database, run_sql};

/// Everything that acts with the owner's rights and can be set off by callers, and was not: definer
/// functions that somebody may execute, and the functions of triggers.
const TO_BE_CALLED: &str = "
    select p.oid::regprocedure::text
    from pg_proc p
    where p.pronamespace in ('devart'::regnamespace, 'devart_private'::regnamespace)
      and (exists (select from pg_trigger t where t.tgfoid = p.oid)
           or p.prosecdef and exists (
               select from aclexplode(p.proacl) a where a.grantee <> p.proowner))
      and not exists (
          select from pg_stat_user_functions s where s.funcid = p.oid and s.calls > 0)
    order by 1";

struct World {
    db: Database,
    person: Caller,
    second: Caller,
    agent: Agent,
    service: Uuid,
    substitute: Uuid,
}

impl World {
    async fn create() -> Result<Self> {
        let db = Database::create().await?;
        run_sql(
            &mut db.session().await?,
            format!("alter database {} set track_functions = 'all'", db.name()),
        )
        .await?;
        Ok(Self {
            person: db.person("admin").await?,
            second: db.person("admin").await?,
            agent: db.agent(&["sql", "rust"]).await?,
            service: service(&db.owner, "first", "100").await?,
            substitute: service(&db.owner, "second", "50").await?,
            db,
        })
    }

    /// A session in which the attacker's things come before everything else.
    async fn session(&self) -> Result<PgConnection> {
        let mut session = self.db.session().await?;
        sqlx::raw_sql(include_str!("attack.sql"))
            .execute(&mut session)
            .await?;
        sqlx::raw_sql("set search_path = evil, pg_temp, devart, devart_private, pg_catalog")
            .execute(&mut session)
            .await?;
        Ok(session)
    }

    /// The role and the claims of who calls.
    fn caller<'a>(&self, who: &'a str) -> (&'a str, String) {
        match who {
            "authenticated" => (who, self.person.claims()),
            "second" => ("authenticated", self.second.claims()),
            "devart_agent" => (who, self.agent.caller().claims()),
            _ => (who, String::new()),
        }
    }

    async fn fill(&self, sql: &str) -> Result<String> {
        let message: Option<Uuid> =
            sqlx::query_scalar("select id from devart.tasks where title = 'by message'")
                .fetch_optional(&self.db.owner)
                .await?;
        let pull_request = json!({
            "action": "opened", "number": 1,
            "pull_request": {"head": {"sha": "f".repeat(40)}, "title": "t", "html_url": "u"},
            "repository": {"full_name": "a/b"}, "sender": {"login": "l"},
        });
        Ok(sql
            .replace("{service}", &self.service.to_string())
            .replace("{substitute}", &self.substitute.to_string())
            .replace("{agent}", &self.agent.id.to_string())
            .replace("{message}", &message.unwrap_or_default().to_string())
            .replace("{pull_request}", &pull_request.to_string()))
    }

    /// Calls as `who` in a transaction of its own.
    async fn call(&self, session: &mut PgConnection, who: &str, sql: &str) -> Result<()> {
        let (role, claims) = self.caller(who);
        let sql = self.fill(sql).await?;
        let transaction = format!(
            "begin; select pg_catalog.set_config('request.jwt.claims', '{claims}', true);
             set local role {role}; {sql}; commit"
        );
        let outcome = run_sql(session, transaction).await;
        if outcome.is_err() {
            run_sql(session, "rollback".to_owned()).await?;
        }
        outcome.with_context(|| format!("{who}: {sql}"))
    }
}

#[tokio::test]
async fn nothing_on_a_callers_search_path_runs_with_the_owners_rights() -> Result<()> {
    let world = World::create().await?;
    let mut session = world.session().await?;
    let mut failed = Vec::new();
    for (who, sql) in CALLS {
        if let Err(error) = world.call(&mut session, who, sql).await {
            failed.push(format!("{error:#}"));
        }
    }
    assert!(failed.is_empty(), "{failed:#?}");
    let has_run: bool = sqlx::query_scalar("select is_called from evil.runs")
        .fetch_one(&world.db.owner)
        .await?;
    assert!(!has_run, "something ran, and its error was swallowed");
    run_sql(
        &mut session,
        "select pg_catalog.pg_stat_force_next_flush()".to_owned(),
    )
    .await?;
    let left: Vec<String> = sqlx::query_scalar(TO_BE_CALLED)
        .fetch_all(&world.db.owner)
        .await?;
    assert!(left.is_empty(), "calls.rs calls none of {left:#?}");
    Ok(())
}

#[tokio::test]
async fn the_attackers_things_are_found_when_the_owners_rights_meet_them() -> Result<()> {
    let world = World::create().await?;
    let mut session = world.session().await?;
    let pinned = "set search_path = pg_catalog, pg_temp";
    for (path, careless) in [
        (
            "",
            "select 1 where 'a'::pg_catalog.text = 'b'::pg_catalog.text",
        ),
        ("", "select lower('A'::pg_catalog.text)"),
        (
            "",
            "select 'DONE'::devart.task_status = 'TODO'::devart.task_status",
        ),
        ("", "select ''::text"),
        ("", "select from tasks"),
        (pinned, "select from tasks"),
    ] {
        let function = format!(
            "create or replace function evil.careless() returns void language plpgsql
                 security definer {path} as $$ begin perform * from ({careless}) x; end $$;
             alter function evil.careless() owner to devart_owner;
             grant execute on function evil.careless() to authenticated;"
        );
        run_sql(&mut session, function).await?;
        let call = "select evil.careless()";
        let outcome = world.call(&mut session, "authenticated", call).await;
        let message = outcome.map_or_else(|error| format!("{error:#}"), |()| "nothing".to_owned());
        assert!(
            message.contains("ran as devart_owner"),
            "{careless}: {message}"
        );
    }
    Ok(())
}
