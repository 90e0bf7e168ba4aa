//! What waits for a person.

use sqlx::{PgConnection, Postgres, QueryBuilder};
use uuid::Uuid;

use crate::http::page::Limit;
use crate::model::approval::{Approval, ApprovalFilter, Decision};

macro_rules! approval_columns {
    () => {
        "id, subject::text as subject, subject_id, digest, quorum, status::text as status, requested_by,
         detail, expires_at, created_at, decided_at"
    };
}

const DECIDE: &str = concat!(
    "select ",
    approval_columns!(),
    " from devart.decide_approval($1, $2, $3, $4)"
);

/// The approvals the caller may see, newest first.
pub async fn list(
    db: &mut PgConnection,
    filter: &ApprovalFilter,
    limit: Limit,
) -> sqlx::Result<Vec<Approval>> {
    let columns = concat!(
        "select ",
        approval_columns!(),
        " from devart.approvals where true"
    );
    let mut query = QueryBuilder::<Postgres>::new(columns);
    if let Some(status) = filter.status {
        query
            .push(" and status = ")
            .push_bind(status.as_str())
            .push("::text::devart.approval_status");
    }
    if let Some(cursor) = filter.cursor {
        query.push(" and id < ").push_bind(cursor);
    }
    query
        .push(" order by id desc limit ")
        .push_bind(limit.rows());
    query.build_query_as().fetch_all(db).await
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
