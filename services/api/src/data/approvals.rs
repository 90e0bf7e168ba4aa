//! What waits for a person.

use sqlx::{PgConnection, Postgres, QueryBuilder};
use uuid::Uuid;

use super::page::{Limit, Listed, Page, page};
use crate::model::approval::{Approval, ApprovalFilter, Decision};

macro_rules! approval_columns {
    () => {
        "id, subject::text as subject, subject_id, digest, quorum, status::text as status,
         requested_by, devart.readable_json(detail) as detail, expires_at, created_at, decided_at"
    };
}

const DECIDE: &str = concat!(
    "select ",
    approval_columns!(),
    " from devart.decide_approval($1, $2, $3, $4)"
);

impl Listed for Approval {
    type Place = Uuid;

    fn place(&self) -> Uuid {
        self.id
    }
}

/// The approvals the caller may see, newest first.
pub async fn list(
    db: &mut PgConnection,
    filter: &ApprovalFilter,
    limit: Limit,
) -> sqlx::Result<Page<Approval>> {
    let columns = concat!(
        "select ",
        approval_columns!(),
        " from devart.approvals where true"
    );
    let mut query = QueryBuilder::<Postgres>::new(columns);
    if let Some(status) = filter.status {
        // A policy keeps the filter from its index (sql/idempotent/425_approval_lists.sql).
        query
            .push(" and id = any (array(select f.id from devart.find_approvals(status => ")
            .push_bind(status.as_str())
            .push("::text::devart.approval_status, before => ")
            .push_bind(filter.cursor)
            .push(", max_rows => ")
            .push_bind(limit.rows() as i32)
            .push(") as f (id)))");
    }
    page(db, query, filter.cursor, limit).await
}

/// Gives the calling person's vote.
pub async fn decide(
    db: &mut PgConnection,
    id: Uuid,
    decision: &Decision,
) -> sqlx::Result<Approval> {
    sqlx::query_as(DECIDE)
        .bind(id)
        .bind(decision.decision.as_str())
        .bind(&decision.comment)
        .bind(decision.service_id)
        .fetch_one(db)
        .await
}
