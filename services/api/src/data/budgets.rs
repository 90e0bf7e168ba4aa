//! Limits beside those of services.

use sqlx::types::Json;
use sqlx::{PgConnection, Postgres, QueryBuilder};
use uuid::Uuid;

use super::page::{Limit, Listed, Page, page};
use crate::model::budget::{Budget, BudgetChanges, BudgetFilter, NewBudget};

macro_rules! budget_columns {
    () => {
        "id, scope::text as scope, scope_id, budget_usd, period::text as period, time_zone,
         hard_limit, alert_thresholds, spent_usd, held_usd, window_start,
         nullif(window_end, 'infinity') as window_end, created_at"
    };
}

const CREATE: &str = concat!(
    "insert into devart.budgets (
        scope, scope_id, budget_usd, period, time_zone, hard_limit, alert_thresholds)
     values ($1::text::devart.budget_scope, $2, $3, $4::text::devart.budget_period, $5, $6, $7)
     returning ",
    budget_columns!()
);

const UPDATE: &str = concat!(
    "select ",
    budget_columns!(),
    " from devart.update_budget($1, $2)"
);

impl Listed for Budget {
    type Place = Uuid;

    fn place(&self) -> Uuid {
        self.id
    }
}

/// The budgets the caller may see, newest first.
pub async fn list(
    db: &mut PgConnection,
    filter: &BudgetFilter,
    limit: Limit,
) -> sqlx::Result<Page<Budget>> {
    let mut query = QueryBuilder::<Postgres>::new(concat!(
        "select ",
        budget_columns!(),
        " from devart.budgets where true"
    ));
    if let Some(scope) = filter.scope {
        query
            .push(" and scope = ")
            .push_bind(scope.as_str())
            .push("::text::devart.budget_scope");
    }
    if let Some(scope_id) = filter.scope_id {
        query.push(" and scope_id = ").push_bind(scope_id);
    }
    page(db, query, filter.cursor, limit).await
}

/// Creates a budget as the caller; the policy admits admins.
pub async fn create(db: &mut PgConnection, budget: &NewBudget) -> sqlx::Result<Budget> {
    sqlx::query_as(CREATE)
        .bind(budget.scope.as_str())
        .bind(budget.scope_id)
        .bind(budget.budget_usd)
        .bind(budget.period.as_str())
        .bind(&budget.time_zone)
        .bind(budget.hard_limit)
        .bind(&budget.alert_thresholds)
        .fetch_one(db)
        .await
}

/// Edits a budget.
pub async fn update(
    db: &mut PgConnection,
    id: Uuid,
    changes: &BudgetChanges,
) -> sqlx::Result<Budget> {
    sqlx::query_as(UPDATE)
        .bind(id)
        .bind(Json(changes))
        .fetch_one(db)
        .await
}

/// Ends a budget.
pub async fn delete(db: &mut PgConnection, id: Uuid) -> sqlx::Result<()> {
    sqlx::query("select devart.delete_budget($1)")
        .bind(id)
        .execute(db)
        .await
        .map(drop)
}
