//! The addresses and secrets of an installation, kept in `.devart/env`.
//!
//! A secret comes from the environment or `.env` when somebody chose it, else from the record, else
//! it is made up once. Lines that people add to the record stay there and reach the services
//! (`supervisor/environment.rs` says which).

use std::collections::BTreeMap;

use anyhow::Result;
use url::Url;

use crate::bridges::{BRIDGES, Bridge};
use crate::cluster::OWNER;
use crate::layout::Layout;
use crate::ports::Ports;
use crate::sourced::INSTALLATION;
use crate::{env_file, random};

/// Role the API logs in as.
pub const API_ROLE: &str = "authenticator";

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
    /// Passwords of the bridges' login roles, by bridge.
    pub bridge_passwords: BTreeMap<&'static str, String>,
    /// Password of Grafana's login role.
    pub grafana_password: String,
    /// Password of the RabbitMQ user, which the bridge has and no agent.
    pub rabbitmq_password: String,
    /// What the API knows the broker by.
    pub broker_secret: String,
    /// Key that signs people's tokens.
    pub jwt_secret: String,
    /// Secret shared with GitHub.
    pub webhook_secret: String,
    /// The first admin.
    pub admin: Admin,
    /// The one that is recorded: set, as far as we know.
    recorded_admin: Option<Admin>,
    /// Lines of the record that are not ours, and what people chose about bridges.
    pub extra: BTreeMap<String, String>,
}

/// An admin and the password that we gave the account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admin {
    /// Whom the account belongs to.
    pub email: String,
    /// Later the person may have another one.
    pub password: String,
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
            bridge_passwords: BRIDGES
                .iter()
                .map(|bridge| (bridge.name, recorded_password(&bridge.database_url())))
                .collect(),
            grafana_password: recorded
                .get("GRAFANA_POSTGRES_PASSWORD")
                .cloned()
                .unwrap_or_else(|| random::word(32)),
            rabbitmq_password: broker_password(recorded).unwrap_or_else(|| random::word(32)),
            broker_secret: recorded
                .get("API_BROKER_SECRET")
                .cloned()
                .unwrap_or_else(|| random::word(32)),
            jwt_secret: keep_or("SUPABASE_JWT_SECRET", || random::word(48)),
            webhook_secret: keep_or("GITHUB_WEBHOOK_SECRET", || random::word(40)),
            admin: Admin {
                email: keep_or("ADMIN_EMAIL", || "admin@devart.local".to_owned()),
                password: keep_or("ADMIN_PASSWORD", || random::word(20)),
            },
            recorded_admin: recorded_admin(recorded),
            extra: extra(chosen, recorded),
        }
    }

    /// Whether people chose another admin, or another password, than is recorded.
    pub fn has_new_admin(&self) -> bool {
        self.recorded_admin
            .as_ref()
            .is_some_and(|it| *it != self.admin)
    }

    /// The same with the recorded admin, for as long as the new one is not set.
    pub fn before_new_admin(&self) -> Self {
        let admin = self.recorded_admin.as_ref().unwrap_or(&self.admin);
        Self {
            admin: admin.clone(),
            ..self.clone()
        }
    }

    /// Whether a bridge's setting is there.
    pub fn is_set(&self, setting: &str) -> bool {
        self.extra.contains_key(setting)
    }

    /// The lines of `.devart/env`.
    ///
    /// # Errors
    /// When a bridge is newer than the last `devart up`.
    pub fn entries(&self, ports: &Ports) -> Result<Vec<(String, String)>> {
        let mut entries = self.own_entries(ports);
        for bridge in &BRIDGES {
            let database = database(ports, &bridge.role(), &self.bridge_passwords[bridge.name]);
            entries.push((bridge.database_url(), database));
            let bind = format!("127.0.0.1:{}", ports.of(bridge.part)?);
            entries.push((bridge.bind(), bind));
        }
        entries.extend(self.extra.clone());
        Ok(entries)
    }

    /// In the order of [`OURS`].
    fn own_entries(&self, ports: &Ports) -> Vec<(String, String)> {
        let values = [
            database(ports, OWNER, &self.postgres_password),
            format!("http://127.0.0.1:{}", ports.api),
            // Each agent logs in with its own id and key.
            format!("amqp://127.0.0.1:{}", ports.rabbitmq.clients),
            format!(
                "amqp://{OWNER}:{}@127.0.0.1:{}",
                self.rabbitmq_password, ports.rabbitmq.clients
            ),
            self.broker_secret.clone(),
            self.jwt_secret.clone(),
            self.webhook_secret.clone(),
            self.admin.email.clone(),
            self.admin.password.clone(),
            database(ports, API_ROLE, &self.api_password),
            format!("127.0.0.1:{}", ports.api),
            // In parts, as Grafana's data source wants them.
            format!("127.0.0.1:{}", ports.postgres),
            OWNER.to_owned(),
            GRAFANA_ROLE.to_owned(),
            self.grafana_password.clone(),
            "disable".to_owned(),
        ];
        let names = OURS.map(str::to_owned);
        names.into_iter().zip(values).collect()
    }

    /// Writes the record, readable by its owner only.
    pub fn write(&self, layout: &Layout, ports: &Ports) -> Result<()> {
        let clone = layout.repo.display().to_string();
        let mut entries = vec![(INSTALLATION.to_owned(), clone)];
        entries.extend(self.entries(ports)?);
        env_file::write(&layout.env_file(), COMMENT, &entries, 0o600)
    }
}

fn database(ports: &Ports, user: &str, password: &str) -> String {
    format!(
        "postgres://{user}:{password}@127.0.0.1:{}/{OWNER}",
        ports.postgres
    )
}

/// What is nobody's to make up: lines that people added, and what they chose about bridges.
fn extra(
    chosen: &BTreeMap<String, String>,
    recorded: &BTreeMap<String, String>,
) -> BTreeMap<String, String> {
    let added = recorded.iter().filter(|(name, _)| !is_ours(name));
    let of_bridges = chosen.iter().filter(|(name, _)| {
        let mut settings = BRIDGES.iter().flat_map(Bridge::settings);
        settings.any(|it| it == *name) && !is_ours(name)
    });
    added
        .chain(of_bridges)
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

fn is_ours(name: &str) -> bool {
    let is_of_bridge = |bridge: &Bridge| name == bridge.database_url() || name == bridge.bind();
    name == INSTALLATION || OURS.contains(&name) || BRIDGES.iter().any(is_of_bridge)
}

/// Whether every record may have a line of this name.
pub fn is_recorded(name: &str) -> bool {
    let mut settings = BRIDGES.iter().flat_map(Bridge::settings);
    is_ours(name) || settings.any(|it| it == name)
}

fn recorded_admin(recorded: &BTreeMap<String, String>) -> Option<Admin> {
    Some(Admin {
        email: recorded.get("ADMIN_EMAIL")?.clone(),
        password: recorded.get("ADMIN_PASSWORD")?.clone(),
    })
}

/// Our lines of the record, without those of bridges.
const OURS: [&str; 16] = [
    "DATABASE_URL",
    "API_URL",
    "RABBITMQ_URL",
    "RABBITMQ_BRIDGE_URL",
    "API_BROKER_SECRET",
    "SUPABASE_JWT_SECRET",
    "GITHUB_WEBHOOK_SECRET",
    "ADMIN_EMAIL",
    "ADMIN_PASSWORD",
    "API_DATABASE_URL",
    "API_BIND",
    "GRAFANA_POSTGRES_ADDRESS",
    "GRAFANA_POSTGRES_DATABASE",
    "GRAFANA_POSTGRES_USER",
    "GRAFANA_POSTGRES_PASSWORD",
    "GRAFANA_POSTGRES_SSLMODE",
];

/// The recorded password of the broker's user. Earlier versions had agents use it, too.
pub fn broker_password(recorded: &BTreeMap<String, String>) -> Option<String> {
    let urls = ["RABBITMQ_BRIDGE_URL", "RABBITMQ_URL"];
    let mut urls = urls.iter().filter_map(|name| recorded.get(*name));
    urls.find_map(|url| password_of(url))
}

/// The password in a URL.
pub fn password_of(url: &str) -> Option<String> {
    Url::parse(url).ok()?.password().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(secrets: &Secrets) -> BTreeMap<String, String> {
        let chosen = BTreeMap::new();
        let ports = Ports::choose(&chosen, &chosen, |_| true).expect("ports");
        secrets
            .entries(&ports)
            .expect("ports")
            .into_iter()
            .collect()
    }

    #[test]
    fn secrets_are_made_once_and_kept() {
        let first = Secrets::settle(&BTreeMap::new(), &BTreeMap::new());
        let second = Secrets::settle(&BTreeMap::new(), &record(&first));
        assert_eq!(record(&second), record(&first));
        assert!(!first.has_new_admin() && !second.has_new_admin());
    }

    #[test]
    fn another_admin_or_password_counts_once_it_is_set() {
        let first = Secrets::settle(&BTreeMap::new(), &BTreeMap::new());
        for (name, value) in [("ADMIN_PASSWORD", "x"), ("ADMIN_EMAIL", "me@example.org")] {
            let chosen = BTreeMap::from([(name.to_owned(), value.to_owned())]);
            let second = Secrets::settle(&chosen, &record(&first));
            assert!(second.has_new_admin());
            assert_eq!(record(&second.before_new_admin()), record(&first));
            assert_eq!(record(&second)[name], value);
            assert!(!Secrets::settle(&chosen, &record(&second)).has_new_admin());
        }
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
        assert!(later.is_set("TELEGRAM_BOT_TOKEN"));
        let nothing = Secrets::settle(&BTreeMap::new(), &BTreeMap::new());
        assert!(!nothing.is_set("TELEGRAM_BOT_TOKEN"));
    }

    #[test]
    fn what_an_earlier_version_recorded_is_kept() {
        let mut recorded = record(&Secrets::settle(&BTreeMap::new(), &BTreeMap::new()));
        let database = "postgres://devart_bridge_telegram:theirs@127.0.0.1:54320/devart";
        for (name, value) in [
            ("TELEGRAM_BRIDGE_DATABASE_URL", database),
            ("TELEGRAM_BRIDGE_BIND", "127.0.0.1:8091"),
            ("TELEGRAM_BOT_TOKEN", "1:a"),
        ] {
            recorded.insert(name.to_owned(), value.to_owned());
        }
        let settled = Secrets::settle(&BTreeMap::new(), &recorded);
        assert_eq!(settled.bridge_passwords["telegram"], "theirs");
        assert_eq!(record(&settled), recorded);
    }

    #[test]
    fn agents_are_given_no_password_of_the_broker_and_the_one_they_had_stays_the_bridges() {
        let earlier = ("RABBITMQ_URL", "amqp://devart:theirs@127.0.0.1:56720");
        let recorded = BTreeMap::from([(earlier.0.to_owned(), earlier.1.to_owned())]);
        let now = record(&Secrets::settle(&BTreeMap::new(), &recorded));
        assert!(!now["RABBITMQ_URL"].contains('@'));
        assert_eq!(broker_password(&now).as_deref(), Some("theirs"));
        assert_eq!(record(&Secrets::settle(&BTreeMap::new(), &now)), now);
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
