//! From Postgres's SQLSTATEs to answers. Database text stays here, except for the messages that
//! devart's own functions wrote for the caller.

use axum::http::StatusCode;
use devart_kit::health;
use serde::Deserialize;
use sqlx::error::DatabaseError;
use sqlx::postgres::PgDatabaseError;

use super::ApiError;

impl From<sqlx::Error> for ApiError {
    fn from(error: sqlx::Error) -> Self {
        match &error {
            sqlx::Error::RowNotFound => Self::not_found("there is no such thing, or not for you"),
            sqlx::Error::Database(database) => from_database(database.as_ref()),
            sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed
            | sqlx::Error::Io(_)
            | sqlx::Error::Tls(_) => {
                tracing::warn!(%error, "the database cannot be reached: {error}");
                Self::unavailable()
            }
            _ => {
                tracing::error!(%error, "a query failed: {error}");
                Self::internal()
            }
        }
    }
}

fn from_database(error: &dyn DatabaseError) -> ApiError {
    let code = error.code().unwrap_or_default();
    health::note_refusal(&code);
    let answer = translate(&code, error.message(), &Subject::of(error));
    match answer.status() {
        StatusCode::INTERNAL_SERVER_ERROR => {
            tracing::error!(sqlstate = %code, %error, "the database answered {code}: {error}");
        }
        StatusCode::SERVICE_UNAVAILABLE => {
            tracing::warn!(sqlstate = %code, %error, "the database is away ({code}): {error}");
        }
        _ => tracing::debug!(sqlstate = %code, %error, "the database refused with {code}: {error}"),
    }
    answer
}

/// The answer for a SQLSTATE.
fn translate(code: &str, message: &str, subject: &Subject) -> ApiError {
    let column = subject.column.as_deref();
    // Postgres raises some of these itself, in its own words, which are not for callers.
    let own = subject.argument.is_some().then_some(message);
    match code {
        "P0002" => ApiError::not_found(own.unwrap_or("there is no such thing, or not for you")),
        "42501" => ApiError::forbidden("you may not do this"),
        // Without our own words it is a lock that could not be had at once.
        "55P03" => own.map_or_else(ApiError::unavailable, |message| {
            ApiError::new(StatusCode::CONFLICT, "lease_lost", message)
        }),
        "55000" => {
            if let Some(code) = subject.stop {
                return ApiError::new(StatusCode::PAYMENT_REQUIRED, code, message);
            }
            let message = own.unwrap_or("this cannot be done in the state that things are in");
            ApiError::new(StatusCode::CONFLICT, "wrong_state", message)
        }
        "53400" => {
            let detail = "the budget does not allow this";
            ApiError::new(StatusCode::PAYMENT_REQUIRED, "budget_exceeded", detail)
        }
        "23505" => duplicate(column),
        "23503" => {
            let field = column.or(subject.argument.as_deref());
            invalid(field, "names a row that does not exist")
        }
        "23514" | "23502" => invalid(column, "has a value that it cannot have"),
        "22023" => match (own, subject.argument.as_deref()) {
            (Some(message), Some(argument)) => ApiError::invalid(argument, message),
            _ => invalid(column, "has a value that it cannot have"),
        },
        // Only a text can contain such a character; which one, Postgres does not tell.
        "22021" | "22P05" => invalid(
            column,
            "contains a character that cannot be stored: U+0000, or half of a surrogate pair",
        ),
        _ if code.starts_with("22") => invalid(column, "has a value that it cannot have"),
        // Too large for an index, too deep, too many.
        _ if code.starts_with("54") => invalid(column, "is too large"),
        "25006" => ApiError::unavailable_because(
            "the database only reads just now (a standby, or set so); ask its primary",
        ),
        "53100" => ApiError::unavailable_because("the disk of the database is full"),
        "57014" => ApiError::unavailable_because("this took too long; ask for less"),
        _ if is_temporary(code) => ApiError::unavailable(),
        _ => ApiError::internal(),
    }
}

/// Restarts, lost connections, deadlocks, serialization failures, exhausted resources, cancelled
/// statements, a missing login: nothing the caller did, and likely gone on the next try.
fn is_temporary(code: &str) -> bool {
    matches!(code, "40001" | "40P01" | "57014" | "25006" | "25P03")
        || ["57P", "08", "53", "28"]
            .iter()
            .any(|class| code.starts_with(class))
}

fn duplicate(column: Option<&str>) -> ApiError {
    let error = |detail: String| ApiError::new(StatusCode::CONFLICT, "duplicate", detail);
    match column {
        Some("idempotency_key") | None => {
            error("the idempotency key or name was already used for something else".to_owned())
        }
        Some(column) => error(format!("{column} is already taken")).with_field(column),
    }
}

fn invalid(column: Option<&str>, what: &str) -> ApiError {
    match column {
        Some(column) => ApiError::invalid(column, format!("{column} {what}")),
        None => {
            let detail = format!("an argument {what}");
            ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_argument", detail)
        }
    }
}

/// What the error speaks of.
#[derive(Default)]
struct Subject {
    /// The column of a violated constraint.
    column: Option<String>,
    /// The argument that a function of devart's refused.
    argument: Option<String>,
    /// The code of a stop or pause.
    stop: Option<&'static str>,
}

impl Subject {
    fn of(error: &dyn DatabaseError) -> Self {
        let Some(error) = error.try_downcast_ref::<PgDatabaseError>() else {
            return Self::default();
        };
        Self {
            column: named_column(error),
            argument: error.detail().and_then(named_argument),
            stop: error.detail().and_then(stop_code),
        }
    }
}

fn stop_code(detail: &str) -> Option<&'static str> {
    #[derive(Deserialize)]
    struct Detail {
        code: String,
    }
    let detail: Detail = serde_json::from_str(detail.lines().next()?).ok()?;
    ["stopped", "paused"]
        .into_iter()
        .find(|code| *code == detail.code)
}

/// devart's own errors carry a JSON object as DETAIL; Postgres' carry sentences.
fn named_argument(detail: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Detail {
        field: String,
    }
    // A server with RUST_BACKTRACE adds lines of its own.
    let detail: Detail = serde_json::from_str(detail.lines().next()?).ok()?;
    Some(detail.field)
}

/// The column a violated constraint speaks of: ours are called `<table>_<column>_check`, `_fkey` or
/// `_key`.
fn named_column(error: &PgDatabaseError) -> Option<String> {
    let column = match error.column() {
        Some(column) => column,
        None => column_of(error.constraint()?, error.table())?,
    };
    Some(column.to_owned())
}

/// A domain's constraint comes without a table; only `tasks` has such, so its name is one word.
fn column_of<'a>(constraint: &'a str, table: Option<&str>) -> Option<&'a str> {
    let rest = match table {
        Some(table) => constraint.strip_prefix(table)?.strip_prefix('_')?,
        None => constraint.split_once('_')?.1,
    };
    ["_check", "_fkey", "_key"]
        .iter()
        .find_map(|suffix| rest.strip_suffix(suffix))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(code: &str, message: &str, detail: Option<&str>) -> (u16, serde_json::Value) {
        let subject = Subject {
            column: None,
            argument: detail.and_then(named_argument),
            stop: detail.and_then(stop_code),
        };
        let error = translate(code, message, &subject);
        (error.status().as_u16(), error.document())
    }

    #[test]
    fn each_sqlstate_of_the_contract_has_its_status_and_code() {
        let field = Some(r#"{"field": "payload"}"#);
        for (sqlstate, status, code) in [
            ("P0002", 404, "not_found"),
            ("55P03", 409, "lease_lost"),
            ("55000", 409, "wrong_state"),
            ("22023", 422, "invalid_argument"),
        ] {
            let (got_status, document) = answer(sqlstate, "payload is text", field);
            assert_eq!(got_status, status, "{sqlstate}");
            assert_eq!(document["code"], code, "{sqlstate}");
            assert_eq!(document["detail"], "payload is text", "{sqlstate}");
        }
        for (sqlstate, status, code) in [
            ("P0002", 404, "not_found"),
            ("42501", 403, "forbidden"),
            ("55P03", 503, "unavailable"),
            ("55000", 409, "wrong_state"),
            ("22023", 422, "invalid_argument"),
            ("22P02", 422, "invalid_argument"),
            ("23503", 422, "invalid_argument"),
            ("23505", 409, "duplicate"),
            ("53400", 402, "budget_exceeded"),
            ("40001", 503, "unavailable"),
            ("25006", 503, "unavailable"),
            ("53100", 503, "unavailable"),
            ("57014", 503, "unavailable"),
            ("57P01", 503, "unavailable"),
            ("54000", 422, "invalid_argument"),
            ("54001", 422, "invalid_argument"),
            ("22021", 422, "invalid_argument"),
            ("08006", 503, "unavailable"),
            ("XX000", 500, "internal"),
            ("42883", 500, "internal"),
        ] {
            let (got_status, document) = answer(sqlstate, "text", None);
            assert_eq!(got_status, status, "{sqlstate}");
            assert_eq!(document["code"], code, "{sqlstate}");
        }
    }

    #[test]
    fn the_field_is_what_detail_says_and_not_what_the_message_begins_with() {
        let detail = r#"{"field": "payload"}"#;
        let (_, document) = answer("22023", "title must not be that", Some(detail));
        assert_eq!(document["field"], "payload");
        for detail in [None, Some("Key (id)=(1) already exists."), Some("{}")] {
            let (_, document) = answer("22023", "title must not be that", detail);
            assert_eq!(document.get("field"), None, "{detail:?}");
        }
    }

    #[test]
    fn other_database_text_never_reaches_the_answer() {
        for code in [
            "42501", "23505", "23514", "22P02", "XX000", "42P01", "57P01", "22023", "55000",
            "55P03", "P0002", "54000", "22021",
        ] {
            let (_, document) = answer(code, "relation \"secret\" leaks", None);
            assert!(!document.to_string().contains("secret"), "{code}");
        }
    }

    #[test]
    fn a_constraint_names_its_column() {
        let services = Some("service_registry");
        for (constraint, table, column) in [
            ("tasks_title_check", Some("tasks"), Some("title")),
            (
                "service_registry_substitute_service_id_fkey",
                services,
                Some("substitute_service_id"),
            ),
            ("tasks_max_retries_check", None, Some("max_retries")),
            ("tasks_pkey", Some("tasks"), None),
            ("other", Some("tasks"), None),
        ] {
            assert_eq!(column_of(constraint, table), column, "{constraint}");
        }
    }
}
