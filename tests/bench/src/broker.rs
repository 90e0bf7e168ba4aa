//! The broker that is measured: a private node with RabbitMQ's own defaults.

use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use devart_cli::rabbitmq::{self, NodePorts, RabbitMq};

const PASSWORD: &str = "broker";

/// A running node; dropping it ends and removes it.
pub struct BenchBroker {
    dir: PathBuf,
    ports: NodePorts,
    process: Child,
}

impl BenchBroker {
    pub async fn start() -> Result<Self> {
        let id = format!("bench{}", std::process::id());
        let dir = std::env::temp_dir().join(format!("devart-rabbitmq-{id}"));
        let ports = free_ports()?;
        let node = RabbitMq::init(&dir, &id, ports, PASSWORD)?;
        let process = node
            .server_command()
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .context("starting RabbitMQ; did `devart setup` run?")?;
        let broker = Self {
            dir,
            ports,
            process,
        };
        for _ in 0..600 {
            if rabbitmq::answers(ports.clients) {
                return Ok(broker);
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        bail!("RabbitMQ does not answer");
    }

    pub fn url(&self) -> String {
        format!(
            "amqp://devart:{PASSWORD}@127.0.0.1:{}/%2f",
            self.ports.clients
        )
    }
}

impl Drop for BenchBroker {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        rabbitmq::stop_port_mapper(self.ports.epmd);
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

fn free_ports() -> Result<NodePorts> {
    let listeners: Vec<TcpListener> = (0..3)
        .map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))
        .collect::<std::io::Result<_>>()?;
    let port = |index: usize| listeners[index].local_addr().map(|it| it.port());
    Ok(NodePorts {
        clients: port(0)?,
        dist: port(1)?,
        epmd: port(2)?,
    })
}
