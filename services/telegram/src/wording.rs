//! An alert in words.

use rust_decimal::Decimal;
use time::OffsetDateTime;
use time::UtcOffset;

use crate::alert::{Alert, BudgetAlert, Kind, Scope, StopAlert, StopKind, StopScope};
use crate::text::Text;

/// What people are told.
pub fn of(alert: &Alert) -> Text {
    match alert {
        Alert::Budget(alert) => of_budget(alert),
        Alert::Stop(alert) => of_stop(alert),
    }
}

/// What was stopped, by whom, why, and what follows.
fn of_stop(alert: &StopAlert) -> Text {
    let text = stop_headline(alert).plain("\nby ").code(&alert.actor);
    let text = match &alert.reason {
        Some(reason) => text.plain(format!("\n{reason}")),
        None => text,
    };
    match alert.kind {
        StopKind::Stopped => text.plain("\nwhat is in hand may end; nothing else begins"),
        StopKind::Resumed => text,
    }
}

fn stop_headline(alert: &StopAlert) -> Text {
    let (sign, what) = match alert.kind {
        StopKind::Stopped => (
            "⛔ ",
            if alert.scope == StopScope::All {
                "stopped"
            } else {
                "paused"
            },
        ),
        StopKind::Resumed => ("▶️ ", "resumed"),
    };
    let text = Text::default().plain(sign);
    let text = match (&alert.name, alert.scope_id) {
        (Some(name), _) => text
            .plain(format!("The {} ", alert.scope.name()))
            .bold(name)
            .plain(" is "),
        (None, Some(id)) => text
            .plain(format!("The {} ", alert.scope.name()))
            .code(&id.to_string())
            .plain(" is "),
        (None, None) => text.plain("Everything is "),
    };
    text.plain(what)
}

/// What happened, the figures, the window, and what follows.
fn of_budget(alert: &BudgetAlert) -> Text {
    let text = figures(headline(alert), alert);
    let text = text.plain(format!("\n{}", window(alert)));
    match alert.kind {
        Kind::BudgetThreshold => text,
        Kind::ServiceSuspended => consequence(text, alert.substitute.as_deref()),
    }
}

fn headline(alert: &BudgetAlert) -> Text {
    match (alert.kind, alert.threshold_percent) {
        (Kind::ServiceSuspended, _) => {
            subject(alert, "⛔ ").plain(" is suspended: its budget is spent")
        }
        (Kind::BudgetThreshold, Some(100)) => {
            subject(alert, "⛔ ").plain(" has used up its budget")
        }
        (Kind::BudgetThreshold, Some(percent)) => {
            subject(alert, "⚠️ ").plain(format!(" has spent {percent} % of its budget"))
        }
        (Kind::BudgetThreshold, None) => subject(alert, "⚠️ ").plain(" spends its budget"),
    }
}

fn subject(alert: &BudgetAlert, sign: &str) -> Text {
    let text = Text::default().plain(sign);
    match (&alert.service, alert.scope) {
        (Some(name), Scope::Service) => text.bold(name),
        (_, scope) => text
            .plain(format!("The {} ", scope.name()))
            .code(&alert.scope_id.to_string()),
    }
}

fn figures(text: Text, alert: &BudgetAlert) -> Text {
    text.plain("\nspent ")
        .code(&usd(alert.spent_usd))
        .plain(" of ")
        .code(&usd(alert.budget_usd))
        .plain(" USD")
}

/// In UTC, since chats have no time zone.
fn window(alert: &BudgetAlert) -> String {
    let start = minute(alert.window_start);
    match alert.window_end {
        Some(end) => format!("from {start} to {} UTC", minute(end)),
        None => format!("since {start} UTC"),
    }
}

fn consequence(text: Text, substitute: Option<&str>) -> Text {
    match substitute {
        Some(name) => text
            .plain("\nfrom now on ")
            .bold(name)
            .plain(" is charged instead"),
        None => text.plain("\nthere is no substitute: what needs it waits for budget"),
    }
}

/// At least cents, and as much more as there is.
fn usd(amount: Decimal) -> String {
    let mut amount = amount.normalize();
    if amount.scale() < 2 {
        amount.rescale(2);
    }
    amount.to_string()
}

fn minute(at: OffsetDateTime) -> String {
    let at = at.to_offset(UtcOffset::UTC);
    format!("{} {:02}:{:02}", at.date(), at.hour(), at.minute())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::alert::examples::{agent, service};
    use crate::chat::LONGEST_MESSAGE;

    #[test]
    fn a_threshold_says_who_how_much_of_what_and_when() {
        assert_eq!(
            of_budget(&service(json!({}))).to_string(),
            "⚠️ gpt-4.1 has spent 80 % of its budget\nspent 0.85 of 1.00 USD\nfrom 2026-01-01 00:00 to 2026-01-02 00:00 UTC"
        );
    }

    #[test]
    fn in_markdown_all_but_the_marks_is_escaped() {
        assert_eq!(
            of_budget(&service(json!({}))).markdown(),
            "⚠️ *gpt\\-4\\.1* has spent 80 % of its budget\nspent `0.85` of `1.00` USD\n\
             from 2026\\-01\\-01 00:00 to 2026\\-01\\-02 00:00 UTC"
        );
    }

    #[test]
    fn a_suspension_names_the_substitute() {
        let alone = json!({"kind": "service_suspended", "threshold_percent": null});
        let text = of_budget(&service(alone)).to_string();
        assert!(text.starts_with("⛔ gpt-4.1 is suspended"), "{text}");
        assert!(text.ends_with("waits for budget"), "{text}");
        let helped = json!({"kind": "service_suspended", "substitute": "local"});
        let text = of_budget(&service(helped)).to_string();
        assert!(
            text.ends_with("from now on local is charged instead"),
            "{text}"
        );
    }

    #[test]
    fn another_scope_is_named_by_its_id_and_its_window_may_have_no_end() {
        assert_eq!(
            of_budget(&agent(100)).to_string(),
            "⛔ The agent 01890000-0000-7000-8000-000000000001 has used up its budget\n\
             spent 12.345678 of 10.00 USD\nsince 2026-01-01 00:00 UTC"
        );
    }

    #[test]
    fn every_alert_fits_into_a_message_whatever_the_names() {
        let name = "🙂.".repeat(10_000);
        let alert =
            service(json!({"kind": "service_suspended", "service": name, "substitute": name}));
        assert!(of_budget(&alert).markdown().encode_utf16().count() < LONGEST_MESSAGE);
    }

    fn stop(kind: &str, scope: &str, name: Option<&str>, reason: Option<&str>) -> String {
        let payload = json!({
            "kind": kind, "scope": scope, "name": name, "reason": reason, "actor": "role:postgres",
            "scope_id": (scope != "all").then_some("01890000-0000-7000-8000-000000000001"),
        });
        of(&serde_json::from_value(payload).expect("an alert")).to_string()
    }

    #[test]
    fn a_stop_says_what_by_whom_and_why() {
        assert_eq!(
            stop("stopped", "all", None, Some("spends too much")),
            "⛔ Everything is stopped\nby role:postgres\nspends too much\n\
             what is in hand may end; nothing else begins"
        );
        assert_eq!(
            stop("resumed", "agent", Some("coder"), None),
            "▶️ The agent coder is resumed\nby role:postgres"
        );
        let run = stop("stopped", "run", None, None);
        let start = "⛔ The run 01890000-0000-7000-8000-000000000001 is paused\n";
        assert!(run.starts_with(start), "{run}");
    }

    #[test]
    fn a_stop_fits_into_a_message_whatever_its_reason() {
        let text = stop(
            "stopped",
            "task",
            Some(&"🙂.".repeat(100)),
            Some(&"🙂".repeat(1000)),
        );
        assert!(text.encode_utf16().count() < LONGEST_MESSAGE);
    }
}
