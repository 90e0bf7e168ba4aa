//! Budget inside the claim, and tasks that wait for money or for a person (rule 13).

use anyhow::Result;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::budget::{
    Funded, amount, audit, budget, charge, claim_funded, costly_task, hold_of, reserve, service,
    settle, standing, usd,
};
use crate::support::queue::{create, create_many, expire_lease, history, start, status};
use crate::support::{Database, refusal, sqlstate};

/// The approval that a task waits for.
async fn approval_of(db: &Database, task_id: Uuid) -> sqlx::Result<(Uuid, Value)> {
    sqlx::query_as(
        "select id, detail from devart.approvals where subject = 'budget' and subject_id = $1 and status = 'PENDING'",
    )
    .bind(task_id)
    .fetch_one(&db.owner)
    .await
}

async fn decide(
    db: &Database,
    approval: Uuid,
    decision: &str,
    service_id: Option<Uuid>,
) -> sqlx::Result<String> {
    sqlx::query_scalar("select status::text from devart.decide_approval($1, $2, null, $3)")
        .bind(approval)
        .bind(decision)
        .bind(service_id)
        .fetch_one(&db.owner)
        .await
}

async fn complete(db: &Database, task: &Funded) -> sqlx::Result<String> {
    sqlx::query_scalar("select status from devart.complete_task($1, $2)")
        .bind(task.task_id)
        .bind(task.lease_token)
        .fetch_one(&db.owner)
        .await
}

async fn dispatch(
    db: &Database,
    service_id: Uuid,
    task: &Funded,
    estimate: &str,
    ask: bool,
) -> sqlx::Result<Value> {
    sqlx::query_scalar(
        "select devart.dispatch_task($1, $2, task_id => $3, lease_token => $4, ask => $5)",
    )
    .bind(service_id)
    .bind(usd(estimate))
    .bind(task.task_id)
    .bind(task.lease_token)
    .bind(ask)
    .fetch_one(&db.owner)
    .await
}

#[tokio::test]
async fn a_claim_sets_the_estimate_aside_and_names_the_hold() -> Result<()> {
    let db = Database::create().await?;
    let (agent, id) = (
        db.agent(&[]).await?,
        service(&db.owner, "model", "10").await?,
    );
    costly_task(&db.owner, "costly", id, "4").await?;
    create(&db.owner, json!({"title": "free"})).await?;
    let claimed = claim_funded(&db.owner, agent.id, 5).await?;
    let titles: Vec<(&str, bool)> = claimed
        .iter()
        .map(|task| (task.title.as_str(), task.hold_id.is_some()))
        .collect();
    assert_eq!(titles, [("costly", true), ("free", false)]);
    assert_eq!(standing(&db.owner, id).await?.held_usd, usd("4"));
    settle(&db.owner, claimed[0].hold_id.expect("a hold"), "3").await?;
    assert_eq!(standing(&db.owner, id).await?.spent_usd, usd("3"));
    let per_attempt: (Uuid, Uuid, i32) = sqlx::query_as(
        "select task_id, agent_id, attempt from devart.charges where kind = 'settle'",
    )
    .fetch_one(&db.owner)
    .await?;
    assert_eq!(per_attempt, (claimed[0].task_id, agent.id, 1));
    audit(&db.owner).await;
    Ok(())
}

#[tokio::test]
async fn a_task_whose_money_is_refused_leaves_the_queue_and_other_work_is_handed_out() -> Result<()>
{
    let db = Database::create().await?;
    let (agent, id) = (
        db.agent(&[]).await?,
        service(&db.owner, "model", "1").await?,
    );
    let mut costly = Vec::new();
    for n in 0..30 {
        costly.push(costly_task(&db.owner, &format!("costly {n}"), id, "2").await?);
    }
    create(&db.owner, json!({"title": "free"})).await?;
    let claimed = claim_funded(&db.owner, agent.id, 1).await?;
    assert_eq!(claimed[0].title, "free", "in the same claim");
    assert_eq!(
        history(&db.owner, costly[0]).await?,
        ["TODO", "AWAITING_APPROVAL"],
        "it was never handed out"
    );
    let (_, detail) = approval_of(&db, costly[0]).await?;
    assert_eq!(
        (
            &detail["service_id"],
            amount(&detail, "needed_usd"),
            &detail["reason"]
        ),
        (&json!(id), usd("2"), &json!("budget exceeded"))
    );
    while !claim_funded(&db.owner, agent.id, 5).await?.is_empty() {}
    let (waiting, attempts): (i64, i64) = sqlx::query_as(
        "select count(*), sum(attempt) from devart.tasks where status = 'AWAITING_APPROVAL'",
    )
    .fetch_one(&db.owner)
    .await?;
    assert!(
        waiting >= 20,
        "a claim does not look at the same tasks for ever: {waiting}"
    );
    assert_eq!(attempts, 0, "an attempt that never started does not count");
    audit(&db.owner).await;
    Ok(())
}

#[tokio::test]
async fn a_started_task_is_funded_or_waits_as_a_claimed_one() -> Result<()> {
    let db = Database::create().await?;
    let (agent, id) = (
        db.agent(&[]).await?,
        service(&db.owner, "model", "3").await?,
    );
    let (first, second) = (
        costly_task(&db.owner, "first", id, "2").await?,
        costly_task(&db.owner, "second", id, "2").await?,
    );
    assert!(start(&db.owner, first, agent.id).await?.is_some());
    assert!(start(&db.owner, second, agent.id).await?.is_none());
    assert_eq!(status(&db.owner, first).await?, "IN_PROGRESS");
    assert_eq!(status(&db.owner, second).await?, "AWAITING_APPROVAL");
    audit(&db.owner).await;
    Ok(())
}

#[tokio::test]
async fn the_money_of_a_finished_failed_or_lost_task_is_free_again() -> Result<()> {
    let db = Database::create().await?;
    let (agent, id) = (
        db.agent(&[]).await?,
        service(&db.owner, "model", "2").await?,
    );
    for ending in ["done", "failed", "lost", "cancelled"] {
        costly_task(&db.owner, ending, id, "2").await?;
        let task = claim_funded(&db.owner, agent.id, 1).await?.remove(0);
        assert_eq!(
            reserve(&db.owner, id, "2").await?["admitted"],
            false,
            "{ending}"
        );
        match ending {
            "done" => drop(complete(&db, &task).await?),
            "failed" => {
                sqlx::query("select devart.report_task_failure($1, $2, 'e', false)")
                    .bind(task.task_id)
                    .bind(task.lease_token)
                    .execute(&db.owner)
                    .await?;
            }
            "lost" => {
                expire_lease(&db.owner, task.task_id).await?;
                db.maintain().await?;
                sqlx::query("select devart.cancel_task($1)")
                    .bind(task.task_id)
                    .execute(&db.owner)
                    .await?;
            }
            _ => {
                sqlx::query("select devart.cancel_task($1)")
                    .bind(task.task_id)
                    .execute(&db.owner)
                    .await?;
            }
        }
        let hold = hold_of(&reserve(&db.owner, id, "2").await?);
        sqlx::query("select devart.release_charge($1)")
            .bind(hold)
            .execute(&db.owner)
            .await?;
        let late = settle(&db.owner, task.hold_id.expect("a hold"), "0.25").await?;
        assert_eq!(late["late"], true, "the truth is still recorded");
        sqlx::query("update devart.service_registry set budget_usd = spent_usd + 2")
            .execute(&db.owner)
            .await?;
    }
    audit(&db.owner).await;
    Ok(())
}

#[tokio::test]
async fn the_hold_of_a_claim_lasts_as_long_as_its_worker_keeps_the_task() -> Result<()> {
    let db = Database::create().await?;
    let (agent, id) = (
        db.agent(&[]).await?,
        service(&db.owner, "model", "2").await?,
    );
    costly_task(&db.owner, "long", id, "2").await?;
    let task = claim_funded(&db.owner, agent.id, 1).await?.remove(0);
    let hold = task.hold_id.expect("a hold");
    crate::support::budget::expire(&db.owner, hold).await?;
    db.maintain().await?;
    assert_eq!(
        reserve(&db.owner, id, "1").await?["admitted"],
        false,
        "it still works on it"
    );
    expire_lease(&db.owner, task.task_id).await?;
    db.maintain().await?;
    assert_eq!(standing(&db.owner, id).await?.held_usd, usd("0"));
    audit(&db.owner).await;
    Ok(())
}

#[tokio::test]
async fn another_agents_budget_has_nothing_to_do_with_a_task_that_this_ones_refuses() -> Result<()>
{
    let db = Database::create().await?;
    let (poor, rich) = (db.agent(&[]).await?, db.agent(&[]).await?);
    let id = service(&db.owner, "model", "100").await?;
    budget(&db.owner, "agent", poor.id, "1").await?;
    let task = costly_task(&db.owner, "costly", id, "2").await?;
    create(&db.owner, json!({"title": "free"})).await?;
    let claimed = claim_funded(&db.owner, poor.id, 2).await?;
    assert_eq!(
        claimed
            .iter()
            .map(|task| task.title.as_str())
            .collect::<Vec<_>>(),
        ["free"]
    );
    assert_eq!(
        status(&db.owner, task).await?,
        "TODO",
        "it waits for an agent that can pay"
    );
    let claimed = claim_funded(&db.owner, rich.id, 2).await?;
    assert_eq!((claimed[0].task_id, claimed[0].attempt), (task, 1));
    audit(&db.owner).await;
    Ok(())
}

#[tokio::test]
async fn an_approved_task_gets_its_money_and_nobody_else_does() -> Result<()> {
    let db = Database::create().await?;
    let (agent, id) = (
        db.agent(&[]).await?,
        service(&db.owner, "model", "1").await?,
    );
    charge(&db.owner, id, "1", None).await?;
    let (other, task) = (
        costly_task(&db.owner, "other", id, "2").await?,
        costly_task(&db.owner, "wanted", id, "3").await?,
    );
    assert!(claim_funded(&db.owner, agent.id, 5).await?.is_empty());
    let (approval, _) = approval_of(&db, task).await?;
    assert_eq!(decide(&db, approval, "approve", None).await?, "APPROVED");
    let now = standing(&db.owner, id).await?;
    assert_eq!(
        (now.budget_usd, now.status.as_str()),
        (Some(usd("4")), "ACTIVE"),
        "raised by what was missing"
    );
    db.maintain().await?;
    assert_eq!(status(&db.owner, other).await?, "AWAITING_APPROVAL");
    assert_eq!(reserve(&db.owner, id, "0.01").await?["admitted"], false);
    let claimed = claim_funded(&db.owner, agent.id, 5).await?;
    assert_eq!((claimed.len(), claimed[0].task_id), (1, task));
    settle(&db.owner, claimed[0].hold_id.expect("a hold"), "3").await?;
    assert_eq!(complete(&db, &claimed[0]).await?, "DONE");
    audit(&db.owner).await;
    Ok(())
}

#[tokio::test]
async fn an_approval_raises_every_limit_that_stands_in_the_way() -> Result<()> {
    let db = Database::create().await?;
    let (agent, id) = (
        db.agent(&[]).await?,
        service(&db.owner, "model", "1").await?,
    );
    let task = costly_task(&db.owner, "t", id, "3").await?;
    let limit = budget(&db.owner, "task", task, "2").await?;
    claim_funded(&db.owner, agent.id, 5).await?;
    let (approval, _) = approval_of(&db, task).await?;
    decide(&db, approval, "approve", None).await?;
    let raised: rust_decimal::Decimal =
        sqlx::query_scalar("select budget_usd from devart.budgets where id = $1")
            .bind(limit)
            .fetch_one(&db.owner)
            .await?;
    assert_eq!(raised, usd("3"));
    assert_eq!(claim_funded(&db.owner, agent.id, 5).await?.len(), 1);
    audit(&db.owner).await;
    Ok(())
}

#[tokio::test]
async fn another_service_can_be_made_to_pay_and_a_rejected_task_is_cancelled() -> Result<()> {
    let db = Database::create().await?;
    let agent = db.agent(&[]).await?;
    let (id, other, poor) = (
        service(&db.owner, "model", "1").await?,
        service(&db.owner, "other", "10").await?,
        service(&db.owner, "poor", "1").await?,
    );
    let (first, second) = (
        costly_task(&db.owner, "first", id, "2").await?,
        costly_task(&db.owner, "second", id, "2").await?,
    );
    claim_funded(&db.owner, agent.id, 5).await?;
    let (approval, _) = approval_of(&db, first).await?;
    let unpayable = decide(&db, approval, "substitute", Some(poor)).await;
    assert_eq!(sqlstate(&unpayable), "55000");
    assert_eq!(
        sqlstate(&decide(&db, approval, "substitute", None).await),
        "22023"
    );
    assert_eq!(
        sqlstate(&decide(&db, approval, "approve", Some(other)).await),
        "22023"
    );
    assert_eq!(
        decide(&db, approval, "substitute", Some(other)).await?,
        "APPROVED"
    );
    let claimed = claim_funded(&db.owner, agent.id, 5).await?;
    assert_eq!((claimed.len(), claimed[0].task_id), (1, first));
    assert_eq!(standing(&db.owner, other).await?.held_usd, usd("2"));
    let (approval, _) = approval_of(&db, second).await?;
    assert_eq!(decide(&db, approval, "reject", None).await?, "REJECTED");
    assert_eq!(status(&db.owner, second).await?, "CANCELLED");
    audit(&db.owner).await;
    Ok(())
}

#[tokio::test]
async fn tasks_go_on_in_order_when_the_budget_comes_back_as_far_as_it_reaches() -> Result<()> {
    let db = Database::create().await?;
    let (agent, id) = (
        db.agent(&[]).await?,
        service(&db.owner, "model", "1").await?,
    );
    charge(&db.owner, id, "1", None).await?;
    let mut tasks = Vec::new();
    for (title, estimate) in [("a", "2"), ("b", "5"), ("c", "1"), ("urgent", "1")] {
        tasks.push(costly_task(&db.owner, title, id, estimate).await?);
    }
    sqlx::query("update devart.tasks set priority = 'CRITICAL' where title = 'urgent'")
        .execute(&db.owner)
        .await?;
    assert!(claim_funded(&db.owner, agent.id, 5).await?.is_empty());
    sqlx::query("select devart.increase_budget($1, 4)")
        .bind(id)
        .execute(&db.owner)
        .await?;
    let mut statuses = Vec::new();
    for task in &tasks {
        statuses.push(status(&db.owner, *task).await?);
    }
    assert_eq!(
        statuses,
        ["TODO", "AWAITING_APPROVAL", "TODO", "TODO"],
        "urgent, a and c fit; b does not"
    );
    let open: i64 =
        sqlx::query_scalar("select count(*) from devart.approvals where status = 'PENDING'")
            .fetch_one(&db.owner)
            .await?;
    assert_eq!(
        open, 1,
        "nothing is asked any more about those that went on"
    );
    assert_eq!(claim_funded(&db.owner, agent.id, 5).await?.len(), 3);
    audit(&db.owner).await;
    Ok(())
}

#[tokio::test]
async fn a_release_an_expiry_a_new_window_and_a_raised_substitute_let_waiting_tasks_go()
-> Result<()> {
    let db = Database::create().await?;
    let agent = db.agent(&[]).await?;
    for way in [
        "release",
        "settle",
        "expiry",
        "window",
        "substitute",
        "edit",
    ] {
        let spare = service(&db.owner, &format!("spare of {way}"), "0").await?;
        let id = service(&db.owner, way, "2").await?;
        sqlx::query("update devart.service_registry set substitute_service_id = $2 where id = $1")
            .bind(id)
            .bind(spare)
            .execute(&db.owner)
            .await?;
        let hold = hold_of(&reserve(&db.owner, id, "2").await?);
        let task = costly_task(&db.owner, way, id, "2").await?;
        claim_funded(&db.owner, agent.id, 5).await?;
        assert_eq!(status(&db.owner, task).await?, "AWAITING_APPROVAL");
        match way {
            "release" => {
                sqlx::query("select devart.release_charge($1)")
                    .bind(hold)
                    .execute(&db.owner)
                    .await?;
            }
            "settle" => drop(settle(&db.owner, hold, "0").await?),
            "expiry" => {
                crate::support::budget::expire(&db.owner, hold).await?;
                db.maintain().await?;
            }
            "window" => {
                crate::support::budget::end_window(&db.owner, id).await?;
                db.maintain().await?;
            }
            "substitute" => {
                sqlx::query("select devart.increase_budget($1, 5)")
                    .bind(spare)
                    .execute(&db.owner)
                    .await?;
            }
            _ => {
                sqlx::query("select devart.update_task($1, '{\"estimated_cost_usd\": 0}')")
                    .bind(task)
                    .execute(&db.owner)
                    .await?;
            }
        }
        assert_eq!(status(&db.owner, task).await?, "TODO", "{way}");
        assert_eq!(
            claim_funded(&db.owner, agent.id, 5).await?.len(),
            1,
            "{way}"
        );
    }
    audit(&db.owner).await;
    Ok(())
}

#[tokio::test]
async fn a_task_whose_dispatch_is_refused_pauses_asks_and_goes_on_when_people_agree() -> Result<()>
{
    let db = Database::create().await?;
    let (agent, id) = (
        db.agent(&[]).await?,
        service(&db.owner, "model", "1").await?,
    );
    create(&db.owner, json!({"title": "t"})).await?;
    let task = claim_funded(&db.owner, agent.id, 1).await?.remove(0);
    let told = dispatch(&db, id, &task, "3", false).await?;
    assert_eq!(
        (
            &told["admitted"],
            status(&db.owner, task.task_id).await?.as_str()
        ),
        (&json!(false), "IN_PROGRESS")
    );
    let refused = dispatch(&db, id, &task, "3", true).await?;
    assert_eq!(
        (&refused["admitted"], &refused["task_status"]),
        (&json!(false), &json!("AWAITING_APPROVAL"))
    );
    assert_eq!(
        sqlstate(&dispatch(&db, id, &task, "3", true).await),
        "55P03",
        "the lease is over"
    );
    let (approval, _) = approval_of(&db, task.task_id).await?;
    assert_eq!(refused["approval_id"], json!(approval));
    decide(&db, approval, "approve", None).await?;
    let again = claim_funded(&db.owner, agent.id, 1).await?.remove(0);
    assert_eq!((again.task_id, again.attempt), (task.task_id, 2));
    let admitted = dispatch(&db, id, &again, "3", true).await?;
    let hold = hold_of(&admitted);
    assert_eq!(
        standing(&db.owner, id).await?.held_usd,
        usd("3"),
        "what was granted is not held twice"
    );
    settle(&db.owner, hold, "3").await?;
    assert_eq!(complete(&db, &again).await?, "DONE");
    assert_eq!(
        history(&db.owner, task.task_id).await?,
        [
            "TODO",
            "IN_PROGRESS",
            "AWAITING_APPROVAL",
            "TODO",
            "IN_PROGRESS",
            "DONE"
        ]
    );
    audit(&db.owner).await;
    Ok(())
}

#[tokio::test]
async fn an_unknown_price_does_not_make_a_task_wait() -> Result<()> {
    let db = Database::create().await?;
    let (agent, id) = (
        db.agent(&[]).await?,
        service(&db.owner, "model", "1").await?,
    );
    create(&db.owner, json!({"title": "t"})).await?;
    let task = claim_funded(&db.owner, agent.id, 1).await?.remove(0);
    let refused: Value = sqlx::query_scalar(
        "select devart.dispatch_task($1, usage => '{\"token\": 5}', task_id => $2, lease_token => $3)",
    )
    .bind(id)
    .bind(task.task_id)
    .bind(task.lease_token)
    .fetch_one(&db.owner)
    .await?;
    assert_eq!(refused["code"], "price_unknown");
    assert_eq!(status(&db.owner, task.task_id).await?, "IN_PROGRESS");
    audit(&db.owner).await;
    Ok(())
}

#[tokio::test]
async fn a_waiting_task_that_is_cancelled_or_deleted_asks_nothing_any_more() -> Result<()> {
    let db = Database::create().await?;
    let (agent, id) = (
        db.agent(&[]).await?,
        service(&db.owner, "model", "1").await?,
    );
    let tasks = [
        costly_task(&db.owner, "cancelled", id, "2").await?,
        costly_task(&db.owner, "deleted", id, "2").await?,
    ];
    claim_funded(&db.owner, agent.id, 5).await?;
    let (approval, _) = approval_of(&db, tasks[0]).await?;
    for (function, task) in ["cancel_task", "delete_task"].iter().zip(tasks) {
        let sql = format!("select devart.{function}('{task}')");
        sqlx::query(sqlx::AssertSqlSafe(sql))
            .execute(&db.owner)
            .await?;
    }
    let open: i64 =
        sqlx::query_scalar("select count(*) from devart.approvals where status = 'PENDING'")
            .fetch_one(&db.owner)
            .await?;
    assert_eq!(open, 0);
    assert!(refusal(decide(&db, approval, "approve", None).await).contains("decided"));
    audit(&db.owner).await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_claimers_never_hold_more_than_the_budgets_have() -> Result<()> {
    let db = Database::create().await?;
    let mut agents = Vec::new();
    for _ in 0..16 {
        agents.push(db.agent(&[]).await?);
    }
    let mut services = Vec::new();
    for n in 0..4 {
        services.push(service(&db.owner, &format!("model {n}"), "1").await?);
    }
    sqlx::query(
        "insert into devart.tasks (title, service_id, estimated_cost_usd)
         select 't', ($1::uuid[])[1 + n % 4], 0.03 from generate_series(1, 400) n",
    )
    .bind(&services)
    .execute(&db.owner)
    .await?;
    create_many(&db.owner, 100).await?;
    let work = async |agent: Uuid| -> Result<Vec<Funded>> {
        let mut session = db.session().await?;
        let mut all = Vec::new();
        loop {
            let claimed = claim_funded(&mut session, agent, 3).await?;
            if claimed.is_empty() {
                return Ok(all);
            }
            all.extend(claimed);
        }
    };
    let claimed = futures::future::try_join_all(agents.iter().map(|agent| work(agent.id))).await?;
    let funded = claimed
        .iter()
        .flatten()
        .filter(|task| task.hold_id.is_some())
        .count();
    let free = claimed.iter().flatten().count() - funded;
    assert_eq!(free, 100, "work that costs nothing is never held up");
    for id in services {
        let now = standing(&db.owner, id).await?;
        assert!(now.held_usd <= usd("1"), "{now:?}");
        assert!(now.held_usd >= usd("0.9"), "the budget is used: {now:?}");
    }
    audit(&db.owner).await;
    Ok(())
}
