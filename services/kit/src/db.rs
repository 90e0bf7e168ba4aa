//! The door to Postgres: one pool per process, one role per transaction.

mod caller;
mod one_trip;
mod suspicion;
mod transaction;

use std::time::Duration;

use devart_core::libpq_url;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{Connection, PgConnection, PgPool};
use tokio_util::sync::CancellationToken;

use crate::config::PoolArgs;
use crate::listener::Listener;

pub use caller::{AsCaller, Caller, Role};
pub use one_trip::OneTrip;
pub use transaction::{Transaction, begin, begin_as};

/// A connection idle for longer is tried before it is handed out. Busy ones are not, unless another
/// was found dead meanwhile: that would be one more round trip for every request, and [`retrying`]
/// and [`OneTrip`] cope with a dead one.
const TEST_AFTER_IDLE: Duration = Duration::from_secs(1);

/// Postgres ends a transaction that its process has forgotten, so that it cannot hold locks for
/// ever.
const FORGOTTEN_TRANSACTION_TIMEOUT: &str = "60s";

/// Connection options for `url`, which may be written in any way that libpq reads, with the limits
/// every service works under.
///
/// # Errors
/// When the URL is not a Postgres URL.
pub fn connect_options(
    url: &str,
    application: &str,
    args: &PoolArgs,
) -> Result<PgConnectOptions, sqlx::Error> {
    let statement_timeout = format!("{}ms", args.statement_timeout.as_millis());
    let url = libpq_url::rewrite(url).map_err(|error| sqlx::Error::Configuration(error.into()))?;
    Ok(url
        .parse::<PgConnectOptions>()?
        .application_name(application)
        .options([
            ("statement_timeout", statement_timeout.as_str()),
            (
                "idle_in_transaction_session_timeout",
                FORGOTTEN_TRANSACTION_TIMEOUT,
            ),
        ]))
}

/// A pool that connects on first use, so that a service starts while Postgres is still down.
pub fn lazy_pool(options: PgConnectOptions, args: &PoolArgs) -> PgPool {
    PgPoolOptions::new()
        .max_connections(args.max_connections)
        .acquire_timeout(args.acquire_timeout)
        .test_before_acquire(false)
        .before_acquire(|connection, meta| {
            Box::pin(async move {
                if meta.idle_for > TEST_AFTER_IDLE || suspicion::falls_on(meta.idle_for) {
                    connection
                        .ping()
                        .await
                        .inspect_err(|_| suspicion::raise())?;
                }
                Ok(true)
            })
        })
        .connect_lazy_with(options)
}

/// The database as a sidecar knows it: connections to call functions with, and one to be woken by.
#[derive(Debug, Clone)]
pub struct Database {
    /// For calls.
    pub pool: PgPool,
    /// For wake-ups.
    pub listener: Listener,
}

impl Database {
    /// Opens both on first use, so that a service starts while Postgres is still down.
    pub fn open(options: PgConnectOptions, args: &PoolArgs, shutdown: &CancellationToken) -> Self {
        Self {
            listener: Listener::spawn(options.clone(), shutdown.clone()),
            pool: lazy_pool(options, args),
        }
    }
}

/// Does what has no effect until it succeeds (a read, a BEGIN), again if the connection was dead.
///
/// After a restart of Postgres every pooled connection is dead, so each of them may be met once.
/// Waiting for a server that is still away is the pool's business and ends as
/// [`sqlx::Error::PoolTimedOut`].
///
/// # Errors
/// Those of `attempt`.
pub async fn retrying<T, F>(pool: &PgPool, mut attempt: impl FnMut() -> F) -> Result<T, sqlx::Error>
where
    F: Future<Output = Result<T, sqlx::Error>>,
{
    let mut attempts_left = pool.options().get_max_connections();
    loop {
        match attempt().await {
            Err(error) if is_connection_error(&error) => {
                suspicion::raise();
                if attempts_left == 0 {
                    return Err(error);
                }
                attempts_left -= 1;
            }
            result => return result,
        }
    }
}

/// Takes on the caller's role and claims until the transaction ends or [`resign`] is called.
///
/// # Errors
/// When the database refuses or is gone.
pub async fn assume(connection: &mut PgConnection, caller: &Caller) -> Result<(), sqlx::Error> {
    sqlx::query("select set_config('role', $1, true), set_config('request.jwt.claims', $2, true)")
        .bind(caller.role())
        .bind(caller.claims())
        .execute(connection)
        .await?;
    Ok(())
}

/// Returns to the login role within the same transaction.
///
/// # Errors
/// When the database is gone.
pub async fn resign(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::query(
        "select set_config('role', 'none', true), set_config('request.jwt.claims', '', true)",
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Whether an error says that the connection is gone, rather than that a statement is wrong.
pub fn is_connection_error(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_) => true,
        sqlx::Error::Database(error) => error
            .code()
            .is_some_and(|code| code.starts_with("57P") || code.starts_with("08")),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_behind_a_unix_socket_can_be_named_as_libpq_names_it() {
        let args = PoolArgs {
            max_connections: 1,
            acquire_timeout: Duration::from_secs(1),
            statement_timeout: Duration::from_secs(1),
        };
        let url = "postgresql://api@/devart?host=/run/postgresql";
        let options = connect_options(url, "test", &args).expect("options");
        assert_eq!(
            options.get_socket().map(|it| it.as_path()),
            Some(std::path::Path::new("/run/postgresql"))
        );
        assert_eq!(options.get_username(), "api");
        assert!(connect_options("mysql://host/db", "test", &args).is_err());
    }

    #[test]
    fn a_broken_connection_is_told_from_a_wrong_statement() {
        let reset = std::io::Error::from(std::io::ErrorKind::ConnectionReset);
        assert!(is_connection_error(&sqlx::Error::Io(reset)));
        assert!(!is_connection_error(&sqlx::Error::RowNotFound));
    }
}
