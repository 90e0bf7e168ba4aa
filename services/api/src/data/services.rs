//! Services that cost money.

use devart_kit::db::AsCaller;
use sqlx::types::Json;
use sqlx::{PgConnection, Postgres, QueryBuilder};
use uuid::Uuid;

use super::page::{Limit, Listed, Page, page};
use crate::model::service::{
    BudgetIncrease, ChargeOutcome, Deferral, NewCharge, NewService, NewServicePrice, Service,
    ServiceChanges, ServiceFilter, ServicePrice, ServiceStatus,
};

macro_rules! service_columns {
    () => {
        "id, name, description, status::text as status, budget_usd, period::text as period,
         time_zone, spent_usd, held_usd, substitute_service_id, alert_thresholds,
         hard_limit, created_at,
         case when deferred_until > now() then deferred_until end as deferred_until,
         case when deferred_until > now() then deferred_reason end as deferred_reason,
         estimate_floor_usd"
    };
}

const CREATE: &str = concat!(
    "insert into devart.service_registry (name, description, budget_usd, period, time_zone,
        substitute_service_id, alert_thresholds, hard_limit)
     values ($1, $2, $3, $4::text::devart.budget_period, $5, $6, $7, $8)
     returning ",
    service_columns!()
);

const UPDATE: &str = concat!(
    "select ",
    service_columns!(),
    " from devart.update_service($1, $2)"
);

const INCREASE_BUDGET: &str = concat!(
    "select ",
    service_columns!(),
    " from devart.increase_budget(service_id => $1, amount_usd => $2, budget_usd => $3)"
);

const DEFER: &str = concat!(
    "select ",
    service_columns!(),
    " from devart.defer_service(
        service_id => $1, until => coalesce($2, clock_timestamp() + make_interval(secs => $3)),
        reason => $4)"
);

macro_rules! price_columns {
    () => {
        "id, service_id, unit, usd_per_unit, effective_from, effective_to, created_by, created_at,
         above_units, usd_per_unit_above"
    };
}

const SET_PRICE: &str = concat!(
    "select ",
    price_columns!(),
    " from devart.set_service_price(
        service_id => $1, unit => $2, usd_per_unit => $3, effective_from => $4,
        above_units => $5, usd_per_unit_above => $6)"
);

const CHARGE: &str = "
    select devart_private.charge_service_as(
        $1, $2, service_id => $3, amount_usd => $4, task_id => $5, idempotency_key => $6)";

impl Listed for Service {
    type Place = Uuid;

    fn place(&self) -> Uuid {
        self.id
    }
}

impl Listed for ServiceStatus {
    type Place = Uuid;

    fn place(&self) -> Uuid {
        self.id
    }
}

/// The services the caller may see, newest first.
pub async fn list(
    db: &mut PgConnection,
    filter: &ServiceFilter,
    limit: Limit,
) -> sqlx::Result<Page<Service>> {
    let columns = concat!(
        "select ",
        service_columns!(),
        " from devart.service_registry where true"
    );
    page(db, QueryBuilder::new(columns), filter.cursor, limit).await
}

/// The services with what is left of their budgets, newest first.
pub async fn status(
    db: &mut PgConnection,
    filter: &ServiceFilter,
    limit: Limit,
) -> sqlx::Result<Page<ServiceStatus>> {
    let columns = concat!(
        "select ",
        service_columns!(),
        ", remaining_usd, used_percent, substitute_name, window_start, window_end
          from (
              select v.*, r.deferred_reason, r.estimate_floor_usd from devart.service_status v
              join devart.service_registry r using (id)
          ) s where true"
    );
    page(db, QueryBuilder::new(columns), filter.cursor, limit).await
}

/// Creates a service as the caller; the policy admits admins.
pub async fn create(db: &mut PgConnection, service: &NewService) -> sqlx::Result<Service> {
    sqlx::query_as(CREATE)
        .bind(&service.name)
        .bind(&service.description)
        .bind(service.budget_usd)
        .bind(service.period.as_str())
        .bind(&service.time_zone)
        .bind(service.substitute_service_id)
        .bind(&service.alert_thresholds)
        .bind(service.hard_limit)
        .fetch_one(db)
        .await
}

/// Edits a service.
pub async fn update(
    db: &mut PgConnection,
    id: Uuid,
    changes: &ServiceChanges,
) -> sqlx::Result<Service> {
    sqlx::query_as(UPDATE)
        .bind(id)
        .bind(Json(changes))
        .fetch_one(db)
        .await
}

/// Raises a service's budget.
pub async fn increase_budget(
    db: &mut PgConnection,
    id: Uuid,
    increase: &BudgetIncrease,
) -> sqlx::Result<Service> {
    sqlx::query_as(INCREASE_BUDGET)
        .bind(id)
        .bind(increase.amount_usd)
        .bind(increase.budget_usd)
        .fetch_one(db)
        .await
}

/// Puts a service off until its provider serves again.
pub async fn defer(db: &mut PgConnection, id: Uuid, deferral: &Deferral) -> sqlx::Result<Service> {
    sqlx::query_as(DEFER)
        .bind(id)
        .bind(deferral.until)
        .bind(deferral.seconds)
        .bind(&deferral.reason)
        .fetch_one(db)
        .await
}

impl Listed for ServicePrice {
    type Place = Uuid;

    fn place(&self) -> Uuid {
        self.id
    }
}

/// What a service's units cost, cost before and will cost, newest first.
pub async fn prices(
    db: &mut PgConnection,
    service_id: Uuid,
    filter: &ServiceFilter,
    limit: Limit,
) -> sqlx::Result<Page<ServicePrice>> {
    let mut query = QueryBuilder::<Postgres>::new(concat!(
        "select ",
        price_columns!(),
        " from devart.service_prices where service_id = "
    ));
    query.push_bind(service_id);
    page(db, query, filter.cursor, limit).await
}

/// Sets a price.
pub async fn set_price(
    db: &mut PgConnection,
    service_id: Uuid,
    price: &NewServicePrice,
) -> sqlx::Result<ServicePrice> {
    sqlx::query_as(SET_PRICE)
        .bind(service_id)
        .bind(&price.unit)
        .bind(price.usd_per_unit)
        .bind(price.effective_from)
        .bind(price.above_units)
        .bind(price.usd_per_unit_above)
        .fetch_one(db)
        .await
}

/// Charges a service, or a substitute, for the calling agent. A refusal is a result.
pub async fn charge(
    db: AsCaller<'_>,
    service_id: Uuid,
    charge: &NewCharge,
) -> sqlx::Result<ChargeOutcome> {
    let Json(outcome) = sqlx::query_scalar(CHARGE)
        .bind(db.caller.role())
        .bind(db.caller.claims())
        .bind(service_id)
        .bind(charge.amount_usd)
        .bind(charge.task_id)
        .bind(&charge.idempotency_key)
        .fetch_one(db.connection)
        .await?;
    Ok(outcome)
}
