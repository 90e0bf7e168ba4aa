//! The servers of an installation, in the order in which they start.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::signal::Signal;

use super::child::Part;
use crate::cluster::{Cluster, ClusterOptions};
use crate::demo::telegram;
use crate::env_file;
use crate::layout::Layout;
use crate::ports::Ports;
use crate::rabbitmq::{RabbitMq, stop_port_mapper};
use crate::run_as::ServerUser;
use crate::secrets::Secrets;

/// All parts, prepared from what is recorded in `.devart`.
pub fn all(layout: &Layout) -> Result<Vec<Part>> {
    let ports = Ports::recorded(&layout.ports_file())
        .context("nothing is set up here yet; run `devart up`")?;
    let recorded = env_file::read(&layout.env_file())?;
    let secrets = Secrets::settle(&Default::default(), &recorded);
    let mut parts = vec![
        postgres(cluster(layout, &ports, &secrets)?),
        rabbitmq(layout, ports, &secrets)?,
        api(layout, &ports, &secrets)?,
        rabbitmq_bridge(layout, &ports, &secrets)?,
    ];
    if !secrets.has_telegram() {
        parts.push(telegram_stand_in(layout, &ports)?);
    }
    parts.push(telegram(layout, &ports, &secrets)?);
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
        patience: Duration::from_secs(60),
        after_stop: Box::new(|| {}),
    }
}

fn rabbitmq(layout: &Layout, ports: Ports, secrets: &Secrets) -> Result<Part> {
    let node = RabbitMq::init(
        &layout.rabbitmq_dir(),
        &layout.id(),
        ports,
        &secrets.rabbitmq_password,
    )?;
    Ok(Part {
        name: "rabbitmq",
        command: Box::new(move || node.server_command()),
        stop_signal: Signal::SIGTERM,
        patience: Duration::from_secs(30),
        after_stop: Box::new(move || stop_port_mapper(ports.epmd)),
    })
}

fn api(layout: &Layout, ports: &Ports, secrets: &Secrets) -> Result<Part> {
    let mut environment = environment(layout, ports, secrets)?;
    environment.retain(|name, _| {
        ["RABBITMQ_BRIDGE_", "TELEGRAM_"]
            .iter()
            .all(|others| !name.starts_with(others))
    });
    service("api", layout.bin_dir().join("devart-api"), environment)
}

fn rabbitmq_bridge(layout: &Layout, ports: &Ports, secrets: &Secrets) -> Result<Part> {
    let environment = bridge_environment(environment(layout, ports, secrets)?, "RABBITMQ_");
    let program = layout.bin_dir().join("devart-rabbitmq");
    service("rabbitmq-bridge", program, environment)
}

/// Without a bot's token it speaks to the stand-in, so that alerts can be seen, and none waits for ever.
fn telegram(layout: &Layout, ports: &Ports, secrets: &Secrets) -> Result<Part> {
    let mut environment = bridge_environment(environment(layout, ports, secrets)?, "TELEGRAM_");
    if !secrets.has_telegram() {
        let stand_in = [
            ("TELEGRAM_BOT_TOKEN", telegram::TOKEN.to_owned()),
            ("TELEGRAM_CHAT_ID", telegram::CHAT.to_owned()),
            ("TELEGRAM_API_URL", telegram::url(ports.telegram_stand_in)),
        ];
        environment.extend(stand_in.map(|(name, value)| (name.to_owned(), value)));
    }
    let program = layout.bin_dir().join("devart-telegram");
    service("telegram", program, environment)
}

fn telegram_stand_in(layout: &Layout, ports: &Ports) -> Result<Part> {
    let (user, program) = (
        ServerUser::for_server("nobody")?,
        layout.bin_dir().join("devart"),
    );
    let port = ports.telegram_stand_in.to_string();
    Ok(part("telegram-stand-in", move || {
        let mut command = bare_command(&user, &program);
        command.args(["telegram-stand-in", "--port", &port]);
        command
    }))
}

/// What a bridge may know: its own settings, under the names that all bridges have, and those that everybody has.
fn bridge_environment(
    mut environment: BTreeMap<String, String>,
    own: &str,
) -> BTreeMap<String, String> {
    for name in ["BRIDGE_DATABASE_URL", "BRIDGE_BIND"] {
        if let Some(value) = environment.remove(&format!("{own}{name}")) {
            environment.insert(name.to_owned(), value);
        }
    }
    let somebodys = ["API_", "SUPABASE_", "GITHUB_", "RABBITMQ_", "TELEGRAM_"];
    environment.retain(|name, _| {
        name.starts_with(own) || somebodys.iter().all(|others| !name.starts_with(others))
    });
    environment
}

/// What our services may know: everything but the logins of the owner and of Grafana and people's passwords.
fn environment(
    layout: &Layout,
    ports: &Ports,
    secrets: &Secrets,
) -> Result<BTreeMap<String, String>> {
    let mut environment: BTreeMap<String, String> = secrets.entries(ports).into_iter().collect();
    for (name, value) in layout.env_overrides()? {
        environment.entry(name).or_insert(value);
    }
    // Not the owner's database: each service only ever logs in as its own role.
    let others = ["ADMIN_", "GRAFANA_"];
    environment.retain(|name, _| {
        name != "DATABASE_URL" && others.iter().all(|others| !name.starts_with(others))
    });
    Ok(environment)
}

fn service(
    name: &'static str,
    program: PathBuf,
    environment: BTreeMap<String, String>,
) -> Result<Part> {
    let user = ServerUser::for_server("nobody")?;
    Ok(part(name, move || {
        let mut command = bare_command(&user, &program);
        command.envs(&environment);
        command
    }))
}

/// One of our programs. It opens no file of its own, so as root it runs as the user that owns nothing.
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
        patience: Duration::from_secs(30),
        after_stop: Box::new(|| {}),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bridge_knows_its_own_settings_and_nobody_elses() {
        let names = [
            "RABBITMQ_BRIDGE_DATABASE_URL",
            "TELEGRAM_BRIDGE_DATABASE_URL",
            "TELEGRAM_BOT_TOKEN",
            "RABBITMQ_URL",
            "API_DATABASE_URL",
            "SUPABASE_JWT_SECRET",
            "RUST_LOG",
            "OUTBOX_CONCURRENCY",
        ];
        let all = names.map(|name| (name.to_owned(), format!("value of {name}")));
        let known = bridge_environment(BTreeMap::from(all), "TELEGRAM_");
        let names: Vec<&str> = known.keys().map(String::as_str).collect();
        assert_eq!(
            names,
            [
                "BRIDGE_DATABASE_URL",
                "OUTBOX_CONCURRENCY",
                "RUST_LOG",
                "TELEGRAM_BOT_TOKEN"
            ]
        );
        assert_eq!(
            known["BRIDGE_DATABASE_URL"],
            "value of TELEGRAM_BRIDGE_DATABASE_URL"
        );
    }
}
