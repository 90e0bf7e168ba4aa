//! One statement as a whole transaction, in one round trip, over a connection that may be dead.

use futures::future::BoxFuture;
use futures::stream::{self, BoxStream};
use futures::{FutureExt, StreamExt, TryFutureExt, TryStreamExt};
use sqlx::postgres::{
    PgArguments, PgDatabaseError, PgQueryResult, PgRow, PgSeverity, PgStatement, PgTypeInfo,
};
use sqlx::{Either, Execute, Executor, PgConnection, PgPool, Postgres, SqlStr};

use super::patience::{Patience, silence};
use super::transaction::{CloseUnlessKept, begin};
use super::{is_connection_error, suspicion};

/// Where a function that takes the caller on itself is called.
#[derive(Debug)]
pub enum OneTrip<'a> {
    /// Within the transaction that is open on this connection.
    Within(&'a mut PgConnection),
    /// Over a connection of this pool, in a transaction of the call's own. Should the server have
    /// ended the connection before the call, another one is taken: [`never_ran`] tells.
    Alone(&'a PgPool),
}

/// A statement that can be sent again.
#[derive(Clone)]
struct Statement {
    sql: SqlStr,
    arguments: Option<PgArguments>,
    persistent: bool,
}

type Answer = Either<PgQueryResult, PgRow>;

impl OneTrip<'_> {
    async fn answers(self, statement: Statement) -> Result<Vec<Answer>, sqlx::Error> {
        let mut answers = Vec::new();
        match self {
            Self::Within(connection) => send(connection, statement, &mut answers).await?,
            Self::Alone(pool) if Patience::of(pool).is_pooled() => {
                send_in_transaction(pool, statement, &mut answers).await?;
            }
            Self::Alone(pool) => {
                let mut attempts_left = pool.options().get_max_connections();
                while !sent_alone(pool, &statement, attempts_left > 0, &mut answers).await? {
                    attempts_left -= 1;
                }
            }
        }
        Ok(answers)
    }
}

/// Preparing and executing are two messages, which a pooler sends to one connection only within a
/// transaction.
async fn send_in_transaction(
    pool: &PgPool,
    statement: Statement,
    answers: &mut Vec<Answer>,
) -> Result<(), sqlx::Error> {
    let mut transaction = begin(pool).await?;
    let sent = send(&mut transaction, statement, answers);
    in_time(Patience::of(pool), sent).await?;
    transaction.commit().await
}

/// What comes of it, within the time in which Postgres would have ended it.
async fn in_time<T>(
    patience: Patience,
    work: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, sqlx::Error> {
    let done = tokio::time::timeout(patience.limit(), work).await;
    done.unwrap_or_else(|_| Err(silence()))
}

/// False when the statement never ran and may be sent again.
async fn sent_alone(
    pool: &PgPool,
    statement: &Statement,
    may_repeat: bool,
    answers: &mut Vec<Answer>,
) -> Result<bool, sqlx::Error> {
    // Dropped while it waits for an answer, it is closed: it might wait for ever.
    let mut connection = CloseUnlessKept(Some(pool.acquire().await?));
    let sending = send(&mut connection, statement.clone(), answers);
    let sent = in_time(Patience::of(pool), sending).await;
    let Err(error) = sent else {
        connection.keep();
        return Ok(true);
    };
    if is_connection_error(&error) {
        suspicion::raise();
    } else {
        connection.keep();
    }
    if may_repeat && statement.arguments.is_some() && never_ran(&error, answers) {
        return Ok(false);
    }
    Err(error)
}

/// Whether the error, after these answers, proves that the transaction of a statement sent with
/// arguments (the extended protocol) did not commit.
///
/// A backend that is told to end says 57P01 as FATAL, when it was idle (it never reads the
/// statement) or in the middle of the statement (which is rolled back). In both cases no row and
/// no completion of the statement came before, which the backend writes into the same stream ahead
/// of the commit, at Sync. Between the commit and the answer it ends without a word. The routine
/// tells Postgres from a pooler, which may say 57P01 about a server whose answer it has not read.
fn never_ran(error: &sqlx::Error, answers: &[Answer]) -> bool {
    let sqlx::Error::Database(error) = error else {
        return false;
    };
    answers.is_empty()
        && error
            .try_downcast_ref::<PgDatabaseError>()
            .is_some_and(|error| {
                error.code() == "57P01"
                    && error.severity() == PgSeverity::Fatal
                    && error.routine() == Some("ProcessInterrupts")
            })
}

/// Everything that the server says, up to the end of the transaction: a deferred constraint may
/// still refuse what has been answered.
async fn send(
    connection: &mut PgConnection,
    statement: Statement,
    answers: &mut Vec<Answer>,
) -> Result<(), sqlx::Error> {
    let Statement {
        sql,
        arguments,
        persistent,
    } = statement;
    let mut stream = match arguments {
        Some(arguments) => {
            connection.fetch_many(sqlx::query_with(sql, arguments).persistent(persistent))
        }
        None => connection.fetch_many(sqlx::raw_sql(sql)),
    };
    while let Some(answer) = stream.try_next().await? {
        answers.push(answer);
    }
    Ok(())
}

fn statement<'q>(mut query: impl Execute<'q, Postgres>) -> Result<Statement, sqlx::Error> {
    Ok(Statement {
        arguments: query.take_arguments().map_err(sqlx::Error::Encode)?,
        persistent: query.persistent(),
        sql: query.sql(),
    })
}

impl<'c> Executor<'c> for OneTrip<'c> {
    type Database = Postgres;

    fn fetch_many<'e, 'q: 'e, E>(self, query: E) -> BoxStream<'e, Result<Answer, sqlx::Error>>
    where
        'c: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        let statement = statement(query);
        let answers = async move { self.answers(statement?).await };
        stream::once(answers.map_ok(|answers| stream::iter(answers.into_iter().map(Ok))))
            .try_flatten()
            .boxed()
    }

    fn fetch_optional<'e, 'q: 'e, E>(
        self,
        query: E,
    ) -> BoxFuture<'e, Result<Option<PgRow>, sqlx::Error>>
    where
        'c: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        let statement = statement(query);
        async move {
            let answers = self.answers(statement?).await?;
            Ok(answers.into_iter().find_map(Either::right))
        }
        .boxed()
    }

    fn prepare_with<'e>(
        self,
        sql: SqlStr,
        parameters: &'e [PgTypeInfo],
    ) -> BoxFuture<'e, Result<PgStatement, sqlx::Error>>
    where
        'c: 'e,
    {
        async move {
            match self {
                Self::Within(connection) => connection.prepare_with(sql, parameters).await,
                Self::Alone(pool) => pool.prepare_with(sql, parameters).await,
            }
        }
        .boxed()
    }

    fn describe<'e>(
        self,
        sql: SqlStr,
    ) -> BoxFuture<'e, Result<sqlx::Describe<Postgres>, sqlx::Error>>
    where
        'c: 'e,
    {
        async move {
            match self {
                Self::Within(connection) => connection.describe(sql).await,
                Self::Alone(pool) => pool.describe(sql).await,
            }
        }
        .boxed()
    }
}
