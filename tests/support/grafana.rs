//! The dashboards' files, and what Grafana makes of the queries in them.

use std::path::PathBuf;

use anyhow::{Context, Result};
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// One JSON file of `dashboards/grafana`.
#[derive(Debug)]
pub struct Dashboard {
    pub file: String,
    pub json: Value,
}

/// A query of a panel.
#[derive(Debug)]
pub struct Query<'a> {
    pub panel: &'a str,
    pub target: &'a Value,
}

/// What a person chose at the top of the page.
#[derive(Debug, Clone, Copy)]
pub struct TimeRange {
    pub from: OffsetDateTime,
    pub to: OffsetDateTime,
}

/// The directory of the dashboards.
pub fn directory() -> PathBuf {
    PathBuf::from(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../dashboards/grafana"
    ))
}

/// All dashboards, by file name.
pub fn dashboards() -> Result<Vec<Dashboard>> {
    let mut dashboards = Vec::new();
    for entry in std::fs::read_dir(directory()).context("reading dashboards/grafana")? {
        let path = entry?.path();
        if path.extension().is_some_and(|it| it == "json") {
            dashboards.push(Dashboard::read(path)?);
        }
    }
    dashboards.sort_by(|one, other| one.file.cmp(&other.file));
    Ok(dashboards)
}

impl Dashboard {
    /// The dashboard of this file name.
    pub fn named(file: &str) -> Result<Self> {
        Self::read(directory().join(file))
    }

    fn read(path: PathBuf) -> Result<Self> {
        let text = std::fs::read_to_string(&path)
            .with_context(|| format!("reading {}", path.display()))?;
        let json = serde_json::from_str(&text)
            .with_context(|| format!("{} is not JSON", path.display()))?;
        let name = path.file_name().context("a file has a name")?;
        Ok(Self {
            file: name.to_string_lossy().into_owned(),
            json,
        })
    }

    /// Everything on the page, headings too.
    pub fn panels(&self) -> impl Iterator<Item = &Value> {
        list(&self.json["panels"])
    }

    /// The panels that show something.
    pub fn charts(&self) -> impl Iterator<Item = &Value> {
        self.panels().filter(|panel| panel["type"] != "row")
    }

    /// Every query of every panel.
    pub fn queries(&self) -> impl Iterator<Item = Query<'_>> {
        self.charts().flat_map(|panel| {
            list(&panel["targets"]).map(|target| Query {
                panel: text(&panel["title"]),
                target,
            })
        })
    }

    /// What people can choose, the data source first.
    pub fn variables(&self) -> impl Iterator<Item = &Value> {
        list(&self.json["templating"]["list"])
    }

    /// The SQL that Grafana sends for a query: variables first, then macros.
    pub fn expand(&self, sql: &str, range: TimeRange) -> Result<String> {
        let mut sql = sql.replace("$__interval", "1m");
        for variable in self.variables() {
            let name = format!("${}", text(&variable["name"]));
            if let Some(chosen) = variable["current"]["value"].as_str() {
                sql = sql.replace(&name, chosen);
            }
        }
        while let Some(at) = sql.find("$__") {
            let rest = &sql[at..];
            let open = rest.find('(').context("a macro has arguments")?;
            // As in Grafana, whose pattern ends the arguments at the first bracket.
            let close = rest.find(')').context("a macro's arguments end")?;
            let arguments: Vec<&str> = rest[open + 1..close].split(',').map(str::trim).collect();
            let expanded = range.expand(&rest[1..open], &arguments)?;
            sql.replace_range(at..at + close + 1, &expanded);
        }
        Ok(sql)
    }
}

impl TimeRange {
    /// One macro of Grafana's data source for Postgres, with bars of a minute.
    fn expand(self, name: &str, arguments: &[&str]) -> Result<String> {
        let from = format!("'{}'", self.from.format(&Rfc3339)?);
        let to = format!("'{}'", self.to.format(&Rfc3339)?);
        Ok(match (name, arguments) {
            ("__timeFrom", [""]) => from,
            ("__timeTo", [""]) => to,
            ("__timeFilter", [column]) => format!("{column} BETWEEN {from} AND {to}"),
            ("__timeGroupAlias", [column, "1m"] | [column, "1m", _]) => {
                format!("floor(extract(epoch from {column})/60)*60 AS \"time\"")
            }
            _ => anyhow::bail!("no macro of Grafana: {name}({})", arguments.join(", ")),
        })
    }
}

/// The members of a JSON array.
pub fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// A JSON string; empty when it is none.
pub fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
