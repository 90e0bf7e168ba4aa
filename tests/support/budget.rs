//! Money, by SQL.

use std::panic::Location;
use std::str::FromStr;

use rust_decimal::Decimal;
use serde_json::{Value, json};
use sqlx::{PgExecutor, PgPool, Result};
use uuid::Uuid;

/// A service with a hard limit in US dollars.
pub async fn service(executor: impl PgExecutor<'_>, name: &str, budget: &str) -> Result<Uuid> {
    service_with(
        executor,
        json!({"name": name, "budget_usd": number(budget)}),
    )
    .await
}

/// A service from any of its columns.
pub async fn service_with(executor: impl PgExecutor<'_>, columns: Value) -> Result<Uuid> {
    sqlx::query_scalar(
        "insert into devart.service_registry
            (name, budget_usd, substitute_service_id, period, time_zone, hard_limit, alert_thresholds)
         select n.name, n.budget_usd, n.substitute_service_id, coalesce(n.period, 'none'), coalesce(n.time_zone, 'UTC'),
            coalesce(n.hard_limit, true), coalesce(n.alert_thresholds, '{50,80,100}')
         from jsonb_populate_record(null::devart.service_registry, $1) n
         returning id",
    )
    .bind(columns)
    .fetch_one(executor)
    .await
}

/// A hard limit of another scope in US dollars, forever.
pub async fn budget(
    executor: impl PgExecutor<'_>,
    scope: &str,
    scope_id: Uuid,
    limit: &str,
) -> Result<Uuid> {
    sqlx::query_scalar(
        "insert into devart.budgets (scope, scope_id, budget_usd)
         values ($1::devart.budget_scope, $2, $3::numeric) returning id",
    )
    .bind(scope)
    .bind(scope_id)
    .bind(usd(limit))
    .fetch_one(executor)
    .await
}

/// `charge_service` by an operator.
pub async fn charge(
    executor: impl PgExecutor<'_>,
    service_id: Uuid,
    amount: &str,
    key: Option<&str>,
) -> Result<Value> {
    sqlx::query_scalar("select devart.charge_service($1, $2, null, $3)")
        .bind(service_id)
        .bind(usd(amount))
        .bind(key)
        .fetch_one(executor)
        .await
}

/// `reserve_charge` from any of its arguments but `ttl`.
pub async fn reserve_with(
    executor: impl PgExecutor<'_>,
    service_id: Uuid,
    arguments: Value,
) -> Result<Value> {
    sqlx::query_scalar(
        "select devart.reserve_charge($1, ($2 ->> 'estimate_usd')::numeric, $2 -> 'usage', ($2 ->> 'task_id')::uuid,
            ($2 ->> 'lease_token')::uuid, $2 ->> 'idempotency_key')",
    )
    .bind(service_id)
    .bind(arguments)
    .fetch_one(executor)
    .await
}

/// `reserve_charge` of an estimate by an operator.
pub async fn reserve(
    executor: impl PgExecutor<'_>,
    service_id: Uuid,
    estimate: &str,
) -> Result<Value> {
    reserve_with(
        executor,
        service_id,
        json!({"estimate_usd": number(estimate)}),
    )
    .await
}

/// `reserve_charge` of an estimate for a call that goes out later, by an operator.
pub async fn reserve_undispatched(
    executor: impl PgExecutor<'_>,
    service_id: Uuid,
    estimate: &str,
) -> Result<Value> {
    sqlx::query_scalar("select devart.reserve_charge($1, $2, dispatched => false)")
        .bind(service_id)
        .bind(usd(estimate))
        .fetch_one(executor)
        .await
}

/// `mark_dispatched`.
pub async fn mark_dispatched(executor: impl PgExecutor<'_>, hold_id: Uuid) -> Result<bool> {
    sqlx::query_scalar("select devart.mark_dispatched($1)")
        .bind(hold_id)
        .fetch_one(executor)
        .await
}

/// `extend_charge` by dollars.
pub async fn extend(executor: impl PgExecutor<'_>, hold_id: Uuid, more: &str) -> Result<Value> {
    sqlx::query_scalar("select devart.extend_charge($1, $2)")
        .bind(hold_id)
        .bind(usd(more))
        .fetch_one(executor)
        .await
}

/// `correct_charge` of what was settled out of a hold.
pub async fn correct(executor: impl PgExecutor<'_>, hold_id: Uuid, amount: &str) -> Result<Value> {
    sqlx::query_scalar(
        "select devart.correct_charge(c.id, $2, 'a test')
         from devart.charges c where c.hold_id = $1 and c.kind = 'settle'",
    )
    .bind(hold_id)
    .bind(usd(amount))
    .fetch_one(executor)
    .await
}

/// The hold of a reservation that must have been admitted.
#[track_caller]
pub fn hold_of(answer: &Value) -> Uuid {
    assert_eq!(answer["admitted"], true, "{answer}");
    answer["hold_id"]
        .as_str()
        .and_then(|id| id.parse().ok())
        .expect("a hold")
}

/// `settle_charge` with an amount.
pub async fn settle(executor: impl PgExecutor<'_>, hold_id: Uuid, amount: &str) -> Result<Value> {
    sqlx::query_scalar("select devart.settle_charge($1, $2)")
        .bind(hold_id)
        .bind(usd(amount))
        .fetch_one(executor)
        .await
}

/// `release_charge`.
pub async fn release(executor: impl PgExecutor<'_>, hold_id: Uuid) -> Result<bool> {
    sqlx::query_scalar("select devart.release_charge($1)")
        .bind(hold_id)
        .fetch_one(executor)
        .await
}

/// Lets a hold's time be up, without releasing it.
pub async fn expire(executor: impl PgExecutor<'_>, hold_id: Uuid) -> Result<()> {
    sqlx::query("update devart.holds set expires_at = now() - interval '1 second' where id = $1")
        .bind(hold_id)
        .execute(executor)
        .await
        .map(drop)
}

/// Lets the open window of a service end now, as if midnight had passed.
pub async fn end_window(executor: impl PgExecutor<'_>, service_id: Uuid) -> Result<()> {
    sqlx::query(
        "update devart.service_registry set window_end = clock_timestamp() - interval '1 microsecond' where id = $1",
    )
    .bind(service_id)
    .execute(executor)
    .await
    .map(drop)
}

/// How a service stands.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct Standing {
    pub status: String,
    pub budget_usd: Option<Decimal>,
    pub spent_usd: Decimal,
    pub held_usd: Decimal,
}

/// How a service stands.
pub async fn standing(executor: impl PgExecutor<'_>, service_id: Uuid) -> Result<Standing> {
    sqlx::query_as(
        "select status::text, budget_usd, spent_usd, held_usd from devart.service_registry where id = $1",
    )
    .bind(service_id)
    .fetch_one(executor)
    .await
}

/// Spent and held of a budget of another scope.
pub async fn used(executor: impl PgExecutor<'_>, budget_id: Uuid) -> Result<(Decimal, Decimal)> {
    sqlx::query_as("select spent_usd, held_usd from devart.budgets where id = $1")
        .bind(budget_id)
        .fetch_one(executor)
        .await
}

/// Fails unless ledger, holds and windows agree, for every scope. Belongs to the end of every test that touches money.
#[track_caller]
pub fn audit(pool: &PgPool) -> impl Future<Output = ()> {
    let caller = Location::caller();
    async move {
        let broken: Vec<Value> =
            sqlx::query_scalar("select to_jsonb(a) from devart_private.audit_budgets() a")
                .fetch_all(pool)
                .await
                .expect("the audit runs");
        assert!(broken.is_empty(), "{caller}: the audit found {broken:#?}");
    }
}

/// The payloads of alerts that were written, oldest first.
pub async fn alerts(executor: impl PgExecutor<'_>) -> Result<Vec<Value>> {
    sqlx::query_scalar(
        "select payload from devart_private.outbox where topic = 'telegram.alert' order by id",
    )
    .fetch_all(executor)
    .await
}

/// A task that costs money, ready to be claimed.
pub async fn costly_task(
    executor: impl PgExecutor<'_>,
    title: &str,
    service_id: Uuid,
    estimate: &str,
) -> Result<Uuid> {
    sqlx::query_scalar(
        "insert into devart.tasks (title, service_id, estimated_cost_usd) values ($1, $2, $3) returning id",
    )
    .bind(title)
    .bind(service_id)
    .bind(usd(estimate))
    .fetch_one(executor)
    .await
}

/// A claimed task and the hold of its money.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct Funded {
    pub task_id: Uuid,
    pub title: String,
    pub attempt: i32,
    pub lease_token: Uuid,
    pub hold_id: Option<Uuid>,
}

/// Claims up to so many tasks.
pub async fn claim_funded(
    executor: impl PgExecutor<'_>,
    agent_id: Uuid,
    max_tasks: i32,
) -> Result<Vec<Funded>> {
    sqlx::query_as("select * from devart.claim_tasks($1, $2)")
        .bind(agent_id)
        .bind(max_tasks)
        .fetch_all(executor)
        .await
}

/// An amount of money.
pub fn usd(text: &str) -> Decimal {
    Decimal::from_str(text).expect("an amount of money")
}

/// A JSON number with all of its digits.
pub fn number(text: &str) -> Value {
    serde_json::from_str(text).expect("a number")
}

/// The amount in an answer.
#[track_caller]
pub fn amount(answer: &Value, member: &str) -> Decimal {
    usd(&answer[member].to_string())
}
