//! Which process of an installation is given which setting.
//!
//! A setting belongs to the API, to bridges, to none of our services, or else to all of them
//! (`RUST_LOG`, `OUTBOX_CONCURRENCY`). What belongs to somebody reaches nobody else, so that a
//! process that is taken over gives away its own secrets only.

use std::collections::BTreeMap;

use anyhow::Result;

use crate::bridges::{BRIDGES, Bridge};
use crate::layout::Layout;
use crate::ports::Ports;
use crate::secrets::Secrets;

/// Settings by name.
pub type Settings = BTreeMap<String, String>;

/// What the names of the API's settings begin with.
const API: [&str; 3] = ["API_", "SUPABASE_", "GITHUB_WEBHOOK_SECRET"];

/// The logins of the owner, of Grafana and of people, and tokens that people have for other ends.
/// Of ways past a pooler each service has its own, as its login.
const OF_NO_SERVICE: [&str; 5] = ["DATABASE_URL", DIRECT_URL, "ADMIN_", "GRAFANA_", "GITHUB_"];

/// What every service calls its way past a pooler.
const DIRECT_URL: &str = "DATABASE_DIRECT_URL";

/// Everything that is recorded, and what people wrote into `.env`.
pub fn all(layout: &Layout, ports: &Ports, secrets: &Secrets) -> Result<Settings> {
    let mut settings: Settings = secrets.entries(ports)?.into_iter().collect();
    for (name, value) in layout.env_overrides()? {
        settings.entry(name).or_insert(value);
    }
    Ok(settings)
}

/// What the API is given.
pub fn of_api(mut settings: Settings) -> Settings {
    settings.retain(|name, _| is_apis(name) || is_everybodys(name));
    rename(&mut settings, "API_DATABASE_DIRECT_URL", DIRECT_URL);
    settings
}

/// What a bridge is given: its own settings, its login and address under the names that all
/// bridges have.
pub fn of_bridge(bridge: &Bridge, mut settings: Settings) -> Settings {
    settings.retain(|name, _| bridge.owns(name) || is_everybodys(name));
    let prefix = bridge.prefix();
    let url = format!("{prefix}URL");
    for (name, theirs) in [
        ("BRIDGE_DATABASE_URL", "BRIDGE_DATABASE_URL"),
        ("BRIDGE_DATABASE_DIRECT_URL", DIRECT_URL),
        ("BRIDGE_BIND", "BRIDGE_BIND"),
        // With a login that nobody else is given.
        ("BRIDGE_URL", url.as_str()),
    ] {
        rename(&mut settings, &format!("{prefix}{name}"), theirs);
    }
    settings
}

fn rename(settings: &mut Settings, from: &str, to: &str) {
    if let Some(value) = settings.remove(from) {
        settings.insert(to.to_owned(), value);
    }
}

fn is_apis(name: &str) -> bool {
    API.iter().any(|it| name.starts_with(it))
}

fn is_everybodys(name: &str) -> bool {
    let is_no_services = OF_NO_SERVICE.iter().any(|it| name.starts_with(it));
    !is_no_services && !is_apis(name) && !BRIDGES.iter().any(|bridge| bridge.owns(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [&str; 14] = [
        "ADMIN_PASSWORD",
        "API_BROKER_SECRET",
        "API_DATABASE_URL",
        "DATABASE_URL",
        "GITHUB_TOKEN",
        "GITHUB_WEBHOOK_SECRET",
        "GRAFANA_POSTGRES_PASSWORD",
        "OUTBOX_CONCURRENCY",
        "RABBITMQ_BRIDGE_DATABASE_URL",
        "RABBITMQ_BRIDGE_URL",
        "RABBITMQ_URL",
        "SUPABASE_JWT_SECRET",
        "TELEGRAM_BOT_TOKEN",
        "TELEGRAM_BRIDGE_DATABASE_URL",
    ];

    fn settings() -> Settings {
        let entry = |name: &str| (name.to_owned(), format!("value of {name}"));
        ALL.map(entry).into()
    }

    fn names(settings: &Settings) -> Vec<&str> {
        settings.keys().map(String::as_str).collect()
    }

    #[test]
    fn a_bridge_knows_its_own_settings_and_nobody_elses() {
        let [rabbitmq, telegram] = BRIDGES.each_ref().map(|it| of_bridge(it, settings()));
        assert_eq!(
            names(&telegram),
            [
                "BRIDGE_DATABASE_URL",
                "OUTBOX_CONCURRENCY",
                "TELEGRAM_BOT_TOKEN"
            ]
        );
        assert_eq!(
            telegram["BRIDGE_DATABASE_URL"],
            "value of TELEGRAM_BRIDGE_DATABASE_URL"
        );
        assert_eq!(
            names(&rabbitmq),
            ["BRIDGE_DATABASE_URL", "OUTBOX_CONCURRENCY", "RABBITMQ_URL"]
        );
        assert_eq!(rabbitmq["RABBITMQ_URL"], "value of RABBITMQ_BRIDGE_URL");
    }

    #[test]
    fn each_service_has_a_way_past_the_pooler_of_its_own() {
        let mut all = settings();
        for name in [
            "DATABASE_DIRECT_URL",
            "API_DATABASE_DIRECT_URL",
            "RABBITMQ_BRIDGE_DATABASE_DIRECT_URL",
        ] {
            all.insert(name.to_owned(), format!("value of {name}"));
        }
        let direct = |settings: Settings| settings.get(DIRECT_URL).cloned();
        assert_eq!(
            direct(of_api(all.clone())).as_deref(),
            Some("value of API_DATABASE_DIRECT_URL")
        );
        let [rabbitmq, telegram] = BRIDGES.each_ref().map(|it| of_bridge(it, all.clone()));
        assert_eq!(
            direct(rabbitmq).as_deref(),
            Some("value of RABBITMQ_BRIDGE_DATABASE_DIRECT_URL")
        );
        assert_eq!(direct(telegram), None);
    }

    #[test]
    fn the_api_knows_no_settings_of_bridges_and_no_login_of_the_owner() {
        assert_eq!(
            names(&of_api(settings())),
            [
                "API_BROKER_SECRET",
                "API_DATABASE_URL",
                "GITHUB_WEBHOOK_SECRET",
                "OUTBOX_CONCURRENCY",
                "SUPABASE_JWT_SECRET",
            ]
        );
    }
}
