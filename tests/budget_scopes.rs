//! Limits beside the service's: of the agent, the task and its descendants, the run, the person.

use anyhow::Result;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::budget::{
    alerts, amount, audit, budget, hold_of, number, release, reserve_with, service, settle, usd,
    used,
};
use crate::support::queue::{Claim, claim, create};
use crate::support::{Agent, Caller, Database};

/// A task in an agent's hands, and its session.
struct Work {
    claim: Claim,
    session: sqlx::PgConnection,
}

impl Work {
    async fn start(db: &Database, agent: &Agent, task: Value) -> Result<Self> {
        create(&db.owner, task).await?;
        let claim = claim(&db.owner, agent.id).await?.expect("the task");
        let session = db.session_as(agent.caller()).await?;
        Ok(Self { claim, session })
    }

    async fn reserve(&mut self, service_id: Uuid, estimate: &str) -> sqlx::Result<Value> {
        let request = json!({"estimate_usd": number(estimate), "task_id": self.claim.task_id});
        reserve_with(&mut self.session, service_id, request).await
    }

    async fn charge(&mut self, service_id: Uuid, cost: &str) -> sqlx::Result<Value> {
        sqlx::query_scalar("select devart.charge_service($1, $2, $3)")
            .bind(service_id)
            .bind(usd(cost))
            .bind(self.claim.task_id)
            .fetch_one(&mut self.session)
            .await
    }
}

#[tokio::test]
async fn an_agents_limit_counts_all_of_its_services() -> Result<()> {
    let db = Database::create().await?;
    let agent = db.agent(&[]).await?;
    let limit = budget(&db.owner, "agent", agent.id, "5").await?;
    let (one, two) = (
        service(&db.owner, "one", "100").await?,
        service(&db.owner, "two", "100").await?,
    );
    let mut work = Work::start(&db, &agent, json!({"title": "t"})).await?;
    assert_eq!(work.charge(one, "3").await?["success"], true);
    let refused = work.reserve(two, "3").await?;
    assert_eq!(
        (
            &refused["admitted"],
            &refused["scope"],
            &refused["scope_id"]
        ),
        (&json!(false), &json!("agent"), &json!(limit))
    );
    assert_eq!(amount(&refused, "remaining_usd"), usd("2"));
    let hold = hold_of(&work.reserve(two, "2").await?);
    assert_eq!(used(&db.owner, limit).await?, (usd("3"), usd("2")));
    settle(&mut work.session, hold, "1.25").await?;
    assert_eq!(used(&db.owner, limit).await?, (usd("4.25"), usd("0")));
    audit(&db.owner).await;
    Ok(())
}

#[tokio::test]
async fn limits_of_a_task_its_run_and_its_creator_count_what_descendants_spend() -> Result<()> {
    let db = Database::create().await?;
    let (agent, id) = (
        db.agent(&[]).await?,
        service(&db.owner, "model", "100").await?,
    );
    let Caller::Person(person) = db.person("supervisor").await? else {
        unreachable!()
    };
    let run = Uuid::now_v7();
    let mut parent = Work::start(&db, &agent, json!({"title": "parent"})).await?;
    sqlx::query("update devart.tasks set created_by = $1, workflow_run_id = $2 where id = $3")
        .bind(person)
        .bind(run)
        .bind(parent.claim.task_id)
        .execute(&db.owner)
        .await?;
    let mut child = Work::start(
        &db,
        &agent,
        json!({"title": "child", "parent_task_id": parent.claim.task_id}),
    )
    .await?;
    let limits = [
        budget(&db.owner, "task", parent.claim.task_id, "9").await?,
        budget(&db.owner, "run", run, "8").await?,
        budget(&db.owner, "user", person, "7").await?,
    ];
    parent.charge(id, "2").await?;
    child.charge(id, "3").await?;
    let hold = hold_of(&child.reserve(id, "1").await?);
    for limit in limits {
        assert_eq!(used(&db.owner, limit).await?, (usd("5"), usd("1")));
    }
    let refused = child.reserve(id, "1.5").await?;
    assert_eq!(
        (&refused["scope"], &refused["reason"]),
        (&json!("user"), &json!("budget of the user exceeded"))
    );
    assert!(release(&mut child.session, hold).await?);
    for limit in limits {
        assert_eq!(used(&db.owner, limit).await?, (usd("5"), usd("0")));
    }
    audit(&db.owner).await;
    Ok(())
}

#[tokio::test]
async fn a_soft_limit_of_a_scope_alerts_and_refuses_nothing() -> Result<()> {
    let db = Database::create().await?;
    db.set("outbox_topics", json!(["telegram.alert"])).await?;
    let (agent, id) = (
        db.agent(&[]).await?,
        service(&db.owner, "model", "100").await?,
    );
    let limit = budget(&db.owner, "agent", agent.id, "1").await?;
    sqlx::query("update devart.budgets set hard_limit = false")
        .execute(&db.owner)
        .await?;
    let mut work = Work::start(&db, &agent, json!({"title": "t"})).await?;
    for _ in 0..3 {
        assert_eq!(work.charge(id, "0.6").await?["success"], true);
    }
    let told: Vec<(Value, Value)> = alerts(&db.owner)
        .await?
        .into_iter()
        .map(|alert| (alert["scope"].clone(), alert["threshold_percent"].clone()))
        .collect();
    assert_eq!(
        told,
        [(json!("agent"), json!(50)), (json!("agent"), json!(100))]
    );
    assert_eq!(used(&db.owner, limit).await?.0, usd("1.8"));
    audit(&db.owner).await;
    Ok(())
}

#[tokio::test]
async fn a_cheaper_substitute_is_billed_when_the_scopes_limit_only_has_room_for_that() -> Result<()>
{
    let db = Database::create().await?;
    let agent = db.agent(&[]).await?;
    budget(&db.owner, "agent", agent.id, "1").await?;
    let (dear, cheap) = (
        service(&db.owner, "dear", "100").await?,
        service(&db.owner, "cheap", "100").await?,
    );
    sqlx::query("update devart.service_registry set substitute_service_id = $2 where id = $1")
        .bind(dear)
        .bind(cheap)
        .execute(&db.owner)
        .await?;
    for (service_id, price) in [(dear, "0.02"), (cheap, "0.005")] {
        sqlx::query("select devart.set_service_price($1, 'request', $2)")
            .bind(service_id)
            .bind(usd(price))
            .execute(&db.owner)
            .await?;
    }
    let mut session = db.session_as(agent.caller()).await?;
    let answer = reserve_with(&mut session, dear, json!({"usage": {"request": 100}})).await?;
    assert_eq!(
        (
            &answer["service_id"],
            &answer["delegated_from"],
            &answer["reason"]
        ),
        (
            &json!(cheap),
            &json!(dear),
            &json!("budget of the agent exceeded")
        )
    );
    assert_eq!(amount(&answer, "held_usd"), usd("0.5"));
    audit(&db.owner).await;
    Ok(())
}

#[tokio::test]
async fn a_scopes_window_ends_as_a_services_does_and_holds_settle_where_they_were_admitted()
-> Result<()> {
    let db = Database::create().await?;
    let (agent, id) = (
        db.agent(&[]).await?,
        service(&db.owner, "model", "100").await?,
    );
    let limit = budget(&db.owner, "agent", agent.id, "2").await?;
    let mut session = db.session_as(agent.caller()).await?;
    let hold = hold_of(&reserve_with(&mut session, id, json!({"estimate_usd": 2})).await?);
    sqlx::query("update devart.budgets set window_end = clock_timestamp()")
        .execute(&db.owner)
        .await?;
    hold_of(&reserve_with(&mut session, id, json!({"estimate_usd": 1})).await?);
    settle(&mut session, hold, "2").await?;
    assert_eq!(used(&db.owner, limit).await?, (usd("0"), usd("1")));
    audit(&db.owner).await;
    Ok(())
}

#[tokio::test]
async fn a_deleted_budget_refuses_no_more_and_its_open_holds_still_settle() -> Result<()> {
    let db = Database::create().await?;
    let (agent, id) = (
        db.agent(&[]).await?,
        service(&db.owner, "model", "100").await?,
    );
    let limit = budget(&db.owner, "agent", agent.id, "2").await?;
    let mut session = db.session_as(agent.caller()).await?;
    let mut holds = Vec::new();
    for _ in 0..2 {
        holds.push(hold_of(
            &reserve_with(&mut session, id, json!({"estimate_usd": 1})).await?,
        ));
    }
    sqlx::query("select devart.delete_budget($1)")
        .bind(limit)
        .execute(&db.owner)
        .await?;
    hold_of(&reserve_with(&mut session, id, json!({"estimate_usd": 50})).await?);
    settle(&mut session, holds[0], "1").await?;
    assert!(release(&mut session, holds[1]).await?);
    audit(&db.owner).await;
    Ok(())
}

/// Every way in which an agent can ask for money, of one dollar each, without naming a task.
const UNNAMED: [&str; 3] = [
    "select devart.charge_service($1, 1) ->> 'success'",
    "select devart.reserve_charge($1, 1) ->> 'admitted'",
    "select devart.dispatch_task($1, 1) ->> 'admitted'",
];

#[tokio::test]
async fn an_agent_that_names_no_task_spends_for_those_that_it_has_in_hand() -> Result<()> {
    for scope in ["task", "run", "user"] {
        for sql in UNNAMED {
            let db = Database::create().await?;
            let (agent, id) = (
                db.agent(&[]).await?,
                service(&db.owner, "model", "1000").await?,
            );
            let mut work = Work::start(&db, &agent, json!({"title": "t"})).await?;
            let scope_id = match scope {
                "task" => work.claim.task_id,
                _ => Uuid::now_v7(),
            };
            sqlx::query("update devart.tasks set created_by = $1, workflow_run_id = $1")
                .bind(scope_id)
                .execute(&db.owner)
                .await?;
            let limit = budget(&db.owner, scope, scope_id, "10").await?;
            let mut admitted = 0;
            for _ in 0..20 {
                let answer: String = sqlx::query_scalar(sql)
                    .bind(id)
                    .fetch_one(&mut work.session)
                    .await?;
                admitted += i32::from(answer == "true");
            }
            assert_eq!(admitted, 10, "{scope}: {sql}");
            let (spent, held) = used(&db.owner, limit).await?;
            assert_eq!(spent + held, usd("10"), "{scope}: {sql}");
            audit(&db.owner).await;
        }
    }
    Ok(())
}

#[tokio::test]
async fn what_an_agent_has_handed_in_limits_it_no_more() -> Result<()> {
    let db = Database::create().await?;
    let (agent, id) = (
        db.agent(&[]).await?,
        service(&db.owner, "model", "100").await?,
    );
    let mut work = Work::start(&db, &agent, json!({"title": "t"})).await?;
    budget(&db.owner, "task", work.claim.task_id, "0").await?;
    let refused = reserve_with(&mut work.session, id, json!({"estimate_usd": 1})).await?;
    assert_eq!(refused["scope"], "task");
    crate::support::queue::complete(&mut work.session, &work.claim).await?;
    hold_of(&reserve_with(&mut work.session, id, json!({"estimate_usd": 1})).await?);
    audit(&db.owner).await;
    Ok(())
}

/// A line of so many tasks, each the child of the one before; the first and the last.
async fn line(db: &Database, depth: usize) -> Result<(Uuid, Uuid)> {
    let first = create(&db.owner, json!({"title": "0"})).await?;
    let mut last = first;
    for n in 1..=depth {
        last = create(
            &db.owner,
            json!({"title": n.to_string(), "parent_task_id": last}),
        )
        .await?;
    }
    Ok((first, last))
}

#[tokio::test]
async fn a_budget_is_asked_at_any_depth_whether_it_is_older_than_the_line_or_not() -> Result<()> {
    for depth in [2, 101, 256, 257, 600] {
        let db = Database::create().await?;
        let id = service(&db.owner, "model", "1000").await?;
        let (first, last) = line(&db, depth).await?;
        let limit = budget(&db.owner, "task", first, "5").await?;
        let request = json!({"estimate_usd": 3, "task_id": last});
        hold_of(&reserve_with(&db.owner, id, request.clone()).await?);
        let refused = reserve_with(&db.owner, id, request).await?;
        assert_eq!(
            (&refused["admitted"], &refused["scope_id"]),
            (&json!(false), &json!(limit)),
            "at depth {depth}"
        );
        let below = create(&db.owner, json!({"title": "below", "parent_task_id": last})).await?;
        let request = json!({"estimate_usd": 3, "task_id": below});
        let refused = reserve_with(&db.owner, id, request).await?;
        assert_eq!(refused["scope_id"], json!(limit), "below depth {depth}");
        audit(&db.owner).await;
    }
    Ok(())
}

#[tokio::test]
async fn a_line_outlives_the_tasks_in_its_middle_and_one_statement_may_make_all_of_it() -> Result<()>
{
    let db = Database::create().await?;
    let id = service(&db.owner, "model", "1000").await?;
    // Children before their parents, in one statement.
    sqlx::query(
        "insert into devart.tasks (id, title, parent_task_id)
         select ('00000000-0000-4000-8000-' || lpad(n::text, 12, '0'))::uuid, n::text,
             case when n > 0 then ('00000000-0000-4000-8000-' || lpad((n - 1)::text, 12, '0'))::uuid end
         from generate_series(300, 0, -1) n",
    )
    .execute(&db.owner)
    .await?;
    let number = |n: u128| Uuid::from_u128(0x00000000_0000_4000_8000_000000000000 + n);
    let (first, last): (Uuid, Uuid) = sqlx::query_as(
        "select (select id from devart.tasks where title = '0'), (select id from devart.tasks where title = '300')",
    )
    .fetch_one(&db.owner)
    .await?;
    assert_eq!(first, number(0));
    let limit = budget(&db.owner, "task", first, "5").await?;
    sqlx::query("delete from devart.tasks where title in ('100', '256', '257')")
        .execute(&db.owner)
        .await?;
    let request = json!({"estimate_usd": 6, "task_id": last});
    let refused = reserve_with(&db.owner, id, request).await?;
    assert_eq!(refused["scope_id"], json!(limit));
    audit(&db.owner).await;
    Ok(())
}
