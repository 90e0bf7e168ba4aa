//! The door to Postgres: one pool per process, one role per transaction.

mod caller;
mod one_trip;
mod patience;
mod pulse;
mod suspicion;
mod transaction;

use std::time::Duration;

use devart_core::libpq_url;
use secrecy::ExposeSecret;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{Connection, PgConnection, PgPool};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::config::{PoolArgs, Pooler};
use crate::listener::Listener;

pub use caller::{AsCaller, Caller, Role};
pub use one_trip::OneTrip;
use patience::Patience;
pub use pulse::{Asking, Pulse};
pub use transaction::{Transaction, begin, begin_as};

/// A connection idle for longer is tried before it is handed out. Busy ones are not, unless another
/// was found dead meanwhile: that would be one more round trip for every request, and [`retrying`]
/// and [`OneTrip`] cope with a dead one.
const TEST_AFTER_IDLE: Duration = Duration::from_secs(1);

/// How long the answer to that may take. A network that was cut says nothing, so a pool of silent
/// connections would cost a whole `acquire_timeout` for each of them.
const TEST_TIMEOUT: Duration = Duration::from_secs(2);

/// Connection options for `url`, which may be written in any way that libpq reads, with the limits
/// every service works under.
///
/// Behind a pooler (`args.pooler`) no session is ours: limits are set in each transaction
/// (`patience`), and no statement stays prepared.
///
/// # Errors
/// When the URL is not a Postgres URL.
pub fn connect_options(
    url: &str,
    application: &str,
    args: &PoolArgs,
) -> Result<PgConnectOptions, sqlx::Error> {
    if args.pooler == Pooler::Transaction {
        let options = parse(url)?.application_name(application);
        return Ok(options.extra_float_digits(None).statement_cache_capacity(0));
    }
    direct_options(url, application, args)
}

/// Connection options for LISTEN, which needs a session of its own: past the pooler, if there is
/// one.
///
/// # Errors
/// When there is a pooler and no other way, or the URL is not a Postgres URL.
pub fn listen_options(
    url: &str,
    application: &str,
    args: &PoolArgs,
) -> Result<PgConnectOptions, sqlx::Error> {
    let direct = args.direct_url.as_ref().map(|it| it.expose_secret());
    match (direct.filter(|it| !it.trim().is_empty()), args.pooler) {
        (Some(direct), _) => direct_options(direct, application, args),
        (None, Pooler::None) => direct_options(url, application, args),
        (None, Pooler::Transaction) => Err(sqlx::Error::Configuration(
            "DATABASE_POOLER=transaction needs DATABASE_DIRECT_URL, past the pooler: \
             nobody is woken through one"
                .into(),
        )),
    }
}

fn direct_options(
    url: &str,
    application: &str,
    args: &PoolArgs,
) -> Result<PgConnectOptions, sqlx::Error> {
    let statement_timeout = format!("{}ms", args.statement_timeout.as_millis());
    Ok(parse(url)?.application_name(application).options([
        ("statement_timeout", statement_timeout.as_str()),
        (
            "idle_in_transaction_session_timeout",
            patience::FORGOTTEN_TRANSACTION_TIMEOUT,
        ),
    ]))
}

fn parse(url: &str) -> Result<PgConnectOptions, sqlx::Error> {
    let url = libpq_url::rewrite(url).map_err(|error| sqlx::Error::Configuration(error.into()))?;
    url.parse()
}

/// A pool that connects on first use, so that a service starts while Postgres is still down.
pub fn lazy_pool(options: PgConnectOptions, args: &PoolArgs) -> PgPool {
    let pool = PgPoolOptions::new()
        .max_connections(args.max_connections)
        .acquire_timeout(args.acquire_timeout)
        .test_before_acquire(false)
        .before_acquire(|connection, meta| {
            Box::pin(async move {
                if meta.idle_for > TEST_AFTER_IDLE || suspicion::falls_on(meta.idle_for) {
                    let tested = timeout(TEST_TIMEOUT, connection.ping()).await;
                    tested
                        .unwrap_or_else(|_| Err(patience::silence()))
                        .inspect_err(|_| suspicion::raise())?;
                }
                Ok(true)
            })
        })
        .connect_lazy_with(options);
    Patience::new(args).note(&pool);
    pool
}

/// The database as a sidecar knows it: connections to call functions with, and one to be woken by.
#[derive(Debug, Clone)]
pub struct Database {
    /// For calls.
    pub pool: PgPool,
    /// For wake-ups.
    pub listener: Listener,
    /// Whether it answers.
    pub pulse: Pulse,
}

impl Database {
    /// Opens both on first use, so that a service starts while Postgres is still down.
    pub fn open(
        options: PgConnectOptions,
        listening: PgConnectOptions,
        args: &PoolArgs,
        shutdown: &CancellationToken,
    ) -> Self {
        Self {
            listener: Listener::spawn(listening, shutdown.clone()),
            pool: lazy_pool(options, args),
            pulse: Pulse::default(),
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
            // Whoever met silence has waited long enough.
            Err(error) if is_connection_error(&error) && !patience::is_silence(&error) => {
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
            pooler: Pooler::None,
            direct_url: None,
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
    fn behind_a_pooler_wakeups_need_a_way_past_it() {
        let mut args = PoolArgs {
            max_connections: 1,
            acquire_timeout: Duration::from_secs(1),
            statement_timeout: Duration::from_secs(1),
            pooler: Pooler::Transaction,
            direct_url: Some(" ".into()),
        };
        let pooled = "postgres://a@h:6432/d";
        let refusal = listen_options(pooled, "test", &args).expect_err("refused");
        assert!(
            refusal.to_string().contains("DATABASE_DIRECT_URL"),
            "{refusal}"
        );
        args.direct_url = Some("postgres://a@h:5432/d".into());
        let options = listen_options(pooled, "test", &args).expect("options");
        assert_eq!(options.get_port(), 5432);
    }

    #[test]
    fn a_broken_connection_is_told_from_a_wrong_statement() {
        let reset = std::io::Error::from(std::io::ErrorKind::ConnectionReset);
        assert!(is_connection_error(&sqlx::Error::Io(reset)));
        assert!(!is_connection_error(&sqlx::Error::RowNotFound));
    }
}
