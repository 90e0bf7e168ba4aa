//! Which TCP ports this installation uses.
//!
//! A port named in the environment is taken at its word; else the port recorded on the first run;
//! else the default, or the next free one above it. So a second clone on the same machine just
//! works, and addresses stay the same.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::bridges::BRIDGES;
use crate::env_file;
use crate::rabbitmq::NodePorts;

/// The ports of one installation, all on 127.0.0.1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ports {
    /// Postgres.
    pub postgres: u16,
    /// The HTTP API.
    pub api: u16,
    /// The node of RabbitMQ.
    pub rabbitmq: NodePorts,
    /// Of bridges and of what stands in for the systems outside, by part.
    parts: BTreeMap<&'static str, u16>,
}

/// One port as it is known to people: its variable, what listens there, and where to look first.
struct Port {
    variable: Cow<'static, str>,
    what: Cow<'static, str>,
    default: u16,
}

impl Port {
    const fn new(variable: &'static str, what: &'static str, default: u16) -> Self {
        Self {
            variable: Cow::Borrowed(variable),
            what: Cow::Borrowed(what),
            default,
        }
    }
}

const POSTGRES: Port = Port::new("DEVART_PG_PORT", "Postgres", 54320);
const API: Port = Port::new("DEVART_API_PORT", "the API", 8080);
const RABBITMQ: Port = Port::new("DEVART_RABBITMQ_PORT", "RabbitMQ", 56720);
const RABBITMQ_DIST: Port = Port::new("DEVART_RABBITMQ_DIST_PORT", "RabbitMQ's tools", 56740);
const EPMD: Port = Port::new("DEVART_EPMD_PORT", "Erlang's port mapper", 43690);

/// The parts with a port in the table of bridges: all bridges, then all stand-ins.
fn parts() -> Vec<(&'static str, Port)> {
    let bridges = BRIDGES.iter().map(|bridge| {
        let port = Port {
            variable: format!("DEVART_{}BRIDGE_PORT", bridge.prefix()).into(),
            what: format!("the bridge to {}", bridge.outside).into(),
            default: bridge.port,
        };
        (bridge.part, port)
    });
    let stand_ins = BRIDGES.iter().filter_map(|bridge| {
        let stand_in = bridge.stand_in.as_ref()?;
        let port = Port {
            variable: format!("DEVART_{}STAND_IN_PORT", bridge.prefix()).into(),
            what: format!("the stand-in for {}", bridge.outside).into(),
            default: stand_in.port,
        };
        Some((stand_in.part, port))
    });
    bridges.chain(stand_ins).collect()
}

impl Ports {
    /// The ports recorded in `file`, overridden by the environment, completed with free ones; then
    /// recorded again.
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

    /// The ports recorded in `file`; none when `devart up` has not run yet. Bridges that are newer
    /// than the last `devart up` have none.
    pub fn recorded(file: &Path) -> Option<Self> {
        let recorded = env_file::read(file).ok()?;
        let number = |port: &Port| recorded.get(&*port.variable)?.parse().ok();
        let parts = parts().into_iter();
        Some(Self {
            postgres: number(&POSTGRES)?,
            api: number(&API)?,
            rabbitmq: NodePorts {
                clients: number(&RABBITMQ)?,
                dist: number(&RABBITMQ_DIST)?,
                epmd: number(&EPMD)?,
            },
            parts: parts
                .filter_map(|(part, port)| Some((part, number(&port)?)))
                .collect(),
        })
    }

    pub(crate) fn choose(
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
            rabbitmq: NodePorts {
                clients: pick(&RABBITMQ)?,
                dist: pick(&RABBITMQ_DIST)?,
                epmd: pick(&EPMD)?,
            },
            parts: parts()
                .into_iter()
                .map(|(part, port)| Ok((part, pick(&port)?)))
                .collect::<Result<_>>()?,
        })
    }

    /// The port of a bridge or of a stand-in.
    ///
    /// # Errors
    /// When it is newer than the last `devart up`.
    pub fn of(&self, part: &str) -> Result<u16> {
        let number = self.parts.get(part).copied();
        number.with_context(|| format!("no port of {part} is recorded; run `devart up`"))
    }

    fn entries(&self) -> Vec<(String, String)> {
        self.known()
            .into_iter()
            .map(|(port, number)| (port.variable.into_owned(), number.to_string()))
            .collect()
    }

    fn known(&self) -> Vec<(Port, u16)> {
        let servers = [
            (POSTGRES, self.postgres),
            (API, self.api),
            (RABBITMQ, self.rabbitmq.clients),
            (RABBITMQ_DIST, self.rabbitmq.dist),
            (EPMD, self.rabbitmq.epmd),
        ];
        let parts = parts().into_iter();
        let parts = parts.filter_map(|(part, port)| Some((port, *self.parts.get(part)?)));
        servers.into_iter().chain(parts).collect()
    }

    /// Each port that another program has: its number, what it is for, and its variable. To be
    /// asked while none of our own servers runs.
    pub fn taken(&self) -> Vec<Taken> {
        let known = self.known().into_iter();
        known
            .filter(|(_, number)| !is_free(*number))
            .map(|(port, number)| Taken {
                number,
                what: port.what.into_owned(),
                variable: port.variable.into_owned(),
            })
            .collect()
    }

    /// Fails with a sentence when a port is in use. To be asked while none of our own servers runs.
    pub fn require_free(&self) -> Result<()> {
        if let Some(Taken {
            number,
            what,
            variable,
        }) = self.taken().first()
        {
            bail!(
                "port {number} for {what} is used by another program; stop that program, or \
                 choose another port: {variable}=NUMBER devart up"
            );
        }
        Ok(())
    }
}

/// A port that another program has.
#[derive(Debug)]
pub struct Taken {
    /// The port.
    pub number: u16,
    /// What would listen there.
    pub what: String,
    /// The variable that chooses another one.
    pub variable: String,
}

impl Port {
    fn choose(
        &self,
        environment: &BTreeMap<String, String>,
        recorded: &BTreeMap<String, String>,
        free: impl Fn(u16) -> bool,
    ) -> Result<u16> {
        let (variable, default) = (&*self.variable, self.default);
        if let Some(text) = environment.get(variable).or_else(|| recorded.get(variable)) {
            let number = text.parse().ok().filter(|port| *port != 0);
            return number.with_context(|| {
                format!("{variable} must be a port number from 1 to 65535, not \"{text}\"")
            });
        }
        (default..=u16::MAX)
            .find(|candidate| free(*candidate))
            .with_context(|| format!("no free port from {default} on; set {variable}"))
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
    fn ports_that_an_earlier_version_recorded_are_kept() {
        let recorded = [
            ("DEVART_PG_PORT", "1"),
            ("DEVART_API_PORT", "2"),
            ("DEVART_RABBITMQ_PORT", "3"),
            ("DEVART_RABBITMQ_DIST_PORT", "4"),
            ("DEVART_EPMD_PORT", "5"),
            ("DEVART_RABBITMQ_BRIDGE_PORT", "6"),
            ("DEVART_TELEGRAM_BRIDGE_PORT", "7"),
            ("DEVART_TELEGRAM_STAND_IN_PORT", "8"),
        ];
        let ports = Ports::choose(&map(&[]), &map(&recorded), |_| true).expect("ports");
        assert_eq!(ports.of("rabbitmq-bridge").expect("a port"), 6);
        assert_eq!(ports.of("telegram").expect("a port"), 7);
        assert_eq!(ports.of("telegram-stand-in").expect("a port"), 8);
        let entries: BTreeMap<String, String> = ports.entries().into_iter().collect();
        assert_eq!(entries, map(&recorded));
    }

    #[test]
    fn defaults_are_those_that_the_documents_name() {
        let ports = Ports::choose(&map(&[]), &map(&[]), |_| true).expect("ports");
        let of = |part| ports.of(part).expect("a port");
        assert_eq!((of("rabbitmq-bridge"), of("telegram")), (8090, 8091));
        assert_eq!(of("telegram-stand-in"), 8092);
    }

    #[test]
    fn a_port_with_a_listener_is_not_free() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("bind");
        assert!(!is_free(listener.local_addr().expect("address").port()));
    }
}
