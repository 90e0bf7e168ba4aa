//! What the demo tells at each change and at the end.

use anyhow::{Context, Result};
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::api::{Api, text};
use super::registered::Registered;

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

/// The closing table of a task: who did it, how long it took, what it cost.
pub fn task(finished: &Value, history: &Value, agent: &str) -> Result<String> {
    let at =
        |field: &str| time_of(&finished[field]).with_context(|| format!("the task has no {field}"));
    let waiting = at("claimed_at")? - at("created_at")?;
    let working = at("finished_at")? - at("claimed_at")?;
    let rows = [
        ("task", finished["title"].as_str().unwrap_or("?").to_owned()),
        ("agent", agent.to_owned()),
        ("time waiting", format!("{:.3} s", waiting.as_seconds_f64())),
        ("time working", format!("{:.3} s", working.as_seconds_f64())),
        ("cost", format!("{} USD", usd(cost_millionths(history)?))),
    ];
    let rows = rows.map(|(name, value)| vec![name.to_owned(), value]);
    Ok(table(&rows))
}

/// The closing table of services, each as `/api/services/status` lists it.
pub fn services<'a>(services: impl IntoIterator<Item = &'a Value>) -> Result<String> {
    let head = ["service", "limit", "spent", "held", "status"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    for service in services {
        let amount = |field: &str| Ok::<_, anyhow::Error>(usd(millionths(&service[field])?));
        let word = |field: &str| service[field].as_str().unwrap_or("?").to_owned();
        rows.push(vec![
            word("name"),
            amount("budget_usd")?,
            amount("spent_usd")?,
            amount("held_usd")?,
            word("status"),
        ]);
    }
    Ok(table(&rows))
}

/// What was spent for the task, in millionths of a dollar; what was only held does not count. A
/// task that cost nothing was not charged, so the demo failed.
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

fn is_spent(charge: &Value) -> bool {
    ["settle", "overage", "adjustment"].contains(&charge["kind"].as_str().unwrap_or_default())
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

/// Rows of equally many cells, with lines around them.
fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.first().map_or(0, Vec::len);
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let rule: String = widths
        .iter()
        .map(|width| format!("+-{}-", "-".repeat(*width)))
        .collect();
    let rule = format!("  {rule}+");
    let mut text = format!("{rule}\n");
    for row in rows {
        let cells = row.iter().zip(&widths);
        let cells: String = cells
            .map(|(cell, width)| format!("| {cell:<width$} "))
            .collect();
        text.push_str(&format!("  {cells}|\n"));
    }
    text + &rule
}

/// The table with which a task's story ends.
pub async fn print_task(api: &Api, finished: &Value, agent: &Registered) -> Result<()> {
    let path = format!("/api/tasks/{}/events?limit=200", text(finished, "id")?);
    let history = api.get(&path).await?;
    say!("\n{}", task(finished, &history, &agent.name)?);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_was_spent_is_added_exactly() {
        let history = json!({"charges": [
            {"kind": "hold", "amount_usd": 5}, {"kind": "release", "amount_usd": 4.9},
            {"kind": "settle", "amount_usd": 0.1}, {"kind": "settle", "amount_usd": 0.2},
            {"kind": "overage", "amount_usd": "0.000001"},
        ]});
        assert_eq!(usd(cost_millionths(&history).expect("a sum")), "0.300001");
    }

    #[test]
    fn a_task_without_a_charge_is_a_failed_demo() {
        assert!(cost_millionths(&json!({"charges": []})).is_err());
    }

    #[test]
    fn services_are_listed_in_columns() {
        let service = json!({"name": "m", "budget_usd": 1, "spent_usd": "0.5", "held_usd": 0, "status": "ACTIVE"});
        let rule = "  +---------+----------+----------+----------+--------+";
        let head = "  | service | limit    | spent    | held     | status |";
        let row = "  | m       | 1.000000 | 0.500000 | 0.000000 | ACTIVE |";
        let expected = [rule, head, row, rule].join("\n");
        assert_eq!(services([&service]).expect("a table"), expected);
    }

    #[test]
    fn a_change_is_told_in_words() {
        let change = json!({"from_status": "TODO", "to_status": "IN_PROGRESS", "actor": "agent:1"});
        assert_eq!(event(&change), "task TODO -> IN_PROGRESS by the agent");
    }
}
