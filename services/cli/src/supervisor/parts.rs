//! The servers of an installation, in the order in which they start.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::signal::Signal;

use super::child::Part;
use crate::cluster::{Cluster, ClusterOptions};
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
    Ok(vec![
        postgres(cluster(layout, &ports, &secrets)?),
        rabbitmq(layout, ports, &secrets)?,
        api(layout, &ports, &secrets)?,
        rabbitmq_bridge(layout, &ports, &secrets)?,
    ])
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
    environment.retain(|name, _| !name.starts_with("RABBITMQ_BRIDGE_"));
    service("api", layout.bin_dir().join("devart-api"), environment)
}

fn rabbitmq_bridge(layout: &Layout, ports: &Ports, secrets: &Secrets) -> Result<Part> {
    let mut environment = environment(layout, ports, secrets)?;
    for name in ["DATABASE_URL", "BIND"] {
        if let Some(value) = environment.remove(&format!("RABBITMQ_BRIDGE_{name}")) {
            environment.insert(format!("BRIDGE_{name}"), value);
        }
    }
    environment.retain(|name, _| {
        ["API_", "SUPABASE_", "GITHUB_"]
            .iter()
            .all(|others| !name.starts_with(others))
    });
    let program = layout.bin_dir().join("devart-rabbitmq");
    service("rabbitmq-bridge", program, environment)
}

/// What our services may know: everything but the owner's login and people's passwords.
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
    environment.retain(|name, _| name != "DATABASE_URL" && !name.starts_with("ADMIN_"));
    Ok(environment)
}

fn service(
    name: &'static str,
    program: PathBuf,
    environment: BTreeMap<String, String>,
) -> Result<Part> {
    // It opens no file of its own, so as root it runs as the user that owns nothing.
    let user = ServerUser::for_server("nobody")?;
    Ok(Part {
        name,
        command: Box::new(move || {
            let mut command: Command = user.command(&program);
            command
                .env_clear()
                .env("LANG", "C.UTF-8")
                .env("PATH", "/usr/bin:/bin");
            command.envs(&environment);
            command
        }),
        stop_signal: Signal::SIGTERM,
        patience: Duration::from_secs(30),
        after_stop: Box::new(|| {}),
    })
}
