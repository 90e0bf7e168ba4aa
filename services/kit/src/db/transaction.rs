//! Transactions whose connection never comes back to the pool with anything left of them.

use std::ops::{Deref, DerefMut};

use sqlx::pool::PoolConnection;
use sqlx::{AssertSqlSafe, Executor, PgConnection, PgPool, Postgres};
use tokio::time::timeout;

use super::caller::Caller;
use super::patience::{Patience, silence};
use super::retrying;

/// After a statement that failed, a bare COMMIT would roll back and say nothing; the empty SELECT
/// before it fails then.
const COMMIT: &str = "select; commit";

/// An open transaction. Dropped without [`commit`](Self::commit), it is rolled back before the
/// connection's next use.
///
/// Unlike sqlx's own (0.9.0), which forgets a BEGIN whose answer was not waited for: there the
/// next user of the connection would find itself in a stranger's transaction, with the stranger's
/// role. Here a connection is closed unless its transaction is known to have ended.
pub struct Transaction {
    /// None once the transaction has ended.
    connection: Option<PoolConnection<Postgres>>,
    patience: Patience,
}

impl Transaction {
    /// Commits, and waits for it. Nothing is committed if this fails, unless the connection broke
    /// meanwhile.
    ///
    /// # Errors
    /// A deferred constraint's, or that the database is gone.
    pub async fn commit(mut self) -> Result<(), sqlx::Error> {
        let connection = self.connection.take().ok_or(sqlx::Error::PoolClosed)?;
        let mut connection = CloseUnlessKept(Some(connection));
        let committed = timeout(
            self.patience.limit(),
            connection.execute(sqlx::raw_sql(COMMIT)),
        );
        committed.await.map_err(|_| silence())??;
        connection.keep();
        Ok(())
    }
}

impl Deref for Transaction {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        self.connection.as_ref().expect(OPEN)
    }
}

impl DerefMut for Transaction {
    fn deref_mut(&mut self) -> &mut PgConnection {
        self.connection.as_mut().expect(OPEN)
    }
}

const OPEN: &str = "only commit and drop end a transaction, and both consume it";

impl Drop for Transaction {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take() {
            let connection = CloseUnlessKept(Some(connection));
            tokio::spawn(roll_back(connection, self.patience));
        }
    }
}

/// A statement that is still under way is waited for; its error, too, closes the connection.
async fn roll_back(mut connection: CloseUnlessKept, patience: Patience) {
    let rolled_back = connection.execute(sqlx::raw_sql("rollback"));
    let done = timeout(patience.limit(), rolled_back).await;
    if matches!(done, Ok(Ok(_))) {
        connection.keep();
    }
}

/// Opens a transaction as the login role of this process.
///
/// # Errors
/// When no transaction can be opened.
pub async fn begin(pool: &PgPool) -> Result<Transaction, sqlx::Error> {
    let patience = Patience::of(pool);
    retrying(pool, || open(pool, patience, patience.begin())).await
}

/// Opens a transaction and takes on the caller's role and claims for its duration, in one round
/// trip.
///
/// # Errors
/// When no transaction can be opened.
pub async fn begin_as(pool: &PgPool, caller: &Caller) -> Result<Transaction, sqlx::Error> {
    let patience = Patience::of(pool);
    retrying(pool, || open(pool, patience, opening(patience, caller))).await
}

/// Two statements in one message take no parameters. The claims go in as hexadecimal digits, among
/// which there is no quote to escape, whatever the server's settings.
fn opening(patience: Patience, caller: &Caller) -> String {
    let (role, claims) = (caller.role(), hex::encode(caller.claims()));
    let begin = patience.begin();
    format!(
        "{begin}; select pg_catalog.set_config('role', '{role}', true), \
         pg_catalog.set_config('request.jwt.claims', \
         pg_catalog.convert_from(pg_catalog.decode('{claims}', 'hex'), 'UTF8'), true)"
    )
}

async fn open(
    pool: &PgPool,
    patience: Patience,
    statements: String,
) -> Result<Transaction, sqlx::Error> {
    let mut connection = CloseUnlessKept(Some(pool.acquire().await?));
    let opening = connection.execute(sqlx::raw_sql(AssertSqlSafe(statements)));
    // Not tried again: whoever waits has waited long enough.
    let opened = timeout(patience.limit(), opening).await;
    opened.map_err(|_| sqlx::Error::PoolTimedOut)??;
    Ok(Transaction {
        connection: connection.keep(),
        patience,
    })
}

/// A connection in a state that is not known: closed when it is dropped, so that nobody gets it.
pub(super) struct CloseUnlessKept(pub(super) Option<PoolConnection<Postgres>>);

impl CloseUnlessKept {
    /// The state is known after all.
    pub(super) fn keep(&mut self) -> Option<PoolConnection<Postgres>> {
        self.0.take()
    }
}

impl Deref for CloseUnlessKept {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        self.0.as_ref().expect(OPEN)
    }
}

impl DerefMut for CloseUnlessKept {
    fn deref_mut(&mut self) -> &mut PgConnection {
        self.0.as_mut().expect(OPEN)
    }
}

impl Drop for CloseUnlessKept {
    fn drop(&mut self) {
        if let Some(connection) = &mut self.0 {
            connection.close_on_drop();
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::caller::Role;
    use super::*;

    #[test]
    fn claims_bring_no_character_of_their_own_into_the_statement() {
        let claims = json!({"email": "'; drop table devart.tasks; --\\\u{1F600}\u{0}"});
        let opening = |claims: &serde_json::Value| {
            let caller = Caller::new(Role::Authenticated, claims);
            opening(Patience::UNKNOWN, &caller)
        };
        let (statements, plain) = (opening(&claims), opening(&json!({})));
        let hexadecimal = hex::encode(claims.to_string());
        assert_eq!(statements, plain.replace(&hex::encode("{}"), &hexadecimal));
    }
}
