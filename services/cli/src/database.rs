//! Connecting to the database that a URL names, written in any way that libpq reads.

use std::str::FromStr;

use anyhow::{Context, Error, Result, anyhow};
use devart_core::libpq_url;
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, PgConnection};

/// What a URL says about how to connect.
///
/// # Errors
/// When it is not a Postgres URL, or asks for something that we cannot do. Shows no part of it that
/// may be secret.
pub fn options(url: &str) -> Result<PgConnectOptions> {
    let rewritten = libpq_url::rewrite(url).context("this is not a database URL of Postgres")?;
    PgConnectOptions::from_str(&rewritten).context("reading the database URL")
}

/// Connects.
pub async fn connect(url: &str) -> Result<PgConnection> {
    let options = options(url)?;
    Ok(PgConnection::connect_with(&options).await?)
}

/// Why a statement failed, in words for people: constraints have names that mean nothing outside.
pub fn explain(error: sqlx::Error) -> Error {
    let code = error.as_database_error().and_then(|it| it.code());
    match code.as_deref() {
        Some("23505") => anyhow!("there is one like this already"),
        Some(code) if code.starts_with("23") => anyhow!("a value is out of its bounds"),
        _ => error.into(),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn a_unix_socket_and_a_user_without_a_host_are_understood() {
        let options = options(
            "postgresql://owner@/db?host=/run/pg&port=5433&application_name=it's&sslmode=require",
        )
        .expect("options");
        assert_eq!(
            options.get_socket().map(|it| it.as_path()),
            Some(Path::new("/run/pg"))
        );
        assert_eq!(options.get_port(), 5433);
        assert_eq!(options.get_username(), "owner");
        assert_eq!(options.get_database(), Some("db"));
        assert_eq!(options.get_application_name(), Some("it's"));
    }

    #[test]
    fn nonsense_is_refused_without_showing_the_password() {
        for url in [
            "postgres://u:secret@host:x/db",
            "user=u password=secret",
            "postgres:///db?password=secret&hosst=x",
        ] {
            let error = format!("{:#}", options(url).expect_err("refused"));
            assert!(error.contains("not a database URL"), "{error}");
            assert!(!error.contains("secret"), "{error}");
        }
        assert!(options("postgres:///db?sslmode=perhaps").is_err());
    }
}
