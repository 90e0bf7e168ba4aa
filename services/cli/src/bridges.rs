//! The bridges of an installation, one line for each.
//!
//! Whatever lists bridges reads this table: supervisor, ports, secrets, health, `devart up`,
//! `doctor`, `logs`, `stand-in`. So a new bridge is its crate, with a program `devart-<name>`, its
//! login and topics in `sql/`, and a line here. A bridge answers `/readyz`
//! (`devart_kit::endpoint`), which is its health.

use crate::stand_in::{self, StandIn};

/// All of them, in the order in which they start.
pub static BRIDGES: [Bridge; 2] = [
    Bridge {
        name: "rabbitmq",
        part: "rabbitmq-bridge",
        outside: "RabbitMQ",
        port: 8090,
        topics: &["rabbitmq.task"],
        needs: &[],
        takes: &[],
        stand_in: None,
    },
    Bridge {
        name: "telegram",
        part: "telegram",
        outside: "Telegram",
        port: 8091,
        topics: &["telegram.alert"],
        needs: &["TELEGRAM_BOT_TOKEN", "TELEGRAM_CHAT_ID"],
        takes: &["TELEGRAM_API_URL", "TELEGRAM_PROXY_URL"],
        stand_in: Some(stand_in::telegram::STAND_IN),
    },
];

/// A line of the table.
pub struct Bridge {
    /// Its name in topics, roles and settings: `telegram.alert`, `devart_bridge_telegram`,
    /// `TELEGRAM_...`. Settings with its name are its own: no other process is given them.
    pub name: &'static str,
    /// Its name among the parts of an installation, and its log's.
    pub part: &'static str,
    /// What people call the system outside.
    pub outside: &'static str,
    /// Where its health and metrics are, or the next free port above.
    pub port: u16,
    /// What it delivers; written from the first `devart up` on.
    pub topics: &'static [&'static str],
    /// Settings without which it cannot do its work. Chosen by people, then kept as secrets are.
    pub needs: &'static [&'static str],
    /// Settings that it can do without; kept in the same way.
    pub takes: &'static [&'static str],
    /// What takes its messages as long as nobody has chosen the outside system.
    pub stand_in: Option<StandIn>,
}

impl Bridge {
    /// Its program.
    pub fn program(&self) -> String {
        format!("devart-{}", self.name)
    }

    /// The role that it logs in as.
    pub fn role(&self) -> String {
        format!("devart_bridge_{}", self.name)
    }

    /// What the names of its own settings begin with.
    pub fn prefix(&self) -> String {
        format!("{}_", self.name.to_uppercase())
    }

    /// The setting with the connection string of its role.
    pub fn database_url(&self) -> String {
        format!("{}BRIDGE_DATABASE_URL", self.prefix())
    }

    /// The setting with the address of its health.
    pub fn bind(&self) -> String {
        format!("{}BRIDGE_BIND", self.prefix())
    }

    /// What people may choose about it.
    pub fn settings(&self) -> impl Iterator<Item = &'static str> {
        self.needs.iter().chain(self.takes).copied()
    }

    /// Whether a setting is its own.
    pub fn owns(&self, setting: &str) -> bool {
        setting.starts_with(&self.prefix()) || self.settings().any(|it| it == setting)
    }

    /// The stand-in that it speaks to with these settings, if it does.
    pub fn stand_in(&self, is_set: impl Fn(&str) -> bool) -> Option<&StandIn> {
        self.stand_in.as_ref().filter(|it| !is_set(it.instead_of))
    }

    /// What it needs and does not have.
    pub fn missing(&self, is_set: impl Fn(&str) -> bool) -> Vec<&'static str> {
        let needs = self.needs.iter().copied();
        needs.filter(|setting| !is_set(setting)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_ports_and_settings_belong_to_one_line_each() {
        let stand_ins = || BRIDGES.iter().filter_map(|it| it.stand_in.as_ref());
        let parts = BRIDGES.iter().map(|it| it.part);
        let mut parts: Vec<_> = parts.chain(stand_ins().map(|it| it.part)).collect();
        let ports = BRIDGES.iter().map(|it| it.port);
        let mut ports: Vec<_> = ports.chain(stand_ins().map(|it| it.port)).collect();
        let mut settings: Vec<_> = BRIDGES.iter().flat_map(Bridge::settings).collect();
        let counts = (parts.len(), ports.len(), settings.len());
        parts.sort_unstable();
        parts.dedup();
        ports.sort_unstable();
        ports.dedup();
        settings.sort_unstable();
        settings.dedup();
        assert_eq!((parts.len(), ports.len(), settings.len()), counts);
    }

    #[test]
    fn topics_and_stand_ins_fit_their_bridge() {
        for bridge in &BRIDGES {
            let of_bridge = format!("{}.", bridge.name);
            for topic in bridge.topics {
                assert!(topic.starts_with(&of_bridge), "{topic}");
            }
            if let Some(stand_in) = &bridge.stand_in {
                assert_eq!(stand_in.part, format!("{}-stand-in", bridge.name));
                assert!(bridge.needs.contains(&stand_in.instead_of));
            }
        }
    }

    #[test]
    fn what_a_bridge_needs_and_does_not_have_is_named() {
        let telegram = &BRIDGES[1];
        let has_token = |name: &str| name == "TELEGRAM_BOT_TOKEN";
        assert_eq!(telegram.missing(has_token), ["TELEGRAM_CHAT_ID"]);
        assert!(telegram.stand_in(has_token).is_none());
        assert!(telegram.stand_in(|_| false).is_some());
    }
}
