//! The servers of an installation, in the order in which they start.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::signal::Signal;

use super::child::Part;
use super::environment::{self, Settings};
use super::process::FORCE_PATIENCE;
use crate::bridges::BRIDGES;
use crate::cluster::{Cluster, ClusterOptions};
use crate::env_file;
use crate::layout::Layout;
use crate::ports::Ports;
use crate::rabbitmq::{AgentLogins, RabbitMq, stop_port_mapper};
use crate::run_as::ServerUser;
use crate::secrets::Secrets;

/// How long Postgres may write out what it has, and the broker.
const POSTGRES_PATIENCE: Duration = Duration::from_secs(60);
const RABBITMQ_PATIENCE: Duration = Duration::from_secs(30);

/// How long one of our programs may finish what it has begun.
const SERVICE_PATIENCE: Duration = Duration::from_secs(30);

/// How long all parts together may take to end, one after the other, and to be ended by force.
pub fn stop_patience() -> Duration {
    let stand_ins = BRIDGES.iter().filter(|it| it.stand_in.is_some()).count();
    let services = u32::try_from(1 + BRIDGES.len() + stand_ins).unwrap_or(u32::MAX);
    let forced = FORCE_PATIENCE * (services + 2);
    POSTGRES_PATIENCE + RABBITMQ_PATIENCE + SERVICE_PATIENCE * services + forced
}

/// All parts, prepared from what is recorded in `.devart`.
pub fn all(layout: &Layout) -> Result<Vec<Part>> {
    let ports = Ports::recorded(&layout.ports_file())
        .context("nothing is set up here yet; run `devart up`")?;
    let recorded = env_file::read(&layout.env_file())?;
    let secrets = Secrets::settle(&Default::default(), &recorded);
    let settings = environment::all(layout, &ports, &secrets)?;
    let mut parts = vec![
        postgres(cluster(layout, &ports, &secrets)?),
        rabbitmq(layout, &ports, &secrets)?,
        api(layout, settings.clone())?,
    ];
    for bridge in &BRIDGES {
        let stand_in = bridge.stand_in(|name| secrets.is_set(name));
        let mut settings = environment::of_bridge(bridge, settings.clone());
        if let Some(it) = stand_in {
            let port = ports.of(it.part)?;
            let to_stand_in = (it.settings)(port).into_iter();
            settings.extend(to_stand_in.map(|(name, value)| (name.to_owned(), value)));
            parts.push(self::stand_in(layout, bridge.name, it.part, port)?);
        }
        let program = layout.bin_dir().join(bridge.program());
        parts.push(service(bridge.part, program, settings)?);
    }
    Ok(parts)
}

/// The cluster of this installation, made if need be.
pub fn cluster(layout: &Layout, ports: &Ports, secrets: &Secrets) -> Result<Cluster> {
    let options = ClusterOptions {
        port: Some(ports.postgres),
        password: Some(secrets.postgres_password.clone()),
        socket_dir: Some(layout.socket_dir()),
        ..ClusterOptions::default()
    };
    Cluster::init(&layout.postgres_dir(), options)
}

fn postgres(cluster: Cluster) -> Part {
    Part {
        name: "postgres",
        command: Box::new(move || cluster.server_command()),
        // "Fast": disconnects clients; SIGTERM would wait for them.
        stop_signal: Signal::SIGINT,
        patience: POSTGRES_PATIENCE,
        after_stop: Box::new(|| {}),
    }
}

fn rabbitmq(layout: &Layout, ports: &Ports, secrets: &Secrets) -> Result<Part> {
    let agents = AgentLogins {
        api_url: format!("http://127.0.0.1:{}", ports.api),
        secret: secrets.broker_secret.clone(),
    };
    let (ports, password) = (ports.rabbitmq, &secrets.rabbitmq_password);
    let node = RabbitMq::init(&layout.rabbitmq_dir(), &layout.id(), ports, password)?;
    node.keep_logins(password, &agents)?;
    Ok(Part {
        name: "rabbitmq",
        command: Box::new(move || node.server_command()),
        stop_signal: Signal::SIGTERM,
        patience: RABBITMQ_PATIENCE,
        after_stop: Box::new(move || stop_port_mapper(ports.epmd)),
    })
}

fn api(layout: &Layout, settings: Settings) -> Result<Part> {
    let program = layout.bin_dir().join("devart-api");
    service("api", program, environment::of_api(settings))
}

/// What a bridge speaks to as long as nobody has chosen the system outside, so that its messages
/// can be seen, and none waits for ever.
fn stand_in(layout: &Layout, bridge: &'static str, part: &'static str, port: u16) -> Result<Part> {
    let (user, program) = (
        ServerUser::for_server("nobody")?,
        layout.bin_dir().join("devart"),
    );
    let port = port.to_string();
    Ok(self::part(part, move || {
        let mut command = bare_command(&user, &program);
        command.args(["stand-in", bridge, "--port", &port]);
        command
    }))
}

fn service(name: &'static str, program: PathBuf, settings: Settings) -> Result<Part> {
    let user = ServerUser::for_server("nobody")?;
    Ok(part(name, move || {
        let mut command = bare_command(&user, &program);
        command.envs(&settings);
        command
    }))
}

/// One of our programs. It opens no file of its own, so as root it runs as the user that owns
/// nothing.
fn bare_command(user: &ServerUser, program: &Path) -> Command {
    let mut command: Command = user.command(program);
    command
        .env_clear()
        .env("LANG", "C.UTF-8")
        .env("PATH", "/usr/bin:/bin");
    command
}

fn part(name: &'static str, command: impl Fn() -> Command + Send + 'static) -> Part {
    Part {
        name,
        command: Box::new(command),
        stop_signal: Signal::SIGTERM,
        patience: SERVICE_PATIENCE,
        after_stop: Box::new(|| {}),
    }
}
