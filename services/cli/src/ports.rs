//! Which TCP ports this installation uses.
//!
//! A port named in the environment is taken at its word; else the port recorded on the first run; else the default,
//! or the next free one above it. So a second clone on the same machine just works, and addresses stay the same.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::env_file;

/// The ports of one installation, all on 127.0.0.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ports {
    /// Postgres.
    pub postgres: u16,
    /// The HTTP API.
    pub api: u16,
    /// RabbitMQ for clients (AMQP).
    pub rabbitmq: u16,
    /// RabbitMQ between nodes and for its tools; nobody else uses it.
    pub rabbitmq_dist: u16,
    /// Erlang's port mapper, private to this installation.
    pub epmd: u16,
    /// Health and metrics of the bridge to RabbitMQ.
    pub rabbitmq_bridge: u16,
    /// Health and metrics of the bridge to Telegram.
    pub telegram_bridge: u16,
    /// What stands in for Telegram as long as there is no bot's token.
    pub telegram_stand_in: u16,
}

/// One port as it is known to people: its variable and where to look first.
struct Port {
    variable: &'static str,
    default: u16,
}

const POSTGRES: Port = Port {
    variable: "DEVART_PG_PORT",
    default: 54320,
};
const API: Port = Port {
    variable: "DEVART_API_PORT",
    default: 8080,
};
const RABBITMQ: Port = Port {
    variable: "DEVART_RABBITMQ_PORT",
    default: 56720,
};
const RABBITMQ_DIST: Port = Port {
    variable: "DEVART_RABBITMQ_DIST_PORT",
    default: 56740,
};
const EPMD: Port = Port {
    variable: "DEVART_EPMD_PORT",
    default: 43690,
};
const RABBITMQ_BRIDGE: Port = Port {
    variable: "DEVART_RABBITMQ_BRIDGE_PORT",
    default: 8090,
};
const TELEGRAM_BRIDGE: Port = Port {
    variable: "DEVART_TELEGRAM_BRIDGE_PORT",
    default: 8091,
};
const TELEGRAM_STAND_IN: Port = Port {
    variable: "DEVART_TELEGRAM_STAND_IN_PORT",
    default: 8092,
};

impl Ports {
    /// The ports recorded in `file`, overridden by the environment, completed with free ones; then recorded again.
    pub fn settle(file: &Path, chosen: &BTreeMap<String, String>) -> Result<Self> {
        let recorded = env_file::read(file)?;
        let ports = Self::choose(chosen, &recorded, is_free)?;
        env_file::write(
            file,
            "Ports of this installation; chosen on the first run. Delete to choose again.",
            &ports.entries(),
            0o644,
        )?;
        Ok(ports)
    }

    /// The ports recorded in `file`; none when `devart up` has not run yet.
    pub fn recorded(file: &Path) -> Option<Self> {
        let recorded = env_file::read(file).ok()?;
        let port = |it: &Port| recorded.get(it.variable)?.parse().ok();
        Some(Self {
            postgres: port(&POSTGRES)?,
            api: port(&API)?,
            rabbitmq: port(&RABBITMQ)?,
            rabbitmq_dist: port(&RABBITMQ_DIST)?,
            epmd: port(&EPMD)?,
            rabbitmq_bridge: port(&RABBITMQ_BRIDGE)?,
            telegram_bridge: port(&TELEGRAM_BRIDGE)?,
            telegram_stand_in: port(&TELEGRAM_STAND_IN)?,
        })
    }

    fn choose(
        environment: &BTreeMap<String, String>,
        recorded: &BTreeMap<String, String>,
        free: impl Fn(u16) -> bool,
    ) -> Result<Self> {
        let mut taken = Vec::new();
        let mut pick = |port: &Port| -> Result<u16> {
            let number = port.choose(environment, recorded, |candidate| {
                !taken.contains(&candidate) && free(candidate)
            })?;
            taken.push(number);
            Ok(number)
        };
        Ok(Self {
            postgres: pick(&POSTGRES)?,
            api: pick(&API)?,
            rabbitmq: pick(&RABBITMQ)?,
            rabbitmq_dist: pick(&RABBITMQ_DIST)?,
            epmd: pick(&EPMD)?,
            rabbitmq_bridge: pick(&RABBITMQ_BRIDGE)?,
            telegram_bridge: pick(&TELEGRAM_BRIDGE)?,
            telegram_stand_in: pick(&TELEGRAM_STAND_IN)?,
        })
    }

    fn entries(&self) -> Vec<(String, String)> {
        self.named()
            .into_iter()
            .map(|(variable, _, number)| (variable.to_owned(), number.to_string()))
            .collect()
    }

    /// Each port with its variable and what listens there.
    pub fn named(&self) -> [(&'static str, &'static str, u16); 8] {
        [
            (POSTGRES.variable, "Postgres", self.postgres),
            (API.variable, "the API", self.api),
            (RABBITMQ.variable, "RabbitMQ", self.rabbitmq),
            (
                RABBITMQ_DIST.variable,
                "RabbitMQ's tools",
                self.rabbitmq_dist,
            ),
            (EPMD.variable, "Erlang's port mapper", self.epmd),
            (
                RABBITMQ_BRIDGE.variable,
                "the bridge to RabbitMQ",
                self.rabbitmq_bridge,
            ),
            (
                TELEGRAM_BRIDGE.variable,
                "the bridge to Telegram",
                self.telegram_bridge,
            ),
            (
                TELEGRAM_STAND_IN.variable,
                "the stand-in for Telegram",
                self.telegram_stand_in,
            ),
        ]
    }

    /// Fails with a sentence when a port is in use. To be asked while none of our own servers runs.
    pub fn require_free(&self) -> Result<()> {
        for (variable, what, number) in self.named() {
            if !is_free(number) {
                bail!(
                    "port {number} for {what} is used by another program; stop that program, or choose another port: {variable}=NUMBER devart up"
                );
            }
        }
        Ok(())
    }
}

impl Port {
    fn choose(
        &self,
        environment: &BTreeMap<String, String>,
        recorded: &BTreeMap<String, String>,
        free: impl Fn(u16) -> bool,
    ) -> Result<u16> {
        if let Some(text) = environment
            .get(self.variable)
            .or_else(|| recorded.get(self.variable))
        {
            return text
                .parse()
                .ok()
                .filter(|port| *port != 0)
                .with_context(|| {
                    format!(
                        "{} must be a port number from 1 to 65535, not \"{text}\"",
                        self.variable
                    )
                });
        }
        (self.default..=u16::MAX)
            .find(|candidate| free(*candidate))
            .with_context(|| {
                format!(
                    "no free port from {} on; set {}",
                    self.default, self.variable
                )
            })
    }
}

/// Whether nobody listens on this port of 127.0.0.1.
pub fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

/// A port that was free a moment ago, chosen by the kernel.
pub fn any_free() -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("asking for a free port")?;
    Ok(listener.local_addr().context("reading the port")?.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(entries: &[(&str, &str)]) -> BTreeMap<String, String> {
        entries
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn a_taken_default_is_replaced_by_the_next_free_port() {
        let ports = Ports::choose(&map(&[]), &map(&[]), |port| port != 54320 && port != 54321)
            .expect("ports");
        assert_eq!(ports.postgres, 54322);
        assert_eq!(ports.api, 8080);
    }

    #[test]
    fn a_recorded_port_is_kept_even_when_it_is_taken() {
        let ports = Ports::choose(&map(&[]), &map(&[("DEVART_PG_PORT", "6000")]), |port| {
            port != 6000
        })
        .expect("ports");
        assert_eq!(ports.postgres, 6000);
    }

    #[test]
    fn the_environment_beats_the_record() {
        let ports = Ports::choose(
            &map(&[("DEVART_API_PORT", "9000")]),
            &map(&[("DEVART_API_PORT", "8081")]),
            |_| true,
        )
        .expect("ports");
        assert_eq!(ports.api, 9000);
    }

    #[test]
    fn a_port_that_is_no_number_is_refused_by_name() {
        let error = Ports::choose(&map(&[("DEVART_API_PORT", "http")]), &map(&[]), |_| true)
            .expect_err("refused");
        assert!(error.to_string().contains("DEVART_API_PORT"), "{error}");
    }

    #[test]
    fn two_parts_never_get_the_same_port() {
        let ports =
            Ports::choose(&map(&[("DEVART_PG_PORT", "8080")]), &map(&[]), |_| true).expect("ports");
        assert_eq!((ports.postgres, ports.api), (8080, 8081));
    }

    #[test]
    fn a_port_with_a_listener_is_not_free() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("bind");
        assert!(!is_free(listener.local_addr().expect("address").port()));
    }
}
