//! What the tests stand on: a shared cluster, a database per test, callers, the API as a process.

pub mod api;
pub mod bridge;
pub mod broker;
pub mod budget;
pub mod caller;
pub mod certificate;
pub mod cluster;
pub mod database;
pub mod grafana;
pub mod http;
pub mod outbox;
pub mod outbox_rows;
pub mod program;
pub mod promql;
pub mod queue;
pub mod snapshot;
pub mod telegram;
pub mod tls;
pub mod wait;

pub use caller::Caller;
pub use database::{Agent, Database};

use sqlx::PgConnection;

/// The SQLSTATE of a refusal, or "ok".
pub fn sqlstate<T>(outcome: &sqlx::Result<T>) -> String {
    match outcome {
        Ok(_) => "ok".to_owned(),
        Err(sqlx::Error::Database(error)) => error.code().unwrap_or_default().into_owned(),
        Err(error) => panic!("neither a result nor a refusal of the database: {error}"),
    }
}

/// The text of a refusal by the database.
pub fn refusal<T>(outcome: sqlx::Result<T>) -> String {
    match outcome {
        Ok(_) => panic!("it was not refused"),
        Err(sqlx::Error::Database(error)) => error.message().to_owned(),
        Err(error) => panic!("not a refusal of the database: {error}"),
    }
}

/// Runs SQL whose text was put together by the test.
pub async fn run_sql(connection: &mut PgConnection, sql: String) -> sqlx::Result<()> {
    sqlx::raw_sql(sqlx::AssertSqlSafe(sql))
        .execute(connection)
        .await
        .map(drop)
}
