//! Whether an agent may act is asked at each call: it is in service, and its key still counts.

use anyhow::Result;
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};
use uuid::Uuid;

use crate::support::api::Api;
use crate::support::budget::{audit, hold_of, reserve_with, service, standing, usd};
use crate::support::queue::{claim, claim_batch, create, status};
use crate::support::wait::eventually;
use crate::support::{Agent, Caller, Database, refusal, run_sql, sqlstate};

/// Everything that an agent can call to act, of which `{own}` is its task and `{hold}` its hold.
const ACTS: &[&str] = &[
    "select devart.claim_next_task()",
    "select devart.claim_tasks(null, 2)",
    "select devart.start_task('{waiting}')",
    "select devart.extend_lease('{own}', '{token}')",
    "select devart.release_task('{own}', '{token}')",
    "select devart.complete_task('{own}', '{token}')",
    "select devart.complete_tasks(array['{own}']::uuid[], array['{token}']::uuid[])",
    "select devart.report_task_failure('{own}', '{token}', 'e')",
    "select devart.charge_service('{service}', 1)",
    "select devart.reserve_charge('{service}', 1)",
    "select devart.dispatch_task('{service}', 1)",
    "select devart.dispatch_task('{service}', 1, task_id => '{own}')",
    "select devart.mark_dispatched('{hold}')",
    "select devart.extend_charge('{hold}', 1)",
    "select devart.settle_charge('{hold}', 1)",
    "select devart.release_charge('{hold}')",
    "select devart.create_task('child', parent_task_id => '{own}')",
    "insert into devart.tasks (title, parent_task_id) values ('child', '{own}')",
];

/// An agent with a task in hand and a hold of thirty days.
struct Work {
    db: Database,
    agent: Agent,
    service_id: Uuid,
    hold_id: Uuid,
    replacements: Vec<(&'static str, String)>,
}

impl Work {
    async fn create() -> Result<Self> {
        let db = Database::create().await?;
        let agent = db.agent(&[]).await?;
        let service_id = service(&db.owner, "model", "100").await?;
        let own = create(&db.owner, json!({"title": "own"})).await?;
        let token = claim(&db.owner, agent.id).await?.expect("own").lease_token;
        let waiting = create(&db.owner, json!({"title": "waiting"})).await?;
        let mut session = db.session_as(agent.caller()).await?;
        let held: Value =
            sqlx::query_scalar("select devart.reserve_charge($1, 5, ttl => '30 days')")
                .bind(service_id)
                .fetch_one(&mut session)
                .await?;
        let hold_id = hold_of(&held);
        let replacements = vec![
            ("{own}", own.to_string()),
            ("{token}", token.to_string()),
            ("{waiting}", waiting.to_string()),
            ("{service}", service_id.to_string()),
            ("{hold}", hold_id.to_string()),
        ];
        Ok(Self {
            db,
            agent,
            service_id,
            hold_id,
            replacements,
        })
    }

    /// What becomes of each of the agent's calls in this session, each taken back.
    async fn outcomes(&self, session: &mut PgConnection) -> Result<Vec<(String, String)>> {
        let mut outcomes = Vec::new();
        for act in ACTS {
            let fill = |sql: String, (name, value): &(&str, String)| sql.replace(name, value);
            let sql = self.replacements.iter().fold((*act).to_owned(), fill);
            run_sql(session, "begin".to_owned()).await?;
            let outcome = run_sql(session, sql).await;
            run_sql(session, "rollback".to_owned()).await?;
            outcomes.push(((*act).to_owned(), sqlstate(&outcome)));
        }
        Ok(outcomes)
    }

    async fn assert_all(&self, session: &mut PgConnection, expected: &str) -> Result<()> {
        for (act, outcome) in self.outcomes(session).await? {
            assert_eq!(outcome, expected, "{act}");
        }
        Ok(())
    }

    async fn activate(&self, active: bool) -> Result<()> {
        sqlx::query("select devart.set_agent_activation($1, $2)")
            .bind(self.agent.id)
            .bind(active)
            .execute(&self.db.owner)
            .await?;
        Ok(())
    }

    /// A session whose claims say from which key its token was made.
    async fn session_by_key(&self) -> Result<PgConnection> {
        let mut session = self.db.session_as(self.agent.caller()).await?;
        let claims = json!({
            "sub": self.agent.id, "role": "devart_agent", "key_id": self.agent.key_id,
        });
        sqlx::query("select set_config('request.jwt.claims', $1, false)")
            .bind(claims.to_string())
            .execute(&mut session)
            .await?;
        Ok(session)
    }
}

#[tokio::test]
async fn a_deactivated_agent_may_do_nothing_and_hears_of_it() -> Result<()> {
    let work = Work::create().await?;
    let mut session = work.db.session_as(work.agent.caller()).await?;
    work.assert_all(&mut session, "ok").await?;
    work.activate(false).await?;
    work.assert_all(&mut session, "42501").await?;
    let heard: Value = sqlx::query_scalar("select devart.agent_heartbeat()")
        .fetch_one(&mut session)
        .await?;
    assert_eq!(
        (&heard["stop"], &heard["status"]),
        (&json!(true), &json!("DEACTIVATED"))
    );
    work.activate(true).await?;
    let charged = "select devart.charge_service((select id from devart.service_registry), 1)";
    assert_eq!(
        sqlstate(&run_sql(&mut session, charged.to_owned()).await),
        "ok"
    );
    audit(&work.db.owner).await;
    Ok(())
}

#[tokio::test]
async fn a_token_counts_no_longer_than_the_key_that_it_was_made_from() -> Result<()> {
    for end in [
        "update devart_private.agent_api_keys set revoked_at = now()",
        "update devart_private.agent_api_keys set expires_at = now() - interval '1 second'",
        "delete from devart_private.agent_api_keys",
    ] {
        let work = Work::create().await?;
        let mut session = work.session_by_key().await?;
        work.assert_all(&mut session, "ok").await?;
        sqlx::query(end).execute(&work.db.owner).await?;
        work.assert_all(&mut session, "42501").await?;
        let heartbeat = run_sql(&mut session, "select devart.agent_heartbeat()".to_owned()).await;
        assert!(refusal(heartbeat).contains("revoked"), "{end}");
    }
    Ok(())
}

#[tokio::test]
async fn an_exchanged_token_ends_with_its_key_at_every_endpoint() -> Result<()> {
    let work = Work::create().await?;
    let api = Api::start(&work.db).await?;
    let exchanged = api
        .agent(&work.agent)
        .post("/api/agents/token", json!({}))
        .await?;
    let token = exchanged.expect(200)["access_token"]
        .as_str()
        .expect("a token")
        .to_owned();
    let client = api.anonymous.with_token(&token);
    let charge = format!("/api/services/{}/charges", work.service_id);
    client
        .post(&charge, json!({"amount_usd": 1}))
        .await?
        .expect(200);
    sqlx::query("select devart.revoke_agent_key($1, $2)")
        .bind(work.agent.id)
        .bind(&work.agent.key_id)
        .execute(&work.db.owner)
        .await?;
    let dispatch = json!({"service_id": work.service_id, "estimate_usd": 1});
    for (method, path, body) in [
        ("POST", charge.as_str(), json!({"amount_usd": 1})),
        ("POST", "/api/tasks/dispatch", dispatch),
        ("POST", "/api/tasks/claim", json!({})),
        ("PUT", "/api/agents/heartbeat", json!({})),
        (
            "POST",
            &format!("/api/charges/{}/release", work.hold_id),
            json!({}),
        ),
    ] {
        let answer = client.call(method, path, Some(body)).await?;
        assert_eq!(answer.problem(403), "forbidden", "{method} {path}");
    }
    audit(&work.db.owner).await;
    Ok(())
}

#[tokio::test]
async fn what_a_deactivated_agent_holds_comes_back_but_not_what_people_granted() -> Result<()> {
    let work = Work::create().await?;
    let granted: Value = sqlx::query_scalar(
        "select devart_private.hold_for_task($1, 3, $2, devart.uuid_v7(), '1 day')",
    )
    .bind(work.service_id)
    .bind(work.agent.id)
    .fetch_one(&work.db.owner)
    .await?;
    hold_of(&granted);
    work.activate(false).await?;
    work.db.maintain().await?;
    assert_eq!(
        standing(&work.db.owner, work.service_id).await?.held_usd,
        usd("3")
    );
    assert_eq!(
        status(&work.db.owner, work.replacements[0].1.parse()?).await?,
        "TODO"
    );
    audit(&work.db.owner).await;
    Ok(())
}

#[tokio::test]
async fn supervisors_give_any_hold_back_and_viewers_none() -> Result<()> {
    let work = Work::create().await?;
    let release = async |caller: Caller| -> Result<String> {
        let mut session = work.db.session_as(caller).await?;
        let released = sqlx::query_scalar::<_, bool>("select devart.release_charge($1)")
            .bind(work.hold_id)
            .fetch_one(&mut session)
            .await;
        Ok(sqlstate(&released))
    };
    assert_eq!(release(work.db.person("viewer").await?).await?, "42501");
    assert_eq!(release(work.db.agent(&[]).await?.caller()).await?, "42501");
    assert_eq!(release(work.db.person("supervisor").await?).await?, "ok");
    assert_eq!(
        standing(&work.db.owner, work.service_id).await?.held_usd,
        usd("0")
    );
    audit(&work.db.owner).await;
    Ok(())
}

#[tokio::test]
async fn an_agent_that_registers_later_is_known_to_a_session_that_did_not_find_it() -> Result<()> {
    let work = Work::create().await?;
    let id = Uuid::now_v7();
    let mut session = work.db.session_as(Caller::Agent(id)).await?;
    let request = json!({"estimate_usd": 1});
    let unknown = reserve_with(&mut session, work.service_id, request.clone()).await;
    assert_eq!(sqlstate(&unknown), "P0002");
    sqlx::query("insert into devart.agents (id, name) values ($1, 'late')")
        .bind(id)
        .execute(&work.db.owner)
        .await?;
    hold_of(&reserve_with(&mut session, work.service_id, request).await?);
    Ok(())
}

#[tokio::test]
async fn a_deactivation_locks_the_agents_tasks_in_the_order_of_all() -> Result<()> {
    let db = Database::create().await?;
    let agent = db.agent(&[]).await?;
    let first = create(&db.owner, json!({"title": "first"})).await?;
    let second = create(&db.owner, json!({"title": "second"})).await?;
    assert_eq!(claim_batch(&db.owner, agent.id, 2).await?.len(), 2);
    // So that an index on the lease gives the second one first.
    sqlx::query(
        "update devart.tasks set lease_expires_at = lease_expires_at - interval '1 minute'
         where id = $1",
    )
    .bind(second)
    .execute(&db.owner)
    .await?;
    let mut blocker = db.session().await?;
    let mut blocking = blocker.begin().await?;
    sqlx::query("select from devart.tasks where id = $1 for update")
        .bind(first)
        .execute(&mut *blocking)
        .await?;
    let mut session = db.session().await?;
    // A scan of the table would give them by id, too.
    sqlx::query("set enable_seqscan = off")
        .execute(&mut session)
        .await?;
    let deactivating = tokio::spawn(async move {
        sqlx::query("select devart.set_agent_activation($1, false)")
            .bind(agent.id)
            .execute(&mut session)
            .await
    });
    eventually("the deactivation waits", async || {
        let waits = "select from pg_stat_activity
            where datname = current_database() and wait_event_type = 'Lock'";
        sqlx::query(waits).fetch_optional(&db.owner).await.ok()?
    })
    .await;
    sqlx::query("select from devart.tasks where id = $1 for update nowait")
        .bind(second)
        .execute(&db.owner)
        .await?;
    blocking.commit().await?;
    deactivating.await??;
    assert_eq!(status(&db.owner, second).await?, "TODO");
    Ok(())
}
