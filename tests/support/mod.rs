//! What the tests stand on. Nothing here knows a test.
//!
//! | where | what |
//! |---|---|
//! | `../servers/` | a library, for the bench too: Postgres clusters, RabbitMQ nodes, certificates, waiting |
//! | [`cluster`] [`database`] | the servers that tests share, and a migrated database for each test |
//! | [`caller`] | who calls: claims and tokens of people and agents |
//! | [`queue`] [`budget`] [`outbox_rows`] | tasks, money and messages, by SQL |
//! | [`outbox`] | outbox workers in this process and as a process |
//! | [`api`] [`bridge`] [`telegram`] | our services as processes; [`program`] finds and stops them |
//! | [`http`] [`tls`] | a client, and TLS in front of a server |
//! | [`process_log`] | what a program wrote, for who sees it fail |
//! | [`still_works`] | whether all is as it should be after something odd |
//! | [`broker`] [`own_logins`] | what an agent sees of RabbitMQ; a broker that asks the API whom to let in |
//! | [`github`] | signed deliveries |
//! | [`pooler`] | PgBouncer |
//! | [`grafana`] [`promql`] | dashboards and their queries |
//! | [`snapshot`] | a database's catalog and rows, to compare |
//! | [`wait`] | waiting for a condition, with a limit and its name |

pub mod api;
pub mod bridge;
pub mod broker;
pub mod budget;
pub mod caller;
pub mod cluster;
pub mod database;
pub mod github;
pub mod grafana;
pub mod http;
pub mod outbox;
pub mod outbox_rows;
pub mod own_logins;
pub mod pooler;
pub mod process_log;
pub mod program;
pub mod promql;
pub mod queue;
pub mod snapshot;
pub mod still_works;
pub mod telegram;
pub mod tls;

pub use caller::Caller;
pub use database::{Agent, Database};
pub use devart_tests::wait;

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
