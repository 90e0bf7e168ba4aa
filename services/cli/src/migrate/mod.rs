//! Bringing a database to the current schema: extension, incremental files once, idempotent files whenever one of them
//! or what they made has changed.
//!
//! `sql/` is compiled into the program, so `devart migrate` needs no checkout. Released incremental files never change:
//! `sql/frozen.txt` holds their SHA-256, and `devart_private.migrations` what each database was given.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use sqlx::{AssertSqlSafe, Connection, PgConnection};

use crate::database;

mod files;
mod idempotent;
mod locks;
mod turn;

use turn::Turn;

use files::{BOOKKEEPING, files, frozen, require_frozen};
pub use files::{SqlFile, script};

/// What one migrate did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Version of the extension afterwards.
    pub extension: String,
    /// Incremental files that were applied now.
    pub applied: Vec<String>,
    /// How many idempotent files ran. Those that the database has are not run again.
    pub idempotent: usize,
}

/// Migrates the database behind `database_url`, which must name an owner or superuser. Two at once
/// are safe: the second waits, then finds nothing to do. Requests go on meanwhile.
pub async fn migrate(database_url: &str) -> Result<Report> {
    let incremental = files("incremental")?;
    require_frozen(&incremental, &frozen()?)?;
    let mut connection = connect(database_url).await?;
    prepare(&mut connection).await?;
    let turn = Turn::wait(connect(database_url).await?).await?;
    let report = migrate_in_turn(&mut connection, &incremental).await;
    // Closing the session ends the turn, also after a failure.
    turn.end().await?;
    connection.close().await.context("closing the connection")?;
    report
}

async fn connect(database_url: &str) -> Result<PgConnection> {
    let mut options = database::options(database_url)?;
    if options.get_application_name().is_none() {
        options = options.application_name("devart migrate");
    }
    PgConnection::connect_with(&options)
        .await
        .context("connecting to the database to migrate")
}

/// What must be there before anything can be recorded: the extension, which brings schemas devart
/// and devart_private (naming one here would demand that it exists), and the record.
async fn prepare(connection: &mut PgConnection) -> Result<()> {
    const ATTEMPTS: u32 = 10;
    let script = format!("create extension if not exists pg_devart; {BOOKKEEPING}");
    for number in 1.. {
        // Several statements at once are one transaction.
        let prepared = sqlx::raw_sql(AssertSqlSafe(script.clone()))
            .execute(&mut *connection)
            .await;
        match prepared {
            // Another migrate was faster; now it is there.
            Err(error) if is_already_there(&error) && number < ATTEMPTS => {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            Err(error) => return Err(error).context("installing the extension pg_devart"),
            Ok(_) => break,
        }
    }
    Ok(())
}

fn is_already_there(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|it| it.code());
    matches!(code.as_deref(), Some("23505" | "42P06" | "42P07" | "42710"))
}

async fn migrate_in_turn(connection: &mut PgConnection, incremental: &[SqlFile]) -> Result<Report> {
    let extension = update_extension(connection).await?;
    let recorded = recorded(connection).await?;
    let mut applied = Vec::new();
    for file in pending(incremental, &recorded)? {
        apply(connection, file).await?;
        applied.push(file.name.to_owned());
    }
    let files = files("idempotent")?;
    let idempotent = idempotent::apply(connection, &files, !applied.is_empty()).await?;
    Ok(Report {
        extension,
        applied,
        idempotent,
    })
}

/// Updates the extension to the installed version; gives that version.
async fn update_extension(connection: &mut PgConnection) -> Result<String> {
    let what = "updating the extension pg_devart";
    locks::in_transaction(connection, what, async |connection| {
        sqlx::raw_sql("alter extension pg_devart update")
            .execute(&mut *connection)
            .await
            .context(what)?;
        sqlx::query_scalar("select extversion from pg_extension where extname = 'pg_devart'")
            .fetch_one(connection)
            .await
            .context("reading the version of pg_devart")
    })
    .await
}

/// What this database was given: file name to SHA-256.
async fn recorded(connection: &mut PgConnection) -> Result<BTreeMap<String, String>> {
    let rows: Vec<(String, String)> =
        sqlx::query_as("select name, sha256 from devart_private.migrations")
            .fetch_all(connection)
            .await
            .context("reading devart_private.migrations")?;
    Ok(rows.into_iter().collect())
}

/// The files that the database does not have yet. Refuses a database that has others than ours.
fn pending<'a>(
    files: &'a [SqlFile],
    recorded: &BTreeMap<String, String>,
) -> Result<Vec<&'a SqlFile>> {
    if let Some(unknown) = recorded
        .keys()
        .find(|name| files.iter().all(|file| file.name != name.as_str()))
    {
        bail!(
            "the database has the migration {unknown}, which this devart does not know: it was migrated by a newer version; use that version"
        );
    }
    for file in files {
        if recorded
            .get(file.name)
            .is_some_and(|sha256| *sha256 != file.sha256())
        {
            bail!(
                "sql/incremental/{} was changed after it was applied to this database; put the change into a new file, or begin with an empty database (for a private one without anything to keep: devart down, then remove .devart/state)",
                file.name
            );
        }
    }
    Ok(files
        .iter()
        .filter(|file| !recorded.contains_key(file.name))
        .collect())
}

/// One incremental file and its record in one transaction.
async fn apply(connection: &mut PgConnection, file: &SqlFile) -> Result<()> {
    let what = format!("applying sql/incremental/{}", file.name);
    locks::in_transaction(connection, &what, async |connection| {
        sqlx::raw_sql(file.text)
            .execute(&mut *connection)
            .await
            .with_context(|| what.clone())?;
        reset_role(connection).await?;
        sqlx::query("insert into devart_private.migrations (name, sha256) values ($1, $2)")
            .bind(file.name)
            .bind(file.sha256())
            .execute(connection)
            .await
            .with_context(|| format!("recording {}", file.name))?;
        Ok(())
    })
    .await
}

/// Before the first release the extension changes without a new version, so `alter extension update` has nothing to do.
fn explain_missing_function(error: sqlx::Error) -> anyhow::Error {
    const UNDEFINED_FUNCTION: &str = "42883";
    let code = error.as_database_error().and_then(|error| error.code());
    let is_missing = code.as_deref() == Some(UNDEFINED_FUNCTION);
    let error = anyhow::Error::new(error);
    if !is_missing {
        return error;
    }
    error.context(
        "the database has the functions of another build of pg_devart; begin with an empty database (for a private one without anything to keep: devart down, then remove .devart/state)",
    )
}

/// A file may take the owner's role for itself; what follows is ours again.
async fn reset_role(connection: &mut PgConnection) -> Result<()> {
    sqlx::raw_sql("reset role")
        .execute(connection)
        .await
        .context("resetting the role")?;
    Ok(())
}

/// How many files the database still lacks, or has in another form. For `devart status`.
pub async fn outstanding(database_url: &str) -> Result<usize> {
    let mut connection = connect(database_url).await?;
    let incremental = if exists(&mut connection, "devart_private.migrations").await? {
        recorded(&mut connection).await?
    } else {
        BTreeMap::new()
    };
    let idempotent = if exists(&mut connection, "devart_private.idempotent_files").await? {
        idempotent::recorded(&mut connection).await?
    } else {
        BTreeMap::new()
    };
    let count = pending(&files("incremental")?, &incremental)?.len()
        + idempotent::outstanding(&files("idempotent")?, &idempotent);
    connection.close().await.context("closing the connection")?;
    Ok(count)
}

async fn exists(connection: &mut PgConnection, table: &str) -> Result<bool> {
    sqlx::query_scalar("select to_regclass($1) is not null")
        .bind(table)
        .fetch_one(connection)
        .await
        .with_context(|| format!("looking for {table}"))
}

/// Lets a role made by the migrations log in with a password.
pub async fn set_login_password(database_url: &str, role: &str, password: &str) -> Result<()> {
    let mut connection = connect(database_url).await?;
    // ALTER ROLE takes no parameters; format() quotes both for us.
    let statement: String =
        sqlx::query_scalar("select format('alter role %I login password %L', $1::text, $2::text)")
            .bind(role)
            .bind(password)
            .fetch_one(&mut connection)
            .await
            .context("quoting the password")?;
    sqlx::raw_sql(AssertSqlSafe(statement))
        .execute(&mut connection)
        .await
        .with_context(|| format!("setting the password of {role}"))?;
    connection.close().await.context("closing the connection")
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: SqlFile = SqlFile {
        name: "0001_a.sql",
        text: "select 1",
    };
    const SECOND: SqlFile = SqlFile {
        name: "0002_b.sql",
        text: "select 2",
    };

    fn record(files: &[SqlFile]) -> BTreeMap<String, String> {
        files
            .iter()
            .map(|file| (file.name.to_owned(), file.sha256()))
            .collect()
    }

    #[test]
    fn only_files_without_a_record_are_pending() {
        let names: Vec<&str> = pending(&[FIRST, SECOND], &record(&[FIRST]))
            .expect("pending")
            .iter()
            .map(|file| file.name)
            .collect();
        assert_eq!(names, ["0002_b.sql"]);
    }

    #[test]
    fn a_file_changed_after_it_was_applied_is_refused() {
        let changed = SqlFile {
            name: FIRST.name,
            text: "select 3",
        };
        let error = pending(&[changed], &record(&[FIRST])).expect_err("refused");
        assert!(error.to_string().contains("0001_a.sql"), "{error}");
    }

    #[test]
    fn a_database_of_a_newer_version_is_refused() {
        let error = pending(&[FIRST], &record(&[FIRST, SECOND])).expect_err("refused");
        assert!(error.to_string().contains("newer"), "{error}");
    }
}
