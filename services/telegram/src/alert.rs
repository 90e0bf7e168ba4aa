//! An alert as the database writes it.

use rust_decimal::Decimal;
use serde::{Deserialize, Deserializer, de};
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use uuid::Uuid;

/// The payload of topic `telegram.alert`.
#[derive(Debug, Clone)]
pub enum Alert {
    Budget(BudgetAlert),
    Stop(StopAlert),
}

/// By its kind. Not by serde's own means: what they keep of amounts in between is not exact.
impl<'de> Deserialize<'de> for Alert {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let payload = Value::deserialize(deserializer)?;
        let kind = payload.get("kind").and_then(Value::as_str);
        match kind {
            Some("stopped" | "resumed") => serde_json::from_value(payload).map(Self::Stop),
            _ => serde_json::from_value(payload).map(Self::Budget),
        }
        .map_err(de::Error::custom)
    }
}

/// Something was stopped, paused or resumed (sql/idempotent/270_stops.sql).
#[derive(Debug, Clone, Deserialize)]
pub struct StopAlert {
    pub kind: StopKind,
    pub scope: StopScope,
    /// None: everything.
    pub scope_id: Option<Uuid>,
    /// Of the agent, service or task.
    pub name: Option<String>,
    pub reason: Option<String>,
    /// `user:<id>`, `agent:<id>` or `role:<name>`.
    pub actor: String,
}

/// Whether it ends or goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StopKind {
    Stopped,
    Resumed,
}

/// What it is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StopScope {
    All,
    Agent,
    Service,
    Run,
    Task,
}

impl StopScope {
    /// The scope in words.
    pub fn name(self) -> &'static str {
        match self {
            Self::All => "everything",
            Self::Agent => "agent",
            Self::Service => "service",
            Self::Run => "run",
            Self::Task => "task",
        }
    }
}

/// A limit was reached (sql/idempotent/310_money_windows.sql).
#[derive(Debug, Clone, Deserialize)]
pub struct BudgetAlert {
    pub kind: Kind,
    pub scope: Scope,
    pub scope_id: Uuid,
    /// The service's name; none for another scope.
    pub service: Option<String>,
    /// The highest threshold that was reached and not reported yet, if there was one.
    pub threshold_percent: Option<i32>,
    /// Spent in the window.
    #[serde(with = "rust_decimal::serde::arbitrary_precision")]
    pub spent_usd: Decimal,
    /// The window's limit.
    #[serde(with = "rust_decimal::serde::arbitrary_precision")]
    pub budget_usd: Decimal,
    #[serde(with = "time::serde::rfc3339")]
    pub window_start: OffsetDateTime,
    /// None: the window does not end.
    #[serde(deserialize_with = "time_or_infinity")]
    pub window_end: Option<OffsetDateTime>,
    /// The name of the service that is charged instead, if there is one.
    pub substitute: Option<String>,
}

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Spending crossed a threshold.
    BudgetThreshold,
    /// A service reached its hard limit.
    ServiceSuspended,
}

/// Whose budget it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    Service,
    Agent,
    Task,
    Run,
    User,
}

impl Scope {
    /// The scope in words.
    pub fn name(self) -> &'static str {
        match self {
            Self::Service => "service",
            Self::Agent => "agent",
            Self::Task => "task",
            Self::Run => "run",
            Self::User => "user",
        }
    }
}

/// Postgres writes the end of a window that has none as `infinity`.
fn time_or_infinity<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<OffsetDateTime>, D::Error> {
    let text = String::deserialize(deserializer)?;
    if text == "infinity" {
        return Ok(None);
    }
    OffsetDateTime::parse(&text, &Rfc3339)
        .map(Some)
        .map_err(de::Error::custom)
}

#[cfg(test)]
pub mod examples {
    use serde_json::{Value, json};

    use super::{Alert, BudgetAlert};

    fn budget(payload: &Value) -> BudgetAlert {
        match serde_json::from_str(&payload.to_string()).expect("an alert") {
            Alert::Budget(alert) => alert,
            Alert::Stop(_) => panic!("no alert of a budget"),
        }
    }

    /// An alert of a service, with some fields changed.
    pub fn service(changes: Value) -> BudgetAlert {
        let mut payload = json!({
            "kind": "budget_threshold", "scope": "service", "scope_id": "01890000-0000-7000-8000-000000000000",
            "service_id": "01890000-0000-7000-8000-000000000000", "service": "gpt-4.1", "threshold_percent": 80,
            "spent_usd": 0.850000, "budget_usd": 1.000000, "window_start": "2026-01-01T00:00:00+00:00",
            "window_end": "2026-01-02T01:00:00+01:00", "substitute_service_id": null, "substitute": null,
        });
        let object = payload.as_object_mut().expect("an object");
        object.extend(changes.as_object().expect("an object").clone());
        budget(&payload)
    }

    /// An alert of another scope.
    pub fn agent(percent: i32) -> BudgetAlert {
        let payload = json!({
            "kind": "budget_threshold", "scope": "agent", "scope_id": "01890000-0000-7000-8000-000000000001",
            "budget_id": "01890000-0000-7000-8000-000000000002", "threshold_percent": percent,
            "spent_usd": 12.345678, "budget_usd": 10, "window_start": "2026-01-01T00:00:00+00:00",
            "window_end": "infinity",
        });
        budget(&payload)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn amounts_are_exact() {
        let most = serde_json::from_str("999999999999.999999").expect("a number");
        let alert = examples::service(json!({"spent_usd": serde_json::Value::Number(most)}));
        assert_eq!(alert.spent_usd.to_string(), "999999999999.999999");
    }

    #[test]
    fn a_window_without_an_end_has_none() {
        assert_eq!(examples::agent(50).window_end, None);
        assert!(examples::service(json!({})).window_end.is_some());
    }

    #[test]
    fn something_else_is_no_alert() {
        for text in [
            "{}",
            "[]",
            "\"budget_threshold\"",
            r#"{"kind": "party"}"#,
            r#"{"kind": "stopped"}"#,
        ] {
            assert!(serde_json::from_str::<Alert>(text).is_err(), "{text}");
        }
    }
}
