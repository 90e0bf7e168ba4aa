//! The files that Grafana is provisioned with.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};
use serde_json::json;

use crate::support::grafana::{dashboards, directory, list, text};

#[test]
fn dashboards_have_fixed_unique_uids_and_let_people_choose_the_data_source() -> Result<()> {
    let dashboards = dashboards()?;
    assert_eq!(
        dashboards.iter().map(|it| &it.file).collect::<Vec<_>>(),
        ["operations.json", "tasks.json"]
    );
    let mut uids = BTreeSet::new();
    for dashboard in &dashboards {
        let (file, json) = (&dashboard.file, &dashboard.json);
        let uid = text(&json["uid"]);
        assert!(uid.starts_with("devart-"), "{file}: {uid}");
        assert!(uids.insert(uid), "{file}: {uid} is taken");
        assert!(json["id"].is_null(), "{file}: ids belong to a Grafana");
        let source = dashboard.variables().next().context("a variable")?;
        assert_eq!(source["name"], "datasource", "{file}");
        assert_eq!(source["type"], "datasource", "{file}");
        let wanted = json!({"type": source["query"], "uid": "${datasource}"});
        for panel in dashboard.charts() {
            let title = text(&panel["title"]);
            assert!(!text(&panel["description"]).is_empty(), "{file}: {title}");
            assert_eq!(panel["datasource"], wanted, "{file}: {title}");
            assert!(list(&panel["targets"]).count() > 0, "{file}: {title}");
        }
        for query in dashboard.queries() {
            assert_eq!(
                query.target["datasource"], wanted,
                "{file}: {}",
                query.panel
            );
        }
        let ids: BTreeSet<String> = dashboard.panels().map(|it| it["id"].to_string()).collect();
        assert_eq!(
            ids.len(),
            dashboard.panels().count(),
            "{file}: ids of panels"
        );
    }
    Ok(())
}

#[test]
fn no_two_panels_lie_on_each_other() -> Result<()> {
    for dashboard in dashboards()? {
        let mut taken = BTreeMap::new();
        for panel in dashboard.panels() {
            let at = |name: &str| panel["gridPos"][name].as_i64().expect("a number");
            assert!(at("x") + at("w") <= 24, "{}: {panel:#}", dashboard.file);
            for x in at("x")..at("x") + at("w") {
                for y in at("y")..at("y") + at("h") {
                    let other = taken.insert((x, y), &panel["title"]);
                    assert!(other.is_none(), "{} lies on {other:?}", panel["title"]);
                }
            }
        }
    }
    Ok(())
}

#[test]
fn every_variable_of_the_provisioning_is_explained() -> Result<()> {
    let readme = std::fs::read_to_string(directory().join("README.md"))?;
    let mut found = BTreeSet::new();
    for file in ["datasources/devart.yaml", "dashboards/devart.yaml"] {
        let yaml = std::fs::read_to_string(directory().join("provisioning").join(file))?;
        for after in yaml.split('$').skip(1) {
            let end = after.find(|c: char| !(c.is_ascii_uppercase() || c == '_'));
            found.insert(after[..end.unwrap_or(after.len())].to_owned());
        }
    }
    assert!(found.contains("GRAFANA_POSTGRES_PASSWORD"), "{found:?}");
    for variable in found {
        assert!(readme.contains(&format!("| `{variable}` |")), "{variable}");
    }
    Ok(())
}
