//! The addresses and secrets of an installation, kept in `.devart/env`.
//!
//! A secret comes from the environment or `.env` when somebody chose it, else from the record, else it is made up
//! once. Lines that people add to the record stay there and reach the API.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Result;
use url::Url;

use crate::cluster::OWNER;
use crate::ports::Ports;
use crate::{env_file, random};

/// Role the API logs in as.
pub const API_ROLE: &str = "authenticator";

/// Role the bridge to RabbitMQ logs in as.
pub const RABBITMQ_BRIDGE_ROLE: &str = "devart_bridge_rabbitmq";

/// Role the bridge to Telegram logs in as.
pub const TELEGRAM_BRIDGE_ROLE: &str = "devart_bridge_telegram";

/// Role that Grafana logs in as.
pub const GRAFANA_ROLE: &str = "devart_grafana";

const COMMENT: &str =
    "Addresses and secrets of this installation. Made once by `devart up`; keep it private.";

/// Everything secret, plus who the first admin is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Secrets {
    /// Password of the owner of the database.
    pub postgres_password: String,
    /// Password of the API's login role.
    pub api_password: String,
    /// Password of the login role of the bridge to RabbitMQ.
    pub rabbitmq_bridge_password: String,
    /// Password of the login role of the bridge to Telegram.
    pub telegram_bridge_password: String,
    /// Password of Grafana's login role.
    pub grafana_password: String,
    /// Password of the RabbitMQ user.
    pub rabbitmq_password: String,
    /// Key that signs people's tokens.
    pub jwt_secret: String,
    /// Secret shared with GitHub.
    pub webhook_secret: String,
    /// The first admin.
    pub admin_email: String,
    /// The first admin's first password.
    pub admin_password: String,
    /// Lines of the record that are not ours, and what people chose about Telegram.
    pub extra: BTreeMap<String, String>,
}

impl Secrets {
    /// Settles every secret from what people chose, what is recorded, and chance.
    pub fn settle(chosen: &BTreeMap<String, String>, recorded: &BTreeMap<String, String>) -> Self {
        let keep_or = |name: &str, make: fn() -> String| {
            chosen
                .get(name)
                .or_else(|| recorded.get(name))
                .cloned()
                .unwrap_or_else(make)
        };
        // Passwords of our own servers live in the servers too: only the record counts.
        let recorded_password = |name: &str| {
            recorded
                .get(name)
                .and_then(|url| password_of(url))
                .unwrap_or_else(|| random::word(32))
        };
        Self {
            postgres_password: recorded_password("DATABASE_URL"),
            api_password: recorded_password("API_DATABASE_URL"),
            rabbitmq_bridge_password: recorded_password("RABBITMQ_BRIDGE_DATABASE_URL"),
            telegram_bridge_password: recorded_password("TELEGRAM_BRIDGE_DATABASE_URL"),
            grafana_password: recorded
                .get("GRAFANA_POSTGRES_PASSWORD")
                .cloned()
                .unwrap_or_else(|| random::word(32)),
            rabbitmq_password: recorded_password("RABBITMQ_URL"),
            jwt_secret: keep_or("SUPABASE_JWT_SECRET", || random::word(48)),
            webhook_secret: keep_or("GITHUB_WEBHOOK_SECRET", || random::word(40)),
            admin_email: keep_or("ADMIN_EMAIL", || "admin@devart.local".to_owned()),
            admin_password: keep_or("ADMIN_PASSWORD", || random::word(20)),
            extra: recorded
                .iter()
                .filter(|(name, _)| !OURS.contains(&name.as_str()))
                .chain(
                    chosen
                        .iter()
                        .filter(|(name, _)| TELEGRAM.contains(&name.as_str())),
                )
                .map(|(name, value)| (name.clone(), value.clone()))
                .collect(),
        }
    }

    /// Whether alerts have somewhere to go; else the stand-in takes them.
    pub fn has_telegram(&self) -> bool {
        self.extra.contains_key("TELEGRAM_BOT_TOKEN")
    }

    /// The lines of `.devart/env`.
    pub fn entries(&self, ports: &Ports) -> Vec<(String, String)> {
        let database = |user: &str, password: &str| {
            format!(
                "postgres://{user}:{password}@127.0.0.1:{}/{OWNER}",
                ports.postgres
            )
        };
        let ours = [
            database(OWNER, &self.postgres_password),
            format!("http://127.0.0.1:{}", ports.api),
            format!(
                "amqp://{OWNER}:{}@127.0.0.1:{}",
                self.rabbitmq_password, ports.rabbitmq
            ),
            self.jwt_secret.clone(),
            self.webhook_secret.clone(),
            self.admin_email.clone(),
            self.admin_password.clone(),
            database(API_ROLE, &self.api_password),
            format!("127.0.0.1:{}", ports.api),
            database(RABBITMQ_BRIDGE_ROLE, &self.rabbitmq_bridge_password),
            format!("127.0.0.1:{}", ports.rabbitmq_bridge),
            database(TELEGRAM_BRIDGE_ROLE, &self.telegram_bridge_password),
            format!("127.0.0.1:{}", ports.telegram_bridge),
            // In parts, as Grafana's data source wants them.
            format!("127.0.0.1:{}", ports.postgres),
            OWNER.to_owned(),
            GRAFANA_ROLE.to_owned(),
            self.grafana_password.clone(),
            "disable".to_owned(),
        ];
        let ours = OURS
            .iter()
            .zip(ours)
            .map(|(name, value)| ((*name).to_owned(), value));
        let extra = self
            .extra
            .iter()
            .map(|(name, value)| (name.clone(), value.clone()));
        ours.chain(extra).collect()
    }

    /// Writes the record, readable by its owner only.
    pub fn write(&self, path: &Path, ports: &Ports) -> Result<()> {
        env_file::write(path, COMMENT, &self.entries(ports), 0o600)
    }
}

/// Our lines of the record, in the order of [`Secrets::entries`].
const OURS: [&str; 18] = [
    "DATABASE_URL",
    "API_URL",
    "RABBITMQ_URL",
    "SUPABASE_JWT_SECRET",
    "GITHUB_WEBHOOK_SECRET",
    "ADMIN_EMAIL",
    "ADMIN_PASSWORD",
    "API_DATABASE_URL",
    "API_BIND",
    "RABBITMQ_BRIDGE_DATABASE_URL",
    "RABBITMQ_BRIDGE_BIND",
    "TELEGRAM_BRIDGE_DATABASE_URL",
    "TELEGRAM_BRIDGE_BIND",
    "GRAFANA_POSTGRES_ADDRESS",
    "GRAFANA_POSTGRES_DATABASE",
    "GRAFANA_POSTGRES_USER",
    "GRAFANA_POSTGRES_PASSWORD",
    "GRAFANA_POSTGRES_SSLMODE",
];

/// What is nobody's to make up: chosen, then kept as secrets are.
const TELEGRAM: [&str; 3] = ["TELEGRAM_BOT_TOKEN", "TELEGRAM_CHAT_ID", "TELEGRAM_API_URL"];

fn password_of(url: &str) -> Option<String> {
    Url::parse(url).ok()?.password().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PORTS: Ports = Ports {
        postgres: 1,
        api: 2,
        rabbitmq: 3,
        rabbitmq_dist: 4,
        epmd: 5,
        rabbitmq_bridge: 6,
        telegram_bridge: 7,
        telegram_stand_in: 8,
    };

    fn record(secrets: &Secrets) -> BTreeMap<String, String> {
        secrets.entries(&PORTS).into_iter().collect()
    }

    #[test]
    fn secrets_are_made_once_and_kept() {
        let first = Secrets::settle(&BTreeMap::new(), &BTreeMap::new());
        assert_eq!(Secrets::settle(&BTreeMap::new(), &record(&first)), first);
    }

    #[test]
    fn a_chosen_secret_beats_the_record_and_extra_lines_stay() {
        let mut recorded = record(&Secrets::settle(&BTreeMap::new(), &BTreeMap::new()));
        recorded.insert("RUST_LOG".to_owned(), "debug".to_owned());
        let chosen = BTreeMap::from([("GITHUB_WEBHOOK_SECRET".to_owned(), "mine".to_owned())]);
        let settled = Secrets::settle(&chosen, &recorded);
        assert_eq!(settled.webhook_secret, "mine");
        assert_eq!(record(&settled).get("RUST_LOG"), Some(&"debug".to_owned()));
    }

    #[test]
    fn a_bots_token_is_chosen_once_and_kept() {
        let chosen = BTreeMap::from([("TELEGRAM_BOT_TOKEN".to_owned(), "1:a".to_owned())]);
        let first = Secrets::settle(&chosen, &BTreeMap::new());
        let later = Secrets::settle(&BTreeMap::new(), &record(&first));
        assert!(later.has_telegram());
        assert!(!Secrets::settle(&BTreeMap::new(), &BTreeMap::new()).has_telegram());
    }

    #[test]
    fn a_database_url_of_the_environment_never_becomes_our_password() {
        let chosen = BTreeMap::from([(
            "DATABASE_URL".to_owned(),
            "postgres://a:theirs@elsewhere/x".to_owned(),
        )]);
        assert_ne!(
            Secrets::settle(&chosen, &BTreeMap::new()).postgres_password,
            "theirs"
        );
    }
}
