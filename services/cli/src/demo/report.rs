//! What the demo tells at each change and at the end.

use anyhow::{Context, Result};
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// One change of the task in words.
pub fn event(event: &Value) -> String {
    let actor = event["actor"].as_str().unwrap_or("?");
    let who = actor.split(':').next().unwrap_or(actor);
    match (event["from_status"].as_str(), event["to_status"].as_str()) {
        (None, Some(to)) => format!("task is {to}"),
        (Some(from), Some(to)) => format!("task {from} -> {to} by the {who}"),
        _ => format!("task changed: {event}"),
    }
}

/// The closing table.
pub fn print(created: &Value, finished: &Value, history: &Value, agent: &str) -> Result<()> {
    let at = |task: &Value, field: &str| {
        time_of(&task[field]).with_context(|| format!("the task has no {field}"))
    };
    let waiting = at(finished, "claimed_at")? - at(created, "created_at")?;
    let working = at(finished, "finished_at")? - at(finished, "claimed_at")?;
    let rows = [
        ("task", finished["title"].as_str().unwrap_or("?").to_owned()),
        ("agent", agent.to_owned()),
        ("time waiting", format!("{:.3} s", waiting.as_seconds_f64())),
        ("time working", format!("{:.3} s", working.as_seconds_f64())),
        ("cost", format!("{} USD", usd(cost_millionths(history)?))),
    ];
    println!("\n{}", table(&rows));
    Ok(())
}

/// What was charged for the task, in millionths of a dollar. A task that cost nothing was not charged, so the demo failed.
fn cost_millionths(history: &Value) -> Result<i64> {
    let charges: Vec<&Value> = history["charges"]
        .as_array()
        .context("the history has no charges")?
        .iter()
        .filter(|charge| is_spent(charge))
        .collect();
    anyhow::ensure!(
        !charges.is_empty(),
        "the agent finished the task, but charged nothing for it"
    );
    charges
        .iter()
        .map(|charge| millionths(&charge["amount_usd"]))
        .sum()
}

/// Money that was only set aside, or given back, costs nothing.
fn is_spent(charge: &Value) -> bool {
    !["hold", "release"].contains(&charge["kind"].as_str().unwrap_or_default())
}

/// Exact decimals, whether they came as a JSON number or as a string.
fn millionths(amount: &Value) -> Result<i64> {
    let text = amount
        .as_str()
        .map_or_else(|| amount.to_string(), str::to_owned);
    let value: f64 = text
        .parse()
        .with_context(|| format!("{text} is no amount"))?;
    // Amounts have six decimals and are far below 2^53 millionths, so rounding is exact.
    #[allow(clippy::cast_possible_truncation)]
    Ok((value * 1e6).round() as i64)
}

fn usd(millionths: i64) -> String {
    format!("{}.{:06}", millionths / 1_000_000, millionths % 1_000_000)
}

fn time_of(value: &Value) -> Option<OffsetDateTime> {
    OffsetDateTime::parse(value.as_str()?, &Rfc3339).ok()
}

fn table(rows: &[(&str, String)]) -> String {
    let width = rows
        .iter()
        .map(|(_, value)| value.chars().count())
        .max()
        .unwrap_or(0);
    let rule = format!("  +--------------+-{}-+\n", "-".repeat(width));
    let mut text = rule.clone();
    for (name, value) in rows {
        text.push_str(&format!("  | {name:<12} | {value:<width$} |\n"));
    }
    text + rule.trim_end()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn charges_are_added_exactly() {
        let history = json!({"charges": [
            {"kind": "settle", "amount_usd": 0.1},
            {"kind": "overage", "amount_usd": 0.2},
            {"kind": "settle", "amount_usd": "0.000001"},
            {"kind": "hold", "amount_usd": 0.3},
            {"kind": "release", "amount_usd": 0.2},
        ]});
        assert_eq!(usd(cost_millionths(&history).expect("a sum")), "0.300001");
    }

    #[test]
    fn a_task_without_a_charge_is_a_failed_demo() {
        assert!(cost_millionths(&json!({"charges": []})).is_err());
    }

    #[test]
    fn a_change_is_told_in_words() {
        let change = json!({"from_status": "TODO", "to_status": "IN_PROGRESS", "actor": "agent:1"});
        assert_eq!(event(&change), "task TODO -> IN_PROGRESS by the agent");
    }
}
